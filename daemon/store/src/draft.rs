//! Writes on their way into a group, with look-ups that see them.
//!
//! Several transactions share one group, and each is planned on what the ones before it leave behind. A transaction that
//! fails takes only its own writes with it.

use std::collections::BTreeMap;

use crate::counters::Counters;
use crate::layout::COUNTERS;
use crate::live::ReadError;
use crate::log::group::Write;
use crate::stored::Stored;
use crate::view::View;

type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Pending writes over a view.
pub(crate) struct Draft<'a> {
    view: View<'a>,
    /// What the view has, of the keys that were asked for.
    known: BTreeMap<Vec<u8>, Option<Stored>>,
    settled: Writes,
    current: Writes,
    settled_counters: Counters,
    /// Sums as of the transaction being planned.
    pub(crate) counters: Counters,
}

/// A draft's end: the writes, what they replace, the sums after them.
pub(crate) struct Drafted {
    pub(crate) writes: Vec<Write>,
    pub(crate) formers: BTreeMap<Vec<u8>, Stored>,
    pub(crate) counters: Counters,
}

impl Drafted {
    /// No writes.
    pub(crate) fn default_at(counters: Counters) -> Self {
        Self { writes: Vec::new(), formers: BTreeMap::new(), counters }
    }
}

impl<'a> Draft<'a> {
    pub(crate) fn new(view: View<'a>, counters: Counters) -> Self {
        let (settled, current) = (Writes::new(), Writes::new());
        Self { view, known: BTreeMap::new(), settled, current, settled_counters: counters, counters }
    }

    /// Keeps the writes of the current transaction.
    pub(crate) fn keep(&mut self) {
        // `append` would build the whole tree anew for each transaction.
        self.settled.extend(std::mem::take(&mut self.current));
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

    /// Everything kept, with the counters.
    pub(crate) fn finish(mut self) -> Result<Drafted, ReadError> {
        if !self.settled.is_empty() {
            self.known(&COUNTERS)?;
            self.settled.insert(COUNTERS.to_vec(), Some(self.settled_counters.to_bytes()));
        }
        let settled = &self.settled;
        let replaced = self.known.into_iter().filter(|(key, _)| settled.contains_key(key));
        let formers = replaced.filter_map(|(key, stored)| Some((key, stored?))).collect();
        Ok(Drafted { writes: self.settled.into_iter().collect(), formers, counters: self.settled_counters })
    }

    fn pending(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.current.get(key).or_else(|| self.settled.get(key))
    }

    fn known(&mut self, key: &[u8]) -> Result<Option<&Stored>, ReadError> {
        if !self.known.contains_key(key) {
            let stored = self.view.get(key)?;
            self.known.insert(key.to_vec(), stored);
        }
        Ok(self.known.get(key).and_then(Option::as_ref))
    }

    /// The value at a key.
    pub(crate) fn value(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        if let Some(pending) = self.pending(key) {
            return Ok(pending.clone());
        }
        let view = self.view;
        self.known(key)?.map(|stored| view.load(key, stored)).transpose()
    }

    /// Bytes of the value at a key, without reading it.
    fn length(&mut self, key: &[u8]) -> Result<Option<usize>, ReadError> {
        // Asked for even if something is pending: what the view has is replaced too.
        let known = self.known(key)?.map(Stored::length);
        Ok(match self.pending(key) {
            Some(pending) => pending.as_ref().map(Vec::len),
            None => known,
        })
    }

    /// Sets a value; returns the length of the one it replaces.
    pub(crate) fn put_value(&mut self, key: &[u8], value: &[u8]) -> Result<Option<usize>, ReadError> {
        let former = self.length(key)?;
        self.current.insert(key.to_vec(), Some(value.to_vec()));
        Ok(former)
    }

    /// Sets a value where the view has none.
    pub(crate) fn put_new_value(&mut self, key: Vec<u8>, value: &[u8]) {
        self.current.insert(key, Some(value.to_vec()));
    }

    /// Removes a value; returns its length if there was one.
    pub(crate) fn remove_value(&mut self, key: &[u8]) -> Result<Option<usize>, ReadError> {
        let former = self.length(key)?;
        if former.is_some() {
            self.current.insert(key.to_vec(), None);
        }
        Ok(former)
    }

    /// Writes a value again that is where `stored` says, if it still is: for whoever has just looked, and is the one who
    /// changes the index. What was written since is in memory.
    pub(crate) fn move_value(&mut self, key: &[u8], stored: &Stored) -> Result<bool, ReadError> {
        let has_changed = self.view.lately(key).is_some_and(|newest| newest != Some(stored));
        if has_changed || self.pending(key).is_some() {
            return Ok(false);
        }
        debug_assert_eq!(self.view.get(key).ok().flatten().as_ref(), Some(stored), "the index has changed");
        self.known.insert(key.to_vec(), Some(stored.clone()));
        let value = self.view.load(key, stored)?;
        self.current.insert(key.to_vec(), Some(value));
        Ok(true)
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
