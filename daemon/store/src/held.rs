//! The record of a held bundle without its body: meta data and entry, in one value.

use pigeon_bundle::{Commitment, MessageDigest, NodeKey, Reveal, Tag};
use pigeon_core::{BundleMeta, Entry};

const VERSION: u8 = 1;

/// Meta data and entry of one bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) meta: BundleMeta,
    pub(crate) entry: Entry,
}

impl Held {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let meta = &self.meta;
        let flags = u8::from(meta.has_uplink) | u8::from(meta.creation_s.is_some()) << 1;
        let mut out = vec![VERSION, flags];
        out.extend(meta.tag.0);
        out.extend(meta.commitment.0);
        out.extend(meta.message.0);
        out.extend(meta.size.to_be_bytes());
        out.extend(meta.expires_s.to_be_bytes());
        out.extend(meta.lifetime_s.to_be_bytes());
        out.extend(meta.creation_s.unwrap_or_default().to_be_bytes());
        out.extend(self.entry.to_bytes());
        out
    }

    /// Reads [`Held::to_bytes`]; `None` for anything else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let [version, flags] = take(&mut rest)?;
        if version != VERSION || flags > 0b11 {
            return None;
        }
        let tag = Tag(take(&mut rest)?);
        let commitment = Commitment(take(&mut rest)?);
        let message = MessageDigest(take(&mut rest)?);
        let size = u32::from_be_bytes(take(&mut rest)?);
        let expires_s = u64::from_be_bytes(take(&mut rest)?);
        let lifetime_s = u64::from_be_bytes(take(&mut rest)?);
        let creation = u64::from_be_bytes(take(&mut rest)?);
        let creation_s = (flags & 0b10 != 0).then_some(creation);
        let has_uplink = flags & 1 != 0;
        let meta =
            BundleMeta { tag, commitment, message, size, expires_s, creation_s, lifetime_s, has_uplink };
        Some(Self { meta, entry: Entry::from_bytes(rest).ok()? })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// Bytes of a tombstone: r and when it may be forgotten.
pub(crate) fn tombstone_to_bytes(reveal: &Reveal, expires_s: u64) -> Vec<u8> {
    [reveal.0.as_slice(), &expires_s.to_be_bytes()].concat()
}

/// Reads [`tombstone_to_bytes`]; `None` for anything else, an r of another commitment too.
pub(crate) fn tombstone_from_bytes(commitment: &Commitment, mut bytes: &[u8]) -> Option<(Reveal, u64)> {
    let reveal = Reveal(take(&mut bytes)?);
    let expires_s = u64::from_be_bytes(take(&mut bytes)?);
    (bytes.is_empty() && reveal.commitment() == *commitment).then_some((reveal, expires_s))
}

/// Node keys of a takers' list; `None` for bytes that are none.
pub(crate) fn takers_from_bytes(bytes: &[u8]) -> Option<Vec<NodeKey>> {
    let (keys, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| keys.iter().map(|key| NodeKey(*key)).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn held_comes_back_and_nothing_else_is_read() {
        let meta = BundleMeta {
            tag: Tag([1; 16]),
            commitment: Commitment([2; 32]),
            message: MessageDigest([3; 32]),
            size: 70_000,
            expires_s: 1 << 40,
            creation_s: None,
            lifetime_s: 604_800,
            has_uplink: true,
        };
        let mut held = Held { meta, entry: Entry::own(2, Some(5)) };
        assert_eq!(Held::from_bytes(&held.to_bytes()).as_ref(), Some(&held));
        held.meta.creation_s = Some(77);
        held.meta.has_uplink = false;
        let bytes = held.to_bytes();
        assert_eq!(Held::from_bytes(&bytes), Some(held));
        for length in 0..bytes.len() {
            assert_eq!(Held::from_bytes(&bytes[..length]), None);
        }
        assert_eq!(Held::from_bytes(&[bytes.as_slice(), &[0]].concat()), None);
    }

    #[test]
    fn a_tombstone_is_checked_against_its_commitment() {
        let reveal = Reveal([9; 32]);
        let bytes = tombstone_to_bytes(&reveal, 12);
        assert_eq!(tombstone_from_bytes(&reveal.commitment(), &bytes), Some((reveal, 12)));
        assert_eq!(tombstone_from_bytes(&Commitment([0; 32]), &bytes), None);
    }
}
