//! What the session tests and the simulation share: real bundles, and a node around a core.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "tests")]

pub mod mailbox;
pub mod node;
pub mod pool;
