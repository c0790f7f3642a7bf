//! What a client session does while it is online.

use std::net::{SocketAddr, UdpSocket};

use jid::BareJid;
use minidom::Element;
use tokio::time::{Instant, sleep_until, timeout};

use super::handle::{ClientEvent, Closed, Command, IqError, Taken, Whom};
use super::incoming::{self, Incoming};
use super::iqs::Peer;
use super::login::Stream;
use super::session::{Driver, End, Stop, deliver, expiry, protocol, take};
use super::sm::{Sm, h};
use crate::limits::{ARCHIVE_PAGE_MAX, BACKLOG_MAX, CLOSE_TIMEOUT, OUTPUT_BYTES_MAX};
use crate::ns;
use crate::probe::{Due, Probe, Silence, at};
use crate::reason::OfflineReason;
use crate::stanza::{iq, people, verdict};
use crate::wire::{Item, WireError, el, print};

impl Driver {
    /// Serves a connection until it ends.
    pub(super) async fn online(&mut self, mut wire: Stream) -> End {
        let local = wire.get_ref().get_ref().0.local_addr().ok();
        let config = &self.account.config;
        let mut probe = Probe::new(config.ping_after, config.ping_timeout, config.poke_timeout);
        let mut silence = Silence::new(config.ping_timeout);
        loop {
            self.take_all();
            self.acknowledge(&mut wire, false);
            self.request(&mut wire);
            let in_flight = wire.queued() + self.sm.as_ref().map_or(0, Sm::unacked_bytes);
            let reading = self.backlog.len() < BACKLOG_MAX && !self.sm.as_ref().is_some_and(Sm::full);
            if !reading {
                // We hold the server's answers up ourselves.
                probe.hold(Instant::now());
            }
            let due = probe.deadline(wire.last_read());
            let requested = self.sm.as_ref().and_then(Sm::requested).filter(|_| reading);
            let unacknowledged = silence.deadline(requested, Instant::now(), in_flight, wire.bytes_read());
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
                () = at(unacknowledged) => return End::Lost(self.unacknowledged()),
                () = self.cancel.cancelled() => {
                    self.close(&mut wire).await;
                    return End::Stop(Stop(None));
                },
            }
        }
    }

    /// The server does not acknowledge what was sent. It may be out of reach; but if it has taken the session up again and
    /// again, and has not done so since, it has one in which it reads nothing, and a new one is needed.
    fn unacknowledged(&mut self) -> OfflineReason {
        if self.sm.as_ref().is_some_and(Sm::is_stuck) {
            self.sm = None;
        }
        OfflineReason::Timeout { doing: "waiting for it to acknowledge what was sent" }
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
            Incoming::Bundle { from, bytes, message_id, archive_id } => {
                // Not taken before the application says so.
                let taken = Taken { ticket, done: self.taken_sender.clone() };
                let event = ClientEvent::Bundle { from, bytes, message_id, archive_id, taken };
                return self.say(event);
            }
            Incoming::Mark { from, message_id, mark } => {
                let taken = Taken { ticket, done: self.taken_sender.clone() };
                return self.say(ClientEvent::Mark { from, message_id, mark, taken });
            }
            Incoming::Archived(archived) => {
                if self.archived.len() < ARCHIVE_PAGE_MAX {
                    self.archived.push(archived);
                }
            }
            Incoming::Subscription { from, kind } => self.say(ClientEvent::Subscription { from, kind }),
            Incoming::Nothing => {}
            Incoming::Reply(reply) => self.send(wire, &reply),
            Incoming::Answer(kind) => self.iqs.answer(stanza, kind, stanza.children().next()),
            Incoming::Verdict(verdict::Answer::Verdict { bytes, reveal }) => {
                self.say(ClientEvent::Verdict { bytes, reveal });
            }
            Incoming::Verdict(verdict::Answer::Acceptances { bytes }) => {
                self.say(ClientEvent::Acceptances { bytes });
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
            Some(Command::Message { reply, .. }) if full => drop(reply.send(Err(Closed::Busy))),
            Some(Command::Iq { reply, .. }) if full => drop(reply.send(Err(IqError::Busy))),
            Some(Command::Presence { reply, .. }) if full => drop(reply.send(Err(Closed::Busy))),
            Some(Command::Message { message, reply }) => {
                let sent = self.send_fitting(wire, &message);
                // What stream management counts is what is queued, too.
                let unacked = self.sm.as_ref().map_or(0, Sm::unacked_bytes);
                let _ = reply.send(sent.map(|()| unacked.max(wire.queued())));
            }
            Some(Command::Iq { set, whom, payload, reply }) => {
                let peer = self.peer(whom);
                let to = peer.to.clone();
                if let Some(id) = self.iqs.ask(peer, reply) {
                    if payload.is("query", ns::MAM) {
                        self.archived.clear();
                    }
                    let request = iq::question(ns::CLIENT, set, &id, to.as_deref(), payload);
                    self.send(wire, &request);
                }
            }
            Some(Command::Presence { to, kind, reply }) => {
                self.send(wire, &people::presence(&to, kind));
                let _ = reply.send(Ok(()));
            }
            Some(Command::TakeArchived { reply }) => {
                let _ = reply.send(std::mem::take(&mut self.archived));
            }
            Some(Command::Shutdown { reply }) => return Some(Stop(Some(reply))),
            // All handles are gone: nobody can use the session any more.
            None => return Some(Stop(None)),
        }
        None
    }

    fn peer(&self, whom: Whom) -> Peer {
        let account = &self.account;
        match whom {
            Whom::Bridge => {
                Peer { to: Some(account.config.bridge.clone()), from: account.bridge.clone(), own: false }
            }
            Whom::Server => {
                let from = BareJid::from_parts(None, account.jid.domain());
                Peer { to: Some(account.domain()), from, own: true }
            }
            Whom::Own => Peer { to: None, from: account.jid.clone(), own: true },
            Whom::Other(from) => Peer { to: Some(from.to_string()), from, own: false },
        }
    }

    /// Sends a stanza, unless the server has said that it takes none so large: it would end the stream.
    fn send_fitting(&mut self, wire: &mut Stream, stanza: &Element) -> Result<(), Closed> {
        let text = print(stanza, ns::CLIENT);
        if text.len() > self.stanza_max {
            return Err(Closed::OverLimit { bytes: text.len(), max: self.stanza_max });
        }
        self.send_text(wire, text);
        Ok(())
    }

    pub(super) fn send(&mut self, wire: &mut Stream, stanza: &Element) {
        self.send_text(wire, print(stanza, ns::CLIENT));
    }

    fn send_text(&mut self, wire: &mut Stream, text: String) {
        wire.push_text(&text);
        if let Some(sm) = &mut self.sm {
            sm.sent(text);
        }
    }

    /// What the application took comes before anything else: it may crash after the next word.
    fn take_all(&mut self) {
        while let Ok(ticket) = self.taken.try_recv() {
            take(&mut self.sm, ticket);
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
        self.take_all();
        self.acknowledge(wire, false);
        if timeout(CLOSE_TIMEOUT, wire.close()).await.is_err() {
            tracing::debug!("the server did not close the stream in time");
        }
    }
}

/// Whether this machine still has the address that a connection was made from: without it the connection is dead,
/// however patient TCP may be.
fn is_ours(local: SocketAddr) -> bool {
    UdpSocket::bind((local.ip(), 0)).is_ok()
}
