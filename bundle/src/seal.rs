//! Sealing and opening (`docs/wire-format.md` section 3).

use core::fmt;

use prost::Message as _;
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use crate::blocks::Carriage;
use crate::bridge_card::{BridgeCard, BridgeIdentity};
use crate::bundle::{Bundle, BundleError, DTN_EPOCH_S, HOUR_S, LIFETIME_MAX_S, LIFETIME_MIN_S};
use crate::card::Card;
use crate::context::{self, length_prefix};
use crate::digests;
use crate::form::Primary;
use crate::hybrid;
use crate::identity::{Identity, SignatureError, verify};
use crate::ids::{DAY_S, Epoch, HeaderDigest, IdentityKey, MailboxSecret, MessageDigest, MessageId, Reveal};
use crate::one_time::OneTimePublic;
use crate::padding::{CONTENT_MAX, capacity, pad, unpad};
use crate::prekey::PrekeyRing;
use crate::random::{SecretRandom, secret_array};
use crate::route;
use crate::text::TextError;

const SEAL: &str = "seal";
const ENVELOPE: &str = "envelope";

#[derive(Clone, PartialEq, prost::Message)]
struct Envelope {
    #[prost(bytes = "vec", tag = "1")]
    author: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    reveal: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    signature: Vec<u8>,
}

/// Most bytes of content that make a payload no larger than `size` bytes of content do: the padding, put to use.
/// 0 where `size` is above [`CONTENT_MAX`].
///
/// ```
/// // 256 bytes of plaintext: u32 length, author 34, reveal 34, signature 66, and two heads around the content.
/// assert_eq!(pigeon_bundle::content_room(10), 256 - 4 - 134 - 2);
/// ```
#[must_use]
pub fn content_room(size: usize) -> usize {
    /// Author, reveal and signature with their heads, and the tag of the content.
    const FRAME: usize = 34 + 34 + 66 + 1;
    let envelope = |size: usize| FRAME + prost::encoding::encoded_len_varint(size as u64) + size;
    if size > CONTENT_MAX {
        return 0;
    }
    let room = capacity(envelope(size)).unwrap_or_default();
    // The head of the content is 1 to 3 bytes, and larger sizes have larger heads.
    let fits = |size: &usize| envelope(*size) <= room;
    (1..=3)
        .filter_map(|head| room.checked_sub(FRAME + head))
        .find(fits)
        .unwrap_or(size)
        .clamp(size, CONTENT_MAX)
}

impl Drop for Envelope {
    fn drop(&mut self) {
        self.content.zeroize();
        self.reveal.zeroize();
    }
}

/// A message to be sealed.
#[derive(Clone, Copy)]
pub struct Draft<'a> {
    /// Whom it is for.
    pub recipient: &'a Card,
    /// The encoded content, at most [`CONTENT_MAX`] bytes.
    pub content: &'a [u8],
    /// Time of making, Unix seconds, rounded down to the hour inside; `None` without a trusted clock.
    pub created_s: Option<u64>,
    /// The day; the day of `created_s` where there is one.
    pub epoch: Epoch,
    /// Lifetime in seconds, 1 hour to 30 days, rounded up to the hour inside.
    pub lifetime_s: u64,
    /// The bridge it may go by, if any.
    pub uplink: Option<UplinkDraft<'a>>,
}

impl fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Draft({} bytes, epoch {})", self.content.len(), self.epoch)
    }
}

/// A message for somebody without a card, which the bridge reads.
#[derive(Clone, Copy)]
pub struct BridgeDraft<'a> {
    /// The encoded content, at most [`CONTENT_MAX`] bytes.
    pub content: &'a [u8],
    /// As [`Draft::created_s`].
    pub created_s: Option<u64>,
    /// As [`Draft::epoch`].
    pub epoch: Epoch,
    /// As [`Draft::lifetime_s`].
    pub lifetime_s: u64,
    /// The bridge, and whom it is for.
    pub uplink: UplinkDraft<'a>,
}

/// What a bridge is told about a message.
#[derive(Clone, Copy)]
pub struct UplinkDraft<'a> {
    /// The pinned card of the bridge.
    pub bridge: &'a BridgeCard,
    /// The author's bare JID.
    pub author_jid: &'a str,
    /// The recipient's bare JID.
    pub recipient_jid: &'a str,
    /// The author's id of the message.
    pub message_id: MessageId,
    /// Send time, Unix milliseconds; 0 without a clock.
    pub sent_ms: u64,
}

impl fmt::Debug for UplinkDraft<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UplinkDraft({:?})", self.message_id)
    }
}

