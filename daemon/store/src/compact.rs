//! Writing the index anew: sled gives space back late or never, so its live blocks are copied into a fresh database,
//! which takes the old one's place while the store is used.

use std::fs;

use sled::Batch;

use crate::engine::{Engine, EngineError, guarded};
use crate::error::StoreError;
use crate::index::{self, State};
use crate::layout::index_dir;
use crate::live::Live;
use crate::opening::files::{remove_dir, sync_path};
use crate::stored::Stored;

/// Bytes of entries packed at a time: some sixteen blocks.
const RUN_BYTES: usize = 64 << 10;

/// Copies the index and swaps. Only the keeper writes to it, so nothing changes meanwhile.
pub(crate) fn index(live: &Live, cache_bytes: u64) -> Result<(), StoreError> {
    let found = live.beside(|parts| {
        let tree = parts.engine.as_ref().map_err(Clone::clone)?.tree().clone();
        Ok::<_, StoreError>((tree, parts.index, parts.index_number))
    });
    let (old, state, number) = found?;
    let dir = index_dir(live.dir(), number + 1);
    let copied = guarded(|| {
        let engine = Engine::open(&dir, cache_bytes)?;
        let fresh = copy(&old, &engine, state)?;
        Ok((engine, fresh))
    });
    let (engine, fresh) = copied.map_err(|error| {
        let _ = fs::remove_dir_all(&dir);
        live.failed("copy the index of", &error)
    })?;
    for path in [dir.join("conf"), dir.clone(), live.dir().to_path_buf()] {
        sync_path(&path)?;
    }
    drop(old);
    let before = live.change(|parts| {
        parts.index = fresh;
        parts.index_number = number + 1;
        std::mem::replace(&mut parts.engine, Ok(engine))
    });
    if let Ok(before) = before
        && let Err(error) = before.close()
    {
        tracing::debug!(?error, "closing the former index");
    }
    remove_dir(&index_dir(live.dir(), number))
}

fn copy(old: &sled::Tree, engine: &Engine, state: State) -> Result<State, EngineError> {
    let tree = engine.tree();
    let mut fresh = state.emptied();
    let (mut run, mut size) = (Vec::new(), 0);
    let scan = index::scan(old, &[]).map_err(unreadable)?;
    for entry in scan {
        let (key, stored): (Vec<u8>, Stored) = entry.map_err(unreadable)?;
        size += key.len() + if matches!(stored, Stored::Here { .. }) { stored.length() } else { 16 };
        run.push((key, stored));
        if size >= RUN_BYTES {
            put(tree, &mut fresh, &mut run)?;
            size = 0;
        }
    }
    put(tree, &mut fresh, &mut run)?;
    // Last, and synced with all the rest: a copy without it is not whole.
    Engine::flush_tree(tree)?;
    engine.log().sync_data().map_err(EngineError::Io)?;
    index::set_state(tree, fresh)?;
    Engine::flush_tree(tree)?;
    engine.log().sync_data().map_err(EngineError::Io)?;
    Ok(fresh)
}

fn put(tree: &sled::Tree, fresh: &mut State, run: &mut Vec<(Vec<u8>, Stored)>) -> Result<(), EngineError> {
    let mut batch = Batch::default();
    for (key, block) in index::blocks_of(fresh, run) {
        batch.insert(key, block);
    }
    run.clear();
    Ok(tree.apply_batch(batch)?)
}

fn unreadable(error: crate::live::ReadError) -> EngineError {
    match error {
        crate::live::ReadError::Engine(error) => error,
        crate::live::ReadError::Damaged => EngineError::Broken("a block of the index is damaged".into()),
    }
}
