//! What the mailbox keeps in the store's record tables: protobuf, so that later versions can add fields.

use std::fmt;

use data_encoding::HEXLOWER;
use pigeon_bundle::{BundleId, IdentityKey, MessageId, Reveal};
use pigeon_store::{RecordOp, Store, StoreError, Table};
use prost::Message;
use zeroize::Zeroize as _;

pub use super::attachments::AttachmentInfo;

/// Records read from the store in one go.
const PAGE: usize = 256;

pub(super) const BY_SEQUENCE: u8 = b'm';
const BY_MESSAGE: u8 = b'i';
const BY_BUNDLE: u8 = b'b';

/// A message received.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct InboxRecord {
    /// The author's id of it.
    #[prost(bytes = "vec", tag = "1")]
    pub message_id: Vec<u8>,
    /// Identity key of the author.
    #[prost(bytes = "vec", tag = "2")]
    pub author: Vec<u8>,
    /// What it says.
    #[prost(string, tag = "3")]
    pub text: String,
    /// The author's clock, Unix milliseconds.
    #[prost(uint64, tag = "4")]
    pub sent_ms: u64,
    /// This node's clock, Unix milliseconds.
    #[prost(uint64, tag = "5")]
    pub received_ms: u64,
    /// Whether the user has read it.
    #[prost(bool, tag = "6")]
    pub read: bool,
    /// `link` or `xmpp`.
    #[prost(string, tag = "7")]
    pub via: String,
    /// Node key of the neighbour that handed it over.
    #[prost(bytes = "vec", tag = "8")]
    pub via_peer: Vec<u8>,
    /// Hops counted on the way.
    #[prost(uint32, tag = "9")]
    pub hops: u32,
    /// B of the copy that was opened.
    #[prost(bytes = "vec", tag = "10")]
    pub bundle: Vec<u8>,
    /// What is attached; whether it is here, its own records say.
    #[prost(message, optional, tag = "11")]
    pub attachment: Option<AttachmentInfo>,
}

/// A message sent from this node, or a receipt it owes.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct OutboxRecord {
    /// This node's id of it.
    #[prost(bytes = "vec", tag = "1")]
    pub message_id: Vec<u8>,
    /// Identity key of the recipient.
    #[prost(bytes = "vec", tag = "2")]
    pub recipient: Vec<u8>,
    /// The recipient's JID, where there is no card: then the bridge reads the message.
    #[prost(string, tag = "21")]
    pub recipient_jid: String,
    /// What it says.
    #[prost(string, tag = "3")]
    pub text: String,
    /// Unix milliseconds of sending.
    #[prost(uint64, tag = "4")]
    pub sent_ms: u64,
    /// B.
    #[prost(bytes = "vec", tag = "5")]
    pub bundle: Vec<u8>,
    /// r: the author reveals it when the receipt comes.
    #[prost(bytes = "vec", tag = "6")]
    pub reveal: Vec<u8>,
    /// Unix seconds after which nobody carries it.
    #[prost(uint64, tag = "7")]
    pub expires_s: u64,
    /// When the delivery receipt was opened, 0: not yet.
    #[prost(uint64, tag = "8")]
    pub delivered_ms: u64,
    /// When the read receipt was opened, 0: not yet.
    #[prost(uint64, tag = "9")]
    pub read_ms: u64,
    /// Why the bridge refused it, empty: it did not.
    #[prost(string, tag = "10")]
    pub refusal: String,
    /// Hand-overs known when the bundle left the store.
    #[prost(uint32, tag = "11")]
    pub hand_overs: u32,
    /// Delivery receipts opened.
    #[prost(uint64, tag = "12")]
    pub receipts: u64,
    /// When its author cancelled it, Unix milliseconds; 0: it was not.
    #[prost(uint64, tag = "20")]
    pub cancelled_ms: u64,
    /// What is attached; its other bundles have records of their own.
    #[prost(message, optional, tag = "13")]
    pub attachment: Option<AttachmentInfo>,
}

