//! Finding the index that fits the log, or making one anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{index_numbers, make_dir, remove_dir, set_index_aside, sync_path};
use crate::checkpoint::checkpoint;
use crate::engine::{Engine, EngineError, guarded};
use crate::error::StoreError;
use crate::index::run::take_spare;
use crate::index::{self, Index};
use crate::layout::{RUNS_DIR, index_dir};
use crate::levels::settle;
use crate::live::{Live, engine_error};
use crate::log::replay::{Replay, Replayed, replay};
use crate::log::{Log, Position};
use crate::tail;

/// The store as the log has it.
pub(crate) struct Loaded {
    pub(crate) live: Live,
    pub(crate) replay: Replay,
    /// What the log had beyond the index hangs together and follows from it. Not looked at where the index is new.
    pub(crate) agrees: bool,
    /// Why the index was made anew, if it was, and where the former one is.
    pub(crate) rebuilt: Option<(&'static str, Option<PathBuf>)>,
}

/// Sizes that opening needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) cache_bytes: u64,
    pub(crate) recent_bytes: usize,
    pub(crate) segment_bytes: u64,
}

impl Limits {
    /// A checkpoint takes less than half of what memory held.
    fn spare_bytes(&self) -> u64 {
        u64::try_from(self.recent_bytes / 2).unwrap_or(u64::MAX)
    }
}

