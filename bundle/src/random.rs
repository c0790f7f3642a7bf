//! Where secrets come from.

use core::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

/// The only source of randomness for keys, seals, reveals and message ids.
///
/// Implement it over the operating system's generator. It is a trait of its own so that the core's seeded
/// generator, made for replays, cannot be handed to a seal by mistake.
pub trait SecretRandom {
    /// Fills `out` with bytes that nobody else can predict.
    fn fill(&mut self, out: &mut [u8]);
}

/// An array of `N` secret bytes.
pub(crate) fn secret_array<const N: usize>(rng: &mut dyn SecretRandom) -> [u8; N] {
    let mut out = [0; N];
    rng.fill(&mut out);
    out
}

/// Shows a [`SecretRandom`] to crates that ask for `rand_core`'s generator.
pub(crate) struct Bridge<'a>(pub(crate) &'a mut dyn SecretRandom);

impl TryRng for Bridge<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(secret_array(self.0)))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(secret_array(self.0)))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(dst);
        Ok(())
    }
}

impl TryCryptoRng for Bridge<'_> {}
