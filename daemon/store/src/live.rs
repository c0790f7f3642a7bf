//! The store as readers, the writer and the keeper share it: what was written lately, the index, and the log.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::engine::{EngineError, guarded};
use crate::error::{StoreError, is_disk_full, is_read_only};
use crate::fronts::Fronts;
use crate::index::block::NotABlock;
use crate::index::{Desk, Index};
use crate::layout::{DAMAGE_FILE, is_index};
use crate::log::{Log, Position};
use crate::recent::Recent;
use crate::stored::Stored;
use crate::view::View;

/// Writes that are in the log, with what they replace.
pub(crate) struct Applied {
    /// In the order of keys or not; the last of a key counts.
    pub(crate) writes: Vec<(Vec<u8>, Option<Stored>)>,
    /// What the keys had before, as far as it counts as alive in a segment.
    pub(crate) formers: BTreeMap<Vec<u8>, Stored>,
    /// Where they end in the log.
    pub(crate) end: Position,
}

/// What one lock holds.
pub(crate) struct Parts {
    /// The index, open or out of service with a reason.
    pub(crate) index: Result<Index, StoreError>,
    pub(crate) recent: Recent,
    fronts: Fronts,
    /// What is being written into the index.
    pub(crate) merging: Option<Arc<Recent>>,
    /// Which of the directories the index is in.
    pub(crate) index_number: u64,
}

/// The shared store. A reader holds the lock for a whole look-up and the writer for making a group visible, so that a
/// look-up of several entries sees all of a group or nothing.
pub(crate) struct Live {
    dir: PathBuf,
    pub(crate) log: Arc<Log>,
    parts: RwLock<Parts>,
    damage_seen: AtomicBool,
    /// Room on the disk to be held for the next checkpoint.
    pub(crate) spare_bytes: u64,
}

impl Live {
    pub(crate) fn new(dir: &Path, log: Arc<Log>, index: Index, index_number: u64, spare_bytes: u64) -> Self {
        let recent = Recent::at(index.state().position);
        let fronts = Fronts::default();
        let parts = RwLock::new(Parts { index: Ok(index), recent, fronts, merging: None, index_number });
        let damage_seen = AtomicBool::new(false);
        Self { dir: dir.to_path_buf(), log, parts, damage_seen, spare_bytes }
    }

    /// The store's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Something read was damaged: the next opening checks everything.
    pub(crate) fn damage_seen(&self) -> bool {
        self.damage_seen.load(Ordering::Relaxed)
    }

