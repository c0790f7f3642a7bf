//! The fixed form byte by byte, written and read without a detour (`docs/wire-format.md` section 4).
//!
//! What [`read`] takes is what [`encode`] writes: every head has its one shortest spelling, every other byte
//! is either compared with the only value it may have or becomes part of a value. So nothing is encoded again.
//! What it does not take goes through the patient reader of [`crate::form`], which says what is wrong.

use core::ops::Range;

use crc::{CRC_32_ISCSI, Crc, Table};

use crate::form::Primary;
use crate::ids::{BASE32_OF_16, BundleId, Tag, base32_of_16};

/// CRC-32C.
static CRC_32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

const ARRAY_START: u8 = 0x9f;
const ARRAY_END: u8 = 0xff;
/// Array of 9, version 7, flags 4 (must not be fragmented), CRC type 2.
const PRIMARY: [u8; 4] = [0x89, 7, 4, 2];
/// Array of 8, the same without a CRC: what H covers.
const PRIMARY_BARE: [u8; 4] = [0x88, 7, 4, 0];
/// `dtn:` and a text of 30 bytes: `//`, 26 characters, `/m`.
const DESTINATION: [u8; 6] = [0x82, 1, 0x78, 30, b'/', b'/'];
const DESTINATION_END: &[u8; 2] = b"/m";
/// `dtn:` and a text of 29 bytes: `//`, 26 characters, `/`.
const SOURCE: [u8; 6] = [0x82, 1, 0x78, 29, b'/', b'/'];
const SOURCE_END: &[u8; 1] = b"/";
const DTN_NONE: [u8; 3] = [0x82, 1, 0];
/// The CRC is a byte string of 4.
const CRC_HEAD: u8 = 0x44;
/// Array of 5, type, number, no flags, no CRC.
const CARRIAGE: [u8; 6] = [0x85, 0x18, 240, 2, 0, 0];
const UPLINK: [u8; 6] = [0x85, 0x18, 241, 3, 0, 0];
const PAYLOAD: [u8; 5] = [0x85, 1, 1, 0, 0];

/// Major types of CBOR (RFC 8949 section 3.1).
pub(crate) const MAJOR_UNSIGNED: u8 = 0;
pub(crate) const MAJOR_BYTES: u8 = 2;
pub(crate) const MAJOR_TEXT: u8 = 3;

/// Bytes of everything but the data of the blocks, at most.
const AROUND_MAX: usize = 192;

/// Where the parts of a bundle in the fixed form are. The data of its blocks is still to be read.
pub(crate) struct Exact {
    pub(crate) primary: Primary,
    pub(crate) source: [u8; BASE32_OF_16],
    pub(crate) carriage: Range<usize>,
    pub(crate) uplink: Option<Range<usize>>,
    pub(crate) payload: Range<usize>,
}

/// The primary block with source `dtn:none` and no CRC, as H covers it.
pub(crate) fn header_bytes(primary: &Primary) -> Vec<u8> {
    let mut out = Vec::with_capacity(AROUND_MAX);
    out.extend_from_slice(&PRIMARY_BARE);
    push_destination(&mut out, &primary.tag);
    out.extend_from_slice(&DTN_NONE);
    push_rest(&mut out, primary);
    out
}

/// The whole bundle.
pub(crate) fn encode(
    primary: &Primary,
    id: &BundleId,
    carriage: &[u8],
    uplink: Option<&[u8]>,
    payload: &[u8],
) -> Vec<u8> {
    let data = carriage.len() + uplink.map_or(0, <[u8]>::len) + payload.len();
    let mut out = Vec::with_capacity(AROUND_MAX + data);
    out.push(ARRAY_START);
    push_primary(&mut out, primary, id);
    push_block(&mut out, &CARRIAGE, carriage);
    if let Some(uplink) = uplink {
        push_block(&mut out, &UPLINK, uplink);
    }
    push_block(&mut out, &PAYLOAD, payload);
    out.push(ARRAY_END);
    out
}

/// Offset of the payload block in a bundle of that size: what others add goes before it.
pub(crate) fn payload_block_start(bundle_size: usize, payload_size: usize) -> usize {
    let mut head = Vec::with_capacity(9);
    push_head(&mut head, MAJOR_BYTES, payload_size as u64);
    bundle_size - 1 - payload_size - head.len() - PAYLOAD.len()
}

