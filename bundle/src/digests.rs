//! The three digests of a bundle (`docs/wire-format.md` section 1).

use crate::blocks::Carriage;
use crate::bundle::BundleError;
use crate::context;
use crate::exact;
use crate::form::Primary;
use crate::ids::{BundleId, HeaderDigest, MessageDigest};

/// H of `docs/wire-format.md` section 1.
pub(crate) fn header(primary: &Primary, carriage: &Carriage) -> Result<HeaderDigest, BundleError> {
    Ok(header_of(primary, &carriage.encode()?))
}

/// The same from the encoded Carriage data.
pub(crate) fn header_of(primary: &Primary, carriage_data: &[u8]) -> HeaderDigest {
    HeaderDigest(context::sha256("header", &[&exact::header_bytes(primary), carriage_data]))
}

/// P of `docs/wire-format.md` section 1.
pub(crate) fn message(header: &HeaderDigest, payload: &[u8]) -> MessageDigest {
    MessageDigest(context::sha256("message", &[header.as_ref(), payload]))
}

/// B of `docs/wire-format.md` section 1; no uplink data is empty.
pub(crate) fn bundle(message: &MessageDigest, uplink_data: &[u8]) -> BundleId {
    BundleId(context::sha256("bundle", &[message.as_ref(), uplink_data]))
}
