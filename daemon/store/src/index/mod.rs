//! The index: the newest value of every key, or its place in the log.
//!
//! It is a few runs, oldest first. A checkpoint writes what is in memory as the newest run; runs of one level are merged
//! into one of the next ([`crate::levels`]), so that each entry is written few times and each look-up reads few runs. A run
//! is blocks of neighbouring keys in a file that is never changed; sled has for each block its first key, place and
//! checksum, and the [`State`]: which runs there are, and up to where in the log they know everything.
//!
//! All of it follows from the log and is never trusted. sled 0.34 syncs nothing that a power cut respects, and a cut can
//! leave files it does not open, or opens with older pages (see `docs/architecture.md`). So the state, one value, has the sum
//! of the checksums of all pointers of each run; opening compares that with the pointers that are there and them with the
//! blocks. An index that disagrees, or that is older than the log says it was, is made anew from the log.

pub(crate) mod block;
mod filter;
pub(crate) mod merged;
pub(crate) mod pointers;
pub(crate) mod run;
mod state;

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sled::Tree;

use crate::engine::{Engine, EngineError};
use crate::layout::RUNS_DIR;
pub(crate) use filter::Hashed;
pub(crate) use run::{Place, Run, RunWriter};
use state::NotAState;
pub(crate) use state::{RunMeta, State};

/// An index in use: sled, and the runs that its state lists.
pub(crate) struct Index {
    engine: Engine,
    runs: Vec<Arc<Run>>,
    state: State,
}

/// What was found where an index should be.
pub(crate) enum Found {
    /// One that is as it was written.
    Whole(Index),
    /// One that never got a state.
    Unfinished(Engine),
    /// One of an earlier program.
    Former(Engine),
    /// One that is not as it was written.
    Damaged(Engine),
}

impl Index {
    /// A new one without runs. Durable once [`Desk::write`] has been called.
    pub(crate) fn empty(engine: Engine) -> Self {
        let state = State { next_run: 1, ..State::default() };
        Self { engine, runs: Vec::new(), state }
    }

    /// Opens the runs and compares everything with its checksums: reads all of the index once.
    pub(crate) fn open(dir: &Path, engine: Engine) -> Result<Found, EngineError> {
        let state = match pointers::state(engine.tree())? {
            Some(Ok(state)) => state,
            Some(Err(NotAState::OtherVersion)) => return Ok(Found::Former(engine)),
            None if engine.tree().is_empty() => return Ok(Found::Unfinished(engine)),
            Some(Err(NotAState::Damaged)) | None => return Ok(Found::Damaged(engine)),
        };
        match open_runs(dir, engine.tree(), &state)? {
            Some(runs) => Ok(Found::Whole(Self { engine, runs, state })),
            None => Ok(Found::Damaged(engine)),
        }
    }

    /// Removes what a crash left of runs that are not listed.
    pub(crate) fn sweep(&self, dir: &Path) -> Result<(), EngineError> {
        let listed = |number: u64| self.state.runs.iter().any(|run| run.number == number);
        for number in pointers::runs(self.engine.tree())? {
            if !listed(number) {
                pointers::forget(self.engine.tree(), number)?;
            }
        }
        let names: Vec<PathBuf> = self.state.runs.iter().map(|meta| run::path(dir, meta.number)).collect();
        let sweep = || -> io::Result<()> {
            for entry in fs::read_dir(dir.join(RUNS_DIR))? {
                let path = entry?.path();
                if !names.contains(&path) {
                    fs::remove_file(path)?;
                }
            }
            Ok(())
        };
        sweep().map_err(EngineError::Io)
    }

    pub(crate) fn tree(&self) -> &Tree {
        self.engine.tree()
    }

    /// Oldest first.
    pub(crate) fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// sled's file.
    pub(crate) fn sled(&self) -> &File {
        self.engine.log()
    }

    /// Bytes of all its files.
    pub(crate) fn disk_bytes(&self) -> u64 {
        let sled = self.sled().metadata().map_or(0, |file| file.len());
        sled + self.state.runs.iter().map(RunMeta::file_bytes).sum::<u64>()
    }

    /// What is needed to change it beside readers.
    pub(crate) fn desk(&self, dir: &Path) -> io::Result<Desk> {
        let sled = self.sled().try_clone()?;
        Ok(Desk {
            dir: dir.to_path_buf(),
            tree: self.tree().clone(),
            sled,
            runs: self.runs.clone(),
            state: self.state.clone(),
        })
    }

    /// Puts a run in the place of others, with the state that has been written.
    pub(crate) fn replace(&mut self, range: Range<usize>, run: Option<Run>, state: State) {
        self.runs.splice(range, run.map(Arc::new));
        self.state = state;
    }

    /// A number for a run, which is not given again.
    pub(crate) fn take_number(&mut self) -> u64 {
        let number = self.state.next_run;
        self.state.next_run += 1;
        number
    }

    /// The same in another sled; gives back the former one.
    pub(crate) fn swap_engine(&mut self, engine: Engine) -> Engine {
        std::mem::replace(&mut self.engine, engine)
    }

    /// Lets go of sled.
    pub(crate) fn close(self) -> Result<(), EngineError> {
        self.engine.close()
    }
}

fn open_runs(dir: &Path, tree: &Tree, state: &State) -> Result<Option<Vec<Arc<Run>>>, EngineError> {
    let mut runs = Vec::with_capacity(state.runs.len());
    for meta in &state.runs {
        match Run::open(dir, *meta).map_err(EngineError::Io)? {
            Some(run) if run.is_whole(tree)? => runs.push(Arc::new(run)),
            _ => return Ok(None),
        }
    }
    Ok(Some(runs))
}

/// A copy of what the index is made of, for the one thread that changes it.
pub(crate) struct Desk {
    pub(crate) dir: PathBuf,
    pub(crate) tree: Tree,
    pub(crate) sled: File,
    pub(crate) runs: Vec<Arc<Run>>,
    pub(crate) state: State,
}

impl Desk {
    pub(crate) fn place(&self) -> Place<'_> {
        Place { dir: &self.dir, tree: &self.tree, sled: &self.sled }
    }

    /// Writes the state with everything that went to sled before it, durably.
    pub(crate) fn write(&self, state: &State) -> Result<(), EngineError> {
        pointers::set_state(&self.tree, state)?;
        Engine::flush_tree(&self.tree)?;
        self.sled.sync_data().map_err(EngineError::Io)
    }
}
