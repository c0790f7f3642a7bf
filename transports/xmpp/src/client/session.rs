//! The task behind a client session.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use minidom::Element;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::config::Account;
use super::handle::{ClientEvent, Closed, Command, IqError, Taken};
use super::incoming::{self, Incoming};
use super::iqs::Iqs;
use super::login::{LoggedIn, Session, Stream, login};
use super::sm::{Sm, Ticket, h};
use crate::backoff::Backoff;
use crate::limits::{ATTEMPT_SPACING, BACKLOG_MAX, CLOSE_TIMEOUT, OUTPUT_BYTES_MAX};
use crate::ns;
use crate::probe::{Due, Probe};
use crate::reason::OfflineReason;
use crate::stanza::{bundle, carbons, iq};
use crate::wire::{Item, WireError, el, print};

/// How a connection or the wait for one ended.
enum End {
    /// Try again.
    Lost(OfflineReason),
    /// The application has had enough.
    Stop(Stop),
}

/// Whom to tell when the session is closed.
struct Stop(Option<oneshot::Sender<()>>);

/// Everything that outlives a connection.
pub(super) struct Driver {
    account: Account,
    cancel: CancellationToken,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<ClientEvent>,
    /// Events that found the channel full.
    backlog: VecDeque<ClientEvent>,
    poke: Arc<Notify>,
    taken: mpsc::UnboundedReceiver<Ticket>,
    taken_sender: mpsc::UnboundedSender<Ticket>,
    iqs: Iqs,
    /// The session that may be resumed.
    sm: Option<Sm>,
    sessions: u64,
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
        let iqs = Iqs::new(account.bridge.clone());
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

    /// Attempts to log in. A poke starts an attempt over, as it may hang on a path that is gone.
    async fn connect(&mut self) -> Result<Stream, End> {
        loop {
            if let Some(outcome) = self.attempt().await? {
                return self.begin(outcome.map_err(End::Lost)?);
            }
        }
    }

