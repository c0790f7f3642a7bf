//! What goes wrong below the nodes: they say so, and go on by themselves.

use std::fs;

use pigeon_harness::ble::Air;
use pigeon_harness::files::temp_dir;
use pigeon_harness::node::text_of;
use pigeon_harness::wait::poll_until;
use pigeon_harness::{Node, NodeSpec, Place};

use super::nodes;
use crate::support::{PATIENCE, messages, send, soon, until};

/// State and problem of Bluetooth, as `pigeon status` has them.
fn bluetooth(node: &Node) -> (String, String) {
    let status = node.json(&["status"]).unwrap();
    let all = status["transports"].as_array().unwrap();
    let ble = all.iter().find(|transport| transport["name"] == "ble").unwrap();
    (text_of(ble, "state"), text_of(ble, "problem"))
}

fn wait_state(node: &Node, what: &str, wanted: impl Fn(&str, &str) -> bool) {
    let reached = poll_until(soon(), || {
        let (state, problem) = bluetooth(node);
        wanted(&state, &problem).then_some(())
    });
    assert!(reached.is_some(), "{}: {what}, but it says {:?}", node.name(), bluetooth(node));
}

fn exchange(from: &Node, to: &Node, text: &str) {
    let (message, _) = send(from, to.name(), text);
    let received =
        |event: &pigeon_harness::Event| event.kind == "message_received" && event.message_id == message;
    to.watch().wait_for(PATIENCE, text, received).unwrap();
    until(from, "the receipt", || messages(from, "outbox").iter().all(|m| m["receipts"] == 1));
}

#[test]
#[ignore = "runs in the Bluetooth guest"]
fn a_killed_bluetoothd_pulled_adapters_a_blocked_radio_and_a_reset_controller_are_survived() {
    let (dir, air) = (temp_dir("pigeon-ble-").unwrap(), Air::clear().unwrap());
    let [elaine, jerry] = nodes(dir.path(), ["elaine", "jerry"]);
    elaine.give_card_to(&jerry).unwrap();
    jerry.give_card_to(&elaine).unwrap();
    exchange(&elaine, &jerry, "before anything goes wrong");

    air.set_bluetoothd(false).unwrap();
    wait_state(&elaine, "missing bluetoothd", |state, problem| {
        state == "trouble" && problem.contains("systemctl start bluetooth")
    });
    air.set_bluetoothd(true).unwrap();
    for node in [&elaine, &jerry] {
        wait_state(node, "up again", |state, _| state == "up");
    }
    exchange(&jerry, &elaine, "after bluetoothd was killed");

    air.set_adapters(false).unwrap();
    for node in [&elaine, &jerry] {
        wait_state(node, "missing its adapter", |state, _| state == "trouble");
    }
    air.set_adapters(true).unwrap();
    for node in [&elaine, &jerry] {
        wait_state(node, "up again", |state, _| state == "up");
    }
    exchange(&elaine, &jerry, "after the adapters were pulled");

    air.set_blocked(1, true).unwrap();
    wait_state(&jerry, "blocked", |state, problem| state == "trouble" && problem.contains("rfkill unblock"));
    air.set_blocked(1, false).unwrap();
    wait_state(&jerry, "up again", |state, _| state == "up");
    exchange(&jerry, &elaine, "after the radio was blocked");

    for adapter in [0, 1] {
        air.reset(adapter).unwrap();
        exchange(&elaine, &jerry, "after a controller was reset");
        exchange(&jerry, &elaine, "and the other way");
    }
    assert_eq!(fs::read_to_string(elaine.daemon().log()).unwrap().matches("panicked").count(), 0);
    assert_eq!(fs::read_to_string(jerry.daemon().log()).unwrap().matches("panicked").count(), 0);
}

#[test]
#[ignore = "runs in the Bluetooth guest"]
fn a_missing_adapter_is_named() {
    let dir = temp_dir("pigeon-ble-").unwrap();
    let newman = Node::start(Place::Here, &NodeSpec::new("newman").bluetooth("hci9"), dir.path()).unwrap();
    wait_state(&newman, "without adapter", |state, problem| {
        state == "trouble" && problem.starts_with("no Bluetooth adapter hci9: plug it in")
    });
}
