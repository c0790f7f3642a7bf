//! The uplink driver: the XMPP session on one side, core and mailbox on the other.
//!
//! A bundle counts as uplinked only on the bridge's signed verdict. What has no verdict is sent again: after a while,
//! and after every reconnect, because the core re-queues it.

mod bridge;
mod pickup;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pigeon_bundle::{Bundle, BundleId, NodeSecret, Reveal, Verdict, VerdictCode};
use pigeon_core::{Catalog, Event as CoreEvent};
use pigeon_proto::PickupToken;
use pigeon_proto::api::{Event, Uplink as UplinkStatus};
use pigeon_store::Store;
use pigeon_xmpp::{
    ClientConfig, ClientEvent, ClientHandle, IqError, OfflineReason, PickedUp, REVEALS_MAX, Secret,
    spawn_client,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::config::Account;
use crate::events::{EventLog, event};
use crate::input::{Input, UplinkCommand};
use crate::keys::Keys;
use crate::mailbox::{Arrival, Mailbox};
use bridge::{Answer, Introducer};
use pickup::{TokenKey, Tokens};

/// An upload without a verdict is sent again after this, then after twice as long, and so on.
const VERDICT_WAIT: Duration = Duration::from_secs(10);
const VERDICT_WAIT_MAX: Duration = Duration::from_secs(300);
/// A failing store is asked again after this.
const KEEP_RETRY: Duration = Duration::from_secs(5);
/// A question that the bridge did not answer is asked again after this, then after twice as long, and so on.
const QUESTION_WAIT: Duration = Duration::from_secs(5);
const QUESTION_WAIT_MAX: Duration = Duration::from_secs(300);
/// The registration is renewed this often while the session lasts; the bridge keeps it for months.
const RENEWAL: Duration = Duration::from_secs(24 * 3_600);

/// The uplink's state for `pigeon status`. Cloning gives another handle.
#[derive(Debug, Clone, Default)]
pub struct UplinkState(Arc<Mutex<UplinkStatus>>);

impl UplinkState {
    /// A copy for the API.
    pub fn get(&self) -> UplinkStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, change: impl FnOnce(&mut UplinkStatus)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What the driver works with.
pub struct Uplink {
    /// The account.
    pub account: Account,
    /// Opens what comes down, pins the bridge.
    pub mailbox: Arc<Mailbox>,
    /// Reads what goes up.
    pub store: Store,
    /// To the core.
    pub inputs: mpsc::Sender<Input>,
    /// For `pigeon watch`.
    pub events: EventLog,
    /// For `pigeon status`.
    pub state: UplinkState,
}

/// Why the uplink cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The password file cannot be read.
    #[error(
        "account.password_file {path}: {source}\nhelp: write the password of {jid} on its first line and chmod 600 it"
    )]
    Password {
        /// The file.
        path: std::path::PathBuf,
        /// The account.
        jid: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no password.
    #[error(
        "there is no password for {jid}\nhelp: `pigeon store password` keeps it encrypted in the data folder; or name a file with account.password_file"
    )]
    NoPassword {
        /// The account.
        jid: String,
    },
    /// The kept password cannot be read.
    #[error(transparent)]
    Key(#[from] crate::keys::KeyError),
    /// The account's settings cannot be used.
    #[error(transparent)]
    Config(#[from] pigeon_xmpp::ConfigError),
}

struct Pending {
    wait: Duration,
    again_at: Instant,
}

/// When to ask the bridge again.
struct Question {
    wait: Duration,
    at: Option<Instant>,
}

impl Question {
    fn ask_now(&mut self) {
        *self = Self { wait: QUESTION_WAIT, at: Some(Instant::now()) };
    }

    fn ask_later(&mut self) {
        self.at = Some(Instant::now() + self.wait);
        self.wait = (self.wait * 2).min(QUESTION_WAIT_MAX);
    }

    fn is_due(&self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }
}

/// What is known of the bridge in this session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bridge {
    /// Not reached in this session.
    Unknown,
    /// Card pinned and own card registered: uploads may go.
    Ready,
}

