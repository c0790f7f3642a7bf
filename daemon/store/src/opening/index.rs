//! Finding the index that fits the log, or making one anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{index_numbers, make_dir, remove_dir, set_index_aside, sync_path};
use crate::checkpoint::checkpoint;
use crate::engine::{Engine, EngineError, guarded};
use crate::error::StoreError;
use crate::index::{self, State};
use crate::layout::index_dir;
use crate::live::{Live, engine_error};
use crate::log::replay::{Replay, Replayed, replay};
use crate::log::{Log, Position};

/// The store as the log has it.
pub(crate) struct Loaded {
    pub(crate) live: Live,
    pub(crate) replay: Replay,
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

enum Found {
    Fits(Box<Live>, Replay),
    /// There is none, or it does not fit; why, if that is worth a word.
    Not(Option<&'static str>),
}

/// Opens the newest index and reads on in the log from where it ends; or reads all of the log.
pub(crate) fn load(dir: &Path, log: &Arc<Log>, limits: Limits) -> Result<Loaded, StoreError> {
    let (mut why, mut aside) = (None, None);
    let numbers = index_numbers(dir)?;
    for (at, number) in numbers.iter().enumerate() {
        match try_index(dir, log, *number, limits)? {
            Found::Fits(live, replay) => {
                for older in &numbers[at + 1..] {
                    remove_dir(&index_dir(dir, *older))?;
                }
                return Ok(Loaded { live: *live, replay, rebuilt: why.map(|why| (why, aside)) });
            }
            Found::Not(None) => remove_dir(&index_dir(dir, *number))?,
            Found::Not(Some(reason)) => {
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
    let (live, replay) = rebuild(dir, log, number, limits)?;
    Ok(Loaded { live, replay, rebuilt: why.filter(|_| has_data).map(|why| (why, aside)) })
}

fn try_index(dir: &Path, log: &Arc<Log>, number: u64, limits: Limits) -> Result<Found, StoreError> {
    let path = index_dir(dir, number);
    let engine = match Engine::open(&path, limits.cache_bytes) {
        Ok(engine) => engine,
        Err(EngineError::Broken(detail)) => {
            tracing::warn!(%detail, "the index does not open");
            return Ok(Found::Not(Some("it did not open")));
        }
        Err(error) => return Err(engine_error(dir, "open the index of", &error)),
    };
    let tree = engine.tree().clone();
    let checked = guarded(|| {
        let Some(state) = index::state(&tree)? else { return Ok(None) };
        Ok(Some((state, index::agrees(&tree, &state)?)))
    });
    let state = match checked {
        Ok(Some((state, true))) => state,
        // Without a state it was never finished, or sled has lost even that.
        Ok(None) if tree.is_empty() => return close_unfit(engine, None),
        Ok(_) | Err(EngineError::Broken(_)) => {
            return close_unfit(engine, Some("its blocks were not those it should have"));
        }
        Err(error) => return Err(engine_error(dir, "read the index of", &error)),
    };
    let oldest = log.segments().keys().next().copied().unwrap_or(1);
    if state.position.segment < oldest && !(state.position.segment == 0 && oldest == 1) {
        return close_unfit(engine, Some("it was older than the log"));
    }
    let live = Live::new(dir, Arc::clone(log), engine, state, number);
    let replay = read_log(&live, state.position, limits)?;
    let end = live.beside(|parts| parts.recent.end);
    if state.reach > end {
        let before = live.change(|parts| std::mem::replace(&mut parts.engine, Err(StoreError::Closed)));
        return before
            .map_or(Ok(Found::Not(None)), |engine| close_unfit(engine, Some("it was newer than the log")));
    }
    Ok(Found::Fits(Box::new(live), replay))
}

fn close_unfit(engine: Engine, why: Option<&'static str>) -> Result<Found, StoreError> {
    if let Err(error) = engine.close() {
        tracing::debug!(?error, "closing an index that does not fit");
    }
    Ok(Found::Not(why))
}

/// Reads the log into memory, and from there into the index whenever memory has its limit.
fn read_log(live: &Live, from: Position, limits: Limits) -> Result<Replay, StoreError> {
    let take_in = |end: Position, writes: Vec<Replayed>| {
        let much = live.change(|parts| {
            for (key, stored) in writes {
                parts.recent.put(key, stored);
            }
            parts.recent.end = end;
            parts.recent.bytes() >= limits.recent_bytes
        });
        if much { checkpoint(live).map_err(ReplayError::Store) } else { Ok(()) }
    };
    replay(&live.log, from, take_in).map_err(|error| match error {
        ReplayError::Io(error) => StoreError::file("read", live.log.dir(), error),
        ReplayError::Store(error) => error,
    })
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

fn rebuild(dir: &Path, log: &Arc<Log>, number: u64, limits: Limits) -> Result<(Live, Replay), StoreError> {
    let path = index_dir(dir, number);
    make_dir(&path)?;
    let failed = |error: EngineError| engine_error(dir, "make the index of", &error);
    let engine = Engine::open(&path, limits.cache_bytes).map_err(failed)?;
    guarded(|| Ok(index::set_state(engine.tree(), State::default())?)).map_err(failed)?;
    Engine::flush_tree(engine.tree()).map_err(failed)?;
    engine.log().sync_data().map_err(|error| StoreError::file("sync", &path, error))?;
    for path in [path.join("conf"), path] {
        sync_path(path)?;
    }
    let live = Live::new(dir, Arc::clone(log), engine, State::default(), number);
    let replay = read_log(&live, Position::default(), limits)?;
    Ok((live, replay))
}