enum Found {
    Fits(Box<Live>, Read),
    /// There is none; why, if that is worth a word.
    None(Option<&'static str>),
    /// It does not fit, and may be worth a look.
    Wrong(&'static str),
}

/// What reading the log on top of an index found.
struct Read {
    replay: Replay,
    agrees: bool,
}

/// Opens the newest index and reads on in the log from where it ends; or reads all of the log.
pub(crate) fn load(dir: &Path, log: &Arc<Log>, limits: Limits) -> Result<Loaded, StoreError> {
    let (mut why, mut aside) = (None, None);
    let numbers = index_numbers(dir)?;
    for (at, number) in numbers.iter().enumerate() {
        match try_index(dir, log, *number, limits)? {
            Found::Fits(live, Read { replay, agrees }) => {
                for older in &numbers[at + 1..] {
                    remove_dir(&index_dir(dir, *older))?;
                }
                return Ok(Loaded { live: *live, replay, agrees, rebuilt: why.map(|why| (why, aside)) });
            }
            Found::None(reason) => {
                why = why.or(reason);
                remove_dir(&index_dir(dir, *number))?;
            }
            Found::Wrong(reason) => {
                tracing::warn!(reason, "the store's index is made anew from its log");
                why = Some(reason);
                aside = Some(set_index_aside(dir, &index_dir(dir, *number))?);
            }
        }
    }
    let has_data = !log.segments().is_empty();
    if why.is_none() && has_data {
        why = Some("it was missing");
    }
    let number = numbers.first().map_or(1, |highest| highest + 1);
    let (live, Read { replay, agrees }) = rebuild(dir, log, number, limits)?;
    Ok(Loaded { live, replay, agrees, rebuilt: why.filter(|_| has_data).map(|why| (why, aside)) })
}

fn try_index(dir: &Path, log: &Arc<Log>, number: u64, limits: Limits) -> Result<Found, StoreError> {
    let path = index_dir(dir, number);
    let engine = match Engine::open(&path, limits.cache_bytes) {
        Ok(engine) => engine,
        Err(EngineError::Broken(detail)) => {
            tracing::warn!(%detail, "the index does not open");
            return Ok(Found::Wrong("it did not open"));
        }
        Err(error) => return Err(engine_error(dir, "open the index of", &error)),
    };
    make_dir(&dir.join(RUNS_DIR))?;
    let index = match guarded(|| Index::open(dir, engine)) {
        Ok(index::Found::Whole(index)) => index,
        // Sled may have lost even the state.
        Ok(index::Found::Unfinished(engine)) => return Ok(closed(engine, Found::None(None))),
        Ok(index::Found::Former(engine)) => {
            return Ok(closed(engine, Found::None(Some("it had an earlier form"))));
        }
        Ok(index::Found::Damaged(engine)) => return Ok(closed(engine, Found::Wrong(DAMAGED))),
        Err(EngineError::Broken(detail)) => {
            tracing::warn!(%detail, "the index is damaged");
            return Ok(Found::Wrong(DAMAGED));
        }
        Err(error) => return Err(engine_error(dir, "read the index of", &error)),
    };
    let position = index.state().position;
    let oldest = log.segments().keys().next().copied().unwrap_or(1);
    if position.segment < oldest && !(position.segment == 0 && oldest == 1) {
        return Ok(shut(index, "it was older than the log"));
    }
    if position > Position::default() && !reaches(log, position) {
        return Ok(shut(index, "it was newer than the log"));
    }
    if let Err(error) = guarded(|| index.sweep(dir)) {
        tracing::debug!(?error, "removing what is left of unfinished runs");
    }
    log.set_live_bytes(&index.state().live);
    let live = Live::new(dir, Arc::clone(log), index, number, limits.spare_bytes());
    let read = read_log(&live, position, limits, Check::Tail)?;
    take_spare(dir, live.spare_bytes);
    Ok(Found::Fits(Box::new(live), read))
}

const DAMAGED: &str = "its blocks were not those it should have";

/// The log has everything up to a place: it has lost no end that the index knows.
fn reaches(log: &Log, place: Position) -> bool {
    log.segments().get(&place.segment).is_some_and(|used| used.length >= place.offset)
}

fn closed(engine: Engine, found: Found) -> Found {
    if let Err(error) = engine.close() {
        tracing::debug!(?error, "closing an index that does not fit");
    }
    found
}

fn shut(index: Index, why: &'static str) -> Found {
    if let Err(error) = index.close() {
        tracing::debug!(?error, "closing an index that does not fit");
    }
    Found::Wrong(why)
}

/// Whether what is read is compared with the index before it becomes part of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    Tail,
    /// Everything is checked afterwards.
    Later,
}

/// Reads the log into memory, and from there into the index whenever memory has its limit.
fn read_log(live: &Live, from: Position, limits: Limits, check: Check) -> Result<Read, StoreError> {
    let mut agrees = true;
    let mut compare = || -> Result<(), StoreError> {
        agrees = agrees && (check == Check::Later || tail::agrees(live)?);
        Ok(())
    };
    let take_in = |end: Position, writes: Vec<Replayed>| {
        live.replayed(end, writes).map_err(|error| live.unreadable("record", error))?;
        if live.beside(|parts| parts.recent.is_full(limits.recent_bytes)) {
            compare()?;
            checkpoint(live)?;
            settle(live, &mut || Ok(true))?;
        }
        Ok(())
    };
    let replay = replay(&live.log, from, take_in).map_err(|error| match error {
        ReplayError::Io(error) => StoreError::file("read", live.log.dir(), error),
        ReplayError::Store(error) => error,
    })?;
    compare()?;
    Ok(Read { replay, agrees })
}

enum ReplayError {
    Io(std::io::Error),
    Store(StoreError),
}

impl From<std::io::Error> for ReplayError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<StoreError> for ReplayError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn rebuild(dir: &Path, log: &Arc<Log>, number: u64, limits: Limits) -> Result<(Live, Read), StoreError> {
    let runs = dir.join(RUNS_DIR);
    remove_dir(&runs)?;
    make_dir(&runs)?;
    let path = index_dir(dir, number);
    make_dir(&path)?;
    let failed = |error: EngineError| engine_error(dir, "make the index of", &error);
    let engine = Engine::open(&path, limits.cache_bytes).map_err(failed)?;
    let index = Index::empty(engine);
    let desk = index.desk(dir).map_err(|error| StoreError::file("open", &path, error))?;
    guarded(|| desk.write(&desk.state)).map_err(failed)?;
    drop(desk);
    for path in [path.join("conf"), path] {
        sync_path(path)?;
    }
    log.forget_live();
    let live = Live::new(dir, Arc::clone(log), index, number, limits.spare_bytes());
    let read = read_log(&live, Position::default(), limits, Check::Later)?;
    take_spare(dir, live.spare_bytes);
    Ok((live, read))
}
