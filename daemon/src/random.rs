//! The operating system's randomness, the only source of keys, seals and secrets in the daemon.

use pigeon_bundle::SecretRandom;

/// Fills from the operating system (`getrandom(2)`).
///
/// The core's seeded generator does not implement [`SecretRandom`], so it can never make a key.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl SecretRandom for OsRandom {
    #[expect(
        clippy::expect_used,
        reason = "getrandom(2) with no flags fails only on kernels older than 3.17; going on without \
                  randomness would make guessable keys"
    )]
    fn fill(&mut self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system gives randomness");
    }
}
