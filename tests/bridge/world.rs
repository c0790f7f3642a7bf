//! A server, a bridge, and people with keys.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pigeon_bundle::{
    BridgeCard, BridgeDraft, Card, CardFields, Draft, Epoch, Identity, MailboxSecret, MessageId, Sealed,
    SecretRandom, UplinkDraft, seal, seal_to_bridge,
};
use pigeon_harness::files::temp_dir;
use pigeon_harness::{Bridge, BridgeSpec, Kind, Place, Server, ServerSpec};
use pigeon_proto::{Body, Content, Text};
use tempfile::TempDir;

use crate::gate::Gate;
use crate::session::{PATIENCE, Session};

pub const HOST: &str = "example.org";
pub const DAY_S: u64 = 86_400;
const CONTENT: &[u8] = b"no soup for you";
const PEOPLE: [&str; 5] = ["elaine", "jerry", "kramer", "newman", "george"];

pub struct World {
    pub server: Server,
    pub bridge: Bridge,
    /// The card that the bridge gave when it was asked.
    pub card: BridgeCard,
    dir: TempDir,
}

impl World {
    /// A server with everybody's accounts, and a bridge that is online.
    pub async fn new(kind: Kind) -> Self {
        Self::configured(kind, "").await
    }

    /// The same with more in the bridge's config.
    pub async fn configured(kind: Kind, more: &'static str) -> Self {
        Self::in_dir(kind, more, temp_dir("pigeon-bridge-").unwrap()).await
    }

    /// The same on a server with other settings.
    pub async fn on(
        kind: Kind,
        change: impl FnOnce(&mut ServerSpec) + Send + 'static,
        more: &'static str,
    ) -> Self {
        let server = server_of(kind, change).await;
        let address = server.component_addr();
        Self::with(server, address, more, temp_dir("pigeon-bridge-").unwrap()).await
    }

    /// The same in a folder that may have a ledger of a bridge already, on a server with room for another component,
    /// `b1` of the bridge's domain.
    pub async fn in_dir(kind: Kind, more: &'static str, dir: TempDir) -> Self {
        let server = server_of(kind, |spec| {
            spec.bridges = 2;
            // Prosody's archive on files costs time in proportion to its size for each message beyond its limit.
            spec.offline_max = Some(1_000_000);
        });
        let server = server.await;
        let address = server.component_addr();
        Self::with(server, address, more, dir).await
    }

    /// The same with a gate between server and bridge.
    pub async fn behind_a_gate(kind: Kind) -> (Self, Gate) {
        let server = server(kind).await;
        let gate = Gate::before(server.component_addr()).await;
        let world = Self::with(server, gate.address, "", temp_dir("pigeon-bridge-").unwrap()).await;
        (world, gate)
    }

    /// A server that shares a bridge's work between two instances, both online: the first in the world, and the second.
    pub async fn of_two_instances(kind: Kind) -> (Self, Bridge) {
        let server = server_with(kind, 2).await;
        let (server, first, second, dir) = tokio::task::spawn_blocking(move || {
            let dir = temp_dir("pigeon-bridge-").unwrap();
            let first = instance(&server, &dir, "b0", None);
            let name = format!("b1.{}", server.spec().bridge);
            let second = instance(&server, &dir, "b1", Some(&name));
            (server, first, second, dir)
        })
        .await
        .unwrap();
        let mut asking = Session::login(&server, "george").await;
        let card = BridgeCard::parse(&asking.card().await).unwrap();
        asking.logout().await;
        (Self { server, bridge: first, card, dir }, second)
    }

    /// Another instance in the place of a dead first one, with nothing but what the instances share.
    pub fn replace_first(&mut self) {
        self.bridge = instance(&self.server, &self.dir, "b2", None);
    }

    async fn with(server: Server, address: SocketAddr, more: &'static str, dir: TempDir) -> Self {
        let (server, bridge, dir) = tokio::task::spawn_blocking(move || {
            let spec = BridgeSpec { more: more.to_owned(), ..BridgeSpec::of(&server, &address.to_string()) };
            let bridge = Bridge::start(Place::Here, &spec, &server, dir.path()).unwrap();
            (server, bridge, dir)
        })
        .await
        .unwrap();
        let mut asking = Session::login(&server, "george").await;
        let card = BridgeCard::parse(&asking.card().await).unwrap();
        asking.logout().await;
        Self { server, bridge, card, dir }
    }

    pub async fn login(&self, name: &str) -> Session {
        Session::login(&self.server, name).await
    }

    pub fn restart_bridge(&mut self) {
        self.bridge.restart(&self.server).unwrap();
    }

    /// Runs `pigeon-bridge` beside the running one: whether it went well, and what it said.
    pub fn ask(&self, args: &[&str]) -> (bool, String) {
        self.bridge.ask(args).unwrap()
    }

    /// Waits until all that the bridge has sent is settled.
    pub async fn settled(&self) {
        self.until("everything is settled", || self.ask(&["status"]).1.contains("in flight   0\n")).await;
    }

    /// Waits until `holds`.
    pub async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        /// The bridge tells nobody.
        const POLL: Duration = Duration::from_millis(50);
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// The bridge's whole log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.bridge.daemon().log()).unwrap()
    }
}

