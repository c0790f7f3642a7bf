//! Questions of ours, who may answer them, and who waits for the answer.

use std::collections::HashMap;

use jid::{BareJid, Jid};
use minidom::Element;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::handle::{IqError, IqReply};
use crate::backoff::random;
use crate::limits::{IQ_TIMEOUT, IQS_MAX};
use crate::stanza::iq::Kind;
use crate::stanza::{error, id, sender};

/// Whom a question is for, and so who may answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    /// Where it goes; `None`: to the own account.
    pub(super) to: Option<String>,
    /// Whose answer counts.
    pub(super) from: BareJid,
    /// Whether an answer without a sender counts: the own server may leave it out.
    pub(super) own: bool,
}

/// Questions without an answer yet.
#[derive(Debug)]
pub(super) struct Iqs {
    prefix: u64,
    next: u64,
    waiting: HashMap<String, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<IqReply>,
    peer: Peer,
    until: Instant,
}

impl Iqs {
    pub(super) fn new() -> Self {
        Self { prefix: random(), next: 0, waiting: HashMap::new() }
    }

    /// An id that no earlier run has used.
    pub(super) fn id(&mut self) -> String {
        self.next += 1;
        format!("{:x}-{}", self.prefix, self.next)
    }

    /// Remembers who asks; the id to ask with. `None` when too many wait: then `reply` has its answer.
    pub(super) fn ask(&mut self, peer: Peer, reply: oneshot::Sender<IqReply>) -> Option<String> {
        self.waiting.retain(|_, waiting| !waiting.reply.is_closed());
        if self.waiting.len() >= IQS_MAX {
            // Nobody may be there any more; that is as well.
            let _ = reply.send(Err(IqError::Busy));
            return None;
        }
        let id = self.id();
        self.waiting.insert(id.clone(), Waiting { reply, peer, until: Instant::now() + IQ_TIMEOUT });
        Some(id)
    }

    /// Takes an answer of whom was asked. Answers of others, and to no question, are nobody's.
    pub(super) fn answer(&mut self, stanza: &Element, kind: Kind, payload: Option<&Element>) {
        let from: Option<Jid> = sender(stanza);
        let may = |peer: &Peer| match &from {
            Some(from) => from.to_bare() == peer.from,
            None => peer.own && stanza.attr("from").is_none(),
        };
        let asked = id(stanza).filter(|id| self.waiting.get(*id).is_some_and(|waiting| may(&waiting.peer)));
        let Some(waiting) = asked.and_then(|id| self.waiting.remove(id)) else { return };
        let reply = match kind {
            Kind::Error => {
                let (condition, text) = error::of_stanza(stanza);
                Err(IqError::Refused { condition, text })
            }
            _ => Ok(payload.cloned()),
        };
        let _ = waiting.reply.send(reply);
    }

    /// When the next question has waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }

    /// Gives up on what has waited long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        let late: Vec<String> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.until <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in late {
            self.fail(&id, IqError::Timeout);
        }
    }

    /// The session is gone, and with it the answers.
    pub(super) fn fail_all(&mut self) {
        let ids: Vec<String> = self.waiting.keys().cloned().collect();
        for id in ids {
            self.fail(&id, IqError::Offline);
        }
    }

    fn fail(&mut self, id: &str, error: IqError) {
        if let Some(waiting) = self.waiting.remove(id) {
            let _ = waiting.reply.send(Err(error));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::ns;
    use crate::wire::{With, el};

    fn iqs() -> Iqs {
        Iqs::new()
    }

    fn bridge() -> Peer {
        let from = BareJid::new("bridge.example.org").unwrap();
        Peer { to: Some(from.to_string()), from, own: false }
    }

    fn result(id: &str, from: &str) -> Element {
        el("iq", ns::CLIENT).with("id", id).with("from", from)
    }

    #[test]
    fn only_the_bridge_can_answer() {
        let mut iqs = iqs();
        let (reply, mut answer) = oneshot::channel();
        let id = iqs.ask(bridge(), reply).unwrap();
        for forged in ["newman@example.org", "example.org", "x@bridge.example.org", ""] {
            iqs.answer(&result(&id, forged), Kind::Result, None);
            assert!(answer.try_recv().is_err(), "{forged}");
        }
        iqs.answer(&result("other", "bridge.example.org"), Kind::Result, None);
        assert!(answer.try_recv().is_err());
        iqs.answer(&result(&id, "bridge.example.org"), Kind::Result, None);
        assert_eq!(answer.try_recv().unwrap(), Ok(None));
    }

    #[test]
    fn the_own_server_may_leave_its_name_out_and_nobody_else() {
        let mut iqs = iqs();
        let account = BareJid::new("jerry@example.org").unwrap();
        let own = Peer { to: None, from: account, own: true };
        for (from, counts) in
            [(None, true), (Some("jerry@example.org"), true), (Some("newman@example.org"), false)]
        {
            let (reply, mut answer) = oneshot::channel();
            let id = iqs.ask(own.clone(), reply).unwrap();
            let bare = el("iq", ns::CLIENT).with("id", &id);
            let stanza = if let Some(from) = from { bare.with("from", from) } else { bare };
            iqs.answer(&stanza, Kind::Result, None);
            assert_eq!(answer.try_recv().is_ok(), counts, "{from:?}");
        }
    }

    #[test]
    fn questions_expire_and_are_limited() {
        let mut iqs = iqs();
        let (mut replies, mut ids) = (Vec::new(), std::collections::HashSet::new());
        for _ in 0..IQS_MAX {
            let (reply, answer) = oneshot::channel();
            assert!(ids.insert(iqs.ask(bridge(), reply).unwrap()));
            replies.push(answer);
        }
        let (reply, mut answer) = oneshot::channel();
        assert_eq!(iqs.ask(bridge(), reply), None);
        assert_eq!(answer.try_recv().unwrap(), Err(IqError::Busy));
        let deadline = iqs.deadline().unwrap();
        iqs.expire(deadline - std::time::Duration::from_secs(1));
        assert!(replies[0].try_recv().is_err());
        iqs.expire(deadline + IQ_TIMEOUT);
        assert_eq!(replies[0].try_recv().unwrap(), Err(IqError::Timeout));
        assert_eq!(iqs.deadline(), None);
    }
}
