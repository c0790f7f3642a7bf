//! HPKE (RFC 9180), one suite, one message per encapsulation (`docs/wire-format.md` section 3).

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, HpkeError, Kem, OpModeR, OpModeS, Serializable as _};
use x25519_dalek::StaticSecret;
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

/// Opens what [`seal_to`] made; `None` if it was sealed to another key, for another purpose, or altered.
pub(crate) fn open_with(
    secret: &StaticSecret,
    name: &'static str,
    associated: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (encapsulated, ciphertext) = sealed.split_at_checked(ENC_SIZE)?;
    let secret = <X25519 as Kem>::PrivateKey::from_bytes(secret.as_bytes()).ok()?;
    let encapsulated = <X25519 as Kem>::EncappedKey::from_bytes(encapsulated).ok()?;
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519>(
        &OpModeR::Base,
        &secret,
        &encapsulated,
        &context(name),
        ciphertext,
        associated,
    )
    .ok()
    .map(Zeroizing::new)
}
