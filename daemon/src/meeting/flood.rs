//! How many frames of introductions a link may bring.

/// Frames of introductions on one link within [`WINDOW_MS`]. A meeting takes four; people are slower than that.
pub(super) const FRAMES_MAX: u32 = 32;
/// Milliseconds.
pub(super) const WINDOW_MS: u64 = 60_000;

/// Counts what one link brings.
#[derive(Debug, Default)]
pub(super) struct Flood {
    since_ms: u64,
    frames: u32,
}

impl Flood {
    /// Counts one frame; false where it is one too many.
    pub(super) fn one_more(&mut self, now_ms: u64) -> bool {
        if now_ms.saturating_sub(self.since_ms) >= WINDOW_MS {
            (self.since_ms, self.frames) = (now_ms, 0);
        }
        self.frames = self.frames.saturating_add(1);
        self.frames <= FRAMES_MAX
    }
}
