//! Opening a store: lock, log, index, check, and what is done when one of them finds damage.

pub(crate) mod files;
mod index;

use std::path::Path;
use std::sync::Arc;

pub(crate) use self::index::Limits;
use self::index::{Loaded, load};
use crate::check::{Depth, check};
use crate::checkpoint::checkpoint;
use crate::counters::Counters;
use crate::engine::SyncFn;
use crate::error::StoreError;
use crate::layout::{DAMAGE_FILE, LOG_DIR, MARK_FILE, SCHEMA_1_DIR, SCHEMA_VERSION};
use crate::live::Live;
use crate::lock::Lock;
use crate::log::group::{GroupHead, Write};
use crate::log::{Appender, Log};
use crate::mark::Mark;
use crate::quarantine::Quarantine;
use crate::report::RecoveryReport;
use crate::schema1;
use crate::store::Store;
use files::{make_dir, sync_path};

/// Bytes of repairs written as one group.
const REPAIR_BYTES: usize = 1 << 20;

/// An open and checked store with everything that belongs to it.
pub(crate) struct Opened {
    pub(crate) live: Live,
    pub(crate) appender: Appender,
    pub(crate) counters: Counters,
    pub(crate) mark: Mark,
    pub(crate) lock: Lock,
    pub(crate) report: RecoveryReport,
}

/// Opens or creates the store in `dir`.
pub(crate) fn open(dir: &Path, limits: Limits, sync: &SyncFn) -> Result<Opened, StoreError> {
    make_dir(dir)?;
    let lock = Lock::take(dir)?;
    let mark_error = |error| StoreError::file("open", dir.join(MARK_FILE), error);
    let (mark, acknowledged) = Mark::open(dir).map_err(mark_error)?;
    let created = !dir.join(LOG_DIR).exists() && !dir.join(SCHEMA_1_DIR).exists();
    let mut report = RecoveryReport { created, ..RecoveryReport::default() };
    if dir.join(SCHEMA_1_DIR).exists() {
        schema1::migrate(dir, limits, sync, &mut report)?;
    }
    let mut base = Base::open(dir, limits, sync)?;
    base.tell(&mut report);
    let mut counters = base.counters;
    if let Some(depth) = base.depth(dir) {
        counters = check(&mut base, depth, &mut Quarantine::new(dir), &mut report)?;
        // What a damaged segment cannot say again is in the index from now on.
        if !report.repairs.is_empty() {
            checkpoint(&base.live)?;
        }
        forget_damage(dir)?;
    }
    report.lost_transactions = acknowledged.unwrap_or(0).saturating_sub(counters.transactions);
    mark.set(counters.transactions);
    let Base { live, appender, .. } = base;
    Ok(Opened { live, appender, counters, mark, lock, report })
}

