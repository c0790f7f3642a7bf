//! The form of the log: segments, groups, records.
//!
//! A segment begins with 16 bytes: `CPseg` and the schema in three digits (`002`), its number (u64). Groups follow, one for each sync:
//!
//! | bytes | | |
//! | --- | --- | --- |
//! | 4 | `CPg2` | |
//! | 4 | checksum | CRC-32 of all that follows |
//! | 4 | length | bytes of the records |
//! | 4 | flags | bit 0: the store was closed after this group |
//! | 8 | segment | the number of the segment: a group cannot be taken for one of another file |
//! | 8 | transactions | number of the last transaction in this group |
//!
//! A record is what it does (0 removes the key, 1 sets it), the key's length (u16), the value's (u32), key, value.

use std::ops::Range;

use crate::layout::VALUE_MAX;

/// Bytes before a segment's first group.
pub(crate) const SEGMENT_HEAD: usize = 16;
const SEGMENT_MAGIC: [u8; 8] = *b"CPseg002";
const MAGIC: [u8; 4] = *b"CPg2";
/// Bytes before a group's records.
pub(crate) const GROUP_HEAD: usize = 32;
/// Bytes of a record before its key.
pub(crate) const RECORD_HEAD: usize = 7;
const CLOSED: u32 = 1;

/// The value that a write gives its key; `None` removes the key.
pub(crate) type Write = (Vec<u8>, Option<Vec<u8>>);

/// What a group says beside its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct GroupHead {
    /// Number of the last transaction up to its end.
    pub(crate) transactions: u64,
    /// The store was closed after it.
    pub(crate) closed: bool,
}

/// The start of a segment's file.
pub(crate) fn segment_head(segment: u64) -> [u8; SEGMENT_HEAD] {
    let mut head = [0; SEGMENT_HEAD];
    head[..8].copy_from_slice(&SEGMENT_MAGIC);
    head[8..].copy_from_slice(&segment.to_be_bytes());
    head
}

/// The schema that a segment's head names; `None` for bytes that are no such head.
pub(crate) fn schema_of(head: &[u8; SEGMENT_HEAD]) -> Option<u32> {
    let number = head[..8].strip_prefix(&SEGMENT_MAGIC[..5])?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// A group's bytes, and where in them each write's value lies.
pub(crate) fn encode(segment: u64, head: GroupHead, writes: &[Write]) -> (Vec<u8>, Vec<Range<usize>>) {
    let size: usize =
        writes.iter().map(|(key, value)| RECORD_HEAD + key.len() + value.as_ref().map_or(0, Vec::len)).sum();
    let mut out = Vec::with_capacity(GROUP_HEAD + size);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&(if head.closed { CLOSED } else { 0 }).to_be_bytes());
    for number in [segment, head.transactions] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    let mut places = Vec::with_capacity(writes.len());
    for (key, value) in writes {
        let bytes = value.as_deref().unwrap_or_default();
        out.push(u8::from(value.is_some()));
        // Keys have at most some 600 bytes, values VALUE_MAX.
        out.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(key);
        places.push(out.len()..out.len() + bytes.len());
        out.extend_from_slice(bytes);
    }
    let checksum = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&checksum.to_be_bytes());
    (out, places)
}

/// A whole group in a segment's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) head: GroupHead,
    /// Where its records lie in the segment.
    pub(crate) records: Range<usize>,
}

/// The group that begins at `at`, if a whole one does.
pub(crate) fn group_at(bytes: &[u8], segment: u64, at: usize) -> Option<Group> {
    let rest = bytes.get(at..)?;
    let (head, after) = rest.split_first_chunk::<GROUP_HEAD>()?;
    if head[..4] != MAGIC {
        return None;
    }
    let u32_at = |from: usize| Some(u32::from_be_bytes(head.get(from..from + 4)?.try_into().ok()?));
    let u64_at = |from: usize| Some(u64::from_be_bytes(head.get(from..from + 8)?.try_into().ok()?));
    let (checksum, length, flags) = (u32_at(4)?, usize::try_from(u32_at(8)?).ok()?, u32_at(12)?);
    let whole = rest.get(8..GROUP_HEAD + length).filter(|_| after.len() >= length)?;
    if u64_at(16)? != segment || crc32fast::hash(whole) != checksum {
        return None;
    }
    let head = GroupHead { transactions: u64_at(24)?, closed: flags & CLOSED != 0 };
    let start = at + GROUP_HEAD;
    Some(Group { head, records: start..start + length })
}

/// The next place at or behind `from` where a whole group begins.
pub(crate) fn next_group(bytes: &[u8], segment: u64, from: usize) -> Option<usize> {
    let places = bytes.get(from..)?.windows(MAGIC.len()).enumerate();
    let mut starts = places.filter(|(_, window)| **window == MAGIC).map(|(at, _)| from + at);
    starts.find(|at| group_at(bytes, segment, *at).is_some())
}

/// One record of a group: its key, and where in the segment its value lies; `None` removes the key.
pub(crate) type LogRecord<'a> = (&'a [u8], Option<Range<usize>>);

/// The records of a group. Its checksum is right, so what does not parse was never written: it ends the list.
pub(crate) fn records<'a>(bytes: &'a [u8], group: &Group) -> impl Iterator<Item = LogRecord<'a>> + use<'a> {
    let mut at = group.records.start;
    let end = group.records.end;
    std::iter::from_fn(move || {
        let head: &[u8; RECORD_HEAD] = bytes.get(at..end)?.first_chunk()?;
        let [does, k0, k1, v0, v1, v2, v3] = *head;
        let key_length = usize::from(u16::from_be_bytes([k0, k1]));
        let length = usize::try_from(u32::from_be_bytes([v0, v1, v2, v3])).ok()?;
        let start = at + RECORD_HEAD;
        let value = start + key_length..start + key_length + length;
        if length > VALUE_MAX || value.end > end || does > 1 {
            return None;
        }
        at = value.end;
        Some((bytes.get(start..value.start)?, (does == 1).then_some(value)))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn writes() -> Vec<Write> {
        vec![
            (b"key".to_vec(), Some(b"value".to_vec())),
            (b"gone".to_vec(), None),
            (Vec::new(), Some(Vec::new())),
        ]
    }

    #[test]
    fn a_group_comes_back_and_any_flipped_bit_or_cut_is_found() {
        let head = GroupHead { transactions: 70, closed: true };
        let (bytes, places) = encode(9, head, &writes());
        let group = group_at(&bytes, 9, 0).unwrap();
        assert_eq!(group.head, head);
        let read: Vec<_> = records(&bytes, &group)
            .map(|(key, value)| (key.to_vec(), value.map(|value| bytes[value].to_vec())))
            .collect();
        assert_eq!(read, writes());
        assert_eq!(&bytes[places[0].clone()], b"value");
        assert_eq!(group_at(&bytes, 8, 0), None);
        for at in 0..bytes.len() {
            assert_eq!(group_at(&bytes[..at], 9, 0), None);
            let mut wrong = bytes.clone();
            wrong[at] ^= 4;
            assert_eq!(group_at(&wrong, 9, 0), None, "byte {at}");
        }
    }

    #[test]
    fn the_next_whole_group_is_found_behind_damage() {
        let (one, _) = encode(1, GroupHead::default(), &writes());
        let mut bytes = [one.clone(), one.clone(), one.clone()].concat();
        bytes[one.len() + 20] ^= 1;
        assert_eq!(next_group(&bytes, 1, 1), Some(2 * one.len()));
        assert_eq!(next_group(&bytes, 1, 2 * one.len() + 1), None);
    }
}
