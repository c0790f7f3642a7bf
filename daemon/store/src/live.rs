//! The store as readers, the writer and the keeper share it: what was written lately, the index, and the log.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::engine::{Engine, EngineError, guarded};
use crate::error::{StoreError, is_disk_full, is_read_only};
use crate::filter::Filter;
use crate::index::State;
use crate::index::block::NotABlock;
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
    /// Where the index is, open or out of service with a reason.
    pub(crate) engine: Result<Engine, StoreError>,
    pub(crate) recent: Recent,
    /// What is being merged into the index.
    pub(crate) merging: Option<Arc<Recent>>,
    pub(crate) filter: Filter,
    /// What the index says of itself after the last checkpoint.
    pub(crate) index: State,
    /// Which of the directories it is in.
    pub(crate) index_number: u64,
}

/// The shared store. A reader holds the lock for a whole look-up and the writer for making a group visible, so that a
/// look-up of several entries sees all of a group or nothing.
pub(crate) struct Live {
    dir: PathBuf,
    pub(crate) log: Arc<Log>,
    parts: RwLock<Parts>,
    damage_seen: AtomicBool,
}

impl Live {
    pub(crate) fn new(dir: &Path, log: Arc<Log>, engine: Engine, index: State, index_number: u64) -> Self {
        let (recent, filter) = (Recent::at(index.position), Filter::blind());
        let parts = Parts { engine: Ok(engine), recent, merging: None, filter, index, index_number };
        Self { dir: dir.to_path_buf(), log, parts: RwLock::new(parts), damage_seen: AtomicBool::new(false) }
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

    /// The store's error for a look-up that failed; remembers that there was one.
    pub(crate) fn unreadable(&self, what: &'static str, error: ReadError) -> StoreError {
        self.damage_seen.store(true, Ordering::Relaxed);
        match error {
            ReadError::Damaged => StoreError::Damaged { what, dir: self.dir.clone() },
            ReadError::Engine(error) => self.failed("read", &error),
        }
    }

    /// Bytes of the log and of the index's file.
    pub(crate) fn disk_bytes(&self) -> u64 {
        let index = self.beside(|parts| {
            let file = parts.engine.as_ref().ok()?.log().metadata().ok()?;
            Some(file.len())
        });
        self.log.total().length + index.unwrap_or_default()
    }

    /// Makes writes that are durable visible.
    pub(crate) fn apply(&self, applied: Applied) {
        for (key, former) in &applied.formers {
            self.log.went(key, former);
        }
        for (key, stored) in &applied.writes {
            if let Some(stored) = stored {
                self.log.came(key, stored);
            }
        }
        self.change(|parts| {
            for (key, stored) in applied.writes {
                if stored.is_some() {
                    parts.filter.add(&key);
                }
                parts.recent.put(key, stored);
            }
            parts.recent.end = applied.end;
        });
    }

    /// An engine's error as the store's.
    pub(crate) fn failed(&self, action: &'static str, error: &EngineError) -> StoreError {
        engine_error(&self.dir, action, error)
    }
}

impl Parts {
    fn view<'a>(&'a self, log: &'a Log) -> Result<View<'a>, StoreError> {
        let tree = self.engine.as_ref().map_err(Clone::clone)?.tree();
        let Self { recent, merging, filter, .. } = self;
        Ok(View { recent, merging: merging.as_deref(), tree, log, filter })
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
