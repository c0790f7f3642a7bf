//! Where the newest value of a key is: beside the key, or in the log.

use crate::layout::{ENTRY, TOMBSTONE, is_index};
use crate::log::group::RECORD_HEAD;

/// A value up to this length is kept in the index as well as in the log.
pub(crate) const HERE_MAX: usize = 512;

/// Bytes in the log of the keys by tag, commitment and expiry of an entry.
const ENTRY_DERIVED: usize = 3 * RECORD_HEAD + 49 + 65 + 41;
/// Bytes in the log of the key by expiry of a tombstone.
const TOMBSTONE_DERIVED: usize = RECORD_HEAD + 41;

/// The newest value of a key, as memory and the index have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    /// The value itself, and the segment of the log that has it too.
    Here {
        /// Number of the segment.
        segment: u64,
        /// The value.
        bytes: Box<[u8]>,
    },
    /// In the log only.
    Far(Place),
}

/// A value's place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the segment.
    pub(crate) segment: u64,
    /// Where in the segment's file it begins.
    pub(crate) offset: u64,
    /// Its length in bytes.
    pub(crate) length: u32,
    /// [`checksum`] of key and value.
    pub(crate) checksum: u32,
}

/// CRC-32 of a key with its value: a value at the wrong key is found too.
pub(crate) fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

impl Stored {
    /// Bytes of the value.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Here { bytes, .. } => bytes.len(),
            // u32 fits usize on every target we build for.
            Self::Far(place) => usize::try_from(place.length).unwrap_or(usize::MAX),
        }
    }

    /// The segment that must stay as long as this is the newest value.
    pub(crate) fn segment(&self) -> u64 {
        match self {
            Self::Here { segment, .. } => *segment,
            Self::Far(place) => place.segment,
        }
    }

    /// What it keeps alive in its segment, in bytes, with the keys that follow from it: those themselves keep nothing.
    pub(crate) fn weight(&self, key: &[u8]) -> u64 {
        let derived = match key.first() {
            _ if is_index(key) => return 0,
            Some(&ENTRY) => ENTRY_DERIVED,
            Some(&TOMBSTONE) => TOMBSTONE_DERIVED,
            _ => 0,
        };
        u64::try_from(RECORD_HEAD + key.len() + self.length() + derived).unwrap_or(u64::MAX)
    }

    /// Appends the form that the index has.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Here { segment, bytes } => {
                out.push(0);
                put_number(out, *segment);
                put_number(out, length(bytes));
                out.extend_from_slice(bytes);
            }
            Self::Far(place) => {
                out.push(1);
                put_number(out, place.segment);
                put_number(out, place.offset);
                put_number(out, u64::from(place.length));
                out.extend_from_slice(&place.checksum.to_be_bytes());
            }
        }
    }

    /// Takes what [`Stored::encode`] appended from the front.
    pub(crate) fn decode(rest: &mut &[u8]) -> Option<Self> {
        let [tag] = take(rest)?;
        let segment = number(rest)?;
        match tag {
            0 => {
                let length = usize::try_from(number(rest)?).ok()?;
                let (bytes, tail) = rest.split_at_checked(length)?;
                *rest = tail;
                Some(Self::Here { segment, bytes: bytes.into() })
            }
            1 => {
                let offset = number(rest)?;
                let length = u32::try_from(number(rest)?).ok()?;
                let checksum = u32::from_be_bytes(take(rest)?);
                Some(Self::Far(Place { segment, offset, length, checksum }))
            }
            _ => None,
        }
    }

    /// Steps over what [`Stored::encode`] appended.
    pub(crate) fn skip(rest: &mut &[u8]) -> Option<()> {
        let [tag] = take(rest)?;
        number(rest)?;
        let length = match tag {
            0 => usize::try_from(number(rest)?).ok()?,
            1 => {
                number(rest)?;
                number(rest)?;
                4
            }
            _ => return None,
        };
        *rest = rest.split_at_checked(length)?.1;
        Some(())
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

/// Appends a number, seven bits a byte, lowest first.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Takes what [`put_number`] appended from the front.
pub(crate) fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take(rest)?;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn numbers_and_values_come_back() {
        for value in [0, 1, 127, 128, 300, 1 << 35, u64::MAX] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, value);
            assert_eq!(number(&mut bytes.as_slice()), Some(value));
            assert_eq!(number(&mut &bytes[..bytes.len() - 1]), None);
        }
        let far = Place { segment: 900, offset: 8 << 20, length: 70_000, checksum: u32::MAX };
        for stored in [Stored::Here { segment: 3, bytes: Box::from(*b"value") }, Stored::Far(far)] {
            let mut bytes = Vec::new();
            stored.encode(&mut bytes);
            let (mut rest, mut skipped) = (bytes.as_slice(), bytes.as_slice());
            assert_eq!(Stored::decode(&mut rest), Some(stored));
            assert_eq!((rest.len(), Stored::skip(&mut skipped), skipped.len()), (0, Some(()), 0));
            for length in 0..bytes.len() {
                assert_eq!(Stored::decode(&mut &bytes[..length]), None);
                assert_eq!(Stored::skip(&mut &bytes[..length]), None);
            }
        }
    }
}
