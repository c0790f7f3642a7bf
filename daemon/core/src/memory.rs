//! The catalog in memory: the store's twin for simulations, and the reference of its contract suite.

use std::collections::{BTreeMap, BTreeSet};

use pigeon_bundle::{Bundle, BundleId, Commitment, NodeKey, Reveal, Tag};

use crate::action::StoreOp;
use crate::catalog::{BundleMeta, Catalog, CatalogResult, PoolUsage, Usage};
use crate::entry::Entry;

#[derive(Debug, Clone)]
struct Held {
    bundle: Bundle,
    meta: BundleMeta,
    entry: Entry,
    takers: BTreeSet<NodeKey>,
}

/// A [`Catalog`] over ordered maps. `apply` is atomic: it cannot fail.
#[derive(Debug, Clone, Default)]
pub struct MemoryCatalog {
    held: BTreeMap<BundleId, Held>,
    tags: BTreeSet<(Tag, BundleId)>,
    commitments: BTreeSet<(Commitment, BundleId)>,
    expiries: BTreeSet<(u64, BundleId)>,
    tombstones: BTreeMap<Commitment, (Reveal, u64)>,
    tombstone_expiries: BTreeSet<(u64, Commitment)>,
    state: BTreeMap<String, Vec<u8>>,
    usage: Usage,
    givers: BTreeMap<NodeKey, PoolUsage>,
}

impl MemoryCatalog {
    /// An empty catalog.
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries out one commit.
    pub fn apply(&mut self, ops: &[StoreOp]) {
        for op in ops {
            self.apply_one(op);
        }
    }

    fn apply_one(&mut self, op: &StoreOp) {
        match op {
            StoreOp::Put { bundle, entry } => self.put(bundle, entry),
            StoreOp::Update { id, entry } => self.update(id, entry),
            StoreOp::Remove { id, .. } => self.remove(id),
            StoreOp::AddTaker { id, taker } => {
                if let Some(held) = self.held.get_mut(id) {
                    held.takers.insert(*taker);
                }
            }
            StoreOp::Tombstone { reveal, expires_s } => {
                let commitment = reveal.commitment();
                self.forget(&commitment);
                self.tombstones.insert(commitment, (*reveal, *expires_s));
                self.tombstone_expiries.insert((*expires_s, commitment));
            }
            StoreOp::ForgetTombstone { commitment } => self.forget(commitment),
            StoreOp::SetState { key, value } if value.is_empty() => {
                self.state.remove(key);
            }
            StoreOp::SetState { key, value } => {
                self.state.insert(key.clone(), value.clone());
            }
        }
    }

    fn put(&mut self, bundle: &Bundle, entry: &Entry) {
        let id = bundle.id();
        if self.held.contains_key(&id) {
            return self.update(&id, entry);
        }
        let meta = BundleMeta::of(bundle);
        self.tags.insert((meta.tag, id));
        self.commitments.insert((meta.commitment, id));
        self.expiries.insert((meta.expires_s, id));
        self.count(entry, meta.size);
        self.held
            .insert(id, Held { bundle: bundle.clone(), meta, entry: entry.clone(), takers: BTreeSet::new() });
    }

    fn update(&mut self, id: &BundleId, entry: &Entry) {
        let Some(held) = self.held.get_mut(id) else { return };
        let size = held.meta.size;
        let former = std::mem::replace(&mut held.entry, entry.clone());
        self.uncount(&former, size);
        self.count(entry, size);
    }

    fn remove(&mut self, id: &BundleId) {
        let Some(held) = self.held.remove(id) else { return };
        self.tags.remove(&(held.meta.tag, *id));
        self.commitments.remove(&(held.meta.commitment, *id));
        self.expiries.remove(&(held.meta.expires_s, *id));
        self.uncount(&held.entry, held.meta.size);
    }

