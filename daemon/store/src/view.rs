//! The newest of everything, as a look-up sees it: what was written lately over the index.

use std::cmp::Ordering;
use std::iter::Peekable;

use sled::Tree;

use crate::filter::Filter;
use crate::index::{self, Scan};
use crate::live::ReadError;
use crate::log::Log;
use crate::recent::Recent;
use crate::stored::Stored;

type Item = Result<(Vec<u8>, Stored), ReadError>;

/// One moment of the store.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) recent: &'a Recent,
    /// What is being merged into the index just now.
    pub(crate) merging: Option<&'a Recent>,
    pub(crate) tree: &'a Tree,
    pub(crate) log: &'a Log,
    pub(crate) filter: &'a Filter,
}

impl<'a> View<'a> {
    /// Where the value of a key is.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Stored>, ReadError> {
        if !self.filter.may_have(key) {
            return Ok(None);
        }
        let recent = self.recent.get(key).or_else(|| self.merging?.get(key));
        match recent {
            Some(stored) => Ok(stored.cloned()),
            None => index::get(self.tree, key),
        }
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
        let merging = self.merging.into_iter().flat_map({
            let from = from.to_vec();
            move |merging| merging.range(&from)
        });
        let newer = Newer { first: self.recent.range(from).peekable(), second: merging.peekable() };
        let merged = Merged { newer: newer.peekable(), index: index::scan(self.tree, from)?.peekable() };
        Ok(merged.take_while(move |item| item.as_ref().map_or(true, |(key, _)| *key < until)))
    }

    /// All keys of a kind.
    pub(crate) fn kind(&self, kind: u8) -> Result<impl Iterator<Item = Item> + use<'a>, ReadError> {
        self.scan(&[kind], vec![kind + 1])
    }
}

/// Two orders of changes as one; the first one's counts where both have a key.
struct Newer<A: Iterator, B: Iterator> {
    first: Peekable<A>,
    second: Peekable<B>,
}

type Change<'a> = (&'a [u8], Option<&'a Stored>);

impl<'a, A, B> Iterator for Newer<A, B>
where
    A: Iterator<Item = Change<'a>>,
    B: Iterator<Item = Change<'a>>,
{
    type Item = Change<'a>;

    fn next(&mut self) -> Option<Change<'a>> {
        match (self.first.peek(), self.second.peek()) {
            (Some((first, _)), Some((second, _))) => match first.cmp(second) {
                Ordering::Less => self.first.next(),
                Ordering::Equal => {
                    self.second.next();
                    self.first.next()
                }
                Ordering::Greater => self.second.next(),
            },
            (Some(_), None) => self.first.next(),
            (None, _) => self.second.next(),
        }
    }
}

/// Changes over the index.
struct Merged<A: Iterator> {
    newer: Peekable<A>,
    index: Peekable<Scan>,
}

impl<'a, A: Iterator<Item = Change<'a>>> Iterator for Merged<A> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            let Some((newer, _)) = self.newer.peek() else { return self.index.next() };
            let order = match self.index.peek() {
                Some(Ok((key, _))) => newer.cmp(&key.as_slice()),
                Some(Err(_)) => return self.index.next(),
                None => Ordering::Less,
            };
            match order {
                Ordering::Greater => return self.index.next(),
                Ordering::Equal => drop(self.index.next()),
                Ordering::Less => {}
            }
            if let Some((key, Some(stored))) = self.newer.next() {
                return Some(Ok((key.to_vec(), stored.clone())));
            }
        }
    }
}
