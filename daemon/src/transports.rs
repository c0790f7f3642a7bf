//! The transports that run, all under one node key: started with it, restarted under a new one when it rotates.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use pigeon_ble::{Bearers, BleConfig, BleTransport, Roles};
use pigeon_bundle::{NodeKey, NodeSecret};
use pigeon_core::PeerId;
use pigeon_link::{DialError, DutyCycle, Link, PeerAddress, Transport, TransportEvent, TransportKind};
use pigeon_proto::api::{Neighbour, TransportStatus};
use pigeon_proto::{Hello, PROTOCOL_VERSION};
use pigeon_quic::{QuicConfig, QuicError, QuicTransport};
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{BleBearers, BleMode, BleRoles, Config};
use crate::input::Input;
use crate::keys::Keys;
use crate::random::OsRandom;

/// A network that has just changed is looked at again after this: addresses come a little after the link.
const SETTLE: Duration = Duration::from_millis(100);
/// A transport that does not start is tried again after this.
const RESTART: Duration = Duration::from_secs(30);

/// What the shell dials with, and what `pigeon status` shows.
pub struct Transports {
    running: RwLock<Option<Running>>,
    /// What the core wants of discovery, for transports that start later too.
    duty: Mutex<DutyCycle>,
    /// Whether strangers' mail is taken at the moment: said in each Hello, and announced.
    carriage_open: AtomicBool,
    status: Mutex<BTreeMap<TransportKind, TransportStatus>>,
    /// That Bluetooth is missing is no trouble where nobody asked for it.
    ble_is_optional: AtomicBool,
}

/// The transports under one node key.
#[derive(Clone)]
struct Running {
    own: NodeKey,
    secret: NodeSecret,
    quic: Option<Arc<QuicTransport>>,
    ble: Option<Arc<BleTransport>>,
}

impl Running {
    fn each(&self) -> impl Iterator<Item = &dyn Transport> {
        let quic = self.quic.as_deref().map(|quic| quic as &dyn Transport);
        let ble = self.ble.as_deref().map(|ble| ble as &dyn Transport);
        quic.into_iter().chain(ble)
    }
}

/// The core's name of a sighting: transport and token.
pub fn peer_id(peer: &PeerAddress) -> PeerId {
    PeerId(format!("{}:{}", peer.transport.as_str(), peer.token))
}

fn peer_address(peer: &PeerId) -> Option<PeerAddress> {
    let (name, token) = peer.0.split_once(':')?;
    let kinds = [TransportKind::Quic, TransportKind::Ble];
    let transport = kinds.into_iter().find(|kind| kind.as_str() == name)?;
    Some(PeerAddress { transport, token: token.to_owned() })
}

impl Transports {
    /// None runs yet.
    pub fn new() -> Self {
        let off = |kind: TransportKind| {
            let status =
                TransportStatus { name: kind.as_str().into(), state: "off".into(), problem: String::new() };
            (kind, status)
        };
        Self {
            running: RwLock::new(None),
            duty: Mutex::default(),
            carriage_open: AtomicBool::new(true),
            status: Mutex::new([TransportKind::Quic, TransportKind::Ble].map(off).into()),
            ble_is_optional: AtomicBool::new(false),
        }
    }

