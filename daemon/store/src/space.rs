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
/// Smallest piece worth taking.
const PIECE_MIN: u64 = 256 << 10;
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

/// Takes room for the next group beyond the end of the log: as much as there is, for sled gives back what it had
/// whenever it shortens its log.
pub(crate) fn take(log: &File) -> io::Result<Room> {
    let mut piece = AHEAD;
    while room(log)? < LOW && piece >= PIECE_MIN {
        match allocate(log, piece) {
            Ok(Taken::Yes) => break,
            Ok(Taken::NotKnownHere) => return Ok(Room::Enough),
            Err(error) if is_disk_full(&error) => piece /= 2,
            Err(error) => return Err(error),
        }
    }
    Ok(match room(log)? {
        LOW.. => Room::Enough,
        LAST.. => Room::RemovalsOnly,
        _ => Room::None,
    })
}

/// Blocks the file has beyond its end.
fn room(log: &File) -> io::Result<u64> {
    let metadata = log.metadata()?;
    Ok((metadata.blocks() * BLOCK).saturating_sub(metadata.len()))
}

enum Taken {
    Yes,
    /// Not every file system can; there a full disk is found by the write itself, and the log opened anew.
    NotKnownHere,
}

fn allocate(log: &File, piece: u64) -> io::Result<Taken> {
    let end = log.metadata()?.len();
    match fallocate(log, FallocateFlags::KEEP_SIZE, end, piece) {
        Ok(()) => Ok(Taken::Yes),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => {
            Ok(Taken::NotKnownHere)
        }
        Err(error) => Err(error.into()),
    }
}
