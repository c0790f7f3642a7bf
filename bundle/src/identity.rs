//! Keys: of a person ([`Identity`]), of a node on links ([`NodeSecret`]), and the strict check of a signature.

use core::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::context;
use crate::ids::{IdentityKey, NodeKey};
use crate::random::{SecretRandom, secret_array};

/// A signature that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The verifying key is no point of the curve, or one of small order.
    #[error("the {0} signature names an unusable Ed25519 key")]
    Key(&'static str),
    /// The signature is malformed or was made by another key or over other bytes.
    #[error("the {0} signature does not match")]
    Mismatch(&'static str),
}

/// A key agreement that gave no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The peer's X25519 key has small order: the shared secret would be zero and known to all.
    #[error("the X25519 key has small order; ask for a new card")]
    SmallOrder,
}

/// Checks an Ed25519 signature over `ctx(name)` ‖ parts, strictly: no small-order keys, canonical encodings only.
///
/// # Errors
/// [`SignatureError`] naming the context.
pub fn verify(
    key: &[u8; 32],
    name: &'static str,
    parts: &[&[u8]],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| SignatureError::Key(name))?;
    // The strict check refuses weak keys too, without saying so.
    let refusal = || if key.is_weak() { SignatureError::Key(name) } else { SignatureError::Mismatch(name) };
    let signature = Signature::from_slice(signature).map_err(|_| refusal())?;
    key.verify_strict(&context::message(name, parts), &signature).map_err(|_| refusal())
}

/// A person's secret keys: Ed25519 for signing, X25519 for sealing when no prekey is usable.
///
/// Both are wiped from memory on drop.
#[derive(Clone)]
pub struct Identity {
    signing: SigningKey,
    agreement: StaticSecret,
    /// Computed once: the public half is in every signature that is checked.
    agreement_public: [u8; 32],
}

impl Identity {
    /// Bytes of [`Identity::to_secret_bytes`].
    pub const SECRET_SIZE: usize = 64;

    /// A new identity from fresh randomness.
    pub fn generate(rng: &mut dyn SecretRandom) -> Self {
        Self::from_secret_bytes(&Zeroizing::new(secret_array(rng)))
    }

    /// Ed25519 seed ‖ X25519 secret, to be kept by the owner only.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<[u8; 64]> {
        let mut out = Zeroizing::new([0; 64]);
        out[..32].copy_from_slice(self.signing.as_bytes());
        out[32..].copy_from_slice(self.agreement.as_bytes());
        out
    }

    /// Reads what [`Identity::to_secret_bytes`] wrote. Any 64 bytes are an identity.
    #[must_use]
    pub fn from_secret_bytes(bytes: &[u8; 64]) -> Self {
        let (seed, agreement) = halves(bytes);
        let agreement = StaticSecret::from(*agreement);
        let agreement_public = PublicKey::from(&agreement).to_bytes();
        Self { signing: SigningKey::from_bytes(&seed), agreement, agreement_public }
    }

    /// The name of this identity.
    #[must_use]
    pub fn key(&self) -> IdentityKey {
        IdentityKey(self.signing.verifying_key().to_bytes())
    }

    /// The static X25519 public key, as on the card.
    #[must_use]
    pub fn x25519_public(&self) -> [u8; 32] {
        self.agreement_public
    }

    /// The key by which two contacts recognise each other on a link (`docs/wire-format.md` section 6).
    /// Both sides compute the same one.
    ///
    /// # Errors
    /// [`KeyError::SmallOrder`] for a key that makes the shared secret zero.
    pub fn recognition_key(&self, their_x25519: &[u8; 32]) -> Result<[u8; 32], KeyError> {
        let shared = self.agreement.diffie_hellman(&PublicKey::from(*their_x25519));
        if !shared.was_contributory() {
            return Err(KeyError::SmallOrder);
        }
        Ok(context::hkdf32(shared.as_bytes(), "recognise"))
    }

    pub(crate) fn sign(&self, name: &'static str, parts: &[&[u8]]) -> [u8; 64] {
        self.signing.sign(&context::message(name, parts)).to_bytes()
    }

    pub(crate) fn agreement(&self) -> &StaticSecret {
        &self.agreement
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// A node's secret Ed25519 key: authenticates links, rotates, and says nothing about who owns the node.
#[derive(Clone)]
pub struct NodeSecret(SigningKey);

impl NodeSecret {
    /// A new node key from fresh randomness.
    pub fn generate(rng: &mut dyn SecretRandom) -> Self {
        Self::from_secret_bytes(&Zeroizing::new(secret_array(rng)))
    }

    /// The Ed25519 seed.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Reads what [`NodeSecret::to_secret_bytes`] wrote. Any 32 bytes are a key.
    #[must_use]
    pub fn from_secret_bytes(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// The public half.
    #[must_use]
    pub fn key(&self) -> NodeKey {
        NodeKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `ctx(name)` ‖ parts; [`verify`] is the counterpart.
    #[must_use]
    pub fn sign(&self, name: &'static str, parts: &[&[u8]]) -> [u8; 64] {
        self.0.sign(&context::message(name, parts)).to_bytes()
    }

    /// PKCS#8 version 1 (RFC 8410 section 7), 48 bytes, for TLS libraries.
    #[must_use]
    pub fn pkcs8_der(&self) -> Zeroizing<[u8; 48]> {
        // SEQUENCE { INTEGER 0, SEQUENCE { OID 1.3.101.112 }, OCTET STRING { OCTET STRING seed } }
        const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let mut out = Zeroizing::new([0; 48]);
        out[..16].copy_from_slice(&HEAD);
        out[16..].copy_from_slice(self.0.as_bytes());
        out
    }

    /// The public half as SubjectPublicKeyInfo (RFC 8410 section 4), 44 bytes: the raw public key of RFC 7250.
    #[must_use]
    pub fn spki_der(&self) -> [u8; 44] {
        self.key().spki_der()
    }
}

impl fmt::Debug for NodeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeSecret(…)")
    }
}

/// SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING key }
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

impl NodeKey {
    /// SubjectPublicKeyInfo of this key (RFC 8410 section 4), 44 bytes.
    #[must_use]
    pub fn spki_der(&self) -> [u8; 44] {
        let mut out = [0; 44];
        out[..12].copy_from_slice(&SPKI_HEAD);
        out[12..].copy_from_slice(&self.0);
        out
    }

    /// Reads what [`NodeKey::spki_der`] writes, the only encoding there is; `None` for anything else.
    #[must_use]
    pub fn from_spki_der(der: &[u8]) -> Option<Self> {
        der.strip_prefix(&SPKI_HEAD)?.try_into().map(Self).ok()
    }
}

/// Splits 64 secret bytes; the halves are wiped on drop.
pub(crate) fn halves(bytes: &[u8; 64]) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>) {
    let mut first = Zeroizing::new([0; 32]);
    let mut second = Zeroizing::new([0; 32]);
    first.copy_from_slice(&bytes[..32]);
    second.copy_from_slice(&bytes[32..]);
    (first, second)
}
