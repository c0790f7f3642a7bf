//! Delegated pick-up (`docs/wire-format.md` section 10): a recipient without internet lets a neighbour fetch what waits
//! at the bridge.
//!
//! 1. The recipient [seals a token](seal_pickup) to its bridge, made out to the neighbour's node key.
//! 2. The neighbour, which cannot read it, [signs a request](PickupRequest::sign) with that node key for the account that
//!    hands it in.
//! 3. The bridge [opens](open_pickup) the token, finds the recipient's registered key, and checks
//!    [the recipient's](Pickup::verify) and [the neighbour's](PickupRequest::verify) signatures.

use prost::Message as _;
use thiserror::Error;

use crate::bridge_card::{BridgeCard, BridgeIdentity};
use crate::context::length_prefix;
use crate::hybrid;
use crate::identity::{Identity, NodeSecret, SignatureError, verify};
use crate::ids::{IdentityKey, NodeKey, Tag};
use crate::padding::{pad, unpad};
use crate::random::SecretRandom;
use crate::text::{TextError, check_domain, check_jid};

/// Most tags in one token. With them and the longest JID a token's plaintext is at most 4,096 bytes.
pub const PICKUP_TAGS_MAX: usize = 224;
/// Longest life of a token, seconds.
pub const PICKUP_LIFETIME_MAX_S: u64 = 24 * 3_600;
/// Largest sealed token, bytes.
pub const PICKUP_TOKEN_MAX: usize = PLAINTEXT_MAX + hybrid::OVERHEAD;
/// Largest request, bytes: the token, 64 bytes of signature, and their heads.
pub const PICKUP_REQUEST_MAX: usize = PICKUP_TOKEN_MAX + 128;

/// Largest padding step that a token needs.
const PLAINTEXT_MAX: usize = 4_096;
const TAG_SIZE: usize = 16;
const SEAL: &str = "pickup";
const OWNER: &str = "pickup-token";
const CARRIER: &str = "pickup-request";

#[derive(Clone, PartialEq, prost::Message)]
struct TokenWire {
    #[prost(string, tag = "1")]
    recipient: String,
    #[prost(bytes = "vec", tag = "2")]
    tags: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    carrier: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    nonce: Vec<u8>,
    #[prost(uint64, tag = "5")]
    expires: u64,
    #[prost(uint64, tag = "6")]
    byte_limit: u64,
    #[prost(bytes = "vec", tag = "7")]
    signature: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RequestWire {
    #[prost(bytes = "vec", tag = "1")]
    token: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    signature: Vec<u8>,
}

/// What a recipient allows one neighbour to fetch.
#[derive(Clone, PartialEq, Eq)]
pub struct PickupTerms {
    /// The recipient's bare JID: the account that the mail waits for.
    pub recipient: String,
    /// Tags of the mail that may be fetched; at most [`PICKUP_TAGS_MAX`].
    pub tags: Vec<Tag>,
    /// The node key of the neighbour that may fetch.
    pub carrier: NodeKey,
    /// Names this token; the bridge takes it once.
    pub nonce: [u8; 16],
    /// End of the token, Unix seconds; at most [`PICKUP_LIFETIME_MAX_S`] from now.
    pub expires_s: u64,
    /// Most bytes of bundles that it is good for.
    pub byte_limit: u64,
}

/// Who meets whom must not reach a log by way of a debug print.
impl core::fmt::Debug for PickupTerms {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PickupTerms").field("tags", &self.tags.len()).finish_non_exhaustive()
    }
}

/// A token that its bridge has opened. Nothing in it is proven until [`Pickup::verify`] has said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pickup {
    /// What is allowed, as claimed.
    pub terms: PickupTerms,
    signature: [u8; 64],
}

/// A token and the signature of the neighbour that hands it in.
#[derive(Clone, PartialEq, Eq)]
pub struct PickupRequest {
    /// The sealed token.
    pub token: Vec<u8>,
    signature: [u8; 64],
}

