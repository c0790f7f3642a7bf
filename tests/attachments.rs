//! Attachments between real daemons: whole pictures, in parts, over carriers of which some are lost.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use pigeon_harness::files::temp_dir;
use pigeon_harness::netns::{Host, Interface, Segment, World};
use pigeon_harness::node::text_of;
use pigeon_harness::wait::poll_until;
use pigeon_harness::{Cast, Node, NodeSpec, require_root};
use serde_json::Value;
use support::{PATIENCE, assert_inbox, go_underground, messages, soon, surface, until};

/// A picture in 17 parts, of which 19 travel, and its message in 3 bundles.
const PICTURE_SIZE: usize = 1 << 20;
const NEEDED: usize = 17;
const BUNDLES: usize = 19 + 3;

/// Bytes without repetitions, the same in every run.
fn picture(dir: &Path, size: usize) -> (PathBuf, Vec<u8>) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    })
    .take(size)
    .collect();
    let path = dir.join("the soup.png");
    fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

fn send(from: &Node, to: &str, text: &str, file: &Path) -> String {
    let reply = from.json(&["send", to, text, "--attach", file.to_str().unwrap()]).unwrap();
    text_of(&reply, "message_id")
}

fn attachment(node: &Node, which: &str, message: &str) -> Value {
    let all = messages(node, which);
    let found = all.iter().find(|m| m["message_id"] == message);
    found.map_or(Value::Null, |message| message["attachment"].clone())
}

fn complete(node: &Node, message: &str) {
    let of_message =
        |event: &pigeon_harness::Event| event.kind == "attachment_complete" && event.message_id == message;
    node.watch().wait_for(PATIENCE, "the whole attachment", of_message).unwrap();
}

/// The attachment as the command line writes it.
fn saved(node: &Node, message: &str, dir: &Path) -> Vec<u8> {
    let file = dir.join(format!("{}-{message}", node.name()));
    node.say(&["attachment", "save", message, file.to_str().unwrap()]).unwrap();
    fs::read(file).unwrap()
}

/// The number of bundles in a node's store.
fn held(node: &Node) -> usize {
    let stats = node.json(&["bundles", "stats"]).unwrap();
    ["own", "contact", "stranger"]
        .iter()
        .map(|pool| usize::try_from(stats[pool].as_u64().unwrap()).unwrap())
        .sum()
}

fn on(segment: &Segment, world: &World, name: &str, address: &str) -> (Host, Interface) {
    let host = world.host(name).unwrap();
    let interface = host.attach(segment, address).unwrap();
    (host, interface)
}

