//! An XMPP session of one account, as a node's uplink has it, with everything that came in kept until it is asked for.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use pigeon_bundle::{
    Acceptances, BridgeCard, Bundle, Card, PickupRequest, Reveal, Sealed, Verdict, VerdictCode,
};
use pigeon_harness::Server;
use pigeon_xmpp::{ClientConfig, ClientEvent, ClientHandle, Closed, IqError, PickedUp, spawn_client};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::world::HOST;

/// How long anything may take on a busy machine with two cores; less than the minute after which the bridge looks again
/// by itself at what is in doubt.
pub const PATIENCE: Duration = Duration::from_secs(50);

/// A message with a bundle, as its recipient's session sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub from: String,
    pub id: Option<String>,
    pub bundle: Bundle,
}

/// A bridge's word on one bundle, as it came.
enum Answer {
    Verdict { bytes: Vec<u8>, reveal: Option<[u8; 32]> },
    OneOf { acceptances: Vec<u8>, at: usize },
}

impl Answer {
    /// Signed by the bridge, or this panics.
    fn checked(self, bridge: &BridgeCard) -> (Verdict, Option<Reveal>) {
        match self {
            Self::Verdict { bytes, reveal } => {
                (Verdict::parse_verified(&bytes, bridge.key()).unwrap(), reveal.map(Reveal))
            }
            Self::OneOf { acceptances, at } => {
                let all = Acceptances::parse_verified(&acceptances, bridge.key()).unwrap();
                (all.verdicts().nth(at).unwrap(), None)
            }
        }
    }
}

pub struct Session {
    handle: ClientHandle,
    events: mpsc::Receiver<ClientEvent>,
    verdicts: VecDeque<Answer>,
    received: VecDeque<Received>,
    refusals: usize,
    /// Acceptances that came under one signature with others.
    pub accepted_together: usize,
    uploads: u64,
}

impl Session {
    pub async fn login(server: &Server, name: &str) -> Self {
        let bridge = &server.spec().bridge;
        let password = format!("pw-{name}");
        let mut config = ClientConfig::new(format!("{name}@{HOST}"), password, bridge.clone());
        config.server = Some(server.c2s_addr().to_string());
        config.ca_file = Some(server.ca_file());
        config.retry_min = Duration::from_millis(200);
        config.retry_max = Duration::from_secs(1);
        let (handle, events) = spawn_client(config, CancellationToken::new()).unwrap();
        let mut session = Self {
            handle,
            events,
            verdicts: VecDeque::new(),
            received: VecDeque::new(),
            refusals: 0,
            accepted_together: 0,
            uploads: 0,
        };
        session.online().await;
        session
    }

    /// Waits until it is logged in (again).
    pub async fn online(&mut self) {
        while !self.next("logging in").await {}
    }

    pub async fn logout(&self) {
        self.handle.shutdown().await;
    }

    pub async fn upload(&mut self, bytes: &Bytes) {
        self.try_upload(bytes).await.unwrap();
    }

    /// As [`Session::upload`], where it may not be sent.
    pub async fn try_upload(&mut self, bytes: &Bytes) -> Result<(), Closed> {
        self.uploads += 1;
        self.handle.upload(bytes.clone(), format!("u{}", self.uploads)).await.map(|_bytes| ())
    }

    /// Several in one message.
    #[allow(dead_code, reason = "benches/xmpp has its own")]
    pub async fn upload_together(&mut self, bridge: &BridgeCard, all: &[Bytes]) {
        self.uploads += 1;
        self.handle.upload_all(bridge.domain(), all, format!("u{}", self.uploads)).await.unwrap();
    }

    /// Sends a bundle as a message to anybody.
    #[allow(dead_code, reason = "for benches/xmpp")]
    pub async fn send(&mut self, to: &str, bytes: &Bytes) {
        self.uploads += 1;
        self.handle.upload_to(to, bytes.clone(), format!("u{}", self.uploads)).await.unwrap();
    }

    /// Sends an ordinary message with a bundle, straight to its recipient.
    #[allow(dead_code, reason = "for benches/xmpp")]
    pub async fn send_direct(&mut self, message: &pigeon_xmpp::Delivery) {
        self.handle.send_direct(message).await.unwrap();
    }

    /// The session itself.
    #[allow(dead_code, reason = "for benches/xmpp")]
    pub fn into_parts(self) -> (ClientHandle, mpsc::Receiver<ClientEvent>) {
        (self.handle, self.events)
    }

