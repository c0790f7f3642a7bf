//! Both sessions against a real Prosody, each test with a server of its own. Without Prosody they are skipped, loudly;
//! where `CI` is set they fail.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod client;
mod component;
mod proxy;
mod support;
