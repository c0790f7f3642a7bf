//! The task behind a client session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::config::Account;
use super::handle::{ClientEvent, Closed, Command, IqError};
use super::iqs::Iqs;
use super::login::{LoggedIn, Session, Stream, login};
use super::sm::{Sm, Ticket};
use crate::backoff::Backoff;
use crate::limits::{ATTEMPT_SPACING, STANZA_BYTES_MAX};
use crate::ns;
use crate::probe::at;
use crate::reason::OfflineReason;
use crate::stanza::archive::Archived;
use crate::stanza::carbons;
use crate::wire::el;

/// How a connection or the wait for one ended.
pub(super) enum End {
    /// Try again.
    Lost(OfflineReason),
    /// The application has had enough.
    Stop(Stop),
}

/// Whom to tell when the session is closed.
pub(super) struct Stop(pub(super) Option<oneshot::Sender<()>>);

/// Everything that outlives a connection.
pub(super) struct Driver {
    pub(super) account: Account,
    pub(super) cancel: CancellationToken,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) events: mpsc::Sender<ClientEvent>,
    /// Events that found the channel full.
    pub(super) backlog: VecDeque<ClientEvent>,
    pub(super) poke: Arc<Notify>,
    pub(super) taken: mpsc::UnboundedReceiver<Ticket>,
    pub(super) taken_sender: mpsc::UnboundedSender<Ticket>,
    pub(super) iqs: Iqs,
    /// The session that may be resumed.
    pub(super) sm: Option<Sm>,
    sessions: u64,
    /// The largest stanza that may be sent on this connection, bytes.
    pub(super) stanza_max: usize,
    /// What the archive has sent of the page that was asked for.
    pub(super) archived: Vec<Archived>,
    /// The last reason given, so that it is not repeated at each attempt.
    said: Option<OfflineReason>,
}

impl Driver {
    pub(super) fn new(
        account: Account,
        cancel: CancellationToken,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<ClientEvent>,
        poke: Arc<Notify>,
    ) -> Self {
        let (taken_sender, taken) = mpsc::unbounded_channel();
        let iqs = Iqs::new();
        Self {
            account,
            cancel,
            commands,
            events,
            backlog: VecDeque::new(),
            poke,
            taken,
            taken_sender,
            iqs,
            sm: None,
            sessions: 0,
            stanza_max: STANZA_BYTES_MAX,
            archived: Vec::new(),
            said: None,
        }
    }

    /// Logs in again and again until it is told to stop.
    pub(super) async fn run(mut self) {
        let config = &self.account.config;
        let mut backoff = Backoff::new(config.retry_min, config.retry_max);
        loop {
            let started = Instant::now();
            let reason = match self.connect().await {
                Ok(wire) => {
                    backoff.reset();
                    self.said = None;
                    match self.online(wire).await {
                        End::Lost(reason) => reason,
                        End::Stop(stop) => return self.stopped(stop),
                    }
                }
                Err(End::Lost(reason)) => reason,
                Err(End::Stop(stop)) => return self.stopped(stop),
            };
            tracing::info!(%reason, "XMPP session offline");
            self.say_offline(&reason);
            if let Some(stop) = self.pause(&reason, &mut backoff, started).await {
                return self.stopped(stop);
            }
        }
    }

    fn stopped(mut self, Stop(reply): Stop) {
        self.iqs.fail_all();
        let last = ClientEvent::Offline { reason: OfflineReason::Shutdown };
        // If nobody reads, nobody misses it.
        let _ = self.events.try_send(last);
        if let Some(reply) = reply {
            let _ = reply.send(());
        }
    }

    /// Attempts to log in. A poke starts an attempt over, as it may hang on a path that is gone; but each time it has
    /// twice as long before, so that a slow network with much news still gets somewhere.
    async fn connect(&mut self) -> Result<Stream, End> {
        let mut undisturbed = ATTEMPT_SPACING;
        loop {
            if let Some(outcome) = self.attempt(undisturbed).await? {
                return self.begin(outcome.map_err(End::Lost)?);
            }
            undisturbed = (undisturbed * 2).min(self.account.config.online_timeout);
        }
    }

    /// One attempt; `None` when it was poked and has lasted `undisturbed`.
    async fn attempt(
        &mut self,
        undisturbed: Duration,
    ) -> Result<Option<Result<LoggedIn, OfflineReason>>, End> {
        let earliest = Instant::now() + undisturbed;
        let mut poked = false;
        let resume = self.sm.as_mut().and_then(Sm::resume);
        let mut attempt = std::pin::pin!(login(&self.account, resume, self.sessions + 1));
        loop {
            tokio::select! {
                outcome = &mut attempt => return Ok(Some(outcome)),
                () = self.poke.notified(), if !poked => poked = true,
                () = sleep_until(earliest), if poked => return Ok(None),
                command = self.commands.recv() => if let Some(stop) = refuse(command) {
                    return Err(End::Stop(stop));
                },
                Some(ticket) = self.taken.recv() => take(&mut self.sm, ticket),
                () = self.cancel.cancelled() => return Err(End::Stop(Stop(None))),
                sent = deliver(&self.events, &mut self.backlog) => sent?,
                () = expiry(&self.iqs) => self.iqs.expire(Instant::now()),
            }
        }
    }

