//! What the tasks say to the shell, and what the shell says to the uplink.

use futures::future::BoxFuture;
use pigeon_bundle::{BundleId, Commitment, NodeKey, NodeSecret, Reveal};
use pigeon_core::{CatalogError, Event as CoreEvent, LinkId, PeerId};
use pigeon_link::{DialError, Link, TransportEvent, TransportKind};
use pigeon_proto::{Introduction, PickupToken};
use pigeon_store::StoreError;
use pigeon_xmpp::ClientHandle;
use tokio::sync::oneshot;

use crate::meeting;

/// Inputs that wait for the core. Senders wait when it is full: links stop reading, apps stop submitting.
pub const INPUTS_MAX: usize = 1_024;

/// A write that is queued in the store; ends when it is durable.
pub type Commit = BoxFuture<'static, Result<(), StoreError>>;

/// What reaches the shell.
pub enum Input {
    /// Whether the r of this commitment is known in any way.
    IsRevealed {
        /// Of a bundle that came over XMPP.
        commitment: Commitment,
        /// Where to.
        answer: oneshot::Sender<Result<bool, CatalogError>>,
    },
    /// An event that is already in the core's words.
    Core(CoreEvent),
    /// A step of an introduction in person.
    Introduction {
        /// Over which link.
        link: LinkId,
        /// What the neighbour says.
        step: Introduction,
    },
    /// What a person wants who meets another.
    Meeting(meeting::Command),
    /// From the transport that runs under node key `own`.
    Transport {
        /// The node key of that transport.
        own: NodeKey,
        /// Which transport.
        kind: TransportKind,
        /// What it saw.
        event: TransportEvent,
    },
    /// A dial ended.
    Dialled {
        /// The node key it was made under.
        own: NodeKey,
        /// The sighting dialled.
        peer: PeerId,
        /// The link, or why there is none.
        result: Result<Link, DialError>,
    },
}

/// What the shell asks of the uplink.
pub enum UplinkCommand {
    /// Send these bundles up, in this order.
    Upload(Vec<BundleId>),
    /// Tell the bridge that these have arrived.
    Reveal(Vec<Reveal>),
    /// The session of an account, or of the first that has one.
    Client {
        /// Which; `None`: any.
        jid: Option<String>,
        /// Where to; `None` where there is no such session.
        answer: oneshot::Sender<Option<ClientHandle>>,
    },
    /// Keep a neighbour's token, and hand it in.
    Token {
        /// The node key that it is made out to.
        carrier: Box<NodeSecret>,
        /// The token.
        token: PickupToken,
    },
}
