//! What a node shows to everyone in range: one service UUID and six bytes (docs/wire-format.md section 6).
//!
//! A legacy advertisement has 31 bytes. Flags take 3 and a 128-bit UUID 18; the 10 that are left hold one
//! manufacturer-specific structure: length, type, company identifier, and six bytes of ours. No name.

use std::fmt;

use uuid::Uuid;

/// The service that nodes advertise and serve.
pub const SERVICE: Uuid = Uuid::from_u128(0x5fc8_0001_7c1d_4a5e_9a6f_c0a7_1e4b_1d00);
/// Characteristic: read, protocol versions only.
pub const INFO: Uuid = Uuid::from_u128(0x5fc8_0002_7c1d_4a5e_9a6f_c0a7_1e4b_1d00);
/// Characteristic: written without response, pieces to the server.
pub const RX: Uuid = Uuid::from_u128(0x5fc8_0003_7c1d_4a5e_9a6f_c0a7_1e4b_1d00);
/// Characteristic: notified, pieces from the server.
pub const TX: Uuid = Uuid::from_u128(0x5fc8_0004_7c1d_4a5e_9a6f_c0a7_1e4b_1d00);
/// Company identifier of the manufacturer data: the one set aside for whoever has none.
pub const COMPANY: u16 = 0xffff;

const SIZE: usize = 6;
const CARRIAGE_OPEN: u8 = 1;
const GATT: u8 = 2;
const LOOKS: u8 = 4;

/// A random name for a while, of the advertiser's choice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Token(pub(crate) [u8; 4]);

impl Token {
    /// A fresh one.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The six bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Advert {
    /// Takes mail of strangers.
    pub(crate) carriage_open: bool,
    /// Serves the characteristics.
    pub(crate) gatt: bool,
    /// Listens most of the time, and so will dial whom it hears.
    pub(crate) looks: bool,
    /// Where the L2CAP listener is; dynamic ones have one byte (0x80 to 0xff).
    pub(crate) psm: Option<u8>,
    /// Who this is, for a while.
    pub(crate) token: Token,
}

impl Advert {
    pub(crate) fn encode(self) -> Vec<u8> {
        let carriage = if self.carriage_open { CARRIAGE_OPEN } else { 0 };
        let gatt = if self.gatt { GATT } else { 0 };
        let looks = if self.looks { LOOKS } else { 0 };
        let [a, b, c, d] = self.token.0;
        vec![carriage | gatt | looks, self.psm.unwrap_or(0), a, b, c, d]
    }

    /// Reads manufacturer data of [`COMPANY`]. Unknown flags are left for later versions; `None` for any other
    /// size, and for a PSM that no listener can have.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let [flags, psm, token @ ..]: [u8; SIZE] = bytes.try_into().ok()?;
        let psm = match psm {
            0 => None,
            0x80.. => Some(psm),
            _ => return None,
        };
        Some(Self {
            carriage_open: flags & CARRIAGE_OPEN != 0,
            gatt: flags & GATT != 0,
            looks: flags & LOOKS != 0,
            psm,
            token: Token(token),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_advertised_is_read_back_and_fits() {
        for (open, gatt, psm) in [(true, true, Some(0x80)), (false, true, None), (true, false, Some(0xff))] {
            let advert = Advert { carriage_open: open, gatt, looks: !open, psm, token: Token([1, 2, 3, 4]) };
            let bytes = advert.encode();
            assert_eq!(Advert::decode(&bytes), Some(advert));
            // Flags, UUID, and our structure with its length, type and company.
            assert!(3 + 18 + 1 + 1 + 2 + bytes.len() <= 31);
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let token = Token([0xab, 1, 2, 3]);
        let advert = Advert { carriage_open: true, gatt: true, looks: false, psm: Some(0x85), token };
        assert_eq!(data_encoding::HEXLOWER.encode(&advert.encode()), "0385ab010203");
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(Advert::decode(&[]), None);
        assert_eq!(Advert::decode(&[0; 5]), None);
        assert_eq!(Advert::decode(&[0; 7]), None);
        assert_eq!(Advert::decode(&[0, 0x7f, 0, 0, 0, 0]), None, "a PSM that is not dynamic");
        assert!(Advert::decode(&[0xf0, 0, 0, 0, 0, 0]).is_some(), "flags of a later version");
    }
}
