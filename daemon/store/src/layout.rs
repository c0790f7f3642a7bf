//! Where things are: the files of a store directory, and the keys.
//!
//! ```text
//! <dir>/lock               held (flock) while a store is open; has the pid of the holder
//! <dir>/acknowledged       number of the last acknowledged transaction, for the check at opening
//! <dir>/log/NUMBER         the log's segments (16 hex digits): everything that was written, in order. A commit waits
//!                          for the fdatasync of the last one and for nothing else
//! <dir>/index.N/           sled: which runs there are, and where in them each block is
//! <dir>/runs/NUMBER        a run of the index (16 hex digits): the newest values of some keys, or where in the log long
//!                          ones are. Index and runs can be made anew from the log at any time
//! <dir>/runs/spare         room held for the next run; `merging`: a run being made of others
//! <dir>/index.damaged-*    an index that was not right, set aside
//! <dir>/damage-seen        there while something that was read was damaged: the next opening reads everything
//! <dir>/log.damaged-*      a segment with bytes that are not what was written, as it was found
//! <dir>/records.damaged-*  records that failed their checksum, set aside
//! <dir>/sled/              schema 1: all data in sled; moved into a log when it is opened
//! ```
//!
//! The first byte of a key is its kind.
//!
//! | kind | rest of the key | value | |
//! | --- | --- | --- | --- |
//! | `00` | `u` | counters | derived |
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
//!
//! Numbers are big-endian, so that byte order is number order.

use std::path::{Path, PathBuf};

use pigeon_bundle::{BundleId, Commitment, NodeKey, Tag};

use crate::transaction::Table;

/// Held while a store is open.
pub(crate) const LOCK_FILE: &str = "lock";
/// Number of the last acknowledged transaction.
pub(crate) const MARK_FILE: &str = "acknowledged";
/// The log's directory.
pub(crate) const LOG_DIR: &str = "log";
/// The directory of the index's runs.
pub(crate) const RUNS_DIR: &str = "runs";
/// Says that damage was met.
pub(crate) const DAMAGE_FILE: &str = "damage-seen";
/// Where schema 1 had everything.
pub(crate) const SCHEMA_1_DIR: &str = "sled";
/// sled's own file, inside its directory.
pub(crate) const SLED_LOG: &str = "db";
/// What the names of index directories begin with; a number follows.
pub(crate) const INDEX_PREFIX: &str = "index.";

/// What this program writes.
pub(crate) const SCHEMA_VERSION: u32 = 2;

/// Longest value in bytes.
pub(crate) const VALUE_MAX: usize = 1 << 20;

/// Where index number `number` is.
pub(crate) fn index_dir(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{INDEX_PREFIX}{number}"))
}

/// [`crate::counters::Counters`].
pub(crate) const COUNTERS: [u8; 2] = [0x00, b'u'];

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
/// Keys that follow from others and have no value.
pub(crate) fn is_index(key: &[u8]) -> bool {
    matches!(key.first(), Some(&(TAG | COMMITMENT | EXPIRY | TOMBSTONE_EXPIRY)))
}

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

/// The 32 bytes an index key ends with.
pub(crate) fn last_32(key: &[u8]) -> Option<[u8; 32]> {
    key.last_chunk::<32>().copied()
}
