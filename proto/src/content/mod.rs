//! What is inside a sealed message (docs/wire-format.md section 3), checked.
//!
//! None of these types prints what people wrote: `Debug` gives sizes and ids only.

mod attachment;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use pigeon_bundle::attachment::ManifestError;
use pigeon_bundle::{DAY_S, MessageId};
use prost::Message;

use crate::wire::content as wire;
pub use attachment::{Attachment, Part};
use attachment::{attachment_body, attachment_message, part_body, part_message};

/// Most bytes of an encoded [`Content`].
pub const CONTENT_SIZE_MAX: usize = pigeon_bundle::CONTENT_MAX;
/// Most bytes of a signed card inside a message.
pub const CARD_SIZE_MAX: usize = 4_096;
/// Most message ids in one receipt.
pub const RECEIPT_MESSAGES_MAX: usize = 64;
/// Most one-time prekeys in one message.
pub const ONE_TIME_KEYS_MAX: usize = 8;
/// Most bytes of a verdict inside a message.
pub const VERDICT_SIZE_MAX: usize = 256;
/// Most bytes of a service's name.
pub const SERVICE_NAME_MAX: usize = 64;

/// The content of a message, and in a first message its author's card.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// What the message says.
    pub body: Body,
    /// The author's `SignedCard`, so that the recipient can answer. Not verified here.
    pub author_card: Option<Vec<u8>>,
    /// One-time prekeys of the author, for the recipient alone.
    pub one_time: Option<OneTimeKeys>,
}

/// X25519 public keys that the recipient of a message may seal one message to each.
#[derive(Clone, PartialEq, Eq)]
pub struct OneTimeKeys {
    /// The keys, 1 to [`ONE_TIME_KEYS_MAX`]. That they can be sealed to is not checked here.
    pub keys: Vec<[u8; 32]>,
    /// End of their use, Unix seconds, the end of a UTC day.
    pub expires_s: u64,
}

/// What a message says.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// Something a person wrote.
    Text(Text),
    /// Messages arrived or were read.
    Receipt(Receipt),
    /// The author's new `SignedCard`. Not verified here.
    CardUpdate(Bytes),
    /// Bytes of an application.
    Application(Application),
    /// Something a person wrote, with something attached.
    Attachment(Attachment),
    /// A part of an attachment.
    Part(Part),
    /// A bridge's signed refusal of a message that the recipient wrote. Not verified here.
    Refusal(Bytes),
}

/// Something a person wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    /// The author's message id.
    pub id: MessageId,
    /// The thread it belongs to.
    pub thread: Option<[u8; 16]>,
    /// Unix milliseconds by the author's clock, 0: none.
    pub sent_ms: u64,
    /// The text itself.
    pub text: String,
}

/// What happened to the messages of a [`Receipt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptKind {
    /// In the recipient's inbox.
    Delivered,
    /// Seen by a person.
    Read,
}

/// Messages arrived or were read.
#[derive(Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Which of the two.
    pub kind: ReceiptKind,
    /// The messages, 1 to [`RECEIPT_MESSAGES_MAX`].
    pub messages: Vec<MessageId>,
    /// Unix milliseconds by the recipient's clock, 0: none.
    pub time_ms: u64,
}

/// Bytes of an application.
#[derive(Clone, PartialEq, Eq)]
pub struct Application {
    /// The author's message id.
    pub id: MessageId,
    /// The service's name, 1 to [`SERVICE_NAME_MAX`] bytes.
    pub service: String,
    /// The service's own bytes.
    pub data: Bytes,
}

