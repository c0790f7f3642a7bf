//! Putting many changes into the blocks, in the order of their keys, so that each block is written once.

use sled::{Batch, Tree};

use super::block::{decode, pack};
use super::{BLOCK, Changes, STATE, State, block_of, merged, sealed};
use crate::engine::EngineError;

/// Blocks in one sled batch. Its memory grows fast with their number.
const BATCH_BLOCKS: usize = 16;
/// Blocks after which sled's own buffers are written.
const FLUSH_BLOCKS: usize = 2_048;

/// What a merge needs from whoever runs it, between batches.
pub(crate) trait Batches {
    /// There is room on the disk for a batch, or there was none and an error says so.
    fn before(&mut self) -> Result<(), EngineError>;
    /// Hands what was applied to the kernel, which bounds sled's memory.
    fn flush(&mut self) -> Result<(), EngineError>;
}

/// A batch being filled, and the state it will leave.
struct Filling {
    batch: Batch,
    blocks: usize,
    unflushed: usize,
    state: State,
}

/// Merges changes into the index. An error leaves the batches before it; merging the same changes again is harmless.
pub(crate) fn merge(
    tree: &Tree,
    state: State,
    changes: &mut Changes<'_>,
    batches: &mut dyn Batches,
) -> Result<State, EngineError> {
    let mut filling = Filling { batch: Batch::default(), blocks: 0, unflushed: 0, state };
    let mut changes = changes.peekable();
    while let Some((first, _)) = changes.peek() {
        let old = block_of(tree, first)?;
        let lower = old.as_ref().map_or(vec![BLOCK], |(key, _)| key.to_vec());
        let upper = tree.get_gt(&lower)?.map(|(key, _)| key);
        let is_here = |key: &[u8]| upper.as_ref().is_none_or(|upper| key < &upper[1..]);
        let mut here = Vec::new();
        while let Some(change) = changes.next_if(|(key, _)| is_here(key)) {
            here.push(change);
        }
        let entries = match &old {
            Some((key, block)) => decode(key, block).map_err(|_| broken())?,
            None => Vec::new(),
        };
        let entries = merged(entries, here);
        if let Some((key, block)) = &old {
            filling.state.remove(block);
            filling.batch.remove(key);
        }
        for (at, packed) in pack(&entries) {
            // The first one keeps the place of the old one, so that no key is without a block.
            let first = if at == 0 { &lower[1..] } else { entries[at].0.as_slice() };
            let (key, block) = sealed(first, &packed);
            filling.state.add(&block);
            filling.batch.insert(key, block);
            filling.blocks += 1;
        }
        filling.blocks += 1;
        if filling.blocks >= BATCH_BLOCKS {
            filling.apply(tree, batches)?;
        }
    }
    filling.apply(tree, batches)?;
    Ok(filling.state)
}

impl Filling {
    fn apply(&mut self, tree: &Tree, batches: &mut dyn Batches) -> Result<(), EngineError> {
        batches.before()?;
        self.batch.insert(STATE.as_slice(), self.state.encode());
        tree.apply_batch(std::mem::take(&mut self.batch))?;
        self.unflushed += self.blocks;
        self.blocks = 0;
        if self.unflushed >= FLUSH_BLOCKS {
            batches.flush()?;
            self.unflushed = 0;
        }
        Ok(())
    }
}

fn broken() -> EngineError {
    EngineError::Broken("a block of the index is damaged".into())
}
