//! A bearer within the process, for tests: it loses nothing until it is cut.

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Bearer, bearer};

/// Two connected bearers.
pub(crate) fn pair(piece_max: usize) -> (Bearer, Bearer) {
    cuttable(piece_max, &CancellationToken::new())
}

/// Two bearers; once `silence` is cancelled nothing crosses, and neither side is told.
pub(crate) fn cuttable(piece_max: usize, silence: &CancellationToken) -> (Bearer, Bearer) {
    connected(piece_max, silence, None)
}

/// The same, as GATT is: what is under way at once comes in an order of the seed's choice.
pub(crate) fn disordered(piece_max: usize, silence: &CancellationToken, seed: u64) -> (Bearer, Bearer) {
    connected(piece_max, silence, Some(seed))
}

fn connected(piece_max: usize, silence: &CancellationToken, seed: Option<u64>) -> (Bearer, Bearer) {
    let ((a, back_a), (b, back_b)) = (bearer(piece_max, seed.is_some()), bearer(piece_max, seed.is_some()));
    let ends = [back_a.end, back_b.end];
    let air = |purpose| Air {
        silence: silence.clone(),
        order: seed.map(|s| ChaCha8Rng::seed_from_u64(s ^ purpose)),
    };
    tokio::spawn(carry(back_a.from, back_b.to, ends.clone(), air(0)));
    tokio::spawn(carry(back_b.from, back_a.to, ends, air(1)));
    (a, b)
}

/// What one direction goes through.
struct Air {
    silence: CancellationToken,
    order: Option<ChaCha8Rng>,
}

async fn carry(
    mut from: mpsc::Receiver<Bytes>,
    to: mpsc::Sender<Bytes>,
    ends: [CancellationToken; 2],
    mut air: Air,
) {
    let [a, b] = ends;
    let both = async {
        while let Some(piece) = from.recv().await {
            let mut under_way = vec![piece];
            while let Some(order) = air.order.as_mut()
                && let Ok(piece) = from.try_recv()
            {
                let at = order.next_u32() as usize % (under_way.len() + 1);
                under_way.insert(at, piece);
            }
            for piece in under_way {
                // As a radio does: it takes what it is given, and nobody hears it.
                if !air.silence.is_cancelled() && to.send(piece).await.is_err() {
                    return;
                }
            }
        }
        // What was sent is still read; then the connection is gone for both.
    };
    tokio::select! {
        () = both => {}
        () = async { tokio::join!(a.cancelled(), b.cancelled()); } => {}
    }
}
