//! The bundle in its fixed form (`docs/wire-format.md` section 4).

use core::fmt;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::blocks::Carriage;
use crate::digests;
use crate::exact;
use crate::form::Primary;
use crate::hybrid::OVERHEAD;
use crate::ids::{BundleId, Commitment, DAY_S, Epoch, HeaderDigest, MessageDigest, Tag};
use crate::shape::{self, Shape};
use crate::unproven::Unproven;

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
    shape: Shape,
    id: BundleId,
    message: MessageDigest,
    header: HeaderDigest,
}

impl Bundle {
    /// Takes a bundle from outside: reads the one encoding it may have, checks each part, computes the digests.
    ///
    /// # Errors
    /// [`BundleError`] naming the part. There is no repair: such a bundle is dropped.
    #[expect(clippy::needless_pass_by_value, reason = "the bundle keeps these bytes")]
    pub fn parse(bytes: Bytes) -> Result<Self, BundleError> {
        Unproven::read(&bytes)?.prove()
    }

    /// A bundle of which each part has been checked and each digest computed.
    pub(crate) fn proven(shape: Shape, id: BundleId, message: MessageDigest, header: HeaderDigest) -> Self {
        Self(Arc::new(Inner { shape, id, message, header }))
    }

    /// Makes a bundle of parts that were sealed here, under the same checks. `header` and `message` are what
    /// [`digests`] gave for these parts.
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
        self.0.shape.primary.tag
    }

    /// The day the tag is computed for.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.shape.carriage.epoch
    }

    /// Unix seconds of the hour in which it was made; `None`: the author had no clock.
    #[must_use]
    pub fn creation_s(&self) -> Option<u64> {
        let creation_ms = self.0.shape.primary.creation_ms;
        (creation_ms != 0).then_some(creation_ms / 1_000 + DTN_EPOCH_S)
    }

    /// Lifetime in seconds, whole hours.
    #[must_use]
    pub fn lifetime_s(&self) -> u64 {
        self.0.shape.primary.lifetime_ms / 1_000
    }

    /// Unix seconds from which every node with a clock drops it: end of its day + lifetime + 1 day.
    #[must_use]
    pub fn expires_s(&self) -> u64 {
        self.epoch().end_s() + self.lifetime_s() + GRACE_S
    }

    /// What a [`crate::Reveal`] must open to end its carriage.
    #[must_use]
    pub fn commitment(&self) -> Commitment {
        self.0.shape.carriage.commitment
    }

    /// The bridge it may go by, if any.
    #[must_use]
    pub fn uplink(&self) -> Option<&Uplink> {
        self.0.shape.uplink.as_ref()
    }

    /// The sealed content.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.0.shape.payload()
    }

    /// Bytes of padded plaintext inside the payload, one of [`crate::STEPS`].
    #[must_use]
    pub fn payload_step(&self) -> usize {
        self.0.shape.payload_size - OVERHEAD
    }

    /// The fixed form.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0.shape.bytes
    }

    /// Bytes of the fixed form.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.shape.bytes.len()
    }
}

impl Inner {
    /// Computes H and P, then as [`Inner::build`].
    fn assemble(
        primary: Primary,
        carriage: Carriage,
        uplink: Option<Uplink>,
        payload: &[u8],
    ) -> Result<Self, BundleError> {
        let carriage_data = carriage.encode()?;
        let header = digests::header_of(&primary, &carriage_data);
        let message = digests::message(&header, payload);
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
        shape::check(&primary, carriage.epoch, payload)?;
        let uplink_data = uplink.as_ref().map(Uplink::encode).transpose()?;
        let data = uplink_data.as_deref();
        let id = digests::bundle(&message, data.unwrap_or_default());
        let bytes = Bytes::from(exact::encode(&primary, &id, carriage_data, data, payload));
        if bytes.len() > BUNDLE_SIZE_MAX {
            return Err(BundleError::TooLarge { size: bytes.len() });
        }
        let shape = Shape { bytes, payload_size: payload.len(), primary, carriage, uplink };
        Ok(Self { shape, id, message, header })
    }
}

impl PartialEq for Bundle {
    fn eq(&self, other: &Self) -> bool {
        self.0.shape.bytes == other.0.shape.bytes
    }
}

impl Eq for Bundle {}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bundle({:?}, {} bytes)", self.0.id, self.0.shape.bytes.len())
    }
}

impl MessageDigest {
    /// Which of a bridge's 16 shards serves this message: the top nibble.
    #[must_use]
    pub fn shard(&self) -> usize {
        usize::from(self.0[0] >> 4)
    }
}
