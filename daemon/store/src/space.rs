//! Room on the disk is taken before it is written.
//!
//! Before each group the log's file gets its next blocks with `fallocate`, beyond its end, and so does sled's before each
//! batch: a write that fails for want of space poisons sled. The file of the index's next run has its room long before. Where that fails, growing transactions are refused, and
//! removals go on in the room that is left.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FallocateFlags, fallocate};

use crate::error::is_disk_full;

/// How much room a file wants beyond its end, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reserve {
    /// Taken at a time.
    ahead: u64,
    /// Below this the next piece is taken. What is left then is for removals.
    low: u64,
    /// Below this not even removals are written.
    last: u64,
}

/// For the log: a removal takes some 300 bytes of it.
pub(crate) const LOG: Reserve = Reserve { ahead: 4 << 20, low: 2 << 20, last: 512 << 10 };
/// For sled, which takes segments of 512 KiB and gives one back when half of it is dead.
pub(crate) const INDEX: Reserve = Reserve { ahead: 4 << 20, low: 2 << 20, last: 1 << 20 };
/// Smallest piece worth taking.
const PIECE_MIN: u64 = 256 << 10;
/// Unit of `st_blocks`.
const BLOCK: u64 = 512;

/// How much may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Room {
    /// Nothing.
    None,
    /// Only what makes the store smaller.
    RemovalsOnly,
    /// Anything.
    Enough,
}

/// Takes room beyond the end of a file: as much as there is, for sled gives back what it had whenever it shortens its
/// file.
pub(crate) fn take(log: &File, reserve: Reserve) -> io::Result<Room> {
    let mut piece = reserve.ahead;
    while room(log)? < reserve.low && piece >= PIECE_MIN {
        match allocate(log, piece) {
            Ok(Taken::Yes) => break,
            Ok(Taken::NotKnownHere) => return Ok(Room::Enough),
            Err(error) if is_disk_full(&error) => piece /= 2,
            Err(error) => return Err(error),
        }
    }
    Ok(match room(log)? {
        room if room >= reserve.low => Room::Enough,
        room if room >= reserve.last => Room::RemovalsOnly,
        _ => Room::None,
    })
}

/// Has an empty file hold room: as much of `bytes` as there is.
pub(crate) fn hold(file: &File, bytes: u64) -> io::Result<()> {
    let mut wanted = bytes;
    while room(file)? < bytes && wanted >= PIECE_MIN {
        match allocate(file, wanted) {
            Ok(_) => break,
            Err(error) if is_disk_full(&error) => wanted /= 2,
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
