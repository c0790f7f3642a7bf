//! Messages from end to end.

use pigeon_harness::ble::Air;
use pigeon_harness::files::temp_dir;

use super::nodes;
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
    let neighbours = elaine.json(&["neighbours"]).unwrap();
    let jerry = &neighbours["neighbours"][0];
    assert_eq!(jerry["transport"], "ble", "{neighbours}");
    assert_eq!(jerry["rssi_dbm"], -60, "{neighbours}");
    assert!(jerry["bytes_per_s"].as_u64().unwrap() > 0, "{neighbours}");
}
