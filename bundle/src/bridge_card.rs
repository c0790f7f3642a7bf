//! A bridge's own keys and its card (`docs/wire-format.md` section 2).

use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use prost::Message as _;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::bundle::SHARD_COUNT;
use crate::card::CardError;
use crate::context;
use crate::identity::{halves, verify};
use crate::ids::MessageDigest;
use crate::random::{SecretRandom, secret_array};
use crate::signed::{Signed, fixed};
use crate::text::{check_domain, check_jid};

/// Largest encoded bridge card, in bytes: 16 shards with long addresses fit.
pub const BRIDGE_CARD_SIZE_MAX: usize = 4_096;
const CONTEXT: &str = "bridge-card";

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(bytes = "vec", tag = "2")]
    ed25519: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    x25519: Vec<u8>,
    #[prost(uint64, tag = "4")]
    issued: u64,
    #[prost(uint64, tag = "5")]
    expires: u64,
    #[prost(string, repeated, tag = "6")]
    shard: Vec<String>,
}

/// A bridge's secret keys: Ed25519 for verdicts and its card, X25519 for routes. Wiped on drop.
#[derive(Clone)]
pub struct BridgeIdentity {
    signing: SigningKey,
    agreement: StaticSecret,
    agreement_public: [u8; 32],
}

impl BridgeIdentity {
    /// New keys from fresh randomness.
    pub fn generate(rng: &mut dyn SecretRandom) -> Self {
        Self::from_secret_bytes(&Zeroizing::new(secret_array(rng)))
    }

    /// Ed25519 seed ‖ X25519 secret, to be kept by the bridge only.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<[u8; 64]> {
        let mut out = Zeroizing::new([0; 64]);
        out[..32].copy_from_slice(self.signing.as_bytes());
        out[32..].copy_from_slice(self.agreement.as_bytes());
        out
    }

    /// Reads what [`BridgeIdentity::to_secret_bytes`] wrote. Any 64 bytes are keys.
    #[must_use]
    pub fn from_secret_bytes(bytes: &[u8; 64]) -> Self {
        let (seed, agreement) = halves(bytes);
        let agreement = StaticSecret::from(*agreement);
        let agreement_public = PublicKey::from(&agreement).to_bytes();
        Self { signing: SigningKey::from_bytes(&seed), agreement, agreement_public }
    }

    /// The Ed25519 key that Uplink blocks name.
    #[must_use]
    pub fn key(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    /// The X25519 key that routes are sealed to.
    #[must_use]
    pub fn x25519_public(&self) -> [u8; 32] {
        self.agreement_public
    }

    /// Signs this bridge's card.
    ///
    /// # Errors
    /// [`CardError`] for fields that [`BridgeCard::parse`] would refuse.
    pub fn card(&self, fields: &BridgeCardFields) -> Result<BridgeCard, CardError> {
        BridgeCard::issue(self, fields)
    }

    pub(crate) fn sign(&self, name: &'static str, parts: &[&[u8]]) -> [u8; 64] {
        self.signing.sign(&context::message(name, parts)).to_bytes()
    }

    /// The X25519 keys: secret and public.
    pub(crate) fn agreement(&self) -> (&StaticSecret, &[u8; 32]) {
        (&self.agreement, &self.agreement_public)
    }
}

impl fmt::Debug for BridgeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BridgeIdentity(…)")
    }
}

/// What a bridge writes on its card; the keys come from the [`BridgeIdentity`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeCardFields {
    /// The logical domain, as in Uplink blocks.
    pub domain: String,
    /// Time of issue, Unix seconds.
    pub issued_s: u64,
    /// End of the card's use, Unix seconds.
    pub expires_s: u64,
    /// Empty, or 16 component addresses indexed by the top nibble of P.
    pub shards: Vec<String>,
}

/// A bridge's card whose signature and fields have been checked.
///
/// The signature shows that the key on the card made it, not whose key that is: pin the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeCard {
    key: [u8; 32],
    x25519: [u8; 32],
    fields: BridgeCardFields,
    bytes: Vec<u8>,
}

impl BridgeCard {
    /// Signs a bridge's card.
    ///
    /// # Errors
    /// [`CardError`] for fields that [`BridgeCard::parse`] would refuse.
    pub fn issue(bridge: &BridgeIdentity, fields: &BridgeCardFields) -> Result<Self, CardError> {
        let card = Wire {
            domain: fields.domain.clone(),
            ed25519: bridge.key().to_vec(),
            x25519: bridge.x25519_public().to_vec(),
            issued: fields.issued_s,
            expires: fields.expires_s,
            shard: fields.shards.clone(),
        }
        .encode_to_vec();
        let signature = bridge.sign(CONTEXT, &[&card]).to_vec();
        Self::parse(&Signed { card, signature }.encode_to_vec())
    }

    /// Reads a `SignedBridgeCard` and checks the signature and every field.
    ///
    /// # Errors
    /// [`CardError`] naming the field.
    pub fn parse(bytes: &[u8]) -> Result<Self, CardError> {
        let signed = Signed::parse(bytes, BRIDGE_CARD_SIZE_MAX)?;
        let wire = Wire::decode(signed.card.as_slice())?;
        let key = fixed("ed25519", &wire.ed25519)?;
        verify(&key, CONTEXT, &[&signed.card], &signed.signature)?;
        let x25519 = fixed("x25519", &wire.x25519)?;
        Ok(Self { key, x25519, fields: check_fields(wire)?, bytes: signed.encode_to_vec() })
    }

    /// The encoded `SignedBridgeCard`, the signed part as it was received.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The logical domain.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.fields.domain
    }

    /// The Ed25519 key that signs verdicts.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The X25519 key that routes are sealed to.
    #[must_use]
    pub fn x25519(&self) -> &[u8; 32] {
        &self.x25519
    }

    /// Time of issue, Unix seconds.
    #[must_use]
    pub fn issued_s(&self) -> u64 {
        self.fields.issued_s
    }

    /// End of the card's use, Unix seconds.
    #[must_use]
    pub fn expires_s(&self) -> u64 {
        self.fields.expires_s
    }

    /// Empty, or 16 component addresses.
    #[must_use]
    pub fn shards(&self) -> &[String] {
        &self.fields.shards
    }

    /// Where to send a message with this digest: its shard, or the domain itself.
    #[must_use]
    pub fn address(&self, message: &MessageDigest) -> &str {
        self.fields.shards.get(message.shard()).map_or(&self.fields.domain, String::as_str)
    }
}

fn check_fields(wire: Wire) -> Result<BridgeCardFields, CardError> {
    check_domain(&wire.domain).map_err(|problem| CardError::Field { field: "domain", problem })?;
    if !wire.shard.is_empty() && wire.shard.len() != SHARD_COUNT {
        return Err(CardError::List { field: "shard", allowed: "0 or 16", got: wire.shard.len() });
    }
    for shard in &wire.shard {
        check_jid(shard).map_err(|problem| CardError::Field { field: "shard", problem })?;
    }
    Ok(BridgeCardFields {
        domain: wire.domain,
        issued_s: wire.issued,
        expires_s: wire.expires,
        shards: wire.shard,
    })
}