/// Why bytes are no content, or why content cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Above [`CONTENT_SIZE_MAX`].
    #[error("content of {size} bytes, the limit is {CONTENT_SIZE_MAX}: send it in parts")]
    Oversize {
        /// Size in bytes.
        size: usize,
    },
    /// Not a protobuf message of the schema.
    #[error("content does not parse (proto/content.proto): {0}")]
    Malformed(#[from] prost::DecodeError),
    /// No body, or one that this version does not know.
    #[error("content has no body that this version knows: the author runs a newer daemon, update this one")]
    NoBody,
    /// A size or count is outside its range.
    #[error("content: {field} has size {size} (must be in range {min}..={max})")]
    Size {
        /// Name of the field.
        field: &'static str,
        /// Size found: bytes or entries.
        size: usize,
        /// Least size allowed.
        min: usize,
        /// Greatest size allowed.
        max: usize,
    },
    /// One-time prekeys that do not end with a day.
    #[error("content: one_time expires at {0}, which is not the end of a UTC day")]
    OneTimeExpiry(u64),
    /// A manifest that cannot be kept.
    #[error("content: {0}")]
    Manifest(#[from] ManifestError),
    /// An attachment that is neither whole nor cut, or not what its manifest names.
    #[error("content: the attached data are not what their manifest names")]
    AttachedData,
    /// The erasure code works on blocks.
    #[error("content: a part's size is no multiple of 64")]
    PartBlock,
    /// A receipt of unknown kind.
    #[error("content: receipt of unknown kind {0}: the author runs a newer daemon, update this one")]
    ReceiptKind(i32),
}

impl Content {
    /// Content without a card.
    #[must_use]
    pub fn new(body: Body) -> Self {
        Self { body, author_card: None, one_time: None }
    }

    /// The content's bytes, as they are sealed.
    ///
    /// # Errors
    /// The limit that the content breaks.
    pub fn encode(&self) -> Result<Vec<u8>, ContentError> {
        self.check()?;
        let message = wire::Content {
            body: Some(body_message(&self.body)),
            author_card: self.author_card.clone().unwrap_or_default(),
            one_time: self.one_time.as_ref().map(one_time_message),
        };
        let size = message.encoded_len();
        if size > CONTENT_SIZE_MAX {
            return Err(ContentError::Oversize { size });
        }
        Ok(message.encode_to_vec())
    }

    /// Reads what an author sealed.
    ///
    /// # Errors
    /// Whatever differs from the schema or breaks a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        if bytes.len() > CONTENT_SIZE_MAX {
            return Err(ContentError::Oversize { size: bytes.len() });
        }
        let message = wire::Content::decode(bytes)?;
        let body = body(message.body.ok_or(ContentError::NoBody)?)?;
        let author_card = (!message.author_card.is_empty()).then_some(message.author_card);
        let one_time = message.one_time.as_ref().map(one_time).transpose()?;
        let content = Self { body, author_card, one_time };
        content.check()?;
        Ok(content)
    }

    fn check(&self) -> Result<(), ContentError> {
        if let Some(card) = &self.author_card {
            size("author_card", card.len(), 1, CARD_SIZE_MAX)?;
        }
        if let Some(one_time) = &self.one_time {
            one_time.check()?;
        }
        match &self.body {
            Body::Text(_) => Ok(()), // bounded by the whole
            Body::Receipt(receipt) => size("message", receipt.messages.len(), 1, RECEIPT_MESSAGES_MAX),
            Body::CardUpdate(card) => size("card", card.len(), 1, CARD_SIZE_MAX),
            Body::Application(app) => size("service", app.service.len(), 1, SERVICE_NAME_MAX),
            Body::Attachment(attachment) => attachment.check(),
            Body::Part(part) => part.check(),
            Body::Refusal(verdict) => size("verdict", verdict.len(), 1, VERDICT_SIZE_MAX),
        }
    }
}

impl OneTimeKeys {
    fn check(&self) -> Result<(), ContentError> {
        size("one_time", self.keys.len(), 1, ONE_TIME_KEYS_MAX)?;
        if self.expires_s == 0 || !self.expires_s.is_multiple_of(DAY_S) {
            return Err(ContentError::OneTimeExpiry(self.expires_s));
        }
        Ok(())
    }
}

fn one_time_message(one_time: &OneTimeKeys) -> wire::OneTimePrekeys {
    wire::OneTimePrekeys { keys: one_time.keys.concat(), expires: one_time.expires_s }
}

fn one_time(message: &wire::OneTimePrekeys) -> Result<OneTimeKeys, ContentError> {
    let (keys, rest) = message.keys.as_chunks::<32>();
    if !rest.is_empty() {
        let size = message.keys.len();
        return Err(ContentError::Size { field: "one_time", size, min: 32, max: 32 * ONE_TIME_KEYS_MAX });
    }
    size("one_time", keys.len(), 1, ONE_TIME_KEYS_MAX)?;
    Ok(OneTimeKeys { keys: keys.to_vec(), expires_s: message.expires })
}

fn size(field: &'static str, size: usize, min: usize, max: usize) -> Result<(), ContentError> {
    if (min..=max).contains(&size) { Ok(()) } else { Err(ContentError::Size { field, size, min, max }) }
}

fn bytes16(field: &'static str, bytes: &[u8]) -> Result<[u8; 16], ContentError> {
    <[u8; 16]>::try_from(bytes).map_err(|_| ContentError::Size { field, size: bytes.len(), min: 16, max: 16 })
}

