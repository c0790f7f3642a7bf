//! Discovery between real network namespaces: announcing, finding, losing, and interfaces that come and go.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use pigeon_bundle::NodeSecret;
use pigeon_harness::netns::{Host, Interface, World};
use pigeon_harness::require_root;
use pigeon_link::{DialError, DutyCycle, Link, PeerAddress, Transport as _, TransportEvent};
use pigeon_proto::{Frame, GoodbyeReason, Hello};
use pigeon_quic::{QuicConfig, QuicTransport};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Far below the two minutes after which mDNS forgets a silent neighbour by itself.
const DEADLINE: Duration = Duration::from_secs(40);

/// A node on a host. Its runtime's threads were made in the host's namespace and stay there.
struct Node {
    number: u8,
    runtime: Runtime,
    transport: Arc<QuicTransport>,
    events: mpsc::Receiver<TransportEvent>,
}

fn secret(number: u8) -> NodeSecret {
    NodeSecret::from_secret_bytes(&[number; 32])
}

fn hello() -> Hello {
    Hello { version: 1, carriage_open: true, clock_s: None, bundle_size_max: 98_304 }
}

impl Node {
    fn start(host: &Host, number: u8, config: QuicConfig) -> Self {
        Self::begin(host, number, config).ready()
    }

    fn begin(host: &Host, number: u8, config: QuicConfig) -> Self {
        let build = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = host.run(build).unwrap().unwrap();
        let start =
            async move { QuicTransport::start(config, secret(number), hello, CancellationToken::new()) };
        let (transport, events) = runtime.block_on(runtime.spawn(start)).unwrap().unwrap();
        Self { number, runtime, transport, events }
    }

    fn ready(mut self) -> Self {
        match self.next("ready") {
            TransportEvent::Ready => self,
            other => panic!("{other:?}"),
        }
    }

    fn problem(&mut self) -> String {
        match self.next("a problem") {
            TransportEvent::Problem(problem) => problem,
            other => panic!("{other:?}"),
        }
    }

    fn next(&mut self, what: &str) -> TransportEvent {
        let number = self.number;
        let event = self.runtime.block_on(async { timeout(DEADLINE, self.events.recv()).await });
        event.unwrap_or_else(|_| panic!("node {number}, within {DEADLINE:?}: {what}")).unwrap()
    }

    /// An event, if one comes soon.
    fn within(&mut self, time: Duration) -> Option<TransportEvent> {
        self.runtime.block_on(async { timeout(time, self.events.recv()).await }).ok().flatten()
    }

    /// The next sighting: its address, whether to dial at once, whether carriage is open.
    fn seen(&mut self) -> (PeerAddress, bool, bool) {
        match self.next("a sighting") {
            TransportEvent::Seen { peer, dial_first, carriage_open, .. } => (peer, dial_first, carriage_open),
            other => panic!("{other:?}"),
        }
    }

