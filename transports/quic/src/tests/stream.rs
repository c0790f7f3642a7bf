//! Peers that speak QUIC and TLS as they should, and then something else.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use pigeon_link::contract::step;
use pigeon_link::{RawLink, Role};
use quinn::{ClientConfig, Connection, ConnectionError, SendStream};

use super::{config, foreign_client, handshake, node, parts_with};
use crate::QuicConfig;
use crate::dial::raw_link;
use crate::tls;
use crate::transport::Parts;

/// A link at this node, and the peer's connection below frames.
async fn victim() -> (RawLink, Connection, Parts) {
    victim_with(config()).await
}

async fn victim_with(config: QuicConfig) -> (RawLink, Connection, Parts) {
    let listener = parts_with(config, 2);
    let client = foreign_client(ClientConfig::new(Arc::new(tls::client(&node(1)).unwrap())));
    let at = listener.announcement.listening();
    let (dialled, accepted) = handshake(&client, &listener.endpoint, at).await.unwrap();
    let link = raw_link(&listener.shared, accepted, Role::Listener).unwrap();
    (link, dialled, listener)
}

async fn send(peer: &Connection, bytes: &[u8]) -> SendStream {
    let (mut stream, _) = peer.open_bi().await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

async fn is_told_why(peer: &Connection) {
    match step("peer is told", peer.closed()).await {
        ConnectionError::ApplicationClosed(close) => assert_eq!(close.error_code.into_inner(), 1),
        other => panic!("{other}"),
    }
}

/// The twin of the tests below: the same way of sending, with a frame.
#[tokio::test]
async fn a_frame_arrives() {
    let (mut link, peer, _at) = victim().await;
    let _stream = send(&peer, b"\0\0\0\x02ab").await;
    assert_eq!(step("frame", link.rx.recv()).await.unwrap(), "ab");
}

#[tokio::test]
async fn announced_oversize_and_empty_frames_close_the_link() {
    for prefix in [[0, 1, 0, 1], [0xff; 4], [0; 4]] {
        let (mut link, peer, _at) = victim().await;
        let _stream = send(&peer, &prefix).await;
        assert!(step("link ends", link.rx.recv()).await.is_none());
        is_told_why(&peer).await;
        step("link is closed", link.closed.cancelled()).await;
    }
}

#[tokio::test]
async fn a_stream_that_ends_within_a_frame_closes_the_link() {
    let (mut link, peer, _at) = victim().await;
    let mut stream = send(&peer, b"\0\0\0\x05abc").await;
    stream.finish().unwrap();
    assert!(step("link ends", link.rx.recv()).await.is_none());
    is_told_why(&peer).await;
}

/// A link with nothing to say stays: its peer hears from it now and then.
#[tokio::test]
async fn a_quiet_link_is_kept_alive() {
    // Far more than the few pings by which QUIC finds out how large packets may be.
    const PINGS: u64 = 40;
    let (link, peer, _at) =
        victim_with(QuicConfig { keep_alive: Duration::from_millis(30), ..config() }).await;
    let mut look = tokio::time::interval(Duration::from_millis(10));
    let heard = async {
        while peer.stats().frame_rx.ping < PINGS {
            assert_eq!(peer.close_reason(), None);
            look.tick().await;
        }
    };
    step("signs of life", heard).await;
    assert!(!link.closed.is_cancelled());
}

/// One stream, no others, no datagrams: a peer cannot spread over more memory.
#[tokio::test]
async fn there_is_one_stream_and_nothing_else() {
    let (mut link, peer, _at) = victim().await;
    let _stream = send(&peer, b"\0\0\0\x02ab").await;
    step("frame", link.rx.recv()).await.unwrap();
    assert!(peer.open_bi().now_or_never().is_none(), "a second stream");
    assert!(peer.open_uni().now_or_never().is_none(), "a one-way stream");
    assert_eq!(peer.max_datagram_size(), None);
}