    fn running(&self) -> Option<Running> {
        self.running.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_running(&self, running: Running) {
        *self.running.write().unwrap_or_else(PoisonError::into_inner) = Some(running);
        self.tell_wishes();
    }

    /// The node key neighbours see at the moment.
    pub fn node_key(&self) -> Option<NodeKey> {
        self.running().map(|running| running.own)
    }

    /// The secret half of the node key `own`, while it is the one that neighbours see.
    pub fn node_secret(&self, own: NodeKey) -> Option<NodeSecret> {
        self.running().filter(|running| running.own == own).map(|running| running.secret)
    }

    /// Opens a link to a sighting.
    pub async fn dial(&self, peer: &PeerId) -> (NodeKey, Result<Link, DialError>) {
        let running = self.running();
        let own = running.as_ref().map_or(NodeKey([0; 32]), |running| running.own);
        let unknown = |kind| Err(DialError::Unknown { kind, token: peer.0.clone() });
        let (Some(running), Some(address)) = (running, peer_address(peer)) else {
            return (own, unknown(TransportKind::Quic));
        };
        let transport = running.each().find(|transport| transport.kind() == address.transport);
        match transport {
            Some(transport) => (own, transport.dial(&address).await),
            None => (own, unknown(address.transport)),
        }
    }

    /// Looks for neighbours as much as the core wants.
    pub fn set_discovery(&self, duty: DutyCycle) {
        *self.duty.lock().unwrap_or_else(PoisonError::into_inner) = duty;
        self.tell_wishes();
    }

    /// Says from now on whether strangers' mail is taken.
    pub fn set_carriage_open(&self, open: bool) {
        self.carriage_open.store(open, Ordering::Relaxed);
        self.tell_wishes();
    }

    fn tell_wishes(&self) {
        let Some(running) = self.running() else { return };
        let duty = *self.duty.lock().unwrap_or_else(PoisonError::into_inner);
        for transport in running.each() {
            transport.set_discovery(duty);
            transport.set_carriage_open(self.carriage_open.load(Ordering::Relaxed));
        }
    }

    /// A transport has a problem that the user should see.
    pub fn problem(&self, kind: TransportKind, problem: String) {
        let optional = kind == TransportKind::Ble && self.ble_is_optional.load(Ordering::Relaxed);
        self.set_status(kind, if optional { "off" } else { "trouble" }, problem);
    }

    /// A transport works (again).
    pub fn ready(&self, kind: TransportKind) {
        self.set_status(kind, "up", String::new());
    }

    fn set_status(&self, kind: TransportKind, state: &str, problem: String) {
        let status = TransportStatus { name: kind.as_str().into(), state: state.to_owned(), problem };
        self.statuses().insert(kind, status);
    }

    fn statuses(&self) -> MutexGuard<'_, BTreeMap<TransportKind, TransportStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For `pigeon status`.
    pub fn status(&self) -> Vec<TransportStatus> {
        self.statuses().values().cloned().collect()
    }

    /// Fills in how good the link to a neighbour is, where its transport measures that.
    pub fn rate(&self, neighbour: &mut Neighbour) {
        let ble = self.running().and_then(|running| running.ble);
        if neighbour.transport == TransportKind::Ble.as_str()
            && let Some(quality) = ble.and_then(|ble| ble.quality(&neighbour.address))
        {
            neighbour.rssi_dbm = quality.rssi_dbm.map_or(0, i32::from);
            neighbour.bytes_per_s = quality.bytes_per_s;
        }
    }
}

impl Default for Transports {
    fn default() -> Self {
        Self::new()
    }
}

/// Keeps the transports running until `cancel`: pokes them when the network changes, rotates the node key, and tries
/// again where they do not start.
pub async fn run(
    transports: Arc<Transports>,
    config: Arc<Config>,
    keys: Keys,
    clock: Clock,
    inputs: mpsc::Sender<Input>,
    mut network: watch::Receiver<u64>,
    cancel: CancellationToken,
) {
    let ble = config.ble.enabled;
    if !config.quic.enabled && ble == BleMode::Off {
        return;
    }
    transports.ble_is_optional.store(ble == BleMode::Auto, Ordering::Relaxed);
    let lifetime = Duration::from_secs(u64::from(config.quic.rotate_h) * 3_600);
    while !cancel.is_cancelled() {
        // A key older than its lifetime is replaced here, at start and at each rotation.
        let (secret, age) = match keys.node_secret(lifetime.as_secs(), &mut OsRandom) {
            Ok(key) => key,
            Err(error) => {
                tracing::error!(%error, "no neighbours can be found; trying again");
                transports.problem(TransportKind::Quic, error.to_string());
                tokio::select! { () = cancel.cancelled() => {}, () = tokio::time::sleep(RESTART) => {} }
                continue;
            }
        };
        let stop = CancellationToken::new();
        let starter = Starter {
            transports: &transports,
            config: &config,
            clock: &clock,
            secret,
            stop: &stop,
            inputs: &inputs,
        };
        let until = lifetime.saturating_sub(age);
        let running = until_rotation(&starter, until, &mut network, &cancel).await;
        futures::future::join_all(running.each().map(Transport::shutdown)).await;
        stop.cancel();
    }
}

/// Runs the transports under one key. Returns when that is due for rotation, or at `cancel`.
async fn until_rotation(
    starter: &Starter<'_>,
    lifetime: Duration,
    network: &mut watch::Receiver<u64>,
    cancel: &CancellationToken,
) -> Running {
    let rotate = tokio::time::sleep(lifetime);
    tokio::pin!(rotate);
    let (own, secret) = (starter.secret.key(), starter.secret.clone());
    let mut running = Running { own, secret, quic: starter.quic(), ble: starter.ble() };
    loop {
        starter.transports.set_running(running.clone());
        let missing = running.quic.is_none() && starter.config.quic.enabled;
        tokio::select! {
            () = cancel.cancelled() => return running,
            () = &mut rotate => {
                tracing::info!("rotating the node key");
                return running;
            }
            () = tokio::time::sleep(RESTART), if missing => running.quic = starter.quic(),
            // Without netlink this never comes, and the transport's own look at the interfaces has to do.
            Ok(()) = network.changed() => {
                tokio::time::sleep(SETTLE).await;
                network.mark_unchanged();
                if let Some(quic) = &running.quic {
                    quic.poke();
                }
            }
        }
    }
}

/// What starts transports under one node key.
struct Starter<'a> {
    transports: &'a Arc<Transports>,
    config: &'a Config,
    clock: &'a Clock,
    secret: NodeSecret,
    stop: &'a CancellationToken,
    inputs: &'a mpsc::Sender<Input>,
}

