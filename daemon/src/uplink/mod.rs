//! The uplink driver: the XMPP session on one side, core and mailbox on the other.
//!
//! A bundle counts as uplinked only on the bridge's signed verdict. What has no verdict is sent again: after a while,
//! and after every reconnect, because the core re-queues it.
//!
//! `hub` picks the account, this file is one account's session; what goes up is in `uploads`, the bridge's word on it in
//! `verdicts`, what comes down in `downlink`. `bridge` asks the bridge; `archive` and `pickup` keep what is asked for.

mod archive;
mod bridge;
mod downlink;
mod hub;
mod pickup;
mod states;
mod uploads;
mod verdicts;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pigeon_bundle::{Bundle, BundleId, Card, NodeSecret, Reveal};
use pigeon_core::{Catalog, Event as CoreEvent};
use pigeon_proto::PickupToken;
use pigeon_proto::api::{Event, Uplink as UplinkStatus};
use pigeon_store::Store;
use pigeon_xmpp::{
    ClientConfig, ClientEvent, ClientHandle, Closed, IqError, OfflineReason, PickedUp, REVEALS_MAX, Secret,
    Subscription, spawn_client,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Account;
use crate::events::{EventLog, event};
use crate::input::{Input, UplinkCommand};
use crate::mailbox::Mailbox;
use archive::Archive;
use bridge::{Answer, Introducer};
use downlink::{Away, note_place};
pub use hub::Hub;
use hub::{Report, Told};
use pickup::{TokenKey, Tokens};
pub use states::UplinkStates;
use uploads::{Parcel, Uploads, parcels};

/// A question that the bridge did not answer is asked again after this, then after twice as long, and so on.
const QUESTION_WAIT: Duration = Duration::from_secs(5);
const QUESTION_WAIT_MAX: Duration = Duration::from_secs(300);
/// The registration is renewed this often while the session lasts; the bridge keeps it for months.
const RENEWAL: Duration = Duration::from_secs(24 * 3_600);

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
    /// To the hub.
    reports: mpsc::UnboundedSender<Report>,
    /// For `pigeon watch`.
    pub events: EventLog,
    /// For `pigeon status`.
    pub states: UplinkStates,
}

/// Why the uplink cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The account's settings cannot be used.
    #[error(transparent)]
    Config(#[from] pigeon_xmpp::ConfigError),
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
    uploads: Uploads,
    introducer: Introducer,
    introduction: Question,
    /// Tombstones that the bridge has not confirmed, and when to tell it.
    owed: Vec<Reveal>,
    telling: Question,
    /// What came while the account was offline, and when to look.
    archive: Archive,
    catching_up: Question,
    /// Neighbours' tokens, and when to hand them in.
    tokens: Tokens,
    fetching: Question,
    /// When to ask the bridge for what the account's server may have lost.
    fetching_own: Question,
    /// What of that is still to be done. A resumed session goes on with it.
    away: Away,
    /// How much of it waited at the last answer.
    own_waiting: Option<u32>,
    /// Tokens handed in and not answered yet.
    handed_in: BTreeSet<TokenKey>,
    asked: JoinSet<Answer>,
    cancel: CancellationToken,
}

