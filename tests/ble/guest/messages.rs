//! Messages from end to end.

use pigeon_harness::ble::Air;
use pigeon_harness::files::temp_dir;

use super::{nodes, nodes_with};
use crate::support::{assert_inbox, assert_receipts, messages, send, until};

#[test]
#[ignore = "runs in the Bluetooth guest"]
fn two_nodes_without_any_network_exchange_a_message_and_its_receipt() {
    let (dir, _air) = (temp_dir("pigeon-ble-").unwrap(), Air::clear().unwrap());
    let [elaine, jerry] = nodes(dir.path(), ["elaine", "jerry"]);
    elaine.give_card_to(&jerry).unwrap();
    jerry.give_card_to(&elaine).unwrap();
    let (message, _) = send(&elaine, "jerry", "no network, no server");
    until(&elaine, "the receipt", || messages(&elaine, "outbox").iter().all(|m| m["receipts"] == 1));
    assert_inbox(&jerry, &[message]);
    assert_receipts(&elaine, 1);
    // A link may be there before its peer's first advertisement was heard; what it carries is counted once a second.
    let mut neighbours = serde_json::Value::Null;
    until(&elaine, "the link's figures", || {
        neighbours = elaine.json(&["neighbours"]).unwrap();
        let link = &neighbours["neighbours"][0];
        link["rssi_dbm"] != 0 && link["bytes_per_s"] != 0
    });
    let jerry = &neighbours["neighbours"][0];
    assert_eq!(jerry["transport"], "ble", "{neighbours}");
    assert_eq!(jerry["rssi_dbm"], -60, "{neighbours}");
    assert!(jerry["bytes_per_s"].as_u64().unwrap() > 0, "{neighbours}");
}

/// A message and its receipt, with `more` in the nodes' table `[ble]`.
fn exchange_with(more: &str) {
    let (dir, _air) = (temp_dir("pigeon-ble-").unwrap(), Air::clear().unwrap());
    let [elaine, jerry] = nodes_with(dir.path(), ["elaine", "jerry"], |mut spec| {
        spec.ble_more = more.to_owned();
        spec
    });
    elaine.give_card_to(&jerry).unwrap();
    jerry.give_card_to(&elaine).unwrap();
    let (message, _) = send(&elaine, "jerry", more);
    until(&elaine, "the receipt", || messages(&elaine, "outbox").iter().all(|m| m["receipts"] == 1));
    assert_inbox(&jerry, &[message]);
    assert_receipts(&elaine, 1);
}

#[test]
#[ignore = "runs in the Bluetooth guest"]
fn adapters_that_advertise_and_scan_in_turns_find_each_other() {
    exchange_with("roles = \"alternate\"");
}

#[test]
#[ignore = "runs in the Bluetooth guest"]
fn nodes_without_channels_talk_over_gatt() {
    exchange_with("bearers = \"gatt\"");
}
