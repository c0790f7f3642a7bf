//! Ordered pieces both ways: what a link runs on, whatever carries it.

pub(crate) mod gatt_client;
pub(crate) mod gatt_server;
pub(crate) mod l2cap;
#[cfg(test)]
pub(crate) mod memory;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Pieces that wait on each side of each direction. Few: what waits here is sent in vain when a link breaks.
pub(crate) const PIECE_QUEUE_MAX: usize = 4;

/// An open connection. Dropping it closes.
pub(crate) struct Bearer {
    /// The largest piece it carries.
    pub(crate) piece_max: usize,
    /// Whether pieces may come in another order, and pieces of others among them, as over GATT: each is numbered then.
    pub(crate) numbered: bool,
    /// Pieces to the peer. Fails when the connection is gone.
    pub(crate) tx: mpsc::Sender<Bytes>,
    /// Pieces from the peer. Ends when the connection is gone.
    pub(crate) rx: mpsc::Receiver<Bytes>,
    /// Ends the tasks behind it.
    pub(crate) _end: DropGuard,
}

/// The side of a bearer that faces the radio.
pub(crate) struct Backend {
    /// Pieces to send. Ends when the bearer is dropped.
    pub(crate) from: mpsc::Receiver<Bytes>,
    /// Pieces that came.
    pub(crate) to: mpsc::Sender<Bytes>,
    /// Cancelled when the bearer is dropped.
    pub(crate) end: CancellationToken,
}

/// Both sides of a new bearer.
pub(crate) fn bearer(piece_max: usize, numbered: bool) -> (Bearer, Backend) {
    let (tx, from) = mpsc::channel(PIECE_QUEUE_MAX);
    let (to, rx) = mpsc::channel(PIECE_QUEUE_MAX);
    let end = CancellationToken::new();
    (Bearer { piece_max, numbered, tx, rx, _end: end.clone().drop_guard() }, Backend { from, to, end })
}