/// What was damaged has been dealt with.
fn forget_damage(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(DAMAGE_FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::file("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Appends a group as it is and notes that the store was closed.
pub(crate) fn write_raw(dir: &Path, limits: Limits, writes: Vec<Write>) -> Result<(), StoreError> {
    let _lock = Lock::take(dir)?;
    let sync: SyncFn = Arc::new(std::fs::File::sync_data);
    let mut base = Base::open(dir, limits, &sync)?;
    base.write(writes)?;
    let head = GroupHead { transactions: base.counters.transactions, closed: true };
    let closed = base.appender.append(head, &[]).map(drop);
    closed.map_err(|error| StoreError::file("write", dir, error))
}

/// A store that is being opened: it can be read and written, and nobody else uses it yet.
pub(crate) struct Base<'a> {
    pub(crate) live: Live,
    pub(crate) appender: Appender,
    pub(crate) counters: Counters,
    sync: &'a SyncFn,
    limits: Limits,
    loaded: Told,
}

/// What loading found, for the report.
struct Told {
    replay: crate::log::replay::Replay,
    /// What is not in the index yet needs no further check.
    agrees: bool,
    rebuilt: Option<(&'static str, Option<std::path::PathBuf>)>,
}

impl<'a> Base<'a> {
    /// Opens log and index, and begins a segment: from here on this session's groups are told from earlier ones.
    pub(crate) fn open(dir: &Path, limits: Limits, sync: &'a SyncFn) -> Result<Self, StoreError> {
        let log_error = |error| StoreError::file("open", dir.join(LOG_DIR), error);
        let is_new = !dir.join(LOG_DIR).exists();
        let log = Arc::new(Log::open(dir, limits.segment_bytes).map_err(log_error)?);
        if let Some(found) = log.newer_schema().map_err(log_error)? {
            return Err(StoreError::NewerSchema { found, supported: SCHEMA_VERSION, dir: dir.to_path_buf() });
        }
        let Loaded { live, replay, agrees, rebuilt } = load(dir, &log, limits)?;
        let counted = live.read("counter", Store::counters);
        let agrees = agrees && counted.is_ok();
        let mut counters = counted.unwrap_or_default();
        counters.transactions = counters.transactions.max(replay.last.map_or(0, |last| last.transactions));
        let appender = Appender::begin(&log).map_err(log_error)?;
        if is_new {
            sync_path(dir)?;
        }
        let loaded = Told { replay, agrees, rebuilt };
        Ok(Self { live, appender, counters, sync, limits, loaded })
    }

    /// How much is to be checked beyond what has been while the index and the end of the log were read: every block of
    /// the one and every group of the other.
    fn depth(&self, dir: &Path) -> Option<Depth> {
        let Told { replay, agrees, rebuilt } = &self.loaded;
        if replay.damaged > 0 || !agrees || dir.join(DAMAGE_FILE).exists() {
            return Some(Depth::Everything);
        }
        // All of the log has just been read, and each group compared with its checksum.
        rebuilt.is_some().then_some(Depth::Structure)
    }

    /// The index that was there is still in use.
    #[cfg(test)]
    pub(crate) fn index_is_kept(&self) -> bool {
        self.loaded.rebuilt.is_none()
    }

    fn tell(&self, report: &mut RecoveryReport) {
        let replay = &self.loaded.replay;
        report.closed_cleanly = report.created || replay.last.is_some_and(|last| last.closed);
        if replay.torn > 0 || replay.damaged > 0 || self.live.dir().join(DAMAGE_FILE).exists() {
            report.closed_cleanly = false;
        }
        if replay.damaged > 0 {
            report.repaired(format!(
                "{} bytes of the log are damaged; what they held is missing",
                replay.damaged
            ));
            report.set_aside.clone_from(&replay.aside);
        }
        if let Some((why, aside)) = &self.loaded.rebuilt {
            report.closed_cleanly = false;
            report.index_rebuilt = Some(*why);
            if report.set_aside.is_none() {
                report.index_aside.clone_from(aside);
            }
        }
    }

    /// Writes one group, durably.
    pub(crate) fn write(&mut self, writes: Vec<Write>) -> Result<(), StoreError> {
        if self.appender.is_full() {
            let begun = Appender::begin(&self.live.log);
            self.appender = begun.map_err(|error| StoreError::file("write", self.live.log.dir(), error))?;
        }
        let head = GroupHead { transactions: self.counters.transactions, closed: false };
        let path = self.appender.path();
        let failed = |error| StoreError::file("write", &path, error);
        let stored = self.appender.append(head, &writes).map_err(failed)?;
        (self.sync)(self.appender.file()).map_err(failed)?;
        let writes: Vec<_> = writes.into_iter().zip(stored).map(|((key, _), stored)| (key, stored)).collect();
        let applied = self.live.replayed(self.appender.position(), writes);
        applied.map_err(|error| self.live.unreadable("record", error))?;
        if self.live.beside(|parts| parts.recent.is_full(self.limits.recent_bytes)) {
            checkpoint(&self.live)?;
        }
        Ok(())
    }

    /// Writes many, in groups of a bounded size.
    pub(crate) fn write_all(&mut self, writes: Vec<Write>) -> Result<(), StoreError> {
        let (mut group, mut size) = (Vec::new(), 0);
        for write in writes {
            size += write.0.len() + write.1.as_ref().map_or(0, Vec::len);
            group.push(write);
            if size >= REPAIR_BYTES {
                self.write(std::mem::take(&mut group))?;
                size = 0;
            }
        }
        if group.is_empty() { Ok(()) } else { self.write(group) }
    }
}
