//! The newest of everything, as a look-up sees it: what was written lately over the index.

use std::sync::Arc;

use sled::Tree;

use crate::fronts::Fronts;
use crate::index::block::Change;
use crate::index::merged::{Merged, Source};
use crate::index::{Hashed, Run};
use crate::live::ReadError;
use crate::log::Log;
use crate::recent::Recent;
use crate::stored::Stored;

type Item = Result<(Vec<u8>, Stored), ReadError>;

/// One moment of the store.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) recent: &'a Recent,
    /// What is being written into the index just now.
    pub(crate) merging: Option<&'a Recent>,
    pub(crate) tree: &'a Tree,
    /// Oldest first.
    pub(crate) runs: &'a [Arc<Run>],
    pub(crate) log: &'a Log,
    pub(crate) fronts: &'a Fronts,
}

impl<'a> View<'a> {
    /// What memory knows of a key; `Some(None)` where it is gone.
    pub(crate) fn lately(&self, key: &[u8]) -> Option<Option<&'a Stored>> {
        self.recent.get(key).or_else(|| self.merging?.get(key))
    }

    /// Where the value of a key is.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Stored>, ReadError> {
        if let Some(stored) = self.lately(key) {
            return Ok(stored.cloned());
        }
        let hashed = Hashed::of(key);
        for run in self.runs.iter().rev().filter(|run| run.may_have(hashed)) {
            if let Some(stored) = run.get(self.tree, key)? {
                return Ok(stored);
            }
        }
        Ok(None)
    }

    /// The value of a key.
    pub(crate) fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.get(key)?.map(|stored| self.log.load(key, &stored)).transpose()
    }

    /// A value found by [`View::scan`].
    pub(crate) fn load(&self, key: &[u8], stored: &Stored) -> Result<Vec<u8>, ReadError> {
        self.log.load(key, stored)
    }

    /// Keys from `from` up to and without `until`, with where their values are, in order.
    pub(crate) fn scan(
        &self,
        from: &[u8],
        until: Vec<u8>,
    ) -> Result<impl Iterator<Item = Item> + use<'a>, ReadError> {
        let kind = from.first().copied().unwrap_or_default();
        let front = self.fronts.skip(from);
        let from = front.as_deref().unwrap_or(from);
        let mut sources: Vec<Source<'a>> = Vec::with_capacity(self.runs.len() + 2);
        for recent in [Some(self.recent), self.merging].into_iter().flatten() {
            let changes = recent.range(from);
            sources.push(Box::new(changes.map(|(key, stored)| Ok((key.to_vec(), stored.cloned())))));
        }
        for run in self.runs.iter().rev() {
            sources.push(Box::new(run.scan(self.tree, from)?));
        }
        let end = until.clone();
        let until = move |item: &Result<(Vec<u8>, Option<Stored>), ReadError>| {
            item.as_ref().map_or(true, |(key, _)| *key < until)
        };
        let there = |(key, stored): (Vec<u8>, Option<Stored>)| Some((key, stored?));
        let mut found =
            Merged::new(sources).take_while(until).filter_map(move |item| item.map(there).transpose());
        let (fronts, mut noting) = (self.fronts, front.is_some());
        Ok(std::iter::from_fn(move || {
            let item = found.next();
            if std::mem::take(&mut noting) {
                match &item {
                    Some(Ok((first, _))) => fronts.found(kind, first),
                    Some(Err(_)) => {}
                    None => fronts.found(kind, &end),
                }
            }
            item
        }))
    }

    /// For look-ups of many keys in their order.
    pub(crate) fn nearby(self) -> Nearby<'a> {
        Nearby { view: self, blocks: vec![Vec::new(); self.runs.len()] }
    }

    /// All keys of a kind.
    pub(crate) fn kind(&self, kind: u8) -> Result<impl Iterator<Item = Item> + use<'a>, ReadError> {
        self.scan(&[kind], vec![kind + 1])
    }
}

/// A view that keeps the block read last of each run, for the keys that follow.
pub(crate) struct Nearby<'a> {
    view: View<'a>,
    /// As many as there are runs.
    blocks: Vec<Vec<Change>>,
}

impl Nearby<'_> {
    /// [`View::get`].
    pub(crate) fn get(&mut self, key: &[u8]) -> Result<Option<Stored>, ReadError> {
        let found = self.find(key)?;
        debug_assert_eq!(found, self.view.get(key)?, "neighbours are looked up otherwise");
        Ok(found)
    }

    fn find(&mut self, key: &[u8]) -> Result<Option<Stored>, ReadError> {
        if let Some(stored) = self.view.lately(key) {
            return Ok(stored.cloned());
        }
        let hashed = Hashed::of(key);
        let runs = self.view.runs.iter().zip(&mut self.blocks).rev();
        for (run, block) in runs.filter(|(run, _)| run.may_have(hashed)) {
            if let Some(stored) = run.get_nearby(self.view.tree, key, block)? {
                return Ok(stored.cloned());
            }
        }
        Ok(None)
    }
}
