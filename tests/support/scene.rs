//! Two people with accounts on one server, a bridge, and no other way to each other.

use std::net::SocketAddr;

use pigeon_harness::files::temp_dir;
use pigeon_harness::{Account, Bridge, BridgeSpec, Kind, Node, NodeSpec, Place, Server, ServerSpec};

use super::PATIENCE;

pub(crate) const HOST: &str = "example.org";
pub(crate) const ELAINE: &str = "elaine@example.org";
pub(crate) const JERRY: &str = "jerry@example.org";

/// Elaine and Jerry with a node each, which never meet.
pub(crate) struct Scene {
    // Dropped in this order.
    pub(crate) elaine: Node,
    pub(crate) jerry: Node,
    pub(crate) bridge: Bridge,
    pub(crate) server: Server,
    _dir: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new(kind: Kind) -> Self {
        Self::on(kind, |_| {}, Server::c2s_addr)
    }

    /// On a server with other settings, which the nodes reach at `address`.
    pub(crate) fn on(
        kind: Kind,
        change: impl FnOnce(&mut ServerSpec),
        address: impl Fn(&Server) -> SocketAddr,
    ) -> Self {
        let dir = temp_dir("pigeon-scene-").unwrap();
        let server = server(kind, change);
        let spec = BridgeSpec::of(&server, &server.component_addr().to_string());
        let bridge = Bridge::start(Place::Here, &spec, &server, dir.path()).unwrap();
        let node = |name: &str| {
            let spec = node_spec(&server, name, address(&server));
            let node = Node::start(Place::Here, &spec, dir.path()).unwrap();
            registered(&node);
            node
        };
        let (elaine, jerry) = (node("elaine"), node("jerry"));
        Self { elaine, jerry, bridge, server, _dir: dir }
    }

    pub(crate) fn exchange_cards(&self) {
        self.elaine.give_card_to(&self.jerry).unwrap();
        self.jerry.give_card_to(&self.elaine).unwrap();
    }
}

/// A server with both accounts.
pub(crate) fn server(kind: Kind, change: impl FnOnce(&mut ServerSpec)) -> Server {
    let mut spec = ServerSpec::new(HOST).on(kind).user("elaine", "pw-elaine").user("jerry", "pw-jerry");
    change(&mut spec);
    Server::start_on_loopback(spec).unwrap()
}

/// A node with an account on `server`, which it reaches at `address`, and no neighbours.
pub(crate) fn node_spec(server: &Server, name: &str, address: SocketAddr) -> NodeSpec {
    let account = Account {
        jid: format!("{name}@{HOST}"),
        password: format!("pw-{name}"),
        server: address.to_string(),
        ca_file: server.ca_file(),
        bridge: server.spec().bridge.clone(),
    };
    NodeSpec { quic: false, ..NodeSpec::new(name).account(account) }
}

/// Waits until the bridge has the node's card.
pub(crate) fn registered(node: &Node) {
    node.watch().wait_for(PATIENCE, "registered", |event| event.kind == "uplink_registered").unwrap();
}

/// The texts in the inbox, in order of the alphabet.
pub(crate) fn texts(node: &Node) -> Vec<String> {
    let texts = super::messages(node, "inbox");
    let mut texts: Vec<String> =
        texts.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect();
    texts.sort_unstable();
    texts
}
