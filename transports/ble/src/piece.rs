//! What is inside a sealed piece (docs/wire-format.md section 6).

use bytes::{BufMut, Bytes, BytesMut};

use crate::advert::Token;

/// Bytes before the data in a data piece.
pub(crate) const DATA_OVERHEAD: usize = 1;

/// One piece, unsealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The next bytes of the stream of frames.
    Data(Bytes),
    /// All bytes of the stream up to this count (modulo 2^32) have been taken. Also the sign of life.
    Ack(u32),
    /// Nothing more comes in this direction; with `close`, the sender closes the link both ways.
    End {
        /// Both ways.
        close: bool,
    },
    /// Everything up to the `End` has been taken.
    EndSeen,
    /// Nobody reads any more: send nothing more.
    Stop,
    /// The sender advertises under this token from now on.
    Renamed(Token),
}

/// A piece of no known form. The link is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a piece of {size} bytes and kind {kind:?} is none: the peer is broken or newer, close the link")]
pub(crate) struct PieceError {
    kind: Option<u8>,
    size: usize,
}

impl Piece {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Data(data) => {
                out.put_u8(0);
                out.put_slice(data);
            }
            Self::Ack(count) => {
                out.put_u8(1);
                out.put_u32(*count);
            }
            Self::End { close } => out.put_slice(&[2, u8::from(*close)]),
            Self::EndSeen => out.put_u8(3),
            Self::Stop => out.put_u8(4),
            Self::Renamed(Token(token)) => {
                out.put_u8(5);
                out.put_slice(token);
            }
        }
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, PieceError> {
        let error = PieceError { kind: bytes.first().copied(), size: bytes.len() };
        let Some((kind, rest)) = bytes.split_first() else { return Err(error) };
        match (kind, rest) {
            (0, [_, ..]) => Ok(Self::Data(bytes.slice(DATA_OVERHEAD..))),
            (1, &[a, b, c, d]) => Ok(Self::Ack(u32::from_be_bytes([a, b, c, d]))),
            (2, [close @ (0 | 1)]) => Ok(Self::End { close: *close == 1 }),
            (3, []) => Ok(Self::EndSeen),
            (4, []) => Ok(Self::Stop),
            (5, &[a, b, c, d]) => Ok(Self::Renamed(Token([a, b, c, d]))),
            _ => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn all() -> Vec<(Piece, &'static str)> {
        vec![
            (Piece::Data(Bytes::from_static(b"ab")), "006162"),
            (Piece::Ack(0x0102_0304), "0101020304"),
            (Piece::End { close: false }, "0200"),
            (Piece::End { close: true }, "0201"),
            (Piece::EndSeen, "03"),
            (Piece::Stop, "04"),
            (Piece::Renamed(Token([9, 8, 7, 6])), "0509080706"),
        ]
    }

    #[test]
    fn every_piece_has_its_bytes_and_comes_back() {
        for (piece, hex) in all() {
            let mut bytes = BytesMut::new();
            piece.encode(&mut bytes);
            assert_eq!(data_encoding::HEXLOWER.encode(&bytes), hex);
            assert_eq!(Piece::decode(&bytes.freeze()), Ok(piece));
        }
    }

    #[test]
    fn what_is_no_piece_is_refused() {
        for bytes in
            [&b""[..], b"\0", b"\x01abc", b"\x01abcde", b"\x02\x02", b"\x02", b"\x03x", b"\x05abc", b"\x06"]
        {
            assert!(Piece::decode(&Bytes::from_static(bytes)).is_err(), "{bytes:?}");
        }
    }
}
