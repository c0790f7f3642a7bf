//! The index: the newest value of every key, or its place in the log, as blocks in one sled tree.
//!
//! It follows from the log and is never trusted. sled 0.34 syncs nothing that a power cut respects, and a cut can leave
//! files it does not open, or opens with older pages (see `docs/architecture.md`). So each batch of blocks carries, in
//! the same atomic sled batch, the sum of the checksums of all blocks after it, and opening compares that with the blocks
//! that are there. An index that disagrees, or that is older than the log says it was, is made anew from the log.
//!
//! The blocks divide the keys: a block has those from its sled key to the next block's. Splitting a block moves entries
//! to the right only, and blocks are never joined, so that a reader who goes from left to right misses nothing.

pub(crate) mod block;
mod merge;

use sled::{IVec, Tree};

use crate::live::ReadError;
use crate::log::Position;
use crate::stored::Stored;
use block::{Entries, checksum_of, decode, find};
pub(crate) use merge::{Batches, merge};

/// Before the sled key of every block.
const BLOCK: u8 = 1;
/// sled's key of the [`State`].
const STATE: [u8; 1] = [0];
const STATE_VERSION: u8 = 2;

/// What the index says of itself, written with every change to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct State {
    /// The log is to be read from here on top of it.
    pub(crate) position: Position,
    /// Nothing in it is from behind this place in the log.
    pub(crate) reach: Position,
    /// Blocks.
    pub(crate) blocks: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Sum of their mixed checksums.
    sum: u64,
}

impl State {
    /// The same without a block.
    pub(crate) fn emptied(self) -> Self {
        Self { position: self.position, reach: self.reach, ..Self::default() }
    }

    fn add(&mut self, block: &[u8]) {
        self.blocks += 1;
        self.bytes += u64::try_from(block.len()).unwrap_or(u64::MAX);
        self.sum = self.sum.wrapping_add(mixed(block));
    }

    fn remove(&mut self, block: &[u8]) {
        self.blocks = self.blocks.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::try_from(block.len()).unwrap_or(u64::MAX));
        self.sum = self.sum.wrapping_sub(mixed(block));
    }

    fn encode(self) -> Vec<u8> {
        let Self { position, reach, blocks, bytes, sum } = self;
        let mut out = vec![STATE_VERSION];
        for number in [position.segment, position.offset, reach.segment, reach.offset, blocks, bytes, sum] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_be_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (rest, checksum) = bytes.split_last_chunk::<4>()?;
        let (version, rest) = rest.split_first()?;
        let (numbers, tail) = rest.as_chunks::<8>();
        let numbers: [u64; 7] =
            numbers.iter().map(|n| u64::from_be_bytes(*n)).collect::<Vec<_>>().try_into().ok()?;
        let [segment, offset, reach_segment, reach_offset, blocks, block_bytes, sum] = numbers;
        let position = Position { segment, offset };
        let reach = Position { segment: reach_segment, offset: reach_offset };
        let right = u32::from_be_bytes(*checksum) == crc32fast::hash(bytes.split_last_chunk::<4>()?.0);
        let right = right && *version == STATE_VERSION && tail.is_empty();
        right.then_some(Self { position, reach, blocks, bytes: block_bytes, sum })
    }
}

