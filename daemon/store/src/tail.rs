//! The check of what was read from the log on top of the index: does it hang together, and does it follow from what the
//! index has?
//!
//! The index was checked when it was written, by this very check or by [`crate::check`], and its checksums say that it
//! is still that. So it is enough to look at what is new: each entry with its bytes and the keys that follow from it,
//! each of those with its entry, and the sums by what has come and gone. Where something disagrees everything is checked.

use std::collections::{BTreeMap, BTreeSet};

use pigeon_bundle::{BundleId, NodeKey};
use pigeon_core::PoolUsage;

use crate::counters::{Counters, pool_from_bytes};
use crate::error::StoreError;
use crate::fronts::Fronts;
use crate::held::{Held, takers_from_bytes};
use crate::layout::{
    BODY, COUNTERS, ENTRY, GIVER, RECORD, STATE, TAKERS, TOMBSTONE, TOMBSTONE_EXPIRY, body_key, entry_key,
    giver_key, is_index, key as key_of, last_32, takers_key,
};
use crate::live::{Live, ReadError};
use crate::plan::derived_keys;
use crate::recent::Recent;
use crate::stored::Stored;
use crate::view::View;

type Checked<T> = Result<T, ReadError>;

/// What was written lately agrees with itself and with the index.
pub(crate) fn agrees(live: &Live) -> Result<bool, StoreError> {
    let (nothing, fronts) = (Recent::default(), Fronts::default());
    let agreed = live.look(|after| {
        let before = View { recent: &nothing, merging: None, fronts: &fronts, ..after };
        let mut tail = Tail { before, after, sums: Sums::default() };
        for (key, stored) in after.recent.range(&[]) {
            if !tail.is_right(key, stored)? {
                tracing::warn!(kind = key.first(), "what was written lately does not agree with itself");
                return Ok(false);
            }
        }
        tail.sums_are_right()
    });
    match agreed? {
        Ok(agreed) => Ok(agreed),
        Err(ReadError::Damaged) => Ok(false),
        Err(error) => Err(live.unreadable("record", error)),
    }
}

/// What came and went.
#[derive(Default)]
struct Sums {
    came: Vec<Held>,
    went: Vec<Held>,
    record_bytes_came: u64,
    record_bytes_went: u64,
    givers: BTreeSet<NodeKey>,
}

struct Tail<'a> {
    before: View<'a>,
    after: View<'a>,
    sums: Sums,
}

