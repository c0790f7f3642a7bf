//! The fixed form as RFC 9171 blocks, by `hardy-bpv7` (`docs/wire-format.md` section 4).

use core::ops::Range;
use core::time::Duration;

use hardy_bpv7::block::Type;
use hardy_bpv7::bpsec::key::KeySet;
use hardy_bpv7::builder::Builder;
use hardy_bpv7::bundle::{Bundle as RfcBundle, Flags, ParsedBundle};
use hardy_bpv7::crc::CrcType;
use hardy_bpv7::creation_timestamp::CreationTimestamp;
use hardy_bpv7::dtn_time::DtnTime;
use hardy_bpv7::eid::{DtnNodeId, Eid};

use crate::bundle::BundleError;
use crate::ids::{BundleId, Tag, base32};

const CARRIAGE_TYPE: Type = Type::Unrecognised(240);
const UPLINK_TYPE: Type = Type::Unrecognised(241);
const CARRIAGE_NUMBER: u64 = 2;
const UPLINK_NUMBER: u64 = 3;
const PAYLOAD_NUMBER: u64 = 1;
/// The service in every destination: mail.
const SERVICE: &str = "m";
/// How much of B stands in the source.
const SOURCE_SIZE: usize = 16;

/// What varies in the primary block, the source aside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Primary {
    pub(crate) tag: Tag,
    /// DTN milliseconds; 0: the author had no clock.
    pub(crate) creation_ms: u64,
    pub(crate) lifetime_ms: u64,
}

/// A bundle that RFC 9171 allows, cut into our parts; not yet compared with the fixed form.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) primary: Primary,
    pub(crate) source: Eid,
    pub(crate) carriage: Range<usize>,
    pub(crate) uplink: Option<Range<usize>>,
    pub(crate) payload: Range<usize>,
}

/// The source that a bundle with this id names.
pub(crate) fn source(id: &BundleId) -> Eid {
    node(base32(&id.0[..SOURCE_SIZE]), "")
}

/// The primary block with source `dtn:none` and no CRC, as H covers it.
pub(crate) fn header_bytes(primary: &Primary) -> Result<Vec<u8>, BundleError> {
    let builder = builder(primary, Eid::Null, CrcType::None);
    let (bundle, bytes) =
        add(builder, Type::Payload, &[])?.build(timestamp(primary)).map_err(encode_error)?;
    let extent = bundle.blocks.get(&0).map(|block| block.extent.clone());
    let block = extent.and_then(|extent| bytes.get(extent));
    Ok(block.ok_or(BundleError::Field { place: "primary block", expected: "to be encoded" })?.to_vec())
}

/// The whole bundle in the fixed form.
pub(crate) fn encode(
    primary: &Primary,
    id: &BundleId,
    carriage: &[u8],
    uplink: Option<&[u8]>,
    payload: &[u8],
) -> Result<Vec<u8>, BundleError> {
    // Extension blocks are numbered from 2 in the order they are added.
    let mut builder = builder(primary, source(id), CrcType::CRC32_CASTAGNOLI);
    builder = add(builder, CARRIAGE_TYPE, carriage)?;
    if let Some(uplink) = uplink {
        builder = add(builder, UPLINK_TYPE, uplink)?;
    }
    let (_, bytes) = add(builder, Type::Payload, payload)?.build(timestamp(primary)).map_err(encode_error)?;
    Ok(bytes.into_vec())
}

/// Reads any RFC 9171 encoding of our parts.
pub(crate) fn cut(bytes: &[u8]) -> Result<Cut, BundleError> {
    // `ParsedBundle` keeps every block; the rewriting parsers delete blocks whose flags ask for it.
    let parsed = ParsedBundle::parse_with_keys(bytes, &KeySet::EMPTY)
        .map_err(|e| BundleError::Rfc9171(Box::new(e)))?
        .bundle;
    let carriage = block(&parsed, bytes, CARRIAGE_NUMBER, CARRIAGE_TYPE)?;
    let payload = block(&parsed, bytes, PAYLOAD_NUMBER, Type::Payload)?;
    let uplink = match parsed.blocks.len() {
        3 => None,
        4 => Some(block(&parsed, bytes, UPLINK_NUMBER, UPLINK_TYPE)?),
        _ => return Err(BundleError::Field { place: "blocks", expected: "three, or four with an Uplink" }),
    };
    Ok(Cut { primary: primary(&parsed)?, source: parsed.id.source, carriage, uplink, payload })
}

fn primary(parsed: &RfcBundle) -> Result<Primary, BundleError> {
    let expected = "dtn://TAG/m with a tag in base32";
    let destination = BundleError::Field { place: "destination", expected };
    let Eid::Dtn { node_name, service_name } = &parsed.destination else { return Err(destination) };
    let tag = Tag::from_base32(&node_name.node_name)
        .map_err(|_| BundleError::Field { place: "destination", expected })?;
    if &**service_name != SERVICE {
        return Err(destination);
    }
    let lifetime_ms = u64::try_from(parsed.lifetime.as_millis())
        .map_err(|_| BundleError::Field { place: "lifetime", expected: "1 hour to 30 days" })?;
    let creation_ms = parsed.id.timestamp.creation_time().map_or(0, DtnTime::millisecs);
    Ok(Primary { tag, creation_ms, lifetime_ms })
}

fn block(
    parsed: &RfcBundle,
    bytes: &[u8],
    number: u64,
    block_type: Type,
) -> Result<Range<usize>, BundleError> {
    let error = BundleError::Field { place: "blocks", expected: "Carriage 2, Uplink 3, payload 1" };
    let Some(block) = parsed.blocks.get(&number).filter(|block| block.block_type == block_type) else {
        return Err(error);
    };
    let range = block.payload_range();
    if range.start > range.end || range.end > bytes.len() {
        return Err(error);
    }
    Ok(range)
}

fn builder<'a>(primary: &Primary, source: Eid, crc: CrcType) -> Builder<'a> {
    Builder::new(source, node(primary.tag.to_base32(), SERVICE))
        .with_flags(Flags { do_not_fragment: true, ..Flags::default() })
        .with_crc_type(crc)
        .with_report_to(Eid::Null)
        .with_lifetime(Duration::from_millis(primary.lifetime_ms))
}

fn add<'a>(builder: Builder<'a>, block_type: Type, data: &'a [u8]) -> Result<Builder<'a>, BundleError> {
    let block = builder.add_extension_block(block_type).map_err(encode_error)?;
    Ok(block.with_crc_type(CrcType::None).build(data.into()))
}

fn timestamp(primary: &Primary) -> CreationTimestamp {
    let creation = (primary.creation_ms != 0).then(|| DtnTime::new(primary.creation_ms));
    CreationTimestamp::from_parts(creation, 0)
}

fn node(name: String, service: &str) -> Eid {
    Eid::Dtn { node_name: DtnNodeId { node_name: name.into() }, service_name: service.into() }
}

fn encode_error(error: hardy_bpv7::builder::Error) -> BundleError {
    BundleError::Encode(Box::new(error))
}
