//! CarrierPigeon's programs: the node daemon `pigeond`, the command line `pigeon` and the XMPP bridge `pigeon-bridge`.
//!
//! `docs/architecture.md` is the map. Each binary's `main` is one screen; what they do lives here.

pub mod bridge;
pub mod cli;
pub mod paths;
pub mod random;
