//! The task that owns the core: receive an event, call `handle`, carry out the actions.
//!
//! It never waits for anything but its inputs, so no worker can make it stall: what takes time (dialling, frames on
//! a link, commits, opening, uploading) is a task of its own that answers with an input.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pigeon_bundle::{BundleId, NodeKey};
use pigeon_core::{
    Action, CommitFailure, Core, Event as CoreEvent, LinkId, LinkInfo, Notice, PeerId, Role, Token, Windows,
};
use pigeon_link::{DutyCycle, Link, TransportEvent, TransportKind};
use pigeon_proto::{Frame, GoodbyeReason};
use pigeon_store::{Store, StoreError, Transaction};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::carriage::Carriage;
use crate::clock::{Clock, mono_ms};
use crate::input::{Commit, Input, UplinkCommand};
use crate::links::{LinkHandle, spawn_link};
use crate::meeting::{self, Desk};
use crate::neighbours::Neighbours;
use crate::notices::Notices;
use crate::transports::{Transports, peer_id};

/// The core is asked at least this often, so that a clock set by hand is noticed.
const TICK_MAX: Duration = Duration::from_secs(60);

/// Where the shell's work goes. The unbounded ends hold at most what the core has outstanding: its windows bound
/// uploads and reveals, the store's content bounds opens.
pub struct Workers {
    /// To the mailbox's opener.
    pub opener: mpsc::UnboundedSender<BundleId>,
    /// To the uplink driver; closed where no account is configured.
    pub uplink: mpsc::UnboundedSender<UplinkCommand>,
    /// Transports to dial with.
    pub transports: Arc<Transports>,
    /// For `pigeon neighbours`.
    pub neighbours: Neighbours,
    /// For `pigeon watch` and the log.
    pub notices: Notices,
    /// For `pigeon status`.
    pub carriage: Carriage,
}

/// The shell around one core.
pub struct Shell {
    core: Core,
    store: Store,
    clock: Clock,
    workers: Workers,
    links: BTreeMap<LinkId, LinkHandle>,
    next_link: u64,
    desk: Desk,
    inputs: mpsc::Sender<Input>,
    commits: mpsc::UnboundedSender<(Token, Commit)>,
}

impl Shell {
    /// A shell whose tasks answer through `inputs`.
    pub fn new(
        core: Core,
        store: Store,
        clock: Clock,
        workers: Workers,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        let commits = spawn_committer(inputs.clone());
        let (links, desk) = (BTreeMap::new(), Desk::default());
        Self { core, store, clock, workers, links, next_link: 1, desk, inputs, commits }
    }

