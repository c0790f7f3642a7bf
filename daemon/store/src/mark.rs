//! The number of the last acknowledged transaction, beside the database.
//!
//! sled opens a log that has lost its end without a word. This file lets us notice: it is written after the sync of a
//! group, in place and without a sync of its own, so that it may be behind the log after a power cut but is never ahead
//! of what was acknowledged. A database that ends before the mark has lost acknowledged transactions.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::layout::MARK_FILE;

const LENGTH: usize = 16;
const MAGIC: [u8; 4] = *b"CPm1";

/// The open mark file.
#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
}

impl Mark {
    /// Opens or creates the mark of a store and reads it. `None` where there is none to be trusted.
    pub(crate) fn open(dir: &Path) -> io::Result<(Self, Option<u64>)> {
        let path = dir.join(MARK_FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = [0; LENGTH];
        let read = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => parse(&bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        Ok((Self { file }, read))
    }

    /// Notes what has been acknowledged. Its loss only loses a warning.
    pub(crate) fn set(&self, transactions: u64) {
        if let Err(error) = self.file.write_all_at(&encode(transactions), 0) {
            tracing::debug!(%error, "cannot note the last acknowledged transaction");
        }
    }
}

fn encode(transactions: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..12].copy_from_slice(&transactions.to_be_bytes());
    let checksum = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn parse(bytes: &[u8; LENGTH]) -> Option<u64> {
    let number: [u8; 8] = bytes[4..12].try_into().ok()?;
    let number = u64::from_be_bytes(number);
    (encode(number) == *bytes).then_some(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_mark_survives_and_a_torn_one_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let (mark, read) = Mark::open(dir.path()).unwrap();
        assert_eq!(read, None);
        mark.set(300);
        mark.set(301);
        assert_eq!(Mark::open(dir.path()).unwrap().1, Some(301));
        mark.file.write_all_at(&[1], 11).unwrap();
        assert_eq!(Mark::open(dir.path()).unwrap().1, None);
    }
}
