//! What a bundle is before anybody has computed its digests.

use core::fmt;
use core::ops::Range;

use bytes::Bytes;

use crate::blocks::Carriage;
use crate::bundle::{BUNDLE_SIZE_MAX, Bundle, BundleError, Uplink};
use crate::digests;
use crate::exact;
use crate::form;
use crate::ids::BASE32_OF_16;
use crate::shape::{self, Shape};

/// Bytes in the fixed form, all limits kept, whose id nobody has computed: they may be damaged, and are no
/// [`Bundle`], so nothing stores, forwards or opens them.
///
/// [`Bundle::parse`] is [`Unproven::read`] and [`Unproven::prove`]. The first costs no more than decoding; nearly all
/// of the second is SHA-256 over the payload.
pub struct Unproven {
    shape: Shape,
    /// The name of the source, as it stands there.
    source: [u8; BASE32_OF_16],
    carriage: Range<usize>,
    uplink: Option<Range<usize>>,
}

impl Unproven {
    /// Reads the one encoding that a bundle may have and checks every part of it, the CRC too.
    ///
    /// # Errors
    /// [`BundleError`] naming the part.
    pub fn read(bytes: &Bytes) -> Result<Self, BundleError> {
        if bytes.len() > BUNDLE_SIZE_MAX {
            return Err(BundleError::TooLarge { size: bytes.len() });
        }
        Self::exact(bytes).ok_or_else(|| what_is_wrong(bytes))
    }

    /// Computes H, P and B.
    ///
    /// # Errors
    /// [`BundleError::Damaged`] where the source is not that of B.
    pub fn prove(self) -> Result<Bundle, BundleError> {
        let Self { shape, source, carriage, uplink } = self;
        let header = digests::header_of(&shape.primary, &shape.bytes[carriage]);
        let message = digests::message(&header, shape.payload());
        let id = digests::bundle(&message, uplink.map_or(&[], |range| &shape.bytes[range]));
        if source != exact::source(&id) {
            return Err(BundleError::Damaged);
        }
        Ok(Bundle::proven(shape, id, message, header))
    }

    /// `None` for whatever is not exactly the fixed form.
    fn exact(bytes: &Bytes) -> Option<Self> {
        let exact = exact::read(bytes)?;
        let carriage = Carriage::decode_exact(bytes.get(exact.carriage.clone())?)?;
        let uplink = match exact.uplink.clone() {
            Some(range) => Some(Uplink::decode_exact(bytes, range)?),
            None => None,
        };
        let payload = bytes.get(exact.payload)?;
        shape::check(&exact.primary, carriage.epoch, payload).ok()?;
        let payload_size = payload.len();
        let shape = Shape { bytes: bytes.clone(), payload_size, primary: exact.primary, carriage, uplink };
        Some(Self { shape, source: exact.source, carriage: exact.carriage, uplink: exact.uplink })
    }
}

impl fmt::Debug for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unproven({} bytes)", self.shape.bytes.len())
    }
}

/// Reads any RFC 9171 encoding, encodes the parts again and says in what the two differ.
fn what_is_wrong(bytes: &Bytes) -> BundleError {
    compare(bytes).unwrap_or_else(|error| error)
}

fn compare(bytes: &Bytes) -> Result<BundleError, BundleError> {
    let cut = form::cut(bytes)?;
    let carriage = Carriage::decode(&bytes[cut.carriage])?;
    let uplink = cut.uplink.map(|range| Uplink::decode(bytes, range)).transpose()?;
    let bundle = Bundle::assemble(cut.primary, carriage, uplink, &bytes[cut.payload])?;
    if cut.source != form::source(&bundle.id()) {
        return Ok(BundleError::Damaged);
    }
    // Without a difference the two readers would contradict each other: a fault of this program (tests look for it).
    Ok(BundleError::NotFixedForm { offset: first_difference(bundle.as_bytes(), bytes) })
}

fn first_difference(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()))
}
