//! Whoever is in range may connect: what strangers do to a transport on a real BlueZ. Runs in the guest.

use std::io;
use std::time::Duration;

use bluer::l2cap::{FlowControl, Security, SecurityLevel, Socket, SocketAddr, Stream};
use pigeon_bundle::NodeSecret;
use pigeon_harness::ble::Air;
use pigeon_link::contract::{hello, step};
use pigeon_link::{AUTH_TIMEOUT, Link, PeerAddress, Transport as _, TransportEvent};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::guest::{ATTEMPTS, Radio, channel, part};
use crate::bearer::Bearer;
use crate::bearer::l2cap::{self, At, Listener};
use crate::noise::{Keyed, handshake};
use crate::piece::Piece;
use crate::tests::hostile::in_the_middle;
use crate::tests::node;
use crate::{BleConfig, BleTransport, HANDSHAKES_MAX, Roles, WINDOW_BYTES};
use pigeon_link::Role;

/// Looked at this often: the transport tells nobody of strangers that it refused.
const POLL: Duration = Duration::from_millis(50);

/// A transport on an adapter, and what it tells.
struct Node {
    transport: std::sync::Arc<BleTransport>,
    events: mpsc::Receiver<TransportEvent>,
}

impl Node {
    fn start(adapter: &str, secret: NodeSecret) -> Self {
        let config =
            BleConfig { adapter: Some(adapter.to_owned()), roles: Roles::Auto, ..BleConfig::default() };
        let started = BleTransport::start(config, secret, || hello(true), CancellationToken::new());
        let (transport, events) = started.unwrap();
        Self { transport, events }
    }

    /// The first neighbour in sight.
    async fn sees(&mut self) -> PeerAddress {
        loop {
            if let TransportEvent::Seen { peer, .. } = step("a neighbour", self.events.recv()).await.unwrap()
            {
                return peer;
            }
        }
    }

    async fn dial(&self, peer: &PeerAddress) -> Link {
        let dialled = async {
            loop {
                match self.transport.dial(peer).await {
                    Ok(link) => return link,
                    Err(error) => println!("again: {error}"),
                }
                tokio::time::sleep(POLL).await;
            }
        };
        step("an honest link", dialled).await
    }

    async fn accepts(&mut self) -> Link {
        loop {
            if let TransportEvent::Incoming(link) =
                step("an incoming link", self.events.recv()).await.unwrap()
            {
                return link;
            }
        }
    }

    /// Nothing of any stranger is left: no link, no handshake, no task.
    async fn is_rid(&self, tasks: usize) {
        let shared = &self.transport.shared;
        let rid = async {
            while shared.sightings.links() > 0
                || shared.handshakes.available_permits() < HANDSHAKES_MAX
                || shared.tasks.len() > tasks
            {
                tokio::time::sleep(POLL).await;
            }
        };
        step("the transport is rid of them", rid).await;
    }

    fn tasks(&self) -> usize {
        self.transport.shared.tasks.len()
    }
}

