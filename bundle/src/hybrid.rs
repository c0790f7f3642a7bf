//! HPKE (RFC 9180), one suite, one message per encapsulation (`docs/wire-format.md` section 3).

use hpke::aead::{AeadCtxR, ChaCha20Poly1305};
use hpke::kdf::{HkdfSha256, Kdf as _};
use hpke::kem::{SharedSecret, X25519HkdfSha256};
use hpke::{Deserializable as _, HpkeError, Kem, OpModeR, OpModeS, Serializable as _};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::context::context;
use crate::random::{Bridge, SecretRandom};

type X25519 = X25519HkdfSha256;

/// Bytes of the encapsulated key before the ciphertext.
pub(crate) const ENC_SIZE: usize = 32;
/// Bytes that sealing adds: encapsulated key and authentication tag.
pub(crate) const OVERHEAD: usize = ENC_SIZE + 16;

/// Seals to an X25519 key with info = `ctx(name)`: encapsulated key ‖ ciphertext.
///
/// Fails only for a recipient key of small order.
pub(crate) fn seal_to(
    public: &[u8; 32],
    name: &'static str,
    associated: &[u8],
    plaintext: &[u8],
    rng: &mut dyn SecretRandom,
) -> Result<Vec<u8>, HpkeError> {
    let public = <X25519 as Kem>::PublicKey::from_bytes(public)?;
    let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519>(
        &OpModeS::Base,
        &public,
        &context(name),
        plaintext,
        associated,
        &mut Bridge(rng),
    )?;
    let mut out = Vec::with_capacity(ENC_SIZE + ciphertext.len());
    out.extend_from_slice(&encapsulated.to_bytes());
    out.extend_from_slice(&ciphertext);
    Ok(out)
}

/// Opens what [`seal_to`] made; `None` if it was sealed to another key, for another purpose, or altered. `public` is that
/// of `secret`.
pub(crate) fn open_with(
    (secret, public): (&StaticSecret, &[u8; 32]),
    name: &'static str,
    associated: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (encapsulated, ciphertext) = sealed.split_first_chunk()?;
    let shared = decap(secret, public, encapsulated)?;
    let context = HkdfSha256::combine_secrets::<ChaCha20Poly1305, X25519, _>(
        &OpModeR::<X25519>::Base,
        shared,
        &context(name),
    );
    AeadCtxR::from(context).open(ciphertext, associated).ok().map(Zeroizing::new)
}

/// `Decap` of DHKEM(X25519, HKDF-SHA256) (RFC 9180 section 4.1). That of `hpke` computes the own public key anew for each
/// message, a third of what the key agreement costs; a test compares the two.
fn decap(
    secret: &StaticSecret,
    public: &[u8; 32],
    encapsulated: &[u8; ENC_SIZE],
) -> Option<SharedSecret<X25519>> {
    let agreed = secret.diffie_hellman(&PublicKey::from(*encapsulated));
    if !agreed.was_contributory() {
        return None;
    }
    let mut suite = *b"KEM\0\0";
    suite[3..].copy_from_slice(&X25519::KEM_ID.to_be_bytes());
    let mut kem_context = [0; ENC_SIZE + 32];
    kem_context[..ENC_SIZE].copy_from_slice(encapsulated);
    kem_context[ENC_SIZE..].copy_from_slice(public);
    let mut shared = SharedSecret::default();
    HkdfSha256::extract_and_expand(agreed.as_bytes(), &suite, &kem_context, &mut shared.0).ok()?;
    Some(shared)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    const INFO: &str = "seal";

    /// The key that is encapsulated: one for each number.
    struct Same(u8);

    impl SecretRandom for Same {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(self.0);
        }
    }

    fn by_the_library(secret: &StaticSecret, sealed: &[u8]) -> Option<Vec<u8>> {
        let (encapsulated, ciphertext) = sealed.split_at(ENC_SIZE);
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519>(
            &OpModeR::Base,
            &<X25519 as Kem>::PrivateKey::from_bytes(secret.as_bytes()).unwrap(),
            &<X25519 as Kem>::EncappedKey::from_bytes(encapsulated).unwrap(),
            &context(INFO),
            ciphertext,
            b"aad",
        )
        .ok()
    }

    proptest! {
        #[test]
        fn it_opens_what_the_library_opens_and_nothing_else(
            secret: [u8; 32],
            seed: u8,
            plaintext in proptest::collection::vec(any::<u8>(), 0..300),
            (at, flip) in (any::<proptest::sample::Index>(), 0..3_u8),
        ) {
            let secret = StaticSecret::from(secret);
            let public = PublicKey::from(&secret).to_bytes();
            let mut sealed = seal_to(&public, INFO, b"aad", &plaintext, &mut Same(seed)).unwrap();
            let at = at.index(sealed.len());
            sealed[at] ^= flip;
            let opened = open_with((&secret, &public), INFO, b"aad", &sealed).map(|bytes| bytes.to_vec());
            prop_assert_eq!(&opened, &by_the_library(&secret, &sealed));
            if flip == 0 {
                prop_assert_eq!(opened, Some(plaintext));
            }
        }
    }

    #[test]
    fn an_encapsulated_key_of_small_order_opens_nothing() {
        let secret = StaticSecret::from([7; 32]);
        let public = PublicKey::from(&secret).to_bytes();
        // 0 and 1 are points of order 2 and 4 (RFC 7748 section 6.1).
        for low in [0, 1] {
            let mut sealed = [0; OVERHEAD];
            sealed[0] = low;
            assert!(open_with((&secret, &public), INFO, b"aad", &sealed).is_none());
            assert!(by_the_library(&secret, &sealed).is_none());
        }
    }

    #[test]
    fn what_is_shorter_than_an_encapsulated_key_opens_nothing() {
        let secret = StaticSecret::from([7; 32]);
        let public = PublicKey::from(&secret).to_bytes();
        assert!(open_with((&secret, &public), INFO, b"aad", &[9; ENC_SIZE - 1]).is_none());
        assert!(open_with((&secret, &public), INFO, b"aad", &[9; ENC_SIZE]).is_none());
    }
}
