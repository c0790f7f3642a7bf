//! Which of several instances works on which messages: each shard (top nibble of P) is one instance's at a time.
//!
//! The server decides to whom an upload goes, and decides anew when an instance comes or goes. A lock on a file of the
//! shared folder makes sure that two instances never work on one shard at once: who dies lets go of it by dying, and who
//! has had nothing to do for a moment lets go so that another may. An upload for a shard that somebody else still has is
//! not answered and comes again.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::journal::JournalError;

/// As many as bridge cards have.
pub const SHARDS: usize = 16;
/// A shard without work is kept this long.
const IDLE: Duration = Duration::from_secs(2);

/// Whether this instance may work on a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// As before.
    Held,
    /// From now on: what others have written about it must be read first.
    Fresh,
    /// Another instance has it.
    Busy,
}

struct Lease {
    /// Its lock goes with it.
    _file: File,
    used: Instant,
}

/// The shards of one instance.
pub struct Shards {
    dir: PathBuf,
    leases: Mutex<[Option<Lease>; SHARDS]>,
}

impl Shards {
    /// None yet; locks are files in `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), leases: Mutex::default() }
    }

    /// Takes a shard, if nobody else has it.
    ///
    /// # Errors
    /// [`JournalError`]: the lock cannot be used.
    pub fn enter(&self, shard: usize, now: Instant) -> Result<Entered, JournalError> {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = leases.get_mut(shard) else { return Ok(Entered::Busy) };
        if let Some(lease) = place {
            lease.used = now;
            return Ok(Entered::Held);
        }
        let path = self.dir.join(format!("shard-{shard:x}.lock"));
        let failed = |error: std::io::Error| JournalError {
            path: path.display().to_string(),
            detail: error.to_string(),
        };
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                *place = Some(Lease { _file: file, used: now });
                Ok(Entered::Fresh)
            }
            Err(TryLockError::WouldBlock) => Ok(Entered::Busy),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Lets go of shards without work.
    pub fn leave_idle(&self, is_busy: impl Fn(usize) -> bool, now: Instant) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        for (shard, place) in leases.iter_mut().enumerate() {
            let idle =
                |lease: &mut Lease| now.saturating_duration_since(lease.used) >= IDLE && !is_busy(shard);
            drop(place.take_if(idle));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn one_instance_has_a_shard_until_it_is_idle_or_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (Shards::new(dir.path()), Shards::new(dir.path()));
        let start = Instant::now();
        assert_eq!(a.enter(3, start).unwrap(), Entered::Fresh);
        assert_eq!(a.enter(3, start).unwrap(), Entered::Held);
        assert_eq!(b.enter(3, start).unwrap(), Entered::Busy);
        assert_eq!(b.enter(4, start).unwrap(), Entered::Fresh);
        a.leave_idle(|shard| shard == 3, start + IDLE);
        assert_eq!(b.enter(3, start).unwrap(), Entered::Busy);
        a.leave_idle(|_| false, start + IDLE);
        assert_eq!(b.enter(3, start).unwrap(), Entered::Fresh);
        drop(b);
        assert_eq!(a.enter(4, start).unwrap(), Entered::Fresh);
        assert_eq!(a.enter(SHARDS, start).unwrap(), Entered::Busy);
    }
}