struct Driver {
    uplink: Uplink,
    client: ClientHandle,
    bridge: Bridge,
    pending: BTreeMap<BundleId, Pending>,
    introducer: Introducer,
    introduction: Question,
    /// Tombstones that the bridge has not confirmed, and when to tell it.
    owed: Vec<Reveal>,
    telling: Question,
    /// Neighbours' tokens, and when to hand them in.
    tokens: Tokens,
    fetching: Question,
    /// Tokens handed in and not answered yet.
    handed_in: BTreeSet<TokenKey>,
    asked: JoinSet<Answer>,
    cancel: CancellationToken,
}

impl Uplink {
    /// The account's password.
    ///
    /// # Errors
    /// A file that cannot be read, or no password at all.
    pub fn password(&self, keys: &Keys) -> Result<Secret, UplinkError> {
        let account = &self.account;
        let Some(path) = &account.password_file else {
            let kept =
                keys.password()?.ok_or_else(|| UplinkError::NoPassword { jid: account.jid.clone() })?;
            return Ok(Secret::from(kept.as_str().to_owned()));
        };
        let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|source| {
            UplinkError::Password { path: path.clone(), jid: account.jid.clone(), source }
        })?;
        Ok(Secret::from(text.lines().next().unwrap_or_default().to_owned()))
    }

    /// Starts the session's task.
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub fn spawn(
        self,
        password: Secret,
        commands: mpsc::UnboundedReceiver<UplinkCommand>,
        network: watch::Receiver<u64>,
        cancel: CancellationToken,
    ) -> Result<tokio::task::JoinHandle<()>, UplinkError> {
        let account = &self.account;
        let config = ClientConfig {
            server: account.server.clone(),
            direct_tls: account.direct_tls,
            ca_file: account.ca_file.clone(),
            resource: Some(self.resource()),
            ..ClientConfig::new(account.jid.clone(), password, account.bridge.clone())
        };
        self.state.set(|s| {
            s.jid.clone_from(&account.jid);
            "connecting".clone_into(&mut s.state);
            s.bridge = self.mailbox.bridge().map(|card| card.domain().to_owned()).unwrap_or_default();
        });
        let (client, events) = spawn_client(config, cancel.clone())?;
        let introducer = Introducer {
            account: account.clone(),
            client: client.clone(),
            mailbox: self.mailbox.clone(),
            events: self.events.clone(),
            state: self.state.clone(),
        };
        let quiet = || Question { wait: QUESTION_WAIT, at: None };
        let tokens = Tokens::new(self.store.clone(), self.account.jid.clone());
        let driver = Driver {
            uplink: self,
            client,
            bridge: Bridge::Unknown,
            pending: BTreeMap::new(),
            introducer,
            introduction: quiet(),
            owed: Vec::new(),
            telling: quiet(),
            tokens,
            fetching: quiet(),
            handed_in: BTreeSet::new(),
            asked: JoinSet::new(),
            cancel,
        };
        Ok(tokio::spawn(driver.run(events, commands, network)))
    }
}

impl Uplink {
    /// Fixed for a node, so that after a crash the server ends the old session at once and hands over what that one
    /// had not acknowledged; different on each node of an account.
    fn resource(&self) -> String {
        let identity = self.mailbox.identity().to_string();
        format!("pigeon-{}", identity.get(..8).unwrap_or_default())
    }
}

