//! How sessions begin and end, and which of two links to the same node stays.

use pigeon_bundle::{BundleId, NodeKey};
use pigeon_proto::GoodbyeReason;

use super::intake::Incoming;
use super::{LINKS_MAX, Phase, SILENCE_MS, Session};
use crate::action::Action;
use crate::context::Context;
use crate::core::Core;
use crate::event::{LinkId, LinkInfo};
use crate::notice::Notice;
use crate::trouble::{Flow, Trouble};

impl Core {
    pub(crate) fn link_up(&mut self, cx: &mut Context<'_>, info: LinkInfo) -> Flow {
        let (link, node, now_ms) = (info.link, info.node, cx.now.mono_ms);
        if !self.neighbours.may_begin(now_ms, node) {
            cx.out.push(Action::Close { link, reason: GoodbyeReason::Limit });
            if let Some(peer) = &info.peer {
                self.neighbours.failed(now_ms, &mut self.random, peer);
            }
            return Ok(());
        }
        self.neighbours.up(now_ms, info.peer.as_ref(), node);
        self.energy.met(now_ms);
        if let Some(clock_s) = info.clock_s {
            self.clock.told(cx.now, node, clock_s, false);
            cx.now = self.clock.best(cx.now);
        }
        let mut session = Session::new(info, now_ms);
        session.set_own_tags(&self.own_tags);
        let twin = self.sessions.iter().find(|(_, other)| other.info.node == node);
        let twin = twin.map(|(link, other)| (*link, other.precedence()));
        if let Some((other, precedence)) = twin {
            if precedence < session.precedence() {
                cx.out.push(Action::Close { link, reason: GoodbyeReason::DuplicateLink });
                return Ok(());
            }
            self.sessions.insert(link, session);
            self.retire(cx, other)?;
        } else {
            if self.sessions.len() >= LINKS_MAX {
                cx.out.push(Action::Close { link, reason: GoodbyeReason::Limit });
                self.neighbours.down(now_ms, &mut self.random, node, false);
                return Ok(());
            }
            self.sessions.insert(link, session);
            cx.notice(Notice::NeighbourUp { node, contact: None });
        }
        self.send_recognise(cx, link);
        self.send_held(cx, link)
    }

    /// Says goodbye on a link; its session ends at once.
    pub(crate) fn close(&mut self, cx: &mut Context<'_>, link: LinkId, reason: GoodbyeReason) {
        if self.any_session_mut(link).is_none() {
            return;
        }
        cx.out.push(Action::Close { link, reason });
        if let Err(Trouble::Catalog(error)) = self.end_session(cx, link) {
            cx.notice(Notice::StorageProblem { reason: error.to_string() });
        }
    }

    /// The link is gone. What it promised is free again, what it left unfinished is kept.
    pub(crate) fn end_session(&mut self, cx: &mut Context<'_>, link: LinkId) -> Flow {
        let retired = self.retired.remove(&link).map(|retired| retired.session);
        let was_retired = retired.is_some();
        let Some(session) = retired.or_else(|| self.sessions.remove(&link)) else { return Ok(()) };
        let node = session.info.node;
        // A link that has given way was not what the node was met on.
        if !was_retired && !self.sessions.values().any(|other| other.info.node == node) {
            let useful = session.phase == Phase::Exchange;
            if session.all_said() {
                self.neighbours.all_said(cx.now.mono_ms, node);
            }
            self.neighbours.down(cx.now.mono_ms, &mut self.random, node, useful);
            self.energy.met(cx.now.mono_ms);
            cx.notice(Notice::NeighbourDown { node });
        }
        for (id, outgoing) in session.outgoing {
            if outgoing.copies > 0 {
                self.renew(id, None);
            }
        }
        for (id, copies) in session.refunds {
            if let Some(mut entry) = self.entry(cx, &id)? {
                entry.copies = entry.copies.saturating_add(copies);
                self.update(cx, id, entry);
            }
        }
        self.stop_receiving(cx, node, session.incoming)
    }

    /// What is being received is kept as far as it has come, and may come from others.
    pub(super) fn stop_receiving(
        &mut self,
        cx: &mut Context<'_>,
        node: NodeKey,
        incoming: impl IntoIterator<Item = (BundleId, Incoming)>,
    ) -> Flow {
        let mut received = Vec::new();
        for (id, incoming) in incoming {
            received.push(id);
            // What is being written is going to be held.
            self.settle_incoming(cx.now.mono_ms, &incoming, !incoming.is_receiving());
            if incoming.is_receiving() {
                self.partials.keep(node, id, incoming.offer.size, incoming.bytes);
            }
        }
        received.into_iter().try_for_each(|id| self.reconsider(cx, id))
    }

    /// Gives up peers that owe an answer, and goes on with long searches.
    pub(crate) fn silent_sessions(&mut self, cx: &mut Context<'_>) -> Flow {
        let now_ms = cx.now.mono_ms;
        let silent = |session: &Session| session.waits() && session.heard_ms + SILENCE_MS <= now_ms;
        let links: Vec<LinkId> =
            self.sessions.iter().filter(|(_, session)| silent(session)).map(|(link, _)| *link).collect();
        for link in links {
            self.close(cx, link, GoodbyeReason::Limit);
        }
        let due = self.sessions.iter().filter(|(_, session)| session.scan_due_ms() <= Some(now_ms));
        let due: Vec<LinkId> =
            due.filter(|(_, s)| s.scan_due_ms().is_some()).map(|(link, _)| *link).collect();
        self.dirty.extend(due);
        self.retry_declined(now_ms);
        Ok(())
    }
}