/// The parts of a bundle in the fixed form; `None` for anything else, whatever is wrong with it.
pub(crate) fn read(bytes: &[u8]) -> Option<Exact> {
    let mut reader = Reader::new(bytes);
    reader.literal(&[ARRAY_START])?;
    let (primary, source) = read_primary(&mut reader)?;
    reader.literal(&CARRIAGE)?;
    let carriage = reader.data()?;
    let uplink = if reader.literal(&UPLINK).is_some() { Some(reader.data()?) } else { None };
    reader.literal(&PAYLOAD)?;
    let payload = reader.data()?;
    reader.literal(&[ARRAY_END])?;
    reader.is_at_end().then_some(Exact { primary, source, carriage, uplink, payload })
}

fn push_primary(out: &mut Vec<u8>, primary: &Primary, id: &BundleId) {
    let start = out.len();
    out.extend_from_slice(&PRIMARY);
    push_destination(out, &primary.tag);
    out.extend_from_slice(&SOURCE);
    out.extend_from_slice(&source(id));
    out.extend_from_slice(SOURCE_END);
    push_rest(out, primary);
    out.push(CRC_HEAD);
    let crc = crc_of(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc);
}

/// Base32 of the first half of B, as the source has it.
pub(crate) fn source(id: &BundleId) -> [u8; BASE32_OF_16] {
    let (half, _) = id.0.as_chunks::<16>();
    base32_of_16(&half[0])
}

fn push_destination(out: &mut Vec<u8>, tag: &Tag) {
    out.extend_from_slice(&DESTINATION);
    out.extend_from_slice(&base32_of_16(&tag.0));
    out.extend_from_slice(DESTINATION_END);
}

/// Report-to, creation timestamp and lifetime.
fn push_rest(out: &mut Vec<u8>, primary: &Primary) {
    out.extend_from_slice(&DTN_NONE);
    out.push(0x82);
    push_head(out, MAJOR_UNSIGNED, primary.creation_ms);
    out.push(0);
    push_head(out, MAJOR_UNSIGNED, primary.lifetime_ms);
}

fn push_block(out: &mut Vec<u8>, start: &[u8], data: &[u8]) {
    out.extend_from_slice(start);
    push_head(out, MAJOR_BYTES, data.len() as u64);
    out.extend_from_slice(data);
}

/// A CBOR head (RFC 8949 section 3) in its shortest spelling.
pub(crate) fn push_head(out: &mut Vec<u8>, major: u8, value: u64) {
    let major = major << 5;
    let [.., c, d, e, f, g, h] = value.to_be_bytes();
    match value {
        0..=23 => out.push(major | h),
        24..=0xff => out.extend_from_slice(&[major | 24, h]),
        0x100..=0xffff => out.extend_from_slice(&[major | 25, g, h]),
        0x1_0000..=0xffff_ffff => out.extend_from_slice(&[major | 26, e, f, g, h]),
        _ => {
            let [a, b, ..] = value.to_be_bytes();
            out.extend_from_slice(&[major | 27, a, b, c, d, e, f, g, h]);
        }
    }
}

/// CRC of a primary block up to its CRC's head, as RFC 9171 section 4.2.2 has it: with zeros in its place.
fn crc_of(block: &[u8]) -> [u8; 4] {
    let mut digest = CRC_32C.digest();
    digest.update(block);
    digest.update(&[0; 4]);
    digest.finalize().to_be_bytes()
}

fn read_primary(reader: &mut Reader<'_>) -> Option<(Primary, [u8; BASE32_OF_16])> {
    let start = reader.at;
    reader.literal(&PRIMARY)?;
    reader.literal(&DESTINATION)?;
    let tag = Tag::from_base32_bytes(reader.array()?)?;
    reader.literal(DESTINATION_END)?;
    reader.literal(&SOURCE)?;
    let source = *reader.array()?;
    reader.literal(SOURCE_END)?;
    reader.literal(&DTN_NONE)?;
    reader.literal(&[0x82])?;
    let creation_ms = reader.head(MAJOR_UNSIGNED)?;
    reader.literal(&[0])?;
    let lifetime_ms = reader.head(MAJOR_UNSIGNED)?;
    reader.literal(&[CRC_HEAD])?;
    let crc = crc_of(reader.bytes.get(start..reader.at)?);
    reader.literal(&crc)?;
    Some((Primary { tag, creation_ms, lifetime_ms }, source))
}

