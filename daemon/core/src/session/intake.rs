//! Phases 4 to 6, the taker: acceptance in order, segments, the durable write, `Stored`, `Granted`.

use pigeon_bundle::{BUNDLE_SIZE_MAX, BundleId, LIFETIME_MAX_S};
use pigeon_proto::{Accept, DeclineReason, Frame, Offer};

use super::deferral::DEFERRED_MAX;
use crate::carriage::{Charge, Load};
use crate::context::Context;
use crate::core::Core;
use crate::entry::{Entry, HOPS_MAX, Pool};
use crate::event::LinkId;
use crate::policy;
use crate::trouble::{Flow, Trouble};

/// Bundles received at the same time on one link.
pub const INCOMING_MAX: usize = 32;
/// Age above which nothing is taken: the longest lifetime and the last day.
const AGE_MAX_S: u64 = LIFETIME_MAX_S + 2 * 86_400;
/// A copy that is younger by less than this does not make a write.
const AGE_STEP_S: u64 = 3_600;

/// One bundle on its way from the peer.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(super) offer: Offer,
    pub(super) bytes: Vec<u8>,
    /// Bytes that came over this link; the rest of `bytes` is from an earlier one.
    pub(super) received: u64,
    charge: Charge,
    pub(super) storing: bool,
    pub(super) newcomer: bool,
}

impl Incoming {
    pub(super) fn is_receiving(&self) -> bool {
        !self.storing
    }
}

impl Core {
    pub(super) fn on_offer(&mut self, cx: &mut Context<'_>, link: LinkId, offer: Offer) -> Flow {
        let id = offer.bundle;
        let Some(session) = self.sessions.get(&link) else { return Ok(()) };
        if session.incoming.contains_key(&id) || session.deferred.iter().any(|other| other.offer.bundle == id)
        {
            return Err(Trouble::protocol("the same Offer twice"));
        }
        self.judge_offer(cx, link, offer, true)
    }

    /// Accepts or declines, or waits where somebody else sends the same.
    pub(super) fn judge_offer(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        offer: Offer,
        may_wait: bool,
    ) -> Flow {
        let id = offer.bundle;
        let Some(session) = self.sessions.get(&link) else { return Ok(()) };
        if session.incoming.len() >= INCOMING_MAX || session.deferred.len() >= DEFERRED_MAX {
            decline(cx, link, id, DeclineReason::Bucket);
            return Ok(());
        }
        if let Some(reason) = self.unwanted(cx, &offer)? {
            if reason == DeclineReason::Tombstoned {
                self.say_why_dead(cx, link, &id)?;
            }
            decline(cx, link, id, reason);
            return Ok(());
        }
        if may_wait && self.is_receiving(&id) {
            self.defer(cx, link, offer);
            return Ok(());
        }
        match self.admit(cx, link, &offer)? {
            Ok(charge) => self.accept(cx, link, offer, charge),
            Err(reason) => decline(cx, link, id, reason),
        }
        Ok(())
    }

    /// A link that came up while a tombstone was being written has heard of it neither with the news nor with the list.
    fn say_why_dead(&self, cx: &mut Context<'_>, link: LinkId, id: &BundleId) -> Flow {
        let Some(commitment) = self.tombstones.is_dead(id) else { return Ok(()) };
        if let Some(reveal) = self.tombstone(cx, &commitment)? {
            Self::send_reveals(cx, link, &[reveal]);
        }
        Ok(())
    }

    /// Size and lifetime, then known or dead.
    fn unwanted(&mut self, cx: &mut Context<'_>, offer: &Offer) -> Flow<Option<DeclineReason>> {
        let size = usize::try_from(offer.size).unwrap_or(usize::MAX);
        if size == 0 || size > BUNDLE_SIZE_MAX {
            return Ok(Some(DeclineReason::SizeOrLifetime));
        }
        if offer.hops >= HOPS_MAX || offer.age_s > AGE_MAX_S {
            return Ok(Some(DeclineReason::Expired));
        }
        if let Some(commitment) = self.tombstones.is_dead(&offer.bundle) {
            let hidden = self.tombstones.is_hidden(&commitment);
            return Ok(Some(if hidden { DeclineReason::Known } else { DeclineReason::Tombstoned }));
        }
        let Some(entry) = self.entry(cx, &offer.bundle)? else { return Ok(None) };
        self.merge(cx, entry, offer)?;
        Ok(Some(DeclineReason::Known))
    }

