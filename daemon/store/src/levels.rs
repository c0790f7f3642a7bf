//! Merging runs of the index: [`FAN`] of one level become one of the next, so that an entry is written once a level and a
//! look-up has few runs to ask. Where much is gone, all become one, without what is gone.

use std::ops::Range;

use crate::engine::{EngineError, guarded};
use crate::error::StoreError;
use crate::index::merged::{Merged, Source};
use crate::index::run::{MERGING, path};
use crate::index::{Desk, Index, Run, RunMeta, RunWriter, pointers};
use crate::live::Live;

/// Runs of a level that become one. Each entry is written once more for every factor of this between what memory holds and
/// what there is; a look-up that walks has up to one run less than this to ask on each level.
const FAN: usize = 6;
/// Keys that are gone count from here on.
const GONE_MIN: u64 = 1_024;
/// Entries between two questions whether to go on.
const STEP: u64 = 4_096;

/// Asked from time to time: false ends a merge, which is then forgotten.
pub(crate) type Ask<'a> = dyn FnMut() -> Result<bool, StoreError> + 'a;

/// The runs that should become one, oldest first.
fn due(runs: &[RunMeta]) -> Option<Range<usize>> {
    let gone: u64 = runs.iter().map(|run| run.gone).sum();
    let values: u64 = runs.iter().map(|run| run.values).sum();
    if gone >= GONE_MIN && gone > values / 2 {
        return Some(0..runs.len());
    }
    let mut start = 0;
    for end in 1..=runs.len() {
        if end == runs.len() || runs[end].level != runs[start].level {
            if end - start >= FAN {
                return Some(start..end);
            }
            start = end;
        }
    }
    None
}

/// Merges until nothing is due.
pub(crate) fn settle(live: &Live, ask: &mut Ask<'_>) -> Result<(), StoreError> {
    loop {
        let desk = live.desk()?;
        let Some(range) = due(&desk.state.runs) else { return Ok(()) };
        if !merge(live, &desk, range, ask)? {
            return Ok(());
        }
    }
}

fn merge(live: &Live, desk: &Desk, range: Range<usize>, ask: &mut Ask<'_>) -> Result<bool, StoreError> {
    let mut stopped = None;
    // Checkpoints go on between: the number must not be theirs.
    let number = live.change(|parts| parts.index.as_mut().ok().map(Index::take_number));
    let Some(number) = number else { return Ok(false) };
    let written = guarded(|| {
        let mut go_on = || match ask() {
            Ok(true) => true,
            other => {
                stopped = Some(other);
                false
            }
        };
        write(desk, range.clone(), number, &mut go_on)
    });
    let Ok(Some(run)) = written else {
        forget_pointers(desk, number);
        if let Err(error) = written {
            live.note_damage_of(&error);
            return Err(live.failed("merge the index of", &error));
        }
        return stopped.unwrap_or(Ok(false));
    };
    // The list may have grown meanwhile, at its end.
    let now = live.desk()?;
    let mut state = now.state.clone();
    state.runs.splice(range.clone(), run.as_ref().map(|run| run.meta));
    guarded(|| now.write(&state)).map_err(|error| live.failed("write the index of", &error))?;
    live.change(|parts| {
        if let Ok(index) = &mut parts.index {
            index.replace(range.clone(), run, state);
        }
    });
    forget(desk, &desk.state.runs[range]);
    Ok(true)
}

/// Writes the merged run; `None` where it was stopped, `Some(None)` where nothing is left.
fn write(
    desk: &Desk,
    range: Range<usize>,
    number: u64,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Option<Run>>, EngineError> {
    let inputs = &desk.runs[range.clone()];
    let keys: u64 = inputs.iter().map(|run| run.meta.values + run.meta.gone).sum();
    let level = inputs.iter().map(|run| run.meta.level).max().unwrap_or_default() + 1;
    let mut sources: Vec<Source<'_>> = Vec::with_capacity(inputs.len());
    for run in inputs.iter().rev() {
        sources.push(Box::new(run.scan(&desk.tree, &[])?));
    }
    let keys = usize::try_from(keys).unwrap_or(usize::MAX);
    let mut writer = RunWriter::begin(desk.place(), MERGING, number, keys)?;
    for (item, count) in Merged::new(sources).zip(1_u64..) {
        let (key, stored) = item?;
        // Below the oldest run there is nothing that could come back.
        if stored.is_some() || range.start > 0 {
            writer.push(&key, stored.as_ref())?;
        }
        if count % STEP == 0 && !go_on() {
            return Ok(None);
        }
    }
    writer.finish(level).map(Some)
}

/// Removes runs that nobody reads any more. What is left after a crash goes at the next opening.
fn forget(desk: &Desk, runs: &[RunMeta]) {
    for run in runs {
        if let Err(error) = std::fs::remove_file(path(&desk.dir, run.number)) {
            tracing::debug!(%error, "removing a run of the index");
        }
        forget_pointers(desk, run.number);
    }
}

fn forget_pointers(desk: &Desk, run: u64) {
    if let Err(error) = guarded(|| Ok(pointers::forget(&desk.tree, run)?)) {
        tracing::debug!(?error, "removing the pointers of a run");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(level: u64, values: u64, gone: u64) -> RunMeta {
        RunMeta { level, values, gone, ..RunMeta::default() }
    }

    #[test]
    fn a_full_level_is_due_and_so_is_all_where_much_is_gone() {
        let mut runs = vec![run(2, 9_000, 0), run(1, 3_000, 0)];
        assert_eq!(due(&runs), None);
        runs.extend([run(0, 500, 0); FAN]);
        assert_eq!(due(&runs), Some(2..2 + FAN));
        runs.push(run(0, 0, 9_000));
        assert_eq!(due(&runs), Some(0..3 + FAN));
        assert_eq!(due(&[]), None);
    }
}
