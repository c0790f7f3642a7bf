//! One connection as a stream of frames: a u32 length before each, on one bidirectional stream.

use std::future::Future;
use std::pin::{Pin, pin};

use bytes::{Bytes, BytesMut};
use pigeon_link::{FLUSH_TIMEOUT, Role};
use pigeon_proto::{FRAME_SIZE_MAX, Framer, encode_into};
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt, WriteError};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Bytes read or written at a time.
const BATCH_BYTES: usize = FRAME_SIZE_MAX;

/// What the peer is told when a connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// Nothing left to say.
    Done,
    /// What came, or should go, was no frame.
    Frame,
}

impl Close {
    fn code(self) -> VarInt {
        match self {
            Self::Done => VarInt::from_u32(0),
            Self::Frame => VarInt::from_u32(1),
        }
    }
}

/// A connection and the ends of its queues that face the network.
pub(crate) struct Driver {
    pub(crate) connection: Connection,
    pub(crate) role: Role,
    /// Frames to the peer.
    pub(crate) from: mpsc::Receiver<Bytes>,
    /// Frames from the peer.
    pub(crate) to: mpsc::Sender<Bytes>,
    pub(crate) closed: CancellationToken,
}

impl Driver {
    /// Carries frames until the link is over, as [`pigeon_link::RawLink`] promises. Gives the reason if the
    /// connection was lost rather than closed here.
    pub(crate) async fn run(self) -> Option<ConnectionError> {
        let Self { connection, role, from, to, closed } = self;
        let close = carry(&connection, role, from, to, &closed).await;
        let lost = connection.close_reason();
        connection.close(close.code(), b"");
        closed.cancel();
        lost
    }
}

/// How the direction to the peer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// All senders are gone and everything is with the peer, or the peer reads no more.
    Drained,
    /// The link is to close and everything is with the peer.
    Closed,
    /// A frame of a size that no frame has.
    BadFrame,
}

/// How the direction from the peer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// The peer has finished, or nobody here reads any more.
    Ended,
    /// The connection is gone.
    Lost,
    /// What came is no stream of frames.
    BadFrame,
}

async fn carry(
    connection: &Connection,
    role: Role,
    from: mpsc::Receiver<Bytes>,
    to: mpsc::Sender<Bytes>,
    closed: &CancellationToken,
) -> Close {
    let streams = tokio::select! {
        streams = open(connection, role) => streams,
        () = closed.cancelled() => return Close::Done,
    };
    let Ok((send, receive)) = streams else { return Close::Done };
    let mut writer = Box::pin(write(send, from, closed.clone()));
    let mut reader = pin!(read(receive, to));
    let mut reading = true;
    loop {
        tokio::select! {
            written = &mut writer => match written {
                Written::Drained => break,
                Written::Closed => return Close::Done,
                Written::BadFrame => return Close::Frame,
            },
            read = &mut reader, if reading => match read {
                Read::Ended => reading = false,
                Read::Lost => return Close::Done,
                Read::BadFrame => return Close::Frame,
            },
            _ = connection.closed() => {
                drop(writer);
                return last_frames(reader, reading).await;
            }
        }
    }
    // Drained: the other direction may go on, with nothing left to flush.
    drop(writer);
    if reading {
        tokio::select! {
            read = reader => if read == Read::BadFrame { return Close::Frame },
            () = closed.cancelled() => {}
        }
    }
    Close::Done
}

/// The connection is gone; what had arrived before is still handed over, if somebody takes it.
async fn last_frames(reader: Pin<&mut impl Future<Output = Read>>, reading: bool) -> Close {
    if reading {
        let _stalled = timeout(FLUSH_TIMEOUT, reader).await;
    }
    Close::Done
}

/// "The dialler opens the one bidirectional stream."
async fn open(connection: &Connection, role: Role) -> Result<(SendStream, RecvStream), ConnectionError> {
    match role {
        Role::Dialler => connection.open_bi().await,
        Role::Listener => connection.accept_bi().await,
    }
}

async fn write(
    mut stream: SendStream,
    mut from: mpsc::Receiver<Bytes>,
    closed: CancellationToken,
) -> Written {
    let outcome = tokio::select! {
        outcome = write_queue(&mut stream, &mut from, &closed) => outcome,
        () = flush_deadline(&closed) => return Written::Closed,
    };
    if outcome == Written::BadFrame {
        return outcome;
    }
    finish(&mut stream).await;
    outcome
}

/// A peer that does not read cannot hold a closing link open.
async fn flush_deadline(closed: &CancellationToken) {
    closed.cancelled().await;
    sleep(FLUSH_TIMEOUT).await;
}

/// Writes frames until all senders are gone, or, once the link is to close, until the queue is empty.
async fn write_queue(
    stream: &mut SendStream,
    from: &mut mpsc::Receiver<Bytes>,
    closed: &CancellationToken,
) -> Written {
    let mut batch = BytesMut::with_capacity(BATCH_BYTES);
    let mut closing = false;
    loop {
        let frame = tokio::select! {
            biased;
            () = closed.cancelled(), if !closing => {
                closing = true;
                from.close();
                continue;
            }
            frame = from.recv() => frame,
        };
        let Some(frame) = frame else { return if closing { Written::Closed } else { Written::Drained } };
        let mut fits = encode_into(&frame, &mut batch).is_ok();
        // What else is waiting goes along: one write for many small frames.
        while fits && batch.len() < BATCH_BYTES {
            let Ok(frame) = from.try_recv() else { break };
            fits = encode_into(&frame, &mut batch).is_ok();
        }
        if !fits {
            return Written::BadFrame;
        }
        match stream.write_chunk(batch.split().freeze()).await {
            Ok(()) => {}
            // The peer's reader is gone; its writer may still have something to say.
            Err(WriteError::Stopped(_)) => return Written::Drained,
            // Whoever waits for the connection's end sees why.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Waits until the peer has everything: closing the connection would discard what is under way.
async fn finish(stream: &mut SendStream) {
    if stream.finish().is_ok() {
        let _unacknowledged = timeout(FLUSH_TIMEOUT, stream.stopped()).await;
    }
}

async fn read(mut stream: RecvStream, to: mpsc::Sender<Bytes>) -> Read {
    let mut framer = Framer::new();
    loop {
        let chunk = tokio::select! {
            chunk = stream.read_chunk(BATCH_BYTES, true) => chunk,
            () = to.closed() => return stop(&mut stream),
        };
        match chunk {
            Ok(Some(chunk)) => framer.push(&chunk.bytes),
            Ok(None) if framer.is_at_boundary() => return Read::Ended,
            Ok(None) => return Read::BadFrame,
            Err(_) => return Read::Lost,
        }
        loop {
            match framer.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    if to.send(frame).await.is_err() {
                        return stop(&mut stream);
                    }
                }
                Err(_) => return Read::BadFrame,
            }
        }
    }
}

/// Tells the peer that nobody reads any more.
fn stop(stream: &mut RecvStream) -> Read {
    // Fails only where the stream is over anyway.
    let _over = stream.stop(VarInt::from_u32(0));
    Read::Ended
}
