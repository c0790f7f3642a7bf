//! Other implementations of RFC 9171 read our bundles with every block, carry them and give them back; we read
//! theirs. `bp7` is dtn7's codec, pyD3TN uD3TN's.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod blocks;
mod dtn7;
mod many;
mod pyd3tn;
mod rfc9173;
