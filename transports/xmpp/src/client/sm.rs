//! Stream management (XEP-0198): what each side has of the other's stanzas. Does no IO.

use std::collections::VecDeque;

use minidom::Element;

use crate::limits::UNTAKEN_MAX;
use crate::ns;
use crate::wire::{With, el};

/// A received stanza's place in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    session: u64,
    number: u64,
}

/// The counters of one session, which outlives its connections.
#[derive(Debug)]
pub(super) struct Sm {
    /// Tells this session's tickets from those of the one before.
    session: u64,
    /// What the server calls the session, where it can be resumed.
    resume_id: Option<String>,
    enabled: bool,
    /// Ours, in order, that the server has not acknowledged: printed stanzas.
    unacked: VecDeque<String>,
    unacked_bytes: usize,
    /// How many of ours the server has acknowledged.
    acked: u32,
    request_pending: bool,
    /// Requests so far.
    requests: u64,
    /// How often the session was taken up since the server last acknowledged anything.
    taken_up: u32,
    /// How many of the server's the application has taken, without a gap.
    taken: u64,
    /// What was received after those: taken or not.
    after: VecDeque<bool>,
    /// The number of the server's last stanza on this connection. After a resumption the server repeats what was not
    /// acknowledged, so this runs behind what was received before.
    last: u64,
    told: u64,
}

/// The server acknowledged stanzas that it was never sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server acknowledged {h} stanzas; between {acked} and {sent} were possible")]
pub(super) struct WrongCount {
    h: u32,
    acked: u32,
    sent: u32,
}

impl Sm {
    /// A new session, after `<enabled/>`, or on a server that has no stream management (`enabled` is `None`).
    pub(super) fn new(session: u64, enabled: Option<&Element>) -> Self {
        let resumable = |enabled: &&Element| matches!(enabled.attr("resume"), Some("true" | "1"));
        Self {
            session,
            resume_id: enabled.filter(resumable).and_then(|enabled| enabled.attr("id")).map(str::to_owned),
            enabled: enabled.is_some(),
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            acked: 0,
            request_pending: false,
            requests: 0,
            taken_up: 0,
            taken: 0,
            after: VecDeque::new(),
            last: 0,
            told: 0,
        }
    }

    /// Whether the server counts.
    pub(super) fn enabled(&self) -> bool {
        self.enabled
    }

    /// Asks to resume this session, if that is possible.
    pub(super) fn resume(&mut self) -> Option<Element> {
        let id = self.resume_id.as_deref()?;
        self.last = self.taken;
        self.told = self.taken;
        Some(el("resume", ns::SM).with("previd", id).with("h", &self.h().to_string()))
    }

    /// After `<resumed/>`: what to send again, in order.
    pub(super) fn resumed(&mut self, h: u32) -> Result<impl Iterator<Item = &str>, WrongCount> {
        let before = self.taken_up;
        self.acknowledged(h)?;
        self.taken_up = before.saturating_add(1);
        Ok(self.unacked.iter().map(String::as_str))
    }

    /// A stanza of ours is on its way.
    pub(super) fn sent(&mut self, stanza: String) {
        if self.enabled {
            self.unacked_bytes += stanza.len();
            self.unacked.push_back(stanza);
        }
    }

    /// Bytes that the server has not acknowledged.
    pub(super) fn unacked_bytes(&self) -> usize {
        self.unacked_bytes
    }

    /// Whether to ask for an acknowledgement now; one question at a time.
    pub(super) fn should_request(&mut self) -> bool {
        let should = self.enabled && !self.unacked.is_empty() && !self.request_pending;
        self.request_pending |= should;
        self.requests += u64::from(should);
        should
    }

    /// The number of the request that waits for its acknowledgement.
    pub(super) fn requested(&self) -> Option<u64> {
        self.request_pending.then_some(self.requests)
    }

