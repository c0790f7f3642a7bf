//! Our parts in any RFC 9171 encoding, by `hardy-bpv7` (`docs/wire-format.md` section 4).
//!
//! [`crate::exact`] reads what is in the fixed form; what is not comes here, to be told what is wrong.

use core::ops::Range;

use hardy_bpv7::block::Type;
use hardy_bpv7::bpsec::key::KeySet;
use hardy_bpv7::bundle::{Bundle as RfcBundle, ParsedBundle};
use hardy_bpv7::dtn_time::DtnTime;
use hardy_bpv7::eid::{DtnNodeId, Eid};

use crate::bundle::BundleError;
use crate::exact;
use crate::ids::{BundleId, Tag};

pub(crate) const CARRIAGE_TYPE: Type = Type::Unrecognised(240);
pub(crate) const UPLINK_TYPE: Type = Type::Unrecognised(241);
const CARRIAGE_NUMBER: u64 = 2;
const UPLINK_NUMBER: u64 = 3;
const PAYLOAD_NUMBER: u64 = 1;
/// The service in every destination: mail.
const SERVICE: &str = "m";

/// What varies in the primary block, the source aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    node(exact::source(id).map(char::from).iter().collect(), "")
}

/// Reads any RFC 9171 encoding of our parts.
pub(crate) fn cut(bytes: &[u8]) -> Result<Cut, BundleError> {
    // `ParsedBundle` keeps every block; the rewriting parsers delete blocks whose flags ask for it.
    let parsed = ParsedBundle::parse_with_keys(bytes, &KeySet::EMPTY)
        .map_err(|e| BundleError::Rfc9171(Box::new(e)))?
        .bundle;
    let (carriage, payload) = (carriage(&parsed, bytes)?, payload(&parsed, bytes)?);
    let uplink = match parsed.blocks.len() {
        3 => None,
        4 => Some(uplink(&parsed, bytes)?),
        _ => return Err(BundleError::Field { place: "blocks", expected: "three, or four with an Uplink" }),
    };
    Ok(Cut { primary: primary(&parsed)?, source: parsed.id.source, carriage, uplink, payload })
}

/// Where the Carriage block's data is.
pub(crate) fn carriage(parsed: &RfcBundle, bytes: &[u8]) -> Result<Range<usize>, BundleError> {
    block(parsed, bytes, CARRIAGE_NUMBER, CARRIAGE_TYPE)
}

/// Where the Uplink block's data is.
pub(crate) fn uplink(parsed: &RfcBundle, bytes: &[u8]) -> Result<Range<usize>, BundleError> {
    block(parsed, bytes, UPLINK_NUMBER, UPLINK_TYPE)
}

/// Where the payload is.
pub(crate) fn payload(parsed: &RfcBundle, bytes: &[u8]) -> Result<Range<usize>, BundleError> {
    block(parsed, bytes, PAYLOAD_NUMBER, Type::Payload)
}

/// What varies in the primary block.
pub(crate) fn primary(parsed: &RfcBundle) -> Result<Primary, BundleError> {
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

fn node(name: String, service: &str) -> Eid {
    Eid::Dtn { node_name: DtnNodeId { node_name: name.into() }, service_name: service.into() }
}

#[cfg(test)]
pub(crate) mod tests {
    //! `hardy-bpv7` as a writer: what `exact.rs` writes is compared with it.
    #![allow(clippy::unwrap_used, reason = "tests")]

    use core::time::Duration;

    use hardy_bpv7::builder::Builder;
    use hardy_bpv7::bundle::Flags;
    use hardy_bpv7::crc::CrcType;
    use hardy_bpv7::creation_timestamp::CreationTimestamp;

    use super::*;

    pub(crate) fn header_bytes(primary: &Primary) -> Vec<u8> {
        let builder = builder(primary, Eid::Null, CrcType::None);
        let (bundle, bytes) = add(builder, Type::Payload, &[]).build(timestamp(primary)).unwrap();
        bytes[bundle.blocks[&0].extent.clone()].to_vec()
    }

    pub(crate) fn encode(
        primary: &Primary,
        id: &BundleId,
        carriage: &[u8],
        uplink: Option<&[u8]>,
        payload: &[u8],
    ) -> Vec<u8> {
        // Extension blocks are numbered from 2 in the order they are added.
        let mut builder = builder(primary, source(id), CrcType::CRC32_CASTAGNOLI);
        builder = add(builder, CARRIAGE_TYPE, carriage);
        if let Some(uplink) = uplink {
            builder = add(builder, UPLINK_TYPE, uplink);
        }
        add(builder, Type::Payload, payload).build(timestamp(primary)).unwrap().1.into_vec()
    }

    fn builder<'a>(primary: &Primary, source: Eid, crc: CrcType) -> Builder<'a> {
        Builder::new(source, node(primary.tag.to_base32(), SERVICE))
            .with_flags(Flags { do_not_fragment: true, ..Flags::default() })
            .with_crc_type(crc)
            .with_report_to(Eid::Null)
            .with_lifetime(Duration::from_millis(primary.lifetime_ms))
    }

    fn add<'a>(builder: Builder<'a>, block_type: Type, data: &'a [u8]) -> Builder<'a> {
        builder.add_extension_block(block_type).unwrap().with_crc_type(CrcType::None).build(data.into())
    }

    fn timestamp(primary: &Primary) -> CreationTimestamp {
        let creation = (primary.creation_ms != 0).then(|| DtnTime::new(primary.creation_ms));
        CreationTimestamp::from_parts(creation, 0)
    }
}
