//! All uplinks of the node: one session for each account that is logged in. To the core they are one way up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pigeon_bundle::{BundleId, Reveal};
use pigeon_core::{Catalog, Event as CoreEvent};
use pigeon_proto::PickupToken;
use pigeon_store::Store;
use pigeon_xmpp::ClientHandle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Uplink, UplinkStates};
use crate::accounts::{Accounts, Entry};
use crate::events::EventLog;
use crate::input::{Input, UplinkCommand};
use crate::mailbox::Mailbox;

/// What all sessions work with.
pub struct Hub {
    /// Which accounts there are.
    pub accounts: Accounts,
    /// Opens what comes down, pins bridges.
    pub mailbox: Arc<Mailbox>,
    /// Reads what goes up.
    pub store: Store,
    /// To the core.
    pub inputs: mpsc::Sender<Input>,
    /// For `pigeon watch`.
    pub events: EventLog,
    /// For `pigeon status`.
    pub states: UplinkStates,
    /// Says when the network has changed.
    pub network: watch::Receiver<u64>,
    /// Stop.
    pub cancel: CancellationToken,
}

/// What a session tells the hub.
pub(super) struct Report {
    /// Of which account.
    pub(super) jid: String,
    pub(super) what: Told,
}

pub(super) enum Told {
    /// Its bridge can, or cannot, be reached.
    Ready(bool),
    /// Its bridge has taken these.
    Revealed(Vec<Reveal>),
}

/// One running session.
struct Line {
    entry: Entry,
    client: ClientHandle,
    commands: mpsc::UnboundedSender<UplinkCommand>,
    cancel: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
    ready: bool,
}

/// The sessions while they run.
struct Running {
    hub: Hub,
    lines: BTreeMap<String, Line>,
    /// The bridges of all accounts, logged in or not.
    bridges: BTreeSet<String>,
    reports: mpsc::UnboundedSender<Report>,
    /// Which bridges have still to take a reveal.
    awaited: BTreeMap<[u8; 32], BTreeSet<String>>,
}

impl Hub {
    /// Keeps the sessions of all accounts running until the daemon stops.
    pub async fn run(self, mut commands: mpsc::UnboundedReceiver<UplinkCommand>) {
        let (reports, mut told) = mpsc::unbounded_channel();
        let cancel = self.cancel.clone();
        let mut changes = self.accounts.changes();
        let bridges = bridges_of(&self.accounts.all());
        let (lines, awaited) = (BTreeMap::new(), BTreeMap::new());
        let mut running = Running { hub: self, lines, bridges, reports, awaited };
        running.follow_accounts().await;
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                command = commands.recv() => match command {
                    Some(command) => running.command(command).await,
                    None => break,
                },
                Some(report) = told.recv() => running.report(report).await,
                Ok(()) = changes.changed() => running.follow_accounts().await,
            }
        }
        for (_, line) in std::mem::take(&mut running.lines) {
            line.cancel.cancel();
            let _ = line.ended.await;
        }
    }
}

impl Running {
    /// Starts, stops and restarts sessions until they are those of the accounts that are logged in.
    async fn follow_accounts(&mut self) {
        let wanted = self.hub.accounts.all();
        let stays = |line: &Line| wanted.iter().any(|entry| entry.is_on && is_same(entry, &line.entry));
        let gone: Vec<String> =
            self.lines.iter().filter(|(_, line)| !stays(line)).map(|(jid, _)| jid.clone()).collect();
        for jid in gone {
            self.stop(&jid).await;
        }
        self.hub.states.keep(&wanted);
        let former = std::mem::replace(&mut self.bridges, bridges_of(&wanted));
        if !self.bridges.is_subset(&former) {
            self.core(CoreEvent::BridgeAdded).await;
        }
        for entry in wanted.into_iter().filter(|entry| entry.is_on) {
            if !self.lines.contains_key(&entry.account.jid) {
                self.start(entry);
            }
        }
    }

