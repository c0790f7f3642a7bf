//! Noise NN: a fresh key for each link, and a hash that only its two ends share. Who the ends are is proved
//! above it, by `Auth` over that hash.

use bytes::Bytes;
use pigeon_link::Role;
use snow::{Builder, HandshakeState};

use crate::advert::Token;
use crate::bearer::Bearer;
use crate::piece::PieceError;
use crate::seal::Seal;

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
/// Pieces that a numbered bearer may bring before a handshake message: of others, or sent after it.
const EARLY_MAX: usize = 256;
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
    /// Too far ahead of what is awaited, or come before.
    #[error("piece {0} is not awaited: {1} is")]
    Number(u64, u64),
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
    let mut early = Vec::new();
    let (state, peer) = match role {
        Role::Dialler => {
            let mut state = builder.build_initiator()?;
            send(bearer, &mut state, own).await?;
            let peer = receive(bearer, &mut state, SECOND, &mut early).await?;
            (state, peer)
        }
        Role::Listener => {
            let mut state = builder.build_responder()?;
            let peer = receive(bearer, &mut state, FIRST, &mut early).await?;
            send(bearer, &mut state, own).await?;
            (state, peer)
        }
    };
    let mut binding = [0; 32];
    for (to, from) in binding.iter_mut().zip(state.get_handshake_hash()) {
        *to = *from;
    }
    let mut seal = Seal::new(state.into_stateless_transport_mode()?, bearer.numbered);
    for piece in early {
        // Those that overtook the handshake count, those of others do not.
        let _others = seal.open(&piece);
    }
    Ok(Keyed { seal, binding, peer })
}

async fn send(bearer: &Bearer, state: &mut HandshakeState, own: Token) -> Result<(), NoiseError> {
    let mut message = [0; SECOND];
    let size = state.write_message(&own.0, &mut message)?;
    let message = Bytes::copy_from_slice(message.get(..size).unwrap_or_default());
    bearer.tx.send(message).await.map_err(|_| NoiseError::Closed)
}

/// Waits for the peer's handshake message. What else a numbered bearer brings meanwhile is kept in `early`.
async fn receive(
    bearer: &mut Bearer,
    state: &mut HandshakeState,
    size: usize,
    early: &mut Vec<Bytes>,
) -> Result<Token, NoiseError> {
    loop {
        let message = bearer.rx.recv().await.ok_or(NoiseError::Closed)?;
        let mut payload = [0; SECOND];
        let error = if message.len() == size {
            match state.read_message(&message, &mut payload) {
                Ok(size) => {
                    let token = payload.get(..size).and_then(|payload| payload.try_into().ok());
                    return Ok(Token(token.ok_or(NoiseError::Size(size))?));
                }
                Err(error) => error.into(),
            }
        } else {
            NoiseError::Size(message.len())
        };
        if !bearer.numbered || early.len() == EARLY_MAX {
            return Err(error);
        }
        early.push(message);
    }
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
    async fn nonsense_ends_the_handshake() {
        for nonsense in [vec![0; 3], vec![7; 200], vec![0; 32], Vec::new()] {
            let (mut a, b) = memory::pair(256);
            b.tx.send(nonsense.into()).await.unwrap();
            assert!(handshake(&mut a, Role::Listener, Token([1; 4])).await.is_err());
        }
    }
}