impl Tail<'_> {
    fn is_right(&mut self, key: &[u8], stored: Option<&Stored>) -> Checked<bool> {
        let end = last_32(key).filter(|_| key.len() == 33);
        match (key.first().copied().unwrap_or_default(), end) {
            (ENTRY, Some(id)) => self.entry(key, &BundleId(id), stored),
            (TOMBSTONE, Some(_)) => self.follows(key, stored),
            (BODY, Some(id)) => Ok(self.after.get(&entry_key(&BundleId(id)))?.is_some() == stored.is_some()),
            (TAKERS, Some(id)) => self.takers(key, &BundleId(id), stored),
            (GIVER, Some(giver)) => {
                self.sums.givers.insert(NodeKey(giver));
                Ok(true)
            }
            (ENTRY | TOMBSTONE | BODY | TAKERS | GIVER, None) => Ok(false),
            (STATE | RECORD, _) => {
                let size = |stored: &Stored| u64::try_from(key.len() + stored.length()).unwrap_or(u64::MAX);
                self.sums.record_bytes_went += self.before.get(key)?.as_ref().map_or(0, size);
                self.sums.record_bytes_came += stored.map_or(0, size);
                Ok(true)
            }
            _ if is_index(key) => self.index(key, stored),
            _ => Ok(true),
        }
    }

    /// An entry, its bytes, the keys that follow from it, and what it counts.
    fn entry(&mut self, key: &[u8], id: &BundleId, stored: Option<&Stored>) -> Checked<bool> {
        if !self.follows(key, stored)? {
            return Ok(false);
        }
        let body = self.after.get(&body_key(id))?.map(|body| body.length());
        let now = self.held(self.after, key)?;
        if body.map(u32::try_from) != now.as_ref().map(|held| Ok(held.meta.size)) {
            return Ok(false);
        }
        if now.is_none() && self.after.get(&takers_key(id))?.is_some() {
            return Ok(false);
        }
        let former = self.held(self.before, key)?;
        for held in now.iter().chain(&former) {
            self.sums.givers.extend(held.entry.giver);
        }
        self.sums.came.extend(now);
        self.sums.went.extend(former);
        Ok(true)
    }

    fn held(&self, view: View<'_>, key: &[u8]) -> Checked<Option<Held>> {
        let Some(bytes) = view.value(key)? else { return Ok(None) };
        Held::from_bytes(&bytes).map(Some).ok_or(ReadError::Damaged)
    }

    /// The keys that follow from a primary one are there, and those of its former value are not.
    fn follows(&self, key: &[u8], stored: Option<&Stored>) -> Checked<bool> {
        let wanted = match stored {
            Some(stored) => derived_keys(key, &self.after.load(key, stored)?).ok_or(ReadError::Damaged)?,
            None => Vec::new(),
        };
        for derived in &wanted {
            if self.after.get(derived)?.is_none() {
                return Ok(false);
            }
        }
        let former = self.before.value(key)?.and_then(|value| derived_keys(key, &value)).unwrap_or_default();
        for derived in former.iter().filter(|derived| !wanted.contains(derived)) {
            if self.after.get(derived)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A key that follows from another is there exactly if that says so.
    fn index(&self, key: &[u8], stored: Option<&Stored>) -> Checked<bool> {
        let Some(end) = last_32(key) else { return Ok(false) };
        let kind = if key.first() == Some(&TOMBSTONE_EXPIRY) { TOMBSTONE } else { ENTRY };
        let primary = key_of(kind, &[&end]);
        let value = self.after.value(&primary)?;
        let wanted = value.and_then(|value| derived_keys(&primary, &value)).unwrap_or_default();
        Ok(wanted.iter().any(|wanted| wanted == key) == stored.is_some())
    }

    fn takers(&self, key: &[u8], id: &BundleId, stored: Option<&Stored>) -> Checked<bool> {
        let Some(stored) = stored else { return Ok(true) };
        let list = takers_from_bytes(&self.after.load(key, stored)?);
        Ok(list.is_some() && self.after.get(&entry_key(id))?.is_some())
    }

    /// The sums before and what came and went make the sums now.
    fn sums_are_right(&self) -> Checked<bool> {
        let (before, after) = (counters(self.before)?, counters(self.after)?);
        let mut usage = before.usage;
        self.sums.came.iter().for_each(|held| usage.add(&held.entry, held.meta.size));
        self.sums.went.iter().for_each(|held| usage.remove(&held.entry, held.meta.size));
        let record_bytes =
            (before.record_bytes + self.sums.record_bytes_came).saturating_sub(self.sums.record_bytes_went);
        if usage != after.usage || record_bytes != after.record_bytes {
            return Ok(false);
        }
        let mut givers = BTreeMap::new();
        for giver in &self.sums.givers {
            givers.insert(*giver, pool(self.before, giver)?.unwrap_or_default());
        }
        let share = |held: &Held| held.entry.giver.map(|giver| (giver, held.meta.size));
        for (giver, size) in self.sums.came.iter().filter_map(share) {
            givers.entry(giver).or_default().add(size);
        }
        for (giver, size) in self.sums.went.iter().filter_map(share) {
            givers.entry(giver).or_default().remove(size);
        }
        for (giver, expected) in &givers {
            // Of whom there is nothing left, nothing is kept.
            if pool(self.after, giver)? != (expected.bundles > 0).then_some(*expected) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn counters(view: View<'_>) -> Checked<Counters> {
    match view.value(&COUNTERS)? {
        Some(bytes) => Counters::from_bytes(&bytes).ok_or(ReadError::Damaged),
        None => Ok(Counters::default()),
    }
}

fn pool(view: View<'_>, giver: &NodeKey) -> Checked<Option<PoolUsage>> {
    let bytes = view.value(&giver_key(giver))?;
    bytes.map(|bytes| pool_from_bytes(&bytes).ok_or(ReadError::Damaged)).transpose()
}
