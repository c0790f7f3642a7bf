//! Questions of ours and who waits for the answer.

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

/// Questions to the bridge without an answer yet.
#[derive(Debug)]
pub(super) struct Iqs {
    bridge: BareJid,
    prefix: u64,
    next: u64,
    waiting: HashMap<String, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<IqReply>,
    until: Instant,
}

impl Iqs {
    pub(super) fn new(bridge: BareJid) -> Self {
        Self { bridge, prefix: random(), next: 0, waiting: HashMap::new() }
    }

    /// An id that no earlier run has used.
    pub(super) fn id(&mut self) -> String {
        self.next += 1;
        format!("{:x}-{}", self.prefix, self.next)
    }

    /// Remembers who asks; the id to ask with. `None` when too many wait: then `reply` has its answer.
    pub(super) fn ask(&mut self, reply: oneshot::Sender<IqReply>) -> Option<String> {
        self.waiting.retain(|_, waiting| !waiting.reply.is_closed());
        if self.waiting.len() >= IQS_MAX {
            // Nobody may be there any more; that is as well.
            let _ = reply.send(Err(IqError::Busy));
            return None;
        }
        let id = self.id();
        self.waiting.insert(id.clone(), Waiting { reply, until: Instant::now() + IQ_TIMEOUT });
        Some(id)
    }

    /// Takes an answer of the bridge. Answers of others, and to no question, are nobody's.
    pub(super) fn answer(&mut self, stanza: &Element, kind: Kind, payload: Option<&Element>) {
        let from_bridge = sender(stanza).is_some_and(|from: Jid| from.to_bare() == self.bridge);
        let Some(waiting) = id(stanza).filter(|_| from_bridge).and_then(|id| self.waiting.remove(id)) else {
            return;
        };
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
        Iqs::new(BareJid::new("bridge.example.org").unwrap())
    }

    fn result(id: &str, from: &str) -> Element {
        el("iq", ns::CLIENT).with("id", id).with("from", from)
    }

    #[test]
    fn only_the_bridge_can_answer() {
        let mut iqs = iqs();
        let (reply, mut answer) = oneshot::channel();
        let id = iqs.ask(reply).unwrap();
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
    fn questions_expire_and_are_limited() {
        let mut iqs = iqs();
        let (mut replies, mut ids) = (Vec::new(), std::collections::HashSet::new());
        for _ in 0..IQS_MAX {
            let (reply, answer) = oneshot::channel();
            assert!(ids.insert(iqs.ask(reply).unwrap()));
            replies.push(answer);
        }
        let (reply, mut answer) = oneshot::channel();
        assert_eq!(iqs.ask(reply), None);
        assert_eq!(answer.try_recv().unwrap(), Err(IqError::Busy));
        let deadline = iqs.deadline().unwrap();
        iqs.expire(deadline - std::time::Duration::from_secs(1));
        assert!(replies[0].try_recv().is_err());
        iqs.expire(deadline + IQ_TIMEOUT);
        assert_eq!(replies[0].try_recv().unwrap(), Err(IqError::Timeout));
        assert_eq!(iqs.deadline(), None);
    }
}
