//! CarrierPigeon's programs: the node daemon `pigeond`, the command line `pigeon` and the XMPP bridge `pigeon-bridge`.
//!
//! `docs/architecture.md` is the map. Each binary's `main` is one screen; what they do lives here.

pub mod accounts;
pub mod api;
pub mod battery;
pub mod bridge;
pub mod carriage;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connectivity;
pub mod daemon;
pub mod events;
pub mod folder;
pub mod input;
pub mod keys;
pub mod links;
pub mod mailbox;
pub mod meeting;
pub mod neighbours;
pub mod node;
pub mod notices;
pub mod paths;
pub mod random;
#[cfg(test)]
mod samples;
pub mod shell;
pub mod transports;
pub mod uplink;
