//! Phases 5 and 6, the taker: segments, the checks that need the whole bundle, the durable write, `Stored`, and
//! copies that count once they are granted.

use bytes::Bytes;
use pigeon_bundle::{Bundle, BundleId, NodeKey};
use pigeon_proto::{COPIES_PER_OFFER_MAX, DeclineReason, Frame, Offer};

use crate::action::StoreOp;
use crate::catalog::BundleMeta;
use crate::commits::Then;
use crate::context::Context;
use crate::core::Core;
use crate::entry::{COPIES_AT_BIRTH, Entry, Opened, Pool};
use crate::event::LinkId;
use crate::fault::Fault;
use crate::notice::Notice;
use crate::quality;
use crate::reveal::Source;
use crate::trouble::{Flow, Trouble};

/// Bundles stored for one peer whose copies it may still grant; the rest stays without copies.
pub const GRANTS_MAX: usize = 1024;

impl Core {
    pub(super) fn on_segment(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        id: BundleId,
        offset: u32,
        data: &Bytes,
    ) -> Flow {
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        // Segments of what was refused meanwhile.
        let Some(incoming) = session.incoming.get_mut(&id).filter(|incoming| !incoming.storing) else {
            return Ok(());
        };
        let size = usize::try_from(incoming.offer.size).unwrap_or(0);
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        if at != incoming.bytes.len() || data.is_empty() || data.len() > size - at {
            return Err(Trouble::protocol("Segment out of place"));
        }
        incoming.bytes.extend_from_slice(data);
        incoming.received += data.len() as u64;
        if incoming.bytes.len() < size {
            return Ok(());
        }
        incoming.storing = true;
        let bytes = std::mem::take(&mut incoming.bytes);
        let (offer, newcomer) = (incoming.offer, incoming.newcomer);
        self.complete(cx, link, offer, newcomer, bytes.into())
    }

    /// All bytes are here: the checks that need them, then the durable write.
    fn complete(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        offer: Offer,
        newcomer: bool,
        bytes: Bytes,
    ) -> Flow {
        let bundle = match Bundle::parse(bytes) {
            Ok(bundle) if bundle.id() == offer.bundle => bundle,
            Ok(_) => return self.refuse(cx, link, &offer, "its bytes belong to another bundle id".into()),
            Err(error) => return self.refuse(cx, link, &offer, error.to_string()),
        };
        if self.commits.arriving(&offer.bundle) || self.entry(cx, &offer.bundle)?.is_some() {
            // Taken from two, since the first was slow: the other has brought it meanwhile.
            return self.turn_down(cx, link, offer.bundle, DeclineReason::Known);
        }
        let meta = BundleMeta::of(&bundle);
        let commitment = meta.commitment;
        if let Some(reveal) = self.tombstone(cx, &commitment)?
            && !self.has_fault(Fault::TombstoneIgnored)
        {
            self.tombstones.bury(offer.bundle, commitment);
            if self.tombstones.is_hidden(&commitment) {
                return self.turn_down(cx, link, offer.bundle, DeclineReason::Known);
            }
            Self::send_reveals(cx, link, &[reveal]);
            return self.turn_down(cx, link, offer.bundle, DeclineReason::Tombstoned);
        }
        let Some(session) = self.sessions.get(&link) else { return Ok(()) };
        let ours = self.own_tags.contains(&meta.tag);
        if offer.copies == 0 && !ours {
            return self.refuse(cx, link, &offer, "it was given as pulled, and its tag is not ours".into());
        }
        let pool = if ours || session.contact.is_some() { Pool::Contact } else { Pool::Stranger };
        let entry = self.arrived(cx, &offer, session.info.node, pool, newcomer && pool == Pool::Stranger);
        if self.expired(cx, &meta, &entry) {
            return self.turn_down(cx, link, offer.bundle, DeclineReason::Expired);
        }
        let Some(mut ops) = self.room_for(cx, pool, u64::from(meta.size), ours)? else {
            return self.turn_down(cx, link, offer.bundle, DeclineReason::PoolFull);
        };
        let node = session_node(self, link);
        ops.push(StoreOp::Put { bundle, entry });
        self.evict(cx, ops, Then::Taken { link, node, bundle: offer.bundle });
        if self.has_fault(Fault::StoredBeforeCommit) {
            cx.send(link, Frame::Stored { bundle: offer.bundle });
        }
        Ok(())
    }