impl Starter<'_> {
    /// `None` where it is not wanted, or cannot start: the status says why.
    fn quic(&self) -> Option<Arc<QuicTransport>> {
        if !self.config.quic.enabled {
            return None;
        }
        let quic = QuicConfig { listen: self.config.quic.listen, ..QuicConfig::default() };
        let started = QuicTransport::start(quic, self.secret.clone(), self.hello(), self.stop.clone());
        match started {
            Ok((transport, events)) => {
                self.forward(TransportKind::Quic, events);
                self.transports.ready(TransportKind::Quic);
                Some(transport)
            }
            Err(error) => {
                tracing::error!(%error, "no neighbours can be found on local networks; trying again");
                self.transports.problem(TransportKind::Quic, QuicError::to_string(&error));
                None
            }
        }
    }

    /// `None` where it is not wanted. That there is no adapter it says later, as an event.
    fn ble(&self) -> Option<Arc<BleTransport>> {
        let config = &self.config.ble;
        if config.enabled == BleMode::Off {
            return None;
        }
        let ble = BleConfig {
            adapter: config.adapter.clone(),
            power_on: config.enabled == BleMode::On,
            bearers: match config.bearers {
                BleBearers::Best => Bearers::Best,
                BleBearers::L2cap => Bearers::L2cap,
                BleBearers::Gatt => Bearers::Gatt,
            },
            roles: match config.roles {
                BleRoles::Auto => Roles::Auto,
                BleRoles::Alternate => Roles::Alternate,
            },
            ..BleConfig::default()
        };
        match BleTransport::start(ble, self.secret.clone(), self.hello(), self.stop.clone()) {
            Ok((transport, events)) => {
                self.forward(TransportKind::Ble, events);
                Some(transport)
            }
            Err(error) => {
                self.transports
                    .problem(TransportKind::Ble, format!("the system gives no randomness: {error}"));
                None
            }
        }
    }

    /// What each link begins with.
    fn hello(&self) -> impl Fn() -> Hello + Send + Sync + 'static {
        let (transports, clock) = (Arc::downgrade(self.transports), self.clock.clone());
        move || Hello {
            version: PROTOCOL_VERSION,
            carriage_open: transports
                .upgrade()
                .is_some_and(|transports| transports.carriage_open.load(Ordering::Relaxed)),
            clock_s: clock.trusted_wall_s(),
            bundle_size_max: u32::try_from(pigeon_bundle::BUNDLE_SIZE_MAX).unwrap_or(u32::MAX),
        }
    }

    fn forward(&self, kind: TransportKind, mut events: mpsc::Receiver<TransportEvent>) {
        let (own, inputs) = (self.secret.key(), self.inputs.clone());
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if inputs.send(Input::Transport { own, kind, event }).await.is_err() {
                    return;
                }
            }
        });
    }
}
