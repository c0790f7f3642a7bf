//! What may go wrong between a node and its server, on real servers with real nodes: nothing is lost, nothing comes twice,
//! and what stands in the way is named.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use pigeon_harness::files::temp_dir;
use pigeon_harness::{Bridge, BridgeSpec, Event, Kind, Node, Place};
use support::portal::{Portal, Way};
use support::scene::{ELAINE, JERRY, Scene, node_spec, registered, server, texts};
use support::{PATIENCE, messages, send, until};

/// A node tries again at a certificate that it cannot accept after a minute, give or take half.
const SLOW_PATIENCE: Duration = Duration::from_secs(200);

fn write(scene: &Scene, numbers: std::ops::Range<usize>) -> Vec<String> {
    let texts: Vec<String> = numbers.map(|number| format!("message {number:03}")).collect();
    for text in &texts {
        send(&scene.elaine, "jerry", text);
    }
    texts
}

/// All has arrived, once, and its author knows.
fn all_arrived(scene: &Scene, written: &[String]) {
    until(&scene.jerry, "all messages", || texts(&scene.jerry).len() >= written.len());
    assert_eq!(texts(&scene.jerry), written);
    all_delivered(scene);
}

fn all_delivered(scene: &Scene) {
    let delivered =
        || messages(&scene.elaine, "outbox").iter().all(|message| message["state"] == "delivered");
    until(&scene.elaine, "all receipts", delivered);
}

fn a_server_that_restarts_in_the_middle_loses_nothing_and_doubles_nothing(kind: Kind) {
    let mut scene = Scene::new(kind);
    scene.exchange_cards();
    let mut written = write(&scene, 0..20);
    until(&scene.jerry, "the first", || !texts(&scene.jerry).is_empty());
    scene.server.restart().unwrap();
    written.extend(write(&scene, 20..40));
    all_arrived(&scene, &written);
}

fn cut_connections_are_resumed_and_nothing_is_lost_or_doubled(kind: Kind) {
    let portal = std::cell::OnceCell::new();
    let through = |server: &pigeon_harness::Server| {
        portal.get_or_init(|| Portal::new(Way::To(server.c2s_addr()))).address
    };
    let scene = Scene::on(kind, |_| {}, through);
    let portal = portal.get().unwrap();
    scene.exchange_cards();
    let mut written = Vec::new();
    for round in 0..3 {
        written.extend(write(&scene, round * 10..round * 10 + 5));
        // In the middle of it: both ways are full of what is not acknowledged.
        let marks = [&scene.elaine, &scene.jerry].map(|node| node.watch().mark());
        portal.cut();
        written.extend(write(&scene, round * 10 + 5..round * 10 + 10));
        for (node, mark) in [&scene.elaine, &scene.jerry].into_iter().zip(marks) {
            let online = |event: &Event| event.kind == "uplink_online";
            node.watch().wait_after(mark, PATIENCE, "online again", online).unwrap();
        }
    }
    all_arrived(&scene, &written);
    let resumed = |node: &Node| {
        std::fs::read_to_string(node.daemon().log()).unwrap().matches("online resumed=true").count()
    };
    assert!(resumed(&scene.elaine) >= 3 && resumed(&scene.jerry) >= 3, "not resumed");
}

fn what_a_full_offline_store_refuses_is_found_in_the_archive(kind: Kind) {
    // Prosody's limit is that of the archive, too, which keeps the newest; the offline store keeps the oldest.
    let scene = Scene::on(kind, |spec| spec.offline_max = Some(10), pigeon_harness::Server::c2s_addr);
    scene.exchange_cards();
    scene.jerry.say(&["account", "logout", JERRY]).unwrap();
    let written = write(&scene, 0..14);
    let gone = || messages(&scene.elaine, "outbox").iter().all(|message| message["state"] != "waiting");
    until(&scene.elaine, "the bridge's answers", gone);
    scene.jerry.say(&["account", "login", JERRY]).unwrap();
    all_arrived(&scene, &written);
}

/// As ejabberd is packaged: what is on its way for half a minute is not sent a second time behind it.
fn a_server_that_reads_slowly_gets_each_bundle_once(kind: Kind) {
    let scene = Scene::on(kind, |spec| spec.client_kb_per_s = Some(3), pigeon_harness::Server::c2s_addr);
    scene.exchange_cards();
    // Eleven seconds each on the line, of what does not shrink.
    let started = Instant::now();
    let mut state = 1_u64;
    let mut digit = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from_digit((state >> 40) as u32 % 36, 36).unwrap()
    };
    let mut written: Vec<String> = (0..2).map(|_| (0..20_000).map(|_| digit()).collect()).collect();
    for text in &written {
        send(&scene.elaine, "jerry", text);
    }
    all_delivered(&scene);
    // It comes after whatever else has been sent.
    written.push("the last".to_owned());
    send(&scene.elaine, "jerry", "the last");
    all_delivered(&scene);
    assert!(texts(&scene.jerry).iter().all(|text| written.contains(text)));
    assert_eq!(texts(&scene.jerry).len(), written.len());
    assert!(started.elapsed() > Duration::from_secs(15), "it was not slow");
    let same = || {
        let (_, status) = scene.bridge.ask(&["status"]).unwrap();
        let log = std::fs::read_to_string(scene.bridge.daemon().log()).unwrap();
        let delivered = log.matches("verdict=Accepted reason=\"delivered\"").count();
        assert!(delivered >= written.len(), "{status}");
        status.contains(&format!("uploads     {delivered}\n")).then_some(())
    };
    pigeon_harness::wait::poll_until(PATIENCE, same).expect("what was uploaded was not delivered each time");
}

