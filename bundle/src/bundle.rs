//! The bundle in its fixed form (`docs/wire-format.md` section 4).

use core::fmt;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::blocks::Carriage;
use crate::context;
use crate::exact;
use crate::form::{self, Primary};
use crate::hybrid::OVERHEAD;
use crate::ids::{BundleId, Commitment, DAY_S, Epoch, HeaderDigest, MessageDigest, Tag};
use crate::padding::STEPS;

/// Largest bundle in the fixed form, in bytes.
pub const BUNDLE_SIZE_MAX: usize = 98_304;
/// Shortest lifetime, in seconds: 1 hour. Lifetimes are whole hours.
pub const LIFETIME_MIN_S: u64 = HOUR_S;
/// Usual lifetime, in seconds: 7 days.
pub const LIFETIME_DEFAULT_S: u64 = 7 * DAY_S;
/// Longest lifetime, in seconds: 30 days.
pub const LIFETIME_MAX_S: u64 = 30 * DAY_S;
/// Number of shards a bridge may have.
pub const SHARD_COUNT: usize = 16;

pub(crate) const HOUR_S: u64 = 3_600;
/// 2000-01-01, where DTN time starts, in Unix seconds.
pub(crate) const DTN_EPOCH_S: u64 = 946_684_800;
/// Past the end of its day and its lifetime a bundle is kept this long, for clocks that disagree.
const GRACE_S: u64 = DAY_S;

/// Bytes that are no bundle of ours.
#[derive(Debug, Error)]
pub enum BundleError {
    /// More bytes than a bundle may have.
    #[error("bundle of {size} bytes, at most {BUNDLE_SIZE_MAX} are allowed")]
    TooLarge {
        /// Bytes given.
        size: usize,
    },
    /// Not RFC 9171 at all.
    #[error("not a bundle of RFC 9171")]
    Rfc9171(#[source] Box<dyn core::error::Error + Send + Sync>),
    /// A part that the fixed form does not allow.
    #[error("{place}: the fixed form requires {expected}")]
    Field {
        /// Which block or field.
        place: &'static str,
        /// What must be there.
        expected: &'static str,
    },
    /// The source does not follow from the rest.
    #[error("bundle is damaged: its id does not match its source; take it from somebody else")]
    Damaged,
    /// The parts are right, their encoding is not.
    #[error("bundle differs from its fixed form at byte {offset}")]
    NotFixedForm {
        /// Offset of the first byte that differs.
        offset: usize,
    },
    /// The encoder refused; a fault of this program.
    #[error("bundle cannot be encoded; please report this")]
    Encode(#[source] Box<dyn core::error::Error + Send + Sync>),
}

/// The Uplink block: by which bridge the message may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The bridge's logical domain, 1 to 150 bytes.
    pub domain: Box<str>,
    /// The bridge's Ed25519 key; verdicts are signed by it.
    pub bridge_key: [u8; 32],
    /// The route, sealed to the bridge, 560 bytes.
    pub route: Bytes,
}

/// A bundle in the fixed form, checked: every value of this type has gone through the same checks,
/// whether it was sealed here or came from outside. Cheap to clone.
#[derive(Clone)]
pub struct Bundle(Arc<Inner>);

struct Inner {
    bytes: Bytes,
    /// The payload stands last, before the one byte that ends the array.
    payload_size: usize,
    primary: Primary,
    carriage: Carriage,
    uplink: Option<Uplink>,
    id: BundleId,
    message: MessageDigest,
    header: HeaderDigest,
}

impl Bundle {
    /// Takes a bundle from outside: reads the one encoding it may have, checks each part, computes the digests.
    ///
    /// # Errors
    /// [`BundleError`] naming the part. There is no repair: such a bundle is dropped.
    pub fn parse(bytes: Bytes) -> Result<Self, BundleError> {
        if bytes.len() > BUNDLE_SIZE_MAX {
            return Err(BundleError::TooLarge { size: bytes.len() });
        }
        let inner = match Inner::read(&bytes) {
            Some(inner) => inner,
            None => Inner::read_patiently(&bytes)?,
        };
        Ok(Self(Arc::new(Inner { bytes, ..inner })))
    }

