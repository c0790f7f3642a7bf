//! Phase 4, the giver: what is offered, in which order, and never the same copy to two.

use std::collections::BTreeMap;

use pigeon_bundle::BundleId;
use pigeon_proto::{DeclineReason, Frame, Offer};

use super::candidates::{CANDIDATES_MAX, RETRY_MS};
use super::{Phase, Session};
use crate::catalog::BundleMeta;
use crate::context::Context;
use crate::core::Core;
use crate::entry::{Entry, HOPS_MAX, Opened};
use crate::event::LinkId;
use crate::fault::Fault;
use crate::ledger::Party;
use crate::notice::Notice;
use crate::policy::Give;
use crate::quality;
use crate::trouble::{Flow, Trouble};

/// Bundles offered or sent on one link and not yet answered.
pub const IN_FLIGHT_MAX: usize = 16;
/// Their bytes; one bundle may always go.
pub const IN_FLIGHT_BYTES_MAX: u64 = 4 * 98_304;
/// After the peer's quality was too low so many times in a row, no more last copies are offered on the link.
pub const QUALITY_REFUSALS_MAX: u32 = 256;
/// One bundle on its way to the peer.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    /// Copies promised; 0 for what was pulled.
    pub(crate) copies: u8,
    /// It is our last copy.
    pub(super) last: bool,
    pub(super) size: u32,
    /// Accepted, and all segments are sent.
    pub(super) sent: bool,
}

impl Session {
    pub(super) fn has_window(&self) -> bool {
        let bytes: u64 = self.outgoing.values().map(|outgoing| u64::from(outgoing.size)).sum();
        self.outgoing.len() < IN_FLIGHT_MAX && (self.outgoing.is_empty() || bytes < IN_FLIGHT_BYTES_MAX)
    }

    pub(super) fn may_spray(&self) -> bool {
        let willing = self.info.carriage_open || self.contact.is_some();
        self.phase == Phase::Exchange && self.pulls_awaited == 0 && !self.spray_closed && willing
    }

    /// Pulled, and not to be had at the moment: offered again later.
    fn put_off(&mut self, now_ms: u64, id: BundleId) {
        self.retry_later(now_ms);
        if self.declined_direct.len() < CANDIDATES_MAX {
            self.declined_direct.push_back(id);
        }
    }

    fn retry_later(&mut self, now_ms: u64) {
        self.retry_ms.get_or_insert(now_ms + (RETRY_MS << self.retries.min(6)));
    }

    pub(super) fn has(&self, id: &BundleId) -> bool {
        self.outgoing.contains_key(id)
            || self.incoming.contains_key(id)
            || self.refused.contains(id)
            || self.peer_has.contains(&self.keys.id(id))
    }
}

impl Core {
    /// Offers whatever may be offered on the links where something has changed.
    pub(crate) fn pump_all(&mut self, cx: &mut Context<'_>) {
        while !self.dirty.is_empty() {
            for link in self.in_order_of_service(cx) {
                self.pump_or_close(cx, link);
            }
        }
    }

    /// Contacts first, then who has carried most for us.
    fn in_order_of_service(&mut self, cx: &Context<'_>) -> Vec<LinkId> {
        let mut links: Vec<LinkId> = std::mem::take(&mut self.dirty).into_iter().collect();
        if links.len() < 2 {
            return links;
        }
        let time_s = quality::time_s(cx.now);
        let rank =
            |link: &LinkId| match self.sessions.get(link).map(|session| (session.contact, session.info.node))
            {
                Some((Some(contact), _)) => (0, self.ledger.balance(time_s, Party::Contact(contact))),
                Some((None, node)) => (1, self.ledger.balance(time_s, Party::Node(node))),
                None => (2, 0.0),
            };
        links.sort_by(|a, b| {
            let ((a_class, a_balance), (b_class, b_balance)) = (rank(a), rank(b));
            a_class.cmp(&b_class).then(b_balance.total_cmp(&a_balance)).then(a.cmp(b))
        });
        links
    }

    fn pump_or_close(&mut self, cx: &mut Context<'_>, link: LinkId) {
        if let Err(trouble) = self.pump(cx, link) {
            if let Trouble::Catalog(error) = &trouble {
                cx.notice(Notice::StorageProblem { reason: error.to_string() });
            }
            self.close(cx, link, pigeon_proto::GoodbyeReason::Limit);
        }
    }

    fn pump(&mut self, cx: &mut Context<'_>, link: LinkId) -> Flow {
        loop {
            let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
            if !session.has_window() {
                return Ok(());
            }
            if let Some(id) = session.direct.pop_front() {
                self.offer_direct(cx, link, id)?;
                continue;
            }
            if !session.may_spray() {
                return Ok(());
            }
            if let Some(id) = session.candidates.pop_front() {
                self.offer_copies(cx, link, id)?;
            } else if !self.search(cx, link)? {
                return Ok(());
            }
        }
    }

    fn offer_direct(&mut self, cx: &mut Context<'_>, link: LinkId, id: BundleId) -> Flow {
        let Some((entry, meta)) = self.offerable(cx, link, &id)? else { return Ok(()) };
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        if self.carriage.serve_pull(cx.now.mono_ms, session.info.node, meta.size) {
            self.offer(cx, link, id, &entry, &meta, Give::Split(0));
        } else {
            session.put_off(cx.now.mono_ms, id);
        }
        Ok(())
    }

