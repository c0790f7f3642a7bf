//! From a peer's bytes to checked frames: every limit is held here.

use bytes::{Buf, Bytes};
use pigeon_bundle::{BundleId, NodeKey, PICKUP_TOKEN_MAX, Reveal, SHOWN_CARD_MAX, Tag};
use prost::Message;

use super::{
    Accept, Auth, BUNDLE_SIZE_MAX, COPIES_PER_OFFER_MAX, DeclineReason, EndReason, Frame, GoodbyeReason,
    Hello, Introduction, MAC8_LIST_MAX, MAC16_LIST_MAX, Offer, PICKUP_DOMAIN_MAX, PickupToken,
    REVEAL_LIST_MAX, SEGMENT_DATA_MAX, TAG_LIST_MAX, lists,
};
use crate::FRAME_SIZE_MAX;
use crate::wire::link;

/// Why bytes are not a frame, or why a frame may not be sent. On a link: close it with `ProtocolError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not even a number.
    #[error("empty frame: a frame begins with its number (wire-format section 6)")]
    Empty,
    /// Above [`FRAME_SIZE_MAX`].
    #[error("frame of {size} bytes, the limit is {FRAME_SIZE_MAX}: cut lists and segments smaller")]
    Oversize {
        /// Size in bytes.
        size: usize,
    },
    /// No frame has this number.
    #[error("frame number {number} is unknown: the peer speaks another version, close the link")]
    Unknown {
        /// The number.
        number: u8,
    },
    /// The message behind the number does not parse.
    #[error("{frame} frame does not parse: {source}")]
    Malformed {
        /// Name of the frame.
        frame: &'static str,
        /// What protobuf says.
        source: prost::DecodeError,
    },
    /// A fixed-size field has another size.
    #[error("{frame} frame: {field} has {size} bytes (must be {expected})")]
    FieldSize {
        /// Name of the frame.
        frame: &'static str,
        /// Name of the field.
        field: &'static str,
        /// Size found, in bytes.
        size: usize,
        /// Size required, in bytes.
        expected: usize,
    },
    /// A field that must be there is not.
    #[error("{frame} frame: {field} is missing")]
    Missing {
        /// Name of the frame.
        frame: &'static str,
        /// Name of the field.
        field: &'static str,
    },
    /// A number is outside its range.
    #[error("{frame} frame: {field} is {value} (must be in range {min}..={max})")]
    Range {
        /// Name of the frame.
        frame: &'static str,
        /// Name of the field.
        field: &'static str,
        /// Value found.
        value: u64,
        /// Least value allowed.
        min: u64,
        /// Greatest value allowed.
        max: u64,
    },
    /// A list's bytes are not whole entries.
    #[error("{frame} frame: list of {size} bytes is not a multiple of its {entry}-byte entries")]
    ListLength {
        /// Name of the frame.
        frame: &'static str,
        /// Size of the list in bytes.
        size: usize,
        /// Size of an entry in bytes.
        entry: usize,
    },
    /// A list is too long for one frame.
    #[error("{frame} frame: {count} entries, the limit is {limit}: spread the list over frames")]
    ListLimit {
        /// Name of the frame.
        frame: &'static str,
        /// Entries found.
        count: usize,
        /// Entries allowed.
        limit: usize,
    },
    /// A list that goes on holds nothing.
    #[error("{frame} frame: no entries and yet not the last of its list")]
    ListStalls {
        /// Name of the frame.
        frame: &'static str,
    },
    /// A reason nobody defined.
    #[error("{frame} frame: reason {code} is unknown: the peer speaks another version, close the link")]
    Reason {
        /// Name of the frame.
        frame: &'static str,
        /// The reason's number.
        code: u32,
    },
}

impl Frame {
    /// Reads a frame as it travels, without its length prefix. Segment data shares `bytes`' memory.
    ///
    /// # Errors
    /// Anything outside docs/wire-format.md section 6 or a limit of this crate.
    pub fn decode(bytes: Bytes) -> Result<Self, FrameError> {
        if bytes.len() > FRAME_SIZE_MAX {
            return Err(FrameError::Oversize { size: bytes.len() });
        }
        let mut body = bytes;
        let number = body.try_get_u8().map_err(|_| FrameError::Empty)?;
        let frame = decode_body(number, body)?;
        frame.check()?;
        Ok(frame)
    }

