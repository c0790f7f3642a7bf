//! Sealed pieces: for the peer alone, each once, and opened in the order in which they were sealed.
//!
//! On a bearer that keeps order the count of pieces is each one's number. GATT does not keep order where BlueZ has
//! several ATT bearers (EATT, its default) and spreads values over them: there each piece says the lower 16 bits of its
//! number. A number is the nonce of its piece, so one that lies does not open.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use snow::StatelessTransportState;

use crate::noise::{NoiseError, TAG};
use crate::piece::{DATA_OVERHEAD, Piece};

/// Bytes of the number in a numbered piece.
const NUMBER: usize = 2;
/// Pieces that may overtake a missing one. A window holds some sixty, what else is said a few.
const OVERTAKEN_MAX: u64 = 256;

/// Seals pieces for the peer, and opens and orders those from it.
pub(crate) struct Seal {
    state: StatelessTransportState,
    numbered: bool,
    /// Pieces sealed so far: the number of the next one.
    sealed: u64,
    /// The number of the piece that is handed out next.
    awaited: u64,
    /// Opened, and waiting for those before them.
    opened: BTreeMap<u64, Piece>,
    plain: BytesMut,
}

impl Seal {
    pub(crate) fn new(state: StatelessTransportState, numbered: bool) -> Self {
        Self { state, numbered, sealed: 0, awaited: 0, opened: BTreeMap::new(), plain: BytesMut::new() }
    }

    pub(crate) fn seal(&mut self, piece: &Piece) -> Result<Bytes, NoiseError> {
        self.plain.clear();
        piece.encode(&mut self.plain);
        let prefix = if self.numbered { NUMBER } else { 0 };
        let mut sealed = vec![0; prefix + self.plain.len() + TAG];
        let (number, body) = sealed.split_at_mut(prefix);
        let size = self.state.write_message(self.sealed, &self.plain, body)?;
        if self.numbered {
            let [.., high, low] = self.sealed.to_be_bytes();
            number.copy_from_slice(&[high, low]);
        }
        self.sealed += 1;
        sealed.truncate(prefix + size);
        Ok(sealed.into())
    }

    /// Takes a piece that came. On an error nothing has changed: the next piece may open.
    pub(crate) fn open(&mut self, sealed: &[u8]) -> Result<(), NoiseError> {
        let (number, body) = self.number_of(sealed)?;
        if number < self.awaited
            || number >= self.awaited + OVERTAKEN_MAX
            || self.opened.contains_key(&number)
        {
            return Err(NoiseError::Number(number, self.awaited));
        }
        let mut plain = vec![0; body.len()];
        let size = self.state.read_message(number, body, &mut plain)?;
        plain.truncate(size);
        self.opened.insert(number, Piece::decode(&plain.into())?);
        Ok(())
    }

    /// The next piece in order, if it is there.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        let piece = self.opened.remove(&self.awaited)?;
        self.awaited += 1;
        Some(piece)
    }

    /// Which piece this claims to be: of all with these lower bits the nearest to the one awaited.
    fn number_of<'a>(&self, sealed: &'a [u8]) -> Result<(u64, &'a [u8]), NoiseError> {
        if !self.numbered {
            return Ok((self.awaited, sealed));
        }
        let (low, body) =
            sealed.split_first_chunk::<NUMBER>().ok_or(NoiseError::Open(snow::Error::Decrypt))?;
        #[expect(clippy::cast_possible_truncation, reason = "the lower bits are what counts")]
        let ahead = u16::from_be_bytes(*low).wrapping_sub(self.awaited as u16).cast_signed();
        Ok((self.awaited.saturating_add_signed(ahead.into()), body))
    }
}

