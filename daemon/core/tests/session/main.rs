//! Sessions over cores wired directly: every frame arrives at once and in order, unless a test says otherwise.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests")]

mod carriage;
mod delivery;
mod energy;
mod hand_over;
mod pickup;
mod rules;
#[path = "../support/mod.rs"]
mod support;
mod transfer;
mod uplink;
mod world;
