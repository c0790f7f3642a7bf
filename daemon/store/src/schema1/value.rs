//! How schema 1 had a value in sled: version, checksum, length, then the bytes in chunks.
//!
//! The head, at the value's own key: version (u8), CRC-32 (u32), length (u32), at most [`CHUNK`] bytes. What is
//! longer continues at [`more_key`] 1, 2, … without a header. The checksum is over key, length and the whole
//! value: a record at the wrong key, a short one and a mixture of two writes are all found.

use sled::Tree;

use super::{CHUNK, more_key};

/// First byte of every head.
const VERSION: u8 = 1;
/// Version, checksum, length.
const HEAD_LENGTH: usize = 9;
/// Longest value in bytes.
const VALUE_MAX: usize = 1 << 20;

/// Why bytes are no value of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAValue;

/// The start of a stored value.
pub(super) struct Head<'a> {
    checksum: u32,
    length: usize,
    first: &'a [u8],
}

impl<'a> Head<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, NotAValue> {
        let (head, first) = bytes.split_first_chunk::<HEAD_LENGTH>().ok_or(NotAValue)?;
        let [version, c0, c1, c2, c3, l0, l1, l2, l3] = *head;
        let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).map_err(|_| NotAValue)?;
        if version != VERSION || length > VALUE_MAX || first.len() != length.min(CHUNK) {
            return Err(NotAValue);
        }
        Ok(Self { checksum: u32::from_be_bytes([c0, c1, c2, c3]), length, first })
    }

    /// Entries of kind `MORE` that belong to it.
    pub(super) fn further_chunks(&self) -> u8 {
        further_chunks(self.length)
    }

    /// The whole value, with the other chunks from `get`.
    pub(super) fn complete<E>(
        &self,
        key: &[u8],
        mut get: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Result<Vec<u8>, NotAValue>, E> {
        let mut value = Vec::with_capacity(self.length);
        value.extend_from_slice(self.first);
        for number in 1..=self.further_chunks() {
            match get(&more_key(key, number))? {
                Some(chunk) if chunk.len() <= CHUNK => value.extend_from_slice(&chunk),
                _ => return Ok(Err(NotAValue)),
            }
        }
        let right = value.len() == self.length && checksum(key, &value) == self.checksum;
        Ok(if right { Ok(value) } else { Err(NotAValue) })
    }
}

/// Number of entries beside the head for a value of that length.
pub(super) fn further_chunks(length: usize) -> u8 {
    // VALUE_MAX / CHUNK is 171.
    u8::try_from(length.saturating_sub(1) / CHUNK).unwrap_or(u8::MAX)
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length_of(key).to_be_bytes());
    hasher.update(key);
    hasher.update(&length_of(value).to_be_bytes());
    hasher.update(value);
    hasher.finalize()
}

fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// A value, given what is stored at its key.
pub(super) fn complete(tree: &Tree, key: &[u8], head: &[u8]) -> sled::Result<Result<Vec<u8>, NotAValue>> {
    match Head::parse(head) {
        Ok(head) => head.complete(key, |key| Ok(tree.get(key)?.map(|chunk| chunk.to_vec()))),
        Err(wrong) => Ok(Err(wrong)),
    }
}

/// The value at a key.
pub(super) fn get(tree: &Tree, key: &[u8]) -> sled::Result<Option<Result<Vec<u8>, NotAValue>>> {
    match tree.get(key)? {
        Some(head) => complete(tree, key, &head).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;

    /// The entries of a value, head first. The caller has checked it against [`VALUE_MAX`].
    fn encode(key: &[u8], value: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (first, mut rest) = value.split_at(value.len().min(CHUNK));
        let mut head = Vec::with_capacity(HEAD_LENGTH + first.len());
        head.push(VERSION);
        head.extend_from_slice(&checksum(key, value).to_be_bytes());
        head.extend_from_slice(&length_of(value).to_be_bytes());
        head.extend_from_slice(first);
        let mut entries = vec![(key.to_vec(), head)];
        let mut number = 1;
        while !rest.is_empty() {
            let (chunk, tail) = rest.split_at(rest.len().min(CHUNK));
            entries.push((more_key(key, number), chunk.to_vec()));
            number += 1;
            rest = tail;
        }
        entries
    }

    fn read(entries: &BTreeMap<Vec<u8>, Vec<u8>>, key: &[u8]) -> Result<Vec<u8>, NotAValue> {
        let head = Head::parse(entries.get(key).ok_or(NotAValue)?)?;
        let get = |key: &[u8]| Ok::<_, Infallible>(entries.get(key).cloned());
        head.complete(key, get).unwrap()
    }

    #[test]
    fn every_length_around_a_chunk_comes_back() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 98_304, VALUE_MAX] {
            let value: Vec<u8> = (0..=255).cycle().take(length).collect();
            let entries: BTreeMap<_, _> = encode(b"key", &value).into_iter().collect();
            assert_eq!(entries.len(), 1 + usize::from(further_chunks(length)), "{length}");
            assert_eq!(read(&entries, b"key").unwrap(), value, "{length}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let value = vec![7; CHUNK + 40];
        let entries: BTreeMap<_, _> = encode(b"key", &value).into_iter().collect();
        for (key, stored) in &entries {
            for at in 0..stored.len() {
                let mut wrong = entries.clone();
                wrong.get_mut(key).unwrap()[at] ^= 0x10;
                assert_eq!(read(&wrong, b"key"), Err(NotAValue), "byte {at}");
            }
        }
    }

    #[test]
    fn a_value_at_another_key_a_lost_chunk_and_a_mixture_are_found() {
        let old: BTreeMap<_, _> = encode(b"key", &[1; CHUNK * 2]).into_iter().collect();
        let new: BTreeMap<_, _> = encode(b"key", &[2; CHUNK * 2]).into_iter().collect();
        let mut moved = old.clone();
        let head = moved.remove(b"key".as_slice()).unwrap();
        moved.insert(b"kez".to_vec(), head);
        assert_eq!(read(&moved, b"kez"), Err(NotAValue));
        let mut lost = old.clone();
        lost.remove(&more_key(b"key", 1));
        assert_eq!(read(&lost, b"key"), Err(NotAValue));
        let mut mixed = old;
        mixed.insert(more_key(b"key", 1), new[&more_key(b"key", 1)].clone());
        assert_eq!(read(&mixed, b"key"), Err(NotAValue));
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic() {
        for length in 0..40 {
            assert!(Head::parse(&vec![0xff; length]).is_err());
        }
    }
}
