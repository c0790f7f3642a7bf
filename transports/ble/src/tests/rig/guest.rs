//! Runs in the guest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bluer::adv::{Advertisement, AdvertisementHandle};
use bluer::{Adapter, ErrorKind, Session};
use btleplug::api::{Central as _, Manager as _, Peripheral as _, ScanFilter};
use btleplug::platform::{Manager, Peripheral};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use pigeon_harness::ble::Air;
use pigeon_link::Role;
use pigeon_link::contract::{Pair, Rig, step};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::SERVICE;
use crate::bearer::Bearer;
use crate::bearer::gatt_client::{self, GattError};
use crate::bearer::gatt_server::Server;
use crate::bearer::l2cap::{self, At, Listener};
use crate::dial::raw_link;
use crate::tests::{node, patient};

/// The guest has one processor, shared with whatever else this machine does.
const IDLE: Duration = Duration::from_secs(10);

/// Long enough for the emulator to have seen a change of range.
const CUT_AFTER: Duration = Duration::from_millis(300);

/// hci0 dials another.
pub(super) struct Radio {
    air: Air,
    pub(super) dialler: At,
    pub(super) listener: At,
    _session: Session,
    dialling: Adapter,
    adapter: Adapter,
    _advertised: AdvertisementHandle,
}

async fn at(adapter: &Adapter) -> At {
    (adapter.address().await.unwrap(), adapter.address_type().await.unwrap())
}

impl Radio {
    pub(super) async fn new(listener: &str) -> Self {
        let session = Session::new().await.unwrap();
        let (dialling, adapter) = (session.adapter("hci0").unwrap(), session.adapter(listener).unwrap());
        let shown = Advertisement {
            service_uuids: [SERVICE].into_iter().collect(),
            discoverable: Some(true),
            ..Advertisement::default()
        };
        Self {
            air: Air::clear().unwrap(),
            dialler: at(&dialling).await,
            listener: at(&adapter).await,
            _advertised: adapter.advertise(shown).await.unwrap(),
            dialling,
            adapter,
            _session: session,
        }
    }

    async fn cut(&self) {
        self.air.set_apart(&[(0, 1)]).unwrap();
        // The emulator looks every 10 ms, and says nothing when it has.
        tokio::time::sleep(CUT_AFTER).await;
    }

    /// Links two ends of a bearer, each as soon as it is there: a GATT server hears of its client by the first write.
    /// `None`: one of them did not come to be.
    async fn pair(
        &self,
        dialled: impl Future<Output = Bearer>,
        accepted: impl Future<Output = Bearer>,
    ) -> Option<Pair> {
        let (a, b) = (patient(1, IDLE), patient(2, IDLE));
        let dialler = async { raw_link(&a, dialled.await, Role::Dialler, self.listener).await };
        let listener = async { raw_link(&b, accepted.await, Role::Listener, self.dialler).await };
        let both = async { tokio::try_join!(dialler, listener) };
        // A server that is still busy with its former client hears no other: its dialler gives up.
        let (dialler, listener) = step("a link or its failure", both).await.ok()?;
        Some(Pair { dialler, listener, dialler_node: node(1), listener_node: node(2) })
    }
}

/// Dials after which a peer that is busy with a former client, or whose channel was mixed up, counts as broken.
pub(super) const ATTEMPTS: usize = 5;

/// Bytes per second of one direction, from the first send to the last arrival.
async fn rate(bytes: usize, sent: impl Future<Output = ()>, arrived: impl Future<Output = ()>) -> f64 {
    let begin = Instant::now();
    tokio::join!(sent, arrived);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let bytes = bytes as f64;
    bytes / begin.elapsed().as_secs_f64()
}

/// Pieces of full size without window, sealing or acknowledgement.
async fn bare((dialler, mut listener): (Bearer, Bearer), bytes: usize) -> f64 {
    let piece = bytes::Bytes::from(vec![7; dialler.piece_max]);
    let count = bytes / dialler.piece_max;
    let sent = async {
        for _ in 0..count {
            dialler.tx.send(piece.clone()).await.unwrap();
        }
    };
    let arrived = async {
        for _ in 0..count {
            listener.rx.recv().await.unwrap();
        }
    };
    rate(count * dialler.piece_max, sent, arrived).await
}

/// Frames as the core sends them where airtime is scarce.
async fn framed(Pair { dialler, mut listener, .. }: Pair, bytes: usize) -> f64 {
    const FRAME: usize = 4_096;
    let sent = async {
        for _ in 0..bytes / FRAME {
            dialler.tx.send(vec![7; FRAME].into()).await.unwrap();
        }
    };
    let arrived = async {
        for _ in 0..bytes / FRAME {
            listener.rx.recv().await.unwrap();
        }
    };
    rate(bytes / FRAME * FRAME, sent, arrived).await
}

