//! Link frames: what two daemons say to each other (docs/wire-format.md section 6).

mod decode;
mod encode;
mod lists;
mod reasons;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use pigeon_bundle::{BundleId, COMMITMENT_SIZE, NodeKey, REVEAL_SIZE, Reveal, Tag};

pub use decode::FrameError;
pub use reasons::{DeclineReason, EndReason, GoodbyeReason};

/// The version of the link protocol that this crate speaks.
pub const PROTOCOL_VERSION: u32 = 1;
/// Copies that one hand-over may give (PROTOCOL.md section 4, step 4).
pub const COPIES_PER_OFFER_MAX: u8 = 3;
/// Most 16-byte macs in one frame; longer lists span frames.
pub const MAC16_LIST_MAX: usize = 4_000;
/// Most 8-byte macs in one frame; longer lists span frames.
pub const MAC8_LIST_MAX: usize = 8_000;
/// Most reveals in one frame.
pub const REVEAL_LIST_MAX: usize = 2_000;
/// Most tags in one frame; longer lists span frames.
pub const TAG_LIST_MAX: usize = 4_000;
/// Most bytes of a bundle in one segment: a frame less the room that number, id, offset and heads need.
pub const SEGMENT_DATA_MAX: usize = crate::FRAME_SIZE_MAX - 64;

/// Longest bridge domain in a [`PickupToken`], bytes.
pub const PICKUP_DOMAIN_MAX: usize = pigeon_bundle::DOMAIN_MAX;

/// Most bytes of a bundle's fixed form.
const BUNDLE_SIZE_MAX: u64 = pigeon_bundle::BUNDLE_SIZE_MAX as u64;

/// First frame on a link, each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Protocol version, [`PROTOCOL_VERSION`].
    pub version: u32,
    /// Takes mail of strangers at the moment.
    pub carriage_open: bool,
    /// Unix seconds by a trusted clock, if there is one.
    pub clock_s: Option<u64>,
    /// Largest bundle taken, in bytes.
    pub bundle_size_max: u32,
}

/// Second frame on a link, each way: the node key and its signature over the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth {
    /// The sender's node key.
    pub node_key: NodeKey,
    /// Ed25519 signature as in docs/wire-format.md section 6.
    pub signature: [u8; 64],
}

/// A bundle on offer, in routing order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The bundle.
    pub bundle: BundleId,
    /// Bytes of its fixed form, 1 to `BUNDLE_SIZE_MAX`.
    pub size: u32,
    /// Copies that come with it, 0 (direct delivery or a pull) to [`COPIES_PER_OFFER_MAX`].
    pub copies: u8,
    /// What quality this copy has seen: the chance that one of its holders so far delivers.
    pub quality: u16,
    /// Moves of the last copy so far.
    pub moves: u8,
    /// Age in seconds.
    pub age_s: u64,
    /// Hops so far.
    pub hops: u8,
    /// Destination: the quality in the answer is the taker's towards it. `None` where no quality is asked for.
    pub tag: Option<Tag>,
}

/// The answer to an [`Offer`]: send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    /// The bundle.
    pub bundle: BundleId,
    /// The taker's quality towards its recipient.
    pub quality: u16,
    /// Begin here: what lies before arrived in an earlier contact. Below `BUNDLE_SIZE_MAX`.
    pub offset: u32,
}

/// A recipient's leave to fetch what waits for it at a bridge, made out to the node key at the other end of the link.
#[derive(Clone, PartialEq, Eq)]
pub struct PickupToken {
    /// The bridge's domain, 1 to [`PICKUP_DOMAIN_MAX`] bytes.
    pub domain: String,
    /// Sealed to the bridge; 1 to `PICKUP_TOKEN_MAX` bytes.
    pub token: Bytes,
    /// End of the token, Unix seconds.
    pub expires_s: u64,
}

/// Nothing of it belongs in a log.
impl std::fmt::Debug for PickupToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PickupToken").field("token", &self.token.len()).finish_non_exhaustive()
    }
}

/// A step of an introduction in person, as `pigeon_bundle` makes and reads it.
#[derive(Clone, PartialEq, Eq)]
pub enum Introduction {
    /// From the dialler of the link.
    Commitment([u8; COMMITMENT_SIZE]),
    /// From both, the listener first.
    Reveal([u8; REVEAL_SIZE]),
    /// From both: salt and card, 1 to `SHOWN_CARD_MAX` bytes.
    Card(Bytes),
    /// From either, at any time.
    End(EndReason),
}