    /// One attempt; `None` when it was poked.
    async fn attempt(&mut self) -> Result<Option<Result<LoggedIn, OfflineReason>>, End> {
        let started = Instant::now();
        let resume = self.sm.as_mut().and_then(Sm::resume);
        let mut attempt = std::pin::pin!(login(&self.account, resume, self.sessions + 1));
        loop {
            tokio::select! {
                outcome = &mut attempt => return Ok(Some(outcome)),
                () = self.poke.notified(), if started.elapsed() > ATTEMPT_SPACING => return Ok(None),
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
        let LoggedIn { mut wire, session } = logged_in;
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

    /// Serves a connection until it ends.
    async fn online(&mut self, mut wire: Stream) -> End {
        let local = wire.get_ref().get_ref().0.local_addr().ok();
        let config = &self.account.config;
        let mut probe = Probe::new(config.ping_after, config.ping_timeout, config.poke_timeout);
        loop {
            self.acknowledge(&mut wire, false);
            self.request(&mut wire);
            let in_flight = wire.queued() + self.sm.as_ref().map_or(0, Sm::unacked_bytes);
            let reading = self.backlog.len() < BACKLOG_MAX && !self.sm.as_ref().is_some_and(Sm::full);
            if !reading {
                // We hold the server's answers up ourselves.
                probe.hold(Instant::now());
            }
            let due = probe.deadline(wire.last_read());
            tokio::select! {
                item = wire.drive(reading) => if let Err(reason) = self.item(&mut wire, item) {
                    return End::Lost(reason);
                },
                command = self.commands.recv() => {
                    if let Some(stop) = self.command(&mut wire, command, in_flight) {
                        self.close(&mut wire).await;
                        return End::Stop(stop);
                    }
                },
                Some(ticket) = self.taken.recv() => take(&mut self.sm, ticket),
                sent = deliver(&self.events, &mut self.backlog) => if let Err(end) = sent {
                    self.close(&mut wire).await;
                    return end;
                },
                () = expiry(&self.iqs) => self.iqs.expire(Instant::now()),
                () = self.poke.notified() => {
                    if local.is_some_and(|local| !is_ours(local)) {
                        return End::Lost(OfflineReason::NoNetwork { detail: "the local address is gone".to_owned() });
                    }
                    if probe.poke(Instant::now(), wire.last_read(), in_flight) {
                        self.ping(&mut wire);
                    }
                },
                () = sleep_until(due) => {
                    match probe.expired(Instant::now(), wire.last_read(), in_flight) {
                        Due::Nothing => {}
                        Due::Ask => self.ping(&mut wire),
                        Due::Dead => {
                            return End::Lost(OfflineReason::Timeout { doing: "checking that it is still there" });
                        }
                    }
                },
                () = self.cancel.cancelled() => {
                    self.close(&mut wire).await;
                    return End::Stop(Stop(None));
                },
            }
        }
    }

    fn item(&mut self, wire: &mut Stream, item: Result<Item, WireError>) -> Result<(), OfflineReason> {
        match item.map_err(OfflineReason::broken)? {
            Item::Element(element) => self.element(wire, &element),
            Item::Refused(refused) => {
                tracing::info!("dropped a stanza that is nested too deep or has too many elements");
                if refused.ns == ns::CLIENT {
                    // It counts (XEP-0198 section 4), or the server would send it again for ever.
                    let ticket = self.sm.as_mut().and_then(Sm::received);
                    ticket.into_iter().for_each(|ticket| take(&mut self.sm, ticket));
                }
                Ok(())
            }
            Item::Closed => {
                Err(OfflineReason::StreamEnded { detail: "the server closed the stream".to_owned() })
            }
            Item::Opened { .. } => Err(protocol("a second stream header")),
        }
    }

    fn element(&mut self, wire: &mut Stream, element: &Element) -> Result<(), OfflineReason> {
        if element.has_ns(ns::CLIENT) {
            self.stanza(wire, element);
            return Ok(());
        }
        if element.is("error", ns::STREAM) {
            let reason = OfflineReason::stream_error(element, &self.account.domain());
            if matches!(reason, OfflineReason::Conflict { .. }) {
                // The other session has taken over; ours is not there to be resumed.
                self.sm = None;
            }
            return Err(reason);
        }
        if element.is("r", ns::SM) {
            self.acknowledge(wire, true);
        } else if element.is("a", ns::SM)
            && let Some(sm) = &mut self.sm
        {
            let h = h(element).ok_or_else(|| protocol("an acknowledgement without a count"))?;
            let result = sm.acknowledged(h);
            if let Err(error) = result {
                self.sm = None;
                return Err(protocol(&error.to_string()));
            }
        }
        Ok(())
    }

    fn stanza(&mut self, wire: &mut Stream, stanza: &Element) {
        let Some(ticket) = self.sm.as_mut().and_then(Sm::received) else { return };
        match incoming::read(stanza, &self.account.jid, &self.account.bridge) {
            Incoming::Bundle { from, bytes, message_id } => {
                // Not taken before the application says so.
                let taken = Taken { ticket, done: self.taken_sender.clone() };
                return self.say(ClientEvent::Bundle { from, bytes, message_id, taken });
            }
            Incoming::Nothing => {}
            Incoming::Reply(reply) => self.send(wire, &reply),
            Incoming::Answer(kind) => self.iqs.answer(stanza, kind, stanza.children().next()),
            Incoming::Verdict(verdict) => {
                self.say(ClientEvent::Verdict { bytes: verdict.bytes, reveal: verdict.reveal });
            }
            Incoming::Refusal { id, condition, text } => {
                self.say(ClientEvent::Refusal { id, condition, text });
            }
        }
        take(&mut self.sm, ticket);
    }

    /// Carries out a command; the one to stop is returned.
    fn command(&mut self, wire: &mut Stream, command: Option<Command>, in_flight: usize) -> Option<Stop> {
        // Refused, never kept waiting: whoever waits here may be the one who reads the events.
        let full = in_flight >= OUTPUT_BYTES_MAX;
        match command {
            Some(Command::Upload { reply, .. }) if full => drop(reply.send(Err(Closed::Busy))),
            Some(Command::Iq { reply, .. }) if full => drop(reply.send(Err(IqError::Busy))),
            Some(Command::Upload { id, bundle, reply }) => {
                let message = bundle::upload(&self.account.config.bridge, &id, &bundle);
                self.send(wire, &message);
                let _ = reply.send(Ok(()));
            }
            Some(Command::Iq { set, payload, reply }) => {
                if let Some(id) = self.iqs.ask(reply) {
                    let request = iq::request(ns::CLIENT, set, &id, &self.account.config.bridge, payload);
                    self.send(wire, &request);
                }
            }
            Some(Command::Shutdown { reply }) => return Some(Stop(Some(reply))),
            // All handles are gone: nobody can use the session any more.
            None => return Some(Stop(None)),
        }
        None
    }

    fn send(&mut self, wire: &mut Stream, stanza: &Element) {
        let text = print(stanza, ns::CLIENT);
        wire.push_text(&text);
        if let Some(sm) = &mut self.sm {
            sm.sent(text);
        }
    }

    fn acknowledge(&mut self, wire: &mut Stream, asked: bool) {
        if let Some(ack) = self.sm.as_mut().and_then(|sm| sm.ack(asked)) {
            wire.push(&ack);
        }
    }

    /// Asks for an acknowledgement when there is something to acknowledge.
    fn request(&mut self, wire: &mut Stream) {
        if self.sm.as_mut().is_some_and(Sm::should_request) {
            wire.push(&el("r", ns::SM));
        }
    }

    /// Asks for a sign of life.
    fn ping(&mut self, wire: &mut Stream) {
        if self.sm.as_ref().is_some_and(Sm::enabled) {
            wire.push(&el("r", ns::SM));
        } else {
            let id = self.iqs.id();
            let domain = self.account.domain();
            self.send(wire, &iq::ping(ns::CLIENT, &id, &domain));
        }
    }

    /// Ends the session, not only the connection.
    async fn close(&mut self, wire: &mut Stream) {
        while let Ok(ticket) = self.taken.try_recv() {
            take(&mut self.sm, ticket);
        }
        self.acknowledge(wire, false);
        if timeout(CLOSE_TIMEOUT, wire.close()).await.is_err() {
            tracing::debug!("the server did not close the stream in time");
        }
    }

    /// Waits before the next attempt; the command to stop is returned.
    async fn pause(
        &mut self,
        reason: &OfflineReason,
        backoff: &mut Backoff,
        started: Instant,
    ) -> Option<Stop> {
        let operator = reason.needs_operator();
        let wait = if operator { self.account.config.retry_operator } else { backoff.wait() };
        let earliest = started + ATTEMPT_SPACING;
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

    fn say(&mut self, event: ClientEvent) {
        self.backlog.push_back(event);
    }
}

/// Answers a command while there is no session; the one to stop is returned.
fn refuse(command: Option<Command>) -> Option<Stop> {
    match command {
        Some(Command::Upload { reply, .. }) => {
            let _ = reply.send(Err(Closed::Offline));
            None
        }
        Some(Command::Iq { reply, .. }) => {
            let _ = reply.send(Err(IqError::Offline));
            None
        }
        Some(Command::Shutdown { reply }) => Some(Stop(Some(reply))),
        None => Some(Stop(None)),
    }
}

fn take(sm: &mut Option<Sm>, ticket: Ticket) {
    if let Some(sm) = sm {
        sm.taken(ticket);
    }
}

/// Moves the oldest waiting event into the channel; never ends while there is none.
async fn deliver(events: &mpsc::Sender<ClientEvent>, backlog: &mut VecDeque<ClientEvent>) -> Result<(), End> {
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

async fn expiry(iqs: &Iqs) {
    match iqs.deadline() {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Whether this machine still has the address that a connection was made from: without it the connection is dead,
/// however patient TCP may be.
fn is_ours(local: SocketAddr) -> bool {
    UdpSocket::bind((local.ip(), 0)).is_ok()
}

fn protocol(detail: &str) -> OfflineReason {
    OfflineReason::Protocol { detail: detail.to_owned() }
}
