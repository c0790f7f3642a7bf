//! Writing sled anew: it gives space back late or never, so what it has is copied into a fresh database, which takes the
//! old one's place while the store is used. The runs stay as they are.

use std::fs;

use sled::Batch;

use crate::engine::{Engine, EngineError, guarded};
use crate::error::StoreError;
use crate::index::{Desk, pointers};
use crate::layout::index_dir;
use crate::live::Live;
use crate::opening::files::{remove_dir, sync_path};

/// Pointers in one sled batch.
const BATCH: usize = 64;

/// Copies sled and swaps. Only the keeper writes to it, so nothing changes meanwhile.
pub(crate) fn sled(live: &Live, cache_bytes: u64) -> Result<(), StoreError> {
    let desk = live.desk()?;
    let number = live.beside(|parts| parts.index_number);
    let dir = index_dir(live.dir(), number + 1);
    let copied = guarded(|| {
        let engine = Engine::open(&dir, cache_bytes)?;
        copy(&desk, &engine)?;
        Ok(engine)
    });
    let engine = copied.map_err(|error| {
        let _ = fs::remove_dir_all(&dir);
        live.failed("copy the index of", &error)
    })?;
    for path in [dir.join("conf"), dir.clone(), live.dir().to_path_buf()] {
        sync_path(&path)?;
    }
    drop(desk);
    let before = live.change(|parts| {
        parts.index_number = number + 1;
        parts.index.as_mut().ok().map(|index| index.swap_engine(engine))
    });
    if let Some(before) = before
        && let Err(error) = before.close()
    {
        tracing::debug!(?error, "closing the former index");
    }
    remove_dir(&index_dir(live.dir(), number))
}

fn copy(desk: &Desk, engine: &Engine) -> Result<(), EngineError> {
    let tree = engine.tree();
    for run in &desk.state.runs {
        let mut batch = Batch::default();
        for (item, count) in pointers::of_run(&desk.tree, run.number).zip(1..) {
            let (key, value) = item?;
            batch.insert(key, value);
            if count % BATCH == 0 {
                tree.apply_batch(std::mem::take(&mut batch))?;
            }
        }
        tree.apply_batch(batch)?;
    }
    // Last, and synced with all the rest: a copy without it is not whole.
    Engine::flush_tree(tree)?;
    engine.log().sync_data().map_err(EngineError::Io)?;
    pointers::set_state(tree, &desk.state)?;
    Engine::flush_tree(tree)?;
    engine.log().sync_data().map_err(EngineError::Io)
}
