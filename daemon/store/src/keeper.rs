//! The thread that keeps house while the store is used: it writes what was written lately into the index, merges runs, lets
//! go of segments of the log that hold little alive, and writes sled anew when its file holds far more than it has.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::checkpoint::checkpoint;
use crate::error::StoreError;
use crate::index::Index;
use crate::levels::settle;
use crate::live::Live;
use crate::writer::Message;
use crate::{clean, compact};

/// Bytes that sled may take for the place of one block,
const SLED_BYTES_PER_BLOCK: u64 = 1_024;
/// and beside.
const SLED_BYTES_BESIDE: u64 = 4 << 20;
/// How long a writer waits for the keeper before it looks again.
const WAIT: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
struct Desk {
    /// Something may have to be done.
    wanted: bool,
    working: bool,
    stopping: bool,
    /// Why the last round did not get through.
    stuck: Option<StoreError>,
}

/// How the writer and the keeper talk.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    desk: Mutex<Desk>,
    changed: Condvar,
}

impl Bell {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a round.
    pub(crate) fn ring(&self) {
        self.desk().wanted = true;
        self.changed.notify_all();
    }

    /// Asks the keeper to end after what it is doing.
    pub(crate) fn stop(&self) {
        self.desk().stopping = true;
        self.changed.notify_all();
    }

    /// Waits until a round has ended; `Err` if the last one did not get through.
    pub(crate) fn wait_for_round(&self) -> Result<(), StoreError> {
        let mut desk = self.desk();
        while (desk.wanted || desk.working) && !desk.stopping {
            let waited = self.changed.wait_timeout(desk, WAIT);
            desk = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        desk.stuck.clone().map_or(Ok(()), Err)
    }

    fn is_stopping(&self) -> bool {
        self.desk().stopping
    }

    /// Waits for a wish; false when it is time to end.
    fn next(&self) -> bool {
        let mut desk = self.desk();
        while !desk.wanted && !desk.stopping {
            desk = self.changed.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
        desk.wanted = false;
        desk.working = !desk.stopping;
        desk.working
    }

    fn done(&self, result: Result<(), StoreError>) {
        let mut desk = self.desk();
        desk.working = false;
        desk.stuck = result.err();
        self.changed.notify_all();
    }
}

/// What the keeper works with.
pub(crate) struct Keeper {
    pub(crate) live: Arc<Live>,
    pub(crate) bell: Arc<Bell>,
    /// Where values to be written again are asked for.
    pub(crate) queue: SyncSender<Message>,
    pub(crate) recent_bytes: usize,
    pub(crate) cache_bytes: u64,
    /// Most bytes on the disk; above it dead bytes are not left lying.
    pub(crate) disk_bytes_max: u64,
}

impl Keeper {
    pub(crate) fn run(self) {
        while self.bell.next() {
            let result = self.round();
            if let Err(error) = &result {
                tracing::warn!(%error, "housekeeping of the store is put off");
            }
            self.bell.done(result);
        }
    }

    fn round(&self) -> Result<(), StoreError> {
        self.checkpoint_if_due()?;
        self.settle()?;
        // Once around at most: what is still wasteful then is for the next round.
        for _ in 0..self.live.log.segments().len() {
            if !wasteful(&self.live, self.disk_bytes_max) || self.bell.is_stopping() {
                break;
            }
            if !clean::oldest(&self.live, &self.queue)? {
                break;
            }
            self.checkpoint_if_due()?;
        }
        self.settle()?;
        if self.sled_is_bloated() && !self.bell.is_stopping() {
            compact::sled(&self.live, self.cache_bytes)?;
        }
        Ok(())
    }

    fn checkpoint_if_due(&self) -> Result<(), StoreError> {
        let due =
            |parts: &crate::live::Parts| parts.recent.is_full(self.recent_bytes) || parts.merging.is_some();
        if self.live.beside(due) { checkpoint(&self.live) } else { Ok(()) }
    }

    /// A long merge does not keep the writer waiting for a checkpoint, nor whoever closes the store.
    fn settle(&self) -> Result<(), StoreError> {
        settle(&self.live, &mut || {
            self.checkpoint_if_due()?;
            Ok(!self.bell.is_stopping())
        })
    }

    fn sled_is_bloated(&self) -> bool {
        let bloated = |index: &Index| {
            let file = index.sled().metadata();
            let enough = index.state().blocks() * SLED_BYTES_PER_BLOCK + SLED_BYTES_BESIDE;
            file.is_ok_and(|file| file.len() > enough)
        };
        self.live.beside(|parts| parts.index.as_ref().is_ok_and(bloated))
    }
}

/// More than half of the log is dead, or some of it while the disk is wanted; a segment's worth at least.
pub(crate) fn wasteful(live: &Live, disk_bytes_max: u64) -> bool {
    let total = live.log.total();
    let waste = total.length.saturating_sub(total.live);
    // Cleaning needs some room itself, so it works harder before the disk's share is used up.
    let spare = if live.disk_bytes() > disk_bytes_max / 4 * 3 { total.live / 4 } else { total.live };
    waste > spare.max(live.log.segment_bytes)
}
