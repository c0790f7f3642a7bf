//! Waiting times between attempts.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Doubles from `min` to `max`; each wait is that, give or take half, so that a thousand clients of a restarted
/// server do not come back in step.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), next: min }
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }

    /// The time to wait after one more failure.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (self.next * 2).min(self.max);
        jitter(wait)
    }
}

/// `wait` × a random factor in [0.5, 1.5). Not for secrets: the randomness is the standard library's hash seed.
pub(crate) fn jitter(wait: Duration) -> Duration {
    let factor = 512 + u32::try_from(random() % 1024).unwrap_or(512);
    wait.saturating_mul(factor) / 1024
}

/// 64 bits that differ between calls and runs. Not for secrets.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_limit_and_starts_again() {
        let s = Duration::from_secs;
        let mut backoff = Backoff::new(s(1), s(60));
        for nominal in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = backoff.wait();
            assert!(wait >= s(nominal) / 2 && wait < s(nominal) * 3 / 2, "{wait:?} for {nominal} s");
        }
        backoff.reset();
        assert!(backoff.wait() < s(2));
    }
}
