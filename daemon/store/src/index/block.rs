//! A block: a few kilobytes of neighbouring keys with their newest values, as one value in sled.
//!
//! sled costs some 30 µs of processor time and 200 bytes of memory for an entry, however small it is, and a bundle has
//! five or more. Blocks share that. A block has the CRC-32 of the sled key and the rest, then for each entry: bytes shared
//! with the key before, bytes of the rest of the key, that rest, the value as `Stored` encodes it.

use crate::stored::{Stored, number, put_number};

/// Bytes at which a block is full.
const BLOCK_BYTES: usize = 4_096;
/// Bytes that blocks are filled to where several are needed, so that they can take some more.
const FILL_BYTES: usize = 3_072;
const HEAD: usize = 4;

/// Keys with their newest values, in order.
pub(crate) type Entries = Vec<(Vec<u8>, Stored)>;

/// Bytes that are no block, or not the one of this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotABlock;

/// The checksum a block begins with.
pub(crate) fn checksum_of(block: &[u8]) -> u32 {
    block.first_chunk::<HEAD>().map_or(0, |head| u32::from_be_bytes(*head))
}

fn checked<'a>(sled_key: &[u8], block: &'a [u8]) -> Result<&'a [u8], NotABlock> {
    let (head, rest) = block.split_first_chunk::<HEAD>().ok_or(NotABlock)?;
    if u32::from_be_bytes(*head) == checksum(sled_key, rest) { Ok(rest) } else { Err(NotABlock) }
}

fn checksum(sled_key: &[u8], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(sled_key);
    hasher.update(rest);
    hasher.finalize()
}

/// Steps to the next entry of a block: `key` becomes its key, `rest` begins with its value.
fn next_key(key: &mut Vec<u8>, rest: &mut &[u8]) -> Result<(), NotABlock> {
    let mut length = || number(rest).and_then(|number| usize::try_from(number).ok()).ok_or(NotABlock);
    let (shared, suffix) = (length()?, length()?);
    let (suffix, tail) = rest.split_at_checked(suffix).ok_or(NotABlock)?;
    if shared > key.len() {
        return Err(NotABlock);
    }
    key.truncate(shared);
    key.extend_from_slice(suffix);
    *rest = tail;
    Ok(())
}

/// The value of one key.
pub(crate) fn find(sled_key: &[u8], block: &[u8], wanted: &[u8]) -> Result<Option<Stored>, NotABlock> {
    let mut rest = checked(sled_key, block)?;
    let mut key = Vec::with_capacity(wanted.len() + 64);
    while !rest.is_empty() {
        next_key(&mut key, &mut rest)?;
        match key.as_slice().cmp(wanted) {
            std::cmp::Ordering::Less => Stored::skip(&mut rest).ok_or(NotABlock)?,
            std::cmp::Ordering::Equal => return Stored::decode(&mut rest).map(Some).ok_or(NotABlock),
            std::cmp::Ordering::Greater => return Ok(None),
        }
    }
    Ok(None)
}

/// All entries.
pub(crate) fn decode(sled_key: &[u8], block: &[u8]) -> Result<Entries, NotABlock> {
    let mut rest = checked(sled_key, block)?;
    let (mut entries, mut key) = (Entries::new(), Vec::new());
    while !rest.is_empty() {
        next_key(&mut key, &mut rest)?;
        entries.push((key.clone(), Stored::decode(&mut rest).ok_or(NotABlock)?));
    }
    Ok(entries)
}

/// Packs entries into blocks, each with the place of its first entry. What does not fit one block is spread evenly over
/// several with some room left in each.
pub(crate) fn pack(entries: &Entries) -> Vec<(usize, Vec<u8>)> {
    let blocks = pack_up_to(entries, BLOCK_BYTES);
    if blocks.len() < 2 {
        return blocks;
    }
    let total: usize = blocks.iter().map(|(_, block)| block.len()).sum();
    pack_up_to(entries, total / total.div_ceil(FILL_BYTES) + 1)
}

fn pack_up_to(entries: &Entries, limit: usize) -> Vec<(usize, Vec<u8>)> {
    let mut blocks: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut former: &[u8] = &[];
    for (at, (key, stored)) in entries.iter().enumerate() {
        if blocks.last().is_none_or(|(_, block)| block.len() >= limit) {
            blocks.push((at, Vec::with_capacity(BLOCK_BYTES + 1_024)));
            former = &[];
        }
        let Some((_, block)) = blocks.last_mut() else { continue };
        let shared = former.iter().zip(key).take_while(|(a, b)| a == b).count();
        put_number(block, u64::try_from(shared).unwrap_or(u64::MAX));
        put_number(block, u64::try_from(key.len() - shared).unwrap_or(u64::MAX));
        block.extend_from_slice(&key[shared..]);
        stored.encode(block);
        former = key;
    }
    blocks
}

/// Puts the checksum before a packed block.
pub(crate) fn seal(sled_key: &[u8], packed: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(HEAD + packed.len());
    block.extend_from_slice(&checksum(sled_key, packed).to_be_bytes());
    block.extend_from_slice(packed);
    block
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn entries(count: u32, length: usize) -> Entries {
        let stored = |_| Stored::Here { segment: 5, bytes: vec![1; length].into() };
        (0..count).map(|number| (number.to_be_bytes().to_vec(), stored(number))).collect()
    }

    #[test]
    fn entries_come_back_from_the_block_they_are_found_in() {
        let all = entries(300, 60);
        let blocks = pack(&all);
        assert!(blocks.len() > 3);
        let mut back = Entries::new();
        for (at, packed) in &blocks {
            let block = seal(&all[*at].0, packed);
            assert!(block.len() < BLOCK_BYTES + 100);
            let found = find(&all[*at].0, &block, &all[*at + 1].0).unwrap();
            assert_eq!(found.as_ref(), Some(&all[*at + 1].1));
            assert_eq!(find(&all[*at].0, &block, &[0xff]).unwrap(), None);
            assert_eq!(find(b"other", &block, &[0xff]), Err(NotABlock));
            back.extend(decode(&all[*at].0, &block).unwrap());
        }
        assert_eq!(back, all);
    }

    #[test]
    fn flipped_bits_are_found() {
        let all = entries(4, 20);
        let block = seal(b"k", &pack(&all)[0].1);
        for at in 0..block.len() {
            let mut wrong = block.clone();
            wrong[at] ^= 0x20;
            assert_eq!(decode(b"k", &wrong), Err(NotABlock));
        }
    }
}