#[test]
fn two_nodes_without_any_server_exchange_a_picture() {
    require_root!();
    let (dir, world) = (temp_dir("pigeon-picture-").unwrap(), World::new());
    let segment = world.segment("street").unwrap();
    let start = |name: &str, address: &str| {
        Node::start(&on(&segment, &world, name, address).0, &NodeSpec::new(name), dir.path()).unwrap()
    };
    let (elaine, mut jerry) = (start("elaine", "10.2.0.2/24"), start("jerry", "10.2.0.3/24"));
    elaine.give_card_to(&jerry).unwrap();
    jerry.give_card_to(&elaine).unwrap();
    let (file, bytes) = picture(dir.path(), PICTURE_SIZE);
    let message = send(&elaine, "jerry", "look at this", &file);
    complete(&jerry, &message);
    assert_inbox(&jerry, std::slice::from_ref(&message));
    let received = attachment(&jerry, "inbox", &message);
    let expected = serde_json::json!({
        "name": "the soup.png", "media_type": "image/png", "size": PICTURE_SIZE, "state": "complete",
        "parts": NEEDED, "needed": NEEDED, "total": 19,
    });
    assert_eq!(received, expected);
    assert!(saved(&jerry, &message, dir.path()) == bytes, "the picture is another");
    let pipe = jerry.cli(&["attachment", "save", &message, "-"]).unwrap();
    assert!(pipe.stdout == bytes, "over the standard output");

    // One receipt for all of it, and then nobody holds anything of it.
    until(&elaine, "the receipt", || messages(&elaine, "outbox").iter().all(|m| m["state"] == "delivered"));
    assert_eq!(messages(&elaine, "outbox")[0]["receipts"], 1);
    for node in [&elaine, &jerry] {
        until(node, "forgetting all bundles", || held(node) == 0);
    }

    // A small one travels whole; it, and what is there already, survive a restart.
    let (small, small_bytes) = picture(dir.path(), 5_000);
    jerry.terminate(soon()).unwrap();
    let second = send(&elaine, "jerry", "", &small);
    assert_eq!(held(&elaine), 1, "one bundle");
    jerry.restart().unwrap();
    complete(&jerry, &second);
    assert_eq!(attachment(&jerry, "inbox", &second)["total"], 1);
    assert!(
        saved(&jerry, &second, dir.path()) == small_bytes
            && saved(&jerry, &message, &fresh(dir.path())) == bytes
    );
    until(&elaine, "both receipts", || messages(&elaine, "outbox").iter().all(|m| m["state"] == "delivered"));

    // A text has none.
    let text = text_of(&jerry.json(&["send", "elaine", "thanks"]).unwrap(), "message_id");
    until(&elaine, "the thanks", || !messages(&elaine, "inbox").is_empty());
    let none = elaine.cli(&["attachment", "save", &text, "-"]).unwrap();
    assert_eq!(none.status.code(), Some(5), "{}", String::from_utf8_lossy(&none.stderr));
    assert!(none.stdout.is_empty());
}

fn fresh(dir: &Path) -> PathBuf {
    let fresh = dir.join("fresh");
    fs::create_dir(&fresh).unwrap();
    fresh
}

/// Elaine meets carriers on the platform, one at a time; jerry meets them on the street, later.
struct Journey {
    dir: tempfile::TempDir,
    world: World,
    platform: Segment,
    street: Segment,
    author: Host,
    elaine: Node,
    jerry: Node,
}

/// A carrier on its way.
struct Carrier {
    node: Node,
    street: Interface,
}

impl Journey {
    fn begin(prefix: &str) -> Self {
        let (dir, world) = (temp_dir(prefix).unwrap(), World::new());
        let (platform, street) = (world.segment("platform").unwrap(), world.segment("street").unwrap());
        let (author, _) = on(&platform, &world, "elaine", "10.1.0.2/24");
        let elaine = Node::start(&author, &NodeSpec::new("elaine"), dir.path()).unwrap();
        let (recipient, _) = on(&street, &world, "jerry", "10.2.0.2/24");
        let jerry = Node::start(&recipient, &NodeSpec::new("jerry"), dir.path()).unwrap();
        elaine.give_card_to(&jerry).unwrap();
        jerry.give_card_to(&elaine).unwrap();
        Self { dir, world, platform, street, author, elaine, jerry }
    }

    /// A stranger to both, who takes so many bundles of strangers and no more. She comes to the platform and leaves it
    /// with them.
    fn carry(&self, name: &str, number: u8, bundles: usize) -> Carrier {
        let host = self.world.host(name).unwrap();
        let street = host.attach(&self.street, &format!("10.2.0.{number}/24")).unwrap();
        street.down().unwrap();
        let platform = host.attach(&self.platform, &format!("10.1.0.{number}/24")).unwrap();
        let spec =
            NodeSpec { tables: format!("[carry]\ndaily_bundles = {bundles}\n"), ..NodeSpec::new(name) };
        let node = Node::start(&host, &spec, self.dir.path()).unwrap();
        // Not all of them need come with copies: where two links were made, the second may cut the first short.
        until(&node, &format!("{bundles} bundles"), || held(&node) >= bundles);
        platform.down().unwrap();
        Carrier { node, street }
    }
}

