//! A block: a few kilobytes of neighbouring keys with what became of them.
//!
//! For each entry: bytes shared with the key before, bytes of the rest of the key, that rest, then 2 where the key is gone,
//! or the value as `Stored` encodes it, which begins with 0 or 1. The pointer to a block has its checksum.

use std::cmp::Ordering;

use crate::stored::{Stored, number, put_number};

/// Bytes at which a block is full.
pub(crate) const BLOCK_BYTES: usize = 4_096;
/// Most bytes of a block: it is full below its limit, and an entry is at most a key and a value kept beside it.
pub(crate) const BLOCK_BYTES_MAX: usize = BLOCK_BYTES + 2_048;
const GONE: u8 = 2;

/// A key with its newest value, or `None` where it is gone.
pub(crate) type Change = (Vec<u8>, Option<Stored>);

/// Bytes that are no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotABlock;

/// A block being filled, in the order of keys.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    bytes: Vec<u8>,
    first: Vec<u8>,
    former: Vec<u8>,
}

impl Filling {
    /// Appends an entry.
    pub(crate) fn push(&mut self, key: &[u8], stored: Option<&Stored>) {
        if self.bytes.is_empty() {
            self.first = key.to_vec();
        }
        let shared = self.former.iter().zip(key).take_while(|(a, b)| a == b).count();
        put_number(&mut self.bytes, u64::try_from(shared).unwrap_or(u64::MAX));
        put_number(&mut self.bytes, u64::try_from(key.len() - shared).unwrap_or(u64::MAX));
        self.bytes.extend_from_slice(&key[shared..]);
        match stored {
            Some(stored) => stored.encode(&mut self.bytes),
            None => self.bytes.push(GONE),
        }
        self.former.truncate(shared);
        self.former.extend_from_slice(&key[shared..]);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= BLOCK_BYTES
    }

    /// The first key and the bytes; what is pushed next begins another block.
    pub(crate) fn take(&mut self) -> (Vec<u8>, Vec<u8>) {
        self.former.clear();
        (std::mem::take(&mut self.first), std::mem::take(&mut self.bytes))
    }
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

fn next_value(rest: &mut &[u8]) -> Result<Option<Stored>, NotABlock> {
    match rest.split_first() {
        Some((&GONE, tail)) => {
            *rest = tail;
            Ok(None)
        }
        _ => Stored::decode(rest).map(Some).ok_or(NotABlock),
    }
}

fn skip_value(rest: &mut &[u8]) -> Result<(), NotABlock> {
    match rest.split_first() {
        Some((&GONE, tail)) => {
            *rest = tail;
            Ok(())
        }
        _ => Stored::skip(rest).ok_or(NotABlock),
    }
}

/// What a block says of a key; `Some(None)` where it is gone.
pub(crate) fn find(block: &[u8], wanted: &[u8]) -> Result<Option<Option<Stored>>, NotABlock> {
    let mut rest = block;
    let mut key = Vec::with_capacity(wanted.len() + 64);
    while !rest.is_empty() {
        next_key(&mut key, &mut rest)?;
        match key.as_slice().cmp(wanted) {
            Ordering::Less => skip_value(&mut rest)?,
            Ordering::Equal => return next_value(&mut rest).map(Some),
            Ordering::Greater => return Ok(None),
        }
    }
    Ok(None)
}

/// All entries from a key on.
pub(crate) fn decode(block: &[u8], from: &[u8]) -> Result<Vec<Change>, NotABlock> {
    let mut rest = block;
    let (mut entries, mut key) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        next_key(&mut key, &mut rest)?;
        if key.as_slice() < from {
            skip_value(&mut rest)?;
        } else {
            entries.push((key.clone(), next_value(&mut rest)?));
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn entries(count: u32) -> Vec<Change> {
        let stored = |number: u32| {
            (!number.is_multiple_of(3))
                .then(|| Stored::Here { segment: 5, bytes: vec![1; number as usize % 60].into() })
        };
        (0..count).map(|number| (number.to_be_bytes().to_vec(), stored(number))).collect()
    }

    #[test]
    fn entries_come_back_from_the_block_they_are_in() {
        let all = entries(100);
        let mut filling = Filling::default();
        all.iter().for_each(|(key, stored)| filling.push(key, stored.as_ref()));
        let (first, block) = filling.take();
        assert_eq!(first, all[0].0);
        assert!(filling.is_empty());
        for (key, stored) in &all {
            assert_eq!(find(&block, key).unwrap().as_ref(), Some(stored));
        }
        assert_eq!(find(&block, &[0xff]).unwrap(), None);
        assert_eq!(decode(&block, &[]).unwrap(), all);
        assert_eq!(decode(&block, &all[40].0).unwrap(), all[40..]);
    }

    #[test]
    fn cut_blocks_are_refused_or_shorter() {
        let all = entries(20);
        let mut filling = Filling::default();
        all.iter().for_each(|(key, stored)| filling.push(key, stored.as_ref()));
        let (_, block) = filling.take();
        for at in 0..block.len() {
            assert!(
                decode(&block[..at], &[]).is_ok_and(|some| all.starts_with(&some))
                    || decode(&block[..at], &[]).is_err()
            );
        }
    }
}
