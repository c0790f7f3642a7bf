//! Nodes with nothing but Bluetooth between them, on a real BlueZ: the tests of `guest` run in the guest that
//! `on_bluez` boots (`tests/rig/ble`).
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod guest;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Duration;

use pigeon_harness::ble::{Guest, run};

#[test]
fn on_bluez() {
    let guest = Guest { controllers: 4, limit: Duration::from_secs(1_800) };
    // All but the long ones.
    run(Path::new(env!("CARGO_MANIFEST_DIR")), guest, &["guest::", "--skip", "guest::soak"]);
}

/// `make soak-ble`: a large attachment, a cut after every packet of a contact, a thousand contacts, then half an hour of
/// arrivals and departures.
#[test]
#[ignore = "an hour and more: `make soak-ble`"]
fn soak_on_bluez() {
    for test in ["guest::soak::ten", "guest::soak::a_cut", "guest::soak::contacts", "guest::soak::arrivals"] {
        let guest = Guest { controllers: 4, limit: Duration::from_secs(4 * 3_600) };
        run(Path::new(env!("CARGO_MANIFEST_DIR")), guest, &[test]);
    }
}

/// `make bench-ble`: from in range to stored, over thirty contacts.
#[test]
#[ignore = "a benchmark: `make bench-ble`"]
fn bench_on_bluez() {
    let guest = Guest { controllers: 2, limit: Duration::from_secs(1_200) };
    run(Path::new(env!("CARGO_MANIFEST_DIR")), guest, &["guest::contacts"]);
}