#[test]
fn two_carriers_with_a_part_of_the_parts_each_bring_the_whole() {
    require_root!();
    let journey = Journey::begin("pigeon-parts-");
    let (file, bytes) = picture(journey.dir.path(), PICTURE_SIZE);
    let message = send(&journey.elaine, "jerry", "half by half", &file);
    // Neither has 17 parts. What was not handed over yet is offered first, so both have all of it together.
    let kramer = journey.carry("kramer", 11, 12);
    let newman = journey.carry("newman", 12, 12);
    assert_eq!((held(&kramer.node), held(&newman.node)), (12, 12));
    kramer.street.up().unwrap();
    let jerry = &journey.jerry;
    let opened = || jerry.watch().matching(|event| event.kind == "purged").len();
    until(jerry, "what kramer has", || opened() >= 12);
    assert!(jerry.watch().matching(|event| event.kind == "attachment_complete").is_empty());
    assert_ne!(attachment(jerry, "inbox", &message)["state"], "complete");
    newman.street.up().unwrap();
    complete(jerry, &message);
    assert!(saved(jerry, &message, journey.dir.path()) == bytes, "the picture is another");
    assert_inbox(jerry, std::slice::from_ref(&message));
    // Both carriers have their fill for today, so elaine comes for the receipt herself.
    journey.author.attach(&journey.street, "10.2.0.3/24").unwrap();
    until(&journey.elaine, "the receipt", || messages(&journey.elaine, "outbox")[0]["state"] == "delivered");
    until(&journey.elaine, "forgetting all bundles", || held(&journey.elaine) == 0);
}

#[test]
fn a_carrier_that_never_comes_and_parts_that_never_do_are_not_missed() {
    require_root!();
    let journey = Journey::begin("pigeon-lost-");
    let (file, bytes) = picture(journey.dir.path(), PICTURE_SIZE);
    let message = send(&journey.elaine, "jerry", "", &file);
    let mut kramer = journey.carry("kramer", 11, 9);
    // All but two: whichever they are, a message and 17 parts are among these.
    let newman = journey.carry("newman", 12, BUNDLES - 2);
    kramer.node.kill9();
    let mut journey = journey;
    journey.elaine.kill9();
    newman.street.up().unwrap();
    complete(&journey.jerry, &message);
    assert!(saved(&journey.jerry, &message, journey.dir.path()) == bytes, "the picture is another");
}

#[test]
fn a_recipient_that_is_killed_between_parts_loses_none() {
    require_root!();
    let mut journey = Journey::begin("pigeon-killed-");
    let (file, bytes) = picture(journey.dir.path(), PICTURE_SIZE);
    let message = send(&journey.elaine, "jerry", "", &file);
    let kramer = journey.carry("kramer", 11, 12);
    let newman = journey.carry("newman", 12, 12);
    kramer.street.up().unwrap();
    let jerry = &journey.jerry;
    until(jerry, "some of it", || jerry.watch().matching(|event| event.kind == "purged").len() >= 5);
    journey.jerry.kill9();
    journey.jerry.restart().unwrap();
    newman.street.up().unwrap();
    complete(&journey.jerry, &message);
    assert!(saved(&journey.jerry, &message, journey.dir.path()) == bytes, "the picture is another");
    assert_inbox(&journey.jerry, std::slice::from_ref(&message));
}

#[test]
fn an_author_that_is_killed_while_sending_takes_the_parts_back() {
    require_root!();
    let (dir, world) = (temp_dir("pigeon-cut-off-").unwrap(), World::new());
    let start =
        |name: &str| Node::start(world.host(name).unwrap(), &NodeSpec::new(name), dir.path()).unwrap();
    let (mut elaine, jerry) = (start("elaine"), start("jerry"));
    jerry.give_card_to(&elaine).unwrap();
    let (file, _) = picture(dir.path(), 16 << 20);
    let mut sending =
        elaine.command(&["send", "jerry", "", "--attach", file.to_str().unwrap()]).spawn().unwrap();
    poll_until(PATIENCE, || (held(&elaine) >= 8).then_some(())).expect("no part is written");
    elaine.kill9();
    assert_eq!(sending.wait().unwrap().code(), Some(3), "it was all sent already");
    elaine.restart().unwrap();
    until(&elaine, "taking back the parts", || held(&elaine) == 0);
    assert!(messages(&elaine, "outbox").is_empty());
    // The next one is not concerned.
    let (small, _) = picture(dir.path(), 200_000);
    send(&elaine, "jerry", "", &small);
    assert_eq!(held(&elaine), 4 + 2 + 3);
}

