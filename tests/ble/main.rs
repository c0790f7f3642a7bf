//! Nodes with nothing but Bluetooth between them, on a real BlueZ: the tests of `guest` run in the guest that
//! `on_bluez` boots (`tests/rig/ble`).
#![allow(clippy::unwrap_used, reason = "tests")]

mod guest;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Duration;

use pigeon_harness::ble::{Guest, run};

#[test]
fn on_bluez() {
    let guest = Guest { controllers: 4, limit: Duration::from_secs(600) };
    run(Path::new(env!("CARGO_MANIFEST_DIR")), guest, "guest::");
}
