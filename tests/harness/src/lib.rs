//! Real daemons, servers and network namespaces for whole-program tests and the demo.
//!
//! Nothing here imitates a part of the system: hosts are network namespaces, networks are bridges and veth
//! pairs, the XMPP server is Debian's Prosody, the daemons are the workspace's own binaries. In the order
//! in which a test uses them:
//!
//! 1. [`require_root!`] skips (or, with `CI` set, fails) where namespaces cannot be made.
//! 2. [`netns::World`] makes hosts, segments and point-to-point links.
//! 3. [`prosody::Prosody`] runs a server on a host or on plain loopback.
//! 4. [`process`] finds and runs the daemons, [`node::Node`] wraps one `pigeond` with its CLI and events.
//! 5. [`wait`] waits for conditions with a deadline.
//!
//! Every process started here is killed when its value is dropped, and by the kernel when this process dies.

pub mod error;
pub mod place;
pub mod prosody;
pub mod spawn;
pub mod wait;

pub use error::HarnessError;
pub use place::Place;
pub use prosody::{Prosody, ProsodySpec};
pub use spawn::Process;
pub use wait::Deadline;
