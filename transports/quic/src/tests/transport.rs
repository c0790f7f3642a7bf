//! Dialling and accepting, without discovery.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pigeon_bundle::NodeSecret;
use pigeon_link::contract::{hello, step};
use pigeon_link::{
    AddressClass, DialError, HandshakeError, Link, PeerAddress, Role, Transport as _, TransportEvent,
    TransportKind,
};
use pigeon_proto::{Frame, GoodbyeReason};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use quinn::ClientConfig;

use super::{config, foreign_client, node};
use crate::discovery::Sighting;
use crate::tls::{self, SERVER_NAME};
use crate::{HANDSHAKES_PER_ADDRESS_MAX, QuicConfig, QuicError, QuicTransport};

type Started = (Arc<QuicTransport>, mpsc::Receiver<TransportEvent>);

async fn start_with(config: QuicConfig, node: NodeSecret) -> Started {
    let started = QuicTransport::start(config, node, || hello(true), CancellationToken::new());
    let (transport, mut events) = started.unwrap();
    assert!(matches!(step("start", events.recv()).await, Some(TransportEvent::Ready)));
    (transport, events)
}

async fn start(number: u8) -> Started {
    start_with(config(), node(number)).await
}

/// As if mDNS had resolved it.
fn sight(transport: &QuicTransport, candidates: &[SocketAddr]) -> PeerAddress {
    let sighting = Sighting { candidates: candidates.to_vec(), carriage_open: true };
    transport.shared.sightings.seen("peer", sighting);
    PeerAddress { transport: TransportKind::Quic, token: "peer".into() }
}

async fn incoming(events: &mut mpsc::Receiver<TransportEvent>) -> Link {
    match step("incoming link", events.recv()).await {
        Some(TransportEvent::Incoming(link)) => link,
        other => panic!("{other:?}"),
    }
}

/// A loopback port where nobody listens; held, so that nobody will.
fn dead() -> (std::net::UdpSocket, SocketAddr) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn a_dial_gives_both_sides_an_authenticated_link() {
    let ((a, _), (b, mut at_b)) = (start(1).await, start(2).await);
    let peer = sight(&a, &[b.listening()]);
    let mut link = step("dial", a.dial(&peer)).await.unwrap();
    let other = incoming(&mut at_b).await;
    assert_eq!((link.peer, other.peer), (node(2).key(), node(1).key()));
    assert_eq!((link.meta.role, other.meta.role), (Role::Dialler, Role::Listener));
    assert_eq!(link.meta.binding, other.meta.binding);
    assert_eq!(other.meta.address_class, AddressClass::Ipv4([127, 0, 0, 1]));
    assert_eq!(other.meta.remote, a.listening().to_string());
    other.send(Frame::Goodbye(GoodbyeReason::Done)).await.unwrap();
    assert_eq!(step("frame", link.recv()).await, Ok(Some(Frame::Goodbye(GoodbyeReason::Done))));
}

#[tokio::test]
async fn a_dual_stack_socket_shows_ipv4_as_such() {
    let any = QuicConfig { listen: QuicConfig::default().listen, ..config() };
    let ((a, _), (b, mut at_b)) = (start_with(any.clone(), node(1)).await, start_with(any, node(2)).await);
    let port = b.listening().port();
    for (address, class) in [
        (format!("127.0.0.1:{port}"), AddressClass::Ipv4([127, 0, 0, 1])),
        (format!("[::1]:{port}"), AddressClass::Ipv6Net([0; 8])),
    ] {
        let peer = sight(&a, &[address.parse().unwrap()]);
        let link = step("dial", a.dial(&peer)).await.unwrap();
        let other = incoming(&mut at_b).await;
        assert_eq!((link.meta.address_class, other.meta.address_class), (class, class));
        assert_eq!(link.meta.remote, address);
    }
}

