//! The contract of every transport, through a relay that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use pigeon_link::contract::{Pair, Rig};
use pigeon_link::{Role, contract_tests};
use tokio::net::UdpSocket;

use super::{node, parts};
use crate::dial::{connect, raw_link};
use crate::transport::Parts;

struct QuicRig {
    dialler: Parts,
    listener: Parts,
    relay: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl QuicRig {
    async fn new() -> Self {
        let (dialler, listener) = (parts(1), parts(2));
        let cut = Arc::new(AtomicBool::new(false));
        let relay = relay(listener.announcement.listening(), Arc::clone(&cut)).await;
        Self { dialler, listener, relay, cut }
    }

    async fn connect(&self) -> Pair {
        let (dialled, accepted) = tokio::join!(connect(&self.dialler.endpoint, vec![self.relay]), async {
            self.listener.endpoint.accept().await.unwrap().await
        });
        let dialler = raw_link(&self.dialler.shared, dialled.unwrap(), Role::Dialler).unwrap();
        let mut listener = raw_link(&self.listener.shared, accepted.unwrap(), Role::Listener).unwrap();
        // A QUIC stream exists for the listener once something has come over it, as Hello does.
        dialler.tx.send(Bytes::from_static(b"first")).await.unwrap();
        assert_eq!(listener.rx.recv().await.unwrap(), "first");
        Pair { dialler, listener, dialler_node: node(1), listener_node: node(2) }
    }
}

impl Rig for QuicRig {
    fn pair(&self) -> BoxFuture<'_, Pair> {
        self.connect().boxed()
    }

    fn cut(&self) -> BoxFuture<'_, ()> {
        self.cut.store(true, Ordering::Relaxed);
        async {}.boxed()
    }
}

/// Passes datagrams between `to` and whoever sends to the relay, until it is cut.
async fn relay(to: SocketAddr, cut: Arc<AtomicBool>) -> SocketAddr {
    let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    back.connect(to).await.unwrap();
    let address = front.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut there, mut here) = (vec![0; 65_536], vec![0; 65_536]);
        let mut client = None;
        loop {
            tokio::select! {
                Ok((size, from)) = front.recv_from(&mut there) => {
                    client = Some(from);
                    if !cut.load(Ordering::Relaxed) {
                        let _lost = back.send(&there[..size]).await;
                    }
                }
                Ok(size) = back.recv(&mut here) => {
                    if let Some(client) = client && !cut.load(Ordering::Relaxed) {
                        let _lost = front.send_to(&here[..size], client).await;
                    }
                }
            }
        }
    });
    address
}

contract_tests! { #[tokio::test] rig = QuicRig::new().await }
