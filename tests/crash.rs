//! `kill -9` of each program at each step of the story: nothing acknowledged is lost, nothing is delivered twice.
//!
//! One test per victim. The victim is killed and started again after each thing that can be half done: after the app
//! got its answer, in the middle of hand-overs, in the middle of uploads, after the delivery, after the receipt.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use pigeon_harness::files::temp_dir;
use pigeon_harness::{Cast, require_root};
use support::{
    assert_inbox, assert_receipts, enter_platform, go_underground, holds, messages, send, surface, until,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Victim {
    Elaine,
    Kramer,
    Jerry,
    Bridge,
}

fn crash(cast: &mut Cast, victim: Victim) {
    match victim {
        Victim::Elaine => cast.elaine.node.restart().unwrap(),
        Victim::Kramer => cast.kramer.node.restart().unwrap(),
        Victim::Jerry => cast.jerry.node.restart().unwrap(),
        Victim::Bridge => {
            cast.bridge.kill9();
            cast.bridge.restart(&cast.server).unwrap();
        }
    }
}

/// The first event of this kind at kramer, whatever the bundle: something is under way and not all of it done.
fn first(cast: &Cast, kind: &str) {
    cast.kramer.wait(support::PATIENCE, kind, |event| event.kind == kind).unwrap();
}

fn survives(victim: Victim) {
    let dir = temp_dir("pigeon-crash-").unwrap();
    let mut cast = Cast::assemble(dir.path()).unwrap();
    go_underground(&cast);

    let sent: Vec<(String, String)> =
        (1..=6).map(|n| send(&cast.elaine.node, "jerry", &format!("message {n}"))).collect();
    let ids: Vec<String> = sent.iter().map(|(message, _)| message.clone()).collect();
    crash(&mut cast, victim);
    assert_eq!(messages(&cast.elaine.node, "outbox").len(), ids.len(), "acknowledged to the app, then lost");

    first(&cast, "stored");
    crash(&mut cast, victim);
    let kramer = &cast.kramer.node;
    until(kramer, "holding all bundles", || sent.iter().all(|(_, bundle)| holds(kramer, bundle)));
    crash(&mut cast, victim);
    for (_, bundle) in &sent {
        assert!(holds(&cast.kramer.node, bundle), "kramer said that he had {bundle}");
    }

    surface(&cast.kramer);
    first(&cast, "uploaded");
    crash(&mut cast, victim);
    let jerry = &cast.jerry.node;
    until(jerry, "having something in the inbox", || !messages(jerry, "inbox").is_empty());
    crash(&mut cast, victim);
    let jerry = &cast.jerry.node;
    until(jerry, "having all messages in the inbox", || messages(jerry, "inbox").len() >= ids.len());

    surface(&cast.newman);
    surface(&cast.elaine);
    let elaine = &cast.elaine.node;
    let receipts = || messages(elaine, "outbox").iter().filter(|m| m["receipts"] == 1).count();
    until(elaine, "a first receipt", || receipts() > 0);
    crash(&mut cast, victim);
    let elaine = &cast.elaine.node;
    until(elaine, "all receipts", || messages(elaine, "outbox").iter().all(|m| m["state"] == "delivered"));

    for actor in [&cast.elaine, &cast.kramer, &cast.newman] {
        actor.internet.down().unwrap();
        enter_platform(actor);
    }
    for carrier in [&cast.kramer.node, &cast.newman.node] {
        until(carrier, "purging what was delivered", || {
            sent.iter().all(|(_, bundle)| !holds(carrier, bundle))
        });
    }
    for again in [Victim::Elaine, Victim::Jerry] {
        crash(&mut cast, again);
    }
    assert_inbox(&cast.jerry.node, &ids);
    assert_receipts(&cast.elaine.node, ids.len());
    assert!(
        messages(&cast.kramer.node, "inbox").is_empty() && messages(&cast.newman.node, "inbox").is_empty()
    );
}

#[test]
fn the_author_survives_kill_9_at_each_step() {
    require_root!();
    survives(Victim::Elaine);
}

#[test]
fn a_carrier_survives_kill_9_at_each_step() {
    require_root!();
    survives(Victim::Kramer);
}

#[test]
fn the_recipient_survives_kill_9_at_each_step() {
    require_root!();
    survives(Victim::Jerry);
}

#[test]
fn the_bridge_survives_kill_9_at_each_step() {
    require_root!();
    survives(Victim::Bridge);
}