#[tokio::test]
async fn a_connection_to_itself_is_refused() {
    let (a, _events) = start(1).await;
    let peer = sight(&a, &[a.listening()]);
    let outcome = step("dial", a.dial(&peer)).await;
    assert!(matches!(outcome, Err(DialError::Handshake(HandshakeError::OwnKey))), "{outcome:?}");
}

#[tokio::test]
async fn a_dead_address_does_not_keep_the_next_from_being_tried() {
    let patient = || QuicConfig { idle_timeout: Duration::from_secs(600), ..config() };
    let ((a, _), (c, _)) = (start_with(patient(), node(1)).await, start_with(patient(), node(3)).await);
    let (b, mut at_b) = start(2).await;
    let (_held, dead) = dead();
    let (both, only_dead) = (sight(&a, &[dead, b.listening()]), sight(&c, &[dead]));
    let link = tokio::select! {
        link = step("dial", a.dial(&both)) => link.unwrap(),
        _ = c.dial(&only_dead) => panic!("the next address was not tried before the first had failed"),
    };
    assert_eq!(link.peer, node(2).key());
    incoming(&mut at_b).await;
}

#[tokio::test]
async fn a_peer_that_does_not_answer_is_named_with_its_addresses() {
    let (a, _events) = start(1).await;
    let (_held, dead) = dead();
    let peer = sight(&a, &[dead]);
    let error = step("dial", a.dial(&peer)).await.unwrap_err();
    assert!(matches!(error, DialError::Unreachable { .. }));
    assert!(error.to_string().contains(&dead.to_string()), "{error}");
}

/// Class E is on nobody's link: not a single packet may go there because somebody announced it.
#[tokio::test]
async fn an_address_off_the_link_is_not_dialled() {
    let (a, _events) = start(1).await;
    let peer = sight(&a, &["240.0.0.1:9".parse().unwrap(), "[2001:db8::1]:9".parse().unwrap()]);
    let error = step("dial", a.dial(&peer)).await.unwrap_err();
    assert!(error.to_string().contains("no address on this link"), "{error}");
}