    fn start(&mut self, entry: Entry) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let cancel = self.hub.cancel.child_token();
        let jid = entry.account.jid.clone();
        let uplink = Uplink {
            account: entry.account.clone(),
            mailbox: self.hub.mailbox.clone(),
            store: self.hub.store.clone(),
            inputs: self.hub.inputs.clone(),
            reports: self.reports.clone(),
            events: self.hub.events.clone(),
            states: self.hub.states.clone(),
        };
        match uplink.spawn(entry.password.clone(), receiver, self.hub.network.clone(), cancel.clone()) {
            Ok((client, ended)) => {
                self.lines.insert(jid, Line { entry, client, commands, cancel, ended, ready: false });
            }
            Err(error) => {
                tracing::error!(%error, "an account cannot be used");
                self.hub.states.set(&jid, |state| {
                    "refused".clone_into(&mut state.state);
                    state.problem = error.to_string();
                });
            }
        }
    }

    async fn stop(&mut self, jid: &str) {
        let Some(line) = self.lines.remove(jid) else { return };
        line.cancel.cancel();
        let _ = line.ended.await;
        self.hub.states.set(jid, |state| {
            "logged out".clone_into(&mut state.state);
            state.problem.clear();
            state.registered = false;
        });
        if line.ready {
            self.changed().await;
        }
    }

    async fn report(&mut self, Report { jid, what }: Report) {
        match what {
            Told::Ready(ready) => {
                let Some(line) = self.lines.get_mut(&jid) else { return };
                line.ready = ready;
                self.changed().await;
            }
            Told::Revealed(reveals) => self.revealed(&jid, reveals).await,
        }
    }

    /// A way up has come or gone. What had no verdict is looked for in the store again, for whichever way there is.
    async fn changed(&mut self) {
        let up = self.lines.values().any(|line| line.ready);
        self.awaited.clear();
        self.core(if up { CoreEvent::UplinkUp } else { CoreEvent::UplinkDown }).await;
    }

    /// The core may forget a reveal when every bridge that could be asked has taken it.
    async fn revealed(&mut self, jid: &str, reveals: Vec<Reveal>) {
        let mut done = Vec::new();
        for reveal in reveals {
            let Some(awaited) = self.awaited.get_mut(&reveal.0) else { continue };
            awaited.remove(jid);
            if awaited.is_empty() {
                self.awaited.remove(&reveal.0);
                done.push(reveal);
            }
        }
        if !done.is_empty() {
            self.core(CoreEvent::RevealConfirmed { reveals: done }).await;
        }
    }

    async fn command(&mut self, command: UplinkCommand) {
        match command {
            UplinkCommand::Upload(ids) => self.upload(ids).await,
            UplinkCommand::Reveal(reveals) => {
                for (jid, line) in self.lines.iter().filter(|(_, line)| line.ready) {
                    for reveal in &reveals {
                        self.awaited.entry(reveal.0).or_default().insert(jid.clone());
                    }
                    let _ = line.commands.send(UplinkCommand::Reveal(reveals.clone()));
                }
            }
            UplinkCommand::Client { jid, answer } => {
                let line = match &jid {
                    Some(jid) => self.lines.get(jid),
                    None => self.lines.values().max_by_key(|line| line.ready),
                };
                // Whoever asked may have gone.
                let _ = answer.send(line.map(|line| line.client.clone()));
            }
            UplinkCommand::Token { carrier, token } => match self.line_for(&token) {
                Some(line) => drop(line.commands.send(UplinkCommand::Token { carrier, token })),
                None => tracing::info!("a neighbour's token is for a bridge that this node does not use"),
            },
        }
    }

    fn line_for(&self, token: &PickupToken) -> Option<&Line> {
        let lines = || self.lines.values().filter(|line| line.entry.account.bridge == token.domain);
        lines().find(|line| line.ready).or_else(|| lines().next())
    }

    /// Passes bundles on to the sessions whose bridges they are for.
    async fn upload(&self, ids: Vec<BundleId>) {
        let mut by_bridge: BTreeMap<Option<String>, Vec<BundleId>> = BTreeMap::new();
        for id in ids {
            match self.hub.store.bundle(&id) {
                Ok(Some(bundle)) => {
                    let domain = bundle.uplink().map(|uplink| uplink.domain.to_string());
                    by_bridge.entry(domain).or_default().push(id);
                }
                Ok(None) => {} // purged meanwhile
                Err(error) => tracing::error!(%error, "a bundle cannot be read for its upload"),
            }
        }
        for (domain, bundles) in by_bridge {
            let is_its = |line: &&Line| domain.as_deref() == Some(&*line.entry.account.bridge);
            if let Some(line) = self.lines.values().filter(is_its).find(|line| line.ready) {
                let _ = line.commands.send(UplinkCommand::Upload(bundles));
            } else if domain.is_some_and(|domain| self.bridges.contains(&domain)) {
                // Their bridge is away at the moment, or its account logged out: they are found again when that comes back.
                for bundle in bundles {
                    self.core(CoreEvent::UploadDeferred { bundle }).await;
                }
            } else {
                // None of our bridges could do anything but refuse them; another carrier may be luckier, or this node with
                // another account.
                self.core(CoreEvent::Verdict { bundles, accepted: false }).await;
            }
        }
    }

    async fn core(&self, event: CoreEvent) {
        // The shell ends only when the daemon stops.
        let _ = self.hub.inputs.send(Input::Core(event)).await;
    }
}

fn bridges_of(entries: &[Entry]) -> BTreeSet<String> {
    entries.iter().map(|entry| entry.account.bridge.clone()).collect()
}

/// Whether a session may go on under what an account is now.
fn is_same(now: &Entry, then: &Entry) -> bool {
    now.account == then.account && now.password == then.password
}
