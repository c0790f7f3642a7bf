//! What the tests against real servers share.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use pigeon_harness::{Server, ServerSpec};
use pigeon_xmpp::{
    ClientConfig, ClientEvent, ClientHandle, ComponentConfig, ComponentEvent, ComponentHandle, Delivery,
    OfflineReason, Secret, spawn_client, spawn_component,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long anything may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const BRIDGE: &str = "bridge.example.org";
const SECRET: &str = "component-secret";

/// A server with elaine and jerry; `None`, loudly, where there is no Prosody and `CI` is not set.
pub(crate) fn prosody(change: impl FnOnce(&mut ServerSpec)) -> Option<Server> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|dir| dir.join("prosody").exists()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "these tests need Prosody (apt-get install prosody prosody-modules)"
        );
        eprintln!("SKIPPED: no Prosody here (apt-get install prosody prosody-modules)");
        return None;
    }
    let mut spec = ServerSpec::new("example.org").user("elaine", "pw-elaine").user("jerry", "pw-jerry");
    change(&mut spec);
    Some(Server::start_on_loopback(spec).unwrap())
}

/// A client's session with its events.
pub(crate) struct Client {
    pub(crate) handle: ClientHandle,
    pub(crate) events: mpsc::Receiver<ClientEvent>,
}

/// `user`'s account on `server`, with short waits.
pub(crate) fn account(server: &Server, user: &str) -> ClientConfig {
    let jid = format!("{user}@example.org");
    let mut config = ClientConfig::new(jid, Secret::new(format!("pw-{user}")), BRIDGE);
    config.server = Some(server.c2s_addr().to_string());
    config.ca_file = Some(server.ca_file());
    config.resource = Some("test".to_owned());
    config.connect_timeout = PATIENCE;
    config.online_timeout = PATIENCE;
    config.retry_min = Duration::from_millis(50);
    config.retry_max = Duration::from_millis(500);
    config
}

impl Client {
    pub(crate) fn start(config: ClientConfig) -> Self {
        let (handle, events) = spawn_client(config, CancellationToken::new()).unwrap();
        Self { handle, events }
    }

    /// Starts a session and waits until it is online.
    pub(crate) async fn login(server: &Server, user: &str) -> Self {
        let mut client = Self::start(account(server, user));
        assert!(!client.online().await);
        client
    }

    /// Waits until online; whether the session was resumed.
    pub(crate) async fn online(&mut self) -> bool {
        wait_for(&mut self.events, |event| match event {
            ClientEvent::Online { resumed } => Some(resumed),
            _ => None,
        })
        .await
    }

    /// Waits until offline.
    pub(crate) async fn offline(&mut self) -> OfflineReason {
        wait_for(&mut self.events, |event| match event {
            ClientEvent::Offline { reason } => Some(reason),
            _ => None,
        })
        .await
    }

    /// Waits for the next bundle: its sender and its event.
    pub(crate) async fn bundle(&mut self) -> (String, ClientEvent) {
        wait_for(&mut self.events, |event| match &event {
            ClientEvent::Bundle { from, .. } => Some((from.clone(), event)),
            _ => None,
        })
        .await
    }
}

/// A bridge's session with its events.
pub(crate) struct Component {
    pub(crate) handle: ComponentHandle,
    pub(crate) events: mpsc::Receiver<ComponentEvent>,
}

/// The bridge on `server`, with short waits.
pub(crate) fn component(server: &Server) -> ComponentConfig {
    let mut config = ComponentConfig::new(BRIDGE, Secret::new(SECRET), server.component_addr().to_string());
    config.connect_timeout = PATIENCE;
    config.retry_min = Duration::from_millis(50);
    config.retry_max = Duration::from_millis(500);
    config.settle = Duration::from_millis(50);
    config.young = Duration::ZERO;
    config
}

impl Component {
    pub(crate) fn start(config: ComponentConfig) -> Self {
        let (handle, events) = spawn_component(config, CancellationToken::new()).unwrap();
        Self { handle, events }
    }

    /// Starts a session and waits until it is online with its privilege.
    pub(crate) async fn login(server: &Server) -> Self {
        let mut component = Self::start(component(server));
        assert_eq!(component.online().await.as_deref(), Some("urn:xmpp:privilege:2"));
        component
    }

    /// Waits until online; the privilege's namespace.
    pub(crate) async fn online(&mut self) -> Option<String> {
        wait_for(&mut self.events, |event| match event {
            ComponentEvent::Online { privilege_ns } => Some(privilege_ns),
            _ => None,
        })
        .await
    }

    /// Waits until offline.
    pub(crate) async fn offline(&mut self) -> OfflineReason {
        wait_for(&mut self.events, |event| match event {
            ComponentEvent::Offline { reason } => Some(reason),
            _ => None,
        })
        .await
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> ComponentEvent {
        wait_for(&mut self.events, Some).await
    }

    /// Delivers a message of one byte from elaine to jerry and waits until the server has it.
    pub(crate) async fn deliver(&self, byte: u8) {
        self.handle.deliver(message(byte)).await.unwrap();
        self.handle.sync().await.unwrap();
    }
}

/// A message from elaine to jerry.
pub(crate) fn message(byte: u8) -> Delivery {
    Delivery {
        author: "elaine@example.org".to_owned(),
        recipient: "jerry@example.org".to_owned(),
        message_id_hex: format!("{byte:032x}"),
        origin_id_hex: format!("{byte:064x}"),
        sent_ms: 1_767_323_045_678,
        body: Some("A message in a bundle.".to_owned()),
        bundle: Some(Bytes::from(vec![byte])),
    }
}

/// The first event that `pick` takes; fails when none comes in time.
pub(crate) async fn wait_for<E: Debug, T>(
    events: &mut mpsc::Receiver<E>,
    mut pick: impl FnMut(E) -> Option<T>,
) -> T {
    let mut seen = Vec::new();
    let found = tokio::time::timeout(PATIENCE, async {
        while let Some(event) = events.recv().await {
            seen.push(format!("{event:.200?}"));
            if let Some(found) = pick(event) {
                return found;
            }
        }
        panic!("the events ended after {seen:?}");
    })
    .await;
    found.unwrap_or_else(|_| panic!("in {PATIENCE:?} only {seen:?}"))
}
