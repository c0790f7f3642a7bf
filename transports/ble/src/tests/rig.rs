//! The same contract on a real BlueZ, in the guest of `tests/rig/ble`: between two adapters, over L2CAP and over GATT.

use std::path::Path;
use std::time::Duration;

use pigeon_harness::ble::{Guest, run};

mod guest;
mod strangers;

#[test]
fn contract_on_bluez() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    run(
        root,
        Guest { controllers: 2, limit: Duration::from_secs(900) },
        &["tests::rig::guest::l2cap_channels::"],
    );
}

#[test]
fn contract_over_gatt_on_bluez() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    run(root, Guest { controllers: 3, limit: Duration::from_secs(900) }, &["tests::rig::guest::gatt"]);
}

#[test]
fn strangers_on_bluez() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    run(root, Guest { controllers: 3, limit: Duration::from_secs(600) }, &["tests::rig::strangers"]);
}

/// `make bench-ble`.
#[test]
#[ignore = "a benchmark: `make bench-ble`"]
fn bench_on_bluez() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    run(root, Guest { controllers: 2, limit: Duration::from_secs(400) }, &["tests::rig::guest::bench"]);
}
