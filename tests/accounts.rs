//! `pigeon account` on real servers: accounts come and go while the daemon runs, and what is wrong with one is said with
//! its remedy, without asking the server again and again.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use pigeon_harness::files::temp_dir;
use pigeon_harness::{Bridge, BridgeSpec, Kind, Node, NodeSpec, Place, Server, ServerSpec};
use serde_json::Value;
use support::until;

const HOST: &str = "example.org";
const ELAINE: &str = "elaine@example.org";
const BENES: &str = "benes@example.org";

/// A server, a bridge, and a node without an account.
struct Scene {
    // Dropped in this order.
    node: Node,
    bridge: Bridge,
    server: Server,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new(kind: Kind) -> Self {
        let dir = temp_dir("pigeon-accounts-").unwrap();
        let mut spec = ServerSpec::new(HOST).on(kind).user("elaine", "no soup for you");
        spec.register = true;
        let server = Server::start_on_loopback(spec).unwrap();
        let spec = BridgeSpec::of(&server, &server.component_addr().to_string());
        let bridge = Bridge::start(Place::Here, &spec, &server, dir.path()).unwrap();
        let spec = NodeSpec { quic: false, ..NodeSpec::new("node") };
        let node = Node::start(Place::Here, &spec, dir.path()).unwrap();
        Self { node, bridge, server, dir }
    }

    /// `pigeon account` with a password on its standard input.
    fn account(&self, args: &[&str], password: &str) -> std::process::Output {
        let file = self.dir.path().join("typed");
        fs::write(&file, format!("{password}\n")).unwrap();
        let mut command = self.node.command(&["account"]);
        command.args(args).stdin(Stdio::from(fs::File::open(&file).unwrap())).output().unwrap()
    }

    fn add(&self, verb: &str, jid: &str, password: &str, more: &[&str]) -> std::process::Output {
        let (server, ca) = (self.server.c2s_addr().to_string(), self.server.ca_file());
        let mut args = vec![verb, jid, "--server", &server, "--ca-file", ca.to_str().unwrap()];
        args.extend(more);
        self.account(&args, password)
    }

    fn state(&self, jid: &str) -> Value {
        let reply = self.node.json(&["account", "list"]).unwrap();
        let accounts = reply["accounts"].as_array().unwrap().clone();
        accounts.into_iter().find(|account| account["jid"] == jid).unwrap_or_default()
    }

    fn wait_for(&self, jid: &str, what: &str, is: impl Fn(&Value) -> bool) {
        until(&self.node, what, || is(&self.state(jid)));
    }

    fn wait_online(&self, jid: &str) {
        self.wait_for(jid, "being registered", |state| {
            state["state"] == "online" && state["registered"] == true
        });
    }

    fn wait_refused(&self, jid: &str, part_of_problem: &str) {
        self.wait_for(jid, "being refused", |state| {
            state["state"] == "refused" && state["problem"].as_str().unwrap().contains(part_of_problem)
        });
        let shown = self.node.say(&["status"]).unwrap();
        assert!(shown.contains("refused as") && shown.contains(part_of_problem), "{shown}");
    }

    fn log_has(&self, words: &[&str]) -> bool {
        let log = fs::read_to_string(self.node.daemon().log()).unwrap();
        words.iter().any(|word| log.contains(word))
    }
}

fn succeeds(output: &std::process::Output) {
    assert!(output.status.success(), "{output:?}");
}

fn fails_with(output: &std::process::Output, what: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(what), "{output:?}");
}

/// Connections that a server has seen, by its own log.
fn connections(server: &Server) -> usize {
    let log = fs::read_to_string(server.log_file()).unwrap_or_default();
    let (word, port) = match server.kind() {
        Kind::Prosody => ("Client connected", String::new()),
        Kind::Ejabberd => ("Accepted connection", format!(":{}", server.c2s_addr().port())),
    };
    log.lines().filter(|line| line.contains(word) && line.contains(&port)).count()
}

/// The daemon connected once since there were `before`. A server writes its log when it likes.
fn connected_once(scene: &Scene, before: usize) {
    until(&scene.node, "being seen by the server", || connections(&scene.server) > before);
    assert_eq!(connections(&scene.server) - before, 1);
}

