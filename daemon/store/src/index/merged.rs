//! Several sources of changes as one, in the order of keys.

use std::iter::Peekable;

use super::block::Change;
use crate::live::ReadError;

type Item = Result<Change, ReadError>;
/// Changes in the order of their keys.
pub(crate) type Source<'a> = Box<dyn Iterator<Item = Item> + 'a>;

/// The newest change of each key.
pub(crate) struct Merged<'a> {
    /// Newest first.
    sources: Vec<Peekable<Source<'a>>>,
}

impl<'a> Merged<'a> {
    /// Of sources in the order of their age, the newest first.
    pub(crate) fn new(sources: impl IntoIterator<Item = Source<'a>>) -> Self {
        Self { sources: sources.into_iter().map(Iterator::peekable).collect() }
    }

    /// The source that has the lowest key, the newest of several; an error comes first.
    fn next_source(&mut self) -> Option<usize> {
        let mut best: Option<(usize, &[u8])> = None;
        for (at, source) in self.sources.iter_mut().enumerate() {
            match source.peek() {
                Some(Err(_)) => return Some(at),
                Some(Ok((key, _))) if best.is_none_or(|(_, lowest)| key.as_slice() < lowest) => {
                    best = Some((at, key));
                }
                _ => {}
            }
        }
        best.map(|(at, _)| at)
    }
}

impl Iterator for Merged<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let at = self.next_source()?;
        let item = self.sources[at].next()?;
        if let Ok((key, _)) = &item {
            for older in &mut self.sources[at + 1..] {
                older.next_if(|item| matches!(item, Ok((same, _)) if same == key));
            }
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::stored::Stored;

    fn source(changes: &[(u8, Option<u8>)]) -> Source<'static> {
        let stored = |value: u8| Stored::Here { segment: 1, bytes: vec![value].into() };
        let changes: Vec<_> =
            changes.iter().map(|(key, value)| Ok((vec![*key], value.map(stored)))).collect();
        Box::new(changes.into_iter())
    }

    #[test]
    fn the_newest_counts_and_an_error_is_told() {
        let sources = || {
            [
                source(&[(2, None), (5, Some(1))]),
                source(&[(1, Some(2)), (2, Some(2)), (5, Some(2))]),
                source(&[(2, Some(3)), (9, Some(3))]),
            ]
        };
        let found: Vec<_> = Merged::new(sources()).map(Result::unwrap).collect();
        let value = |at: usize| {
            found[at].1.as_ref().map(|stored| matches!(stored, Stored::Here { bytes, .. } if bytes[0] == 1))
        };
        assert_eq!(found.iter().map(|(key, _)| key[0]).collect::<Vec<_>>(), [1, 2, 5, 9]);
        assert_eq!((value(1), value(2)), (None, Some(true)));
        let broken: Source<'_> = Box::new([Err(ReadError::Damaged)].into_iter());
        assert!(Merged::new(sources().into_iter().chain([broken])).next().unwrap().is_err());
    }
}