impl Uplink {
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
    ) -> Result<(ClientHandle, tokio::task::JoinHandle<()>), UplinkError> {
        let account = &self.account;
        let config = ClientConfig {
            server: account.server.clone(),
            direct_tls: account.direct_tls,
            ca_file: account.ca_file.clone(),
            allow_plain: account.allow_plain,
            resource: Some(self.resource()),
            ..ClientConfig::new(account.jid.clone(), password, account.bridge.clone())
        };
        let pinned = self.mailbox.bridge(&account.bridge);
        self.states.set(&account.jid, |s| {
            "connecting".clone_into(&mut s.state);
            s.problem.clear();
            s.bridge = pinned.map(|card| card.domain().to_owned()).unwrap_or_default();
        });
        let (client, events) = spawn_client(config, cancel.clone())?;
        let introducer = Introducer {
            account: account.clone(),
            client: client.clone(),
            mailbox: self.mailbox.clone(),
            events: self.events.clone(),
            states: self.states.clone(),
        };
        let quiet = || Question { wait: QUESTION_WAIT, at: None };
        let tokens = Tokens::new(self.store.clone(), self.account.jid.clone());
        let archive = Archive::new(self.store.clone(), &self.account.jid);
        let driver = Driver {
            uplink: self,
            client,
            bridge: Bridge::Unknown,
            uploads: Uploads::default(),
            introducer,
            introduction: quiet(),
            owed: Vec::new(),
            telling: quiet(),
            archive,
            catching_up: quiet(),
            tokens,
            fetching: quiet(),
            fetching_own: quiet(),
            away: Away::Unread,
            own_waiting: None,
            handed_in: BTreeSet::new(),
            asked: JoinSet::new(),
            cancel,
        };
        let client = driver.client.clone();
        Ok((client, tokio::spawn(driver.run(events, commands, network))))
    }
}

