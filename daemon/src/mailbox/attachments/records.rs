//! What the store keeps of attachments, all in [`Table::Attachment`]. The first byte of a key is the kind.
//!
//! | kind | rest of the key | value |
//! | --- | --- | --- |
//! | `h` | author, message id | [`Arriving`]: on its way, or its parts are being dropped |
//! | `m` | author, message id | the manifest, as [`ManifestRecord`], while it is on its way |
//! | `p` | author, message id, number (u16) | a part; number 0 is the whole where there are no parts |
//! | `f` | author, message id | [`Finished`]: what became of it |
//! | `r` | bundle id | a bundle of an attachment that there was no room for: expiry (u64) |
//! | `s` | message id, number (u16) | a bundle of an attachment sent: expiry (u64), bundle id, r |
//! | `u` | message id | an attachment whose sending has begun and not ended: expiry (u64) |

use pigeon_bundle::attachment::{Manifest, PARTS_MAX};
use pigeon_bundle::{BundleId, IdentityKey, MessageId, Reveal};
use pigeon_store::{RecordOp, Store, StoreError, Table};
use prost::Message;

use super::limits::PAGE;
use crate::folder::files::Owner;

const TABLE: Table = Table::Attachment;
const ARRIVING: u8 = b'h';
const MANIFEST: u8 = b'm';
const PART: u8 = b'p';
const FINISHED: u8 = b'f';
const WAITING: u8 = b'r';
const SENT: u8 = b's';
const UNFINISHED: u8 = b'u';

/// Names an attachment that was received: two authors may choose the same message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Who sent it.
    pub(crate) author: IdentityKey,
    /// The author's id of the message.
    pub(crate) id: MessageId,
}

/// What the inbox and the outbox keep of an attachment, for people.
#[derive(Clone, PartialEq, Message)]
pub struct AttachmentInfo {
    /// The author's name for the file, already checked.
    #[prost(string, tag = "1")]
    pub name: String,
    /// `type/subtype`, or empty.
    #[prost(string, tag = "2")]
    pub media_type: String,
    /// Bytes.
    #[prost(uint64, tag = "3")]
    pub size: u64,
    /// Parts that suffice; 1 where it came whole.
    #[prost(uint32, tag = "4")]
    pub needed: u32,
    /// Parts there are; 1 where it came whole.
    #[prost(uint32, tag = "5")]
    pub total: u32,
}

impl AttachmentInfo {
    pub(super) fn of(manifest: &Manifest) -> Self {
        let total = manifest.layout().map_or(1, |layout| layout.parts());
        Self {
            name: manifest.name().to_owned(),
            media_type: manifest.media_type().to_owned(),
            size: manifest.size() as u64,
            // At most PARTS_MAX.
            needed: u32::try_from(manifest.needed()).unwrap_or(u32::MAX),
            total: u32::try_from(total).unwrap_or(u32::MAX),
        }
    }
}

/// How an attachment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Ending {
    /// It has not.
    Open = 0,
    /// The file is there.
    Complete = 1,
    /// Its parts do not make what its manifest names.
    Damaged = 2,
    /// No bundle of it can be alive any more.
    Expired = 3,
}

/// An attachment on its way in.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Arriving {
    /// Bytes reserved for its parts.
    #[prost(uint64, tag = "1")]
    pub(crate) reserved: u64,
    /// Unix seconds of the last expiry among its bundles seen so far.
    #[prost(uint64, tag = "2")]
    pub(crate) expires_s: u64,
    /// Parts that suffice, 0 until the manifest is there.
    #[prost(uint32, tag = "3")]
    pub(crate) needed: u32,
    /// A bit for each part that is kept, lowest first.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) have: Vec<u8>,
    /// Once it is no longer open only its parts remain to be dropped.
    #[prost(enumeration = "Ending", tag = "5")]
    pub(crate) ending: i32,
}

impl Arriving {
    /// Whether part `index` is kept.
    pub(crate) fn has(&self, index: usize) -> bool {
        self.have.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// Notes that part `index` (below [`PARTS_MAX`]) is kept, or is not.
    pub(crate) fn set(&mut self, index: usize, kept: bool) {
        if index >= PARTS_MAX {
            return;
        }
        if self.have.len() <= index / 8 {
            self.have.resize(index / 8 + 1, 0);
        }
        if let Some(byte) = self.have.get_mut(index / 8) {
            let bit = 1 << (index % 8);
            *byte = if kept { *byte | bit } else { *byte & !bit };
        }
    }

    /// Numbers of the parts kept, ascending.
    pub(crate) fn parts(&self) -> impl Iterator<Item = usize> {
        (0..PARTS_MAX).filter(|index| self.has(*index))
    }

    /// How many parts are kept.
    pub(crate) fn count(&self) -> u32 {
        self.have.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Whether enough parts are there to try.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_open() && self.needed > 0 && self.count() >= self.needed
    }

    /// Whether it is still on its way.
    pub(crate) fn is_open(&self) -> bool {
        self.ending == Ending::Open as i32
    }
}

/// What became of an attachment.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Finished {
    /// Never open.
    #[prost(enumeration = "Ending", tag = "1")]
    pub(crate) ending: i32,
}

