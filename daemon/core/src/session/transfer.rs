//! Phases 5 and 6, the giver: segments, then the hand-over is spent durably, then granted.

use pigeon_bundle::{BundleId, NodeKey};
use pigeon_proto::{Accept, DeclineReason, Frame};

use crate::action::StoreOp;
use crate::commits::Then;
use crate::context::Context;
use crate::core::Core;
use crate::entry::Pool;
use crate::event::LinkId;
use crate::fault::Fault;
use crate::notice::Notice;
use crate::quality;
use crate::trouble::{Flow, Trouble};

/// Bytes of a bundle in one segment. Small enough that a slow link that breaks has made progress.
pub const SEGMENT_SIZE: usize = 16 << 10;
/// The same where airtime is scarce: a link that breaks has sent at most one of these in vain besides what its
/// transport had under way.
pub const SEGMENT_SIZE_SCARCE: usize = 4 << 10;

impl Core {
    pub(super) fn on_accept(&mut self, cx: &mut Context<'_>, link: LinkId, accept: &Accept) -> Flow {
        let id = accept.bundle;
        let Some(session) = self.sessions.get(&link) else { return Ok(()) };
        // Answers to what we have taken back meanwhile.
        let Some(outgoing) = session.outgoing.get(&id) else { return Ok(()) };
        if outgoing.sent {
            return Err(Trouble::protocol("Accept twice"));
        }
        if outgoing.last && !self.worth_moving(cx, &id, accept.quality)? {
            self.withdraw(cx, link, id, DeclineReason::QualityTooLow);
            return Ok(());
        }
        if self.entry(cx, &id)?.is_none() {
            let dead = self.tombstones.is_dead(&id).is_some();
            let reason = if dead { DeclineReason::Tombstoned } else { DeclineReason::StorageFailed };
            self.withdraw(cx, link, id, reason);
            return Ok(());
        }
        self.send_segments(cx, link, id, accept.offset)
    }

    fn worth_moving(&mut self, cx: &Context<'_>, id: &BundleId, theirs: u16) -> Flow<bool> {
        let Some(entry) = self.entry(cx, id)? else { return Ok(true) };
        let tag = cx.catalog.meta(id)?.map(|meta| meta.tag);
        let seen = entry.best_quality.max(self.quality_now(cx, tag.as_ref()));
        Ok(self.policy.moves_to(seen, theirs) || self.has_fault(Fault::MovesUncapped))
    }

    fn withdraw(&mut self, cx: &mut Context<'_>, link: LinkId, id: BundleId, reason: DeclineReason) {
        if let Some(session) = self.sessions.get_mut(&link) {
            session.outgoing.remove(&id);
            if reason == DeclineReason::QualityTooLow {
                session.quality_refusals += 1;
            }
            cx.send(link, Frame::Decline { bundle: id, reason });
        }
        self.renew(id, Some(link));
    }

    fn send_segments(&mut self, cx: &mut Context<'_>, link: LinkId, id: BundleId, offset: u32) -> Flow {
        let Some(bundle) = cx.catalog.bundle(&id)? else {
            self.withdraw(cx, link, id, DeclineReason::StorageFailed);
            return Ok(());
        };
        let bytes = bundle.as_bytes();
        let mut at = usize::try_from(offset).unwrap_or(usize::MAX);
        if at >= bytes.len() {
            return Err(Trouble::protocol("Accept with an offset outside the bundle"));
        }
        let is_cheap = self.sessions.get(&link).is_none_or(|session| session.info.cost == 0);
        let step = if is_cheap { SEGMENT_SIZE } else { SEGMENT_SIZE_SCARCE };
        while at < bytes.len() {
            let end = (at + step).min(bytes.len());
            let offset = u32::try_from(at).unwrap_or(u32::MAX);
            cx.send(link, Frame::Segment { bundle: id, offset, data: bytes.slice(at..end) });
            at = end;
        }
        if let Some(outgoing) = self.sessions.get_mut(&link).and_then(|session| session.outgoing.get_mut(&id))
        {
            outgoing.sent = true;
        }
        if self.has_fault(Fault::SpentBeforeStored) {
            return self.on_stored(cx, link, id);
        }
        Ok(())
    }

    /// The taker holds it durably: now the hand-over is spent.
    pub(super) fn on_stored(&mut self, cx: &mut Context<'_>, link: LinkId, id: BundleId) -> Flow {
        let Some(session) = self.any_session_mut(link) else { return Ok(()) };
        let Some(outgoing) = session.outgoing.remove(&id) else { return Ok(()) };
        if !outgoing.sent {
            return Err(Trouble::protocol("Stored before the last segment"));
        }
        let node = session.info.node;
        let mac = session.keys.id(&id);
        session.peer_has.insert(mac);
        // It takes again: the next refusal is the first one.
        session.retries = 0;
        session.quality_refusals = 0;
        if outgoing.copies == 0 {
            cx.notice(Notice::DeliveredDirect { bundle: id, node });
            return self.brought(cx, id, outgoing.size);
        }
        // It may have been killed while it was on its way.
        let Some(mut entry) = self.entry(cx, &id)? else { return Ok(()) };
        let copies = outgoing.copies.min(entry.copies);
        if copies == 0 {
            return Ok(());
        }
        self.counters.handed_over(&entry, outgoing.size);
        let party = self.party(node);
        self.ledger.credit(quality::time_s(cx.now), party, outgoing.size);
        if !self.has_fault(Fault::BudgetNotHalved) {
            entry.copies -= copies;
        }
        let ops = vec![StoreOp::Update { id, entry }, StoreOp::AddTaker { id, taker: node }];
        self.commits.submit(cx.out, ops, Then::Spent { link, node, bundle: id, copies });
        Ok(())
    }

    /// A recipient's node holds it. Whether it opens it is another matter: only r is proof.
    fn brought(&mut self, cx: &mut Context<'_>, id: BundleId, size: u32) -> Flow {
        if let Some(mut entry) =
            self.entry(cx, &id)?.filter(|entry| entry.pool == Pool::Own && !entry.brought)
        {
            if !entry.at_bridge {
                self.counters.brought(size);
            }
            entry.brought = true;
            self.update(cx, id, entry);
        }
        Ok(())
    }

    /// The hand-over is spent durably: the taker may count its copies.
    pub(crate) fn spent(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        node: NodeKey,
        bundle: BundleId,
        copies: u8,
    ) -> Flow {
        if self.any_session_mut(link).is_some() {
            cx.send(link, Frame::Granted { bundle, copies });
            if self.has_fault(Fault::RefundAfterLostGranted)
                && let Some(session) = self.any_session_mut(link)
            {
                session.refunds.push((bundle, copies));
            }
            cx.notice(Notice::HandedOver { bundle, node, copies });
        } else if let Some(mut entry) = self.entry(cx, &bundle)? {
            // The link broke first. `Granted` was never sent, so these copies exist nowhere: they are ours again.
            entry.copies = entry.copies.saturating_add(copies);
            self.update(cx, bundle, entry);
        }
        Ok(())
    }
}