    /// Whether the server has taken the session up twice and acknowledged nothing since: then it will not do so on the
    /// next connection either. Once may be a path that works for a moment only.
    pub(super) fn is_stuck(&self) -> bool {
        const MANY: u32 = 2;
        self.taken_up >= MANY
    }

    /// The server has `h` of ours.
    pub(super) fn acknowledged(&mut self, h: u32) -> Result<(), WrongCount> {
        self.request_pending = false;
        self.taken_up = 0;
        let new = h.wrapping_sub(self.acked);
        let sent = u32::try_from(self.unacked.len()).unwrap_or(u32::MAX);
        if new > sent {
            return Err(WrongCount { h, acked: self.acked, sent: self.acked.wrapping_add(sent) });
        }
        for _ in 0..new {
            if let Some(stanza) = self.unacked.pop_front() {
                self.unacked_bytes -= stanza.len();
            }
        }
        self.acked = h;
        Ok(())
    }

    /// A stanza of the server's has come. `None` when it is one that came before the connection was resumed: the
    /// application has it, or has its ticket.
    pub(super) fn received(&mut self) -> Option<Ticket> {
        self.last += 1;
        let known = self.taken + u64::try_from(self.after.len()).unwrap_or(u64::MAX);
        if self.last <= known {
            return None;
        }
        self.after.push_back(false);
        Some(Ticket { session: self.session, number: self.last })
    }

    /// The application has it. Tickets of other sessions mean nothing any more.
    pub(super) fn taken(&mut self, ticket: Ticket) {
        if ticket.session != self.session {
            return;
        }
        let place = ticket.number.checked_sub(self.taken + 1).and_then(|place| usize::try_from(place).ok());
        if let Some(taken) = place.and_then(|place| self.after.get_mut(place)) {
            *taken = true;
        }
        while self.after.front() == Some(&true) {
            self.after.pop_front();
            self.taken += 1;
        }
    }

    /// Whether the application is so far behind that nothing more should be read.
    pub(super) fn full(&self) -> bool {
        self.after.len() >= UNTAKEN_MAX
    }

    /// An acknowledgement, when the server asked for one or when there is news.
    pub(super) fn ack(&mut self, asked: bool) -> Option<Element> {
        if !self.enabled || (!asked && self.told == self.taken) {
            return None;
        }
        self.told = self.taken;
        Some(el("a", ns::SM).with("h", &self.h().to_string()))
    }

    /// Our count on the wire: 32 bits that wrap (XEP-0198 section 4).
    fn h(&self) -> u32 {
        u32::try_from(self.taken & u64::from(u32::MAX)).unwrap_or(0)
    }
}

