//! Many writes in small batches, for repairs at opening, when nobody waits and nothing is acknowledged.

use sled::{Batch, Tree};

/// sled's memory grows fast with the size of a batch.
const BATCH_ENTRIES: usize = 64;

/// Collects writes and applies them every [`BATCH_ENTRIES`].
pub(crate) struct Bulk<'a> {
    tree: &'a Tree,
    batch: Batch,
    entries: usize,
}

impl<'a> Bulk<'a> {
    pub(crate) fn new(tree: &'a Tree) -> Self {
        Self { tree, batch: Batch::default(), entries: 0 }
    }

    pub(crate) fn insert(
        &mut self,
        key: impl Into<sled::IVec>,
        value: impl Into<sled::IVec>,
    ) -> sled::Result<()> {
        self.batch.insert(key, value);
        self.added()
    }

    pub(crate) fn remove(&mut self, key: impl Into<sled::IVec>) -> sled::Result<()> {
        self.batch.remove(key);
        self.added()
    }

    fn added(&mut self) -> sled::Result<()> {
        self.entries += 1;
        if self.entries < BATCH_ENTRIES {
            return Ok(());
        }
        self.entries = 0;
        self.tree.apply_batch(std::mem::take(&mut self.batch))
    }

    /// Applies the rest.
    pub(crate) fn finish(self) -> sled::Result<()> {
        if self.entries == 0 { Ok(()) } else { self.tree.apply_batch(self.batch) }
    }
}