/// What sealing gives: the bundle, and the reveal that the author keeps to cancel it.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// To be stored, and sent again byte for byte; never sealed again.
    pub bundle: Bundle,
    /// Opens the bundle's commitment.
    pub reveal: Reveal,
}

/// A draft that cannot be sealed.
#[derive(Debug, Error)]
pub enum SealError {
    /// Too much content for one bundle.
    #[error("content has {size} bytes, at most {CONTENT_MAX} fit one bundle; send it in parts")]
    TooLarge {
        /// Bytes given.
        size: usize,
    },
    /// The lifetime is out of range.
    #[error("lifetime of {0} s, must be {LIFETIME_MIN_S} to {LIFETIME_MAX_S}")]
    Lifetime(u64),
    /// The clock is before the year 2000, or the epoch is not its day.
    #[error("creation time {created_s} does not fit epoch {epoch}; check the clock")]
    Time {
        /// Unix seconds of the draft.
        created_s: u64,
        /// Day of the draft.
        epoch: Epoch,
    },
    /// A JID of the uplink that is none.
    #[error("{field} JID {problem}")]
    Jid {
        /// `author` or `recipient`.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        problem: TextError,
    },
    /// The recipient's or the bridge's key cannot be sealed to.
    #[error("the {0}'s card has an unusable X25519 key; ask for a new card")]
    Key(&'static str),
    /// A one-time key past its expiry, or an author without a clock.
    #[error("the recipient's one-time key may not be used now; seal to the prekey")]
    OneTimeExpired,
    /// The bundle cannot be built.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// Seals a message: signs the envelope, pads it, encrypts it to the recipient, addresses it by tag.
///
/// Each call makes another bundle, even of the same draft: re-send the bytes, do not seal again.
///
/// # Errors
/// [`SealError`] naming what the caller must change.
pub fn seal(identity: &Identity, draft: &Draft<'_>, rng: &mut dyn SecretRandom) -> Result<Sealed, SealError> {
    seal_to_key(identity, &Address::of(draft, draft.recipient.recipient_key(draft.created_s)), draft, rng)
}

/// Seals a message for somebody who has no card to the bridge itself, which reads it and sends it on as plain text. The
/// author must know that.
///
/// # Errors
/// As [`seal()`].
pub fn seal_to_bridge(
    identity: &Identity,
    draft: &BridgeDraft<'_>,
    rng: &mut dyn SecretRandom,
) -> Result<Sealed, SealError> {
    let bridge = draft.uplink.bridge;
    let address = Address {
        identity: IdentityKey(*bridge.key()),
        secret: bridge_mailbox(bridge.key()),
        key: *bridge.x25519(),
    };
    let parts = Parts {
        content: draft.content,
        created_s: draft.created_s,
        epoch: draft.epoch,
        lifetime_s: draft.lifetime_s,
        uplink: Some(draft.uplink),
    };
    seal_parts(identity, &address, &parts, rng)
}

/// The mailbox secret under which a bridge's own mail travels: whoever has its card can compute it.
fn bridge_mailbox(key: &[u8; 32]) -> MailboxSecret {
    MailboxSecret(context::sha256("bridge-mailbox", &[key]))
}

/// Whom a message is sealed to.
struct Address {
    identity: IdentityKey,
    secret: MailboxSecret,
    key: [u8; 32],
}

impl Address {
    fn of(draft: &Draft<'_>, key: [u8; 32]) -> Self {
        let card = draft.recipient;
        Self { identity: card.identity(), secret: card.mailbox_secret().clone(), key }
    }
}

/// A message without its address.
struct Parts<'a> {
    content: &'a [u8],
    created_s: Option<u64>,
    epoch: Epoch,
    lifetime_s: u64,
    uplink: Option<UplinkDraft<'a>>,
}

/// As [`seal()`], to a one-time key that the recipient has given: once it has arrived, nobody can open it again.
///
/// # Errors
/// [`SealError::OneTimeExpired`] where the key may not be used any more, or without a clock; else as [`seal()`].
pub fn seal_once(
    identity: &Identity,
    draft: &Draft<'_>,
    key: OneTimePublic,
    rng: &mut dyn SecretRandom,
) -> Result<Sealed, SealError> {
    if !key.usable_at(draft.created_s) {
        return Err(SealError::OneTimeExpired);
    }
    seal_to_key(identity, &Address::of(draft, key.into_key()), draft, rng)
}

fn seal_to_key(
    identity: &Identity,
    address: &Address,
    draft: &Draft<'_>,
    rng: &mut dyn SecretRandom,
) -> Result<Sealed, SealError> {
    let parts = Parts {
        content: draft.content,
        created_s: draft.created_s,
        epoch: draft.epoch,
        lifetime_s: draft.lifetime_s,
        uplink: draft.uplink,
    };
    seal_parts(identity, address, &parts, rng)
}

fn seal_parts(
    identity: &Identity,
    address: &Address,
    draft: &Parts<'_>,
    rng: &mut dyn SecretRandom,
) -> Result<Sealed, SealError> {
    if draft.content.len() > CONTENT_MAX {
        return Err(SealError::TooLarge { size: draft.content.len() });
    }
    let reveal = Reveal(secret_array(rng));
    let primary = primary(address, draft)?;
    let carriage = Carriage { epoch: draft.epoch, commitment: reveal.commitment() };
    let header = digests::header(&primary, &carriage)?;
    let payload = payload(identity, address, draft.content, &header, &reveal, rng)?;
    let message = digests::message(&header, &payload);
    let uplink = match &draft.uplink {
        Some(uplink) => Some(route::seal_route(identity, uplink, &message, rng)?),
        None => None,
    };
    let bundle = Bundle::build(primary, carriage, uplink, &payload, header, message)?;
    Ok(Sealed { bundle, reveal })
}

fn primary(address: &Address, draft: &Parts<'_>) -> Result<Primary, SealError> {
    if !(LIFETIME_MIN_S..=LIFETIME_MAX_S).contains(&draft.lifetime_s) {
        return Err(SealError::Lifetime(draft.lifetime_s));
    }
    let creation_ms = draft.created_s.map_or(Ok(0), |created_s| creation_ms(created_s, draft.epoch))?;
    Ok(Primary {
        tag: address.secret.tag(draft.epoch),
        creation_ms,
        lifetime_ms: draft.lifetime_s.div_ceil(HOUR_S) * HOUR_S * 1_000,
    })
}

/// The full hour in DTN milliseconds. 0 would say "no clock", so the first hour of DTN time is refused.
fn creation_ms(created_s: u64, epoch: Epoch) -> Result<u64, SealError> {
    let hours = created_s.checked_sub(DTN_EPOCH_S).map(|since_s| since_s / HOUR_S).filter(|&hours| hours > 0);
    match hours {
        Some(hours) if created_s / DAY_S == u64::from(epoch.0) => Ok(hours * HOUR_S * 1_000),
        _ => Err(SealError::Time { created_s, epoch }),
    }
}

fn payload(
    identity: &Identity,
    address: &Address,
    content: &[u8],
    header: &HeaderDigest,
    reveal: &Reveal,
    rng: &mut dyn SecretRandom,
) -> Result<Vec<u8>, SealError> {
    let too_large = SealError::TooLarge { size: content.len() };
    let author = identity.key();
    let Some(length) = length_prefix(content) else { return Err(too_large) };
    let signature = identity
        .sign(ENVELOPE, &signed_parts(&author, &address.identity, &address.key, header, &length, content));
    let envelope = Envelope {
        author: author.0.to_vec(),
        content: content.to_vec(),
        reveal: reveal.0.to_vec(),
        signature: signature.to_vec(),
    };
    let Some(plaintext) = pad(&Zeroizing::new(envelope.encode_to_vec())) else { return Err(too_large) };
    hybrid::seal_to(&address.key, SEAL, header.as_ref(), &plaintext, rng)
        .map_err(|_| SealError::Key("recipient"))
}

/// What the author signs, after the context.
fn signed_parts<'a>(
    author: &'a IdentityKey,
    recipient: &'a IdentityKey,
    sealed_to: &'a [u8; 32],
    header: &'a HeaderDigest,
    length: &'a [u8; 4],
    content: &'a [u8],
) -> [&'a [u8]; 6] {
    [author.as_ref(), recipient.as_ref(), sealed_to, header.as_ref(), length, content]
}

