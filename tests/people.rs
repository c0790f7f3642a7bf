//! What an account brings beside bundles, on real servers: what came while it was away, and the people it knows.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use pigeon_harness::files::temp_dir;
use pigeon_harness::{Account, Bridge, BridgeSpec, Kind, Node, NodeSpec, Place, Server, ServerSpec};
use pigeon_xmpp::{ClientConfig, ClientEvent, Secret, spawn_client};
use support::{PATIENCE, messages, send, until};
use tokio_util::sync::CancellationToken;

const HOST: &str = "example.org";
const ELAINE: &str = "elaine@example.org";
const JERRY: &str = "jerry@example.org";

/// Elaine and Jerry with a node each, which never meet.
struct Scene {
    // Dropped in this order.
    elaine: Node,
    jerry: Node,
    _bridge: Bridge,
    server: Server,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn new(kind: Kind) -> Self {
        let dir = temp_dir("pigeon-people-").unwrap();
        let spec = ServerSpec::new(HOST).on(kind).user("elaine", "pw-elaine").user("jerry", "pw-jerry");
        let server = Server::start_on_loopback(spec).unwrap();
        let spec = BridgeSpec::of(&server, &server.component_addr().to_string());
        let bridge = Bridge::start(Place::Here, &spec, &server, dir.path()).unwrap();
        let node = |name: &str| {
            let account = Account {
                jid: format!("{name}@{HOST}"),
                password: format!("pw-{name}"),
                server: server.c2s_addr().to_string(),
                ca_file: server.ca_file(),
                bridge: server.spec().bridge.clone(),
            };
            let spec = NodeSpec { quic: false, ..NodeSpec::new(name).account(account) };
            let node = Node::start(Place::Here, &spec, dir.path()).unwrap();
            registered(&node);
            node
        };
        let (elaine, jerry) = (node("elaine"), node("jerry"));
        Self { elaine, jerry, _bridge: bridge, server, _dir: dir }
    }

    fn exchange_cards(&self) {
        self.elaine.give_card_to(&self.jerry).unwrap();
        self.jerry.give_card_to(&self.elaine).unwrap();
    }

    /// Another program of Jerry's takes what the server has for him, while `meanwhile` happens.
    fn on_his_phone(&self, bundles: usize, meanwhile: impl FnOnce()) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut config = ClientConfig::new(JERRY, Secret::new("pw-jerry"), self.server.spec().bridge.clone());
        config.server = Some(self.server.c2s_addr().to_string());
        config.ca_file = Some(self.server.ca_file());
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
}

fn registered(node: &Node) {
    node.watch().wait_for(PATIENCE, "registered", |event| event.kind == "uplink_registered").unwrap();
}

fn texts(node: &Node) -> Vec<String> {
    let mut texts: Vec<String> =
        messages(node, "inbox").iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect();
    texts.sort_unstable();
    texts
}

fn what_another_program_took_is_found_in_the_archive_once(kind: Kind) {
    let scene = Scene::new(kind);
    scene.exchange_cards();
    scene.jerry.say(&["account", "logout", JERRY]).unwrap();
    // More than a page.
    let written: Vec<String> = (0..25).map(|n| format!("message {n:02}")).collect();
    scene.on_his_phone(written.len(), || {
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

mod prosody {
    #[test]
    fn what_another_program_took_is_found_in_the_archive_once() {
        super::what_another_program_took_is_found_in_the_archive_once(pigeon_harness::Kind::Prosody);
    }

    #[test]
    fn people_find_each_other_by_their_accounts() {
        super::people_find_each_other_by_their_accounts(pigeon_harness::Kind::Prosody);
    }
}

mod ejabberd {
    #[test]
    fn what_another_program_took_is_found_in_the_archive_once() {
        super::what_another_program_took_is_found_in_the_archive_once(pigeon_harness::Kind::Ejabberd);
    }

    /// Open: after both subscriptions the card that the other published over PEP does not come (90 s).
    #[test]
    #[ignore = "on ejabberd the other's card does not come after the subscription; the cause is not found"]
    fn people_find_each_other_by_their_accounts() {
        super::people_find_each_other_by_their_accounts(pigeon_harness::Kind::Ejabberd);
    }
}
