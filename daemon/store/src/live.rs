//! The database as readers and the writer share it: open, or out of service with a reason.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use sled::{Batch, Tree};

use crate::engine::{Engine, EngineError, guarded};
use crate::error::{StoreError, is_disk_full};

/// The shared database. A reader holds the lock for a whole look-up, the writer for applying a batch, so that a
/// look-up of several entries sees all of a batch or nothing.
pub(crate) struct Live {
    dir: PathBuf,
    engine: RwLock<Result<Engine, StoreError>>,
    damage_seen: AtomicBool,
}

impl Live {
    pub(crate) fn new(dir: &Path, engine: Engine) -> Self {
        Self { dir: dir.to_path_buf(), engine: RwLock::new(Ok(engine)), damage_seen: AtomicBool::new(false) }
    }

    /// The store's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Something read was damaged: the next opening checks everything.
    pub(crate) fn damage_seen(&self) -> bool {
        self.damage_seen.load(Ordering::Relaxed)
    }

    /// Looks something up.
    pub(crate) fn read<T>(
        &self,
        what: &'static str,
        look: impl FnOnce(&Tree) -> Result<T, ReadError>,
    ) -> Result<T, StoreError> {
        // A poisoned lock cannot hold a half-made state: it only ever has a whole engine put in.
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        let tree = engine.as_ref().map_err(Clone::clone)?.tree();
        match guarded(|| Ok(look(tree))) {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(ReadError::Damaged)) => Err(self.damaged(what)),
            Ok(Err(ReadError::Sled(error))) => {
                self.damage_seen.store(true, Ordering::Relaxed);
                Err(self.failed("read", &error.into()))
            }
            Err(error) => {
                self.damage_seen.store(true, Ordering::Relaxed);
                Err(self.failed("read", &error))
            }
        }
    }

    /// The error for a damaged record; remembers that there was one.
    pub(crate) fn damaged(&self, what: &'static str) -> StoreError {
        self.damage_seen.store(true, Ordering::Relaxed);
        StoreError::Damaged { what, dir: self.dir.clone() }
    }

    /// Does something with the engine, beside readers. For the writer.
    pub(crate) fn with<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Engine) -> Result<T, EngineError>,
    ) -> Result<T, StoreError> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        let engine = engine.as_ref().map_err(Clone::clone)?;
        guarded(|| work(engine)).map_err(|error| self.failed(action, &error))
    }

    /// Applies a batch while no reader looks.
    pub(crate) fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        let engine = engine.as_ref().map_err(Clone::clone)?;
        guarded(|| Ok(engine.tree().apply_batch(batch)?)).map_err(|error| self.failed("write", &error))
    }

    /// Takes the database out of service for `reason` and drops it.
    pub(crate) fn shut(&self, reason: StoreError) -> Result<(), EngineError> {
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *engine, Err(reason)) {
            Ok(engine) => engine.close(),
            Err(_) => Ok(()),
        }
    }

    /// Puts an opened database into service.
    pub(crate) fn resume(&self, engine: Engine) {
        *self.engine.write().unwrap_or_else(PoisonError::into_inner) = Ok(engine);
    }

    /// An engine's error as the store's.
    pub(crate) fn failed(&self, action: &'static str, error: &EngineError) -> StoreError {
        engine_error(&self.dir, action, error)
    }
}

/// An engine's error as the store's.
pub(crate) fn engine_error(dir: &Path, action: &'static str, error: &EngineError) -> StoreError {
    let dir = dir.to_path_buf();
    match error {
        EngineError::Io(error) if is_disk_full(error) => StoreError::DiskFull { dir },
        EngineError::Io(error) => StoreError::Engine { action, dir, detail: error.to_string() },
        EngineError::Broken(detail) => StoreError::Engine { action, dir, detail: detail.clone() },
    }
}

/// Why a look-up failed.
pub(crate) enum ReadError {
    Sled(sled::Error),
    /// The bytes are not what was written.
    Damaged,
}

impl From<sled::Error> for ReadError {
    fn from(error: sled::Error) -> Self {
        Self::Sled(error)
    }
}

impl From<crate::value::NotAValue> for ReadError {
    fn from(_: crate::value::NotAValue) -> Self {
        Self::Damaged
    }
}
