//! How much a transport may look for peers.

use std::time::Duration;

/// When a transport looks for peers. The core decides; every transport obeys in its own way.
///
/// What reaches a transport while it does not look (a peer that dials, an announcement that comes by itself) is still
/// reported, unless discovery is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DutyCycle {
    /// Neither look nor announce: the battery is needed for something else. Links that are up stay.
    Off,
    /// Announce always, and look for `window` at the beginning of each `period`.
    Windows {
        /// At most `period`; then it is all the time.
        window: Duration,
        /// From one beginning to the next.
        period: Duration,
    },
}

impl DutyCycle {
    /// Look all the time: what a transport begins with.
    pub const ALWAYS: Self =
        Self::Windows { window: Duration::from_secs(60), period: Duration::from_secs(60) };

    /// Whether there is anything to do.
    #[must_use]
    pub fn is_off(self) -> bool {
        self == Self::Off
    }
}

impl Default for DutyCycle {
    fn default() -> Self {
        Self::ALWAYS
    }
}