/// Bytes of a frame stream that fit into a piece of at most `piece_max` bytes.
pub(crate) fn data_max(piece_max: usize, numbered: bool) -> usize {
    piece_max.saturating_sub(TAG + DATA_OVERHEAD + if numbered { NUMBER } else { 0 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]
    use pigeon_link::Role;
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng as _, SeedableRng as _};

    use super::*;
    use crate::advert::Token;
    use crate::bearer::{Bearer, memory};
    use crate::noise::{Keyed, PIECE_MIN, handshake};

    async fn pair(numbered: bool) -> (Keyed, Keyed) {
        let (a, b) = memory::pair(PIECE_MIN);
        let (mut a, mut b) = (Bearer { numbered, ..a }, Bearer { numbered, ..b });
        let (a, b) = tokio::join!(
            handshake(&mut a, Role::Dialler, Token([1; 4])),
            handshake(&mut b, Role::Listener, Token([2; 4])),
        );
        (a.unwrap(), b.unwrap())
    }

    fn only(seal: &mut Seal, sealed: &[u8]) -> Option<Piece> {
        seal.open(sealed).ok()?;
        seal.next()
    }

    #[tokio::test]
    async fn pieces_open_once_in_order_and_only_at_the_other_end() {
        let (mut a, mut b) = pair(false).await;
        let (mut c, _) = pair(false).await;
        let (first, second) = (a.seal.seal(&Piece::Ack(1)).unwrap(), a.seal.seal(&Piece::Ack(2)).unwrap());
        assert!(c.seal.open(&first).is_err(), "another link");
        assert!(b.seal.open(&second).is_err(), "out of order");
        let mut damaged = first.to_vec();
        damaged[0] ^= 1;
        assert!(b.seal.open(&damaged).is_err());
        assert_eq!(only(&mut b.seal, &first), Some(Piece::Ack(1)), "errors before change nothing");
        assert!(b.seal.open(&first).is_err(), "twice");
        assert_eq!(only(&mut b.seal, &second), Some(Piece::Ack(2)));
        let own = a.seal.seal(&Piece::Stop).unwrap();
        assert!(a.seal.open(&own).is_err(), "reflected");
    }

    /// Over a hundred thousand pieces, so that the lower 16 bits go round.
    #[tokio::test]
    async fn numbered_pieces_come_in_any_order_and_leave_in_theirs() {
        const SEED: u64 = 0x5EA1;
        println!("seed {SEED:#x}");
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let (mut a, mut b) = pair(true).await;
        let (mut sent, mut came) = (0_u32, 0_u32);
        while came < 140_000 {
            let mut batch = Vec::new();
            for _ in 0..1 + rng.next_u32() % 200 {
                batch.push(a.seal.seal(&Piece::Ack(sent)).unwrap());
                sent += 1;
            }
            while !batch.is_empty() {
                let piece = batch.swap_remove(rng.next_u32() as usize % batch.len());
                b.seal.open(&piece).unwrap();
                assert!(b.seal.open(&piece).is_err(), "twice");
                while let Some(piece) = b.seal.next() {
                    assert_eq!(piece, Piece::Ack(came));
                    came += 1;
                }
            }
            assert_eq!(came, sent);
        }
    }

    #[tokio::test]
    async fn a_number_that_lies_does_not_open_and_what_is_kept_is_bounded() {
        let (mut a, mut b) = pair(true).await;
        let pieces: Vec<Bytes> = (0..=OVERTAKEN_MAX).map(|_| a.seal.seal(&Piece::Stop).unwrap()).collect();
        let mut lies = pieces[1].to_vec();
        lies[1] = 2;
        assert!(matches!(b.seal.open(&lies), Err(NoiseError::Open(_))));
        assert!(b.seal.open(&pieces[1][..1]).is_err(), "half a number");
        for piece in &pieces[1..pieces.len() - 1] {
            b.seal.open(piece).unwrap();
        }
        assert!(matches!(b.seal.open(&pieces[pieces.len() - 1]), Err(NoiseError::Number(256, 0))));
        assert_eq!(b.seal.next(), None, "the first is missing");
        b.seal.open(&pieces[0]).unwrap();
        assert_eq!(std::iter::from_fn(|| b.seal.next()).count(), 256);
    }
}
