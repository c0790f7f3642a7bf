//! A link that gives way to another one to the same node.
//!
//! A hand-over that has come as far as the taker's store ends where it began: `Stored` and `Granted` say nothing on
//! another link, and a `Granted` that goes with its link costs the copies it grants. Everything else is free again at
//! once and goes on over the link that stays, a half bundle from its offset. A retired link is closed by whichever end
//! has nothing left to say on it.

use pigeon_bundle::BundleId;
use pigeon_proto::{Frame, GoodbyeReason};

use super::Session;
use super::intake::Incoming;
use crate::action::Action;
use crate::context::Context;
use crate::core::Core;
use crate::event::LinkId;
use crate::trouble::Flow;

/// A retired link is closed after this whatever it still owes: its other end may be a process that is gone.
pub const RETIRE_MS: u64 = 10_000;

/// A session that begins nothing any more.
#[derive(Debug)]
pub(crate) struct Retired {
    pub(super) session: Session,
    until_ms: u64,
}

impl Retired {
    /// When it is closed at the latest.
    pub(crate) fn next_ms(&self) -> u64 {
        self.until_ms
    }
}

impl Core {
    /// The link stays for the hand-overs that the taker has whole, and for nothing else.
    pub(super) fn retire(&mut self, cx: &mut Context<'_>, link: LinkId) -> Flow {
        let Some(mut session) = self.sessions.remove(&link) else { return Ok(()) };
        let node = session.info.node;
        let unsent: Vec<BundleId> =
            session.outgoing.iter().filter(|(_, out)| !out.sent).map(|(id, _)| *id).collect();
        let receiving = session.incoming.extract_if(.., |_, incoming| incoming.is_receiving());
        let receiving: Vec<(BundleId, Incoming)> = receiving.collect();
        for id in unsent {
            if session.outgoing.remove(&id).is_some_and(|outgoing| outgoing.copies > 0) {
                self.renew(id, None);
            }
        }
        let until_ms = cx.now.mono_ms + RETIRE_MS;
        self.retired.insert(link, Retired { session, until_ms });
        self.stop_receiving(cx, node, receiving)
    }

    /// A session by its link, also of a link that has given way.
    pub(crate) fn any_session_mut(&mut self, link: LinkId) -> Option<&mut Session> {
        match self.sessions.get_mut(&link) {
            Some(session) => Some(session),
            None => self.retired.get_mut(&link).map(|retired| &mut retired.session),
        }
    }

    /// The peer may not know yet that the link has given way: what it begins is not heard.
    pub(super) fn retired_frame(&mut self, cx: &mut Context<'_>, link: LinkId, frame: &Frame) -> Flow {
        if !self.retired.contains_key(&link) {
            return Ok(());
        }
        match frame {
            Frame::Stored { bundle } => self.on_stored(cx, link, *bundle),
            Frame::Granted { bundle, copies } => self.on_granted(cx, link, *bundle, *copies),
            Frame::Goodbye(_) => {
                cx.out.push(Action::Close { link, reason: GoodbyeReason::Done });
                self.end_session(cx, link)
            }
            _ => Ok(()),
        }
    }

    /// Closes the retired links with nothing left to say.
    pub(crate) fn close_retired(&mut self, cx: &mut Context<'_>) {
        let owes = |link: &LinkId, session: &Session| {
            !session.outgoing.is_empty()
                || !session.incoming.is_empty()
                || !session.grants.is_empty()
                || self.commits.concern(*link)
        };
        let over = self
            .retired
            .iter()
            .filter(|(link, retired)| retired.until_ms <= cx.now.mono_ms || !owes(link, &retired.session));
        let over: Vec<LinkId> = over.map(|(link, _)| *link).collect();
        for link in over {
            self.close(cx, link, GoodbyeReason::DuplicateLink);
        }
    }
}
