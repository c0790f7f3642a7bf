//! What an account brings beside bundles, on real servers: what came while it was away, and the people it knows.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use pigeon_harness::Kind;
use pigeon_xmpp::{ClientConfig, ClientEvent, Secret, spawn_client};
use support::scene::{ELAINE, JERRY, Scene, texts};
use support::{PATIENCE, messages, send, until};
use tokio_util::sync::CancellationToken;

/// Another program of Jerry's takes what the server has for him, while `meanwhile` happens.
fn on_his_phone(scene: &Scene, bundles: usize, meanwhile: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut config = ClientConfig::new(JERRY, Secret::new("pw-jerry"), scene.server.spec().bridge.clone());
    config.server = Some(scene.server.c2s_addr().to_string());
    config.ca_file = Some(scene.server.ca_file());
    config.resource = Some("phone".to_owned());
    let (handle, mut events) = {
        let _inside = runtime.enter();
        spawn_client(config, CancellationToken::new()).unwrap()
    };
    let mut next = || {
        let event = runtime.block_on(async { tokio::time::timeout(PATIENCE, events.recv()).await });
        event.unwrap().unwrap()
    };
    while !matches!(next(), ClientEvent::Online { .. }) {}
    meanwhile();
    let mut seen = 0;
    while seen < bundles {
        seen += usize::from(matches!(next(), ClientEvent::Bundle { .. }));
    }
    runtime.block_on(handle.shutdown());
}

fn what_another_program_took_is_found_in_the_archive_once(kind: Kind) {
    let scene = Scene::new(kind);
    scene.exchange_cards();
    scene.jerry.say(&["account", "logout", JERRY]).unwrap();
    // More than a page.
    let written: Vec<String> = (0..25).map(|n| format!("message {n:02}")).collect();
    on_his_phone(&scene, written.len(), || {
        for text in &written {
            send(&scene.elaine, "jerry", text);
        }
    });
    assert_eq!(messages(&scene.jerry, "inbox").len(), 0);
    let back = || {
        let mark = scene.jerry.watch().mark();
        scene.jerry.say(&["account", "login", JERRY]).unwrap();
        let registered = |event: &pigeon_harness::Event| event.kind == "uplink_registered";
        scene.jerry.watch().wait_after(mark, PATIENCE, "registered", registered).unwrap();
    };
    back();
    until(&scene.jerry, "everything from the archive", || texts(&scene.jerry) == written);
    // The next time there is nothing to catch up with: a new message is the only one that comes.
    scene.jerry.say(&["account", "logout", JERRY]).unwrap();
    let duplicates = scene.jerry.json(&["inbox"]).unwrap()["duplicates"].clone();
    back();
    send(&scene.elaine, "jerry", "one more");
    until(&scene.jerry, "one more", || texts(&scene.jerry).len() == written.len() + 1);
    assert_eq!(
        scene.jerry.json(&["inbox"]).unwrap()["duplicates"],
        duplicates,
        "read twice from the archive"
    );
}

fn people_find_each_other_by_their_accounts(kind: Kind) {
    let scene = Scene::new(kind);
    let (elaine, jerry) = (&scene.elaine, &scene.jerry);
    // A stranger sees no card.
    let found = elaine.json(&["contact", "search", JERRY]).unwrap();
    assert_eq!((found["card"].as_str(), found["subscription"].as_str()), (Some(""), Some("none")));
    elaine.say(&["contact", "add", JERRY]).unwrap();
    until(jerry, "a request", || jerry.json(&["contact", "requests"]).unwrap()["jid"][0] == ELAINE);
    jerry.say(&["contact", "accept", ELAINE]).unwrap();
    assert_eq!(jerry.json(&["contact", "requests"]).unwrap()["jid"].as_array().unwrap().len(), 0);
    // Elaine is told, sees his card, and has him as a contact whose name she has not confirmed.
    let contact = || elaine.json(&["contact", "list"]).unwrap()["contacts"][0].clone();
    until(elaine, "his card", || contact()["jid"][0] == JERRY);
    assert_eq!(contact()["introduced"], true);
    // She lets him see hers.
    until(elaine, "his request", || elaine.json(&["contact", "requests"]).unwrap()["jid"][0] == JERRY);
    elaine.say(&["contact", "accept", JERRY]).unwrap();
    let found = elaine.json(&["contact", "search", JERRY]).unwrap();
    assert_eq!(found["identity"], jerry.json(&["id"]).unwrap()["identity"]);
    until(jerry, "her card", || {
        jerry.json(&["contact", "search", ELAINE]).unwrap()["subscription"] == "both"
    });
    assert!(!elaine.cli(&["contact", "add", "not a jid"]).unwrap().status.success());
}

pigeon_harness::on_both_servers! {
    what_another_program_took_is_found_in_the_archive_once,
    people_find_each_other_by_their_accounts,
}