/// A manifest as it is kept.
#[derive(Clone, PartialEq, Message)]
struct ManifestRecord {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    media_type: String,
    #[prost(uint64, tag = "3")]
    size: u64,
    #[prost(bytes = "vec", tag = "4")]
    digest: Vec<u8>,
    #[prost(uint32, repeated, tag = "5")]
    layout: Vec<u32>,
    #[prost(bytes = "vec", tag = "6")]
    hashes: Vec<u8>,
}

/// A bundle of an attachment sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SentBundle {
    /// Unix seconds after which nobody carries it.
    pub(crate) expires_s: u64,
    /// B.
    pub(crate) bundle: BundleId,
    /// r.
    pub(crate) reveal: Reveal,
}

fn put(key: Vec<u8>, value: Vec<u8>) -> RecordOp {
    RecordOp::Put { table: TABLE, key, value }
}

fn delete(key: Vec<u8>) -> RecordOp {
    RecordOp::Delete { table: TABLE, key }
}

fn join(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind];
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// Numbers of parts are below [`PARTS_MAX`], those of bundles a few more.
fn number(index: usize) -> [u8; 2] {
    u16::try_from(index).unwrap_or(u16::MAX).to_be_bytes()
}

impl Key {
    /// Whose file it becomes.
    pub(crate) fn owner(&self) -> Owner {
        Owner { author: self.author, id: self.id }
    }

    fn record(&self, kind: u8) -> Vec<u8> {
        join(kind, &[&self.author.0, &self.id.0])
    }

    fn part(&self, index: usize) -> Vec<u8> {
        join(PART, &[&self.author.0, &self.id.0, &number(index)])
    }

    fn of_record(record: &[u8]) -> Option<Self> {
        let (author, id) = record.get(1..)?.split_first_chunk::<32>()?;
        Some(Self { author: IdentityKey(*author), id: MessageId(id.try_into().ok()?) })
    }

    /// The record of an attachment on its way.
    pub(crate) fn arriving(&self, store: &Store) -> Result<Option<Arriving>, StoreError> {
        let record = store.record(TABLE, &self.record(ARRIVING))?;
        Ok(record.and_then(|bytes| Arriving::decode(bytes.as_slice()).ok()))
    }

    /// Writes the record of an attachment on its way.
    pub(crate) fn put_arriving(&self, arriving: &Arriving) -> RecordOp {
        put(self.record(ARRIVING), arriving.encode_to_vec())
    }

    /// Forgets what was on its way. Its parts must be gone.
    pub(crate) fn forget(&self) -> [RecordOp; 2] {
        [delete(self.record(ARRIVING)), delete(self.record(MANIFEST))]
    }

    /// What became of it, if it ended.
    pub(crate) fn finished(&self, store: &Store) -> Result<Option<Ending>, StoreError> {
        let record = store.record(TABLE, &self.record(FINISHED))?;
        let ending = record.and_then(|bytes| Finished::decode(bytes.as_slice()).ok());
        Ok(ending.map(|finished| finished.ending()))
    }

    /// Writes what became of it.
    pub(crate) fn put_finished(&self, ending: Ending) -> RecordOp {
        put(self.record(FINISHED), Finished { ending: ending.into() }.encode_to_vec())
    }

    /// Its manifest, while it is on its way.
    pub(crate) fn manifest(&self, store: &Store) -> Result<Option<Manifest>, StoreError> {
        let record = store.record(TABLE, &self.record(MANIFEST))?;
        Ok(record.and_then(|bytes| ManifestRecord::decode(bytes.as_slice()).ok()).and_then(|m| {
            let layout = m.layout.first_chunk::<3>().copied();
            Manifest::parse(&m.name, &m.media_type, m.size, &m.digest, layout, &m.hashes).ok()
        }))
    }

    /// Keeps its manifest.
    pub(crate) fn put_manifest(&self, manifest: &Manifest) -> RecordOp {
        let layout = manifest.layout().map(|l| [l.needed(), l.parts(), l.part_size()]);
        let layout = layout.into_iter().flatten().map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let record = ManifestRecord {
            name: manifest.name().to_owned(),
            media_type: manifest.media_type().to_owned(),
            size: manifest.size() as u64,
            digest: manifest.digest().to_vec(),
            layout: layout.collect(),
            hashes: manifest.part_hashes().as_flattened().to_vec(),
        };
        put(self.record(MANIFEST), record.encode_to_vec())
    }

    /// A part that is kept.
    pub(crate) fn read_part(&self, store: &Store, index: usize) -> Result<Option<Vec<u8>>, StoreError> {
        store.record(TABLE, &self.part(index))
    }