    /// Makes a bundle of parts that were sealed here, under the same checks. `header` and `message` are what
    /// [`header_digest`] and [`message_digest`] gave for these parts.
    pub(crate) fn build(
        primary: Primary,
        carriage: Carriage,
        uplink: Option<Uplink>,
        payload: &[u8],
        header: HeaderDigest,
        message: MessageDigest,
    ) -> Result<Self, BundleError> {
        let inner = Inner::build(primary, carriage, &carriage.encode()?, uplink, payload, header, message)?;
        Ok(Self(Arc::new(inner)))
    }

    /// The same of parts that were read from another encoding.
    pub(crate) fn assemble(
        primary: Primary,
        carriage: Carriage,
        uplink: Option<Uplink>,
        payload: &[u8],
    ) -> Result<Self, BundleError> {
        Ok(Self(Arc::new(Inner::assemble(primary, carriage, uplink, payload)?)))
    }

    /// B: what stores key on. A variant of the same message with another uplink has another B.
    #[must_use]
    pub fn id(&self) -> BundleId {
        self.0.id
    }

    /// P: what recipients and bridges deduplicate on.
    #[must_use]
    pub fn message_digest(&self) -> MessageDigest {
        self.0.message
    }

    /// H: bound into the seal.
    #[must_use]
    pub fn header_digest(&self) -> HeaderDigest {
        self.0.header
    }

    /// Whom it is for, to those who hold the recipient's card.
    #[must_use]
    pub fn tag(&self) -> Tag {
        self.0.primary.tag
    }

    /// The day the tag is computed for.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.carriage.epoch
    }

    /// Unix seconds of the hour in which it was made; `None`: the author had no clock.
    #[must_use]
    pub fn creation_s(&self) -> Option<u64> {
        let creation_ms = self.0.primary.creation_ms;
        (creation_ms != 0).then_some(creation_ms / 1_000 + DTN_EPOCH_S)
    }

    /// Lifetime in seconds, whole hours.
    #[must_use]
    pub fn lifetime_s(&self) -> u64 {
        self.0.primary.lifetime_ms / 1_000
    }

    /// Unix seconds from which every node with a clock drops it: end of its day + lifetime + 1 day.
    #[must_use]
    pub fn expires_s(&self) -> u64 {
        self.epoch().end_s() + self.lifetime_s() + GRACE_S
    }

    /// What a [`crate::Reveal`] must open to end its carriage.
    #[must_use]
    pub fn commitment(&self) -> Commitment {
        self.0.carriage.commitment
    }

    /// The bridge it may go by, if any.
    #[must_use]
    pub fn uplink(&self) -> Option<&Uplink> {
        self.0.uplink.as_ref()
    }

    /// The sealed content.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let end = self.0.bytes.len() - 1;
        &self.0.bytes[end - self.0.payload_size..end]
    }

    /// Bytes of padded plaintext inside the payload, one of [`STEPS`].
    #[must_use]
    pub fn payload_step(&self) -> usize {
        self.0.payload_size - OVERHEAD
    }

    /// The fixed form.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// Bytes of the fixed form.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.bytes.len()
    }
}

impl Inner {
    /// Reads the fixed form; `None` for whatever is not exactly that.
    fn read(bytes: &Bytes) -> Option<Self> {
        let exact = exact::read(bytes)?;
        let carriage_data = bytes.get(exact.carriage)?;
        let carriage = Carriage::decode_exact(carriage_data)?;
        let uplink_data = exact.uplink.clone().map_or(Some(&[][..]), |range| bytes.get(range))?;
        let uplink = match exact.uplink {
            Some(range) => Some(Uplink::decode_exact(bytes, range)?),
            None => None,
        };
        let payload = bytes.get(exact.payload)?;
        check(&exact.primary, carriage.epoch, payload).ok()?;
        let header = header_digest_of(&exact.primary, carriage_data);
        let message = message_digest(&header, payload);
        let id = bundle_id(&message, uplink_data);
        (exact.source == exact::source(&id)).then(|| Self {
            bytes: bytes.clone(),
            payload_size: payload.len(),
            primary: exact.primary,
            carriage,
            uplink,
            id,
            message,
            header,
        })
    }

    /// Reads any RFC 9171 encoding, encodes the parts again and says in what the two differ.
    fn read_patiently(bytes: &Bytes) -> Result<Self, BundleError> {
        let cut = form::cut(bytes)?;
        let carriage = Carriage::decode(&bytes[cut.carriage])?;
        let uplink = cut.uplink.map(|range| Uplink::decode(bytes, range)).transpose()?;
        let inner = Self::assemble(cut.primary, carriage, uplink, &bytes[cut.payload])?;
        if inner.bytes == *bytes {
            return Ok(inner);
        }
        Err(if cut.source == form::source(&inner.id) {
            BundleError::NotFixedForm { offset: first_difference(&inner.bytes, bytes) }
        } else {
            BundleError::Damaged
        })
    }