/// A contact.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct ContactRecord {
    /// The signed card, as received.
    #[prost(bytes = "vec", tag = "1")]
    pub card: Vec<u8>,
    /// The contact has shown that it holds our card: it need not travel again.
    #[prost(bool, tag = "2")]
    pub knows_us: bool,
    /// Came inside a message, not from the user's hand.
    #[prost(bool, tag = "3")]
    pub introduced: bool,
    /// The one-time keys it has given us, as `OneTimeStock` keeps them.
    #[prost(bytes = "vec", tag = "4")]
    pub one_time: Vec<u8>,
    /// Issue time of the newest card of ours that it was sent, Unix seconds.
    #[prost(uint64, tag = "5")]
    pub card_sent_s: u64,
    /// r of the last card sent, empty: none.
    #[prost(bytes = "vec", tag = "6")]
    pub update: Vec<u8>,
    /// The user has met this person and compared a code.
    #[prost(bool, tag = "7")]
    pub met: bool,
}

/// A card that was made for one person.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct PersonRecord {
    /// What the owner calls that person.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The mailbox secret of that card, empty: revoked.
    #[prost(bytes = "vec", tag = "2")]
    pub mailbox_secret: Vec<u8>,
    /// Identity key of whoever wrote first by it, empty: nobody yet.
    #[prost(bytes = "vec", tag = "3")]
    pub holder: Vec<u8>,
    /// Unix seconds of its making.
    #[prost(uint64, tag = "4")]
    pub issued_s: u64,
}

/// This node's own secrets beside its identity.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct OwnRecord {
    /// The prekey ring.
    #[prost(bytes = "vec", tag = "1")]
    pub ring: Vec<u8>,
    /// Mailbox secrets that were given out and not revoked.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub mailbox_secrets: Vec<Vec<u8>>,
    /// The signed card in force.
    #[prost(bytes = "vec", tag = "3")]
    pub card: Vec<u8>,
    /// Cards made for one person each.
    #[prost(message, repeated, tag = "4")]
    pub persons: Vec<PersonRecord>,
}

impl fmt::Debug for PersonRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersonRecord(issued {})", self.issued_s)
    }
}

impl fmt::Debug for OwnRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnRecord({} secrets, {} persons)", self.mailbox_secrets.len(), self.persons.len())
    }
}

impl Drop for PersonRecord {
    fn drop(&mut self) {
        self.mailbox_secret.zeroize();
    }
}

impl Drop for OwnRecord {
    fn drop(&mut self) {
        self.ring.zeroize();
        self.mailbox_secrets.zeroize();
    }
}

/// What people wrote, and r, stay out of debug prints.
impl fmt::Debug for InboxRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InboxRecord({}, {} bytes)", HEXLOWER.encode(&self.message_id), self.text.len())
    }
}

impl fmt::Debug for OutboxRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutboxRecord({}, {} bytes)", HEXLOWER.encode(&self.message_id), self.text.len())
    }
}

impl fmt::Debug for ContactRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContactRecord({} bytes of card)", self.card.len())
    }
}

/// What is kept of a message that was received: that it was, until when, and r. With it a further copy is recognised
/// and ended though the key that opened the first is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenRecord {
    /// Unix seconds after which no bundle of it is alive.
    pub expires_s: u64,
    /// `None` in records of older programs.
    pub reveal: Option<Reveal>,
}

impl SeenRecord {
    /// Expiry ‖ r.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = self.expires_s.to_be_bytes().to_vec();
        out.extend(self.reveal.iter().flat_map(|reveal| reveal.0));
        out
    }

    /// Reads what [`SeenRecord::to_bytes`] wrote, and the expiry alone; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (expires_s, reveal) = bytes.split_first_chunk()?;
        let reveal = if reveal.is_empty() { None } else { Some(Reveal::try_from(reveal).ok()?) };
        Some(Self { expires_s: u64::from_be_bytes(*expires_s), reveal })
    }
}

/// A table of messages: records by sequence number, with indexes by message id and by bundle.
#[derive(Debug, Clone, Copy)]
pub struct MessageTable(pub Table);

impl MessageTable {
    /// Key of a record.
    pub fn key(sequence: u64) -> Vec<u8> {
        keyed(BY_SEQUENCE, &[&sequence.to_be_bytes()])
    }