/// Turn by turn, the best of each: what else runs on this machine makes either slower, never faster.
fn report(name: &str, rates: &[(f64, f64)]) {
    let best = |of: fn(&(f64, f64)) -> f64| rates.iter().map(of).fold(0.0, f64::max);
    let (bare, framed) = (best(|rates| rates.0), best(|rates| rates.1));
    println!(
        "bench: ble.{name}_vs_bare {:.2} (of a bare loop of sends of the same size in the same guest: {:.0} of {:.0} kB/s)",
        framed / bare,
        framed / 1_000.0,
        bare / 1_000.0
    );
}

const ROUNDS: usize = 5;

/// Ends the connection between two adapters, on which `bluetoothd` may have mixed up its channels with ours (docs/ble.md).
pub(super) async fn part(own: At, peer: At) {
    let session = Session::new().await.unwrap();
    for name in session.adapter_names().await.unwrap() {
        let adapter = session.adapter(&name).unwrap();
        if adapter.address().await.unwrap() == own.0 {
            // Nothing is there to end where the connection failed.
            let _absent = adapter.device(peer.0).unwrap().disconnect().await;
        }
    }
}

/// Both ends of a channel, which is refused or not answered on a connection that is mixed up.
pub(super) async fn channel(from: At, to: At, listener: &Listener) -> (Bearer, (Bearer, At)) {
    const UNANSWERED: Duration = Duration::from_secs(10);
    for _ in 0..ATTEMPTS {
        let both = async { tokio::try_join!(l2cap::connect(from, to, listener.psm()), listener.accept()) };
        match tokio::time::timeout(UNANSWERED, both).await {
            Ok(Ok(both)) => return both,
            Ok(Err(error)) => println!("again: {error}"),
            Err(_) => println!("again: no channel within {UNANSWERED:?}"),
        }
        part(from, to).await;
    }
    panic!("no channel in {ATTEMPTS} attempts");
}

struct L2capRig {
    radio: Radio,
    listener: Listener,
}

impl L2capRig {
    async fn new() -> Self {
        let radio = Radio::new("hci1").await;
        let listener = Listener::bind(radio.listener).unwrap();
        Self { radio, listener }
    }

    async fn connect(&self) -> Pair {
        // A channel of bluetoothd may have got the same number: what is sent on either is lost (docs/ble.md).
        for _ in 0..ATTEMPTS {
            let (dialled, accepted) = self.bearers().await;
            let pair = self.radio.pair(async { dialled }, async { accepted }).await;
            if let Some(pair) = pair {
                return pair;
            }
            part(self.radio.dialler, self.radio.listener).await;
        }
        panic!("no L2CAP link in {ATTEMPTS} attempts");
    }

    async fn bearers(&self) -> (Bearer, Bearer) {
        let (dialled, (accepted, from)) =
            channel(self.radio.dialler, self.radio.listener, &self.listener).await;
        assert_eq!(from, self.radio.dialler);
        (dialled, accepted)
    }
}

#[tokio::test]
#[ignore = "a benchmark: `make bench-ble`"]
async fn bench_l2cap() {
    const BYTES: usize = 1 << 20;
    let rig = L2capRig::new().await;
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        rates.push((bare(rig.bearers().await, BYTES).await, framed(rig.connect().await, BYTES).await));
    }
    report("l2cap", &rates);
}

#[tokio::test]
#[ignore = "a benchmark: `make bench-ble`"]
async fn bench_gatt() {
    const BYTES: usize = 256 << 10;
    let rig = GattRig::new("hci1").await;
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        rates.push((bare(rig.bearers().await, BYTES).await, framed(rig.connect().await, BYTES).await));
    }
    report("gatt", &rates);
}

impl Rig for L2capRig {
    fn pair(&self) -> BoxFuture<'_, Pair> {
        self.connect().boxed()
    }

    fn cut(&self) -> BoxFuture<'_, ()> {
        self.radio.cut().boxed()
    }
}

mod l2cap_channels {
    use super::L2capRig;
    pigeon_link::contract_tests! {
        #[tokio::test]
        #[ignore = "runs in the Bluetooth guest"]
        rig = L2capRig::new().await
    }
}

struct GattRig {
    radio: Radio,
    server: Arc<Mutex<Server>>,
    peer: Peripheral,
}