    /// Runs until `cancel`; then says goodbye on all links.
    pub async fn run(mut self, mut inputs: mpsc::Receiver<Input>, cancel: CancellationToken) {
        self.handle(CoreEvent::Started);
        loop {
            let deadline = self.time_to_deadline();
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                input = inputs.recv() => match input {
                    Some(input) => self.input(input),
                    None => break,
                },
                () = tokio::time::sleep(deadline) => self.handle(CoreEvent::Timer),
            }
        }
        self.handle(CoreEvent::Stopping);
        for link in self.links.values() {
            link.close(GoodbyeReason::Shutdown);
        }
    }

    fn time_to_deadline(&self) -> Duration {
        let left = self.core.next_deadline_ms().map(|at| Duration::from_millis(at.saturating_sub(mono_ms())));
        left.unwrap_or(TICK_MAX).min(TICK_MAX)
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Core(event) => {
                if let CoreEvent::LinkDown { link } = &event {
                    self.links.remove(link);
                    self.workers.neighbours.remove(*link);
                    let outputs = self.desk.link_down(mono_ms(), *link);
                    self.meet(outputs);
                }
                self.handle(event);
            }
            Input::Introduction { link, step } => {
                let outputs = self.desk.frame(mono_ms(), link, step);
                self.meet(outputs);
            }
            Input::Meeting(command) => {
                let outputs = self.desk.command(mono_ms(), command);
                self.meet(outputs);
            }
            Input::IsRevealed { commitment, answer } => {
                let revealed = self.core.reveal_of(&self.store, &commitment);
                // Whoever asked may have stopped.
                let _ = answer.send(revealed.map(|reveal| reveal.is_some()));
            }
            Input::Transport { own, kind, event } => self.transport(own, kind, event),
            Input::Dialled { own, peer, result } => match result {
                Ok(link) => self.link_up(own, Some(peer), link),
                Err(error) => {
                    tracing::debug!(peer = peer.0, %error, "dialling failed");
                    self.handle(CoreEvent::DialFailed { peer });
                }
            },
        }
    }

    fn transport(&mut self, own: NodeKey, kind: TransportKind, event: TransportEvent) {
        match event {
            TransportEvent::Seen { peer, dial_first, .. } => {
                self.handle(CoreEvent::Seen { peer: peer_id(&peer), dial_first });
            }
            TransportEvent::Lost { peer } => self.handle(CoreEvent::Lost { peer: peer_id(&peer) }),
            TransportEvent::Incoming(link) => {
                let sighting = link.meta.sighting.as_deref().map(peer_id);
                self.link_up(own, sighting, link);
            }
            TransportEvent::Problem(problem) => self.workers.transports.problem(kind, problem),
            TransportEvent::Ready => self.workers.transports.ready(kind),
        }
    }

    fn link_up(&mut self, own: NodeKey, peer: Option<PeerId>, link: Link) {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        if let Some(clock_s) = link.hello.clock_s {
            self.clock.heard(link.peer.0, clock_s);
        }
        let info = LinkInfo {
            link: id,
            peer,
            node: link.peer,
            own,
            role: match link.meta.role {
                pigeon_link::Role::Dialler => Role::Dialler,
                pigeon_link::Role::Listener => Role::Listener,
            },
            binding: link.meta.binding,
            cost: link.meta.cost.as_u8(),
            address: link.meta.address_class.to_bytes(),
            carriage_open: link.hello.carriage_open,
            clock_s: link.hello.clock_s,
        };
        self.workers.neighbours.add(id, &link, self.clock.display_ms());
        self.links.insert(id, spawn_link(id, link, self.inputs.clone()));
        let peer = meeting::Peer { node: info.node, role: info.role, binding: info.binding };
        self.handle(CoreEvent::LinkUp(info));
        self.desk.link_up(mono_ms(), id, peer);
    }

    fn meet(&mut self, outputs: Vec<meeting::Output>) {
        for output in outputs {
            match output {
                meeting::Output::Send(link, step) => self.send(link, Frame::Introduction(step)),
                meeting::Output::Close { link, node, reason, rule } => {
                    let notice = Notice::LinkRefused { node, reason: rule.to_owned() };
                    self.workers.notices.publish(&notice, &self.workers.neighbours);
                    self.close(link, reason);
                }
            }
        }
    }

    fn send(&self, link: LinkId, frame: Frame) {
        if let Some(handle) = self.links.get(&link) {
            handle.send(frame);
        }
    }

    fn close(&self, link: LinkId, reason: GoodbyeReason) {
        if let Some(handle) = self.links.get(&link) {
            handle.close(reason);
        }
    }

    fn handle(&mut self, event: CoreEvent) {
        let now = self.clock.now();
        let actions = self.core.handle(now, event, &self.store);
        for action in actions {
            self.carry_out(action);
        }
        self.workers.carriage.set(
            self.core.counters(),
            self.core.carriage_open(now),
            self.core.looked_ms(now),
        );
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Dial { peer } => self.dial(peer),
            Action::Send { link, frame } => self.send(link, frame),
            Action::Close { link, reason } => self.close(link, reason),
            Action::Commit { token, ops } => {
                let commit: Commit = Box::pin(self.store.commit(Transaction::of_ops(ops)));
                // The committer ends only with the runtime.
                let _ = self.commits.send((token, commit));
            }
            Action::Open { bundle } => {
                let _ = self.workers.opener.send(bundle);
            }
            Action::Upload { bundles } => {
                let _ = self.workers.uplink.send(UplinkCommand::Upload(bundles));
            }
            Action::RevealToBridge { reveals } => {
                let _ = self.workers.uplink.send(UplinkCommand::Reveal(reveals));
            }
            Action::Discover(windows) => self.workers.transports.set_discovery(duty(windows)),
            Action::Carriage { open } => self.workers.transports.set_carriage_open(open),
            Action::IssueToken { link, carrier } => self.issue_token(link, carrier),
            Action::KeepToken { own, token } => {
                // A link whose key has just been rotated away ends; so does what came over it.
                if let Some(carrier) = self.workers.transports.node_secret(own) {
                    let _ =
                        self.workers.uplink.send(UplinkCommand::Token { carrier: Box::new(carrier), token });
                }
            }
            Action::Notice(notice) => self.workers.notices.publish(&notice, &self.workers.neighbours),
        }
    }

    fn issue_token(&self, link: LinkId, carrier: NodeKey) {
        let (mailbox, inputs) = (self.workers.notices.mailbox.clone(), self.inputs.clone());
        tokio::spawn(async move {
            for token in mailbox.issue_tokens(carrier) {
                let _ = inputs.send(Input::Core(CoreEvent::TokenIssued { link, token })).await;
            }
        });
    }

    fn dial(&self, peer: PeerId) {
        let (transports, inputs) = (self.workers.transports.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let (own, result) = transports.dial(&peer).await;
            let _ = inputs.send(Input::Dialled { own, peer, result }).await;
        });
    }
}

fn duty(windows: Windows) -> DutyCycle {
    if windows.is_off() {
        return DutyCycle::Off;
    }
    let [window, period] = [windows.window_ms, windows.period_ms].map(Duration::from_millis);
    DutyCycle::Windows { window, period }
}

/// Waits for commits in the order they were asked for, and answers each.
fn spawn_committer(inputs: mpsc::Sender<Input>) -> mpsc::UnboundedSender<(Token, Commit)> {
    let (sender, mut commits) = mpsc::unbounded_channel::<(Token, Commit)>();
    tokio::spawn(async move {
        while let Some((token, commit)) = commits.recv().await {
            let result = commit.await.map_err(failure);
            if inputs.send(Input::Core(CoreEvent::Committed { token, result })).await.is_err() {
                return;
            }
        }
    });
    sender
}

fn failure(error: StoreError) -> CommitFailure {
    tracing::error!(%error, "a commit failed");
    CommitFailure::from(error)
}