fn body_message(body: &Body) -> wire::content::Body {
    use wire::content::Body as Message;
    match body {
        Body::Text(text) => Message::Text(text_message(text)),
        Body::Receipt(receipt) => Message::Receipt(wire::Receipt {
            kind: match receipt.kind {
                ReceiptKind::Delivered => wire::receipt::Kind::Delivered.into(),
                ReceiptKind::Read => wire::receipt::Kind::Read.into(),
            },
            message: receipt.messages.iter().map(|id| id.as_bytes().to_vec()).collect(),
            time_ms: receipt.time_ms,
        }),
        Body::CardUpdate(card) => Message::CardUpdate(wire::CardUpdate { card: card.to_vec() }),
        Body::Application(app) => Message::Application(wire::Application {
            id: app.id.as_bytes().to_vec(),
            service: app.service.clone(),
            data: app.data.to_vec(),
        }),
        Body::Attachment(attachment) => {
            Message::Attachment(attachment_message(attachment, text_message(&attachment.message)))
        }
        Body::Part(part) => Message::Part(part_message(part)),
        Body::Refusal(verdict) => Message::Refusal(wire::Refusal { verdict: verdict.to_vec() }),
    }
}

fn text_message(text: &Text) -> wire::Text {
    wire::Text {
        id: text.id.as_bytes().to_vec(),
        thread: text.thread.map_or_else(Vec::new, |thread| thread.to_vec()),
        sent_ms: text.sent_ms,
        text: text.text.clone(),
    }
}

fn body(message: wire::content::Body) -> Result<Body, ContentError> {
    use wire::content::Body as Message;
    match message {
        Message::Text(text) => Ok(Body::Text(text_body(text)?)),
        Message::Receipt(receipt) => receipt_body(&receipt),
        Message::CardUpdate(update) => Ok(Body::CardUpdate(update.card.into())),
        Message::Application(app) => Ok(Body::Application(Application {
            id: MessageId(bytes16("id", &app.id)?),
            service: app.service,
            data: app.data.into(),
        })),
        Message::Attachment(mut message) => {
            let text = text_body(message.message.take().unwrap_or_default())?;
            attachment_body(message, text)
        }
        Message::Part(part) => part_body(part),
        Message::Refusal(refusal) => Ok(Body::Refusal(refusal.verdict.into())),
    }
}

fn text_body(text: wire::Text) -> Result<Text, ContentError> {
    Ok(Text {
        id: MessageId(bytes16("id", &text.id)?),
        thread: match text.thread.as_slice() {
            [] => None,
            thread => Some(bytes16("thread", thread)?),
        },
        sent_ms: text.sent_ms,
        text: text.text,
    })
}

fn receipt_body(receipt: &wire::Receipt) -> Result<Body, ContentError> {
    let kind = match wire::receipt::Kind::try_from(receipt.kind) {
        Ok(wire::receipt::Kind::Delivered) => ReceiptKind::Delivered,
        Ok(wire::receipt::Kind::Read) => ReceiptKind::Read,
        _ => return Err(ContentError::ReceiptKind(receipt.kind)),
    };
    size("message", receipt.message.len(), 1, RECEIPT_MESSAGES_MAX)?;
    let ids = receipt.message.iter().map(|id| bytes16("message", id).map(MessageId));
    let messages = ids.collect::<Result<_, _>>()?;
    Ok(Body::Receipt(Receipt { kind, messages, time_ms: receipt.time_ms }))
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let card_size = self.author_card.as_ref().map(Vec::len);
        f.debug_struct("Content")
            .field("body", &self.body)
            .field("author_card_size", &card_size)
            .field("one_time", &self.one_time)
            .finish()
    }
}

impl fmt::Debug for OneTimeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.keys.len();
        f.debug_struct("OneTimeKeys").field("count", &count).field("expires_s", &self.expires_s).finish()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::Receipt(receipt) => receipt.fmt(f),
            Self::CardUpdate(card) => f.debug_struct("CardUpdate").field("size", &card.len()).finish(),
            Self::Application(app) => app.fmt(f),
            Self::Attachment(attachment) => attachment.fmt(f),
            Self::Part(part) => part.fmt(f),
            Self::Refusal(verdict) => f.debug_struct("Refusal").field("size", &verdict.len()).finish(),
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").field("id", &self.id).field("size", &self.text.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.messages.len();
        f.debug_struct("Receipt").field("kind", &self.kind).field("count", &count).finish_non_exhaustive()
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.data.len();
        f.debug_struct("Application").field("id", &self.id).field("size", &size).finish_non_exhaustive()
    }
}
