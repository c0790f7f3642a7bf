//! Figures about a store.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pigeon_core::Usage;

/// What a store holds and has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Bundles by pool.
    pub usage: Usage,
    /// Bytes of records and state values with their keys.
    pub record_bytes: u64,
    /// Bytes that count against the quota.
    pub live_bytes: u64,
    /// The quota.
    pub quota_bytes: u64,
    /// Transactions since the store was created.
    pub transactions: u64,
    /// Groups written since it was opened.
    pub groups: u64,
    /// Syncs of the log since it was opened, without those at opening.
    pub syncs: u64,
    /// Transactions that wait for the disk now.
    pub queued: u64,
    /// Bytes that the database takes on the disk, room taken ahead included.
    pub disk_bytes: u64,
}

const BLOCK: u64 = 512;

/// Blocks of all files in sled's directory and its `blobs`.
pub(crate) fn disk_bytes(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => sum += disk_bytes(&entry.path())?,
            Ok(metadata) => sum += metadata.blocks() * BLOCK,
            // sled replaces its snapshot while we look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sum)
}
