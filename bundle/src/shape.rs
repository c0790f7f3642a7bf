//! The parts of a bundle in the fixed form, and what holds for them whatever the digests are
//! (`docs/wire-format.md` section 4).

use bytes::Bytes;

use crate::blocks::Carriage;
use crate::bundle::{BundleError, DTN_EPOCH_S, HOUR_S, LIFETIME_MAX_S, LIFETIME_MIN_S, Uplink};
use crate::form::Primary;
use crate::hybrid::OVERHEAD;
use crate::ids::{DAY_S, Epoch};
use crate::padding::STEPS;

/// The bytes and what they say. They are in the fixed form, and [`check`] has passed.
pub(crate) struct Shape {
    pub(crate) bytes: Bytes,
    /// The payload stands last, before the one byte that ends the array.
    pub(crate) payload_size: usize,
    pub(crate) primary: Primary,
    pub(crate) carriage: Carriage,
    pub(crate) uplink: Option<Uplink>,
}

impl Shape {
    pub(crate) fn payload(&self) -> &[u8] {
        let end = self.bytes.len() - 1;
        &self.bytes[end - self.payload_size..end]
    }
}

/// The rules for values and sizes that no encoding expresses.
pub(crate) fn check(primary: &Primary, epoch: Epoch, payload: &[u8]) -> Result<(), BundleError> {
    check_times(primary, epoch)?;
    if !payload.len().checked_sub(OVERHEAD).is_some_and(|step| STEPS.contains(&step)) {
        return Err(BundleError::Field { place: "payload", expected: "a padding step and 48 bytes" });
    }
    Ok(())
}

fn check_times(primary: &Primary, epoch: Epoch) -> Result<(), BundleError> {
    const HOUR_MS: u64 = HOUR_S * 1_000;
    let range = LIFETIME_MIN_S * 1_000..=LIFETIME_MAX_S * 1_000;
    if !range.contains(&primary.lifetime_ms) || !primary.lifetime_ms.is_multiple_of(HOUR_MS) {
        return Err(BundleError::Field { place: "lifetime", expected: "whole hours, 1 hour to 30 days" });
    }
    if !primary.creation_ms.is_multiple_of(HOUR_MS) {
        return Err(BundleError::Field { place: "creation time", expected: "whole hours" });
    }
    let day = (primary.creation_ms / 1_000 + DTN_EPOCH_S) / DAY_S;
    if primary.creation_ms != 0 && day != u64::from(epoch.0) {
        return Err(BundleError::Field { place: "epoch", expected: "the day of the creation time" });
    }
    Ok(())
}
