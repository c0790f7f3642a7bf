//! A gate between the bridge and its server: what the bridge says can be held back, and the connection cut.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::session::PATIENCE;

#[derive(Clone)]
struct Orders {
    closed: bool,
    /// Connections numbered below this are to be cut.
    cut_below: u64,
}

/// What was held back.
type Held = watch::Sender<Vec<u8>>;

pub struct Gate {
    pub address: SocketAddr,
    orders: watch::Sender<Orders>,
    held: watch::Receiver<Vec<u8>>,
    accepted: watch::Receiver<u64>,
}

impl Gate {
    /// An open gate before `server`.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (orders, _) = watch::channel(Orders { closed: false, cut_below: 0 });
        let (hold, held) = watch::channel(Vec::new());
        let (count, accepted) = watch::channel(0);
        let (hold, watched) = (Arc::new(hold), orders.subscribe());
        tokio::spawn(async move {
            loop {
                let (inside, _) = listener.accept().await.unwrap();
                let Ok(outside) = TcpStream::connect(server).await else { continue };
                let number = *count.borrow();
                count.send_replace(number + 1);
                tokio::spawn(serve(inside, outside, number, watched.clone(), Arc::clone(&hold)));
            }
        });
        Self { address, orders, held, accepted }
    }

    /// Holds back what the bridge says from now on.
    pub fn close(&self) {
        self.orders.send_modify(|orders| orders.closed = true);
    }

    /// Waits until the bridge has said `what` to the closed gate.
    pub async fn heard(&mut self, what: &str) {
        let said = self.held.wait_for(|held| held.windows(what.len()).any(|part| part == what.as_bytes()));
        timeout(PATIENCE, said).await.unwrap().unwrap();
    }

    /// Cuts every connection, drops what was held back, and opens.
    pub fn cut(&self) {
        let next = *self.accepted.borrow();
        self.orders.send_replace(Orders { closed: false, cut_below: next });
    }
}

async fn serve(
    inside: TcpStream,
    outside: TcpStream,
    number: u64,
    mut orders: watch::Receiver<Orders>,
    hold: Arc<Held>,
) {
    let (from_bridge, to_bridge) = inside.into_split();
    let (from_server, to_server) = outside.into_split();
    let gate = orders.clone();
    tokio::select! {
        () = forward(from_bridge, to_server, Some((gate, hold))) => {}
        () = forward(from_server, to_bridge, None) => {}
        _ = orders.wait_for(|orders| number < orders.cut_below) => {}
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    gate: Option<(watch::Receiver<Orders>, Arc<Held>)>,
) {
    let mut buffer = vec![0; 16_384];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        match &gate {
            Some((orders, hold)) if orders.borrow().closed => {
                hold.send_modify(|held| held.extend_from_slice(&buffer[..read]));
            }
            _ if to.write_all(&buffer[..read]).await.is_err() => return,
            _ => {}
        }
    }
}