impl Uplink {
    fn set(&self, change: impl FnOnce(&mut UplinkStatus)) {
        self.states.set(&self.account.jid, change);
    }

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
            let questions =
                [&self.introduction, &self.telling, &self.fetching, &self.fetching_own, &self.catching_up];
            let questions = questions.map(|question| question.at);
            let wake = self.uploads.next().into_iter().chain(questions.into_iter().flatten()).min();
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
        if self.catching_up.is_due() {
            self.catching_up.at = None;
            let now_ms = self.uplink.mailbox.trusted_wall_s().unwrap_or(0).saturating_mul(1_000);
            self.asked.spawn(self.introducer.clone().page(self.archive.start(now_ms)));
        }
        if self.fetching.is_due() {
            self.fetching.at = None;
            self.hand_in_tokens().await;
        }
        if self.fetching_own.is_due() {
            self.fetching_own.at = None;
            self.fetch_own();
        }
        self.upload_again().await;
    }

    async fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Introduced(Ok(())) => {
                self.introduction = Question { wait: QUESTION_WAIT, at: Some(Instant::now() + RENEWAL) };
                if std::mem::replace(&mut self.bridge, Bridge::Ready) == Bridge::Unknown {
                    self.report(Told::Ready(true));
                    self.fetching.ask_now();
                }
            }
            Answer::Introduced(Err(problem)) => {
                tracing::warn!(problem, "the bridge is not usable yet");
                self.uplink.set(|s| s.problem = problem);
                self.introduction.ask_later();
            }
            Answer::Revealed { reveals, taken: true } => {
                self.telling.wait = QUESTION_WAIT;
                self.report(Told::Revealed(reveals));
            }
            Answer::Page(page) => self.page(page).await,
            Answer::Card { jid, bytes } => self.found_card(&jid, bytes).await,
            Answer::PickedUp { token, result } => self.picked_up(token, result).await,
            Answer::PickedUpOwn(result) => self.picked_up_own(result),
            Answer::Revealed { reveals, taken: false } => {
                self.owed.extend(reveals);
                self.telling.ask_later();
            }
        }
    }

    /// Whoever asks to see the account's presence waits for the user; whoever allows it has a card to show.
    fn subscription(&mut self, from: String, kind: Subscription) {
        match kind {
            Subscription::Ask => {
                self.uplink.states.request(&from);
                self.uplink.events.push(event("contact_request"));
                // Whoever asks back has allowed us to see the card; not every server says so itself.
                self.asked.spawn(self.introducer.clone().find_card(from));
            }
            Subscription::Allow => {
                self.asked.spawn(self.introducer.clone().find_card(from));
            }
            Subscription::Refuse | Subscription::End => self.uplink.states.no_request(&from),
        }
    }

    /// A card counts only for an account that it lists: anybody could publish somebody else's.
    async fn found_card(&self, jid: &str, bytes: Option<Vec<u8>>) {
        let listed = |card: &Card| card.jids().iter().any(|own| own.eq_ignore_ascii_case(jid));
        let Some(card) = bytes.and_then(|bytes| Card::parse(&bytes).ok()).filter(listed) else { return };
        if let Err(error) = self.uplink.mailbox.introduce_card(card.as_bytes()).await {
            tracing::debug!(%error, "a published card is not taken");
        }
    }

    async fn keep_token(&mut self, carrier: &NodeSecret, token: PickupToken) {
        let Some(bridge) = self
            .uplink
            .mailbox
            .bridge(&self.uplink.account.bridge)
            .filter(|card| *card.domain() == *token.domain)
        else {
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

    fn online(&self) {
        self.uplink.set(|s| {
            "online".clone_into(&mut s.state);
            s.problem.clear();
        });
        self.uplink.events.push(event("uplink_online"));
    }

    async fn offline(&mut self, reason: &OfflineReason) {
        let was_ready = std::mem::replace(&mut self.bridge, Bridge::Unknown) == Bridge::Ready;
        self.uploads.clear();
        // What was asked of this session has no answer; the core tells again what it owes with the next `UplinkUp`.
        self.asked.abort_all();
        while self.asked.join_next().await.is_some() {}
        note_place(self.archive.end().await);
        self.catching_up.at = None;
        self.introduction.at = None;
        self.telling.at = None;
        self.fetching.at = None;
        self.fetching_own.at = None;
        self.handed_in.clear();
        self.owed.clear();
        let detail = reason.to_string();
        let news = self.uplink.states.get(&self.uplink.account.jid).problem != detail;
        self.uplink.set(|s| {
            let refused = reason.needs_operator() || reason.may_be_in_between();
            (if refused { "refused" } else { "offline" }).clone_into(&mut s.state);
            s.problem.clone_from(&detail);
        });
        if news {
            tracing::info!(reason = detail, "uplink offline");
            self.uplink.events.push(Event { detail, ..event("uplink_offline") });
        }
        if was_ready {
            self.report(Told::Ready(false));
        }
    }

    async fn command(&mut self, command: UplinkCommand) {
        match command {
            UplinkCommand::Upload(mut ids) => {
                let now = Instant::now();
                ids.retain(|id| self.bridge == Bridge::Ready && self.uploads.begin(*id, now));
                self.upload(ids).await;
            }
            UplinkCommand::Reveal(reveals) => {
                self.asked.spawn(self.introducer.clone().reveal(reveals));
            }
            // The hub answers it.
            UplinkCommand::Client { .. } => {}
            UplinkCommand::Token { carrier, token } => self.keep_token(&carrier, token).await,
        }
    }

    /// Sends these up, in as few messages as there can be.
    async fn upload(&mut self, ids: Vec<BundleId>) {
        let mut bundles = Vec::with_capacity(ids.len());
        for id in ids {
            bundles.extend(self.addressed(id).await.map(|(address, bytes)| (address, id, bytes)));
        }
        for Parcel { address, bundles } in parcels(bundles) {
            let (ids, bundles): (Vec<BundleId>, Vec<Bytes>) = bundles.into_iter().unzip();
            let Some(message) = ids.first().copied() else { continue };
            match self.client.upload_all(&address, &bundles, message.to_string()).await {
                Ok(under_way) => {
                    let now = Instant::now();
                    ids.iter().for_each(|id| self.uploads.sent(id, message, under_way, now));
                }
                Err(error @ (Closed::OverLimit { .. } | Closed::TooLarge { .. })) => {
                    for id in ids {
                        self.unfit(id, &error).await;
                    }
                }
                // Offline or busy: they go up again after their wait or with the next session.
                Err(error) => tracing::debug!(bundle = %message, %error, "not uploaded now"),
            }
        }
    }

    /// A bundle that may go up to our bridge, and where to.
    async fn addressed(&mut self, id: BundleId) -> Option<(String, Bytes)> {
        let bundle = match self.uplink.store.bundle(&id) {
            Ok(Some(bundle)) => bundle,
            Ok(None) => {
                self.uploads.end(&id); // purged meanwhile
                return None;
            }
            Err(error) => {
                tracing::error!(%error, "a bundle cannot be read for its upload");
                return None;
            }
        };
        if !self.is_for_our_bridge(&bundle) {
            // Our bridge could only refuse it, with a verdict that does not count; another carrier may be luckier.
            self.uploads.end(&id);
            self.core(CoreEvent::Verdict { bundles: vec![id], accepted: false }).await;
            return None;
        }
        let card = self.uplink.mailbox.bridge(&self.uplink.account.bridge)?;
        Some((card.address(&bundle.message_digest()).to_owned(), bundle.as_bytes().clone()))
    }

    /// This server takes nothing so large, so it was not sent. Another carrier's server may.
    async fn unfit(&mut self, id: BundleId, error: &Closed) {
        self.uploads.end(&id);
        tracing::warn!(bundle = %id, %error, "a bundle does not go up by this account");
        if let Err(error) = self.uplink.mailbox.refused(&id, &error.to_string()).await {
            tracing::error!(%error, "a refusal cannot be kept");
        }
        self.core(CoreEvent::Verdict { bundles: vec![id], accepted: false }).await;
    }

    fn is_our_bridge(&self, from: &str) -> bool {
        from.eq_ignore_ascii_case(&self.uplink.account.bridge)
    }

    fn is_for_our_bridge(&self, bundle: &Bundle) -> bool {
        let (Some(uplink), Some(pinned)) =
            (bundle.uplink(), self.uplink.mailbox.bridge(&self.uplink.account.bridge))
        else {
            return false;
        };
        *uplink.domain == *pinned.domain() && uplink.bridge_key == *pinned.key()
    }

    /// Each in a message of its own: one that the server or the bridge cannot take keeps no other down.
    async fn upload_again(&mut self) {
        for id in self.uploads.due(Instant::now()) {
            self.upload(vec![id]).await;
        }
    }

    async fn session_event(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Online { resumed } => {
                self.online();
                self.introduction.ask_now();
                if !resumed {
                    self.archive.begin();
                    self.away = Away::Unread;
                }
                match self.away {
                    Away::Unread => self.catching_up.ask_now(),
                    Away::Unasked => self.caught_up(),
                    Away::Over => {}
                }
            }
            ClientEvent::Mark { from, message_id, mark, taken } => {
                if let Err(error) = self.uplink.mailbox.marked(&from, &message_id, mark).await {
                    tracing::error!(%error, "a receipt of an ordinary client cannot be kept");
                }
                taken.done();
            }
            ClientEvent::Subscription { from, kind } => self.subscription(from, kind),
            ClientEvent::Offline { reason } => self.offline(&reason).await,
            ClientEvent::Verdict { bytes, reveal } => self.verdict(&bytes, reveal).await,
            ClientEvent::Acceptances { bytes } => self.acceptances(&bytes).await,
            ClientEvent::Bundle { from, bytes, taken, .. } if self.is_our_bridge(&from) => {
                self.fetched(bytes).await;
                // What a crash loses now is at the bridge, which keeps it until its recipient has it.
                taken.done();
            }
            ClientEvent::Bundle { bytes, archive_id, taken, .. } => {
                if self.downlink(bytes).await {
                    if let Some(id) = archive_id {
                        let moved = self.archive.live(id).await;
                        note_place(moved);
                    }
                    // Only now may the server forget it.
                    taken.done();
                } else {
                    // Stopping: forgotten without a word, so that the server brings it again.
                    std::mem::forget(taken);
                }
            }
            ClientEvent::Refusal { id, condition, .. } => {
                // The bridge is away, or the server is in trouble: the upload is repeated when its wait is over.
                tracing::info!(message = id, condition, "an upload came back");
                if let Some(message) = id.and_then(|id| id.parse().ok()) {
                    for bundle in self.uploads.returned(&message, Instant::now()) {
                        self.core(CoreEvent::UploadDeferred { bundle }).await;
                    }
                }
            }
            _ => {}
        }
    }

    fn report(&self, what: Told) {
        // The hub ends only when the daemon stops.
        let _ = self.uplink.reports.send(Report { jid: self.uplink.account.jid.clone(), what });
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