/// A bare channel to the victim, for bytes that are no pieces.
async fn bare_channel(own: At, victim: At, psm: u8) -> io::Result<Stream> {
    let socket = Socket::<Stream>::new_stream()?;
    socket.bind(SocketAddr::new(own.0, own.1, 0))?;
    socket.set_security(Security { level: SecurityLevel::Low, key_size: 0 })?;
    let _only_mode = socket.set_flow_control(FlowControl::Le);
    socket.set_recv_mtu(4_096)?;
    let stream = socket.connect(SocketAddr::new(victim.0, victim.1, psm.into())).await?;
    while let Err(error) = stream.as_ref().send_mtu() {
        if error.kind() != io::ErrorKind::NotConnected {
            return Err(error);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(stream)
}

/// A stranger's channel on which keys are agreed. On a connection that is mixed up none is.
async fn keyed_channel(own: At, victim: At, psm: u8) -> (Bearer, Keyed) {
    for _ in 0..ATTEMPTS {
        let agreed = async {
            let mut bearer = l2cap::connect(own, victim, psm).await.ok()?;
            let keyed = handshake(&mut bearer, Role::Dialler, crate::advert::Token([9; 4])).await.ok()?;
            Some((bearer, keyed))
        };
        if let Ok(Some(agreed)) = tokio::time::timeout(AUTH_TIMEOUT, agreed).await {
            return agreed;
        }
        part(own, victim).await;
    }
    panic!("no keys agreed in {ATTEMPTS} attempts");
}

/// Waits until the victim hangs up.
async fn until_cut_off(mut stream: Stream) {
    let mut buffer = [0; 4_096];
    step("the victim hangs up", async { while matches!(stream.read(&mut buffer).await, Ok(1..)) {} }).await;
}

async fn own(adapter: &str) -> At {
    let adapter = bluer::Session::new().await.unwrap().adapter(adapter).unwrap();
    (adapter.address().await.unwrap(), adapter.address_type().await.unwrap())
}

#[tokio::test]
#[ignore = "runs in the Bluetooth guest"]
async fn strangers_are_got_rid_of_and_friends_are_served() {
    const SEED: u64 = 0x57A6;
    println!("seed {SEED:#x}");
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let _air = Air::clear().unwrap();
    let (mut friend, mut victim) = (Node::start("hci0", node(1)), Node::start("hci1", node(2)));
    let peer = friend.sees().await;
    let sighting = friend.transport.shared.sightings.get(&peer.token).unwrap();
    let (at, psm) = (sighting.at, sighting.advert.psm.unwrap());
    let stranger = own("hci2").await;
    victim.sees().await;
    let tasks = victim.tasks();

    // What follows needs a connection that carries.
    drop(keyed_channel(stranger, at, psm).await);
    victim.is_rid(tasks).await;

    println!("garbage");
    for size in [1, 100, 3_000] {
        let mut garbage = vec![0; size];
        rng.fill_bytes(&mut garbage);
        let mut stream = step("a channel", bare_channel(stranger, at, psm)).await.unwrap();
        stream.write_all(&garbage).await.unwrap();
        until_cut_off(stream).await;
    }
    victim.is_rid(tasks).await;

    println!("half a piece, then gone");
    let mut stream = step("a channel", bare_channel(stranger, at, psm)).await.unwrap();
    stream.write_all(&[7, 0xfe, 1, 2, 3]).await.unwrap();
    drop(stream);
    victim.is_rid(tasks).await;

    println!("many that say nothing");
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKES_MAX + 2 {
        silent.push(step("a channel or a refusal", bare_channel(stranger, at, psm)).await);
    }
    // Those beyond the limit are refused at once, some before the channel counts as open here.
    for stream in silent.into_iter().flatten() {
        until_cut_off(stream).await;
    }
    victim.is_rid(tasks).await;

    println!("an endless frame");
    let (bearer, mut keyed) = keyed_channel(stranger, at, psm).await;
    let endless = async {
        let mut data = vec![0, 1, 0, 0];
        data.resize(1_000, 7);
        let mut sent = 0;
        loop {
            let piece = keyed.seal.seal(&Piece::Data(data.clone().into())).unwrap();
            if bearer.tx.send(piece).await.is_err() {
                return sent;
            }
            sent += data.len();
            data.fill(7);
        }
    };
    let sent = step("the endless stream is cut off", endless).await;
    assert!(sent >= WINDOW_BYTES, "{sent}");
    drop(bearer);
    victim.is_rid(tasks).await;

    println!("keys agreed, and then no proof of who it is");
    let (mut bearer, _keyed) = keyed_channel(stranger, at, psm).await;
    step("the victim hangs up", async { while bearer.rx.recv().await.is_some() {} }).await;
    drop(bearer);
    victim.is_rid(tasks).await;

    println!("a friend");
    let (dialled, accepted) = tokio::join!(friend.dial(&peer), victim.accepts());
    assert_eq!((dialled.peer, accepted.peer), (node(2).key(), node(1).key()));
    drop((dialled, accepted));
    victim.is_rid(tasks).await;
    tokio::join!(friend.transport.shutdown(), victim.transport.shutdown());
}

/// hci2 sits between hci0, which dials it for hci1, and hci1.
#[tokio::test]
#[ignore = "runs in the Bluetooth guest"]
async fn a_man_in_the_middle_is_found_out() {
    let (middle, end) = (Radio::new("hci2").await, Radio::new("hci1").await);
    let ends = async |from: At, to: At| {
        let listener = Listener::bind(to).unwrap();
        let (dialled, (accepted, _)) = channel(from, to, &listener).await;
        (dialled, accepted)
    };
    for _ in 0..ATTEMPTS {
        let left = ends(middle.dialler, middle.listener).await;
        let (right, victim) = ends(middle.listener, end.listener).await;
        if in_the_middle(left, (victim, right)).await.is_some() {
            return;
        }
        part(middle.dialler, middle.listener).await;
        part(middle.listener, end.listener).await;
    }
    panic!("no keys agreed in {ATTEMPTS} attempts");
}