/// A block's checksum, spread over 64 bits so that sums of different blocks differ.
fn mixed(block: &[u8]) -> u64 {
    let mut mixed = u64::from(checksum_of(block)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn sled_key(key: &[u8]) -> Vec<u8> {
    [&[BLOCK], key].concat()
}

/// What the index says of itself; `None` where it does not, or not rightly.
pub(crate) fn state(tree: &Tree) -> sled::Result<Option<State>> {
    Ok(tree.get(STATE)?.and_then(|bytes| State::decode(&bytes)))
}

/// Writes the state of an index without blocks.
pub(crate) fn set_state(tree: &Tree, state: State) -> sled::Result<()> {
    tree.insert(STATE, state.encode()).map(drop)
}

/// The block that has a key, if any has.
fn block_of(tree: &Tree, key: &[u8]) -> sled::Result<Option<(IVec, IVec)>> {
    tree.range(vec![BLOCK]..=sled_key(key)).next_back().transpose()
}

/// The newest value of a key in the index.
pub(crate) fn get(tree: &Tree, key: &[u8]) -> Result<Option<Stored>, ReadError> {
    match block_of(tree, key)? {
        Some((sled_key, block)) => Ok(find(&sled_key, &block, key)?),
        None => Ok(None),
    }
}

/// All entries from a key on, in order.
pub(crate) struct Scan {
    blocks: sled::Iter,
    entries: std::vec::IntoIter<(Vec<u8>, Stored)>,
    /// Entries below this were given already, or are not wanted.
    from: Vec<u8>,
    /// The first block may begin before `from`.
    skipping: bool,
}

/// Begins at the first key that is not below `from`.
pub(crate) fn scan(tree: &Tree, from: &[u8]) -> Result<Scan, ReadError> {
    let start = block_of(tree, from)?.map_or_else(|| sled_key(from), |(key, _)| key.to_vec());
    let blocks = tree.range(start..vec![BLOCK + 1]);
    Ok(Scan { blocks, entries: Vec::new().into_iter(), from: from.to_vec(), skipping: true })
}

impl Iterator for Scan {
    type Item = Result<(Vec<u8>, Stored), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            for entry in self.entries.by_ref() {
                if self.skipping && entry.0 < self.from {
                    continue;
                }
                self.skipping = false;
                if self.entries.len() == 0 {
                    // The next block may have been split off from this one meanwhile: what it repeats is skipped.
                    self.from.clone_from(&entry.0);
                    self.from.push(0);
                    self.skipping = true;
                }
                return Some(Ok(entry));
            }
            let entries = self.blocks.next()?.map_err(ReadError::from);
            match entries.and_then(|(key, block)| Ok(decode(&key, &block)?)) {
                Ok(entries) => self.entries = entries.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The blocks are those that the index says it has.
pub(crate) fn agrees(tree: &Tree, state: &State) -> sled::Result<bool> {
    let mut found = state.emptied();
    for item in tree.range(vec![BLOCK]..vec![BLOCK + 1]) {
        let (key, block) = item?;
        if decode(&key, &block).is_err() {
            return Ok(false);
        }
        found.add(&block);
    }
    Ok(found == *state)
}

/// A whole block as it is written: its sled key and its bytes.
fn sealed(first: &[u8], packed: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let key = sled_key(first);
    let block = block::seal(&key, packed);
    (key, block)
}

/// Packs entries behind all that an index has into blocks, and counts them in.
pub(crate) fn blocks_of(state: &mut State, entries: &Entries) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut blocks = Vec::new();
    for (at, packed) in block::pack(entries) {
        // The very first block has everything below the second.
        let first = if state.blocks == 0 { &[] } else { entries[at].0.as_slice() };
        let (key, block) = sealed(first, &packed);
        state.add(&block);
        blocks.push((key, block));
    }
    blocks
}

/// Changes to be merged: a value, or `None` where the key goes.
pub(crate) type Changes<'a> = dyn Iterator<Item = (&'a [u8], Option<&'a Stored>)> + 'a;

/// The entries of a block with changes put in, both in order.
fn merged(old: Entries, changes: Vec<(&[u8], Option<&Stored>)>) -> Entries {
    let mut out = Entries::with_capacity(old.len() + changes.len());
    let mut old = old.into_iter().peekable();
    for (key, stored) in changes {
        while let Some(entry) = old.next_if(|(before, _)| before.as_slice() < key) {
            out.push(entry);
        }
        old.next_if(|(same, _)| same == key);
        if let Some(stored) = stored {
            out.push((key.to_vec(), stored.clone()));
        }
    }
    out.extend(old);
    out
}