impl Driver {
    async fn run(
        mut self,
        mut events: mpsc::Receiver<ClientEvent>,
        mut commands: mpsc::UnboundedReceiver<UplinkCommand>,
        mut network: watch::Receiver<u64>,
    ) {
        let mut card_changes = self.uplink.mailbox.card_changes();
        let cancel = self.cancel.clone();
        loop {
            let questions = [self.introduction.at, self.telling.at, self.fetching.at];
            let wake = self.pending.values().map(|p| p.again_at).chain(questions.into_iter().flatten()).min();
            tokio::select! {
                () = cancel.cancelled() => break,
                event = events.recv() => match event {
                    Some(event) => self.session_event(event).await,
                    None => break,
                },
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => break,
                },
                Some(answer) = self.asked.join_next() => match answer {
                    Ok(answer) => self.answered(answer).await,
                    Err(error) => tracing::error!(%error, "a question to the bridge broke down"),
                },
                Ok(()) = network.changed() => self.client.poke(),
                Ok(()) = card_changes.changed() => {
                    if self.bridge == Bridge::Ready {
                        self.introduction.ask_now();
                    }
                }
                () = sleep_until(wake), if wake.is_some() => self.on_time().await,
            }
        }
        self.client.shutdown().await;
    }

    async fn on_time(&mut self) {
        if self.introduction.is_due() {
            self.introduction.at = None;
            self.asked.spawn(self.introducer.clone().introduce());
        }
        if self.telling.is_due() {
            self.telling.at = None;
            for reveals in self.owed.chunks(REVEALS_MAX) {
                self.asked.spawn(self.introducer.clone().reveal(reveals.to_vec()));
            }
            self.owed.clear();
        }
        if self.fetching.is_due() {
            self.fetching.at = None;
            self.hand_in_tokens().await;
        }
        self.upload_again().await;
    }

    async fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Introduced(Ok(())) => {
                self.introduction = Question { wait: QUESTION_WAIT, at: Some(Instant::now() + RENEWAL) };
                if std::mem::replace(&mut self.bridge, Bridge::Ready) == Bridge::Unknown {
                    self.core(CoreEvent::UplinkUp).await;
                    self.fetching.ask_now();
                }
            }
            Answer::Introduced(Err(problem)) => {
                tracing::warn!(problem, "the bridge is not usable yet");
                self.uplink.state.set(|s| s.problem = problem);
                self.introduction.ask_later();
            }
            Answer::Revealed { reveals, taken: true } => {
                self.telling.wait = QUESTION_WAIT;
                self.core(CoreEvent::RevealConfirmed { reveals }).await;
            }
            Answer::PickedUp { token, result } => self.picked_up(token, result).await,
            Answer::Revealed { reveals, taken: false } => {
                self.owed.extend(reveals);
                self.telling.ask_later();
            }
        }
    }

    async fn keep_token(&mut self, carrier: &NodeSecret, token: PickupToken) {
        let Some(bridge) = self.uplink.mailbox.bridge().filter(|card| *card.domain() == *token.domain) else {
            tracing::info!("a neighbour's token is for a bridge that this node does not use");
            return;
        };
        match self.tokens.keep(carrier, token, &bridge).await {
            Ok(()) if self.bridge == Bridge::Ready => self.fetching.ask_now(),
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "a neighbour's token is not kept"),
        }
    }

    async fn hand_in_tokens(&mut self) {
        match self.tokens.waiting(self.uplink.mailbox.trusted_wall_s()).await {
            Ok(waiting) => {
                for (token, request) in waiting {
                    if !self.handed_in.insert(token.clone()) {
                        continue;
                    }
                    self.asked.spawn(self.introducer.clone().pick_up(token, request));
                }
            }
            Err(error) => tracing::error!(%error, "neighbours' tokens cannot be read"),
        }
    }

    async fn picked_up(&mut self, token: TokenKey, result: Result<PickedUp, IqError>) {
        self.handed_in.remove(&token);
        match result {
            Ok(PickedUp { bundles, bytes, left }) => {
                let detail = format!("{bundles} bundles, {bytes} bytes, {left} left");
                self.uplink.events.push(Event { detail, ..event("picked_up") });
            }
            Err(IqError::Refused { condition, text }) if is_final(&condition) => {
                let detail = text.unwrap_or(condition);
                tracing::info!(reason = detail, "the bridge refused a neighbour's token");
                self.uplink.events.push(Event { detail, ..event("pickup_refused") });
            }
            Err(error) => {
                tracing::info!(%error, "a neighbour's token is handed in again later");
                return self.fetching.ask_later();
            }
        }
        if let Err(error) = self.tokens.remove(token).await {
            tracing::error!(%error, "a token that was handed in cannot be removed");
        }
    }

    /// A neighbour's mail, or anything that the bridge pretends to be such: the core checks it like a neighbour's.
    async fn fetched(&self, bytes: Vec<u8>) {
        match Bundle::parse(bytes.into()) {
            Ok(bundle) => self.core(CoreEvent::Fetched { bundle }).await,
            Err(error) => tracing::warn!(%error, "the bridge handed out something that is no bundle"),
        }
    }

    fn online(&self) {
        self.uplink.state.set(|s| {
            "online".clone_into(&mut s.state);
            s.problem.clear();
        });
        self.uplink.events.push(event("uplink_online"));
    }

    async fn offline(&mut self, reason: &OfflineReason) {
        let was_ready = std::mem::replace(&mut self.bridge, Bridge::Unknown) == Bridge::Ready;
        self.pending.clear();
        // What was asked of this session has no answer; the core tells again what it owes with the next `UplinkUp`.
        self.asked.abort_all();
        while self.asked.join_next().await.is_some() {}
        self.introduction.at = None;
        self.telling.at = None;
        self.fetching.at = None;
        self.handed_in.clear();
        self.owed.clear();
        let detail = reason.to_string();
        let news = self.uplink.state.get().problem != detail;
        self.uplink.state.set(|s| {
            (if reason.needs_operator() { "refused" } else { "offline" }).clone_into(&mut s.state);
            s.problem.clone_from(&detail);
        });
        if news {
            tracing::info!(reason = detail, "uplink offline");
            self.uplink.events.push(Event { detail, ..event("uplink_offline") });
        }
        if was_ready {
            self.core(CoreEvent::UplinkDown).await;
        }
    }

    async fn command(&mut self, command: UplinkCommand) {
        match command {
            UplinkCommand::Upload(id) => {
                if self.bridge == Bridge::Ready {
                    self.pending
                        .insert(id, Pending { wait: VERDICT_WAIT, again_at: Instant::now() + VERDICT_WAIT });
                    self.upload(id).await;
                }
            }
            UplinkCommand::Reveal(reveals) => {
                self.asked.spawn(self.introducer.clone().reveal(reveals));
            }
            UplinkCommand::Token { carrier, token } => self.keep_token(&carrier, token).await,
        }
    }

    async fn upload(&mut self, id: BundleId) {
        let bundle = match self.uplink.store.bundle(&id) {
            Ok(Some(bundle)) => bundle,
            Ok(None) => {
                self.pending.remove(&id); // purged meanwhile
                return;
            }
            Err(error) => {
                tracing::error!(%error, "a bundle cannot be read for its upload");
                return;
            }
        };
        if !self.is_for_our_bridge(&bundle) {
            // Our bridge could only refuse it, with a verdict that does not count; another carrier may be luckier.
            self.pending.remove(&id);
            self.core(CoreEvent::Verdict { bundle: id, accepted: false }).await;
            return;
        }
        // Offline or busy: it stays pending, and goes up again after its wait or with the next session.
        if let Err(error) = self.client.upload(bundle.as_bytes().clone(), id.to_string()).await {
            tracing::debug!(bundle = %id, %error, "not uploaded now");
        }
    }

    fn is_our_bridge(&self, from: &str) -> bool {
        from.eq_ignore_ascii_case(&self.uplink.account.bridge)
    }

    fn is_for_our_bridge(&self, bundle: &Bundle) -> bool {
        let (Some(uplink), Some(pinned)) = (bundle.uplink(), self.uplink.mailbox.bridge()) else {
            return false;
        };
        *uplink.domain == *pinned.domain() && uplink.bridge_key == *pinned.key()
    }

    async fn upload_again(&mut self) {
        let now = Instant::now();
        let late: Vec<BundleId> =
            self.pending.iter().filter(|(_, p)| p.again_at <= now).map(|(id, _)| *id).collect();
        for id in late {
            if let Some(pending) = self.pending.get_mut(&id) {
                pending.wait = (pending.wait * 2).min(VERDICT_WAIT_MAX);
                pending.again_at = now + pending.wait;
            }
            self.upload(id).await;
        }
    }

    async fn session_event(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Online { .. } => {
                self.online();
                self.introduction.ask_now();
            }
            ClientEvent::Offline { reason } => self.offline(&reason).await,
            ClientEvent::Verdict { bytes, reveal } => self.verdict(&bytes, reveal).await,
            ClientEvent::Bundle { from, bytes, taken, .. } if self.is_our_bridge(&from) => {
                self.fetched(bytes).await;
                // What a crash loses now is at the bridge, which keeps it until its recipient has it.
                taken.done();
            }
            ClientEvent::Bundle { bytes, taken, .. } => {
                if self.downlink(bytes).await {
                    // Only now may the server forget it.
                    taken.done();
                } else {
                    // Stopping: forgotten without a word, so that the server brings it again.
                    std::mem::forget(taken);
                }
            }
            ClientEvent::Refusal { id, condition, .. } => {
                // The bridge is away, or the server is in trouble: the upload is repeated when its wait is over.
                tracing::info!(bundle = id, condition, "an upload came back");
            }
            _ => {}
        }
    }

    /// Opens a bundle that came down; true when all that was in it is kept, or it is worth nothing. A failing store is
    /// asked again until it works or the daemon stops: the server keeps the message for as long as this takes.
    async fn downlink(&self, bytes: Vec<u8>) -> bool {
        let bundle = match Bundle::parse(bytes.into()) {
            Ok(bundle) => bundle,
            Err(error) => {
                tracing::warn!(%error, "a damaged bundle came over the account and is dropped");
                return true;
            }
        };
        while let Err(error) = self.uplink.mailbox.receive(&bundle, Arrival::Xmpp).await {
            tracing::error!(%error, "a message from the account cannot be kept yet; trying again");
            tokio::select! {
                () = self.cancel.cancelled() => return false,
                () = tokio::time::sleep(KEEP_RETRY) => {}
            }
        }
        true
    }

    /// A verdict counts only with the signature of the bridge that the bundle itself names.
    async fn verdict(&mut self, bytes: &[u8], reveal: Option<[u8; 32]>) {
        let Some(named) = Verdict::bundle_of(bytes) else { return };
        let bundle = match self.uplink.store.bundle(&named) {
            Ok(Some(bundle)) => bundle,
            _ => return, // purged meanwhile, or never ours
        };
        let Some(uplink) = bundle.uplink() else { return };
        let verdict = match Verdict::parse_verified(bytes, &uplink.bridge_key) {
            Ok(verdict) if verdict.message == bundle.message_digest() => verdict,
            Ok(_) | Err(_) => {
                tracing::warn!(bundle = %named, "a verdict without the bridge's signature is ignored");
                return;
            }
        };
        self.pending.remove(&named);
        let accepted = verdict.code.is_accepted();
        if !accepted {
            self.refused(&named, verdict.code).await;
        }
        self.core(CoreEvent::Verdict { bundle: named, accepted }).await;
        if let Some(reveal) = reveal.map(Reveal).filter(|r| r.commitment() == bundle.commitment()) {
            self.core(CoreEvent::Revealed { reveals: vec![reveal] }).await;
        }
    }

    async fn refused(&self, bundle: &BundleId, code: VerdictCode) {
        match self.uplink.mailbox.refused(bundle, &code.to_string()).await {
            Ok(true) => tracing::warn!(%bundle, reason = %code, "the bridge refused an own message"),
            Ok(false) => tracing::info!(%bundle, reason = %code, "the bridge refused a carried bundle"),
            Err(error) => tracing::error!(%error, "a refusal cannot be kept"),
        }
    }

    async fn core(&self, event: CoreEvent) {
        // The shell ends only when the daemon stops.
        let _ = self.uplink.inputs.send(Input::Core(event)).await;
    }
}

/// Whether the bridge will never answer this otherwise.
fn is_final(condition: &str) -> bool {
    matches!(condition, "forbidden" | "bad-request" | "not-acceptable" | "policy-violation")
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
