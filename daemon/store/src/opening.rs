//! Opening a store: lock, database, check, and what is done when one of them finds damage.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use sled::Tree;

use crate::check::{Depth, check};
use crate::counters::Counters;
use crate::engine::{Engine, EngineError, SyncFn, guarded};
use crate::error::StoreError;
use crate::layout::{CLEAN, SCHEMA, SCHEMA_VERSION, SLED_DIR, SLED_NEW_DIR};
use crate::live::engine_error;
use crate::lock::Lock;
use crate::mark::Mark;
use crate::quarantine::{Quarantine, free_name};
use crate::report::RecoveryReport;
use crate::salvage::{Salvaged, salvage};
use crate::value;

/// An open and checked database with everything that belongs to it.
pub(crate) struct Opened {
    pub(crate) engine: Engine,
    pub(crate) counters: Counters,
    pub(crate) mark: Mark,
    pub(crate) lock: Lock,
    pub(crate) report: RecoveryReport,
}

/// Opens or creates the store in `dir`.
pub(crate) fn open(dir: &Path, cache_bytes: u64, sync: &SyncFn) -> Result<Opened, StoreError> {
    make_dir(dir)?;
    let lock = Lock::take(dir)?;
    let mark_error = |error| StoreError::file("open", dir.join(crate::layout::MARK_FILE), error);
    let (mark, acknowledged) = Mark::open(dir).map_err(mark_error)?;
    finish_swap(dir)?;
    let report = RecoveryReport { created: !dir.join(SLED_DIR).exists(), ..RecoveryReport::default() };
    let mut opening = Opening { dir, cache_bytes, sync, acknowledged: acknowledged.unwrap_or(0), report };
    let (engine, counters) = opening.open_and_check()?;
    sync(engine.log()).map_err(|error| StoreError::file("sync", dir.join(SLED_DIR), error))?;
    sync_names(dir)?;
    let report = opening.report;
    mark.set(counters.transactions);
    Ok(Opened { engine, counters, mark, lock, report })
}

fn make_dir(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| StoreError::file("create", dir, error))?;
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_path)
}

/// Makes the names of sled's files durable, and `conf`, which sled does not sync.
fn sync_names(dir: &Path) -> Result<(), StoreError> {
    let sled = dir.join(SLED_DIR);
    for path in [sled.join("conf"), sled.join("blobs"), sled, dir.to_path_buf()] {
        sync_path(&path)?;
    }
    Ok(())
}

fn sync_path(path: &Path) -> Result<(), StoreError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| StoreError::file("sync", path, error))
}

/// Ends a replacement that a crash interrupted: the new database is whole once the old one has left its place.
fn finish_swap(dir: &Path) -> Result<(), StoreError> {
    let (place, new) = (dir.join(SLED_DIR), dir.join(SLED_NEW_DIR));
    if !new.exists() {
        return Ok(());
    }
    if place.exists() {
        fs::remove_dir_all(&new).map_err(|error| StoreError::file("remove", &new, error))
    } else {
        rename(&new, &place)
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|error| StoreError::file("rename", from, error))?;
    from.parent().map_or(Ok(()), sync_path)
}

struct Opening<'a> {
    dir: &'a Path,
    cache_bytes: u64,
    sync: &'a SyncFn,
    acknowledged: u64,
    report: RecoveryReport,
}

