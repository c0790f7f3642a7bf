//! A bearer within the process, for tests: it loses nothing until it is cut.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Bearer, bearer};

/// Two connected bearers.
pub(crate) fn pair(piece_max: usize) -> (Bearer, Bearer) {
    cuttable(piece_max, &CancellationToken::new())
}

/// Two bearers; once `silence` is cancelled nothing crosses, and neither side is told.
pub(crate) fn cuttable(piece_max: usize, silence: &CancellationToken) -> (Bearer, Bearer) {
    let ((a, back_a), (b, back_b)) = (bearer(piece_max, false), bearer(piece_max, false));
    tokio::spawn(carry(back_a.from, back_b.to, [back_a.end.clone(), back_b.end.clone()], silence.clone()));
    tokio::spawn(carry(back_b.from, back_a.to, [back_a.end, back_b.end], silence.clone()));
    (a, b)
}

async fn carry(
    mut from: mpsc::Receiver<Bytes>,
    to: mpsc::Sender<Bytes>,
    ends: [CancellationToken; 2],
    silence: CancellationToken,
) {
    let [a, b] = ends;
    let both = async {
        while let Some(piece) = from.recv().await {
            if silence.is_cancelled() {
                // As a radio does: it takes what it is given, and nobody hears it.
                continue;
            }
            if to.send(piece).await.is_err() {
                return;
            }
        }
        // What was sent is still read; then the connection is gone for both.
    };
    tokio::select! {
        () = both => {}
        () = async { tokio::join!(a.cancelled(), b.cancelled()); } => {}
    }
}