    /// Writes a record together with its indexes. `author` keeps two authors' equal ids apart.
    pub fn put(
        self,
        sequence: u64,
        record: &impl Message,
        id: MessageId,
        author: &IdentityKey,
        bundle: BundleId,
    ) -> Vec<RecordOp> {
        let value = sequence.to_be_bytes().to_vec();
        vec![
            self.replace(sequence, record),
            RecordOp::Put {
                table: self.0,
                key: keyed(BY_MESSAGE, &[&id.0, &author.0]),
                value: value.clone(),
            },
            RecordOp::Put { table: self.0, key: keyed(BY_BUNDLE, &[&bundle.0]), value },
        ]
    }

    /// Removes the index by message id.
    pub(super) fn forget_message(self, id: &MessageId, author: &IdentityKey) -> RecordOp {
        RecordOp::Delete { table: self.0, key: keyed(BY_MESSAGE, &[&id.0, &author.0]) }
    }

    /// Removes the index by bundle.
    pub(super) fn forget_bundle(self, bundle: &BundleId) -> RecordOp {
        RecordOp::Delete { table: self.0, key: keyed(BY_BUNDLE, &[&bundle.0]) }
    }

    /// Replaces a record whose indexes stand.
    pub fn replace(self, sequence: u64, record: &impl Message) -> RecordOp {
        RecordOp::Put { table: self.0, key: Self::key(sequence), value: record.encode_to_vec() }
    }

    /// The record with this bundle.
    pub fn by_bundle<R: Message + Default>(
        self,
        store: &Store,
        bundle: &BundleId,
    ) -> Result<Option<(u64, R)>, StoreError> {
        self.by_index(store, &keyed(BY_BUNDLE, &[&bundle.0]))
    }

    /// The first record with this message id, whoever its author.
    pub fn by_message<R: Message + Default>(
        self,
        store: &Store,
        id: &MessageId,
    ) -> Result<Option<(u64, R)>, StoreError> {
        let prefix = keyed(BY_MESSAGE, &[&id.0]);
        match store.records(self.0, Some(&prefix), 1)?.first() {
            Some((key, value)) if key.starts_with(&prefix) => self.by_sequence(store, value),
            _ => Ok(None),
        }
    }

    /// Whether there is a record of this author's message.
    pub fn has(self, store: &Store, id: &MessageId, author: &IdentityKey) -> Result<bool, StoreError> {
        Ok(store.record(self.0, &keyed(BY_MESSAGE, &[&id.0, &author.0]))?.is_some())
    }

    fn by_index<R: Message + Default>(
        self,
        store: &Store,
        key: &[u8],
    ) -> Result<Option<(u64, R)>, StoreError> {
        match store.record(self.0, key)? {
            Some(value) => self.by_sequence(store, &value),
            None => Ok(None),
        }
    }

    fn by_sequence<R: Message + Default>(
        self,
        store: &Store,
        value: &[u8],
    ) -> Result<Option<(u64, R)>, StoreError> {
        let Ok(sequence) = value.try_into().map(u64::from_be_bytes) else { return Ok(None) };
        let record = store.record(self.0, &Self::key(sequence))?;
        Ok(record.and_then(|bytes| R::decode(bytes.as_slice()).ok()).map(|record| (sequence, record)))
    }

    /// All records, oldest first: for what happens once. [`MessageTable::page`] is for what happens often.
    pub fn all<R: Message + Default>(self, store: &Store) -> Result<Vec<(u64, R)>, StoreError> {
        let mut out = Vec::new();
        let mut after = vec![BY_SEQUENCE];
        loop {
            let page = store.records(self.0, Some(&after), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(out) };
            after.clone_from(last);
            for (key, value) in &page {
                let Some(sequence) = key.strip_prefix(&[BY_SEQUENCE]) else { return Ok(out) };
                if let (Ok(sequence), Ok(record)) = (sequence.try_into(), R::decode(value.as_slice())) {
                    out.push((u64::from_be_bytes(sequence), record));
                }
            }
        }
    }
}

fn keyed(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind];
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}
