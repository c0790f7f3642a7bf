//! Towards agents that are not ours, and back: RFC 9171 with the blocks that every agent may add, change or remove
//! (`docs/wire-format.md` section 9).
//!
//! Between our nodes only the fixed form travels; age and hops are in the Offer. Here they stand in the blocks that
//! RFC 9171 has for them. On intake everything but our parts is read, then dropped.

mod split;

use core::fmt;

use bytes::Bytes;
use hardy_bpv7::block::Block;
use hardy_bpv7::bpsec::key::KeySet;
use hardy_bpv7::bundle::{Bundle as RfcBundle, Flags, ParsedBundle};
use hardy_bpv7::dtn_time::DtnTime;
use thiserror::Error;

use crate::blocks::Carriage;
use crate::bundle::{BUNDLE_SIZE_MAX, Bundle, BundleError, Uplink};
use crate::exact::{self, MAJOR_BYTES, MAJOR_UNSIGNED};
use crate::form::{self, CARRIAGE_TYPE, UPLINK_TYPE};
use split::{Split, split};

/// A bundle passes at most this many agents.
pub const HOP_LIMIT: u8 = 16;
/// Largest bundle taken from a foreign agent, in bytes: ours and room for the blocks of others.
pub const FOREIGN_SIZE_MAX: usize = BUNDLE_SIZE_MAX + 8_192;

/// Array of 5, type 7, number 4, no flags, no CRC.
const AGE_BLOCK: [u8; 5] = [0x85, 7, 4, 0, 0];
/// Array of 5, type 10, number 5, no flags, no CRC.
const HOPS_BLOCK: [u8; 5] = [0x85, 10, 5, 0, 0];

/// The Hop Count block (RFC 9171 section 4.4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HopCount {
    /// Most hops it may make, 1 to 255.
    pub limit: u64,
    /// Hops it has made.
    pub count: u64,
}

/// A bundle of ours that came from a foreign agent, in the fixed form again.
#[derive(Debug, Clone)]
pub struct FromForeign {
    /// What was ours in it, checked as [`Bundle::parse`] does.
    pub bundle: Bundle,
    /// Bundle Age in milliseconds; `None`: no such block, and the bundle has a creation time.
    pub age_ms: Option<u64>,
    /// Hop Count; `None`: no such block.
    pub hops: Option<HopCount>,
    /// Blocks that this program cannot process, in the order of their numbers. They are gone, as those that ask for
    /// removal must be, and those that do not may be: nothing but the fixed form is forwarded.
    pub unprocessed: Vec<ForeignBlock>,
    /// One of them asks for a status report. Ours send none: the report-to endpoint is always `dtn:none`.
    pub report_wanted: bool,
}

/// One block of a foreign bundle, as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct ForeignBlock {
    /// Block type code.
    pub kind: u64,
    /// Block number; 0 is the primary block.
    pub number: u64,
    /// The agent must delete the block if it cannot process it.
    pub delete_block: bool,
    /// The content of the block's byte string; of the primary block, all of it.
    pub data: Bytes,
}

impl fmt::Debug for ForeignBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.data.len();
        f.debug_struct("ForeignBlock")
            .field("kind", &self.kind)
            .field("number", &self.number)
            .field("size", &size)
            .finish_non_exhaustive()
    }
}

/// A bundle of RFC 9171 that is not ours, decoded with all blocks.
#[derive(Clone, PartialEq, Eq)]
pub struct ForeignBundle {
    /// Source node, as text.
    pub source: String,
    /// Destination, as text.
    pub destination: String,
    /// Where status reports go, as text.
    pub report_to: String,
    /// DTN milliseconds; 0: no clock.
    pub creation_ms: u64,
    /// Sequence number of the creation timestamp.
    pub sequence: u64,
    /// Lifetime in milliseconds.
    pub lifetime_ms: u64,
    /// Bundle Age in milliseconds, if there is such a block.
    pub age_ms: Option<u64>,
    /// Hop Count, if there is such a block.
    pub hops: Option<HopCount>,
    /// All blocks in the order of their numbers, the primary block first.
    pub blocks: Vec<ForeignBlock>,
}

