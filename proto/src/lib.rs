//! What crosses a boundary: link frames, message content, bridge records and the local API.
//!
//! - [`Frame`]: what two daemons say to each other on a link (`docs/wire-format.md` section 6), checked.
//! - [`Framer`]: the length prefix around frames, as a state machine without IO.
//! - [`Content`]: what is inside a sealed message (section 3), checked.
//! - [`api`]: the local API's messages, server and client, generated. The one place where generated types
//!   leave this crate, because tonic's service traits are written in them.
//!
//! Nothing here behaves: these are values, their bytes, and the limits between the two.

pub mod api;
mod content;
mod frame;
mod framing;
mod wire;

pub use content::{
    Application, Attachment, Body, CARD_SIZE_MAX, CONTENT_SIZE_MAX, Content, ContentError, ONE_TIME_KEYS_MAX,
    OneTimeKeys, Part, RECEIPT_MESSAGES_MAX, Receipt, ReceiptKind, SERVICE_NAME_MAX, Text, VERDICT_SIZE_MAX,
};
pub use frame::{
    Accept, Auth, COPIES_PER_OFFER_MAX, DeclineReason, EndReason, Frame, FrameError, GoodbyeReason, Hello,
    Introduction, MAC8_LIST_MAX, MAC16_LIST_MAX, Offer, PICKUP_DOMAIN_MAX, PROTOCOL_VERSION, PickupToken,
    REVEAL_LIST_MAX, SEGMENT_DATA_MAX, TAG_LIST_MAX,
};
pub use framing::{FRAME_SIZE_MAX, Framer, FramingError, encode_into};
