//! Takes the blocks that this program cannot process out of a bundle, by their flags (RFC 9171 section 5.6).
//!
//! This only looks at the outside of blocks. What it leaves in is for the RFC 9171 parser to judge, and so is
//! whatever looks strange.

use core::ops::Range;
use std::collections::BTreeSet;

use bytes::Bytes;
use minicbor::Decoder;
use minicbor::data::Type;

use super::{ForeignBlock, ForeignError};
use crate::bundle::BundleError;

/// Payload, Previous Node, Bundle Age, Hop Count; ours: Carriage, Uplink. BPSec (RFC 9172) is not among them.
const PROCESSED: [u64; 6] = [1, 6, 7, 10, 240, 241];

/// Block processing control flags (RFC 9171 section 4.2.4).
const REPORT: u64 = 0x02;
const DELETE_BUNDLE: u64 = 0x04;
const DELETE_BLOCK: u64 = 0x10;

/// A bundle in two heaps.
#[derive(Debug)]
pub(super) struct Split {
    /// The bundle with those blocks that can be processed.
    pub(super) bundle: Bytes,
    /// The others, in the order of their numbers.
    pub(super) unprocessed: Vec<ForeignBlock>,
    /// One of the others asks for a status report.
    pub(super) report_wanted: bool,
}

/// A block's head as far as it matters here.
struct Head {
    kind: u64,
    number: u64,
    flags: u64,
    /// Its data, within the bundle.
    data: Range<usize>,
}

/// Splits a bundle, or refuses it because one of the blocks asks for that.
pub(super) fn split(bytes: &Bytes) -> Result<Split, ForeignError> {
    let whole = Split { bundle: bytes.clone(), unprocessed: Vec::new(), report_wanted: false };
    let Some((blocks, end)) = blocks(bytes) else { return Ok(whole) };
    let mut kept = Vec::with_capacity(bytes.len());
    kept.push(0x9f);
    let Split { mut unprocessed, mut report_wanted, .. } = whole;
    let mut numbers = BTreeSet::new();
    let mut last_kept = true;
    for range in blocks {
        let head = head(bytes, &range);
        if let Some(head) = &head
            && !numbers.insert(head.number)
        {
            return Err(BundleError::Field { place: "blocks", expected: "a number each" }.into());
        }
        let unknown = head.filter(|head| !PROCESSED.contains(&head.kind));
        last_kept = unknown.is_none();
        let Some(head) = unknown else {
            kept.extend_from_slice(&bytes[range]);
            continue;
        };
        if head.flags & DELETE_BUNDLE != 0 {
            return Err(ForeignError::Unprocessable { number: head.number });
        }
        report_wanted |= head.flags & REPORT != 0;
        unprocessed.push(ForeignBlock {
            kind: head.kind,
            number: head.number,
            delete_block: head.flags & DELETE_BLOCK != 0,
            data: bytes.slice(head.data),
        });
    }
    if !last_kept {
        return Err(BundleError::Field { place: "blocks", expected: "the payload last" }.into());
    }
    // The end of the array, and whatever does not belong there.
    kept.extend_from_slice(&bytes[end..]);
    unprocessed.sort_unstable_by_key(|block| block.number);
    Ok(Split { bundle: kept.into(), unprocessed, report_wanted })
}

/// Where the blocks are, and where their array ends; `None` if this is no such array.
fn blocks(bytes: &[u8]) -> Option<(Vec<Range<usize>>, usize)> {
    let mut decoder = Decoder::new(bytes);
    if decoder.array().ok()?.is_some() {
        return None;
    }
    let mut out = Vec::new();
    while decoder.datatype().ok()? != Type::Break {
        let start = decoder.position();
        decoder.skip().ok()?;
        out.push(start..decoder.position());
    }
    Some((out, decoder.position()))
}

/// The head of a canonical block; `None` for the primary block and for anything strange.
fn head(bytes: &[u8], range: &Range<usize>) -> Option<Head> {
    let mut decoder = Decoder::new(bytes.get(range.clone())?);
    if !matches!(decoder.array().ok()?, Some(5 | 6)) {
        return None;
    }
    let (kind, number) = (decoder.u64().ok()?, decoder.u64().ok()?);
    let (flags, _crc_type) = (decoder.u64().ok()?, decoder.u64().ok()?);
    let length = decoder.bytes().ok()?.len();
    let end = range.start + decoder.position();
    Some(Head { kind, number, flags, data: end - length..end })
}
