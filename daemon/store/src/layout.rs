//! Where things are: the files of a store directory, and the keys in its one sled tree.
//!
//! ```text
//! <dir>/lock               held (flock) while a store is open; has the pid of the holder
//! <dir>/acknowledged       number of the last acknowledged transaction, for the check at opening
//! <dir>/sled/db            sled's log: all data. The only file whose fdatasync a commit waits for
//! <dir>/sled/conf          sled's parameters, written once
//! <dir>/sled/snap.*        sled's page table as of the last opening; can be absent
//! <dir>/sled/blobs/        stays empty: see `CHUNK`
//! <dir>/sled.new/          a copy being made of a damaged database
//! <dir>/sled.damaged-*     the damaged database, set aside
//! <dir>/records.damaged-*  records that failed their checksum, set aside
//! ```
//!
//! All keys are in one tree, since only a batch on one tree is atomic. The first byte of a key is its kind.
//! Hot little records come first, so that sled's leaves with the counters hold no message bodies: a leaf is
//! rewritten as a whole.
//!
//! | kind | rest of the key | value | |
//! | --- | --- | --- | --- |
//! | `00` | `v`, `u`, `c` | schema, counters, "closed cleanly" | |
//! | `10` | node key | bundles and bytes it handed over | derived |
//! | `11` | tag, bundle id | none | derived |
//! | `12` | commitment, bundle id | none | derived |
//! | `13` | expiry (u64), bundle id | none | derived |
//! | `14` | expiry (u64), commitment | none | derived |
//! | `20` | bundle id | meta data and entry | primary |
//! | `21` | bundle id | node keys that took a copy | primary |
//! | `22` | commitment | reveal, expiry | primary |
//! | `23` | name | value of `SetState` | primary |
//! | `30` | table, key | value of a record | primary |
//! | `40` | bundle id | the bundle's bytes | primary |
//! | `50` | length (u16), key of the value, number (u8) | chunk 1, 2, … of a long value | primary |
//!
//! Numbers are big-endian, so that byte order is number order.

use pigeon_bundle::{BundleId, Commitment, NodeKey, Tag};

use crate::transaction::Table;

/// Held while a store is open.
pub(crate) const LOCK_FILE: &str = "lock";
/// Number of the last acknowledged transaction.
pub(crate) const MARK_FILE: &str = "acknowledged";
/// sled's directory.
pub(crate) const SLED_DIR: &str = "sled";
/// Where a damaged database is copied to before it is replaced.
pub(crate) const SLED_NEW_DIR: &str = "sled.new";
/// The log, inside sled's directory.
pub(crate) const SLED_LOG: &str = "db";

/// What this program writes.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// Bytes of a value in one sled entry; what is longer continues in entries of kind [`MORE`].
///
/// sled writes a leaf of more than 131,052 bytes (a quarter of a segment) to a file under `blobs/`, which it never
/// syncs, and a leaf has up to 16 entries, 18 within a batch. 18 chunks with their keys stay below that: no data
/// of ours is ever outside `db`.
pub(crate) const CHUNK: usize = 6_144;

/// Schema version.
pub(crate) const SCHEMA: [u8; 2] = [0x00, b'v'];
/// [`crate::counters::Counters`].
pub(crate) const COUNTERS: [u8; 2] = [0x00, b'u'];
/// There only between a clean close and the next opening.
pub(crate) const CLEAN: [u8; 2] = [0x00, b'c'];

/// Use by giver, derived.
pub(crate) const GIVER: u8 = 0x10;
/// Bundles by tag, derived.
pub(crate) const TAG: u8 = 0x11;
/// Bundles by commitment, derived.
pub(crate) const COMMITMENT: u8 = 0x12;
/// Bundles by expiry, derived.
pub(crate) const EXPIRY: u8 = 0x13;
/// Tombstones by expiry, derived.
pub(crate) const TOMBSTONE_EXPIRY: u8 = 0x14;
/// Meta data and entry of a bundle.
pub(crate) const ENTRY: u8 = 0x20;
/// Who took a copy of a bundle.
pub(crate) const TAKERS: u8 = 0x21;
/// Tombstones.
pub(crate) const TOMBSTONE: u8 = 0x22;
/// The core's named values.
pub(crate) const STATE: u8 = 0x23;
/// Records of the mailbox and the bridge.
pub(crate) const RECORD: u8 = 0x30;
/// Bytes of a bundle.
pub(crate) const BODY: u8 = 0x40;
/// Further chunks of a long value.
pub(crate) const MORE: u8 = 0x50;

/// A key: its kind and what follows.
pub(crate) fn key(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(kind);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

pub(crate) fn entry_key(id: &BundleId) -> Vec<u8> {
    key(ENTRY, &[&id.0])
}

pub(crate) fn body_key(id: &BundleId) -> Vec<u8> {
    key(BODY, &[&id.0])
}

pub(crate) fn takers_key(id: &BundleId) -> Vec<u8> {
    key(TAKERS, &[&id.0])
}

pub(crate) fn tag_key(tag: &Tag, id: &BundleId) -> Vec<u8> {
    key(TAG, &[&tag.0, &id.0])
}

pub(crate) fn commitment_key(commitment: &Commitment, id: &BundleId) -> Vec<u8> {
    key(COMMITMENT, &[&commitment.0, &id.0])
}

pub(crate) fn expiry_key(expires_s: u64, id: &BundleId) -> Vec<u8> {
    key(EXPIRY, &[&expires_s.to_be_bytes(), &id.0])
}

pub(crate) fn giver_key(giver: &NodeKey) -> Vec<u8> {
    key(GIVER, &[&giver.0])
}

pub(crate) fn tombstone_key(commitment: &Commitment) -> Vec<u8> {
    key(TOMBSTONE, &[&commitment.0])
}

pub(crate) fn tombstone_expiry_key(expires_s: u64, commitment: &Commitment) -> Vec<u8> {
    key(TOMBSTONE_EXPIRY, &[&expires_s.to_be_bytes(), &commitment.0])
}

pub(crate) fn state_key(name: &str) -> Vec<u8> {
    key(STATE, &[name.as_bytes()])
}

pub(crate) fn record_key(table: Table, record: &[u8]) -> Vec<u8> {
    key(RECORD, &[&[table.number()], record])
}

/// Key of chunk `number` (1 and up) of the value at `head`.
pub(crate) fn more_key(head: &[u8], number: u8) -> Vec<u8> {
    // Heads are at most RECORD_KEY_MAX and a few bytes long, far below u16::MAX.
    let length = u16::try_from(head.len()).unwrap_or(u16::MAX);
    key(MORE, &[&length.to_be_bytes(), head, &[number]])
}

/// Takes a [`more_key`] apart.
pub(crate) fn split_more_key(key: &[u8]) -> Option<(&[u8], u8)> {
    let (length, rest) = key.get(1..)?.split_first_chunk::<2>()?;
    let (number, head) = rest.split_last()?;
    (head.len() == usize::from(u16::from_be_bytes(*length))).then_some((head, *number))
}

/// The 32 bytes an index key ends with.
pub(crate) fn last_32(key: &[u8]) -> Option<[u8; 32]> {
    key.last_chunk::<32>().copied()
}