#[tokio::test]
async fn a_peer_out_of_sight_is_unknown() {
    let (a, _events) = start(1).await;
    let peer = PeerAddress { transport: TransportKind::Quic, token: "peer".into() };
    assert!(matches!(a.dial(&peer).await, Err(DialError::Unknown { .. })));
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused_until_there_is_room() {
    let few = QuicConfig { links_max: 2, ..config() };
    let ((a, _), (b, mut at_b)) = (start(1).await, start_with(few, node(2)).await);
    let peer = sight(&a, &[b.listening()]);
    let mut links = Vec::new();
    for _ in 0..2 {
        links.push((step("dial", a.dial(&peer)).await.unwrap(), incoming(&mut at_b).await));
    }
    let refused = step("dial", a.dial(&peer)).await;
    assert!(matches!(refused, Err(DialError::Unreachable { .. })), "{refused:?}");
    links.pop();
    let again = async {
        loop {
            if let Ok(link) = a.dial(&peer).await {
                return link;
            }
        }
    };
    step("room again", again).await;
}

#[tokio::test]
async fn shutdown_sends_what_is_queued_and_ends_everything() {
    let ((a, _), (b, mut at_b)) = (start(1).await, start(2).await);
    let peer = sight(&a, &[b.listening()]);
    let link = step("dial", a.dial(&peer)).await.unwrap();
    let mut other = incoming(&mut at_b).await;
    link.send(Frame::Goodbye(GoodbyeReason::Shutdown)).await.unwrap();
    step("shutdown", a.shutdown()).await;
    assert_eq!(step("frame", other.recv()).await, Ok(Some(Frame::Goodbye(GoodbyeReason::Shutdown))));
    assert_eq!(step("end", other.recv()).await, Ok(None));
    assert!(link.closed().is_cancelled());
    assert!(matches!(a.dial(&peer).await, Err(DialError::Shutdown { .. })));
    // The port is free: nothing holds the socket any more.
    drop((a, link));
    step("shutdown of the other", b.shutdown()).await;
}

#[tokio::test]
async fn cancelling_the_token_shuts_down() {
    let cancel = CancellationToken::new();
    let (a, _events) = QuicTransport::start(config(), node(1), || hello(true), cancel.clone()).unwrap();
    let (b, mut at_b) = start(2).await;
    let peer = sight(&a, &[b.listening()]);
    let link = step("dial", a.dial(&peer)).await.unwrap();
    let mut other = incoming(&mut at_b).await;
    cancel.cancel();
    assert_eq!(step("end", other.recv()).await, Ok(None));
    step("own end", link.closed().cancelled()).await;
}

#[tokio::test]
async fn a_port_in_use_is_named_with_a_remedy() {
    let (held, address) = dead();
    let taken = QuicConfig { listen: address, ..config() };
    let started = QuicTransport::start(taken, node(1), || hello(true), CancellationToken::new());
    let error = started.map(|_| ()).unwrap_err();
    assert!(matches!(error, QuicError::Bind { .. }));
    assert!(
        error.to_string().contains(&address.to_string()) && error.to_string().contains("another"),
        "{error}"
    );
    drop(held);
}

/// Peers that connect and then say nothing keep out only who shares their address, and only for a while.
#[tokio::test]
async fn silent_peers_do_not_keep_others_out() {
    let (b, mut at_b) = start(2).await;
    let strangers = foreign_client(ClientConfig::new(Arc::new(tls::client(&node(9)).unwrap())));
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKES_PER_ADDRESS_MAX {
        silent.push(step("connect", strangers.connect(b.listening(), SERVER_NAME).unwrap()).await.unwrap());
    }
    let (same, _) = start(1).await;
    let peer = sight(&same, &[b.listening()]);
    let refused = step("dial", same.dial(&peer)).await;
    assert!(matches!(refused, Err(DialError::Unreachable { .. })), "{refused:?}");
    let elsewhere = QuicConfig { listen: "127.0.0.2:0".parse().unwrap(), ..config() };
    let (other, _) = start_with(elsewhere, node(3)).await;
    let peer = sight(&other, &[b.listening()]);
    assert_eq!(step("dial", other.dial(&peer)).await.unwrap().peer, node(2).key());
    assert_eq!(incoming(&mut at_b).await.peer, node(3).key());
    for connection in silent {
        step("silence is ended", connection.closed()).await;
    }
    let peer = sight(&same, &[b.listening()]);
    step("dial", same.dial(&peer)).await.unwrap();
}

/// Shutting down one transport, as for a key rotation, leaves the caller's token and the port's next owner alone.
#[tokio::test]
async fn shutdown_is_of_this_transport_alone() {
    let cancel = CancellationToken::new();
    let (a, _events) = QuicTransport::start(config(), node(1), || hello(true), cancel.clone()).unwrap();
    let at = a.listening();
    step("shutdown", a.shutdown()).await;
    assert!(!cancel.is_cancelled());
    drop(a);
    let again = QuicConfig { listen: at, ..config() };
    let start = async {
        loop {
            // The endpoint's task lets go of the socket in its own time.
            if let Ok(started) = QuicTransport::start(again.clone(), node(2), || hello(true), cancel.clone())
            {
                return started;
            }
            tokio::task::yield_now().await;
        }
    };
    step("the same port under another key", start).await;
}

#[tokio::test]
async fn dropping_the_transport_ends_it() {
    let (a, mut at_a) = start(1).await;
    let (b, mut at_b) = start(2).await;
    let link = step("dial", a.dial(&sight(&a, &[b.listening()]))).await.unwrap();
    let mut other = incoming(&mut at_b).await;
    drop(a);
    assert_eq!(step("end", other.recv()).await, Ok(None));
    step("own end", link.closed().cancelled()).await;
    drop(link);
    assert!(step("events end", at_a.recv()).await.is_none());
}