impl core::fmt::Debug for PickupRequest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PickupRequest").field("token", &self.token.len()).finish_non_exhaustive()
    }
}

/// A token or request that cannot be made or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PickupError {
    /// The recipient's JID cannot stand in a token.
    #[error("the recipient's JID {0}")]
    Jid(TextError),
    /// More tags than a token holds, or none.
    #[error("{got} tags, a token has 1 to {PICKUP_TAGS_MAX}")]
    Tags {
        /// How many there are.
        got: usize,
    },
    /// The bridge's key is of small order.
    #[error("the key on the bridge's card cannot be sealed to")]
    BridgeKey,
    /// Sealed to another bridge, for another domain, or altered.
    #[error("the token does not open")]
    DoesNotOpen,
    /// It opened, and its inside is no token, or the request is none.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// The token is not signed by its recipient, or the request not by its carrier.
    #[error("the {whose} signature is wrong: {problem}")]
    Signature {
        /// "recipient's" or "carrier's".
        whose: &'static str,
        /// What is wrong with it.
        problem: SignatureError,
    },
}

/// Signs a token and seals it to the bridge.
///
/// # Errors
/// [`PickupError`] for terms that [`open_pickup`] would refuse.
pub fn seal_pickup(
    owner: &Identity,
    terms: &PickupTerms,
    bridge: &BridgeCard,
    rng: &mut dyn SecretRandom,
) -> Result<Vec<u8>, PickupError> {
    check(terms)?;
    let text = owner_text(terms, bridge.domain(), bridge.key()).ok_or(PickupError::Malformed("length"))?;
    let wire = TokenWire {
        recipient: terms.recipient.clone(),
        tags: terms.tags.iter().flat_map(|tag| tag.0).collect(),
        carrier: terms.carrier.0.to_vec(),
        nonce: terms.nonce.to_vec(),
        expires: terms.expires_s,
        byte_limit: terms.byte_limit,
        signature: owner.sign(OWNER, &[&text]).to_vec(),
    };
    let plaintext = pad(&wire.encode_to_vec()).ok_or(PickupError::Malformed("length"))?;
    let domain = bridge.domain().as_bytes();
    hybrid::seal_to(bridge.x25519(), SEAL, domain, &plaintext, rng).map_err(|_| PickupError::BridgeKey)
}

/// Opens a token with the bridge's keys.
///
/// # Errors
/// [`PickupError::DoesNotOpen`] or [`PickupError::Malformed`].
pub fn open_pickup(token: &[u8], bridge: &BridgeIdentity, domain: &str) -> Result<Pickup, PickupError> {
    if token.len() > PICKUP_TOKEN_MAX {
        return Err(PickupError::Malformed("length"));
    }
    let plaintext = hybrid::open_with(bridge.agreement(), SEAL, domain.as_bytes(), token)
        .ok_or(PickupError::DoesNotOpen)?;
    let bytes = unpad(&plaintext).ok_or(PickupError::Malformed("padding"))?;
    let wire = TokenWire::decode(bytes).map_err(|_| PickupError::Malformed("token"))?;
    let (tags, rest) = wire.tags.as_chunks::<TAG_SIZE>();
    if !rest.is_empty() {
        return Err(PickupError::Malformed("list of tags"));
    }
    let terms = PickupTerms {
        tags: tags.iter().copied().map(Tag).collect(),
        recipient: wire.recipient,
        carrier: NodeKey(wire.carrier.try_into().map_err(|_| PickupError::Malformed("carrier"))?),
        nonce: wire.nonce.try_into().map_err(|_| PickupError::Malformed("nonce"))?,
        expires_s: wire.expires,
        byte_limit: wire.byte_limit,
    };
    check(&terms)?;
    let signature = wire.signature.try_into().map_err(|_| PickupError::Malformed("signature"))?;
    Ok(Pickup { terms, signature })
}