    /// The parts, for whoever changes them. Short: readers wait.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Parts) -> T) -> T {
        // A poisoned lock cannot hold a half-made state: each change leaves the parts whole at every step.
        change(&mut self.parts.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The parts, beside readers.
    pub(crate) fn beside<T>(&self, look: impl FnOnce(&Parts) -> T) -> T {
        look(&self.parts.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks something up, without a word about who asked.
    pub(crate) fn look<T>(
        &self,
        look: impl FnOnce(View<'_>) -> Result<T, ReadError>,
    ) -> Result<Result<T, ReadError>, StoreError> {
        self.beside(|parts| {
            let view = parts.view(&self.log)?;
            Ok(guarded(|| Ok(look(view))).unwrap_or_else(|error| Err(ReadError::Engine(error))))
        })
    }

    /// Looks something up.
    pub(crate) fn read<T>(
        &self,
        what: &'static str,
        look: impl FnOnce(View<'_>) -> Result<T, ReadError>,
    ) -> Result<T, StoreError> {
        self.look(look)?.map_err(|error| self.unreadable(what, error))
    }

    /// Remembers that something was damaged, also for whoever opens the store after a crash.
    pub(crate) fn note_damage(&self) {
        if !self.damage_seen.swap(true, Ordering::Relaxed)
            && let Err(error) = std::fs::write(self.dir.join(DAMAGE_FILE), b"")
        {
            tracing::debug!(%error, "noting that something is damaged");
        }
    }

    /// [`Live::note_damage`] where an error of the index says so.
    pub(crate) fn note_damage_of(&self, error: &EngineError) {
        if matches!(error, EngineError::Broken(_)) {
            self.note_damage();
        }
    }

    /// What is needed to change the index.
    pub(crate) fn desk(&self) -> Result<Desk, StoreError> {
        self.beside(|parts| {
            let index = parts.index.as_ref().map_err(Clone::clone)?;
            index.desk(&self.dir).map_err(|error| StoreError::file("open", &self.dir, error))
        })
    }

    /// The store's error for a look-up that failed; remembers that there was one.
    pub(crate) fn unreadable(&self, what: &'static str, error: ReadError) -> StoreError {
        self.note_damage();
        match error {
            ReadError::Damaged => StoreError::Damaged { what, dir: self.dir.clone() },
            ReadError::Engine(error) => self.failed("read", &error),
        }
    }

    /// Bytes of the log and of the index's files.
    pub(crate) fn disk_bytes(&self) -> u64 {
        let index = self.beside(|parts| parts.index.as_ref().map_or(0, Index::disk_bytes));
        self.log.total().length + index
    }

    /// Makes writes that are durable visible. What is alive is counted under the same lock, so that a checkpoint finds
    /// both as of one moment.
    pub(crate) fn apply(&self, applied: Applied) {
        self.change(|parts| {
            for (key, former) in &applied.formers {
                self.log.went(key, former);
            }
            for (key, stored) in applied.writes {
                if let Some(stored) = &stored {
                    self.log.came(&key, stored);
                }
                parts.put(key, stored);
            }
            parts.recent.end = applied.end;
        });
    }

    /// Takes in a group that was read from the log, or written while nobody else uses the store.
    pub(crate) fn replayed(
        &self,
        end: Position,
        writes: impl IntoIterator<Item = (Vec<u8>, Option<Stored>)>,
    ) -> Result<(), ReadError> {
        self.change(|parts| {
            for (key, stored) in writes {
                if !is_index(&key) {
                    let former = parts.view(&self.log).map_err(|_| ReadError::Damaged)?.get(&key)?;
                    former.iter().for_each(|former| self.log.went(&key, former));
                }
                stored.iter().for_each(|stored| self.log.came(&key, stored));
                parts.put(key, stored);
            }
            parts.recent.end = end;
            Ok(())
        })
    }

    /// An engine's error as the store's.
    pub(crate) fn failed(&self, action: &'static str, error: &EngineError) -> StoreError {
        engine_error(&self.dir, action, error)
    }
}

impl Parts {
    fn view<'a>(&'a self, log: &'a Log) -> Result<View<'a>, StoreError> {
        let Self { index, recent, merging, fronts, .. } = self;
        let index = index.as_ref().map_err(Clone::clone)?;
        let merging = merging.as_deref();
        Ok(View { recent, merging, tree: index.tree(), runs: index.runs(), log, fronts })
    }

    fn put(&mut self, key: Vec<u8>, stored: Option<Stored>) {
        if stored.is_some() {
            self.fronts.set(&key);
        }
        self.recent.put(key, stored);
    }
}

/// An engine's error as the store's.
pub(crate) fn engine_error(dir: &Path, action: &'static str, error: &EngineError) -> StoreError {
    let dir = dir.to_path_buf();
    match error {
        EngineError::Io(error) if is_disk_full(error) => StoreError::DiskFull { dir },
        EngineError::Io(error) if is_read_only(error) => StoreError::ReadOnly { dir },
        EngineError::Io(error) => StoreError::Engine { action, dir, detail: error.to_string() },
        EngineError::Broken(detail) => StoreError::Engine { action, dir, detail: detail.clone() },
    }
}

/// Why a look-up failed.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// sled or the file system.
    Engine(EngineError),
    /// The bytes are not what was written.
    Damaged,
}

impl From<ReadError> for EngineError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Engine(error) => error,
            ReadError::Damaged => Self::Broken("a block of the index is damaged".into()),
        }
    }
}

impl From<sled::Error> for ReadError {
    fn from(error: sled::Error) -> Self {
        Self::Engine(error.into())
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Engine(EngineError::Io(error))
    }
}

impl From<NotABlock> for ReadError {
    fn from(_: NotABlock) -> Self {
        Self::Damaged
    }
}
