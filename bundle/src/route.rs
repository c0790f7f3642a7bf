//! The route: what a bridge, and nobody else on the way, learns about a message (`docs/wire-format.md` section 4).

use bytes::Bytes;
use prost::Message as _;
use thiserror::Error;

use crate::blocks::ROUTE_STEP;
use crate::bridge_card::BridgeIdentity;
use crate::bundle::{Bundle, Uplink};
use crate::context::length_prefix;
use crate::hybrid;
use crate::identity::{Identity, SignatureError, verify};
use crate::ids::{IdentityKey, MessageDigest, MessageId};
use crate::padding::{pad_to, unpad_from};
use crate::random::SecretRandom;
use crate::seal::{SealError, UplinkDraft};
use crate::text::{check_domain, check_jid};

const SEAL: &str = "route";
const AUTHOR: &str = "route-author";

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(string, tag = "1")]
    author: String,
    #[prost(string, tag = "2")]
    recipient: String,
    #[prost(bytes = "vec", tag = "3")]
    message_id: Vec<u8>,
    #[prost(uint64, tag = "4")]
    sent_ms: u64,
    #[prost(bytes = "vec", tag = "5")]
    signature: Vec<u8>,
}

/// A route that was opened. Nothing in it is proven until [`Route::verify`] has said so.
#[derive(Clone, PartialEq, Eq)]
pub struct Route {
    /// The author's bare JID, as claimed.
    pub author: String,
    /// The recipient's bare JID.
    pub recipient: String,
    /// The author's id of the message.
    pub message_id: MessageId,
    /// Send time by the author's clock, Unix milliseconds; 0: no clock.
    pub sent_ms: u64,
    /// The author's signature over all of this and the bundle.
    pub signature: [u8; 64],
}

impl core::fmt::Debug for Route {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Who writes to whom must not reach a log by way of a debug print.
        f.write_str("Route(…)")
    }
}

/// A route that a bridge cannot use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RouteError {
    /// There is no Uplink block.
    #[error("bundle has no Uplink block")]
    NoUplink,
    /// The Uplink block names another bridge's key.
    #[error("route is for another bridge, or for a key replaced since")]
    OtherBridge,
    /// The route was sealed to another key, or for another message or domain.
    #[error("route does not open")]
    DoesNotOpen,
    /// It opened, but its inside is not a route.
    #[error("route is malformed: {0}")]
    Malformed(&'static str),
    /// The signature is not this author's over this route and bundle.
    #[error("route's signature is wrong: {0}")]
    Signature(#[from] SignatureError),
}

/// Signs and seals the route of a message to its bridge.
pub(crate) fn seal_route(
    identity: &Identity,
    draft: &UplinkDraft<'_>,
    message: &MessageDigest,
    rng: &mut dyn SecretRandom,
) -> Result<Uplink, SealError> {
    for (field, jid) in [("author", draft.author_jid), ("recipient", draft.recipient_jid)] {
        check_jid(jid).map_err(|problem| SealError::Jid { field, problem })?;
    }
    let mut route = Route {
        author: draft.author_jid.to_owned(),
        recipient: draft.recipient_jid.to_owned(),
        message_id: draft.message_id,
        sent_ms: draft.sent_ms,
        signature: [0; 64],
    };
    let domain = draft.bridge.domain();
    let text = signed_bytes(&route, message, domain, draft.bridge.key()).ok_or(SealError::Key("bridge"))?;
    route.signature = identity.sign(AUTHOR, &[&text]);
    let plaintext = pad_to(&route.to_wire().encode_to_vec(), ROUTE_STEP).ok_or(SealError::Key("bridge"))?;
    let associated = associated(message, domain);
    let sealed = hybrid::seal_to(draft.bridge.x25519(), SEAL, &associated, &plaintext, rng);
    let sealed = sealed.map_err(|_| SealError::Key("bridge"))?;
    Ok(Uplink { domain: domain.into(), bridge_key: *draft.bridge.key(), route: Bytes::from(sealed) })
}

/// Opens the route of a bundle with the bridge's keys.
///
/// # Errors
/// [`RouteError`]; each maps to a verdict.
pub fn open_route(bundle: &Bundle, bridge: &BridgeIdentity) -> Result<Route, RouteError> {
    let uplink = bundle.uplink().ok_or(RouteError::NoUplink)?;
    if uplink.bridge_key != bridge.key() {
        return Err(RouteError::OtherBridge);
    }
    let associated = associated(&bundle.message_digest(), &uplink.domain);
    let plaintext = hybrid::open_with(bridge.agreement(), SEAL, &associated, &uplink.route);
    let plaintext = plaintext.ok_or(RouteError::DoesNotOpen)?;
    let bytes = unpad_from(&plaintext, ROUTE_STEP).ok_or(RouteError::Malformed("padding"))?;
    Route::from_wire(Wire::decode(bytes).map_err(|_| RouteError::Malformed("protobuf"))?)
}

impl Route {
    /// Checks that this author signed this route, for this bundle and this bridge.
    ///
    /// # Errors
    /// [`RouteError::NoUplink`] or [`RouteError::Signature`].
    pub fn verify(&self, bundle: &Bundle, author_key: &IdentityKey) -> Result<(), RouteError> {
        let uplink = bundle.uplink().ok_or(RouteError::NoUplink)?;
        let text = signed_bytes(self, &bundle.message_digest(), &uplink.domain, &uplink.bridge_key)
            .ok_or(RouteError::Malformed("text length"))?;
        Ok(verify(&author_key.0, AUTHOR, &[&text], &self.signature)?)
    }

    fn to_wire(&self) -> Wire {
        Wire {
            author: self.author.clone(),
            recipient: self.recipient.clone(),
            message_id: self.message_id.0.to_vec(),
            sent_ms: self.sent_ms,
            signature: self.signature.to_vec(),
        }
    }

    fn from_wire(wire: Wire) -> Result<Self, RouteError> {
        check_jid(&wire.author).map_err(|_| RouteError::Malformed("author JID"))?;
        check_jid(&wire.recipient).map_err(|_| RouteError::Malformed("recipient JID"))?;
        Ok(Self {
            message_id: MessageId::try_from(&*wire.message_id)
                .map_err(|_| RouteError::Malformed("message id"))?,
            signature: wire.signature.try_into().map_err(|_| RouteError::Malformed("signature"))?,
            author: wire.author,
            recipient: wire.recipient,
            sent_ms: wire.sent_ms,
        })
    }
}

/// P ‖ domain: a route moved to another message or bridge does not open.
fn associated(message: &MessageDigest, domain: &str) -> Vec<u8> {
    debug_assert!(check_domain(domain).is_ok());
    [message.as_ref(), domain.as_bytes()].concat()
}

/// What the author signs, after the context. `None` for a text that no length prefix can hold.
fn signed_bytes(
    route: &Route,
    message: &MessageDigest,
    domain: &str,
    bridge_key: &[u8; 32],
) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(message.as_ref());
    push_prefixed(&mut out, domain.as_bytes())?;
    out.extend_from_slice(bridge_key);
    push_prefixed(&mut out, route.author.as_bytes())?;
    push_prefixed(&mut out, route.recipient.as_bytes())?;
    push_prefixed(&mut out, route.message_id.as_ref())?;
    out.extend_from_slice(&route.sent_ms.to_be_bytes());
    Some(out)
}

fn push_prefixed(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.extend_from_slice(&length_prefix(bytes)?);
    out.extend_from_slice(bytes);
    Some(())
}