/// The `h` of an element.
pub(super) fn h(element: &Element) -> Option<u32> {
    element.attr("h").and_then(|h| h.parse().ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn session(number: u64) -> Sm {
        Sm::new(number, Some(&el("enabled", ns::SM).with("id", "s1").with("resume", "true")))
    }

    fn h_of<E: Into<Option<Element>>>(element: E) -> Option<u32> {
        h(&element.into()?)
    }

    #[test]
    fn nothing_is_acknowledged_before_it_and_all_before_it_are_taken() {
        let mut sm = session(1);
        let tickets: Vec<_> = (0..3).map(|_| sm.received().unwrap()).collect();
        assert_eq!(h_of(sm.ack(true)), Some(0));
        sm.taken(tickets[1]);
        sm.taken(tickets[2]);
        assert_eq!(sm.ack(false), None);
        sm.taken(tickets[0]);
        assert_eq!(h_of(sm.ack(false)), Some(3));
        assert_eq!(sm.ack(false), None, "told already");
        sm.taken(tickets[0]);
        assert_eq!(h_of(sm.ack(true)), Some(3), "twice is once");
    }

    #[test]
    fn a_session_that_is_taken_up_and_never_acknowledges_is_stuck() {
        let mut sm = session(1);
        assert!(!sm.should_request() && sm.requested().is_none());
        sm.sent("1".to_owned());
        assert!(sm.should_request() && !sm.should_request());
        assert_eq!(sm.requested(), Some(1));
        sm.acknowledged(1).unwrap();
        assert_eq!(sm.requested(), None);
        sm.sent("2".to_owned());
        assert!(sm.should_request());
        for number in 3..=4 {
            assert!(!sm.is_stuck());
            sm.resume().unwrap();
            assert_eq!(sm.resumed(1).unwrap().count(), 1);
            assert!(sm.should_request());
            assert_eq!(sm.requested(), Some(number));
        }
        assert!(sm.is_stuck());
        sm.acknowledged(2).unwrap();
        assert!(!sm.is_stuck());
    }

    #[test]
    fn tickets_of_an_older_session_mean_nothing() {
        let old = session(1).received().unwrap();
        let mut sm = session(2);
        sm.received();
        sm.taken(old);
        assert_eq!(h_of(sm.ack(true)), Some(0));
    }

    #[test]
    fn resumption_sends_again_what_the_server_has_not() {
        let mut sm = session(1);
        for n in 0..4 {
            sm.sent(n.to_string());
        }
        assert!(sm.should_request() && !sm.should_request());
        sm.acknowledged(1).unwrap();
        assert_eq!(sm.resume().unwrap().attr("previd"), Some("s1"));
        assert_eq!(sm.resumed(3).unwrap().collect::<Vec<_>>(), ["3"]);
        assert_eq!(sm.unacked_bytes(), 1);
        assert!(sm.should_request());
    }

    #[test]
    fn what_the_server_repeats_after_resumption_is_not_given_out_twice() {
        let mut sm = session(1);
        let tickets: Vec<_> = (0..3).map(|_| sm.received().unwrap()).collect();
        sm.taken(tickets[0]);
        assert_eq!(h_of(sm.resume()), Some(1));
        // Meanwhile the application takes one that the server will now repeat.
        sm.taken(tickets[1]);
        assert_eq!(sm.resumed(0).unwrap().count(), 0);
        assert_eq!(sm.received(), None);
        assert_eq!(sm.received(), None);
        let fresh = sm.received().unwrap();
        sm.taken(fresh);
        assert_eq!(h_of(sm.ack(true)), Some(2));
        sm.taken(tickets[2]);
        assert_eq!(h_of(sm.ack(false)), Some(4));
    }

    #[test]
    fn impossible_counts_are_errors() {
        let mut sm = session(1);
        sm.sent("a".to_owned());
        assert_eq!(sm.acknowledged(2), Err(WrongCount { h: 2, acked: 0, sent: 1 }));
        sm.acknowledged(1).unwrap();
        assert!(sm.acknowledged(0).is_err(), "backwards");
    }

    #[test]
    fn counts_wrap_at_32_bits() {
        let mut sm = session(1);
        sm.acked = u32::MAX;
        sm.sent("a".to_owned());
        sm.sent("b".to_owned());
        sm.acknowledged(1).unwrap();
        assert_eq!(sm.unacked_bytes(), 0);
        sm.taken = u64::from(u32::MAX);
        sm.last = sm.taken;
        let ticket = sm.received().unwrap();
        sm.taken(ticket);
        assert_eq!(h_of(sm.ack(true)), Some(0));
    }

    #[test]
    fn a_server_without_it_is_never_asked() {
        let mut sm = Sm::new(1, None);
        sm.sent("a".to_owned());
        assert!(!sm.should_request());
        assert_eq!((sm.ack(true), sm.resume(), sm.unacked_bytes()), (None, None, 0));
        let ticket = sm.received().unwrap();
        sm.taken(ticket);
        assert!(!sm.full());
    }

    #[test]
    fn an_application_that_takes_nothing_fills_it() {
        let mut sm = session(1);
        let first = sm.received().unwrap();
        for _ in 1..UNTAKEN_MAX {
            assert!(!sm.full());
            sm.received();
        }
        assert!(sm.full());
        sm.taken(first);
        assert!(!sm.full());
    }
}
