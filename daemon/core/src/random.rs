//! The one seeded generator: jitter, padding, delays. Never keys: those need `pigeon_bundle::SecretRandom`.

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

/// ChaCha with 12 rounds from a 32-byte seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(ChaCha12Rng);

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// A number in `0..=max`. The bias of the remainder (at most 2^-32 here) does not matter for jitter.
    pub(crate) fn up_to(&mut self, max: u64) -> u64 {
        match max.checked_add(1) {
            Some(range) => self.0.next_u64() % range,
            None => self.0.next_u64(),
        }
    }

    /// `middle ± spread`, in the same unit.
    pub(crate) fn around(&mut self, middle: u64, spread: u64) -> u64 {
        middle.saturating_sub(spread) + self.up_to(spread.saturating_mul(2))
    }

    /// Sixteen bytes that look like a mac.
    pub(crate) fn mac(&mut self) -> [u8; 16] {
        let mut out = [0; 16];
        self.0.fill_bytes(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_range_and_follow_the_seed() {
        let mut one = Random::new([1; 32]);
        let mut two = Random::new([1; 32]);
        let mut other = Random::new([2; 32]);
        let mut differs = false;
        for _ in 0..1000 {
            let x = one.around(800, 150);
            assert!((650..=950).contains(&x), "{x}");
            assert_eq!(x, two.around(800, 150));
            differs |= x != other.around(800, 150);
        }
        assert!(differs);
        assert_eq!(one.up_to(0), 0);
    }
}
