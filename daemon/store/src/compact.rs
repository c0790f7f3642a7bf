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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use super::*;
    use crate::checkpoint::checkpoint;
    use crate::engine::SyncFn;
    use crate::layout::record_key;
    use crate::opening::{Base, Limits};
    use crate::transaction::Table;

    const LIMITS: Limits = Limits { cache_bytes: 64 << 10, recent_bytes: 64 << 10, segment_bytes: 256 << 10 };

    fn write(base: &mut Base<'_>, numbers: std::ops::Range<u32>) {
        let record = |number: u32| (record_key(Table::Inbox, &number.to_be_bytes()), Some(vec![7; 300]));
        base.write(numbers.map(record).collect()).unwrap();
        checkpoint(&base.live).unwrap();
    }

    fn count(base: &Base<'_>) -> usize {
        base.live
            .read("record", |view| Ok(view.kind(crate::layout::RECORD)?.map(Result::unwrap).count()))
            .unwrap()
    }

    #[test]
    fn sled_is_exchanged_while_the_store_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let sync: SyncFn = Arc::new(fs::File::sync_data);
        let mut base = Base::open(dir.path(), LIMITS, &sync).unwrap();
        write(&mut base, 0..500);
        write(&mut base, 400..900);
        sled(&base.live, LIMITS.cache_bytes).unwrap();
        assert_eq!(base.live.beside(|parts| parts.index_number), 2);
        assert!(!index_dir(dir.path(), 1).exists());
        assert_eq!(count(&base), 900);
        write(&mut base, 900..1_000);
        assert_eq!(count(&base), 1_000);
        drop(base);
        let base = Base::open(dir.path(), LIMITS, &sync).unwrap();
        assert!(base.index_is_kept(), "the index was made anew");
        assert_eq!(count(&base), 1_000);
    }

    /// A crash in the middle of the copy leaves one without a state: the former index is still the right one.
    #[test]
    fn an_unfinished_copy_is_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let sync: SyncFn = Arc::new(fs::File::sync_data);
        let mut base = Base::open(dir.path(), LIMITS, &sync).unwrap();
        write(&mut base, 0..500);
        let half = Engine::open(&index_dir(dir.path(), 2), LIMITS.cache_bytes).unwrap();
        half.close().unwrap();
        drop(base);
        let base = Base::open(dir.path(), LIMITS, &sync).unwrap();
        assert!(base.index_is_kept() && !index_dir(dir.path(), 2).exists());
        assert_eq!(count(&base), 500);
    }
}