    /// Uploads to where the bridge's card says that this message goes.
    pub async fn carry(&mut self, message: &Sealed, bridge: &BridgeCard) {
        self.uploads += 1;
        let address = bridge.address(&message.bundle.message_digest());
        let bytes = message.bundle.as_bytes().clone();
        self.handle.upload_to(address, bytes, format!("u{}", self.uploads)).await.unwrap();
    }

    /// Uploads and waits for the verdict on exactly these bytes.
    pub async fn brings(&mut self, bytes: &Bytes, bridge: &BridgeCard) -> VerdictCode {
        self.upload(bytes).await;
        let (verdict, _) = self.verdict(bridge).await;
        if let Ok(bundle) = Bundle::parse(bytes.clone()) {
            assert_eq!((verdict.bundle, verdict.message), (bundle.id(), bundle.message_digest()));
        }
        verdict.code
    }

    /// The next verdict, signed by the bridge, and the reveal beside it.
    pub async fn verdict(&mut self, bridge: &BridgeCard) -> (Verdict, Option<Reveal>) {
        while self.verdicts.is_empty() {
            self.next("a verdict").await;
        }
        self.verdicts.pop_front().unwrap().checked(bridge)
    }

    /// Waits for something that passes for a verdict.
    #[allow(dead_code, reason = "for benches/xmpp")]
    pub async fn answer_of_any_kind(&mut self) {
        while self.verdicts.pop_front().is_none() {
            self.next("an answer").await;
        }
    }

    /// Everything that has come in within `wait`, and verdicts so far.
    pub async fn gather(&mut self, bridge: &BridgeCard, wait: Duration) -> Vec<Verdict> {
        if let Ok(event) = timeout(wait, self.events.recv()).await {
            self.take(event.unwrap());
        }
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
        self.verdicts.drain(..).map(|answer| answer.checked(bridge).0).collect()
    }

    /// The next delivery.
    pub async fn receive(&mut self) -> Received {
        while self.received.is_empty() {
            self.next("a delivery").await;
        }
        self.received.pop_front().unwrap()
    }

    /// Everything delivered until this message, which must come last: the server keeps the order of what one component
    /// sends to one recipient.
    pub async fn receive_until(&mut self, last: &Bundle) -> Vec<Received> {
        let mut all = Vec::new();
        loop {
            let received = self.receive().await;
            if received.bundle == *last {
                return all;
            }
            all.push(received);
        }
    }

    /// Uploads that came back because no bridge was there.
    pub fn refusals(&self) -> usize {
        self.refusals
    }

    pub async fn card(&mut self) -> Vec<u8> {
        self.handle.bridge_card().await.unwrap()
    }

    pub async fn register(&mut self, card: &Card) -> Result<u64, IqError> {
        self.handle.register(card.as_bytes()).await
    }

    /// As [`Session::register`], with the registered key's word.
    pub async fn register_over(&mut self, card: &Card, handover: &[u8; 64]) -> Result<u64, IqError> {
        self.handle.register_over(card.as_bytes(), handover).await
    }

    pub async fn revoke(&mut self) {
        self.handle.revoke().await.unwrap();
    }

    pub async fn reveal(&mut self, reveals: &[Reveal]) {
        let bytes: Vec<[u8; 32]> = reveals.iter().map(|reveal| reveal.0).collect();
        self.handle.reveal(&bytes).await.unwrap();
    }

    /// Hands in a token of delegated pick-up.
    pub async fn pick_up(&mut self, request: &PickupRequest) -> Result<PickedUp, IqError> {
        self.handle.pick_up(&request.to_bytes()).await
    }

    /// Takes one event; true for being online.
    async fn next(&mut self, what: &str) -> bool {
        let event = timeout(PATIENCE, self.events.recv()).await;
        let event = event.unwrap_or_else(|_| panic!("{what} did not happen within {PATIENCE:?}"));
        self.take(event.unwrap())
    }

    fn take(&mut self, event: ClientEvent) -> bool {
        match event {
            ClientEvent::Online { .. } => return true,
            ClientEvent::Verdict { bytes, reveal } => {
                self.verdicts.push_back(Answer::Verdict { bytes, reveal });
            }
            ClientEvent::Acceptances { bytes } => {
                let count = Acceptances::bundles_of(&bytes).unwrap().len();
                self.accepted_together += count;
                let one = |at| Answer::OneOf { acceptances: bytes.clone(), at };
                self.verdicts.extend((0..count).map(one));
            }
            ClientEvent::Bundle { from, bytes, message_id, taken, .. } => {
                let bundle = Bundle::parse(bytes.into()).unwrap();
                self.received.push_back(Received { from, id: message_id, bundle });
                taken.done();
            }
            ClientEvent::Refusal { .. } => self.refusals += 1,
            _ => {}
        }
        false
    }
}