/// Takes CBOR apart, each item in its one shortest spelling.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether all has been read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// As many bytes.
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (out, _) = self.bytes.get(self.at..)?.split_at_checked(length)?;
        self.at += length;
        Some(out)
    }

    /// These bytes and no others.
    pub(crate) fn literal(&mut self, expected: &[u8]) -> Option<()> {
        self.bytes.get(self.at..)?.starts_with(expected).then(|| self.at += expected.len())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let out = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(out)
    }

    /// A head of this major type in its shortest spelling.
    pub(crate) fn head(&mut self, major: u8) -> Option<u64> {
        let first = *self.bytes.get(self.at)?;
        if first >> 5 != major {
            return None;
        }
        self.at += 1;
        let (value, least) = match first & 0x1f {
            short @ 0..=23 => (u64::from(short), 0),
            24 => (u64::from(self.array::<1>()?[0]), 24),
            25 => (u64::from(u16::from_be_bytes(*self.array()?)), 1 << 8),
            26 => (u64::from(u32::from_be_bytes(*self.array()?)), 1 << 16),
            27 => (u64::from_be_bytes(*self.array()?), 1 << 32),
            _ => return None,
        };
        (value >= least).then_some(value)
    }

    /// A byte string's content.
    fn data(&mut self) -> Option<Range<usize>> {
        let length = usize::try_from(self.head(MAJOR_BYTES)?).ok()?;
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len())?;
        let range = self.at..end;
        self.at = end;
        Some(range)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::form;

    fn primaries() -> impl Strategy<Value = Primary> {
        let numbers = prop_oneof![
            0..30_u64,
            200..300_u64,
            65_000..66_000_u64,
            any::<u32>().prop_map(u64::from),
            any::<u64>()
        ];
        (any::<[u8; 16]>(), numbers.clone(), numbers).prop_map(|(tag, creation_ms, lifetime_ms)| Primary {
            tag: Tag(tag),
            // What hardy can hold as a lifetime.
            lifetime_ms: lifetime_ms >> 1,
            creation_ms,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Another implementation of RFC 9171 writes the same bytes, whatever the parts are.
        #[test]
        fn hardy_writes_the_same(
            primary in primaries(),
            id in any::<[u8; 32]>(),
            carriage in prop::collection::vec(any::<u8>(), 0..300),
            uplink in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
            payload in prop::collection::vec(any::<u8>(), 0..70_000),
        ) {
            let id = BundleId(id);
            let ours = encode(&primary, &id, &carriage, uplink.as_deref(), &payload);
            let theirs = form::tests::encode(&primary, &id, &carriage, uplink.as_deref(), &payload);
            prop_assert_eq!(&ours, &theirs);
            prop_assert_eq!(header_bytes(&primary), form::tests::header_bytes(&primary));
            let exact = read(&ours).unwrap();
            prop_assert_eq!(&ours[exact.carriage], &carriage);
            prop_assert_eq!(exact.uplink.map(|range| &ours[range]), uplink.as_deref());
            prop_assert_eq!(&ours[exact.payload.clone()], &payload);
            prop_assert_eq!(exact.source, source(&id));
            prop_assert_eq!(exact.primary, primary);
            prop_assert_eq!(payload_block_start(ours.len(), payload.len()), exact.payload.start - {
                let mut head = Vec::new();
                push_head(&mut head, MAJOR_BYTES, payload.len() as u64);
                head.len() + PAYLOAD.len()
            });
        }

        /// What is read is what would be written: so a reader need not write it again.
        #[test]
        fn nothing_is_read_but_what_is_written(
            primary in primaries(),
            with_uplink in any::<bool>(),
            payload in prop::collection::vec(any::<u8>(), 0..40),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4),
        ) {
            let uplink = with_uplink.then_some(&b"uplink"[..]);
            let mut bytes = encode(&primary, &BundleId([7; 32]), b"carriage", uplink, &payload);
            for (at, byte, change) in changes {
                let at = at.index(bytes.len());
                match change {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            if let Some(exact) = read(&bytes) {
                let uplink = exact.uplink.map(|range| &bytes[range]);
                // The source may be any text of 26 bytes; it is compared with B by the caller.
                let mut again = encode(&exact.primary, &BundleId([7; 32]), &bytes[exact.carriage], uplink, &bytes[exact.payload]);
                let at = again.windows(26).position(|part| part == source(&BundleId([7; 32]))).unwrap();
                again[at..at + 26].copy_from_slice(&exact.source);
                let crc = read_crc_end(&again);
                let computed = crc_of(&again[1..crc - 4]);
                again[crc - 4..crc].copy_from_slice(&computed);
                prop_assert_eq!(again, bytes);
            }
        }
    }

    /// Offset after the primary block.
    fn read_crc_end(bytes: &[u8]) -> usize {
        bytes.windows(CARRIAGE.len()).position(|part| part == CARRIAGE).unwrap()
    }
}