    /// Where copies of one bundle meet, the lower age and hop count win.
    fn merge(&mut self, cx: &mut Context<'_>, mut entry: Entry, offer: &Offer) -> Flow {
        let Some(meta) = cx.catalog.meta(&offer.bundle)? else { return Ok(()) };
        let age_s = self.clock.age_s(cx.now, &meta, &entry);
        let younger_s = age_s.saturating_sub(offer.age_s);
        let hops = offer.hops + 1;
        if entry.pool == Pool::Own || (hops >= entry.hops && younger_s < AGE_STEP_S) {
            return Ok(());
        }
        entry.hops = entry.hops.min(hops);
        entry.age_s = entry.age_s.saturating_sub(younger_s);
        self.update(cx, offer.bundle, entry);
        Ok(())
    }

    /// Somebody is sending it, or it is being written.
    pub(crate) fn is_receiving(&self, id: &BundleId) -> bool {
        self.commits.arriving(id) || self.sessions.values().any(|session| session.incoming.contains_key(id))
    }

    fn admit(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        offer: &Offer,
    ) -> Flow<Result<Charge, DeclineReason>> {
        let Some(session) = self.sessions.get(&link) else { return Ok(Err(DeclineReason::Bucket)) };
        let pulled = offer.copies == 0;
        if pulled && session.pulled.is_empty() {
            return Ok(Err(DeclineReason::Bucket));
        }
        let giver = self.giver(cx, session);
        let in_flight: u64 = self
            .sessions
            .values()
            .flat_map(|session| session.incoming.values())
            .map(|incoming| u64::from(incoming.offer.size))
            .sum();
        let pool = if pulled || giver.contact.is_some() { Pool::Contact } else { Pool::Stranger };
        if !self.may_have_room(cx, pool, u64::from(offer.size) + in_flight, pulled)? {
            return Ok(Err(DeclineReason::PoolFull));
        }
        let load =
            Load { usage: cx.catalog.usage()?, giver: cx.catalog.giver_usage(&giver.node)?, in_flight };
        Ok(self.carriage.admit(cx.now.mono_ms, &self.config, &giver, offer.size, pulled, &load))
    }

    fn accept(&mut self, cx: &mut Context<'_>, link: LinkId, offer: Offer, charge: Charge) {
        let online = self.uplink.is_up() && offer.copies > 0;
        let quality = if online { policy::ONLINE } else { self.quality_now(cx, offer.tag.as_ref()) };
        let Some(session) = self.sessions.get_mut(&link) else {
            self.carriage.settle(cx.now.mono_ms, &charge, 0, false);
            return;
        };
        session.asks(cx.now.mono_ms);
        let node = session.info.node;
        let newcomer = session.contact.is_none() && self.neighbours.is_newcomer(cx.now.mono_ms, &node);
        let bytes = self.partials.take(&node, &offer.bundle, offer.size);
        let offset = u32::try_from(bytes.len()).unwrap_or(0);
        cx.send(link, Frame::Accept(Accept { bundle: offer.bundle, quality, offset }));
        session
            .incoming
            .insert(offer.bundle, Incoming { offer, bytes, received: 0, charge, storing: false, newcomer });
    }

    /// The end of a transfer: what was admitted and did not come is free for others.
    pub(super) fn settle_incoming(&mut self, now_ms: u64, incoming: &Incoming, stored: bool) {
        self.carriage.settle(now_ms, &incoming.charge, incoming.received, stored);
    }

    pub(super) fn turn_down(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        id: BundleId,
        reason: DeclineReason,
    ) -> Flow {
        if let Some(session) = self.any_session_mut(link) {
            let incoming = session.incoming.remove(&id);
            decline(cx, link, id, reason);
            if let Some(incoming) = incoming {
                self.settle_incoming(cx.now.mono_ms, &incoming, false);
            }
        }
        self.reconsider(cx, id)
    }

    /// The giver takes its offer back.
    pub(super) fn offer_withdrawn(&mut self, cx: &mut Context<'_>, link: LinkId, id: BundleId) -> Flow {
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        session.deferred.retain(|deferred| deferred.offer.bundle != id);
        if !session.incoming.get(&id).is_some_and(Incoming::is_receiving) {
            return Ok(());
        }
        if let Some(incoming) = session.incoming.remove(&id) {
            self.settle_incoming(cx.now.mono_ms, &incoming, false);
        }
        self.reconsider(cx, id)
    }

    /// The write failed: nothing was taken.
    pub(crate) fn not_taken(&mut self, cx: &mut Context<'_>, link: LinkId, id: BundleId) -> Flow {
        self.turn_down(cx, link, id, DeclineReason::StorageFailed)
    }
}

pub(super) fn decline(cx: &mut Context<'_>, link: LinkId, bundle: BundleId, reason: DeclineReason) {
    cx.send(link, Frame::Decline { bundle, reason });
}
