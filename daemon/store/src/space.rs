//! Room on the disk is taken before sled writes.
//!
//! A write that fails for want of space poisons sled, so it must not come to that: before each group the log's file
//! gets its next blocks with `fallocate`, beyond its end. Where that fails, growing transactions are refused while
//! sled is still well, and removals go on in the room that is left.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FallocateFlags, fallocate};

use crate::error::is_disk_full;

/// Room taken at a time, in bytes.
const AHEAD: u64 = 8 << 20;
/// Below this much room the next piece is taken. What is left then is for removals: sled rewrites a leaf of up to
/// 110 KiB for every few of them, and gives back a segment when half of it is dead.
const LOW: u64 = 5 << 20;
/// Below this much room not even removals are written. A group writes less, with all that sled rewrites for it.
const LAST: u64 = 1 << 20;
/// Unit of `st_blocks`.
const BLOCK: u64 = 512;

/// How much may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// Anything.
    Enough,
    /// Only what makes the store smaller.
    RemovalsOnly,
    /// Nothing.
    None,
}

/// Takes room for the next group beyond the end of the log.
pub(crate) fn take(log: &File) -> io::Result<Room> {
    let room = room(log)?;
    if room >= LOW {
        return Ok(Room::Enough);
    }
    match allocate(log) {
        Ok(()) => Ok(Room::Enough),
        Err(error) if is_disk_full(&error) && room >= LAST => Ok(Room::RemovalsOnly),
        Err(error) if is_disk_full(&error) => Ok(Room::None),
        Err(error) => Err(error),
    }
}

/// Blocks the file has beyond its end.
fn room(log: &File) -> io::Result<u64> {
    let metadata = log.metadata()?;
    Ok((metadata.blocks() * BLOCK).saturating_sub(metadata.len()))
}

fn allocate(log: &File) -> io::Result<()> {
    let end = log.metadata()?.len();
    match fallocate(log, FallocateFlags::KEEP_SIZE, end, AHEAD) {
        Ok(()) => Ok(()),
        // Not every file system can; there a full disk is found by the write itself, and the log opened anew.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