    /// Computes H and P, then as [`Inner::build`].
    fn assemble(
        primary: Primary,
        carriage: Carriage,
        uplink: Option<Uplink>,
        payload: &[u8],
    ) -> Result<Self, BundleError> {
        let carriage_data = carriage.encode()?;
        let header = header_digest_of(&primary, &carriage_data);
        let message = message_digest(&header, payload);
        Self::build(primary, carriage, &carriage_data, uplink, payload, header, message)
    }

    /// Checks the parts, computes B and encodes.
    fn build(
        primary: Primary,
        carriage: Carriage,
        carriage_data: &[u8],
        uplink: Option<Uplink>,
        payload: &[u8],
        header: HeaderDigest,
        message: MessageDigest,
    ) -> Result<Self, BundleError> {
        check(&primary, carriage.epoch, payload)?;
        let uplink_data = uplink.as_ref().map(Uplink::encode).transpose()?;
        let data = uplink_data.as_deref();
        let id = bundle_id(&message, data.unwrap_or_default());
        let bytes = Bytes::from(exact::encode(&primary, &id, carriage_data, data, payload));
        if bytes.len() > BUNDLE_SIZE_MAX {
            return Err(BundleError::TooLarge { size: bytes.len() });
        }
        Ok(Self { bytes, payload_size: payload.len(), primary, carriage, uplink, id, message, header })
    }
}

impl PartialEq for Bundle {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl Eq for Bundle {}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bundle({:?}, {} bytes)", self.0.id, self.0.bytes.len())
    }
}

impl MessageDigest {
    /// Which of a bridge's 16 shards serves this message: the top nibble.
    #[must_use]
    pub fn shard(&self) -> usize {
        usize::from(self.0[0] >> 4)
    }
}

/// H of `docs/wire-format.md` section 1.
pub(crate) fn header_digest(primary: &Primary, carriage: &Carriage) -> Result<HeaderDigest, BundleError> {
    Ok(header_digest_of(primary, &carriage.encode()?))
}

fn header_digest_of(primary: &Primary, carriage_data: &[u8]) -> HeaderDigest {
    HeaderDigest(context::sha256("header", &[&exact::header_bytes(primary), carriage_data]))
}

/// P of `docs/wire-format.md` section 1.
pub(crate) fn message_digest(header: &HeaderDigest, payload: &[u8]) -> MessageDigest {
    MessageDigest(context::sha256("message", &[header.as_ref(), payload]))
}

/// B of `docs/wire-format.md` section 1; no uplink data is empty.
fn bundle_id(message: &MessageDigest, uplink_data: &[u8]) -> BundleId {
    BundleId(context::sha256("bundle", &[message.as_ref(), uplink_data]))
}

fn check(primary: &Primary, epoch: Epoch, payload: &[u8]) -> Result<(), BundleError> {
    check_times(primary, epoch)?;
    if !payload.len().checked_sub(OVERHEAD).is_some_and(|step| STEPS.contains(&step)) {
        return Err(BundleError::Field { place: "payload", expected: "a padding step and 48 bytes" });
    }
    Ok(())
}

fn check_times(primary: &Primary, epoch: Epoch) -> Result<(), BundleError> {
    const HOUR_MS: u64 = HOUR_S * 1_000;
    let range = LIFETIME_MIN_S * 1_000..=LIFETIME_MAX_S * 1_000;
    if !range.contains(&primary.lifetime_ms) || !primary.lifetime_ms.is_multiple_of(HOUR_MS) {
        return Err(BundleError::Field { place: "lifetime", expected: "whole hours, 1 hour to 30 days" });
    }
    if !primary.creation_ms.is_multiple_of(HOUR_MS) {
        return Err(BundleError::Field { place: "creation time", expected: "whole hours" });
    }
    let day = (primary.creation_ms / 1_000 + DTN_EPOCH_S) / DAY_S;
    if primary.creation_ms != 0 && day != u64::from(epoch.0) {
        return Err(BundleError::Field { place: "epoch", expected: "the day of the creation time" });
    }
    Ok(())
}

fn first_difference(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()))
}
