//! The part of the index that is in sled: the [`State`], and for each block of each run where in the run's file it lies,
//! by its first key.

use std::collections::BTreeSet;

use sled::{Batch, IVec, Tree};

use super::state::{NotAState, State};
use crate::live::ReadError;
use crate::stored::{number, put_number};

/// Before the sled key of every pointer.
const POINTER: u8 = 1;
/// sled's key of the [`State`].
const STATE: [u8; 1] = [0];
const KEY_HEAD: usize = 9;
/// Pointers removed in one sled batch. Its memory grows fast with their number.
const BATCH: usize = 256;

/// Where a block lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pointer {
    /// Where in the run's file it begins.
    pub(crate) offset: u64,
    /// Its bytes.
    pub(crate) length: u64,
    /// CRC-32 of its bytes.
    pub(crate) checksum: u32,
}

fn sled_key(run: u64, first: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(KEY_HEAD + first.len());
    key.push(POINTER);
    key.extend_from_slice(&run.to_be_bytes());
    key.extend_from_slice(first);
    key
}

fn run_of(sled_key: &[u8]) -> Option<u64> {
    let rest = sled_key.strip_prefix(&[POINTER])?;
    rest.first_chunk().map(|run| u64::from_be_bytes(*run))
}

impl Pointer {
    /// Key and value in sled.
    pub(crate) fn encode(self, run: u64, first: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut value = Vec::with_capacity(16);
        put_number(&mut value, self.offset);
        put_number(&mut value, self.length);
        value.extend_from_slice(&self.checksum.to_be_bytes());
        (sled_key(run, first), value)
    }

    fn decode(mut value: &[u8]) -> Result<Self, ReadError> {
        let rest = &mut value;
        let (offset, length) = (number(rest), number(rest));
        match (offset, length, (*rest).try_into()) {
            (Some(offset), Some(length), Ok(checksum)) => {
                Ok(Self { offset, length, checksum: u32::from_be_bytes(checksum) })
            }
            _ => Err(ReadError::Damaged),
        }
    }
}

/// A pointer's share of the sum that tells one set of pointers from another: its CRC-32, spread over 64 bits.
pub(crate) fn share(sled_key: &[u8], value: &[u8]) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(sled_key);
    hasher.update(value);
    let mut mixed = u64::from(hasher.finalize()).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The block of a run in which a key is, if it is in the run.
pub(crate) fn find(tree: &Tree, run: u64, key: &[u8]) -> Result<Option<Pointer>, ReadError> {
    let found = block_of(tree, run, key)?;
    found.map(|(_, value)| Pointer::decode(&value)).transpose()
}

fn block_of(tree: &Tree, run: u64, key: &[u8]) -> sled::Result<Option<(IVec, IVec)>> {
    tree.range(sled_key(run, &[])..=sled_key(run, key)).next_back().transpose()
}

/// All pointers of a run in order, with what they have in sled.
pub(crate) fn of_run(tree: &Tree, run: u64) -> sled::Iter {
    tree.range(sled_key(run, &[])..sled_key(run + 1, &[]))
}

/// A run's pointers from the block on in which a key would be.
pub(crate) fn from(
    tree: &Tree,
    run: u64,
    key: &[u8],
) -> Result<impl Iterator<Item = Result<Pointer, ReadError>> + use<>, ReadError> {
    let start = block_of(tree, run, key)?.map_or_else(|| sled_key(run, key), |(start, _)| start.to_vec());
    let pointers = tree.range(start..sled_key(run + 1, &[]));
    Ok(pointers.map(|item| Pointer::decode(&item?.1)))
}

/// Reads what sled has of a pointer.
pub(crate) fn decode(value: &[u8]) -> Result<Pointer, ReadError> {
    Pointer::decode(value)
}

/// Removes all pointers of a run.
pub(crate) fn forget(tree: &Tree, run: u64) -> sled::Result<()> {
    loop {
        let mut batch = Batch::default();
        let mut left = false;
        for item in of_run(tree, run).take(BATCH) {
            batch.remove(item?.0);
            left = true;
        }
        if !left {
            return Ok(());
        }
        tree.apply_batch(batch)?;
    }
}

/// Numbers of the runs that have pointers, listed or not.
pub(crate) fn runs(tree: &Tree) -> sled::Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    let mut from = 0;
    while let Some(item) = tree.range(sled_key(from, &[])..vec![POINTER + 1]).next() {
        let Some(run) = run_of(&item?.0) else { break };
        found.insert(run);
        from = run.saturating_add(1);
    }
    Ok(found)
}

/// What the index says of itself; `None` where it says nothing.
pub(crate) fn state(tree: &Tree) -> sled::Result<Option<Result<State, NotAState>>> {
    Ok(tree.get(STATE)?.map(|bytes| State::decode(&bytes)))
}

/// Writes what the index says of itself.
pub(crate) fn set_state(tree: &Tree, state: &State) -> sled::Result<()> {
    tree.insert(STATE, state.encode()).map(drop)
}