    /// The first words on a stream that is logged in.
    fn begin(&mut self, logged_in: LoggedIn) -> Result<Stream, End> {
        let LoggedIn { mut wire, session, stanza_max } = logged_in;
        self.stanza_max = stanza_max.unwrap_or(STANZA_BYTES_MAX).min(STANZA_BYTES_MAX);
        self.archived.clear();
        let resumed = match session {
            Session::Resumed { h } => {
                if let Err(reason) = self.continue_session(&mut wire, h) {
                    self.sm = None;
                    return Err(End::Lost(reason));
                }
                true
            }
            Session::New(sm) => {
                self.sessions += 1;
                self.sm = Some(sm);
                self.iqs.fail_all();
                let id = self.iqs.id();
                self.send(&mut wire, &carbons::enable(&id));
                // Present, so that the server hands over what it stored.
                self.send(&mut wire, &el("presence", ns::CLIENT));
                false
            }
        };
        tracing::info!(resumed, "XMPP session online");
        self.say(ClientEvent::Online { resumed });
        Ok(wire)
    }

    /// Sends again what the server does not have.
    fn continue_session(&mut self, wire: &mut Stream, h: u32) -> Result<(), OfflineReason> {
        let sm = self.sm.as_mut().ok_or_else(|| protocol("a resumption that nobody asked for"))?;
        let again = sm.resumed(h).map_err(|error| protocol(&error.to_string()))?;
        again.for_each(|stanza| wire.push_text(stanza));
        Ok(())
    }

    /// Waits before the next attempt; the command to stop is returned.
    async fn pause(
        &mut self,
        reason: &OfflineReason,
        backoff: &mut Backoff,
        started: Instant,
    ) -> Option<Stop> {
        let operator = reason.needs_operator();
        let config = &self.account.config;
        let in_between = reason.may_be_in_between();
        let wait = match operator {
            true => config.retry_operator,
            false if in_between => backoff.wait().max(config.retry_tls),
            false => backoff.wait(),
        };
        let earliest = started + if in_between { config.retry_tls / 6 } else { ATTEMPT_SPACING };
        let mut waiting = std::pin::pin!(sleep(wait));
        loop {
            tokio::select! {
                () = &mut waiting => return None,
                () = self.poke.notified(), if !operator => {
                    let sooner = earliest.min(waiting.deadline());
                    waiting.as_mut().reset(sooner);
                },
                command = self.commands.recv() => if let Some(stop) = refuse(command) { return Some(stop) },
                Some(ticket) = self.taken.recv() => take(&mut self.sm, ticket),
                sent = deliver(&self.events, &mut self.backlog) => if sent.is_err() { return Some(Stop(None)) },
                () = expiry(&self.iqs) => self.iqs.expire(Instant::now()),
                () = self.cancel.cancelled() => return Some(Stop(None)),
            }
        }
    }

    fn say_offline(&mut self, reason: &OfflineReason) {
        let kind = std::mem::discriminant(reason);
        if self.said.as_ref().map(std::mem::discriminant) != Some(kind) {
            self.said = Some(reason.clone());
            self.say(ClientEvent::Offline { reason: reason.clone() });
        }
    }

    pub(super) fn say(&mut self, event: ClientEvent) {
        self.backlog.push_back(event);
    }
}

/// Answers a command while there is no session; the one to stop is returned.
fn refuse(command: Option<Command>) -> Option<Stop> {
    match command {
        Some(Command::Message { reply, .. }) => {
            let _ = reply.send(Err(Closed::Offline));
            None
        }
        Some(Command::Iq { reply, .. }) => {
            let _ = reply.send(Err(IqError::Offline));
            None
        }
        Some(Command::Presence { reply, .. }) => {
            let _ = reply.send(Err(Closed::Offline));
            None
        }
        Some(Command::TakeArchived { reply }) => {
            let _ = reply.send(Vec::new());
            None
        }
        Some(Command::Shutdown { reply }) => Some(Stop(Some(reply))),
        None => Some(Stop(None)),
    }
}

pub(super) fn take(sm: &mut Option<Sm>, ticket: Ticket) {
    if let Some(sm) = sm {
        sm.taken(ticket);
    }
}

/// Moves the oldest waiting event into the channel; never ends while there is none.
pub(super) async fn deliver(
    events: &mpsc::Sender<ClientEvent>,
    backlog: &mut VecDeque<ClientEvent>,
) -> Result<(), End> {
    if backlog.is_empty() {
        return std::future::pending().await;
    }
    // The application is gone when the channel is closed.
    let permit = events.reserve().await.map_err(|_| End::Stop(Stop(None)))?;
    if let Some(event) = backlog.pop_front() {
        permit.send(event);
    }
    Ok(())
}

pub(super) async fn expiry(iqs: &Iqs) {
    at(iqs.deadline()).await;
}

pub(super) fn protocol(detail: &str) -> OfflineReason {
    OfflineReason::Protocol { detail: detail.to_owned() }
}
