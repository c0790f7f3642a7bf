//! Several nodes in one place.

use pigeon_harness::Node;
use pigeon_harness::ble::Air;
use pigeon_harness::files::temp_dir;
use pigeon_harness::node::text_of;

use super::nodes;
use crate::support::{messages, send, until};

/// The node keys that this node is linked with.
fn linked(node: &Node) -> Vec<String> {
    let reply = node.json(&["neighbours"]).unwrap();
    let mut keys: Vec<String> =
        reply["neighbours"].as_array().unwrap().iter().map(|n| text_of(n, "node_key")).collect();
    keys.sort();
    keys
}

#[test]
#[ignore = "runs in the Bluetooth guest"]
fn of_four_nodes_every_pair_ends_with_one_link_and_nobody_starves() {
    let (dir, _air) = (temp_dir("pigeon-ble-").unwrap(), Air::clear().unwrap());
    let nodes = nodes(dir.path(), ["elaine", "jerry", "kramer", "newman"]);
    for giver in &nodes {
        for other in nodes.iter().filter(|other| other.name() != giver.name()) {
            giver.give_card_to(other).unwrap();
        }
    }
    let keys: Vec<String> = nodes.iter().map(|node| node.node_key().unwrap()).collect();
    for (number, node) in nodes.iter().enumerate() {
        let mut others = keys.clone();
        others.remove(number);
        others.sort();
        until(node, "a link to each of the others, and no second", || linked(node) == others);
    }
    for from in &nodes {
        for to in nodes.iter().filter(|to| to.name() != from.name()) {
            send(from, to.name(), "to each of you");
        }
    }
    for node in &nodes {
        until(node, "all receipts", || messages(node, "outbox").iter().all(|m| m["receipts"] == 1));
        assert_eq!(messages(node, "inbox").len(), nodes.len() - 1, "{}", node.name());
    }
}
