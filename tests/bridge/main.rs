//! The real `pigeon-bridge` on a real Prosody with sender checks on, with XMPP sessions as carriers, authors and
//! recipients.
#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "tests")]

#[path = "../support/mint.rs"]
mod mint;

mod crash;
mod doubt;
mod gate;
mod once;
mod operations;
mod registration;
mod reveal;
mod session;
mod trust;
mod world;
