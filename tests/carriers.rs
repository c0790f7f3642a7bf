//! Several carriers, strangers, and meetings without any bridge.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use pigeon_harness::files::temp_dir;
use pigeon_harness::netns::World;
use pigeon_harness::node::text_of;
use pigeon_harness::{Cast, Kind, Node, NodeSpec, require_root};
use support::{
    PATIENCE, assert_inbox, assert_receipts, enter_platform, go_underground, holds, messages, send, surface,
    until,
};

#[test]
fn three_carriers_with_the_same_message_make_one_delivery() {
    require_root!();
    let dir = temp_dir("pigeon-carriers-").unwrap();
    let cast = Cast::assemble(dir.path()).unwrap();
    go_underground(&cast);
    let (message, bundle) = send(&cast.elaine.node, "jerry", "one message, three ways up");
    for carrier in [&cast.kramer, &cast.newman] {
        carrier.wait(PATIENCE, "a copy", |event| event.is("taken", &bundle)).unwrap();
    }
    // The author herself is the third.
    for carrier in [&cast.kramer, &cast.newman, &cast.elaine] {
        surface(carrier);
    }
    for carrier in [&cast.kramer, &cast.newman, &cast.elaine] {
        let settled = |event: &pigeon_harness::Event| {
            event.is("bridge_accepted", &bundle) || event.is("purged", &bundle)
        };
        carrier.wait(PATIENCE, "the bridge's word", settled).unwrap();
    }
    let elaine = &cast.elaine.node;
    until(elaine, "the receipt", || messages(elaine, "outbox").iter().all(|m| m["receipts"] == 1));
    assert_inbox(&cast.jerry.node, &[message]);
    assert_receipts(&cast.elaine.node, 1);
    let received = cast.jerry.node.watch().matching(|event| event.kind == "message_received");
    assert_eq!(received.len(), 1, "{received:?}");
}

/// Nodes that meet on one segment, strangers to each other.
fn on_one_segment<const N: usize>(world: &World, dir: &std::path::Path, names: [&str; N]) -> [Node; N] {
    let segment = world.segment("platform").unwrap();
    let mut number = 1;
    names.map(|name| {
        number += 1;
        let host = world.host(name).unwrap();
        host.attach(&segment, &format!("10.1.0.{number}/24")).unwrap();
        Node::start(&host, &NodeSpec::new(name), dir).unwrap()
    })
}

/// Two nodes on one segment, who know each other.
fn pair(world: &World, dir: &std::path::Path) -> (Node, Node) {
    let [elaine, jerry] = on_one_segment(world, dir, ["elaine", "jerry"]);
    elaine.give_card_to(&jerry).unwrap();
    jerry.give_card_to(&elaine).unwrap();
    (elaine, jerry)
}

#[test]
fn two_nodes_without_any_server_exchange_messages_and_receipts() {
    require_root!();
    let (dir, world) = (temp_dir("pigeon-pair-").unwrap(), World::new());
    let (elaine, jerry) = pair(&world, dir.path());
    let (first, bundle) = send(&elaine, "jerry", "hello over the street");
    let (second, _) = send(&jerry, "elaine", "hello back");
    until(&elaine, "the receipt", || messages(&elaine, "outbox").iter().all(|m| m["receipts"] == 1));
    until(&jerry, "the receipt", || messages(&jerry, "outbox").iter().all(|m| m["receipts"] == 1));
    assert_inbox(&jerry, &[first]);
    assert_inbox(&elaine, &[second]);
    until(&elaine, "forgetting the delivered bundle", || !holds(&elaine, &bundle));
    // They are contacts, so each knows whom it has met.
    let met = |node: &Node, name: &str| {
        let neighbours = node.json(&["neighbours"]).unwrap();
        neighbours["neighbours"].as_array().unwrap().iter().any(|n| n["contact"] == name)
    };
    until(&elaine, "recognising jerry", || met(&elaine, "jerry"));
    until(&jerry, "recognising elaine", || met(&jerry, "elaine"));
}

#[test]
fn a_strangers_daemon_carries_and_cannot_open() {
    require_root!();
    let (dir, world) = (temp_dir("pigeon-stranger-").unwrap(), World::new());
    let [elaine, kramer] = on_one_segment(&world, dir.path(), ["elaine", "kramer"]);
    // Jerry is nowhere near: his daemon runs alone, only his card is here.
    let jerry = Node::start(world.host("jerry").unwrap(), &NodeSpec::new("jerry"), dir.path()).unwrap();
    jerry.give_card_to(&elaine).unwrap();
    // Even a carrier who knows both people must not see them in what he carries.
    jerry.give_card_to(&kramer).unwrap();
    elaine.give_card_to(&kramer).unwrap();
    let secret = "the vault is behind the painting";
    let (_, bundle) = send(&elaine, "jerry", secret);
    kramer.watch().wait_for(PATIENCE, "taking a copy", |event| event.is("taken", &bundle)).unwrap();
    let shown = kramer.json(&["bundles", "show", &bundle]).unwrap();
    let bytes = data_encoding::HEXLOWER.decode(text_of(&shown, "hex").as_bytes()).unwrap();
    assert!(bytes.len() > 300, "kramer holds the bundle itself");
    let identity = |node: &Node| {
        data_encoding::HEXLOWER.decode(text_of(&node.json(&["id"]).unwrap(), "identity").as_bytes()).unwrap()
    };
    for hidden in [secret.as_bytes(), b"elaine", b"jerry", &identity(&elaine), &identity(&jerry)] {
        assert!(
            !bytes.windows(hidden.len()).any(|window| window == hidden),
            "visible to a carrier: {hidden:02x?}"
        );
    }
    assert!(messages(&kramer, "inbox").is_empty());
    let log = std::fs::read_to_string(kramer.daemon().log()).unwrap();
    assert!(!log.contains(secret), "content in a log");
}

