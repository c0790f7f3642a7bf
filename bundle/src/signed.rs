//! The wrapper around both kinds of card: bytes and a signature over exactly these bytes.

use prost::Message as _;

use crate::card::CardError;

/// `SignedCard` and `SignedBridgeCard` of `docs/wire-format.md` section 2; they differ in context only.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Signed {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) card: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) signature: Vec<u8>,
}

impl Signed {
    /// Decodes at most `size_max` bytes.
    ///
    /// What stands in the wrapper beside card and signature is signed by nobody and dropped;
    /// what stands inside the card is kept.
    pub(crate) fn parse(bytes: &[u8], size_max: usize) -> Result<Self, CardError> {
        if bytes.len() > size_max {
            return Err(CardError::TooLarge { size: bytes.len(), max: size_max });
        }
        Ok(Self::decode(bytes)?)
    }
}

/// A field of exactly `N` bytes.
pub(crate) fn fixed<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], CardError> {
    bytes.try_into().map_err(|_| CardError::Length { field, expected: N, got: bytes.len() })
}