    /// Whether the frame is within the limits that [`Frame::decode`] holds a peer to.
    ///
    /// # Errors
    /// The limit it breaks.
    pub fn check(&self) -> Result<(), FrameError> {
        let frame = self.name();
        match self {
            Self::Recognise { macs, last }
            | Self::TombstonesHeld { macs, last }
            | Self::Have { macs, last } => {
                lists::check_len(frame, macs.len(), MAC16_LIST_MAX)?;
                lists::check_open(frame, macs.len(), *last)
            }
            Self::Carrying { macs, last } => {
                lists::check_len(frame, macs.len(), MAC8_LIST_MAX)?;
                lists::check_open(frame, macs.len(), *last)
            }
            Self::Reachable { tags, last } => {
                lists::check_len(frame, tags.len(), TAG_LIST_MAX)?;
                lists::check_open(frame, tags.len(), *last)
            }
            Self::TombstonesRevealed { reveals } => lists::check_len(frame, reveals.len(), REVEAL_LIST_MAX),
            Self::Pull { macs } => lists::check_len(frame, macs.len(), MAC8_LIST_MAX),
            Self::Offer(offer) => {
                range(frame, "size", u64::from(offer.size), 1, BUNDLE_SIZE_MAX)?;
                copies(frame, offer.copies)
            }
            Self::Accept(accept) => offset(frame, accept.offset),
            Self::Segment { offset: start, data, .. } => segment(frame, *start, data),
            Self::Granted { copies: given, .. } => copies(frame, *given),
            Self::PickupToken(token) => {
                range(frame, "length of domain", token.domain.len() as u64, 1, PICKUP_DOMAIN_MAX as u64)?;
                range(frame, "size of token", token.token.len() as u64, 1, PICKUP_TOKEN_MAX as u64)
            }
            Self::Introduction(Introduction::Card(card)) => {
                range(frame, "size of card", card.len() as u64, 1, SHOWN_CARD_MAX as u64)
            }
            Self::Introduction(_)
            | Self::Hello(_)
            | Self::Auth(_)
            | Self::Goodbye(_)
            | Self::Decline { .. }
            | Self::Stored { .. } => Ok(()),
        }
    }
}

/// The name of the frame with this number.
pub(super) fn name(number: u8) -> &'static str {
    match number {
        1 => "Hello",
        2 => "Auth",
        3 => "Goodbye",
        4 => "Recognise",
        5 => "TombstonesHeld",
        6 => "TombstonesRevealed",
        7 => "Have",
        8 => "Carrying",
        9 => "Pull",
        10 => "Offer",
        11 => "Accept",
        12 => "Decline",
        13 => "Segment",
        14 => "Stored",
        15 => "Granted",
        16 => "Reachable",
        17 => "PickupToken",
        18 => "Introduction",
        _ => "unknown",
    }
}

fn decode_body(number: u8, body: Bytes) -> Result<Frame, FrameError> {
    let frame = name(number);
    match number {
        1 => Ok(Frame::Hello(hello(&read(frame, body)?))),
        2 => Ok(Frame::Auth(auth(frame, &read(frame, body)?)?)),
        3 => goodbye(frame, &read(frame, body)?),
        4 => {
            let list: link::Recognise = read(frame, body)?;
            Ok(Frame::Recognise { macs: macs16(frame, &list.macs)?, last: list.last })
        }
        5 => {
            let list: link::TombstonesHeld = read(frame, body)?;
            Ok(Frame::TombstonesHeld { macs: macs16(frame, &list.macs)?, last: list.last })
        }
        6 => {
            let list: link::TombstonesRevealed = read(frame, body)?;
            let reveals = lists::cut(frame, &list.reveals, REVEAL_LIST_MAX, Reveal)?;
            Ok(Frame::TombstonesRevealed { reveals })
        }
        7 => {
            let list: link::Have = read(frame, body)?;
            Ok(Frame::Have { macs: macs16(frame, &list.macs)?, last: list.last })
        }
        8 => {
            let list: link::Carrying = read(frame, body)?;
            Ok(Frame::Carrying { macs: macs8(frame, &list.macs)?, last: list.last })
        }
        9 => {
            let list: link::Pull = read(frame, body)?;
            Ok(Frame::Pull { macs: macs8(frame, &list.macs)? })
        }
        10 => Ok(Frame::Offer(offer(frame, &read(frame, body)?)?)),
        11 => Ok(Frame::Accept(accept(frame, &read(frame, body)?)?)),
        12 => decline(frame, &read(frame, body)?),
        13 => {
            let part: link::Segment = read(frame, body)?;
            Ok(Frame::Segment { bundle: bundle(frame, &part.bundle)?, offset: part.offset, data: part.data })
        }
        14 => {
            let stored: link::Stored = read(frame, body)?;
            Ok(Frame::Stored { bundle: bundle(frame, &stored.bundle)? })
        }
        15 => {
            let granted: link::Granted = read(frame, body)?;
            let copies = small(frame, "copies", granted.copies)?;
            Ok(Frame::Granted { bundle: bundle(frame, &granted.bundle)?, copies })
        }
        16 => {
            let list: link::Reachable = read(frame, body)?;
            let tags = lists::cut(frame, &list.tags, TAG_LIST_MAX, Tag)?;
            Ok(Frame::Reachable { tags, last: list.last })
        }
        17 => {
            let token: link::PickupToken = read(frame, body)?;
            let link::PickupToken { domain, token, expires_s } = token;
            Ok(Frame::PickupToken(PickupToken { domain, token, expires_s }))
        }
        18 => introduction(frame, read(frame, body)?).map(Frame::Introduction),
        number => Err(FrameError::Unknown { number }),
    }
}

fn read<M: Message + Default>(frame: &'static str, body: Bytes) -> Result<M, FrameError> {
    M::decode(body).map_err(|source| FrameError::Malformed { frame, source })
}