/// A picture in 33 parts, of which 37 travel, and its message in 3 bundles.
const LARGE_SIZE: usize = 2 << 20;
const LARGE_BUNDLES: usize = 37 + 3;

/// One message, one file, one receipt.
fn assert_arrived_once(cast: &Cast, message: &str, bytes: &[u8], dir: &Path) {
    let (elaine, jerry) = (&cast.elaine.node, &cast.jerry.node);
    complete(jerry, message);
    assert!(saved(jerry, message, dir) == bytes, "the picture is another");
    surface(&cast.elaine);
    until(elaine, "the receipt", || messages(elaine, "outbox").iter().all(|m| m["state"] == "delivered"));
    until(elaine, "forgetting all bundles", || held(elaine) == 0);
    // The one receipt, which the bridge has.
    assert_eq!(held(jerry), 1);
    assert_eq!(messages(elaine, "outbox")[0]["receipts"], 1);
    assert_inbox(jerry, &[message.to_owned()]);
    for kind in ["attachment_complete", "message_received"] {
        let all = jerry.watch().matching(|event| event.kind == kind);
        assert_eq!(all.len(), 1, "{all:?}");
    }
}

#[test]
fn all_parts_go_up_by_a_carrier_and_come_down_over_the_account() {
    require_root!();
    let dir = temp_dir("pigeon-bridged-").unwrap();
    let cast = Cast::assemble(dir.path()).unwrap();
    go_underground(&cast);
    let (file, bytes) = picture(dir.path(), LARGE_SIZE);
    let message = send(&cast.elaine.node, "jerry", "from below", &file);
    let kramer = &cast.kramer.node;
    until(kramer, "all of it", || held(kramer) == LARGE_BUNDLES);
    surface(&cast.kramer);
    complete(&cast.jerry.node, &message);
    assert_arrived_once(&cast, &message, &bytes, dir.path());
}

#[test]
fn some_parts_over_the_account_and_some_over_the_street_are_one_picture() {
    require_root!();
    let dir = temp_dir("pigeon-two-ways-").unwrap();
    let cast = Cast::assemble(dir.path()).unwrap();
    // George has no account. He takes twelve bundles and meets jerry; then he has seen enough.
    let (platform, alley) = (cast.world.segment("platform").unwrap(), cast.world.segment("alley").unwrap());
    let host = cast.world.host("george").unwrap();
    let down_there = host.attach(&platform, "10.1.0.40/24").unwrap();
    let george = NodeSpec { tables: "[carry]\ndaily_bundles = 12\n".to_owned(), ..NodeSpec::new("george") };
    let george = Node::start(&host, &george, dir.path()).unwrap();
    go_underground(&cast);
    let (file, bytes) = picture(dir.path(), LARGE_SIZE);
    let message = send(&cast.elaine.node, "jerry", "two ways", &file);
    let kramer = &cast.kramer.node;
    until(&george, "twelve bundles", || held(&george) >= 12);
    until(kramer, "all of it", || held(kramer) == LARGE_BUNDLES);
    down_there.down().unwrap();
    host.attach(&alley, "10.3.0.2/24").unwrap();
    cast.world.host("jerry").unwrap().attach(&alley, "10.3.0.3/24").unwrap();
    until(&george, "handing over what he has", || held(&george) == 0);
    let jerry = &cast.jerry.node;
    assert!(jerry.watch().matching(|event| event.kind == "attachment_complete").is_empty());
    surface(&cast.kramer);
    assert_arrived_once(&cast, &message, &bytes, dir.path());
}
