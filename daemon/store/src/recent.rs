//! What was written since the last checkpoint, in memory: newer than the index, and in the log from its position on.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use crate::log::Position;
use crate::log::group::RECORD_HEAD;
use crate::stored::Stored;

/// What an entry costs beside its bytes: the tree's node, two allocations.
const ENTRY_BYTES: usize = 128;
/// Bytes of the log after which a checkpoint is due however little memory is used: opening after a crash reads them.
pub(crate) const LOG_BYTES_MAX: u64 = 64 << 20;

/// A key with its first bytes beside it, which tell most keys apart: a comparison that follows the pointer of a key waits
/// for memory.
#[derive(Debug)]
struct Key {
    head: u128,
    bytes: Box<[u8]>,
}

/// A key that is looked for.
struct Wanted<'a> {
    head: u128,
    bytes: &'a [u8],
}

/// What both have in common, for [`BTreeMap`] takes what its keys can be borrowed as.
trait Keyed {
    fn parts(&self) -> (u128, &[u8]);
}

impl Keyed for Key {
    fn parts(&self) -> (u128, &[u8]) {
        (self.head, &self.bytes)
    }
}

impl Keyed for Wanted<'_> {
    fn parts(&self) -> (u128, &[u8]) {
        (self.head, self.bytes)
    }
}

/// The first 16 bytes, filled up with zeros: in the order of the keys wherever they differ.
fn head(key: &[u8]) -> u128 {
    let mut head = [0; 16];
    let length = key.len().min(head.len());
    head[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(head)
}

impl<'a> Wanted<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { head: head(bytes), bytes }
    }
}

impl<'a> Borrow<dyn Keyed + 'a> for Key {
    fn borrow(&self) -> &(dyn Keyed + 'a) {
        self
    }
}

impl Ord for dyn Keyed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((head, bytes), (other_head, other_bytes)) = (self.parts(), other.parts());
        head.cmp(&other_head).then_with(|| bytes.cmp(other_bytes))
    }
}

impl PartialOrd for dyn Keyed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Keyed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for dyn Keyed + '_ {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.head.cmp(&other.head).then_with(|| self.bytes.cmp(&other.bytes))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

/// The newest values of some keys; `None` where the key is gone.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    map: BTreeMap<Key, Option<Stored>>,
    bytes: usize,
    /// About the bytes in the log since [`Recent::at`].
    log_bytes: u64,
    /// Set when nothing is added any more: bytes alive in each segment at `end`.
    pub(crate) live: BTreeMap<u64, u64>,
    /// Everything in here lies before this place in the log.
    pub(crate) end: Position,
}

impl Recent {
    /// Nothing, up to a place in the log.
    pub(crate) fn at(end: Position) -> Self {
        Self { end, ..Self::default() }
    }

    /// The key's newest value, `Some(None)` where it is gone, `None` where nothing is known here.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<&Stored>> {
        self.map.get::<dyn Keyed + '_>(&Wanted::new(key)).map(Option::as_ref)
    }

    pub(crate) fn put(&mut self, key: Vec<u8>, stored: Option<Stored>) {
        let in_log = RECORD_HEAD + key.len() + stored.as_ref().map_or(0, Stored::length);
        self.log_bytes = self.log_bytes.saturating_add(u64::try_from(in_log).unwrap_or(u64::MAX));
        let length = |stored: &Option<Stored>| match stored {
            Some(Stored::Here { bytes, .. }) => bytes.len(),
            _ => 0,
        };
        self.bytes += ENTRY_BYTES + key.len() + length(&stored);
        let key_length = key.len();
        let key = Key { head: head(&key), bytes: key.into() };
        if let Some(former) = self.map.insert(key, stored) {
            self.bytes = self.bytes.saturating_sub(ENTRY_BYTES + key_length + length(&former));
        }
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keys.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// It is time for a checkpoint: it takes `bytes_max` of memory, or opening would have to read much.
    pub(crate) fn is_full(&self, bytes_max: usize) -> bool {
        self.bytes >= bytes_max || self.log_bytes >= LOG_BYTES_MAX
    }

    /// From a key on, in order.
    pub(crate) fn range<'a>(
        &'a self,
        from: &[u8],
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a Stored>)> + use<'a> {
        let from: &(dyn Keyed + '_) = &Wanted::new(from);
        let range = self.map.range::<dyn Keyed + '_, _>((Bound::Included(from), Bound::Unbounded));
        range.map(|(key, stored)| (&*key.bytes, stored.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn keys_are_found_and_stand_in_the_order_of_their_bytes() {
        let long = [7; 40];
        // Around the length of the head, with zeros where a shorter key ends, and alike in the head.
        let mut keys: Vec<Vec<u8>> = [0, 1, 15, 16, 17, 40].map(|length| long[..length].to_vec()).into();
        for end in [0, 1, 255] {
            keys.extend(keys.clone().into_iter().map(|key| [key, vec![end]].concat()));
        }
        let mut recent = Recent::default();
        for key in keys.iter().rev() {
            recent.put(key.clone(), Some(Stored::Here { segment: 1, bytes: key.as_slice().into() }));
        }
        keys.sort();
        keys.dedup();
        for (at, key) in keys.iter().enumerate() {
            let found = recent.get(key).unwrap().unwrap();
            assert!(matches!(found, Stored::Here { bytes, .. } if **bytes == **key), "{key:?}");
            let behind: Vec<_> = recent.range(key).map(|(key, _)| key.to_vec()).collect();
            assert_eq!(behind, keys[at..]);
        }
        assert!(recent.get(&[7, 7]).is_none() && recent.get(&[7; 39]).is_none());
    }
}
