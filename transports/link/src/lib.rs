//! Links between nodes: what every transport gives, and how two nodes prove who they are on one.
//!
//! 1. A [`Transport`] reports sightings, dials and accepts ([`TransportEvent`]).
//! 2. What it has connected is a [`RawLink`]: frames in order both ways, and a channel binding. Nothing on it
//!    is trusted yet.
//! 3. [`authenticate`] turns a raw link into a [`Link`]: `Hello` and `Auth` both ways
//!    (docs/wire-format.md section 6), after which the peer's node key is known and frames are checked ones.
//!
//! [`memory`] is a transport without a network, for simulations. [`contract`] is the suite that every
//! transport passes; other crates get it with the feature `contract`.
//!
//! Nothing here has an opinion about bundles.

#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod discovery;
mod handshake;
mod link;
pub mod memory;
mod meta;
mod raw;
mod transport;

pub use discovery::DutyCycle;
pub use handshake::{AUTH_TIMEOUT, HandshakeError, HandshakeStep, auth_signature, authenticate};
pub use link::{Link, LinkError, LinkReceiver, LinkSender, TrySendError};
pub use meta::{AddressClass, CostClass, LinkMeta, Role, TransportKind};
pub use raw::{FLUSH_TIMEOUT, FRAME_QUEUE_MAX, RawLink};
pub use transport::{DialError, PeerAddress, Transport, TransportEvent};