impl Opening<'_> {
    /// Opens and checks. sled recovers from a damaged log into memory, but what it then writes may not open again: so
    /// whatever is found wrong, what is left is copied into a new database.
    fn open_and_check(&mut self) -> Result<(Engine, Counters), StoreError> {
        let engine = self.open_engine()?;
        match guarded(|| self.check(&engine)) {
            Ok(checked) => {
                let counters = checked?;
                self.report.lost_transactions = self.acknowledged.saturating_sub(counters.transactions);
                if self.report.is_healthy() {
                    return Ok((engine, counters));
                }
            }
            Err(EngineError::Io(error)) => return Err(self.failed("check", &EngineError::Io(error))),
            Err(EngineError::Broken(detail)) => {
                tracing::error!(%detail, "the database cannot be read to its end");
                self.report.repaired("parts of the database could not be read");
            }
        }
        self.replace(engine)
    }

    /// Copies what can be read into a new database, puts that in the place of the old one, and checks it.
    fn replace(&mut self, damaged: Engine) -> Result<(Engine, Counters), StoreError> {
        let new = self.dir.join(SLED_NEW_DIR);
        let copied = self.copy(&damaged, &new);
        if let Err(error) = damaged.close() {
            tracing::debug!(?error, "closing the damaged database");
        }
        let salvaged = copied?;
        self.set_aside_all()?;
        rename(&new, &self.dir.join(SLED_DIR))?;
        if salvaged.gaps > 0 {
            let Salvaged { entries, gaps } = salvaged;
            self.report.repaired(format!("{entries} entries could be read, with {gaps} gaps between them"));
        }
        let engine = self.open_new()?;
        let counters = guarded(|| self.check(&engine)).map_err(|error| self.failed("check", &error))??;
        self.report.closed_cleanly = false;
        self.report.lost_transactions = self.acknowledged.saturating_sub(counters.transactions);
        Ok((engine, counters))
    }

    fn copy(&self, damaged: &Engine, new: &Path) -> Result<Salvaged, StoreError> {
        let failed = |error: EngineError| self.failed("copy what can be read", &error);
        let engine = Engine::open(new, self.cache_bytes).map_err(failed)?;
        let salvaged = salvage(damaged.tree(), engine.tree()).map_err(failed)?;
        let tree = engine.tree();
        // The copy is checked to the last byte, whatever the old one said of itself.
        guarded(|| Ok(tree.remove(CLEAN)?)).map_err(failed)?;
        engine.flush().map_err(failed)?;
        (self.sync)(engine.log()).map_err(|error| StoreError::file("sync", new, error))?;
        engine.close().map_err(failed)?;
        for path in [new.join("conf"), new.to_path_buf()] {
            sync_path(&path)?;
        }
        Ok(salvaged)
    }

    fn open_sled(&self) -> Result<Engine, EngineError> {
        Engine::open(&self.dir.join(SLED_DIR), self.cache_bytes)
    }

    /// Opens sled; if it is broken first without the files it can do without, then anew.
    fn open_engine(&mut self) -> Result<Engine, StoreError> {
        let detail = match self.try_open()? {
            Ok(engine) => return Ok(engine),
            Err(detail) => detail,
        };
        tracing::error!(%detail, "the database does not open");
        self.report.set_aside = Some(self.set_aside_minor_files()?);
        if let Ok(engine) = self.try_open()? {
            self.report.repaired("sled's parameters and page table did not fit its log and were made anew");
            return Ok(engine);
        }
        self.set_aside_all()?;
        self.report.repaired("the database could not be opened; a new one was begun");
        self.open_new()
    }

    fn open_new(&self) -> Result<Engine, StoreError> {
        self.open_sled().map_err(|error| self.failed("open", &error))
    }

    /// Opens, or says what is broken. What the file system refuses is no damage, and an error.
    fn try_open(&self) -> Result<Result<Engine, String>, StoreError> {
        match self.open_sled() {
            Ok(engine) => Ok(Ok(engine)),
            Err(EngineError::Broken(detail)) => Ok(Err(detail)),
            Err(error) => Err(self.failed("open", &error)),
        }
    }

    /// Sets aside `conf` and `snap.*`: sled makes both anew, the second from its whole log.
    fn set_aside_minor_files(&self) -> Result<PathBuf, StoreError> {
        let aside = free_name(self.dir, SLED_DIR);
        fs::create_dir(&aside).map_err(|error| StoreError::file("create", &aside, error))?;
        let sled = self.dir.join(SLED_DIR);
        let listing = fs::read_dir(&sled).map_err(|error| StoreError::file("list", &sled, error))?;
        for entry in listing {
            let entry = entry.map_err(|error| StoreError::file("list", &sled, error))?;
            let name = entry.file_name();
            if name == "conf" || name.to_string_lossy().starts_with("snap.") {
                let to = aside.join(&name);
                fs::rename(entry.path(), to)
                    .map_err(|error| StoreError::file("set aside", entry.path(), error))?;
            }
        }
        Ok(aside)
    }

    fn set_aside_all(&mut self) -> Result<(), StoreError> {
        let to = free_name(self.dir, SLED_DIR);
        rename(&self.dir.join(SLED_DIR), &to)?;
        if let Some(earlier) = self.report.set_aside.replace(to.clone()) {
            rename(&earlier, &to.join("replaced"))?;
        }
        Ok(())
    }

    fn check(&mut self, engine: &Engine) -> Result<Result<Counters, StoreError>, EngineError> {
        let tree = engine.tree();
        if let Err(error) = self.schema(tree)? {
            return Ok(Err(error));
        }
        self.report.closed_cleanly = self.report.created || tree.contains_key(CLEAN)?;
        let depth = if self.report.closed_cleanly { Depth::Structure } else { Depth::Everything };
        let counters = check(tree, depth, &mut Quarantine::new(self.dir), &mut self.report)?;
        tree.remove(CLEAN)?;
        engine.flush()?;
        Ok(Ok(counters))
    }

    fn schema(&mut self, tree: &Tree) -> Result<Result<(), StoreError>, EngineError> {
        let stored = match value::get(tree, &SCHEMA)? {
            Some(Ok(bytes)) => bytes.try_into().ok().map(u32::from_be_bytes),
            _ => None,
        };
        match stored {
            Some(SCHEMA_VERSION) => return Ok(Ok(())),
            Some(found) => {
                let (supported, dir) = (SCHEMA_VERSION, self.dir.to_path_buf());
                return Ok(Err(StoreError::NewerSchema { found, supported, dir }));
            }
            None if tree.first()?.is_some() => {
                self.report.repaired("the schema version was missing and was set");
            }
            None => {}
        }
        for (key, bytes) in value::encode(&SCHEMA, &SCHEMA_VERSION.to_be_bytes()) {
            tree.insert(key, bytes)?;
        }
        Ok(Ok(()))
    }

    fn failed(&self, action: &'static str, error: &EngineError) -> StoreError {
        engine_error(self.dir, action, error)
    }
}