fn accounts_come_and_go_while_the_daemon_runs(kind: Kind) {
    let scene = Scene::new(kind);
    // An account that is there, and one that is made.
    succeeds(&scene.add("add", ELAINE, "no soup for you", &[]));
    scene.wait_online(ELAINE);
    succeeds(&scene.add("register", BENES, "first password", &[]));
    scene.wait_online(BENES);
    fails_with(&scene.add("register", BENES, "x", &[]), "is here already");
    fails_with(&scene.add("add", ELAINE, "x", &[]), "is here already");
    let identity = scene.node.json(&["id"]).unwrap();
    assert_eq!(identity["jid"], serde_json::json!([ELAINE, BENES]));
    // One session for each.
    let status = scene.node.json(&["status"]).unwrap();
    assert_eq!(status["uplinks"].as_array().unwrap().len(), 2);

    // The password changes at the server: the old one opens nothing any more.
    succeeds(&scene.account(&["passwd", BENES], "second password"));
    scene.wait_online(BENES);
    succeeds(&scene.account(&["logout", BENES], ""));
    scene.wait_for(BENES, "being logged out", |state| state["state"] == "logged out");
    succeeds(&scene.account(&["login", BENES], ""));
    scene.wait_online(BENES);
    succeeds(&scene.account(&["login", BENES, "--new-password"], "first password"));
    scene.wait_refused(BENES, "password");
    assert_eq!(scene.state(ELAINE)["state"], "online", "the other account goes on");
    succeeds(&scene.account(&["login", BENES, "--new-password"], "second password"));
    scene.wait_online(BENES);

    succeeds(&scene.account(&["remove", BENES], ""));
    assert_eq!(scene.state(BENES), Value::Null);
    fails_with(&scene.account(&["remove", BENES], ""), "there is no account");
    assert_eq!(scene.node.json(&["id"]).unwrap()["jid"], serde_json::json!([ELAINE]));
    assert!(!scene.log_has(&["no soup", "first password", "second password"]), "a password is in the log");
    drop(scene.bridge);
}

fn accounts_and_their_being_logged_out_survive_a_restart(kind: Kind) {
    let mut scene = Scene::new(kind);
    succeeds(&scene.add("add", ELAINE, "no soup for you", &[]));
    scene.wait_online(ELAINE);
    succeeds(&scene.add("register", BENES, "first password", &[]));
    scene.wait_online(BENES);
    succeeds(&scene.account(&["logout", BENES], ""));
    scene.node.restart().unwrap();
    scene.wait_online(ELAINE);
    assert_eq!(scene.state(BENES)["state"], "logged out");
}

/// Wrong password: one assertion on the state, one on the number of attempts. Likewise below.
fn a_wrong_password_is_said_and_asked_once(kind: Kind) {
    let scene = Scene::new(kind);
    let before = connections(&scene.server);
    succeeds(&scene.add("add", ELAINE, "wrong", &[]));
    scene.wait_refused(ELAINE, "password");
    // News of the network do not make it try again.
    for _ in 0..5 {
        scene.node.say(&["status"]).unwrap();
    }
    connected_once(&scene, before);
}

fn an_unknown_host_is_said_and_asked_once(kind: Kind) {
    let scene = Scene::new(kind);
    let before = connections(&scene.server);
    // Ejabberd would show the certificate of another host first; both name the domain.
    succeeds(&scene.add("add", "elaine@elsewhere.example", "x", &[]));
    scene.wait_refused("elaine@elsewhere.example", "elsewhere.example");
    connected_once(&scene, before);
}

fn a_bad_certificate_is_said_and_asked_once(kind: Kind) {
    let scene = Scene::new(kind);
    let before = connections(&scene.server);
    let server = scene.server.c2s_addr().to_string();
    // Without the CA file: nobody vouches for the server.
    succeeds(&scene.account(&["add", ELAINE, "--server", &server], "no soup for you"));
    scene.wait_refused(ELAINE, "CA file");
    connected_once(&scene, before);
}

fn a_server_that_registers_nobody_says_so(kind: Kind) {
    let dir = temp_dir("pigeon-accounts-").unwrap();
    let server = Server::start_on_loopback(ServerSpec::new(HOST).on(kind)).unwrap();
    let spec = NodeSpec { quic: false, ..NodeSpec::new("node") };
    let node = Node::start(Place::Here, &spec, dir.path()).unwrap();
    let password = dir.path().join("password");
    fs::write(&password, "x\n").unwrap();
    let (address, ca) = (server.c2s_addr().to_string(), server.ca_file());
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (ca, password) = (text(&ca), text(&password));
    let args =
        ["account", "register", ELAINE, "--server", &address, "--ca-file", &ca, "--password-file", &password];
    fails_with(&node.cli(&args).unwrap(), "does not let programs register accounts");
    assert_eq!(node.json(&["account", "list"]).unwrap()["accounts"].as_array().unwrap().len(), 0);
}

pigeon_harness::on_both_servers! {
    accounts_come_and_go_while_the_daemon_runs,
    accounts_and_their_being_logged_out_survive_a_restart,
    a_wrong_password_is_said_and_asked_once,
    an_unknown_host_is_said_and_asked_once,
    a_bad_certificate_is_said_and_asked_once,
    a_server_that_registers_nobody_says_so,
}