impl fmt::Debug for ForeignBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Endpoints of others name people as well as nodes.
        f.debug_struct("ForeignBundle").field("blocks", &self.blocks).finish_non_exhaustive()
    }
}

/// A bundle that is not taken from a foreign agent.
#[derive(Debug, Error)]
pub enum ForeignError {
    /// More bytes than ours and a few blocks of others can have.
    #[error("bundle of {size} bytes, at most {FOREIGN_SIZE_MAX} are taken from foreign agents")]
    TooLarge {
        /// Bytes given.
        size: usize,
    },
    /// Not RFC 9171.
    #[error("not a bundle of RFC 9171")]
    Rfc9171(#[source] Box<dyn core::error::Error + Send + Sync>),
    /// RFC 9171 section 5.6: a block that cannot be processed asks for the bundle to be deleted.
    #[error("block {number} cannot be processed, and its flags ask for the bundle to be deleted")]
    Unprocessable {
        /// Its block number.
        number: u64,
    },
    /// A bundle of others: no Carriage block. It was read, and that is all.
    #[error("bundle has no Carriage block: it is not one of CarrierPigeon's")]
    NotOurs(Box<ForeignBundle>),
    /// RFC 9171 section 4.4.2: without a creation time there must be an age.
    #[error("bundle has neither a creation time nor a Bundle Age block")]
    AgeMissing,
    /// RFC 9171 section 4.4.3.
    #[error("bundle has made {count} hops, its limit is {limit}")]
    HopLimit {
        /// Hops made.
        count: u64,
        /// Its own limit.
        limit: u64,
    },
    /// A part of ours that is not as the fixed form has it.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// The bundle as foreign agents expect it: with Bundle Age (block 4) and Hop Count (block 5, limit [`HOP_LIMIT`]).
///
/// The limit is not enforced here: do not send what has made more hops.
#[must_use]
pub fn to_foreign(bundle: &Bundle, age_ms: u64, hops: u8) -> Bytes {
    let bytes = bundle.as_bytes();
    let at = exact::payload_block_start(bytes.len(), bundle.payload().len());
    let (before, payload) = bytes.split_at(at);
    let mut age = Vec::with_capacity(9);
    exact::push_head(&mut age, MAJOR_UNSIGNED, age_ms);
    let mut hop_count = vec![0x82];
    exact::push_head(&mut hop_count, MAJOR_UNSIGNED, HOP_LIMIT.into());
    exact::push_head(&mut hop_count, MAJOR_UNSIGNED, hops.into());
    let mut out = Vec::with_capacity(bytes.len() + 32);
    out.extend_from_slice(before);
    for (head, data) in [(AGE_BLOCK, age), (HOPS_BLOCK, hop_count)] {
        out.extend_from_slice(&head);
        exact::push_head(&mut out, MAJOR_BYTES, data.len() as u64);
        out.extend_from_slice(&data);
    }
    out.extend_from_slice(payload);
    out.into()
}

/// Reads a bundle that a foreign agent has carried: takes our parts out of it and puts them into the fixed form.
///
/// Its blocks may have CRCs, flags and a different order; other blocks are treated as RFC 9171 section 5.6 says.
/// What is ours must give the id that the source names, or it is damaged.
///
/// # Errors
/// [`ForeignError`]; [`ForeignError::NotOurs`] holds what was decoded.
pub fn from_foreign(bytes: &Bytes) -> Result<FromForeign, ForeignError> {
    if bytes.len() > FOREIGN_SIZE_MAX {
        return Err(ForeignError::TooLarge { size: bytes.len() });
    }
    let Split { bundle: bytes, unprocessed, report_wanted } = split(bytes)?;
    let parsed = ParsedBundle::parse_with_keys(&bytes, &KeySet::EMPTY)
        .map_err(|error| ForeignError::Rfc9171(Box::new(error)))?;
    let rfc = &parsed.bundle;
    let hops = rfc.hop_count.as_ref().map(|hops| HopCount { limit: hops.limit, count: hops.count });
    let age_ms = rfc.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    if !rfc.blocks.values().any(|block| block.block_type == CARRIAGE_TYPE) {
        let mut blocks = blocks(rfc, &bytes);
        blocks.extend(unprocessed);
        blocks.sort_unstable_by_key(|block| block.number);
        return Err(ForeignError::NotOurs(Box::new(foreign_bundle(rfc, age_ms, hops, blocks))));
    }
    if rfc.id.timestamp.creation_time().is_none() && age_ms.is_none() {
        return Err(ForeignError::AgeMissing);
    }
    if let Some(HopCount { limit, count }) = hops.filter(|hops| hops.count > hops.limit) {
        return Err(ForeignError::HopLimit { count, limit });
    }
    let bundle = ours(rfc, &bytes)?;
    Ok(FromForeign { bundle, age_ms, hops, unprocessed, report_wanted })
}

/// Our parts, in the fixed form, with the id that the source names.
fn ours(rfc: &RfcBundle, bytes: &Bytes) -> Result<Bundle, BundleError> {
    if rfc.flags != (Flags { do_not_fragment: true, ..Flags::default() }) {
        return Err(BundleError::Field { place: "bundle flags", expected: "0x4: must not be fragmented" });
    }
    if rfc.id.timestamp.sequence_number() != 0 {
        return Err(BundleError::Field { place: "sequence number", expected: "0" });
    }
    if !rfc.report_to.is_null() {
        return Err(BundleError::Field { place: "report-to", expected: "dtn:none" });
    }
    for kind in [CARRIAGE_TYPE, UPLINK_TYPE] {
        if rfc.blocks.values().filter(|block| block.block_type == kind).count() > 1 {
            return Err(BundleError::Field { place: "blocks", expected: "one Carriage, at most one Uplink" });
        }
    }
    let carriage = Carriage::decode(&bytes[form::carriage(rfc, bytes)?])?;
    let uplink = rfc.blocks.values().any(|block| block.block_type == UPLINK_TYPE);
    let uplink = uplink.then(|| Uplink::decode(bytes, form::uplink(rfc, bytes)?)).transpose()?;
    let payload = &bytes[form::payload(rfc, bytes)?];
    let bundle = Bundle::assemble(form::primary(rfc)?, carriage, uplink, payload)?;
    if rfc.id.source != form::source(&bundle.id()) {
        return Err(BundleError::Damaged);
    }
    Ok(bundle)
}

fn blocks(rfc: &RfcBundle, bytes: &Bytes) -> Vec<ForeignBlock> {
    let block = |(&number, block): (&u64, &Block)| {
        let range = if number == 0 { block.extent.clone() } else { block.payload_range() };
        let inside = range.start <= range.end && range.end <= bytes.len();
        ForeignBlock {
            kind: block.block_type.into(),
            number,
            delete_block: block.flags.delete_block_on_failure,
            data: if inside { bytes.slice(range) } else { Bytes::new() },
        }
    };
    rfc.blocks.iter().map(block).collect()
}

fn foreign_bundle(
    rfc: &RfcBundle,
    age_ms: Option<u64>,
    hops: Option<HopCount>,
    blocks: Vec<ForeignBlock>,
) -> ForeignBundle {
    ForeignBundle {
        source: rfc.id.source.to_string(),
        destination: rfc.destination.to_string(),
        report_to: rfc.report_to.to_string(),
        creation_ms: rfc.id.timestamp.creation_time().map_or(0, DtnTime::millisecs),
        sequence: rfc.id.timestamp.sequence_number(),
        lifetime_ms: u64::try_from(rfc.lifetime.as_millis()).unwrap_or(u64::MAX),
        age_ms,
        hops,
        blocks,
    }
}