    fn forget(&mut self, commitment: &Commitment) {
        if let Some((_, expires_s)) = self.tombstones.remove(commitment) {
            self.tombstone_expiries.remove(&(expires_s, *commitment));
        }
    }

    fn count(&mut self, entry: &Entry, size: u32) {
        self.usage.add(entry, size);
        if let Some(giver) = entry.giver {
            self.givers.entry(giver).or_default().add(size);
        }
    }

    fn uncount(&mut self, entry: &Entry, size: u32) {
        self.usage.remove(entry, size);
        let Some(giver) = entry.giver else { return };
        if let Some(usage) = self.givers.get_mut(&giver) {
            usage.remove(size);
            if usage.bundles == 0 {
                self.givers.remove(&giver);
            }
        }
    }
}

impl Catalog for MemoryCatalog {
    fn entry(&self, id: &BundleId) -> CatalogResult<Option<Entry>> {
        Ok(self.held.get(id).map(|held| held.entry.clone()))
    }

    fn bundle(&self, id: &BundleId) -> CatalogResult<Option<Bundle>> {
        Ok(self.held.get(id).map(|held| held.bundle.clone()))
    }

    fn meta(&self, id: &BundleId) -> CatalogResult<Option<BundleMeta>> {
        Ok(self.held.get(id).map(|held| held.meta.clone()))
    }

    fn page(&self, after: Option<BundleId>, limit: usize) -> CatalogResult<Vec<(BundleId, Entry)>> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let range = self.held.range((from, std::ops::Bound::Unbounded));
        Ok(range.take(limit).map(|(id, held)| (*id, held.entry.clone())).collect())
    }

    fn by_tag(&self, tag: &Tag) -> CatalogResult<Vec<BundleId>> {
        let range = (*tag, BundleId([0; 32]))..=(*tag, BundleId([0xff; 32]));
        Ok(self.tags.range(range).map(|(_, id)| *id).collect())
    }

    fn by_commitment(&self, commitment: &Commitment) -> CatalogResult<Vec<BundleId>> {
        let range = (*commitment, BundleId([0; 32]))..=(*commitment, BundleId([0xff; 32]));
        Ok(self.commitments.range(range).map(|(_, id)| *id).collect())
    }

    fn expiring(&self, until_s: u64, limit: usize) -> CatalogResult<Vec<BundleId>> {
        let due = self.expiries.iter().take_while(|(expires_s, _)| *expires_s <= until_s);
        Ok(due.take(limit).map(|(_, id)| *id).collect())
    }

    fn takers(&self, id: &BundleId) -> CatalogResult<Vec<NodeKey>> {
        Ok(self.held.get(id).map(|held| held.takers.iter().copied().collect()).unwrap_or_default())
    }

    fn tombstone(&self, commitment: &Commitment) -> CatalogResult<Option<Reveal>> {
        Ok(self.tombstones.get(commitment).map(|(reveal, _)| *reveal))
    }

    fn tombstones(
        &self,
        after: Option<Commitment>,
        limit: usize,
    ) -> CatalogResult<Vec<(Commitment, Reveal)>> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let range = self.tombstones.range((from, std::ops::Bound::Unbounded));
        Ok(range.take(limit).map(|(key, (reveal, _))| (*key, *reveal)).collect())
    }

    fn expiring_tombstones(&self, until_s: u64, limit: usize) -> CatalogResult<Vec<Commitment>> {
        let due = self.tombstone_expiries.iter().take_while(|(expires_s, _)| *expires_s <= until_s);
        Ok(due.take(limit).map(|(_, commitment)| *commitment).collect())
    }

    fn usage(&self) -> CatalogResult<Usage> {
        Ok(self.usage)
    }

    fn giver_usage(&self, giver: &NodeKey) -> CatalogResult<PoolUsage> {
        Ok(self.givers.get(giver).copied().unwrap_or_default())
    }

    fn state(&self, key: &str) -> CatalogResult<Option<Vec<u8>>> {
        Ok(self.state.get(key).cloned())
    }
}