    fn offer_copies(&mut self, cx: &mut Context<'_>, link: LinkId, id: BundleId) -> Flow {
        let Some((mut entry, meta)) = self.offerable(cx, link, &id)? else { return Ok(()) };
        let Some(session) = self.sessions.get(&link) else { return Ok(()) };
        // Copies that were granted and are not written yet may be lost again: they are not promised to anybody.
        let written = cx.catalog.entry(&id)?.map_or(0, |written| written.copies);
        entry.copies = entry.copies.min(written);
        let node = session.info.node;
        let reserved = self.reserved(&id);
        let give = if self.has_fault(Fault::MovesUncapped) {
            self.policy.give(&Entry { moves: 0, ..entry.clone() }, reserved)
        } else {
            self.policy.give(&entry, reserved)
        };
        if give == Give::Nothing || (give == Give::Last && session.quality_refusals >= QUALITY_REFUSALS_MAX) {
            return Ok(());
        }
        if entry.giver == Some(node) || cx.catalog.takers(&id)?.contains(&node) {
            return Ok(());
        }
        self.offer(cx, link, id, &entry, &meta, give);
        Ok(())
    }

    /// The bundle, if it is held, alive, and new to the peer.
    fn offerable(&self, cx: &Context<'_>, link: LinkId, id: &BundleId) -> Flow<Option<(Entry, BundleMeta)>> {
        let Some(session) = self.sessions.get(&link) else { return Ok(None) };
        if session.has(id) {
            return Ok(None);
        }
        let Some(entry) = self.entry(cx, id)? else { return Ok(None) };
        let Some(meta) = cx.catalog.meta(id)? else { return Ok(None) };
        let ended = matches!(entry.opened, Opened::Delivered | Opened::Refused)
            || entry.hops >= HOPS_MAX
            || self.expired(cx, &meta, &entry);
        Ok((!ended).then_some((entry, meta)))
    }

    /// Copies promised on all links.
    pub(crate) fn reserved(&self, id: &BundleId) -> u8 {
        if self.has_fault(Fault::NothingReserved) {
            return 0;
        }
        let retired = self.retired.values().map(|retired| &retired.session);
        let promised = self.sessions.values().chain(retired).filter_map(|session| session.outgoing.get(id));
        promised.fold(0, |sum, outgoing| sum.saturating_add(outgoing.copies))
    }

    fn offer(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        id: BundleId,
        entry: &Entry,
        meta: &BundleMeta,
        give: Give,
    ) {
        let (copies, last) = match give {
            Give::Nothing => return,
            Give::Split(copies) => (copies, false),
            Give::Last => (1, true),
        };
        let offer = Offer {
            bundle: id,
            size: meta.size,
            copies,
            quality: if copies == 0 {
                0
            } else {
                entry.best_quality.max(self.quality_now(cx, Some(&meta.tag)))
            },
            moves: entry.moves + u8::from(last),
            age_s: self.clock.age_s(cx.now, meta, entry),
            hops: entry.hops,
            tag: (copies > 0).then_some(meta.tag),
        };
        if let Some(session) = self.sessions.get_mut(&link) {
            session.asks(cx.now.mono_ms);
            session.outgoing.insert(id, Outgoing { copies, last, size: meta.size, sent: false });
            cx.send(link, Frame::Offer(offer));
        }
    }

    /// The taker will not have it, or (on the taker's side) the giver takes the offer back.
    pub(super) fn on_decline(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        id: BundleId,
        reason: DeclineReason,
    ) -> Flow {
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        let Some(outgoing) = session.outgoing.remove(&id) else {
            return self.offer_withdrawn(cx, link, id);
        };
        let mac = session.keys.id(&id);
        if outgoing.copies == 0 && !outgoing.sent {
            self.carriage.pull_declined(cx.now.mono_ms, session.info.node, outgoing.size);
        }
        match reason {
            DeclineReason::Known | DeclineReason::Tombstoned => {
                session.peer_has.insert(mac);
            }
            DeclineReason::CarriageClosed
            | DeclineReason::Bucket
            | DeclineReason::PoolFull
            | DeclineReason::StorageFailed => {
                if outgoing.copies > 0 {
                    session.retry_later(cx.now.mono_ms);
                    session.spray_closed |=
                        reason != DeclineReason::StorageFailed || session.refused.len() >= CANDIDATES_MAX;
                    session.refused.insert(id);
                } else {
                    session.put_off(cx.now.mono_ms, id);
                }
            }
            // It will not change its mind. Without this two such peers would be offered it in turn without end.
            DeclineReason::SizeOrLifetime | DeclineReason::Expired => {
                session.peer_has.insert(mac);
            }
            DeclineReason::QualityTooLow => {}
        }
        if outgoing.copies > 0 {
            self.renew(id, Some(link));
        }
        Ok(())
    }

    /// Bundles on their way out, for tests and status: bundle and copies promised, by link.
    pub fn promised(&self) -> BTreeMap<(LinkId, BundleId), u8> {
        let of = |link: LinkId, session: &Session| {
            session.outgoing.iter().map(move |(id, out)| ((link, *id), out.copies)).collect::<Vec<_>>()
        };
        let retired = self.retired.iter().map(|(link, retired)| (link, &retired.session));
        self.sessions.iter().chain(retired).flat_map(|(link, session)| of(*link, session)).collect()
    }
}
