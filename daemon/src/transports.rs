//! The transports that run: started under a node key, restarted under a new one when it rotates.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use pigeon_bundle::{NodeKey, NodeSecret};
use pigeon_core::PeerId;
use pigeon_link::{DialError, DutyCycle, Link, PeerAddress, Transport, TransportEvent, TransportKind};
use pigeon_proto::api::TransportStatus;
use pigeon_proto::{Hello, PROTOCOL_VERSION};
use pigeon_quic::{QuicConfig, QuicError, QuicTransport};
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::input::Input;
use crate::keys::{KeyError, Keys};
use crate::random::OsRandom;

/// A network that has just changed is looked at again after this: addresses come a little after the link.
const SETTLE: Duration = Duration::from_millis(100);
/// A transport that does not start is tried again after this.
const RESTART: Duration = Duration::from_secs(30);

/// Why no transport runs.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The node key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// QUIC cannot start.
    #[error(transparent)]
    Quic(#[from] QuicError),
}

/// What the shell dials with, and what `pigeon status` shows.
pub struct Transports {
    running: RwLock<Option<Running>>,
    /// What the core wants of discovery, for transports that start later too.
    duty: Mutex<DutyCycle>,
    /// Whether strangers' mail is taken at the moment: said in each Hello, and announced.
    carriage_open: AtomicBool,
    status: Mutex<TransportStatus>,
}

#[derive(Clone)]
struct Running {
    own: NodeKey,
    secret: NodeSecret,
    quic: Arc<QuicTransport>,
}

/// The core's name of a sighting: transport and token.
pub fn peer_id(peer: &PeerAddress) -> PeerId {
    PeerId(format!("{}:{}", peer.transport.as_str(), peer.token))
}

fn peer_address(peer: &PeerId) -> Option<PeerAddress> {
    let (transport, token) = peer.0.split_once(':')?;
    (transport == TransportKind::Quic.as_str())
        .then(|| PeerAddress { transport: TransportKind::Quic, token: token.to_owned() })
}

impl Transports {
    /// None runs yet.
    pub fn new() -> Self {
        let status = TransportStatus { name: "quic".into(), state: "off".into(), problem: String::new() };
        Self {
            running: RwLock::new(None),
            duty: Mutex::default(),
            carriage_open: AtomicBool::new(true),
            status: Mutex::new(status),
        }
    }

    fn running(&self) -> Option<Running> {
        self.running.read().unwrap_or_else(PoisonError::into_inner).clone()
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
        match (self.running(), peer_address(peer)) {
            (Some(Running { own, quic, .. }), Some(address)) => (own, quic.dial(&address).await),
            (running, _) => {
                let own = running.map_or(NodeKey([0; 32]), |running| running.own);
                (own, Err(DialError::Unknown { kind: TransportKind::Quic, token: peer.0.clone() }))
            }
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
        if let Some(running) = self.running() {
            running.quic.set_discovery(*self.duty.lock().unwrap_or_else(PoisonError::into_inner));
            running.quic.set_carriage_open(self.carriage_open.load(Ordering::Relaxed));
        }
    }

    /// A transport has a problem that the user should see.
    pub fn problem(&self, problem: String) {
        self.set_status("trouble", problem);
    }

    /// The transport works (again).
    pub fn ready(&self) {
        self.set_status("up", String::new());
    }

    fn set_status(&self, state: &str, problem: String) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone_into(&mut status.state);
        status.problem = problem;
    }

    /// For `pigeon status`.
    pub fn status(&self) -> Vec<TransportStatus> {
        vec![self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()]
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
    if !config.quic.enabled {
        return;
    }
    let lifetime = Duration::from_secs(u64::from(config.quic.rotate_h) * 3_600);
    while !cancel.is_cancelled() {
        let stop = CancellationToken::new();
        // A key older than its lifetime is replaced here, at start and at each rotation.
        let started = keys
            .node_secret(lifetime.as_secs(), &mut OsRandom)
            .map_err(TransportError::from)
            .and_then(|(secret, age)| {
                let own = secret.key();
                let quic = start(&config, &transports, &clock, secret.clone(), stop.clone(), inputs.clone())?;
                Ok((Running { own, secret, quic }, age))
            });
        let (running, age) = match started {
            Ok(started) => started,
            Err(error) => {
                tracing::error!(%error, "no neighbours can be found; trying again");
                transports.problem(error.to_string());
                tokio::select! { () = cancel.cancelled() => {}, () = tokio::time::sleep(RESTART) => {} }
                continue;
            }
        };
        let quic = running.quic.clone();
        *transports.running.write().unwrap_or_else(PoisonError::into_inner) = Some(running);
        transports.ready();
        transports.tell_wishes();
        poke_until_rotation(&quic, lifetime.saturating_sub(age), &mut network, &cancel).await;
        quic.shutdown().await;
        stop.cancel();
    }
}

/// Returns when the node key is due for rotation, or at `cancel`.
async fn poke_until_rotation(
    quic: &QuicTransport,
    lifetime: Duration,
    network: &mut watch::Receiver<u64>,
    cancel: &CancellationToken,
) {
    let rotate = tokio::time::sleep(lifetime);
    tokio::pin!(rotate);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = &mut rotate => {
                tracing::info!("rotating the node key");
                return;
            }
            // Without netlink this never comes, and the transport's own look at the interfaces has to do.
            Ok(()) = network.changed() => {
                tokio::time::sleep(SETTLE).await;
                network.mark_unchanged();
                quic.poke();
            }
        }
    }
}

fn start(
    config: &Config,
    transports: &Arc<Transports>,
    clock: &Clock,
    secret: NodeSecret,
    stop: CancellationToken,
    inputs: mpsc::Sender<Input>,
) -> Result<Arc<QuicTransport>, QuicError> {
    let own = secret.key();
    let (transports, clock) = (Arc::downgrade(transports), clock.clone());
    let hello = move || Hello {
        version: PROTOCOL_VERSION,
        carriage_open: transports
            .upgrade()
            .is_some_and(|transports| transports.carriage_open.load(Ordering::Relaxed)),
        clock_s: clock.trusted_wall_s(),
        bundle_size_max: u32::try_from(pigeon_bundle::BUNDLE_SIZE_MAX).unwrap_or(u32::MAX),
    };
    let quic = QuicConfig { listen: config.quic.listen, ..QuicConfig::default() };
    let (transport, events) = QuicTransport::start(quic, secret, hello, stop)?;
    tokio::spawn(forward(own, events, inputs));
    Ok(transport)
}

async fn forward(own: NodeKey, mut events: mpsc::Receiver<TransportEvent>, inputs: mpsc::Sender<Input>) {
    while let Some(event) = events.recv().await {
        if inputs.send(Input::Transport { own, event }).await.is_err() {
            return;
        }
    }
}
