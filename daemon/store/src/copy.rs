//! Everything that a store holds, into another one: how a store is encrypted, decrypted and compacted offline.
//!
//! Sealing is the target's matter. What the source kept of deleted and former values stays behind.

use pigeon_bundle::{Commitment, NodeKey, Reveal};
use pigeon_core::{Catalog, CatalogError, StoreOp};

use crate::catalog::page_of;
use crate::error::StoreError;
use crate::held::tombstone_from_bytes;
use crate::layout::{STATE, TOMBSTONE};
use crate::live::ReadError;
use crate::store::Store;
use crate::transaction::{RecordOp, Table, Transaction};

/// Rows read in one go.
const PAGE: usize = 64;
/// Bytes after which a transaction is written.
const STEP_BYTES: u64 = 256 << 10;
/// Operations after which a transaction is written.
const STEP_OPS: usize = 64;

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Bundles with their entries.
    pub bundles: u64,
    /// Records of all tables.
    pub records: u64,
    /// Tombstones.
    pub tombstones: u64,
}

impl Store {
    /// Copies everything into `to`, which should be empty. Blocks until it is durable there.
    ///
    /// # Errors
    /// The first thing that cannot be read here or written there. `to` is then incomplete.
    pub fn copy_into(&self, to: &Self) -> Result<Copied, StoreError> {
        let mut copy = Copy { from: self, to, step: Transaction::default(), done: Copied::default() };
        copy.bundles()?;
        copy.tombstones()?;
        copy.states()?;
        for table in Table::ALL {
            copy.records(*table)?;
        }
        copy.write()?;
        Ok(copy.done)
    }

    /// Whether there is a record or a state value that is not sealed.
    pub(crate) fn has_plain(&self) -> Result<bool, StoreError> {
        for table in Table::ALL.iter().filter(|table| **table != Table::Vault) {
            if !self.raw_records(*table, None, 1)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(!self.raw_states()?.is_empty())
    }

    /// Names and values of the core, as the engine keeps them. They are few.
    fn raw_states(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.live().read("state value", |view| {
            let mut found = Vec::new();
            for item in view.kind(STATE)? {
                let (key, stored) = item?;
                let name = key.get(1..).and_then(|name| std::str::from_utf8(name).ok());
                let value = view.load(&key, &stored)?;
                found.push((name.ok_or(ReadError::Damaged)?.to_owned(), value));
            }
            Ok(found)
        })
    }

    /// A page of tombstones with their expiry.
    fn tombstones_until(
        &self,
        after: Option<Commitment>,
        limit: usize,
    ) -> Result<Vec<(Reveal, u64)>, StoreError> {
        self.live().read("tombstone", |view| {
            page_of(view, TOMBSTONE, after.map(|commitment| commitment.0), limit, |commitment, bytes| {
                tombstone_from_bytes(&Commitment(commitment), bytes)
            })
        })
    }
}

struct Copy<'a> {
    from: &'a Store,
    to: &'a Store,
    step: Transaction,
    done: Copied,
}

impl Copy<'_> {
    fn bundles(&mut self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.from.page(after, PAGE).map_err(|error| self.unreadable(&error))?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            for (id, entry) in page {
                let bundle = self.from.bundle(&id).map_err(|error| self.unreadable(&error))?;
                let takers: Vec<NodeKey> = self.from.takers(&id).map_err(|error| self.unreadable(&error))?;
                let Some(bundle) = bundle else { continue };
                self.step.ops.push(StoreOp::Put { bundle, entry });
                self.step.ops.extend(takers.into_iter().map(|taker| StoreOp::AddTaker { id, taker }));
                self.done.bundles += 1;
                self.write_full()?;
            }
        }
    }

    fn tombstones(&mut self) -> Result<(), StoreError> {
        let mut after: Option<Commitment> = None;
        loop {
            let page = self.from.tombstones_until(after, PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.commitment());
            for (reveal, expires_s) in page {
                self.step.ops.push(StoreOp::Tombstone { reveal, expires_s });
                self.done.tombstones += 1;
                self.write_full()?;
            }
        }
    }

    fn states(&mut self) -> Result<(), StoreError> {
        for (key, _) in self.from.raw_states()? {
            let value = self.from.state(&key).map_err(|error| self.unreadable(&error))?;
            self.step.ops.push(StoreOp::SetState { key, value: value.unwrap_or_default() });
        }
        self.write_full()
    }

    fn records(&mut self, table: Table) -> Result<(), StoreError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            // Rows of a sealed store come as the records that they are.
            let page = match table {
                Table::Vault => return Ok(()),
                table => self.from.records(table, after.as_deref(), PAGE)?,
            };
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, value) in page {
                self.step.records.push(RecordOp::Put { table, key, value });
                self.done.records += 1;
                self.write_full()?;
            }
        }
    }

    fn write_full(&mut self) -> Result<(), StoreError> {
        let ops = self.step.ops.len() + self.step.records.len();
        if ops < STEP_OPS && self.step.bytes() < STEP_BYTES { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.to.commit_blocking(std::mem::take(&mut self.step))
    }

    fn unreadable(&self, error: &CatalogError) -> StoreError {
        StoreError::Engine {
            action: "copy everything",
            dir: self.from.live().dir().to_path_buf(),
            detail: error.to_string(),
        }
    }
}