impl GattRig {
    async fn new(listener: &str) -> Self {
        let radio = Radio::new(listener).await;
        let server = Arc::new(Mutex::new(Server::start(&radio.adapter).await.unwrap()));
        let peer = step("finding the listener", find(&radio)).await;
        Self { radio, server, peer }
    }

    async fn dial(&self) -> Bearer {
        /// BlueZ says nothing when it has seen that a former client let go.
        const AGAIN: Duration = Duration::from_millis(50);
        self.peer.connect().await.unwrap();
        let open = async {
            loop {
                let remote = self.radio.dialling.device(self.radio.listener.0).unwrap();
                let alive = CancellationToken::new().drop_guard();
                match gatt_client::open(self.peer.clone(), remote, alive).await {
                    Ok(bearer) => return bearer,
                    Err(GattError::Notifications(error)) if error.kind == ErrorKind::NotPermitted => {
                        tokio::time::sleep(AGAIN).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        };
        step("a way over GATT", open).await
    }

    async fn connect(&self) -> Pair {
        for _ in 0..ATTEMPTS {
            let mut server = self.server.lock().await;
            let accepted = async { server.accept().await.unwrap().0 };
            if let Some(pair) = self.radio.pair(self.dial(), accepted).await {
                return pair;
            }
        }
        panic!("no link in {ATTEMPTS} attempts")
    }

    /// The server hears of its client by the first piece; it is none of those that are counted.
    async fn bearers(&self) -> (Bearer, Bearer) {
        let mut server = self.server.lock().await;
        let dialled = async {
            let bearer = self.dial().await;
            bearer.tx.send(bytes::Bytes::from_static(b"hello")).await.unwrap();
            bearer
        };
        let (dialled, accepted) = tokio::join!(dialled, server.accept());
        let mut accepted = accepted.unwrap().0;
        while accepted.rx.recv().await.unwrap() != "hello" {}
        (dialled, accepted)
    }
}

async fn find(radio: &Radio) -> Peripheral {
    let manager = Manager::new().await.unwrap();
    for adapter in manager.adapters().await.unwrap() {
        if !adapter.adapter_info().await.unwrap().starts_with("hci0 ") {
            continue;
        }
        let mut events = adapter.events().await.unwrap();
        adapter.start_scan(ScanFilter { services: vec![SERVICE] }).await.unwrap();
        loop {
            let all = adapter.peripherals().await.unwrap();
            let found = all.into_iter().find(|p| p.address().into_inner() == radio.listener.0.0);
            if let Some(found) = found {
                adapter.stop_scan().await.unwrap();
                return found;
            }
            events.next().await.unwrap();
        }
    }
    panic!("no hci0")
}

impl Rig for GattRig {
    fn pair(&self) -> BoxFuture<'_, Pair> {
        self.connect().boxed()
    }

    fn cut(&self) -> BoxFuture<'_, ()> {
        self.radio.cut().boxed()
    }
}

/// Two servers, taken in turns: one has one client at a time.
struct TwoServers {
    rigs: [GattRig; 2],
    next: AtomicUsize,
}

impl Rig for TwoServers {
    fn pair(&self) -> BoxFuture<'_, Pair> {
        let rig = &self.rigs[self.next.fetch_add(1, Ordering::Relaxed) % 2];
        rig.connect().boxed()
    }

    fn cut(&self) -> BoxFuture<'_, ()> {
        unreachable!("no test with two links cuts them")
    }
}

/// One after the other on one server: BlueZ's client remembers the handles of a service, and a fresh one has others.
#[tokio::test]
#[ignore = "runs in the Bluetooth guest"]
async fn gatt_characteristics() {
    let rig = GattRig::new("hci1").await;
    macro_rules! run {
        ($($name:ident)*) => {$(
            println!("contract over GATT: {}", stringify!($name));
            pigeon_link::contract::$name(&rig).await;
        )*};
    }
    run! {
        both_directions_carry
        largest_frame_passes
        close_is_seen_after_what_was_queued
        drop_is_seen_after_what_was_queued
        one_direction_may_end_first
        reader_may_leave_first
        oversize_frame_ends_the_link
        empty_frame_ends_the_link
        peers_learn_each_others_key
        wrong_auth_is_refused
        wrong_key_is_refused
        backpressure_is_bounded
        many_frames_keep_their_order
    }
    println!("contract over GATT: bindings_are_shared_and_unique");
    let two = TwoServers { rigs: [rig, GattRig::new("hci2").await], next: AtomicUsize::new(0) };
    pigeon_link::contract::bindings_are_shared_and_unique(&two).await;
    let [rig, _] = two.rigs;
    println!("contract over GATT: silent_peer_is_noticed");
    pigeon_link::contract::silent_peer_is_noticed(&rig).await;
}
