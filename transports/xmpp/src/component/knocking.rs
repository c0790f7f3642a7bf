//! Which accounts exist, as far as the server lets us know. Does no IO.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::stanza::tell::Knock;

/// Questions about accounts without an answer yet.
pub(super) const KNOCKS_MAX: usize = 64;

struct Question {
    refused: bool,
    reply: oneshot::Sender<Option<bool>>,
}

/// Questions under way on one connection, by the id of the message that asks.
#[derive(Default)]
pub(super) struct Knocking {
    /// What this server reports; `None` until it is known, or for ever.
    way: Option<Knock>,
    /// What came back of the messages to an account that cannot exist: headline, chat.
    trial: [bool; 2],
    questions: HashMap<String, Question>,
}

impl Knocking {
    /// How to ask.
    pub(super) fn way(&self) -> Option<Knock> {
        self.way.filter(|_| self.questions.len() < KNOCKS_MAX)
    }

    /// A question was sent as the message `id`.
    pub(super) fn asked(&mut self, id: String, reply: oneshot::Sender<Option<bool>>) {
        self.questions.insert(id, Question { refused: false, reply });
    }

    /// A message came back; whether it was one of these.
    pub(super) fn bounced(&mut self, id: &str) -> bool {
        match (id, self.questions.get_mut(id)) {
            (_, Some(question)) => question.refused = true,
            (Self::TRIAL_HEADLINE, None) => self.trial[0] = true,
            (Self::TRIAL_CHAT, None) => self.trial[1] = true,
            _ => return false,
        }
        true
    }

    /// The server has come to what was sent after the message `id`.
    pub(super) fn answered(&mut self, id: &str) {
        if let Some(Question { refused, reply }) = self.questions.remove(id) {
            // Whoever asked may have gone.
            let _ = reply.send(Some(!refused));
        }
    }

    /// The server has come to what was sent after both trials. A headline leaves no trace, so it is preferred.
    pub(super) fn tried(&mut self) {
        self.way = match self.trial {
            [true, _] => Some(Knock::Headline),
            [false, true] => Some(Knock::Chat),
            [false, false] => None,
        };
    }

    /// Whether this is the id of a message to an account that cannot exist.
    pub(super) fn is_trial(id: &str) -> bool {
        [Self::TRIAL_HEADLINE, Self::TRIAL_CHAT].contains(&id)
    }

    /// Ids of the messages to an account that cannot exist.
    pub(super) const TRIAL_HEADLINE: &str = "knock-headline";
    /// The other one.
    pub(super) const TRIAL_CHAT: &str = "knock-chat";
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn knocking(reported: &[&str]) -> Knocking {
        let mut knocking = Knocking::default();
        assert_eq!(knocking.way(), None);
        assert!(reported.iter().all(|id| knocking.bounced(id)));
        knocking.tried();
        knocking
    }

    #[test]
    fn the_way_that_leaves_no_trace_is_preferred() {
        let (headline, chat) = (Knocking::TRIAL_HEADLINE, Knocking::TRIAL_CHAT);
        assert_eq!(knocking(&[headline, chat]).way(), Some(Knock::Headline));
        assert_eq!(knocking(&[chat]).way(), Some(Knock::Chat));
        assert_eq!(knocking(&[]).way(), None);
    }

    #[test]
    fn an_error_before_the_pong_means_no() {
        let mut knocking = knocking(&[Knocking::TRIAL_CHAT]);
        let ask = |knocking: &mut Knocking, id: &str| {
            let (reply, answer) = oneshot::channel();
            knocking.asked(id.to_owned(), reply);
            answer
        };
        let (mut there, mut gone) = (ask(&mut knocking, "1"), ask(&mut knocking, "2"));
        assert!(knocking.bounced("2") && !knocking.bounced("3"));
        knocking.answered("1");
        knocking.answered("2");
        assert_eq!((there.try_recv().unwrap(), gone.try_recv().unwrap()), (Some(true), Some(false)));
    }
}
