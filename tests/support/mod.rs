//! What the whole-program tests share beside the harness.
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod portal;
pub(crate) mod scene;

use std::time::Duration;

use pigeon_harness::cast::{Actor, Cast};
use pigeon_harness::node::text_of;
use pigeon_harness::{Deadline, Node};
use serde_json::Value;

/// How long anything may take on a busy machine with two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The messages of `pigeon inbox` or `pigeon outbox`.
pub(crate) fn messages(node: &Node, which: &str) -> Vec<Value> {
    node.json(&[which]).unwrap()["messages"].as_array().unwrap().clone()
}

/// Sends a text; the ids of message and bundle.
pub(crate) fn send(from: &Node, to: &str, text: &str) -> (String, String) {
    let reply = from.json(&["send", to, text]).unwrap();
    (text_of(&reply, "message_id"), text_of(&reply, "bundle_id"))
}

/// Whether the node's store holds this bundle.
pub(crate) fn holds(node: &Node, bundle: &str) -> bool {
    node.cli(&["bundles", "show", bundle]).unwrap().status.success()
}

/// Waits until `look` is true, looking again with each event of `node`.
pub(crate) fn until(node: &Node, what: &str, mut look: impl FnMut() -> bool) {
    node.watch().wait_until(PATIENCE, &format!("{}: {what}", node.name()), || look().then_some(())).unwrap();
}

/// Elaine and jerry exchange cards; then elaine, kramer and newman have only their platform.
pub(crate) fn go_underground(cast: &Cast) {
    cast.elaine.node.give_card_to(&cast.jerry.node).unwrap();
    cast.jerry.node.give_card_to(&cast.elaine.node).unwrap();
    for actor in [&cast.elaine, &cast.kramer, &cast.newman] {
        actor.internet.down().unwrap();
        enter_platform(actor);
    }
}

/// Onto the platform.
pub(crate) fn enter_platform(actor: &Actor) {
    actor.platform.as_ref().unwrap().up().unwrap();
}

/// Off the platform, and up to the internet.
pub(crate) fn surface(actor: &Actor) {
    actor.platform.as_ref().unwrap().down().unwrap();
    actor.internet.up().unwrap();
}

/// Exactly these messages are in the inbox, each once.
pub(crate) fn assert_inbox(node: &Node, ids: &[String]) {
    let mut found: Vec<String> = messages(node, "inbox").iter().map(|m| text_of(m, "message_id")).collect();
    let mut wanted = ids.to_vec();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted, "{}'s inbox", node.name());
}

/// All messages in the outbox are delivered, with one receipt each.
pub(crate) fn assert_receipts(node: &Node, count: usize) {
    let outbox = messages(node, "outbox");
    assert_eq!(outbox.len(), count, "{}'s outbox", node.name());
    for message in &outbox {
        assert_eq!(message["state"], "delivered", "{message}");
        assert_eq!(message["receipts"], 1, "{message}");
    }
}

/// A deadline for one step.
pub(crate) fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}