/// Elaine, who does not see the internet again, learns from kramer that the bridge refused what he carried.
fn a_refusal_comes_back_with_the_carrier(kind: Kind) {
    let dir = temp_dir("pigeon-refusal-").unwrap();
    let cast = Cast::assemble_on(kind, dir.path()).unwrap();
    go_underground(&cast);
    let elaine = &cast.elaine.node;
    // Somebody without a card, and without an account.
    let (message, bundle) = send(elaine, "nobody@example.org", "is anybody there?");
    cast.kramer.wait(PATIENCE, "a copy", |event| event.is("stored", &bundle)).unwrap();
    surface(&cast.kramer);
    cast.kramer.wait(PATIENCE, "the refusal", |event| event.is("bridge_refused", &bundle)).unwrap();
    cast.kramer.wait(PATIENCE, "the letter about it", |event| event.kind == "fetched").unwrap();
    assert_eq!(messages(elaine, "outbox")[0]["refusal"], "");
    cast.kramer.internet.down().unwrap();
    enter_platform(&cast.kramer);
    elaine.watch().wait_for(PATIENCE, "the refusal", |event| event.is("refusal_received", &bundle)).unwrap();
    let refused = messages(elaine, "outbox")[0].clone();
    assert_eq!(
        (text_of(&refused, "message_id"), text_of(&refused, "state")),
        (message, "refused".to_owned())
    );
    assert_eq!(refused["refusal"], "the recipient does not exist");
    assert!(messages(elaine, "inbox").is_empty(), "a refusal is no message");
}

mod prosody {
    #[test]
    fn a_refusal_comes_back_with_the_carrier() {
        pigeon_harness::require_root!();
        super::a_refusal_comes_back_with_the_carrier(pigeon_harness::Kind::Prosody);
    }
}

mod ejabberd {
    #[test]
    fn a_refusal_comes_back_with_the_carrier() {
        pigeon_harness::require_root!();
        super::a_refusal_comes_back_with_the_carrier(pigeon_harness::Kind::Ejabberd);
    }
}

/// Elaine takes back what kramer carries: he drops it, and jerry, who meets only kramer, never sees it.
#[test]
fn a_cancelled_message_is_dropped_by_its_carriers() {
    require_root!();
    let (dir, world) = (temp_dir("pigeon-cancel-").unwrap(), World::new());
    let [elaine, kramer] = on_one_segment(&world, dir.path(), ["elaine", "kramer"]);
    let jerry = Node::start(world.host("jerry").unwrap(), &NodeSpec::new("jerry"), dir.path()).unwrap();
    jerry.give_card_to(&elaine).unwrap();
    let (message, bundle) = send(&elaine, "jerry", "I did not mean it");
    let (kept, kept_bundle) = send(&elaine, "jerry", "I did mean this");
    for taken in [&bundle, &kept_bundle] {
        kramer.watch().wait_for(PATIENCE, "taking a copy", |event| event.is("taken", taken)).unwrap();
    }
    let cancelled = elaine.json(&["cancel", &message[..8]]).unwrap();
    assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
    assert_eq!(cancelled["hand_overs"], 1, "{cancelled}");
    until(&kramer, "dropping the copy", || !holds(&kramer, &bundle));
    until(&elaine, "dropping her own", || !holds(&elaine, &bundle));
    assert!(holds(&kramer, &kept_bundle), "and nothing else");
    let states: Vec<_> = messages(&elaine, "outbox").iter().map(|m| text_of(m, "state")).collect();
    assert_eq!(states, ["cancelled", "handed over"]);
    assert!(!kept.is_empty());
}

/// Cards over the air: a renewal reaches the contact, who writes by the new card after the old one is revoked.
#[test]
fn a_renewed_card_reaches_the_contacts_and_the_former_one_can_be_revoked() {
    require_root!();
    let (dir, world) = (temp_dir("pigeon-cards-").unwrap(), World::new());
    let (elaine, jerry) = pair(&world, dir.path());
    let (first, _) = send(&jerry, "elaine", "by the first card");
    until(&jerry, "the receipt", || messages(&jerry, "outbox").iter().all(|m| m["receipts"] == 1));
    let issued = |node: &Node| node.json(&["contact", "list"]).unwrap()["contacts"][0]["issued_ms"].as_u64();
    let before = issued(&jerry);
    let renewed = elaine.json(&["card", "renew"]).unwrap();
    assert!(text_of(&renewed, "card").starts_with("pigeon:card:"));
    until(&jerry, "the new card", || issued(&jerry) > before);
    assert_eq!(elaine.json(&["card", "list"]).unwrap()["cards"][0]["former"], 1);
    let revoked = elaine.json(&["card", "revoke"]).unwrap();
    assert_eq!(revoked["revoked"], 1, "{revoked}");
    let (second, _) = send(&jerry, "elaine", "by the second card");
    until(&jerry, "the receipt", || messages(&jerry, "outbox").iter().all(|m| m["receipts"] == 1));
    assert_inbox(&elaine, &[first, second]);
    assert!(messages(&jerry, "inbox").is_empty(), "a card is no message");
    // What delivered it goes: no update stays behind with either.
    until(&elaine, "forgetting what arrived", || {
        elaine.json(&["bundles", "list"]).unwrap()["bundles"].as_array().unwrap().is_empty()
    });
}