/// A counter of the bridge.
fn counted(scene: &Scene, name: &str) -> u64 {
    let (_, page) = scene.bridge.ask(&["metrics"]).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("pigeon_bridge_{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in\n{page}")).parse().unwrap()
}

fn what_has_waited_for_the_server_goes_up_together(kind: Kind) {
    let scene = Scene::new(kind);
    scene.exchange_cards();
    scene.elaine.say(&["account", "logout", ELAINE]).unwrap();
    let written = write(&scene, 0..12);
    let before = ["uploads_total", "upload_messages_total"].map(|name| counted(&scene, name));
    scene.elaine.say(&["account", "login", ELAINE]).unwrap();
    all_arrived(&scene, &written);
    let after = ["uploads_total", "upload_messages_total"].map(|name| counted(&scene, name));
    let [uploads, messages] = [after[0] - before[0], after[1] - before[1]];
    // Jerry's receipts may come one by one; of Elaine's twelve four go in each message.
    assert!(uploads >= 24, "{uploads} uploads");
    assert!(messages + 9 <= uploads, "{uploads} uploads in {messages} messages");
}

/// A server that has lost an account's mail, and the account with it.
fn what_the_server_has_lost_is_fetched_from_the_bridge(kind: Kind) {
    let scene = Scene::new(kind);
    scene.exchange_cards();
    scene.jerry.say(&["account", "logout", JERRY]).unwrap();
    let written = write(&scene, 0..5);
    let gone = || messages(&scene.elaine, "outbox").iter().all(|message| message["state"] != "waiting");
    until(&scene.elaine, "the bridge's answers", gone);
    scene.server.remove_account("jerry").unwrap();
    scene.server.add_account("jerry", "pw-jerry").unwrap();
    scene.jerry.say(&["account", "login", JERRY]).unwrap();
    all_arrived(&scene, &written);
}

fn a_captive_portal_is_explained_and_passes(kind: Kind) {
    let real = server(kind, |_| {});
    // Whoever is in between has a certificate for the same name, by another authority.
    let false_one = server(kind, |_| {});
    let dir = temp_dir("pigeon-portal-").unwrap();
    let spec = BridgeSpec::of(&real, &real.component_addr().to_string());
    let _bridge = Bridge::start(Place::Here, &spec, &real, dir.path()).unwrap();
    let portal = Portal::new(Way::Page);
    let started = Instant::now();
    let spec = node_spec(&real, "elaine", portal.address);
    let elaine = Node::start(Place::Here, &spec, dir.path()).unwrap();
    let state = || elaine.json(&["status"]).unwrap()["uplinks"][0].clone();
    let problem = |part: &str| state()["problem"].as_str().unwrap().contains(part);
    let why = |part: &'static str| {
        let matches = move |event: &Event| event.kind == "uplink_offline" && event.detail.contains(part);
        elaine.watch().wait_for(SLOW_PATIENCE, part, matches).unwrap();
        assert!(problem(part), "{}", state());
    };
    why("login page");
    // Three more attempts, each after a longer wait: 1, 2 and 4 s at least.
    pigeon_harness::wait::poll_until(PATIENCE, || (portal.seen() >= 4).then_some(())).unwrap();
    assert!(started.elapsed() >= Duration::from_secs(7), "4 attempts in {:?}", started.elapsed());
    portal.set(Way::To(false_one.c2s_addr()));
    why("certificate");
    assert_eq!(state()["state"], "refused");
    let before = portal.seen();
    portal.set(Way::To(real.c2s_addr()));
    elaine.watch().wait_for(SLOW_PATIENCE, "registered", |event| event.kind == "uplink_registered").unwrap();
    registered(&elaine);
    assert!(portal.seen() <= before + 2, "{} connections to get through", portal.seen() - before);
    assert_eq!((state()["state"].as_str(), state()["problem"].as_str()), (Some("online"), Some("")));
}

pigeon_harness::on_both_servers! {
    a_server_that_restarts_in_the_middle_loses_nothing_and_doubles_nothing,
    cut_connections_are_resumed_and_nothing_is_lost_or_doubled,
    what_a_full_offline_store_refuses_is_found_in_the_archive,
    what_has_waited_for_the_server_goes_up_together,
    what_the_server_has_lost_is_fetched_from_the_bridge,
    a_server_that_reads_slowly_gets_each_bundle_once,
    a_captive_portal_is_explained_and_passes,
}
