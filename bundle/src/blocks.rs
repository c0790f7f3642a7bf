//! The data of our two extension blocks, canonical CBOR (`docs/wire-format.md` section 4).
//!
//! `decode` is lenient about CBOR's spellings, for bundles that are then encoded again and compared; `decode_exact`
//! takes the one spelling that `encode` writes.

use core::ops::Range;

use bytes::Bytes;
use minicbor::{Decoder, Encoder};

use crate::bundle::{BundleError, Uplink};
use crate::exact::{MAJOR_TEXT, MAJOR_UNSIGNED, Reader};
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

    pub(crate) fn decode_exact(data: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(data);
        reader.literal(&[0x83, 0x43, b'C', b'P', b'1'])?;
        let epoch = Epoch(u32::try_from(reader.head(MAJOR_UNSIGNED)?).ok()?);
        reader.literal(&[0x58, 32])?;
        let commitment = Commitment(*reader.array()?);
        reader.is_at_end().then_some(Self { epoch, commitment })
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

    /// From the data of a block, which stands at `range` of a bundle; the route is not copied.
    pub(crate) fn decode(bundle: &Bytes, range: Range<usize>) -> Result<Self, BundleError> {
        let data = bundle
            .get(range)
            .ok_or(BundleError::Field { place: UPLINK, expected: "to be inside the bundle" })?;
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
        Ok(Self { domain: domain.into(), bridge_key, route: bundle.slice_ref(route) })
    }

    pub(crate) fn decode_exact(bundle: &Bytes, range: Range<usize>) -> Option<Self> {
        let mut reader = Reader::new(bundle.get(range)?);
        reader.literal(&[0x84, 0x43, b'C', b'P', b'1'])?;
        let length = usize::try_from(reader.head(MAJOR_TEXT)?).ok()?;
        let domain = core::str::from_utf8(reader.take(length)?).ok()?;
        check_domain(domain).ok()?;
        reader.literal(&[0x58, 32])?;
        let bridge_key = *reader.array()?;
        // A byte string of ROUTE_SIZE.
        reader.literal(&[0x59, 0x02, 0x30])?;
        let route = reader.take(ROUTE_SIZE)?;
        let uplink = Self { domain: domain.into(), bridge_key, route: bundle.slice_ref(route) };
        reader.is_at_end().then_some(uplink)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    /// Some bytes replaced, inserted or taken out.
    fn changed(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
        for (at, byte, change) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match change {
                0 => bytes[at] = *byte,
                1 => bytes.insert(at, *byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    }

    fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..3)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

        /// `decode_exact` takes what `encode` writes, all of it and nothing else.
        #[test]
        fn exact_is_what_is_written_again(
            epoch in prop_oneof![0..300_u32, any::<u32>()],
            domain in "[a-zé.]{1,160}",
            changes in changes(),
        ) {
            let carriage = Carriage { epoch: Epoch(epoch), commitment: Commitment([7; 32]) };
            let data = changed(carriage.encode().unwrap(), &changes);
            let again = Carriage::decode(&data).ok().and_then(|decoded| decoded.encode().ok());
            let exact = Carriage::decode_exact(&data).map(|exact| exact.encode().unwrap());
            prop_assert_eq!(exact, again.filter(|again| *again == data));

            let uplink = Uplink { domain: domain.into(), bridge_key: [8; 32], route: Bytes::from(vec![9; ROUTE_SIZE]) };
            let data = Bytes::from(changed(uplink.encode().unwrap(), &changes));
            let again = Uplink::decode(&data, 0..data.len()).ok().and_then(|decoded| decoded.encode().ok());
            let exact = Uplink::decode_exact(&data, 0..data.len()).map(|exact| exact.encode().unwrap());
            prop_assert_eq!(exact, again.filter(|again| *again == data));
        }
    }

    #[test]
    fn unchanged_data_is_exact() {
        let carriage = Carriage { epoch: Epoch(20_780), commitment: Commitment([7; 32]) };
        assert!(Carriage::decode_exact(&carriage.encode().unwrap()).is_some());
        let uplink =
            Uplink { domain: "a".into(), bridge_key: [8; 32], route: Bytes::from(vec![9; ROUTE_SIZE]) };
        let data = Bytes::from(uplink.encode().unwrap());
        assert_eq!(Uplink::decode_exact(&data, 0..data.len()), Some(uplink));
    }
}
