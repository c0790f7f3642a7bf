//! The data key of a data folder, and XChaCha20-Poly1305 under keys derived from it.

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of a [`StoreKey`].
pub const STORE_KEY_LENGTH: usize = 32;
/// What a [`Sealer`] adds to the length of what it seals: nonce and tag.
pub const SEAL_OVERHEAD: usize = NONCE + TAG;

const NONCE: usize = 24;
const TAG: usize = 16;
/// Keeps these keys apart from all others that HKDF makes.
const DOMAIN: &str = "pigeon-at-rest 1 ";

/// The key that everything kept in a data folder is sealed under. Clones share it; the last one wipes it.
#[derive(Clone)]
pub struct StoreKey(Arc<Zeroizing<[u8; STORE_KEY_LENGTH]>>);

impl StoreKey {
    /// A key from 32 bytes, which must be random.
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; STORE_KEY_LENGTH]>) -> Self {
        Self(Arc::new(bytes))
    }

    /// Its bytes, to be wrapped under another key.
    #[must_use]
    pub fn expose(&self) -> &[u8; STORE_KEY_LENGTH] {
        &self.0
    }

    /// A key of its own for each purpose.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        let info = [DOMAIN.as_bytes(), purpose.as_bytes()];
        #[expect(clippy::expect_used, reason = "HKDF-SHA256 gives up to 8,160 bytes, these are 32")]
        Hkdf::<Sha256>::new(None, self.expose()).expand_multi_info(&info, out.as_mut()).expect("32 bytes");
        out
    }

    /// Seals and opens for one purpose.
    #[must_use]
    pub fn sealer(&self, purpose: &str) -> Sealer {
        Sealer(XChaCha20Poly1305::new((&*self.derive(purpose)).into()))
    }
}

/// Key bytes stay out of debug prints.
impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey")
    }
}

/// XChaCha20-Poly1305 with random nonces: nonce (24 bytes), what was sealed, tag (16 bytes).
///
/// With 192 bits, random nonces do not meet. `context` is authenticated and not kept: what was sealed in one place does
/// not open in another.
#[derive(Clone)]
pub struct Sealer(XChaCha20Poly1305);

impl Sealer {
    /// Seals `plain` for `context`.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "getrandom(2) fails only on kernels older than 3.17, and XChaCha20 only beyond 256 GiB"
    )]
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).expect("the operating system gives randomness");
        let payload = Payload { msg: plain, aad: context };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).expect("short enough to seal");
        let mut out = Vec::with_capacity(NONCE + sealed.len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out
    }

    /// Opens what [`Sealer::seal`] made for the same context; `None` for anything else.
    #[must_use]
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let payload = Payload { msg: sealed, aad: context };
        self.0.decrypt(&XNonce::from(*nonce), payload).ok().map(Zeroizing::new)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn key(byte: u8) -> StoreKey {
        StoreKey::new(Zeroizing::new([byte; 32]))
    }

    #[test]
    fn only_the_same_key_purpose_and_context_open_it() {
        let sealed = key(1).sealer("a").seal(b"here", b"soup");
        assert_eq!(sealed.len(), 4 + SEAL_OVERHEAD);
        assert_eq!(key(1).sealer("a").open(b"here", &sealed).unwrap().as_slice(), b"soup");
        assert!(key(1).sealer("a").open(b"there", &sealed).is_none());
        assert!(key(1).sealer("b").open(b"here", &sealed).is_none());
        assert!(key(2).sealer("a").open(b"here", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut wrong = sealed.clone();
            wrong[at] ^= 1;
            assert!(key(1).sealer("a").open(b"here", &wrong).is_none(), "byte {at}");
            assert!(key(1).sealer("a").open(b"here", &sealed[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn the_same_is_never_sealed_twice_alike_and_keys_are_not_shown() {
        let sealer = key(1).sealer("a");
        assert_ne!(sealer.seal(b"", b"soup"), sealer.seal(b"", b"soup"));
        assert_eq!(format!("{:?} {sealer:?}", key(7)), "StoreKey Sealer");
    }
}
