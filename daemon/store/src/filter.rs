//! A Bloom filter of the keys whose absence is asked for often: bundles and tombstones.
//!
//! Every new bundle is looked up before it is stored, and is not there. Without this each such question reads a leaf of
//! 64 KiB through sled (43 µs with a cache smaller than the index).

use crate::layout::{ENTRY, TOMBSTONE};

/// Bits set for each key.
const HASHES: usize = 4;
/// Bits for each key of a layer's capacity: with four hashes about one wrong "perhaps" in 40.
const BITS_PER_KEY: usize = 8;
/// Keys of the first layer; each further one has twice the former's.
const FIRST_KEYS: usize = 1 << 14;

/// Keys that may be there. Removed ones stay until the store is opened again.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    layers: Vec<Layer>,
    /// Nothing is known of what is there: everything may be.
    blind: bool,
}

#[derive(Debug)]
struct Layer {
    bits: Vec<u64>,
    free: usize,
}

impl Filter {
    /// The kind of key is kept here.
    fn covers(key: &[u8]) -> bool {
        matches!(key.first(), Some(&(ENTRY | TOMBSTONE)))
    }

    /// Says "perhaps" to everything, until the check at opening has seen every key.
    pub(crate) fn blind() -> Self {
        Self { layers: Vec::new(), blind: true }
    }

    pub(crate) fn add(&mut self, key: &[u8]) {
        if self.blind || !Self::covers(key) || (!self.layers.is_empty() && self.may_have(key)) {
            return;
        }
        if self.layers.last().is_none_or(|layer| layer.free == 0) {
            let keys = FIRST_KEYS << self.layers.len().min(16);
            self.layers.push(Layer { bits: vec![0; keys * BITS_PER_KEY / 64], free: keys });
        }
        if let Some(layer) = self.layers.last_mut() {
            layer.free -= 1;
            for (word, bit) in places(key, layer.bits.len()) {
                layer.bits[word] |= bit;
            }
        }
    }

    /// False only if the key is certainly not there.
    pub(crate) fn may_have(&self, key: &[u8]) -> bool {
        let in_layer =
            |layer: &Layer| places(key, layer.bits.len()).all(|(word, bit)| layer.bits[word] & bit != 0);
        self.blind || !Self::covers(key) || self.layers.iter().any(in_layer)
    }
}

/// The key's bits among a power of two of words.
fn places(key: &[u8], words: usize) -> impl Iterator<Item = (usize, u64)> {
    // Ids and commitments are hashes already; the kind and a few bits of others are mixed in all the same.
    let mut hash =
        key.iter().rev().take(16).fold(u64::from(key.first().copied().unwrap_or_default()), |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
        });
    std::iter::repeat_with(move || {
        hash = (hash ^ (hash >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let word = usize::try_from(hash >> 16).unwrap_or_default() & (words - 1);
        (word, 1 << (hash & 63))
    })
    .take(HASHES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Vec<u8> {
        let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        [&[ENTRY], hash.as_slice(), &[7; 16], hash.as_slice()].concat()
    }

    #[test]
    fn what_was_added_may_be_there_and_most_else_is_not() {
        let mut filter = Filter::default();
        assert!(!filter.may_have(&key(0)));
        (0..60_000).for_each(|number| filter.add(&key(number)));
        assert!((0..60_000).all(|number| filter.may_have(&key(number))));
        let wrong = (60_000..90_000).filter(|number| filter.may_have(&key(*number))).count();
        assert!(wrong < 3_000, "{wrong} of 30000");
        assert!(filter.may_have(&[0x40, 1]), "a kind that is not kept here");
    }
}