/// An instance of a bridge: half of the shards are the component's with the bridge's name, half `b1`'s.
fn instance(server: &Server, dir: &TempDir, name: &str, component: Option<&str>) -> Bridge {
    let bridge = &server.spec().bridge;
    let address = |shard: usize| if shard < 8 { bridge.clone() } else { format!("b1.{bridge}") };
    let shards: Vec<String> = (0..16).map(address).collect();
    let component = component.map(|name| format!("component = {name:?}\n")).unwrap_or_default();
    let shared = dir.path().join("shared");
    let more = format!("{component}shards = {shards:?}\n[shared]\ndir = {shared:?}\ninstance = {name:?}");
    let spec = BridgeSpec { more, ..BridgeSpec::of(server, &server.component_addr().to_string()) };
    Bridge::start(Place::Here, &spec, server, &dir.path().join(name)).unwrap()
}

async fn server(kind: Kind) -> Server {
    server_with(kind, 1).await
}

async fn server_with(kind: Kind, bridges: usize) -> Server {
    server_of(kind, move |spec| spec.bridges = bridges).await
}

async fn server_of(kind: Kind, change: impl FnOnce(&mut ServerSpec) + Send + 'static) -> Server {
    let start = move || {
        let mut spec = ServerSpec::new(HOST).on(kind);
        for name in PEOPLE {
            spec = spec.user(name, &format!("pw-{name}"));
        }
        change(&mut spec);
        Server::start_on_loopback(spec).unwrap()
    };
    tokio::task::spawn_blocking(start).await.unwrap()
}

/// Somebody with an account and keys.
pub struct Person {
    pub name: &'static str,
    pub identity: Identity,
}

impl Person {
    pub fn new(name: &'static str) -> Self {
        Self { name, identity: Identity::generate(&mut System) }
    }

    pub fn jid(&self) -> String {
        format!("{}@{HOST}", self.name)
    }

    pub fn card(&self) -> Card {
        self.card_issued(now_s())
    }

    pub fn card_issued(&self, issued_s: u64) -> Card {
        let fields = CardFields {
            name: self.name.to_owned(),
            jids: vec![self.jid()],
            bridges: Vec::new(),
            mailbox_secret: MailboxSecret([5; 32]),
            prekey: self.identity.x25519_public(),
            prekey_expires_s: now_s() + DAY_S,
            issued_s,
        };
        Card::issue(&self.identity, &fields).unwrap()
    }

    /// A message to `recipient` by way of `bridge`.
    pub fn writes(&self, recipient: &Person, bridge: &BridgeCard) -> Sealed {
        self.writes_to(recipient, &recipient.jid(), bridge)
    }

    pub fn writes_to(&self, recipient: &Person, recipient_jid: &str, bridge: &BridgeCard) -> Sealed {
        self.claims(&self.jid(), recipient, recipient_jid, bridge)
    }

    /// The same with a message id of one's own choice.
    pub fn writes_with_id(&self, recipient: &Person, id: [u8; 16], bridge: &BridgeCard) -> Sealed {
        self.seals(&self.jid(), recipient, &recipient.jid(), id, CONTENT, bridge)
    }

    /// The same with so many bytes in it.
    pub fn writes_much(&self, recipient: &Person, bytes: usize, bridge: &BridgeCard) -> Sealed {
        self.seals(&self.jid(), recipient, &recipient.jid(), random_id(), &vec![b'x'; bytes], bridge)
    }

    /// The same under any author's name.
    pub fn claims(
        &self,
        author: &str,
        recipient: &Person,
        recipient_jid: &str,
        bridge: &BridgeCard,
    ) -> Sealed {
        self.seals(author, recipient, recipient_jid, random_id(), CONTENT, bridge)
    }

    /// A text for somebody without a card, which the bridge reads.
    pub fn writes_plain(&self, recipient_jid: &str, text: &str, bridge: &BridgeCard) -> Sealed {
        let (id, now_s) = (MessageId([7; 16]), now_s());
        let body = Body::Text(Text { id, thread: None, sent_ms: now_s * 1_000, text: text.to_owned() });
        let author = self.jid();
        let uplink = UplinkDraft {
            bridge,
            author_jid: &author,
            recipient_jid,
            message_id: id,
            sent_ms: now_s * 1_000,
        };
        let draft = BridgeDraft {
            content: &Content::new(body).encode().unwrap(),
            created_s: Some(now_s),
            epoch: Epoch::at(now_s),
            lifetime_s: 7 * DAY_S,
            uplink,
        };
        seal_to_bridge(&self.identity, &draft, &mut System).unwrap()
    }

    fn seals(
        &self,
        author: &str,
        recipient: &Person,
        recipient_jid: &str,
        message_id: [u8; 16],
        content: &[u8],
        bridge: &BridgeCard,
    ) -> Sealed {
        let now_s = now_s();
        let uplink = UplinkDraft {
            bridge,
            author_jid: author,
            recipient_jid,
            message_id: MessageId(message_id),
            sent_ms: now_s * 1_000,
        };
        let draft = Draft {
            recipient: &recipient.card(),
            content,
            created_s: Some(now_s),
            epoch: Epoch::at(now_s),
            lifetime_s: 7 * DAY_S,
            uplink: Some(uplink),
        };
        seal(&self.identity, &draft, &mut System).unwrap()
    }
}

fn random_id() -> [u8; 16] {
    let mut id = [0; 16];
    System.fill(&mut id);
    id
}

pub fn bytes_of(sealed: &Sealed) -> Bytes {
    sealed.bundle.as_bytes().clone()
}

pub fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// The operating system's randomness.
pub struct System;

impl SecretRandom for System {
    fn fill(&mut self, out: &mut [u8]) {
        getrandom::fill(out).unwrap();
    }
}