fn hello(hello: &link::Hello) -> Hello {
    Hello {
        version: hello.version,
        carriage_open: hello.carriage_open,
        clock_s: (hello.clock_s != 0).then_some(hello.clock_s),
        bundle_size_max: hello.bundle_size_max,
    }
}

fn auth(frame: &'static str, auth: &link::Auth) -> Result<Auth, FrameError> {
    Ok(Auth {
        node_key: NodeKey(array(frame, "node_key", &auth.node_key)?),
        signature: array(frame, "signature", &auth.signature)?,
    })
}

fn goodbye(frame: &'static str, goodbye: &link::Goodbye) -> Result<Frame, FrameError> {
    let code = goodbye.reason;
    GoodbyeReason::from_code(code).map(Frame::Goodbye).ok_or(FrameError::Reason { frame, code })
}

fn decline(frame: &'static str, decline: &link::Decline) -> Result<Frame, FrameError> {
    let code = decline.reason;
    let reason = DeclineReason::from_code(code).ok_or(FrameError::Reason { frame, code })?;
    Ok(Frame::Decline { bundle: bundle(frame, &decline.bundle)?, reason })
}

fn introduction(frame: &'static str, message: link::Introduction) -> Result<Introduction, FrameError> {
    use link::introduction::Step;
    match message.step.ok_or(FrameError::Missing { frame, field: "step" })? {
        Step::Commitment(bytes) => Ok(Introduction::Commitment(array(frame, "commitment", &bytes)?)),
        Step::Reveal(bytes) => Ok(Introduction::Reveal(array(frame, "reveal", &bytes)?)),
        Step::Card(card) => Ok(Introduction::Card(card)),
        Step::End(code) => {
            EndReason::from_code(code).map(Introduction::End).ok_or(FrameError::Reason { frame, code })
        }
    }
}

fn offer(frame: &'static str, offer: &link::Offer) -> Result<Offer, FrameError> {
    Ok(Offer {
        bundle: bundle(frame, &offer.bundle)?,
        size: offer.size,
        copies: small(frame, "copies", offer.copies)?,
        quality: quality(frame, offer.quality)?,
        moves: small(frame, "moves", offer.moves)?,
        age_s: offer.age_s,
        hops: small(frame, "hops", offer.hops)?,
        tag: if offer.tag.is_empty() { None } else { Some(Tag(array(frame, "tag", &offer.tag)?)) },
    })
}

fn accept(frame: &'static str, accept: &link::Accept) -> Result<Accept, FrameError> {
    Ok(Accept {
        bundle: bundle(frame, &accept.bundle)?,
        quality: quality(frame, accept.quality)?,
        offset: accept.offset,
    })
}

fn macs16(frame: &'static str, bytes: &[u8]) -> Result<Vec<[u8; 16]>, FrameError> {
    lists::cut(frame, bytes, MAC16_LIST_MAX, |mac| mac)
}

fn macs8(frame: &'static str, bytes: &[u8]) -> Result<Vec<[u8; 8]>, FrameError> {
    lists::cut(frame, bytes, MAC8_LIST_MAX, |mac| mac)
}

fn bundle(frame: &'static str, bytes: &[u8]) -> Result<BundleId, FrameError> {
    array(frame, "bundle", bytes).map(BundleId)
}

fn array<const N: usize>(
    frame: &'static str,
    field: &'static str,
    bytes: &[u8],
) -> Result<[u8; N], FrameError> {
    <[u8; N]>::try_from(bytes).map_err(|_| FrameError::FieldSize {
        frame,
        field,
        size: bytes.len(),
        expected: N,
    })
}

fn small(frame: &'static str, field: &'static str, value: u32) -> Result<u8, FrameError> {
    u8::try_from(value).map_err(|_| FrameError::Range {
        frame,
        field,
        value: u64::from(value),
        min: 0,
        max: 255,
    })
}

fn quality(frame: &'static str, value: u32) -> Result<u16, FrameError> {
    u16::try_from(value).map_err(|_| FrameError::Range {
        frame,
        field: "quality",
        value: u64::from(value),
        min: 0,
        max: u64::from(u16::MAX),
    })
}

fn copies(frame: &'static str, value: u8) -> Result<(), FrameError> {
    range(frame, "copies", u64::from(value), 0, u64::from(COPIES_PER_OFFER_MAX))
}

fn offset(frame: &'static str, value: u32) -> Result<(), FrameError> {
    range(frame, "offset", u64::from(value), 0, BUNDLE_SIZE_MAX - 1)
}

fn segment(frame: &'static str, start: u32, data: &Bytes) -> Result<(), FrameError> {
    offset(frame, start)?;
    let room = (BUNDLE_SIZE_MAX - u64::from(start)).min(SEGMENT_DATA_MAX as u64);
    range(frame, "size of data", data.len() as u64, 1, room)
}

fn range(frame: &'static str, field: &'static str, value: u64, min: u64, max: u64) -> Result<(), FrameError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(FrameError::Range { frame, field, value, min, max })
    }
}