/// A card belongs in no log.
impl std::fmt::Debug for Introduction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Commitment(_) => f.write_str("Commitment"),
            Self::Reveal(_) => f.write_str("Reveal"),
            Self::Card(card) => write!(f, "Card({} bytes)", card.len()),
            Self::End(reason) => write!(f, "End({reason:?})"),
        }
    }
}

/// One frame, checked.
///
/// Made by [`Frame::decode`] from what a peer sent, or built from its parts; [`Frame::check`] says whether a
/// built one is within the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// 1: first frame each way.
    Hello(Hello),
    /// 2: second frame each way.
    Auth(Auth),
    /// 3: the link ends, with the reason.
    Goodbye(GoodbyeReason),
    /// 4: macs of recognition keys, padded with random entries.
    Recognise {
        /// At most [`MAC16_LIST_MAX`].
        macs: Vec<[u8; 16]>,
        /// Closes the list.
        last: bool,
    },
    /// 5: commitment macs of what the sender holds.
    TombstonesHeld {
        /// At most [`MAC16_LIST_MAX`].
        macs: Vec<[u8; 16]>,
        /// Closes the list.
        last: bool,
    },
    /// 6: reveals of delivered bundles.
    TombstonesRevealed {
        /// At most [`REVEAL_LIST_MAX`].
        reveals: Vec<Reveal>,
    },
    /// 7: id macs of what the sender holds or refused.
    Have {
        /// At most [`MAC16_LIST_MAX`].
        macs: Vec<[u8; 16]>,
        /// Closes the list.
        last: bool,
    },
    /// 8: tag macs of what the sender carries.
    Carrying {
        /// At most [`MAC8_LIST_MAX`].
        macs: Vec<[u8; 8]>,
        /// Closes the list.
        last: bool,
    },
    /// 9: tag macs out of the peer's list that are for the sender.
    Pull {
        /// At most [`MAC8_LIST_MAX`].
        macs: Vec<[u8; 8]>,
    },
    /// 10: a bundle on offer.
    Offer(Offer),
    /// 11: send it.
    Accept(Accept),
    /// 12: do not send it.
    Decline {
        /// The bundle.
        bundle: BundleId,
        /// Why not.
        reason: DeclineReason,
    },
    /// 13: a part of a bundle.
    Segment {
        /// The bundle.
        bundle: BundleId,
        /// Where in its fixed form the data begins.
        offset: u32,
        /// 1 to [`SEGMENT_DATA_MAX`] bytes, ending within `BUNDLE_SIZE_MAX`.
        data: Bytes,
    },
    /// 14: the sender holds the bundle durably, with zero copies.
    Stored {
        /// The bundle.
        bundle: BundleId,
    },
    /// 15: the receiver of this frame now has copies of the bundle.
    Granted {
        /// The bundle.
        bundle: BundleId,
        /// 0 to [`COPIES_PER_OFFER_MAX`].
        copies: u8,
    },
    /// 16: tags under which the sender can be reached, in clear.
    Reachable {
        /// At most [`TAG_LIST_MAX`].
        tags: Vec<Tag>,
        /// Closes the list.
        last: bool,
    },
    /// 17: leave to fetch the sender's mail.
    PickupToken(PickupToken),
    /// 18: the person at the other end introduces herself.
    Introduction(Introduction),
}

impl Frame {
    /// The frame's number on the wire.
    #[must_use]
    pub fn number(&self) -> u8 {
        match self {
            Self::Hello(_) => 1,
            Self::Auth(_) => 2,
            Self::Goodbye(_) => 3,
            Self::Recognise { .. } => 4,
            Self::TombstonesHeld { .. } => 5,
            Self::TombstonesRevealed { .. } => 6,
            Self::Have { .. } => 7,
            Self::Carrying { .. } => 8,
            Self::Pull { .. } => 9,
            Self::Offer(_) => 10,
            Self::Accept(_) => 11,
            Self::Decline { .. } => 12,
            Self::Segment { .. } => 13,
            Self::Stored { .. } => 14,
            Self::Granted { .. } => 15,
            Self::Reachable { .. } => 16,
            Self::PickupToken(_) => 17,
            Self::Introduction(_) => 18,
        }
    }

    /// The frame's name, for logs and errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        decode::name(self.number())
    }
}
