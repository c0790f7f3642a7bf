//! Putting what was written lately into the index, so that memory stays small and the log need not be read from far
//! back. Nobody's answer waits for it, and nothing depends on it: the log has everything.

use std::fs::File;
use std::io;
use std::sync::Arc;

use sled::Tree;

use crate::engine::{Engine, EngineError, guarded};
use crate::error::StoreError;
use crate::index::{self, Batches, State, merge};
use crate::live::Live;
use crate::recent::Recent;
use crate::space::{self, Room};

/// Merges everything written so far into the index. After an error it can be done again.
pub(crate) fn checkpoint(live: &Live) -> Result<(), StoreError> {
    let merging = live.change(|parts| {
        if parts.merging.is_none() && !parts.recent.is_empty() {
            let next = Recent::at(parts.recent.end);
            parts.merging = Some(Arc::new(std::mem::replace(&mut parts.recent, next)));
        }
        parts.merging.clone()
    });
    let Some(merging) = merging else { return Ok(()) };
    let (tree, file) = live.beside(|parts| {
        let engine = parts.engine.as_ref().map_err(Clone::clone)?;
        let file = engine.log().try_clone().map_err(|error| StoreError::file("open", live.dir(), error))?;
        Ok::<_, StoreError>((engine.tree().clone(), file))
    })?;
    let state = guarded(|| merge_all(&tree, &file, &merging));
    let state = state.map_err(|error| live.failed("write the index of", &error))?;
    live.change(|parts| {
        parts.merging = None;
        parts.index = state;
    });
    Ok(())
}

fn merge_all(tree: &Tree, file: &File, merging: &Recent) -> Result<State, EngineError> {
    let mut state = index::state(tree)?.unwrap_or_default();
    state.reach = merging.end;
    let mut batches = OnDisk { tree, file };
    let mut state = merge(tree, state, &mut merging.range(&[]), &mut batches)?;
    state.position = merging.end;
    index::set_state(tree, state)?;
    Engine::flush_tree(tree)?;
    file.sync_data().map_err(EngineError::Io)?;
    Ok(state)
}

/// Takes room before each batch.
struct OnDisk<'a> {
    tree: &'a Tree,
    file: &'a File,
}

impl Batches for OnDisk<'_> {
    fn before(&mut self) -> Result<(), EngineError> {
        match space::take(self.file, space::INDEX).map_err(EngineError::Io)? {
            Room::Enough | Room::RemovalsOnly => Ok(()),
            Room::None => Err(EngineError::Io(io::ErrorKind::StorageFull.into())),
        }
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        Engine::flush_tree(self.tree)
    }
}