    /// Keeps a part.
    pub(crate) fn put_part(&self, index: usize, data: &[u8]) -> RecordOp {
        put(self.part(index), data.to_vec())
    }

    /// Drops a part.
    pub(crate) fn drop_part(&self, index: usize) -> RecordOp {
        delete(self.part(index))
    }
}

/// All records of a kind, as `read` makes something of key and value.
fn all<T>(
    store: &Store,
    prefix: &[u8],
    mut read: impl FnMut(&[u8], &[u8]) -> Option<T>,
) -> Result<Vec<T>, StoreError> {
    let mut out = Vec::new();
    let mut after = prefix.to_vec();
    loop {
        let page = store.records(TABLE, Some(&after), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(out) };
        after.clone_from(last);
        for (key, value) in &page {
            if !key.starts_with(prefix) {
                return Ok(out);
            }
            out.extend(read(key, value));
        }
    }
}

/// All attachments on their way, and those whose parts are being dropped.
pub(crate) fn all_arriving(store: &Store) -> Result<Vec<(Key, Arriving)>, StoreError> {
    all(store, &[ARRIVING], |key, value| Some((Key::of_record(key)?, Arriving::decode(value).ok()?)))
}

/// Bundles that there was no room for.
pub(crate) fn all_waiting(store: &Store) -> Result<Vec<BundleId>, StoreError> {
    all(store, &[WAITING], |key, _| BundleId::try_from(key.get(1..)?).ok())
}

/// Remembers a bundle that there was no room for.
pub(crate) fn put_waiting(bundle: &BundleId, expires_s: u64) -> RecordOp {
    put(join(WAITING, &[&bundle.0]), expires_s.to_be_bytes().to_vec())
}

/// Forgets a bundle that there was no room for.
pub(crate) fn forget_waiting(bundle: &BundleId) -> RecordOp {
    delete(join(WAITING, &[&bundle.0]))
}

/// Attachments whose sending has begun and not ended, with their expiry.
pub(crate) fn all_unfinished(store: &Store) -> Result<Vec<MessageId>, StoreError> {
    all(store, &[UNFINISHED], |key, _| Some(MessageId(key.get(1..)?.try_into().ok()?)))
}

/// Notes that the sending of an attachment has begun.
pub(crate) fn put_unfinished(id: &MessageId, expires_s: u64) -> RecordOp {
    put(join(UNFINISHED, &[&id.0]), expires_s.to_be_bytes().to_vec())
}

/// Notes that the sending of an attachment has ended.
pub(crate) fn forget_unfinished(id: &MessageId) -> RecordOp {
    delete(join(UNFINISHED, &[&id.0]))
}

/// Remembers a bundle of an attachment sent.
pub(crate) fn put_sent(id: &MessageId, index: usize, sent: &SentBundle) -> RecordOp {
    let value = [sent.expires_s.to_be_bytes().as_slice(), &sent.bundle.0, &sent.reveal.0].concat();
    put(join(SENT, &[&id.0, &number(index)]), value)
}

/// The bundles of an attachment sent, with their numbers.
pub(crate) fn all_sent(store: &Store, id: &MessageId) -> Result<Vec<(usize, SentBundle)>, StoreError> {
    all(store, &join(SENT, &[&id.0]), |key, value| Some((sent_key(key)?.1, sent_value(value)?)))
}

/// Records of sent bundles that expired before `before_s`, at most a page, after `after`; and where to go on.
pub(crate) fn expired_sent(
    store: &Store,
    after: Option<&[u8]>,
    before_s: u64,
) -> Result<(Vec<RecordOp>, Option<Vec<u8>>), StoreError> {
    let page = store.records(TABLE, Some(after.unwrap_or(&[SENT])), PAGE)?;
    let of_kind = |key: &[u8]| key.first() == Some(&SENT);
    let next = page.last().map(|(key, _)| key.clone()).filter(|key| of_kind(key));
    let expired = page.into_iter().filter(|(key, value)| {
        of_kind(key) && sent_value(value).is_none_or(|sent| sent.expires_s < before_s)
    });
    Ok((expired.map(|(key, _)| delete(key)).collect(), next))
}

/// Forgets a bundle of an attachment sent.
pub(crate) fn forget_sent(id: &MessageId, index: usize) -> RecordOp {
    delete(join(SENT, &[&id.0, &number(index)]))
}

fn sent_key(key: &[u8]) -> Option<(MessageId, usize)> {
    let (id, number) = key.get(1..)?.split_first_chunk::<16>()?;
    Some((MessageId(*id), usize::from(u16::from_be_bytes(number.try_into().ok()?))))
}

fn sent_value(value: &[u8]) -> Option<SentBundle> {
    let (expires_s, rest) = value.split_first_chunk::<8>()?;
    let (bundle, reveal) = rest.split_first_chunk::<32>()?;
    Some(SentBundle {
        expires_s: u64::from_be_bytes(*expires_s),
        bundle: BundleId(*bundle),
        reveal: Reveal(reveal.try_into().ok()?),
    })
}
