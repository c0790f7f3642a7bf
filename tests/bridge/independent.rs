//! What slixmpp, a client that knows nothing of us, makes of deliveries, and what one with bad intentions can send.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use pigeon_bundle::{Sealed, VerdictCode};
use pigeon_harness::Kind;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::session::PATIENCE;
use crate::world::{HOST, Person, System, World, bytes_of};

/// A running `client.py`.
pub struct Client {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Client {
    pub fn start(python: &Path, world: &World, name: &str, mode: &[&str]) -> Self {
        let (address, ca) = (world.server.c2s_addr().to_string(), world.server.ca_file());
        let (jid, password) = (format!("{name}@{HOST}"), format!("pw-{name}"));
        Self::run(python, &[&[&*address, &*ca.to_string_lossy(), &*jid, &*password], mode].concat())
    }

    fn run(python: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bridge/client.py"))
            .args(args)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, output }
    }

    /// Somebody's push service: the server's second component.
    pub fn push_service(python: &Path, world: &World) -> Self {
        let spec = world.server.spec();
        Self::run(
            python,
            &[
                world.server.component_addr().to_string().as_str(),
                "-",
                &spec.shard_names()[0],
                &spec.component_secret,
                "push",
            ],
        )
    }

    /// Says that there is no more to send, and waits until it has logged out.
    pub async fn end(mut self) {
        drop(self.input);
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}");
    }

    pub async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.output.next_line()).await.unwrap().unwrap();
        line.expect("client.py ended too early")
    }

    /// Sends one stanza as it is; "sent", or "closed" when the server ended the stream for it.
    pub async fn raw(&mut self, stanza: &str) -> String {
        self.input.write_all(format!("{stanza}\n").as_bytes()).await.unwrap();
        self.line().await
    }
}

/// The interpreter with slixmpp; `None`, loudly, on machines without Python. CI must have it.
pub fn python() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing: run make venv", path.display());
    println!("SKIPPED: NO INDEPENDENT CLIENT LOOKED: there is no {}: run make venv", path.display());
    None
}

/// Whether the client was shown exactly this message of elaine's.
fn check(line: &str, message: &Sealed, message_id: &str, is_delayed_by_server: bool) {
    let shown: Value = serde_json::from_str(line).unwrap();
    assert_eq!(shown["from"], format!("elaine@{HOST}"), "{line}");
    assert_eq!(shown["to"], format!("jerry@{HOST}"), "{line}");
    assert_eq!(shown["id"], message_id, "{line}");
    assert_eq!(shown["origin_id"], message.bundle.message_digest().to_string(), "{line}");
    assert_eq!(shown["bundle"], true, "{line}");
    assert!(shown["body"].as_str().unwrap().contains("end-to-end encrypted"), "{line}");
    let delays = shown["delays"].as_array().unwrap();
    assert!(delays.iter().any(|delay| delay[0] == format!("elaine@{HOST}")), "{line}");
    assert!(!is_delayed_by_server || delays.len() > 1, "{line}");
}

pub async fn the_authors_address_and_id_are_right_for_online_offline_and_archived_recipients(kind: Kind) {
    let Some(python) = python() else { return };
    let world = World::new(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    world.login("elaine").await.register(&elaine.card()).await.unwrap();
    let mut carrier = world.login("kramer").await;
    let ids = ["01".repeat(16), "02".repeat(16)];
    let messages = [1, 2].map(|n| elaine.writes_with_id(&jerry, [n; 16], &world.card));

    let mut online = Client::start(&python, &world, "jerry", &["receive", "1"]);
    assert_eq!(online.line().await, "ready");
    assert_eq!(carrier.brings(&bytes_of(&messages[0]), &world.card).await, VerdictCode::Accepted);
    check(&online.line().await, &messages[0], &ids[0], false);
    assert!(online.output.next_line().await.unwrap().is_none());

    assert_eq!(carrier.brings(&bytes_of(&messages[1]), &world.card).await, VerdictCode::Accepted);
    let mut offline = Client::start(&python, &world, "jerry", &["receive", "1"]);
    let line = offline.line().await;
    // The stored message may come before or after the answer to the client's ping.
    let line = if line == "ready" { offline.line().await } else { line };
    check(&line, &messages[1], &ids[1], true);

    let mut archive = Client::start(&python, &world, "jerry", &["archive", "2"]);
    for (message, id) in messages.iter().zip(&ids) {
        check(&archive.line().await, message, id, false);
    }
}

pub async fn a_sender_forged_by_a_client_registers_nobody(kind: Kind) {
    let Some(python) = python() else { return };
    let world = World::new(kind).await;
    let (impostor, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut forger = Client::start(&python, &world, "newman", &["raw"]);
    assert_eq!(forger.line().await, "ready");
    let card = data_encoding::BASE64.encode(impostor.card().as_bytes());
    let stanza = format!(
        "<iq type='set' id='f' from='elaine@{HOST}/x' to='{bridge}'><register xmlns='urn:carrierpigeon:bridge:1'>{card}</register></iq>",
        bridge = world.card.domain()
    );
    let said = forger.raw(&stanza).await;
    // Prosody puts the true sender in its place, ejabberd ends the stream.
    assert_eq!(said, if kind == Kind::Prosody { "sent" } else { "closed" });
    let mut carrier = world.login("kramer").await;
    let message = impostor.writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::AuthorNotRegistered);
}

pub async fn a_forged_acceptance_does_not_reach_the_carrier_and_suppresses_no_mail(kind: Kind) {
    let Some(python) = python() else { return };
    let world = World::new(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    world.login("elaine").await.register(&elaine.card()).await.unwrap();
    let mut carrier = world.login("kramer").await;
    let mut to = world.login("jerry").await;
    let message = elaine.writes(&jerry, &world.card);
    let forged = pigeon_bundle::Verdict {
        bundle: message.bundle.id(),
        message: message.bundle.message_digest(),
        code: VerdictCode::Accepted,
        time_s: crate::world::now_s(),
    };
    let forged = forged.sign(&pigeon_bundle::BridgeIdentity::generate(&mut System));
    let forged = data_encoding::BASE64.encode(&forged);
    for (sender, ours) in [(None, true), (Some(world.card.domain()), kind == Kind::Prosody)] {
        let mut forger = Client::start(&python, &world, "newman", &["raw"]);
        assert_eq!(forger.line().await, "ready");
        let from = sender.map(|from| format!(" from='{from}'")).unwrap_or_default();
        let stanza = format!(
            "<message to='kramer@{HOST}'{from}><verdict xmlns='urn:carrierpigeon:bridge:1'>{forged}</verdict></message>"
        );
        assert_eq!(forger.raw(&stanza).await, if ours { "sent" } else { "closed" });
    }
    // The first verdict that the carrier sees is the bridge's own, and the message arrives.
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::Accepted);
    assert_eq!(to.receive().await.bundle, message.bundle);
}
