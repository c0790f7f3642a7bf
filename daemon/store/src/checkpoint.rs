//! Writing what was written lately into the index, so that memory stays small and the log need not be read from far back.
//! Nobody's answer waits for it, and nothing depends on it: the log has everything.

use std::sync::Arc;

use crate::engine::EngineError;
use crate::engine::guarded;
use crate::error::StoreError;
use crate::index::run::{SPARE, take_spare};
use crate::index::{Desk, Run, RunWriter, State};
use crate::live::Live;
use crate::log::Position;
use crate::recent::Recent;

/// Writes everything so far as a run of its own. After an error it can be done again.
pub(crate) fn checkpoint(live: &Live) -> Result<(), StoreError> {
    let Some(merging) = begin(live) else { return Ok(()) };
    let desk = live.desk()?;
    let written = guarded(|| write(&desk, &merging));
    let (run, state) = written.map_err(|error| live.failed("write the index of", &error))?;
    live.change(|parts| {
        parts.merging = None;
        if let Ok(index) = &mut parts.index {
            let end = index.runs().len();
            index.replace(end..end, run, state);
        }
    });
    take_spare(live.dir(), live.spare_bytes);
    Ok(())
}

/// From now on what is written goes elsewhere; what an earlier attempt began goes first.
fn begin(live: &Live) -> Option<Arc<Recent>> {
    live.change(|parts| {
        let position =
            parts.index.as_ref().map_or_else(|_| Position::default(), |index| index.state().position);
        if parts.merging.is_none() && parts.recent.end > position {
            let next = Recent::at(parts.recent.end);
            let mut merging = std::mem::replace(&mut parts.recent, next);
            // As of its end: the writer counts under this lock.
            merging.live = live.log.live_bytes();
            parts.merging = Some(Arc::new(merging));
        }
        parts.merging.clone()
    })
}

fn write(desk: &Desk, merging: &Recent) -> Result<(Option<Run>, State), EngineError> {
    let mut state = desk.state.clone();
    let mut writer = RunWriter::begin(desk.place(), SPARE, state.next_run, merging.len())?;
    for (key, stored) in merging.range(&[]) {
        // Below the oldest run there is nothing that could come back.
        if stored.is_some() || !desk.runs.is_empty() {
            writer.push(key, stored)?;
        }
    }
    let run = writer.finish(0)?;
    state.next_run += 1;
    state.position = merging.end;
    state.live.clone_from(&merging.live);
    state.runs.extend(run.as_ref().map(|run| run.meta));
    desk.write(&state)?;
    Ok((run, state))
}
