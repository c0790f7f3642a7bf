//! An authenticated link: checked frames both ways.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use pigeon_bundle::NodeKey;
use pigeon_proto::{Frame, FrameError, Hello};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{LinkMeta, RawLink};

/// Why a frame was not sent or received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The connection is gone.
    #[error("the link is closed")]
    Closed,
    /// What came is no frame, or what should go breaks a limit.
    #[error("on an authenticated link: {0}")]
    Frame(#[from] FrameError),
    /// `Hello` and `Auth` belong before the session.
    #[error("{frame} frame after the handshake: close the link with ProtocolError")]
    Handshake {
        /// Name of the frame.
        frame: &'static str,
    },
}

/// Why a frame was not queued at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrySendError {
    /// The queue is full; the frame comes back.
    #[error("the link's queue is full: the peer reads too slowly")]
    Full(Box<Frame>),
    /// It can never be sent.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// A link whose peer has proved its node key.
///
/// Dropping it, or both of its halves, sends what is queued and closes.
#[derive(Debug)]
pub struct Link {
    /// The peer's node key.
    pub peer: NodeKey,
    /// What the peer said of itself.
    pub hello: Hello,
    /// What is known of the connection.
    pub meta: LinkMeta,
    sender: LinkSender,
    receiver: LinkReceiver,
}

impl Link {
    pub(crate) fn new(raw: RawLink, peer: NodeKey, hello: Hello) -> Self {
        let RawLink { meta, tx, rx, closed } = raw;
        let receiver = LinkReceiver { rx, closed: closed.clone() };
        Self { peer, hello, meta, sender: LinkSender { tx, closed }, receiver }
    }

    /// Queues a frame, waiting for room.
    ///
    /// # Errors
    /// As [`LinkSender::send`].
    pub async fn send(&self, frame: Frame) -> Result<(), LinkError> {
        self.sender.send(frame).await
    }

    /// The next frame, or `None` when the peer has ended the link.
    ///
    /// # Errors
    /// As [`LinkReceiver::recv`].
    pub async fn recv(&mut self) -> Result<Option<Frame>, LinkError> {
        self.receiver.recv().await
    }

    /// Sends what is queued, then closes both ways.
    pub fn close(&self) {
        self.sender.close();
    }

    /// Cancelled when the link is closed; cancelling it closes.
    #[must_use]
    pub fn closed(&self) -> CancellationToken {
        self.sender.closed()
    }

    /// The two directions, for two tasks.
    #[must_use]
    pub fn split(self) -> (LinkSender, LinkReceiver) {
        (self.sender, self.receiver)
    }
}

/// The direction to the peer. When all clones are dropped, this direction ends.
#[derive(Debug, Clone)]
pub struct LinkSender {
    tx: mpsc::Sender<Bytes>,
    closed: CancellationToken,
}

impl LinkSender {
    /// Queues a frame, waiting for room.
    ///
    /// # Errors
    /// The link is closed, or the frame breaks a limit (it is not sent then).
    pub async fn send(&self, frame: Frame) -> Result<(), LinkError> {
        check(&frame)?;
        self.tx.send(frame.encode()).await.map_err(|_| LinkError::Closed)
    }

    /// Queues a frame if there is room at once.
    ///
    /// # Errors
    /// The queue is full, the link is closed, or the frame breaks a limit.
    pub fn try_send(&self, frame: Frame) -> Result<(), TrySendError> {
        check(&frame)?;
        match self.tx.try_reserve() {
            Ok(permit) => {
                permit.send(frame.encode());
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(())) => Err(TrySendError::Full(Box::new(frame))),
            Err(mpsc::error::TrySendError::Closed(())) => Err(LinkError::Closed.into()),
        }
    }

    /// Sends what is queued, then closes both ways.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Cancelled when the link is closed; cancelling it closes.
    #[must_use]
    pub fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }
}

/// The direction from the peer.
#[derive(Debug)]
pub struct LinkReceiver {
    rx: mpsc::Receiver<Bytes>,
    closed: CancellationToken,
}

impl LinkReceiver {
    /// The next frame, or `None` when the peer has ended the link. Safe to drop while it waits.
    ///
    /// # Errors
    /// What the peer sent breaks the protocol: say goodbye and close.
    pub async fn recv(&mut self) -> Result<Option<Frame>, LinkError> {
        let Some(bytes) = self.rx.recv().await else { return Ok(None) };
        let frame = Frame::decode(bytes)?;
        not_handshake(&frame)?;
        Ok(Some(frame))
    }

    /// Cancelled when the link is closed; cancelling it closes.
    #[must_use]
    pub fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }
}

fn check(frame: &Frame) -> Result<(), LinkError> {
    not_handshake(frame)?;
    Ok(frame.check()?)
}

fn not_handshake(frame: &Frame) -> Result<(), LinkError> {
    match frame {
        Frame::Hello(_) | Frame::Auth(_) => Err(LinkError::Handshake { frame: frame.name() }),
        _ => Ok(()),
    }
}
