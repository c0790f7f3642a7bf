//! The data of our two extension blocks, canonical CBOR (`docs/wire-format.md` section 4).
//!
//! Decoding is lenient about CBOR's spellings; [`crate::Bundle::parse`] encodes again and compares.

use bytes::Bytes;
use minicbor::{Decoder, Encoder};

use crate::bundle::{BundleError, Uplink};
use crate::hybrid::OVERHEAD;
use crate::ids::{Commitment, Epoch};
use crate::text::check_domain;

const MAGIC: &[u8] = b"CP1";
const CARRIAGE: &str = "Carriage block";
const UPLINK: &str = "Uplink block";
/// Bytes of a route's plaintext.
pub(crate) const ROUTE_STEP: usize = 512;
/// Bytes of a sealed route.
pub(crate) const ROUTE_SIZE: usize = ROUTE_STEP + OVERHEAD;

/// The Carriage block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carriage {
    pub(crate) epoch: Epoch,
    pub(crate) commitment: Commitment,
}

impl Carriage {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, BundleError> {
        let mut out = Vec::with_capacity(48);
        Encoder::new(&mut out)
            .array(3)
            .and_then(|e| e.bytes(MAGIC))
            .and_then(|e| e.u32(self.epoch.0))
            .and_then(|e| e.bytes(self.commitment.as_ref()))
            .map_err(|e| BundleError::Encode(Box::new(e)))?;
        Ok(out)
    }

    pub(crate) fn decode(data: &[u8]) -> Result<Self, BundleError> {
        let mut decoder = start(data, CARRIAGE, 3)?;
        let epoch = Epoch(field(decoder.u32(), CARRIAGE, "an epoch")?);
        let commitment = field(decoder.bytes(), CARRIAGE, "a commitment")?;
        let commitment = Commitment::try_from(commitment)
            .map_err(|_| BundleError::Field { place: CARRIAGE, expected: "a commitment of 32 bytes" })?;
        end(&decoder, data, CARRIAGE)?;
        Ok(Self { epoch, commitment })
    }
}

impl Uplink {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, BundleError> {
        let mut out = Vec::with_capacity(ROUTE_SIZE + self.domain.len() + 64);
        Encoder::new(&mut out)
            .array(4)
            .and_then(|e| e.bytes(MAGIC))
            .and_then(|e| e.str(&self.domain))
            .and_then(|e| e.bytes(&self.bridge_key))
            .and_then(|e| e.bytes(&self.route))
            .map_err(|e| BundleError::Encode(Box::new(e)))?;
        Ok(out)
    }

    pub(crate) fn decode(data: &[u8]) -> Result<Self, BundleError> {
        let mut decoder = start(data, UPLINK, 4)?;
        let domain = field(decoder.str(), UPLINK, "a bridge domain")?;
        check_domain(domain).map_err(|_| BundleError::Field {
            place: UPLINK,
            expected: "a bridge domain of 1 to 150 bytes",
        })?;
        let bridge_key = field(decoder.bytes(), UPLINK, "a bridge key")?
            .try_into()
            .map_err(|_| BundleError::Field { place: UPLINK, expected: "a bridge key of 32 bytes" })?;
        let route = field(decoder.bytes(), UPLINK, "a sealed route")?;
        if route.len() != ROUTE_SIZE {
            return Err(BundleError::Field { place: UPLINK, expected: "a sealed route of 560 bytes" });
        }
        end(&decoder, data, UPLINK)?;
        Ok(Self { domain: domain.into(), bridge_key, route: Bytes::copy_from_slice(route) })
    }
}

fn field<T>(
    result: Result<T, minicbor::decode::Error>,
    place: &'static str,
    expected: &'static str,
) -> Result<T, BundleError> {
    result.map_err(|_| BundleError::Field { place, expected })
}

fn start<'a>(data: &'a [u8], place: &'static str, length: u64) -> Result<Decoder<'a>, BundleError> {
    let mut decoder = Decoder::new(data);
    if field(decoder.array(), place, "an array")? != Some(length) {
        return Err(BundleError::Field { place, expected: "an array of its fixed length" });
    }
    if field(decoder.bytes(), place, "the magic CP1")? != MAGIC {
        return Err(BundleError::Field { place, expected: "the magic CP1" });
    }
    Ok(decoder)
}

fn end(decoder: &Decoder<'_>, data: &[u8], place: &'static str) -> Result<(), BundleError> {
    if decoder.position() != data.len() {
        return Err(BundleError::Field { place, expected: "nothing after the array" });
    }
    Ok(())
}
