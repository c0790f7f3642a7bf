//! A Bloom filter of the keys of one run, so that a look-up reads a block only of runs that have the key, but for few.
//!
//! It has the ids alone, without the kind of key: an entry, its bytes and its takers are one id. Keys that are only ever
//! walked through (by tag, commitment, expiry) are not in it.

use crate::layout::is_index;

/// Bits set for each key.
const HASHES: usize = 6;
/// Bits for each key: with six hashes one wrong "perhaps" in some 200.
const BITS_PER_KEY: usize = 12;
const WORD_BITS: usize = 64;

/// Keys that may be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    words: Vec<u64>,
}

impl Filter {
    /// Room for up to so many keys.
    pub(crate) fn with_room(keys: usize) -> Self {
        let words = (keys * BITS_PER_KEY).div_ceil(WORD_BITS).max(1);
        Self { words: vec![0; words] }
    }

    /// Takes a key in, if its kind is kept.
    pub(crate) fn add(&mut self, key: &[u8]) {
        if let Hashed(Some(hash)) = Hashed::of(key) {
            let words = self.words.len();
            places(hash, words).for_each(|(word, bit)| self.words[word] |= bit);
        }
    }

    /// False only if the key is certainly not there.
    pub(crate) fn may_have(&self, key: Hashed) -> bool {
        key.0.is_none_or(|hash| places(hash, self.words.len()).all(|(word, bit)| self.words[word] & bit != 0))
    }

    /// The form in a run's file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// Reads [`Filter::to_bytes`]; `None` for anything that is no filter.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_be_bytes(*word)).collect();
        (rest.is_empty() && !words.is_empty()).then_some(Self { words })
    }
}

/// A key as filters know it: hashed once for those of all runs. `None` for a kind that is not kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hashed(Option<u64>);

impl Hashed {
    pub(crate) fn of(key: &[u8]) -> Self {
        let id = key.get(1..).unwrap_or_default().iter().rev().take(40);
        let hash = |hash: u64, byte: &u8| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
        };
        Self((!is_index(key)).then(|| id.fold(0x9e37_79b9_7f4a_7c15, hash)))
    }
}

/// A hash's bits among so many words.
fn places(mut hash: u64, words: usize) -> impl Iterator<Item = (usize, u64)> {
    let words = u64::try_from(words).unwrap_or(u64::MAX);
    std::iter::repeat_with(move || {
        hash = (hash ^ (hash >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = hash ^ (hash >> 29);
        (usize::try_from((mixed >> 6) % words).unwrap_or_default(), 1 << (mixed & 63))
    })
    .take(HASHES)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::layout::{BODY, ENTRY, TAG};

    fn key(kind: u8, number: u64) -> Vec<u8> {
        let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        [&[kind], hash.as_slice(), &[7; 16], hash.as_slice()].concat()
    }

    #[test]
    fn what_was_added_may_be_there_and_most_else_is_not() {
        let mut filter = Filter::with_room(60_000);
        let has = |filter: &Filter, key: &[u8]| filter.may_have(Hashed::of(key));
        assert!(!has(&filter, &key(ENTRY, 0)));
        (0..60_000).for_each(|number| filter.add(&key(ENTRY, number)));
        let filter = Filter::from_bytes(&filter.to_bytes()).unwrap();
        assert!((0..60_000).all(|number| has(&filter, &key(ENTRY, number))));
        assert!(has(&filter, &key(BODY, 5)), "the same id");
        let wrong = (60_000..90_000).filter(|number| has(&filter, &key(ENTRY, *number))).count();
        assert!(wrong < 600, "{wrong} of 30000");
        assert!(has(&filter, &key(TAG, 90_001)), "a kind that is not kept");
        assert_eq!(Filter::from_bytes(&[0; 9]), None);
    }
}
