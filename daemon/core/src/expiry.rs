//! What time takes: expired bundles, old tombstones, and the count of running time.

use pigeon_bundle::BundleId;

use crate::action::{RemovalReason, StoreOp};
use crate::catalog::BundleMeta;
use crate::commits::Then;
use crate::context::Context;
use crate::core::Core;
use crate::entry::{Entry, Pool};
use crate::fault::Fault;
use crate::trouble::Flow;

/// Between two looks at what has expired.
pub const CHECK_MS: u64 = 60_000;
/// Bundles or tombstones removed in one commit.
pub const BATCH_MAX: usize = 64;
/// Entries whose age is looked at in one go (bundles without a creation time, nodes without a clock).
pub(crate) const AGED_PAGE: usize = 256;
/// Between two records of the running time: what a crash may take off ages.
pub(crate) const RUN_RECORD_S: u64 = 900;
/// Rest after the store could not be read.
pub(crate) const REST_MS: u64 = 5_000;
/// Name of the kept running time.
const STATE_KEY: &str = "run";

/// When to look, and where the last look ended.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    due_ms: Option<u64>,
    rest_until_ms: Option<u64>,
    cursor: Option<BundleId>,
    recorded_s: u64,
}

impl Expiry {
    /// Returns the running time of earlier runs.
    pub(crate) fn start(&mut self, cx: &Context<'_>) -> Flow<u64> {
        self.due_ms = Some(cx.now.mono_ms);
        let kept = cx.catalog.state(STATE_KEY)?.and_then(|bytes| bytes.try_into().ok());
        self.recorded_s = kept.map_or(0, u64::from_be_bytes);
        Ok(self.recorded_s)
    }

    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.due_ms
    }

    pub(crate) fn rest(&mut self, now_ms: u64) {
        self.rest_until_ms = Some(now_ms + REST_MS);
    }

    pub(crate) fn resting(&self, now_ms: u64) -> bool {
        self.rest_until_ms.is_some_and(|until_ms| now_ms < until_ms)
    }

    pub(crate) fn after_rest(&self, time_ms: u64) -> u64 {
        self.rest_until_ms.map_or(time_ms, |until_ms| time_ms.max(until_ms))
    }
}

impl Core {
    /// Whether nobody may hold the bundle any more.
    pub(crate) fn expired(&self, cx: &Context<'_>, meta: &BundleMeta, entry: &Entry) -> bool {
        !self.has_fault(Fault::ExpiredDelivered) && self.clock.expired(cx.now, meta, entry)
    }

    /// Removes what has expired, if it is time to look.
    pub(crate) fn expire(&mut self, cx: &mut Context<'_>) -> Flow {
        if self.expiry.due_ms.is_none_or(|due_ms| cx.now.mono_ms < due_ms) {
            return Ok(());
        }
        let mut ops = Vec::new();
        let mut more = false;
        if let Some(wall_s) = cx.now.wall_s {
            more |= self.expire_bundles(cx, wall_s, &mut ops)?;
            more |= self.forget_tombstones(cx, wall_s, &mut ops)?;
        }
        self.expire_aged(cx, &mut ops)?;
        self.keep_counters(cx, &mut ops);
        if self.record_running_time(cx, &mut ops, RUN_RECORD_S) {
            self.keep_ledger(&mut ops);
            self.keep_quality(cx, &mut ops);
        }
        if !ops.is_empty() {
            self.commits.submit(cx.out, ops, Then::Nothing);
        }
        // A full batch is followed by the next one as soon as the store has written this one.
        self.expiry.due_ms = Some(cx.now.mono_ms + if more { CHECK_MS / 60 } else { CHECK_MS });
        Ok(())
    }

    fn expire_bundles(&mut self, cx: &mut Context<'_>, wall_s: u64, ops: &mut Vec<StoreOp>) -> Flow<bool> {
        if self.has_fault(Fault::ExpiredDelivered) {
            return Ok(false);
        }
        let expired = cx.catalog.expiring(wall_s, BATCH_MAX)?;
        let full = expired.len() == BATCH_MAX;
        let before = ops.len();
        for id in expired {
            if self.entry(cx, &id)?.is_some_and(|entry| may_expire(cx, &entry)) {
                ops.push(self.removal(id, RemovalReason::Expired));
            }
        }
        Ok(full && ops.len() > before)
    }

    fn forget_tombstones(&mut self, cx: &Context<'_>, wall_s: u64, ops: &mut Vec<StoreOp>) -> Flow<bool> {
        let old = cx.catalog.expiring_tombstones(wall_s, BATCH_MAX)?;
        let more = old.len() == BATCH_MAX;
        ops.extend(old.into_iter().map(|commitment| StoreOp::ForgetTombstone { commitment }));
        if self.tombstones.to_bridge.iter().any(|owed| owed.expires_s <= wall_s) {
            self.tombstones.to_bridge.retain(|owed| owed.expires_s > wall_s);
            let value = self.tombstones.owed_bytes();
            ops.push(StoreOp::SetState { key: crate::tombstones::STATE_KEY.into(), value });
        }
        Ok(more)
    }

    /// What only its age ends is not in the catalog's expiry index: a slow walk over the store finds it.
    fn expire_aged(&mut self, cx: &mut Context<'_>, ops: &mut Vec<StoreOp>) -> Flow {
        let page = self.commits.page(cx.catalog, self.expiry.cursor, AGED_PAGE)?;
        self.expiry.cursor = page.last;
        for (id, entry) in page.entries {
            let Some(meta) = cx.catalog.meta(&id)? else { continue };
            let listed =
                ops.iter().any(|op| matches!(op, StoreOp::Remove { id: removed, .. } if *removed == id));
            if !listed && may_expire(cx, &entry) && self.expired(cx, &meta, &entry) {
                ops.push(self.removal(id, RemovalReason::Expired));
            }
        }
        Ok(())
    }

    /// Records the running time when so many seconds have passed since the last record, and says whether.
    pub(crate) fn record_running_time(
        &mut self,
        cx: &Context<'_>,
        ops: &mut Vec<StoreOp>,
        every_s: u64,
    ) -> bool {
        let run_s = self.clock.run_s(cx.now);
        let due = run_s >= self.expiry.recorded_s + every_s;
        if due {
            self.expiry.recorded_s = run_s;
            ops.push(StoreOp::SetState { key: STATE_KEY.into(), value: run_s.to_be_bytes().to_vec() });
        }
        due
    }
}

/// What day neighbours say it is ends their mail, never our own.
fn may_expire(cx: &Context<'_>, entry: &Entry) -> bool {
    cx.own_clock || entry.pool != Pool::Own
}