    fn arrived(&self, cx: &Context<'_>, offer: &Offer, node: NodeKey, pool: Pool, newcomer: bool) -> Entry {
        let own_quality = self.quality_now(cx, offer.tag.as_ref());
        let early = self.has_fault(Fault::CopiesBeforeGranted);
        Entry {
            copies: if early { offer.copies } else { 0 },
            pool,
            giver: Some(node),
            newcomer,
            hops: offer.hops + 1,
            age_s: offer.age_s,
            received_wall_s: cx.now.wall_s,
            received_run_s: self.clock.run_s(cx.now),
            best_quality: self.policy.seen(offer.quality, own_quality),
            moves: offer.moves,
            at_bridge: false,
            refused_by_bridge: false,
            brought: false,
            opened: Opened::No,
        }
    }

    fn refuse(&mut self, cx: &mut Context<'_>, link: LinkId, offer: &Offer, reason: String) -> Flow {
        let node = session_node(self, link);
        cx.notice(Notice::BundleRefused { node, reason });
        self.turn_down(cx, link, offer.bundle, DeclineReason::StorageFailed)
    }

    /// It is durable: `Stored`, and others may hear of it.
    pub(crate) fn taken(&mut self, cx: &mut Context<'_>, link: LinkId, node: NodeKey, id: BundleId) -> Flow {
        let Some(entry) = self.entry(cx, &id)? else { return Ok(()) };
        let Some(meta) = cx.catalog.meta(&id)? else { return Ok(()) };
        if let Some(session) = self.any_session_mut(link) {
            let mac = session.keys.id(&id);
            session.peer_has.insert(mac);
            let incoming = session.incoming.remove(&id);
            let offered = incoming.as_ref().map_or(0, |incoming| incoming.offer.copies);
            if offered > 0 && session.grants.len() < GRANTS_MAX {
                session.grants.insert(id, offered);
            }
            if !self.has_fault(Fault::StoredBeforeCommit) {
                cx.send(link, Frame::Stored { bundle: id });
            }
            if let Some(incoming) = incoming {
                self.settle_incoming(cx.now.mono_ms, &incoming, true);
            }
        }
        cx.notice(Notice::Taken { bundle: id, node, copies: 0, hops: entry.hops });
        if !self.own_tags.contains(&meta.tag) {
            self.counters.took(entry.pool, meta.size);
            let party = self.party(node);
            self.ledger.debit(quality::time_s(cx.now), party, meta.size);
        }
        self.reconsider(cx, id)?;
        if let Some(reveal) = self.tombstone(cx, &meta.commitment)? {
            // Its delivery became known while it was being written.
            return self.learn(cx, reveal, Source::Mailbox);
        }
        if self.own_tags.contains(&meta.tag) {
            self.opening.push(id);
            self.pump_openings(cx)?;
        }
        self.energy.news(cx.now.mono_ms, meta.has_uplink);
        self.announce(cx, id, &meta, Some(link));
        self.uplink_news(cx, id)
    }

    /// The giver has spent the hand-over: now, and only once, the copies are ours.
    pub(super) fn on_granted(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        id: BundleId,
        copies: u8,
    ) -> Flow {
        let Some(session) = self.any_session_mut(link) else { return Ok(()) };
        let node = session.info.node;
        let Some(offered) = session.grants.remove(&id) else { return Ok(()) };
        let copies = copies.min(offered).min(COPIES_PER_OFFER_MAX);
        let Some(mut entry) = self.entry(cx, &id)? else { return Ok(()) };
        if copies == 0 || self.has_fault(Fault::CopiesBeforeGranted) {
            return Ok(());
        }
        entry.copies = entry.copies.saturating_add(copies).min(COPIES_AT_BIRTH);
        let op = StoreOp::Update { id, entry };
        self.commits.submit(cx.out, vec![op], Then::Gained { node, bundle: id, copies });
        Ok(())
    }

    pub(crate) fn gained(
        &mut self,
        cx: &mut Context<'_>,
        node: NodeKey,
        bundle: BundleId,
        copies: u8,
    ) -> Flow {
        if let Some(entry) = self.entry(cx, &bundle)? {
            cx.notice(Notice::Taken { bundle, node, copies, hops: entry.hops });
            self.neighbours.news(cx.now.mono_ms);
            self.renew(bundle, None);
        }
        Ok(())
    }
}

fn session_node(core: &Core, link: LinkId) -> NodeKey {
    core.sessions.get(&link).map_or(NodeKey([0; 32]), |session| session.info.node)
}
