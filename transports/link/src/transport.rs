//! What the daemon asks of a transport, and what it hears from one.

use futures::future::BoxFuture;

use crate::{DutyCycle, HandshakeError, Link, TransportKind};

/// A sighting's address, unique while it lasts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddress {
    /// Who has seen it.
    pub transport: TransportKind,
    /// The transport's own name for it: an mDNS instance, a BLE address.
    pub token: String,
}

/// What a transport reports. Its constructor returns the receiving end.
#[derive(Debug)]
pub enum TransportEvent {
    /// A peer is near, or what is known of it has changed.
    Seen {
        /// Give it to [`Transport::dial`].
        peer: PeerAddress,
        /// Whether this side dials at once, or waits for the other first (docs/wire-format.md section 6).
        dial_first: bool,
        /// Whether the peer takes mail of strangers.
        carriage_open: bool,
        /// Signal strength in dBm, where the transport knows one.
        rssi: Option<i16>,
    },
    /// A peer is gone. Links to it end by themselves.
    Lost {
        /// As in `Seen`.
        peer: PeerAddress,
    },
    /// A peer dialled and has proved its node key.
    Incoming(Link),
    /// The transport works again, or for the first time.
    Ready,
    /// The transport works in part or not at all: what is wrong and what to do, for people.
    Problem(String),
}

/// Why a dial gave no link.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The sighting is over.
    #[error("{kind} peer {token} is no longer in sight")]
    Unknown {
        /// The transport.
        kind: TransportKind,
        /// The sighting's token.
        token: String,
    },
    /// None of the peer's addresses answered.
    #[error("{kind} peer {token} does not answer: {attempts}")]
    Unreachable {
        /// The transport.
        kind: TransportKind,
        /// The sighting's token.
        token: String,
        /// Each address tried and what became of it.
        attempts: String,
    },
    /// Connected, but the peer did not prove who it is.
    #[error("handshake as dialler: {0}")]
    Handshake(#[from] HandshakeError),
    /// The transport is shutting down.
    #[error("the {kind} transport is shut down")]
    Shutdown {
        /// The transport.
        kind: TransportKind,
    },
}

/// A way to find peers and to connect to them.
pub trait Transport: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> TransportKind;

    /// Connects to a peer that was seen and authenticates. Dropping the future gives up.
    fn dial(&self, peer: &PeerAddress) -> BoxFuture<'_, Result<Link, DialError>>;

    /// Announces from now on whether this node takes mail of strangers.
    fn set_carriage_open(&self, open: bool);

    /// Looks for peers from now on as much as this allows. The first window of a new cycle begins at once.
    fn set_discovery(&self, duty: DutyCycle);

    /// Says goodbye to discovery, sends what links have queued, closes everything.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}
