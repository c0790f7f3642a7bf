//! Noise NN: a fresh key for each link, and a hash that only its two ends share. Who the ends are is proved
//! above it, by `Auth` over that hash.

use bytes::{Bytes, BytesMut};
use pigeon_link::Role;
use snow::{Builder, HandshakeState, TransportState};

use crate::advert::Token;
use crate::bearer::Bearer;
use crate::piece::{DATA_OVERHEAD, Piece, PieceError};

const PATTERN: &str = "Noise_NN_25519_ChaChaPoly_SHA256";
const PROLOGUE: &[u8] = b"CarrierPigeon BLE 1";
/// Bytes that sealing adds.
pub(crate) const TAG: usize = 16;
/// The advertising token of whoever sends it.
const PAYLOAD: usize = 4;
/// The first handshake message: a public key and the payload.
const FIRST: usize = 32 + PAYLOAD;
/// The second is sealed.
const SECOND: usize = FIRST + TAG;
/// Pieces of others that a shared bearer may bring before a handshake message.
const FOREIGN_MAX: usize = 64;
/// The smallest pieces a link can live with: the handshake's second message in one.
pub(crate) const PIECE_MIN: usize = 64;

/// Why a link did not come to be, or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoiseError {
    /// The connection ended.
    #[error("the peer closed the connection in the Noise handshake")]
    Closed,
    /// No key agreement, or a piece that was not sealed for this link.
    #[error("a piece does not open: damaged, or not from the peer ({0})")]
    Open(#[from] snow::Error),
    /// Sealed well, with nonsense inside.
    #[error(transparent)]
    Piece(#[from] PieceError),
    /// Not what the handshake says.
    #[error("{0} bytes are no handshake message: the peer speaks another version, or is none of ours")]
    Size(usize),
}

/// A keyed link.
pub(crate) struct Keyed {
    /// Seals and opens pieces.
    pub(crate) seal: Seal,
    /// The same on both ends, and on no other link.
    pub(crate) binding: [u8; 32],
    /// The token under which the peer advertises.
    pub(crate) peer: Token,
}

/// Agrees on keys over a fresh bearer.
pub(crate) async fn handshake(bearer: &mut Bearer, role: Role, own: Token) -> Result<Keyed, NoiseError> {
    let builder = Builder::new(PATTERN.parse()?).prologue(PROLOGUE)?;
    let (state, peer) = match role {
        Role::Dialler => {
            let mut state = builder.build_initiator()?;
            send(bearer, &mut state, own).await?;
            let peer = receive(bearer, &mut state, SECOND).await?;
            (state, peer)
        }
        Role::Listener => {
            let mut state = builder.build_responder()?;
            let peer = receive(bearer, &mut state, FIRST).await?;
            send(bearer, &mut state, own).await?;
            (state, peer)
        }
    };
    let mut binding = [0; 32];
    for (to, from) in binding.iter_mut().zip(state.get_handshake_hash()) {
        *to = *from;
    }
    let seal = Seal { state: state.into_transport_mode()?, plain: BytesMut::new() };
    Ok(Keyed { seal, binding, peer })
}

async fn send(bearer: &Bearer, state: &mut HandshakeState, own: Token) -> Result<(), NoiseError> {
    let mut message = [0; SECOND];
    let size = state.write_message(&own.0, &mut message)?;
    let message = Bytes::copy_from_slice(message.get(..size).unwrap_or_default());
    bearer.tx.send(message).await.map_err(|_| NoiseError::Closed)
}

async fn receive(bearer: &mut Bearer, state: &mut HandshakeState, size: usize) -> Result<Token, NoiseError> {
    let mut foreign = 0;
    let message = loop {
        let message = bearer.rx.recv().await.ok_or(NoiseError::Closed)?;
        if message.len() == size {
            break message;
        }
        // What a former link of the same client had under way may still come.
        foreign += 1;
        if !bearer.shared || foreign > FOREIGN_MAX {
            return Err(NoiseError::Size(message.len()));
        }
    };
    let mut payload = [0; SECOND];
    let size = state.read_message(&message, &mut payload)?;
    let token = payload.get(..size).and_then(|payload| payload.try_into().ok());
    Ok(Token(token.ok_or(NoiseError::Size(size))?))
}

/// Seals pieces for the peer and opens those from it. Both count: a lost, repeated or reordered piece does not open.
pub(crate) struct Seal {
    state: TransportState,
    plain: BytesMut,
}

impl Seal {
    pub(crate) fn seal(&mut self, piece: &Piece) -> Result<Bytes, NoiseError> {
        self.plain.clear();
        piece.encode(&mut self.plain);
        let mut sealed = vec![0; self.plain.len() + TAG];
        let size = self.state.write_message(&self.plain, &mut sealed)?;
        sealed.truncate(size);
        Ok(sealed.into())
    }

    /// On an error nothing has changed: the next piece may open.
    pub(crate) fn open(&mut self, sealed: &[u8]) -> Result<Piece, NoiseError> {
        let mut plain = vec![0; sealed.len()];
        let size = self.state.read_message(sealed, &mut plain)?;
        plain.truncate(size);
        Ok(Piece::decode(&plain.into())?)
    }
}

/// Bytes of a frame stream that fit into a piece of at most `piece_max` bytes.
pub(crate) fn data_max(piece_max: usize) -> usize {
    piece_max.saturating_sub(TAG + DATA_OVERHEAD)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::bearer::memory;

    async fn pair() -> (Keyed, Keyed) {
        let (mut a, mut b) = memory::pair(PIECE_MIN);
        let (a, b) = tokio::join!(
            handshake(&mut a, Role::Dialler, Token([1; 4])),
            handshake(&mut b, Role::Listener, Token([2; 4])),
        );
        (a.unwrap(), b.unwrap())
    }

    #[tokio::test]
    async fn both_ends_share_a_binding_that_no_other_link_has() {
        let ((a, b), (c, _)) = (pair().await, pair().await);
        assert_eq!(a.binding, b.binding);
        assert_ne!(a.binding, c.binding);
        assert_ne!(a.binding, [0; 32]);
        assert_eq!((a.peer, b.peer), (Token([2; 4]), Token([1; 4])));
    }

    #[tokio::test]
    async fn pieces_open_once_in_order_and_only_at_the_other_end() {
        let (mut a, mut b) = pair().await;
        let (mut c, _) = pair().await;
        let (first, second) = (a.seal.seal(&Piece::Ack(1)).unwrap(), a.seal.seal(&Piece::Ack(2)).unwrap());
        assert!(c.seal.open(&first).is_err(), "another link");
        assert!(b.seal.open(&second).is_err(), "out of order");
        let mut damaged = first.to_vec();
        damaged[0] ^= 1;
        assert!(b.seal.open(&damaged).is_err());
        assert_eq!(b.seal.open(&first).unwrap(), Piece::Ack(1), "errors before change nothing");
        assert!(b.seal.open(&first).is_err(), "twice");
        assert_eq!(b.seal.open(&second).unwrap(), Piece::Ack(2));
        let own = a.seal.seal(&Piece::Stop).unwrap();
        assert!(a.seal.open(&own).is_err(), "reflected");
    }

    #[tokio::test]
    async fn nonsense_ends_the_handshake() {
        for nonsense in [vec![0; 3], vec![7; 200], vec![0; 32], Vec::new()] {
            let (mut a, b) = memory::pair(256);
            b.tx.send(nonsense.into()).await.unwrap();
            assert!(handshake(&mut a, Role::Listener, Token([1; 4])).await.is_err());
        }
    }
}