    /// Until `peer` is lost; it may be seen with other addresses before.
    fn lost(&mut self, peer: &PeerAddress) {
        loop {
            match self.next("the loss") {
                TransportEvent::Lost { peer: lost } => return assert_eq!(&lost, peer),
                TransportEvent::Seen { peer: seen, .. } => assert_eq!(&seen, peer, "nobody else is there"),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Until a link comes in; the dialler may be seen with other addresses before.
    fn incoming(&mut self) -> Link {
        loop {
            match self.next("an incoming link") {
                TransportEvent::Incoming(link) => return link,
                TransportEvent::Seen { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn dial(&self, peer: &PeerAddress) -> Result<Link, DialError> {
        let (transport, peer) = (Arc::clone(&self.transport), peer.clone());
        self.runtime.block_on(self.runtime.spawn(async move { transport.dial(&peer).await })).unwrap()
    }

    fn shutdown(&self) {
        let transport = Arc::clone(&self.transport);
        self.runtime.block_on(self.runtime.spawn(async move { transport.shutdown().await })).unwrap();
    }

    fn recv(&self, link: &mut Link) -> Option<Frame> {
        self.runtime.block_on(async { timeout(DEADLINE, link.recv()).await }).unwrap().unwrap()
    }
}

/// Two hosts on a street, each with its interface there.
struct Street {
    // Dropped in this order.
    near: (Host, Interface),
    far: (Host, Interface),
    _world: World,
}

impl Street {
    fn new() -> Self {
        let world = World::new();
        let segment = world.segment("street").unwrap();
        let end = |name, address| {
            let host = world.host(name).unwrap();
            let interface = host.attach(&segment, address).unwrap();
            (host, interface)
        };
        Self { near: end("a", "10.1.0.1/24"), far: end("b", "10.1.0.2/24"), _world: world }
    }

    /// A node at each end.
    fn nodes(&self, config: &QuicConfig) -> (Node, Node) {
        (Node::start(&self.near.0, 1, config.clone()), Node::start(&self.far.0, 2, config.clone()))
    }
}

/// A frame goes over, so the link works.
fn works(dialler: &Node, link: &Link, listener: &Node, other: &mut Link) {
    assert_eq!((link.peer, other.peer), (secret(listener.number).key(), secret(dialler.number).key()));
    let frame = Frame::Goodbye(GoodbyeReason::Done);
    dialler.runtime.block_on(link.send(frame.clone())).unwrap();
    assert_eq!(listener.recv(other), Some(frame));
}

/// Links that nothing but a poke or the peer ends within the deadline.
fn patient() -> QuicConfig {
    QuicConfig { idle_timeout: Duration::from_secs(600), ..QuicConfig::default() }
}

#[test]
fn neighbours_find_each_other_link_and_part() {
    require_root!();
    let street = Street::new();
    let (mut a, mut b) = street.nodes(&QuicConfig::default());

    let (b_at_a, a_first, open) = a.seen();
    let (a_at_b, b_first, _) = b.seen();
    assert_ne!(a_first, b_first, "exactly one side dials at once");
    assert_eq!(a_first, a_at_b.token > b_at_a.token, "the one with the greater name");
    assert!(open);
    let link = a.dial(&b_at_a).unwrap();
    let mut other = b.incoming();
    works(&a, &link, &b, &mut other);
    // And the other way round: both are announced and both accept.
    let back = b.dial(&a_at_b).unwrap();
    let mut other_back = a.incoming();
    works(&b, &back, &a, &mut other_back);

    b.transport.set_carriage_open(false);
    loop {
        let (peer, _, open) = a.seen();
        assert_eq!(peer, b_at_a, "own announcements are not sightings");
        if !open {
            break;
        }
    }
    b.shutdown();
    a.lost(&b_at_a);
    assert!(matches!(a.dial(&b_at_a), Err(DialError::Unknown { .. })));
    let mut link = link;
    assert_eq!(a.recv(&mut link), None, "shutdown closes links");
}

#[test]
fn a_node_that_saves_its_battery_is_gone_and_comes_back() {
    require_root!();
    let street = Street::new();
    let (mut a, mut b) = street.nodes(&QuicConfig::default());
    let (b_at_a, _, _) = a.seen();
    let (a_at_b, _, _) = b.seen();
    b.transport.set_discovery(DutyCycle::Off);
    a.lost(&b_at_a);
    b.lost(&a_at_b);
    b.transport.set_carriage_open(false);
    b.transport.poke();
    assert!(a.within(Duration::from_secs(2)).is_none(), "it does not announce itself");
    b.transport.set_discovery(DutyCycle::ALWAYS);
    let (peer, _, open) = a.seen();
    assert_eq!((peer, open), (b_at_a, false));
    assert_eq!(b.seen().0, a_at_b);
}

#[test]
fn link_local_addresses_are_enough() {
    require_root!();
    let world = World::new();
    let segment = world.segment("street").unwrap();
    let hosts = [world.host("a").unwrap(), world.host("b").unwrap()];
    for (number, host) in hosts.iter().enumerate() {
        let interface = host.attach(&segment, &format!("fe80::{}/64", number + 1)).unwrap();
        // A second interface with the same network: only the scope tells them apart.
        let other = world.segment(&format!("dead end {number}")).unwrap();
        host.attach(&other, &format!("fe80::{}/64", number + 7)).unwrap();
        assert_eq!(interface.host().name(), host.name());
    }
    let mut a = Node::start(&hosts[0], 1, QuicConfig::default());
    let mut b = Node::start(&hosts[1], 2, QuicConfig::default());
    let (peer, _, _) = a.seen();
    let link = a.dial(&peer).unwrap();
    assert!(link.meta.remote.starts_with("[fe80::"), "{}", link.meta.remote);
    let mut other = b.incoming();
    works(&a, &link, &b, &mut other);
}

/// A node that starts on a desert island and is then plugged in, noticed by a poke or by itself.
#[test]
fn an_interface_that_comes_later_is_used() {
    require_root!();
    for poke in [true, false] {
        let world = World::new();
        let segment = world.segment("street").unwrap();
        let (host_a, host_b) = (world.host("a").unwrap(), world.host("b").unwrap());
        host_b.attach(&segment, "10.1.0.2/24").unwrap();
        let mut a = Node::start(&host_a, 1, QuicConfig::default());
        let mut b = Node::start(&host_b, 2, QuicConfig::default());
        host_a.attach(&segment, "10.1.0.1/24").unwrap();
        if poke {
            a.transport.poke();
        }
        let (peer, _, _) = a.seen();
        b.seen();
        let link = a.dial(&peer).unwrap();
        let mut other = b.incoming();
        works(&a, &link, &b, &mut other);
    }
}

/// Taking the interface down loses the sighting and, with a poke, the link at once. Coming back finds both.
#[test]
fn an_interface_that_goes_takes_its_neighbours_along_and_brings_them_back() {
    require_root!();
    let street = Street::new();
    let (mut a, mut b) = street.nodes(&patient());
    let interface = &street.near.1;
    let (peer, _, _) = a.seen();
    b.seen();
    for _round in 0..2 {
        let mut link = a.dial(&peer).unwrap();
        let mut other = b.incoming();
        works(&a, &link, &b, &mut other);
        interface.down().unwrap();
        a.transport.poke();
        assert_eq!(a.recv(&mut link), None, "the local address is gone");
        a.lost(&peer);
        interface.up().unwrap();
        a.transport.poke();
        assert_eq!(a.seen().0, peer);
    }
}

/// A neighbour that walks away says no goodbye. Its link falls silent, it is asked for, it does not answer.
#[test]
fn a_neighbour_that_vanishes_is_lost_long_before_its_records_expire() {
    require_root!();
    let street = Street::new();
    let quick = QuicConfig {
        idle_timeout: Duration::from_secs(2),
        keep_alive: Duration::from_millis(500),
        ..QuicConfig::default()
    };
    let (mut a, mut b) = street.nodes(&quick);
    let far = &street.far.1;
    let (peer, _, _) = a.seen();
    let mut link = a.dial(&peer).unwrap();
    let mut other = b.incoming();
    works(&a, &link, &b, &mut other);
    far.down().unwrap();
    assert_eq!(a.recv(&mut link), None, "within the idle timeout");
    a.lost(&peer);
    far.up().unwrap();
    b.transport.poke();
    assert_eq!(a.seen().0, peer, "back again");
}

/// The filter names the only interface that is used, whenever it comes.
#[test]
fn only_named_interfaces_are_used() {
    require_root!();
    let world = World::new();
    let (street, office) = (world.segment("street").unwrap(), world.segment("office").unwrap());
    let (host_a, host_b) = (world.host("a").unwrap(), world.host("b").unwrap());
    let (host_c, named) =
        (world.host("c").unwrap(), QuicConfig { interfaces: vec!["street".into()], ..patient() });
    host_a.attach(&office, "10.2.0.1/24").unwrap();
    host_b.attach(&office, "10.2.0.2/24").unwrap();
    host_c.attach(&street, "10.1.0.3/24").unwrap();
    let mut a = Node::start(&host_a, 1, named);
    let mut b = Node::start(&host_b, 2, patient());
    let mut c = Node::start(&host_c, 3, patient());
    host_a.attach(&street, "10.1.0.1/24").unwrap();
    a.transport.poke();
    let (peer, _, _) = a.seen();
    let (a_at_c, _, _) = c.seen();
    let link = a.dial(&peer).unwrap();
    assert_eq!(link.peer, secret(3).key(), "the one in the street");
    a.shutdown();
    c.incoming();
    c.lost(&a_at_c);
    // b has heard nothing of a: the first it hears of is a newcomer in the office.
    let host_d = world.host("d").unwrap();
    host_d.attach(&office, "10.2.0.4/24").unwrap();
    let d = Node::start(&host_d, 4, patient());
    let (seen, _, _) = b.seen();
    assert_eq!(b.dial(&seen).unwrap().peer, secret(d.number).key());
}

/// A program that does not share the mDNS port: said with the remedy, and over as soon as the program is gone.
#[test]
fn a_port_that_is_not_shared_is_a_problem_that_passes() {
    require_root!();
    let street = Street::new();
    let (host_a, host_b) = (&street.near.0, &street.far.0);
    let selfish = host_a.run(|| UdpSocket::bind("[::]:5353")).unwrap().unwrap();
    let mut a = Node::begin(host_a, 1, patient());
    let problem = a.problem();
    assert!(problem.contains("5353") && problem.contains("stop the program"), "{problem}");
    drop(selfish);
    let mut b = Node::start(host_b, 2, patient());
    let mut a = a.ready();
    let (peer, _, _) = a.seen();
    let link = a.dial(&peer).unwrap();
    let mut other = b.incoming();
    works(&a, &link, &b, &mut other);
}

/// Somebody who announces without end does not fill this node's memory.
#[test]
fn a_flood_of_announcements_is_thrown_away() {
    require_root!();
    let street = Street::new();
    let (host_a, host_b) = (&street.near.0, &street.far.0);
    let mut a = Node::start(host_a, 1, patient());
    let flood = host_b.run(|| UdpSocket::bind("10.1.0.2:0")).unwrap().unwrap();
    let mut event = None;
    for volley in 0..5 {
        for number in 0..1_000 {
            // A full queue on the way loses some; the next volley makes up for it.
            let _lost = flood.send_to(&address_records(volley * 1_000 + number), "224.0.0.251:5353");
            if number % 10 == 0 {
                // Lets the engine read what has come before the socket's queue is full.
                event = event.or(a.within(Duration::from_millis(2)));
            }
        }
        event = event.or(a.within(Duration::from_secs(8)));
        if event.is_some() {
            break;
        }
    }
    let Some(TransportEvent::Problem(problem)) = event else { panic!("{event:?}") };
    assert!(problem.contains("20000 records"), "{problem}");
    let mut a = a.ready();
    let _b = Node::start(host_b, 2, patient());
    a.seen();
}

/// An mDNS response (RFC 1035 section 4) with 40 address records under names of their own.
fn address_records(number: u32) -> Vec<u8> {
    const RECORDS: u8 = 40;
    let mut packet = vec![0, 0, 0x84, 0, 0, 0, 0, RECORDS, 0, 0, 0, 0];
    for record in 0..RECORDS {
        let name = format!("{number:08x}{record:02x}");
        packet.push(10);
        packet.extend_from_slice(name.as_bytes());
        packet.extend_from_slice(b"\x05local\0");
        packet.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0x10, 0, 0, 4, 10, 1, 0, 9]); // A, IN, 4,096 s
    }
    packet
}
