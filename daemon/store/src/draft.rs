//! Writes on their way into a batch, with look-ups that see them.
//!
//! Several small transactions share one sled batch (each batch costs sled two log writes), and each is planned on what
//! the ones before it leave behind. A transaction that fails takes only its own writes with it.

use std::collections::BTreeMap;

use sled::{Batch, Tree};

use crate::counters::Counters;
use crate::layout::{COUNTERS, more_key};
use crate::live::ReadError;
use crate::value::{self, Head};

type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Pending writes over a tree.
pub(crate) struct Draft<'a> {
    tree: &'a Tree,
    settled: Writes,
    current: Writes,
    settled_counters: Counters,
    /// Sums as of the transaction being planned.
    pub(crate) counters: Counters,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(tree: &'a Tree, counters: Counters) -> Self {
        let (settled, current) = (Writes::new(), Writes::new());
        Self { tree, settled, current, settled_counters: counters, counters }
    }

    /// Keeps the writes of the current transaction.
    pub(crate) fn keep(&mut self) {
        self.settled.append(&mut self.current);
        self.settled_counters = self.counters;
    }

    /// Forgets the writes of the current transaction.
    pub(crate) fn discard(&mut self) {
        self.current.clear();
        self.counters = self.settled_counters;
    }

    /// The current transaction changes something.
    pub(crate) fn has_changes(&self) -> bool {
        !self.current.is_empty()
    }

    /// Sums before the current transaction.
    pub(crate) fn counters_before(&self) -> Counters {
        self.settled_counters
    }

    /// Entries kept so far.
    pub(crate) fn settled_len(&self) -> usize {
        self.settled.len()
    }

    /// Entries of the current transaction.
    pub(crate) fn current_len(&self) -> usize {
        self.current.len()
    }

    /// Everything kept, with the counters, as one batch; the draft is empty after it.
    pub(crate) fn take_batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        for (key, value) in std::mem::take(&mut self.settled) {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        for (key, bytes) in value::encode(&COUNTERS, &self.settled_counters.to_bytes()) {
            batch.insert(key, bytes);
        }
        batch
    }

    fn raw(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        if let Some(pending) = self.current.get(key).or_else(|| self.settled.get(key)) {
            return Ok(pending.clone());
        }
        Ok(self.tree.get(key)?.map(|bytes| bytes.to_vec()))
    }

    /// The value at a key.
    pub(crate) fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(stored) = self.raw(key)? else { return Ok(None) };
        Ok(Some(Head::parse(&stored)?.complete(key, |key| self.raw(key))??))
    }

    /// Bytes of the value at a key, and its number of further chunks, without reading all of it. A damaged head has
    /// none: what is left of the value is removed at the next opening.
    fn extent(&self, key: &[u8]) -> Result<Option<(usize, u8)>, ReadError> {
        let Some(stored) = self.raw(key)? else { return Ok(None) };
        Ok(Some(Head::parse(&stored).map_or((0, 0), |head| (head.length(), head.further_chunks()))))
    }

    /// Sets a value; returns the length of the one it replaces.
    pub(crate) fn put_value(&mut self, key: &[u8], value: &[u8]) -> Result<Option<usize>, ReadError> {
        let former = self.extent(key)?;
        for number in value::further_chunks(value.len()) + 1..=former.map_or(0, |(_, chunks)| chunks) {
            self.current.insert(more_key(key, number), None);
        }
        for (key, bytes) in value::encode(key, value) {
            self.current.insert(key, Some(bytes));
        }
        Ok(former.map(|(length, _)| length))
    }

    /// Removes a value; returns its length if there was one.
    pub(crate) fn remove_value(&mut self, key: &[u8]) -> Result<Option<usize>, ReadError> {
        let Some((length, chunks)) = self.extent(key)? else { return Ok(None) };
        for number in 1..=chunks {
            self.current.insert(more_key(key, number), None);
        }
        self.current.insert(key.to_vec(), None);
        Ok(Some(length))
    }

    /// Adds a key to an index.
    pub(crate) fn put_index(&mut self, key: Vec<u8>) {
        self.current.insert(key, Some(Vec::new()));
    }

    /// Takes a key out of an index.
    pub(crate) fn remove_index(&mut self, key: Vec<u8>) {
        self.current.insert(key, None);
    }
}
