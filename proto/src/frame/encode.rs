//! From checked frames to bytes.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::{Accept, Auth, Frame, Hello, Introduction, Offer, PickupToken, lists};
use crate::wire::link;

impl Frame {
    /// The frame as it travels: its number, then its message.
    ///
    /// A frame that [`Frame::check`] accepts is at most [`crate::FRAME_SIZE_MAX`] bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let number = self.number();
        match self {
            Self::Hello(hello) => message(number, &hello_message(hello)),
            Self::Auth(auth) => message(number, &auth_message(auth)),
            Self::Goodbye(reason) => message(number, &link::Goodbye { reason: reason.code() }),
            Self::Recognise { macs, last } => {
                message(number, &link::Recognise { macs: lists::join(macs), last: *last })
            }
            Self::TombstonesHeld { macs, last } => {
                message(number, &link::TombstonesHeld { macs: lists::join(macs), last: *last })
            }
            Self::TombstonesRevealed { reveals } => {
                message(number, &link::TombstonesRevealed { reveals: lists::join(reveals) })
            }
            Self::Have { macs, last } => {
                message(number, &link::Have { macs: lists::join(macs), last: *last })
            }
            Self::Carrying { macs, last } => {
                message(number, &link::Carrying { macs: lists::join(macs), last: *last })
            }
            Self::Pull { macs } => message(number, &link::Pull { macs: lists::join(macs) }),
            Self::Offer(offer) => message(number, &offer_message(offer)),
            Self::Accept(accept) => message(number, &accept_message(accept)),
            Self::Decline { bundle, reason } => {
                message(number, &link::Decline { bundle: id(bundle), reason: reason.code() })
            }
            Self::Segment { bundle, offset, data } => {
                message(number, &link::Segment { bundle: id(bundle), offset: *offset, data: data.clone() })
            }
            Self::Stored { bundle } => message(number, &link::Stored { bundle: id(bundle) }),
            Self::Granted { bundle, copies } => {
                message(number, &link::Granted { bundle: id(bundle), copies: u32::from(*copies) })
            }
            Self::Reachable { tags, last } => {
                message(number, &link::Reachable { tags: lists::join(tags), last: *last })
            }
            Self::Introduction(step) => message(number, &introduction_message(step)),
            Self::PickupToken(PickupToken { domain, token, expires_s }) => message(
                number,
                &link::PickupToken { domain: domain.clone(), token: token.clone(), expires_s: *expires_s },
            ),
        }
    }
}

fn message(number: u8, message: &impl Message) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + message.encoded_len());
    out.put_u8(number);
    // Fails only when the buffer is full, and a BytesMut grows.
    let written = message.encode(&mut out);
    debug_assert!(written.is_ok());
    out.freeze()
}

fn id(id: &impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(id.as_ref())
}

fn hello_message(hello: &Hello) -> link::Hello {
    link::Hello {
        version: hello.version,
        carriage_open: hello.carriage_open,
        clock_s: hello.clock_s.unwrap_or(0),
        bundle_size_max: hello.bundle_size_max,
    }
}

fn auth_message(auth: &Auth) -> link::Auth {
    link::Auth { node_key: id(&auth.node_key), signature: id(&auth.signature) }
}

fn offer_message(offer: &Offer) -> link::Offer {
    link::Offer {
        bundle: id(&offer.bundle),
        size: offer.size,
        copies: u32::from(offer.copies),
        quality: u32::from(offer.quality),
        moves: u32::from(offer.moves),
        age_s: offer.age_s,
        hops: u32::from(offer.hops),
        tag: offer.tag.as_ref().map(id).unwrap_or_default(),
    }
}

fn accept_message(accept: &Accept) -> link::Accept {
    link::Accept { bundle: id(&accept.bundle), quality: u32::from(accept.quality), offset: accept.offset }
}

fn introduction_message(step: &Introduction) -> link::Introduction {
    use link::introduction::Step;
    let step = match step {
        Introduction::Commitment(bytes) => Step::Commitment(id(bytes)),
        Introduction::Reveal(bytes) => Step::Reveal(id(bytes)),
        Introduction::Card(bytes) => Step::Card(bytes.clone()),
        Introduction::End(reason) => Step::End(reason.code()),
    };
    link::Introduction { step: Some(step) }
}
