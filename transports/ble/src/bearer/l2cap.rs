//! An L2CAP connection-oriented channel as a bearer: a u16 length before each piece.

use std::io;
use std::time::Duration;

use bluer::l2cap::stream::{OwnedReadHalf, OwnedWriteHalf};
use bluer::l2cap::{FlowControl, Security, SecurityLevel, Socket, SocketAddr, Stream, StreamListener};
use bluer::{Address, AddressType};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use pigeon_link::FLUSH_TIMEOUT;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Bearer, bearer};

/// The largest piece. With its length it is one SDU of 2 KiB: a window is a few of them.
pub(crate) const PIECE_MAX: usize = 2_046;
const PREFIX: usize = 2;
/// What this side takes in one SDU.
const RECEIVE_MTU: u16 = 4_096;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 4;
/// `connect` may return before the channel is up; this often it is asked for.
const UP_POLL: Duration = Duration::from_millis(10);
/// ENOTCONN.
const NOT_CONNECTED: i32 = 107;

/// An address with its type.
pub(crate) type At = (Address, AddressType);

/// Accepts channels on one adapter.
pub(crate) struct Listener {
    listener: StreamListener,
    psm: u8,
}

impl Listener {
    /// Listens on a dynamic PSM of the kernel's choice.
    pub(crate) fn bind((address, address_type): At) -> io::Result<Self> {
        let socket = socket((address, address_type))?;
        let psm = socket.local_addr()?.psm;
        let psm = u8::try_from(psm).ok().filter(|psm| *psm >= 0x80);
        let psm = psm.ok_or_else(|| io::Error::other("the kernel gave a PSM that LE does not have"))?;
        Ok(Self { listener: socket.listen(BACKLOG)?, psm })
    }

    pub(crate) fn psm(&self) -> u8 {
        self.psm
    }

    pub(crate) async fn accept(&self) -> io::Result<(Bearer, At)> {
        let (stream, peer) = self.listener.accept().await?;
        Ok((run(stream), (peer.addr, peer.addr_type)))
    }
}

/// Opens a channel, and the connection below it where there is none.
pub(crate) async fn connect(own: At, peer: At, psm: u8) -> io::Result<Bearer> {
    let socket = socket(own)?;
    let stream = socket.connect(SocketAddr::new(peer.0, peer.1, psm.into())).await?;
    loop {
        match stream.as_ref().send_mtu() {
            Ok(_) => return Ok(run(stream)),
            Err(error) if error.raw_os_error() == Some(NOT_CONNECTED) => tokio::time::sleep(UP_POLL).await,
            Err(error) => return Err(error),
        }
    }
}

fn socket((address, address_type): At) -> io::Result<Socket<Stream>> {
    let socket = Socket::<Stream>::new_stream()?;
    socket.bind(SocketAddr::new(address, address_type, 0))?;
    // Neither pairing nor encryption below: Noise and `Auth` do not rely on either.
    socket.set_security(Security { level: SecurityLevel::Low, key_size: 0 })?;
    // Kernels that know only LE's own credits refuse to be asked for them.
    let _only_mode = socket.set_flow_control(FlowControl::Le);
    socket.set_recv_mtu(RECEIVE_MTU)?;
    Ok(socket)
}

fn run(stream: Stream) -> Bearer {
    let (front, back) = bearer(PIECE_MAX, false);
    let (reader, writer) = stream.into_split();
    let gone = CancellationToken::new();
    tokio::spawn(read(reader, back.to, back.end, gone.clone()));
    tokio::spawn(write(writer, back.from, gone));
    front
}

async fn read(
    mut stream: OwnedReadHalf,
    to: mpsc::Sender<Bytes>,
    end: CancellationToken,
    gone: CancellationToken,
) {
    let mut buffer = BytesMut::with_capacity(usize::from(RECEIVE_MTU));
    loop {
        let read = tokio::select! {
            read = stream.read_buf(&mut buffer) => read,
            () = end.cancelled() => return,
        };
        // An error says that the connection is gone, as does the end.
        if !matches!(read, Ok(1..)) || cut(&mut buffer, &to).await.is_none() {
            gone.cancel();
            return;
        }
    }
}

/// Hands over the whole pieces. `None`: nobody takes them, or what came is no piece.
async fn cut(buffer: &mut BytesMut, to: &mpsc::Sender<Bytes>) -> Option<()> {
    loop {
        let Some(prefix) = buffer.first_chunk::<PREFIX>() else { return Some(()) };
        let size = usize::from(u16::from_be_bytes(*prefix));
        if size > PIECE_MAX {
            return None;
        }
        if buffer.len() < PREFIX + size {
            return Some(());
        }
        buffer.advance(PREFIX);
        to.send(buffer.split_to(size).freeze()).await.ok()?;
    }
}

/// Ends when the bearer is dropped and what it had queued is with the kernel, or when the connection is gone.
async fn write(mut stream: OwnedWriteHalf, mut from: mpsc::Receiver<Bytes>, gone: CancellationToken) {
    let mut framed = BytesMut::with_capacity(PREFIX + PIECE_MAX);
    loop {
        let piece = tokio::select! {
            piece = from.recv() => piece,
            () = gone.cancelled() => return,
        };
        let Some(piece) = piece else { break };
        framed.clear();
        framed.put_u16(u16::try_from(piece.len()).unwrap_or(u16::MAX));
        framed.put_slice(&piece);
        let written = tokio::select! {
            written = stream.write_all(&framed) => written,
            () = gone.cancelled() => return,
        };
        if written.is_err() {
            return;
        }
    }
    let _stalled = tokio::time::timeout(FLUSH_TIMEOUT, stream.shutdown()).await;
}