impl Pickup {
    /// Checks that this recipient signed this token, for this bridge.
    ///
    /// # Errors
    /// [`PickupError::Signature`].
    pub fn verify(&self, domain: &str, bridge: &[u8; 32], owner: &IdentityKey) -> Result<(), PickupError> {
        let text = owner_text(&self.terms, domain, bridge).ok_or(PickupError::Malformed("length"))?;
        verify(&owner.0, OWNER, &[&text], &self.signature)
            .map_err(|problem| PickupError::Signature { whose: "recipient's", problem })
    }
}

impl PickupRequest {
    /// Signs the request of the account `jid` with the node key that the token was made out to.
    ///
    /// # Errors
    /// [`PickupError`] for a token, domain or JID of impossible length.
    pub fn sign(
        carrier: &NodeSecret,
        token: Vec<u8>,
        domain: &str,
        bridge: &[u8; 32],
        jid: &str,
    ) -> Result<Self, PickupError> {
        check_jid(jid).map_err(PickupError::Jid)?;
        if check_domain(domain).is_err() || token.is_empty() || token.len() > PICKUP_TOKEN_MAX {
            return Err(PickupError::Malformed("length"));
        }
        let text = carrier_text(&token, domain, bridge, jid).ok_or(PickupError::Malformed("length"))?;
        Ok(Self { signature: carrier.sign(CARRIER, &[&text]), token })
    }

    /// The request as it travels.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        RequestWire { token: self.token.clone(), signature: self.signature.to_vec() }.encode_to_vec()
    }

    /// Reads what [`PickupRequest::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`PickupError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, PickupError> {
        if bytes.len() > PICKUP_REQUEST_MAX {
            return Err(PickupError::Malformed("length"));
        }
        let wire = RequestWire::decode(bytes).map_err(|_| PickupError::Malformed("request"))?;
        let signature = wire.signature.try_into().map_err(|_| PickupError::Malformed("signature"))?;
        Ok(Self { token: wire.token, signature })
    }

    /// Checks that the holder of `carrier` signed this request for the account `jid`.
    ///
    /// # Errors
    /// [`PickupError::Signature`].
    pub fn verify(
        &self,
        domain: &str,
        bridge: &[u8; 32],
        jid: &str,
        carrier: &NodeKey,
    ) -> Result<(), PickupError> {
        let text = carrier_text(&self.token, domain, bridge, jid).ok_or(PickupError::Malformed("length"))?;
        verify(&carrier.0, CARRIER, &[&text], &self.signature)
            .map_err(|problem| PickupError::Signature { whose: "carrier's", problem })
    }
}

fn check(terms: &PickupTerms) -> Result<(), PickupError> {
    check_jid(&terms.recipient).map_err(PickupError::Jid)?;
    let got = terms.tags.len();
    if got == 0 || got > PICKUP_TAGS_MAX { Err(PickupError::Tags { got }) } else { Ok(()) }
}

/// What the recipient signs, after the context.
fn owner_text(terms: &PickupTerms, domain: &str, bridge: &[u8; 32]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(PLAINTEXT_MAX);
    push_prefixed(&mut out, domain.as_bytes())?;
    out.extend_from_slice(bridge);
    push_prefixed(&mut out, terms.recipient.as_bytes())?;
    out.extend_from_slice(&terms.carrier.0);
    out.extend_from_slice(&terms.nonce);
    out.extend_from_slice(&terms.expires_s.to_be_bytes());
    out.extend_from_slice(&terms.byte_limit.to_be_bytes());
    out.extend(terms.tags.iter().flat_map(|tag| tag.0));
    Some(out)
}

/// What the carrier signs, after the context.
fn carrier_text(token: &[u8], domain: &str, bridge: &[u8; 32], jid: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(PICKUP_REQUEST_MAX);
    push_prefixed(&mut out, domain.as_bytes())?;
    out.extend_from_slice(bridge);
    push_prefixed(&mut out, jid.as_bytes())?;
    push_prefixed(&mut out, token)?;
    Some(out)
}

fn push_prefixed(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.extend_from_slice(&length_prefix(bytes)?);
    out.extend_from_slice(bytes);
    Some(())
}
