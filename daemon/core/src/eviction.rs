//! Room for new mail: who goes first (PROTOCOL.md section 5). Own mail never goes.
//!
//! A bounded part of the store is looked at, from where the last look ended, so that a million bundles cost
//! no more than a thousand.

use pigeon_bundle::BundleId;

use crate::action::{RemovalReason, StoreOp};
use crate::carriage::giver_share;
use crate::catalog::BundleMeta;
use crate::commits::Then;
use crate::context::Context;
use crate::core::Core;
use crate::entry::{Entry, Pool};
use crate::fault::Fault;
use crate::trouble::Flow;

/// Entries looked at for one eviction.
pub const SCAN_MAX: usize = 1024;
/// Mail addressed to this node may exceed the quota by this: it goes as soon as it is opened, and two nodes
/// full of own mail for each other would otherwise wait for ever.
pub const RECIPIENT_RESERVE_BYTES: u64 = 1 << 20;
/// A store without room is not searched again for this long.
pub(crate) const FULL_MS: u64 = 1_000;
/// Bundles evicted in one commit.
pub const EVICT_MAX: usize = 64;

/// Lower goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Expired,
    AtBridge,
    OverShare,
    Stranger,
    Contact,
}

struct Victim {
    rank: Rank,
    weight: u128,
    id: BundleId,
    size: u32,
}

impl Core {
    /// Removals that make room for `size` bytes more (with what is in flight), or `None` where there is not
    /// enough that may go for this pool: strangers' mail displaces neither strangers' nor contacts'.
    ///
    /// `ours`: the mail is addressed to this node.
    pub(crate) fn room_for(
        &mut self,
        cx: &mut Context<'_>,
        pool: Pool,
        size: u64,
        ours: bool,
    ) -> Flow<Option<Vec<StoreOp>>> {
        let wanted = cx.catalog.usage()?.bytes() + size;
        let reserve = if ours { RECIPIENT_RESERVE_BYTES } else { 0 };
        let Some(excess) =
            wanted.checked_sub(self.config.quota_bytes.saturating_add(reserve)).filter(|excess| *excess > 0)
        else {
            return Ok(Some(Vec::new()));
        };
        let up_to = match pool {
            Pool::Stranger => Rank::OverShare,
            Pool::Contact => Rank::Stranger,
            Pool::Own => Rank::Contact,
        };
        let mut victims = self.victims(cx, up_to)?;
        victims.sort_by(|a, b| (a.rank, b.weight, a.id).cmp(&(b.rank, a.weight, b.id)));
        let mut freed = 0;
        let mut ops = Vec::new();
        for victim in victims.iter().take(EVICT_MAX) {
            if freed >= excess {
                break;
            }
            freed += u64::from(victim.size);
            let reason =
                if victim.rank == Rank::Expired { RemovalReason::Expired } else { RemovalReason::Evicted };
            ops.push(StoreOp::Remove { id: victim.id, reason });
        }
        Ok((freed >= excess || pool == Pool::Own).then_some(ops))
    }

    /// Whether `room_for` would find room. When it did not a moment ago, it is not asked again: a full store must
    /// not be searched for each of a neighbour's thousand offers.
    pub(crate) fn may_have_room(
        &mut self,
        cx: &mut Context<'_>,
        pool: Pool,
        size: u64,
        ours: bool,
    ) -> Flow<bool> {
        let now_ms = cx.now.mono_ms;
        if self.full_until_ms.get(&(pool, ours)).is_some_and(|until_ms| now_ms < *until_ms) {
            return Ok(false);
        }
        let room = self.room_for(cx, pool, size, ours)?.is_some();
        if !room {
            self.full_until_ms.insert((pool, ours), now_ms + FULL_MS);
        }
        Ok(room)
    }

    /// Own mail is in the store already: everybody else's makes room.
    pub(crate) fn make_room_for_own(&mut self, cx: &mut Context<'_>) -> Flow {
        let Some(ops) = self.room_for(cx, Pool::Own, 0, false)? else { return Ok(()) };
        self.evict(cx, ops, Then::Nothing);
        Ok(())
    }

    /// Carries removals out, with other operations in the same commit.
    pub(crate) fn evict(&mut self, cx: &mut Context<'_>, ops: Vec<StoreOp>, then: Then) {
        for op in &ops {
            if let StoreOp::Remove { id, reason } = op {
                self.removal(*id, *reason);
            }
        }
        if !ops.is_empty() {
            self.commits.submit(cx.out, ops, then);
        }
    }

    fn victims(&mut self, cx: &Context<'_>, up_to: Rank) -> Flow<Vec<Victim>> {
        let mut page = cx.catalog.page(self.eviction_cursor, SCAN_MAX)?;
        if page.len() < SCAN_MAX {
            let room = SCAN_MAX - page.len();
            let start = self.eviction_cursor.take();
            let again = cx.catalog.page(None, room)?;
            page.extend(again.into_iter().filter(|(id, _)| start.is_some_and(|start| *id <= start)));
        } else {
            self.eviction_cursor = page.last().map(|(id, _)| *id);
        }
        let mut victims = Vec::new();
        for (id, read) in page {
            let Some(entry) = self.commits.current(&id, read) else { continue };
            let Some(meta) = cx.catalog.meta(&id)? else { continue };
            let Some(rank) = self.rank(cx, &entry, &meta)? else { continue };
            if rank <= up_to {
                let age_s = self.clock.age_s(cx.now, &meta, &entry);
                let weight = u128::from(age_s + 1) * u128::from(meta.size);
                victims.push(Victim { rank, weight, id, size: meta.size });
            }
        }
        Ok(victims)
    }

    fn rank(&self, cx: &Context<'_>, entry: &Entry, meta: &BundleMeta) -> Flow<Option<Rank>> {
        if self.has_fault(Fault::OwnMailEvicted) && entry.pool == Pool::Own {
            return Ok(Some(Rank::Expired));
        }
        if entry.pool == Pool::Own {
            return Ok(None);
        }
        if self.expired(cx, meta, entry) {
            return Ok(Some(Rank::Expired));
        }
        if entry.at_bridge {
            return Ok(Some(Rank::AtBridge));
        }
        if let Some(giver) = &entry.giver
            && cx.catalog.giver_usage(giver)?.bytes > giver_share(self.config.quota_bytes, entry.pool)
        {
            return Ok(Some(Rank::OverShare));
        }
        Ok(Some(if entry.pool == Pool::Contact { Rank::Contact } else { Rank::Stranger }))
    }
}
