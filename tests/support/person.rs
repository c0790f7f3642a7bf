//! A mailbox on a real store, without a network: its tests carry bundles by hand.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

use std::path::Path;
use std::sync::Arc;

use carrier_pigeon::accounts::Accounts;
use carrier_pigeon::clock::Clock;
use carrier_pigeon::config::{ClockMode, Config};
use carrier_pigeon::events::EventLog;
use carrier_pigeon::input::Input;
use carrier_pigeon::keys::Keys;
use carrier_pigeon::mailbox::{Arrival, Mailbox, OutboxView};
use carrier_pigeon::random::OsRandom;
use pigeon_bundle::{Bundle, Commitment, Identity, MessageId, NodeKey, SecretRandom};
use pigeon_core::{Catalog, Event as CoreEvent};
use pigeon_store::{Store, StoreOptions};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

/// A mailbox with its store, and what it told the core.
pub struct Person {
    pub mailbox: Arc<Mailbox>,
    pub store: Store,
    pub identity: Identity,
    inputs: mpsc::Sender<Input>,
    told: mpsc::UnboundedReceiver<CoreEvent>,
    pub events: EventLog,
    name: String,
    clock: Clock,
    quota_bytes: u64,
    keep_days: u32,
    dir: TempDir,
}

impl Person {
    pub async fn new(name: &str) -> Self {
        Self::with_clock(name, Clock::new(ClockMode::Trusted)).await
    }

    pub async fn with_clock(name: &str, clock: Clock) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), StoreOptions::default()).unwrap();
        Self::on_store(name, clock, dir, store, Identity::generate(&mut OsRandom)).await
    }

    /// With a store that holds so much and no more.
    pub async fn with_quota(name: &str, quota_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { quota_bytes, ..StoreOptions::default() };
        let (store, _) = Store::open(dir.path(), options).unwrap();
        let clock = Clock::new(ClockMode::Trusted);
        let mut person = Self::on_store(name, clock, dir, store, Identity::generate(&mut OsRandom)).await;
        person.quota_bytes = quota_bytes;
        person.restart().await;
        person
    }

    /// On a store that may hold something already.
    pub async fn on_store(name: &str, clock: Clock, dir: TempDir, store: Store, identity: Identity) -> Self {
        let (inputs, queue) = mpsc::channel(1_024);
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(stand_in_for_the_shell(queue, tell, store.clone()));
        let (events, quota_bytes) = (EventLog::new(clock.clone()), StoreOptions::default().quota_bytes);
        let config = config(name, dir.path(), quota_bytes);
        let mailbox = open(config, &clock, &events, &store, &identity, &inputs);
        mailbox.refresh().await.unwrap();
        let name = name.to_owned();
        Self { mailbox, store, identity, inputs, told, events, name, clock, quota_bytes, keep_days: 0, dir }
    }

    /// The daemon stops and starts again: what was in memory only is gone.
    pub async fn restart(&mut self) {
        let mut config = config(&self.name, self.dir.path(), self.quota_bytes);
        config.inbox.keep_days = self.keep_days;
        self.mailbox = open(config, &self.clock, &self.events, &self.store, &self.identity, &self.inputs);
        self.mailbox.refresh().await.unwrap();
    }

    /// The daemon starts again with `inbox.keep_days` in its config.
    pub async fn keeps(&mut self, days: u32) {
        self.keep_days = days;
        self.restart().await;
    }

    pub async fn knows(&self, other: &Self) {
        self.mailbox.import_card(&other.mailbox.card().unwrap().to_text()).await.unwrap();
    }

    /// Sends a text; the bundle.
    pub async fn writes(&self, to: &str, text: &str) -> (Bundle, MessageId) {
        let sent = self.mailbox.send(to, text.to_owned(), 0).await.unwrap();
        (self.store.bundle(&sent.bundle).unwrap().unwrap(), sent.message)
    }

    /// Everything the core was told so far.
    pub async fn heard(&mut self) -> Vec<CoreEvent> {
        // Inputs are answered in order: with this answer, all before it have been passed on.
        let (answer, answered) = oneshot::channel();
        let commitment = Commitment([0; 32]);
        self.inputs.send(Input::IsRevealed { commitment, answer }).await.unwrap();
        answered.await.unwrap().unwrap();
        let mut heard = Vec::new();
        while let Ok(event) = self.told.try_recv() {
            heard.push(event);
        }
        heard
    }

    /// The bundles that the core was told to carry since it was asked last.
    pub async fn submitted(&mut self) -> Vec<Bundle> {
        let ids = self.heard().await.into_iter().filter_map(|event| match event {
            CoreEvent::Submitted { bundle } => Some(bundle),
            _ => None,
        });
        ids.map(|id| self.store.bundle(&id).unwrap().unwrap()).collect()
    }

    pub fn outbox(&self) -> Vec<OutboxView> {
        self.mailbox.outbox().unwrap()
    }
}

fn config(name: &str, data_dir: &Path, quota_bytes: u64) -> Config {
    let mut config = Config { name: name.to_owned(), data_dir: data_dir.to_owned(), ..Config::default() };
    config.store.quota_bytes = quota_bytes;
    config
}

fn open(
    config: Config,
    clock: &Clock,
    events: &EventLog,
    store: &Store,
    identity: &Identity,
    inputs: &mpsc::Sender<Input>,
) -> Arc<Mailbox> {
    let (store, identity, clock, events) = (store.clone(), identity.clone(), clock.clone(), events.clone());
    let keys = Keys::new(config.data_dir.clone(), None);
    let accounts = Accounts::open(config.account.as_ref(), keys).unwrap();
    let config = Arc::new(config);
    Arc::new(Mailbox::open(store, identity, config, accounts, clock, events, inputs.clone()).unwrap())
}

/// Knows the tombstones of the store, as the core would, and passes on what the core is told.
async fn stand_in_for_the_shell(
    mut queue: mpsc::Receiver<Input>,
    tell: mpsc::UnboundedSender<CoreEvent>,
    store: Store,
) {
    while let Some(input) = queue.recv().await {
        match input {
            Input::Core(event) => {
                let _ = tell.send(event);
            }
            Input::IsRevealed { commitment, answer } => {
                let _ = answer.send(store.tombstone(&commitment).map(|reveal| reveal.is_some()));
            }
            Input::Introduction { .. }
            | Input::Meeting(_)
            | Input::Transport { .. }
            | Input::Dialled { .. } => {}
        }
    }
}

pub fn link() -> Arrival {
    Arrival::Link { peer: NodeKey([7; 32]), hops: 2 }
}

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRandom.fill(&mut bytes);
    bytes
}

pub fn now_s() -> u64 {
    Clock::new(ClockMode::Trusted).day_s().unwrap()
}

pub async fn friends() -> (Person, Person) {
    let (elaine, jerry) = (Person::new("elaine").await, Person::new("jerry").await);
    elaine.knows(&jerry).await;
    jerry.knows(&elaine).await;
    (elaine, jerry)
}
