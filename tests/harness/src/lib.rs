//! Real daemons, servers and network namespaces for whole-program tests and the demo.
//!
//! Nothing here imitates a part of the system: hosts are network namespaces, networks are bridges and veth
//! pairs, the XMPP servers are Debian's Prosody and ejabberd, the daemons are the workspace's own binaries. In the order
//! in which a test uses them:
//!
//! 1. [`require_root!`] skips (or, with `CI` set, fails) where namespaces cannot be made.
//! 2. [`netns::World`] makes hosts, segments and point-to-point links.
//! 3. [`server::Server`] runs one on a host or on plain loopback.
//! 4. [`node::Node`] is one `pigeond` with its CLI and its events, [`bridge::Bridge`] one `pigeon-bridge`;
//!    [`daemon::Daemon`] stops, kills and restarts either.
//! 5. [`watch::Watch`] waits for events, [`wait`] for what has no event.
//! 6. [`sandbox`] is for programs of their own, such as the demo: a private world that ends with them.
//!
//! Every process started here is killed when its value is dropped, and by the kernel when this process dies.

pub mod ble;
pub mod bridge;
pub mod cast;
pub mod daemon;
pub mod error;
pub mod event;
pub mod files;
pub mod netns;
pub mod node;
pub mod node_spec;
pub mod place;
pub mod privilege;
pub mod progress;
pub mod sandbox;
pub mod server;
pub mod spawn;
pub mod wait;
pub mod watch;

pub use bridge::{Bridge, BridgeSpec};
pub use cast::{Actor, Cast};
pub use daemon::Daemon;
pub use error::{HarnessError, Result};
pub use event::Event;
pub use node::Node;
pub use node_spec::{Account, NodeSpec};
pub use place::Place;
pub use privilege::Privilege;
pub use server::{Kind, Server, ServerSpec};
pub use spawn::Process;
pub use wait::Deadline;
pub use watch::Watch;
