//! A connection as a transport hands it over: frames in order, nothing trusted.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::LinkMeta;

/// Frames that wait on each side of each direction of a link.
pub const FRAME_QUEUE_MAX: usize = 16;
/// How long a closing link may take to hand over what was queued.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection as a transport hands it over.
///
/// What a transport promises, and `pigeon_link::contract` tests:
/// - Frames of 1 to `FRAME_SIZE_MAX` bytes arrive whole, once and in order. Any other size ends the link.
/// - When all clones of `tx` are dropped, what was queued is still sent, then this direction ends: the peer's
///   `rx` gives everything and then `None`.
/// - When `closed` is cancelled, the same happens and the connection is closed both ways.
/// - When the connection is gone for whatever reason, `rx` ends, sends on `tx` fail and `closed` is cancelled.
///   A peer that falls silent is gone after the transport's idle timeout.
/// - A peer that does not read makes `tx` wait; what lies between is bounded.
#[derive(Debug)]
pub struct RawLink {
    /// What is known of the connection.
    pub meta: LinkMeta,
    /// Frames to the peer, capacity [`FRAME_QUEUE_MAX`].
    pub tx: mpsc::Sender<Bytes>,
    /// Frames from the peer, capacity [`FRAME_QUEUE_MAX`].
    pub rx: mpsc::Receiver<Bytes>,
    /// Cancel it to close; cancelled when the connection is gone.
    pub closed: CancellationToken,
}