/// Which of the recipient's keys a message was sealed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenedWith {
    /// A signed prekey.
    Prekey,
    /// The static key.
    StaticKey,
    /// The one-time key with this public half: delete it once the message is durable.
    OneTime([u8; 32]),
}

/// A message that was opened and checked.
#[derive(Clone)]
pub struct Opened {
    /// Who wrote it.
    pub author: IdentityKey,
    /// The encoded content; wiped on drop.
    pub content: Zeroizing<Vec<u8>>,
    /// Ends the bundle's carriage when shown.
    pub reveal: Reveal,
    /// P, to deduplicate on.
    pub message: MessageDigest,
    /// The key it was sealed to.
    pub with: OpenedWith,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({:?}, {} bytes)", self.message, self.content.len())
    }
}

/// A bundle that is not to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// Too late, even if it opens.
    #[error("bundle expired at {expires_s}")]
    Expired {
        /// End of its life, Unix seconds.
        expires_s: u64,
    },
    /// Sealed to none of our keys: for somebody else, or to a prekey deleted since.
    #[error("bundle opens with none of our keys")]
    NoKey,
    /// It opened, but its inside is not an envelope.
    #[error("sealed content is malformed: {0}")]
    Malformed(&'static str),
    /// The signature does not bind this author, this recipient and this bundle.
    #[error("author's signature is wrong: {0}")]
    Signature(#[from] SignatureError),
    /// The reveal inside does not open the commitment outside.
    #[error("reveal does not match the commitment")]
    Commitment,
}

/// Opens a bundle with our live prekeys, newest first, then with the static key, then with the one-time keys, and
/// checks the inside.
///
/// A message that was opened before may open no more: ask first whether its [`MessageDigest`] is known.
///
/// # Errors
/// [`OpenError`]; nothing of the content is released then.
pub fn open(
    bundle: &Bundle,
    identity: &Identity,
    ring: &PrekeyRing,
    now_s: Option<u64>,
) -> Result<Opened, OpenError> {
    let expires_s = bundle.expires_s();
    if now_s.is_some_and(|now_s| now_s >= expires_s) {
        return Err(OpenError::Expired { expires_s });
    }
    let prekeys = ring.live(now_s).map(|key| (key.secret(), key.public(), OpenedWith::Prekey));
    let static_key = (identity.agreement(), identity.x25519_public(), OpenedWith::StaticKey);
    let one_time = ring.one_time().live(now_s);
    let one_time = one_time.map(|key| (key.secret(), key.public(), OpenedWith::OneTime(key.public())));
    let associated = bundle.header_digest();
    for (secret, public, with) in prekeys.chain([static_key]).chain(one_time) {
        if let Some(plaintext) =
            hybrid::open_with((secret, &public), SEAL, associated.as_ref(), bundle.payload())
        {
            return check(bundle, &identity.key(), &public, with, &plaintext);
        }
    }
    Err(OpenError::NoKey)
}

/// Whether a bundle is sealed to the bridge with this key, by its tag.
#[must_use]
pub fn is_for_bridge(bundle: &Bundle, key: &[u8; 32]) -> bool {
    bundle.tag() == bridge_mailbox(key).tag(bundle.epoch())
}

/// Opens what [`seal_to_bridge`] made, at the bridge. Expiry is the caller's business.
///
/// # Errors
/// As [`open()`].
pub fn open_at_bridge(bundle: &Bundle, bridge: &BridgeIdentity) -> Result<Opened, OpenError> {
    let associated = bundle.header_digest();
    let plaintext = hybrid::open_with(bridge.agreement(), SEAL, associated.as_ref(), bundle.payload());
    let plaintext = plaintext.ok_or(OpenError::NoKey)?;
    let own = IdentityKey(bridge.key());
    check(bundle, &own, &bridge.x25519_public(), OpenedWith::StaticKey, &plaintext)
}

fn check(
    bundle: &Bundle,
    own: &IdentityKey,
    sealed_to: &[u8; 32],
    with: OpenedWith,
    plaintext: &[u8],
) -> Result<Opened, OpenError> {
    let bytes = unpad(plaintext).ok_or(OpenError::Malformed("padding"))?;
    let mut envelope = Envelope::decode(bytes).map_err(|_| OpenError::Malformed("protobuf"))?;
    let author = IdentityKey::try_from(&*envelope.author).map_err(|_| OpenError::Malformed("author"))?;
    let reveal = Reveal::try_from(&*envelope.reveal).map_err(|_| OpenError::Malformed("reveal"))?;
    let content = Zeroizing::new(core::mem::take(&mut envelope.content));
    let length = length_prefix(&content).filter(|_| content.len() <= CONTENT_MAX);
    let length = length.ok_or(OpenError::Malformed("content length"))?;
    let header = bundle.header_digest();
    let parts = signed_parts(&author, own, sealed_to, &header, &length, &content);
    verify(&author.0, ENVELOPE, &parts, &envelope.signature)?;
    if reveal.commitment() != bundle.commitment() {
        return Err(OpenError::Commitment);
    }
    Ok(Opened { author, content, reveal, message: bundle.message_digest(), with })
}
