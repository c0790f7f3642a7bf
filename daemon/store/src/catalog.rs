//! The core's view of the store: every look-up goes straight to sled.

use pigeon_bundle::{Bundle, BundleId, Commitment, NodeKey, Reveal, Tag};
use pigeon_core::{BundleMeta, Catalog, CatalogResult, Entry, PoolUsage, Usage};
use sled::Tree;

use crate::counters::{Counters, pool_from_bytes};
use crate::held::{Held, takers_from_bytes, tombstone_from_bytes};
use crate::layout::{
    COMMITMENT, COUNTERS, ENTRY, EXPIRY, TAG, TOMBSTONE, TOMBSTONE_EXPIRY, body_key, entry_key, giver_key,
    key, last_32, state_key, takers_key, tombstone_key,
};
use crate::live::ReadError;
use crate::store::Store;
use crate::value;

type Read<T> = Result<T, ReadError>;

/// A whole value, `None` where there is none.
pub(crate) fn value_at(tree: &Tree, key: &[u8]) -> Read<Option<Vec<u8>>> {
    Ok(value::get(tree, key)?.transpose()?)
}

/// A value read with `parse`; what it does not take is damaged.
fn parsed<T>(tree: &Tree, key: &[u8], parse: impl FnOnce(&[u8]) -> Option<T>) -> Read<Option<T>> {
    match value_at(tree, key)? {
        Some(bytes) => parse(&bytes).map(Some).ok_or(ReadError::Damaged),
        None => Ok(None),
    }
}

fn held(tree: &Tree, id: &BundleId) -> Read<Option<Held>> {
    parsed(tree, &entry_key(id), Held::from_bytes)
}

fn body(tree: &Tree, id: &BundleId) -> Read<Option<Bundle>> {
    let Some(bytes) = value_at(tree, &body_key(id))? else {
        // An entry without its bytes is damage, not absence.
        return if tree.contains_key(entry_key(id))? { Err(ReadError::Damaged) } else { Ok(None) };
    };
    match Bundle::parse(bytes.into()) {
        Ok(bundle) if bundle.id() == *id => Ok(Some(bundle)),
        _ => Err(ReadError::Damaged),
    }
}

/// The 32-byte ends of the index keys under a prefix.
fn ends(tree: &Tree, prefix: Vec<u8>) -> Read<Vec<[u8; 32]>> {
    tree.scan_prefix(prefix).keys().map(|key| last_32(&key?).ok_or(ReadError::Damaged)).collect()
}

/// The 32-byte ends of keys `kind ‖ time ‖ 32 bytes` up to a time.
fn due(tree: &Tree, kind: u8, until_s: u64, limit: usize) -> Read<Vec<[u8; 32]>> {
    let last = key(kind, &[&until_s.to_be_bytes(), &[0xff; 32]]);
    let range = tree.range(vec![kind]..=last).keys();
    range.take(limit).map(|key| last_32(&key?).ok_or(ReadError::Damaged)).collect()
}

/// At most `limit` values of a kind behind `after`, each read with `parse`.
pub(crate) fn page_of<T>(
    tree: &Tree,
    kind: u8,
    after: Option<[u8; 32]>,
    limit: usize,
    parse: impl Fn([u8; 32], &[u8]) -> Option<T>,
) -> Read<Vec<T>> {
    // The shortest key behind `after` is `after` and a zero.
    let start = after.map_or(vec![kind], |after| key(kind, &[&after, &[0]]));
    let mut found = Vec::new();
    for item in tree.range(start..vec![kind + 1]).take(limit) {
        let (key, head) = item?;
        let bytes = value::complete(tree, &key, &head)??;
        let end = last_32(&key).ok_or(ReadError::Damaged)?;
        found.push(parse(end, &bytes).ok_or(ReadError::Damaged)?);
    }
    Ok(found)
}

impl Store {
    fn look<T>(&self, what: &'static str, look: impl FnOnce(&Tree) -> Read<T>) -> CatalogResult<T> {
        self.live().read(what, look).map_err(|error| error.reading(what))
    }

    pub(crate) fn counters(tree: &Tree) -> Read<Counters> {
        Ok(parsed(tree, &COUNTERS, Counters::from_bytes)?.unwrap_or_default())
    }
}

impl Catalog for Store {
    fn entry(&self, id: &BundleId) -> CatalogResult<Option<Entry>> {
        self.look("the entry of a bundle", |tree| Ok(held(tree, id)?.map(|held| held.entry)))
    }

    fn bundle(&self, id: &BundleId) -> CatalogResult<Option<Bundle>> {
        self.look("a bundle", |tree| body(tree, id))
    }

    fn meta(&self, id: &BundleId) -> CatalogResult<Option<BundleMeta>> {
        self.look("the meta data of a bundle", |tree| Ok(held(tree, id)?.map(|held| held.meta)))
    }

    fn page(&self, after: Option<BundleId>, limit: usize) -> CatalogResult<Vec<(BundleId, Entry)>> {
        self.look("a page of entries", |tree| {
            page_of(tree, ENTRY, after.map(|id| id.0), limit, |id, bytes| {
                Some((BundleId(id), Held::from_bytes(bytes)?.entry))
            })
        })
    }

    fn by_tag(&self, tag: &Tag) -> CatalogResult<Vec<BundleId>> {
        let found = self.look("bundles by tag", |tree| ends(tree, key(TAG, &[&tag.0])))?;
        Ok(found.into_iter().map(BundleId).collect())
    }

    fn by_commitment(&self, commitment: &Commitment) -> CatalogResult<Vec<BundleId>> {
        let prefix = key(COMMITMENT, &[&commitment.0]);
        let found = self.look("bundles by commitment", |tree| ends(tree, prefix))?;
        Ok(found.into_iter().map(BundleId).collect())
    }

    fn expiring(&self, until_s: u64, limit: usize) -> CatalogResult<Vec<BundleId>> {
        let found = self.look("bundles by expiry", |tree| due(tree, EXPIRY, until_s, limit))?;
        Ok(found.into_iter().map(BundleId).collect())
    }

    fn takers(&self, id: &BundleId) -> CatalogResult<Vec<NodeKey>> {
        let key = takers_key(id);
        self.look("the takers of a bundle", |tree| {
            Ok(parsed(tree, &key, takers_from_bytes)?.unwrap_or_default())
        })
    }

    fn tombstone(&self, commitment: &Commitment) -> CatalogResult<Option<Reveal>> {
        let key = tombstone_key(commitment);
        self.look("a tombstone", |tree| {
            let found = parsed(tree, &key, |bytes| tombstone_from_bytes(commitment, bytes))?;
            Ok(found.map(|(reveal, _)| reveal))
        })
    }

    fn tombstones(
        &self,
        after: Option<Commitment>,
        limit: usize,
    ) -> CatalogResult<Vec<(Commitment, Reveal)>> {
        self.look("a page of tombstones", |tree| {
            page_of(tree, TOMBSTONE, after.map(|commitment| commitment.0), limit, |commitment, bytes| {
                let commitment = Commitment(commitment);
                Some((commitment, tombstone_from_bytes(&commitment, bytes)?.0))
            })
        })
    }

    fn expiring_tombstones(&self, until_s: u64, limit: usize) -> CatalogResult<Vec<Commitment>> {
        let found = self.look("tombstones by expiry", |tree| due(tree, TOMBSTONE_EXPIRY, until_s, limit))?;
        Ok(found.into_iter().map(Commitment).collect())
    }

    fn usage(&self) -> CatalogResult<Usage> {
        self.look("the use by pool", |tree| Ok(Self::counters(tree)?.usage))
    }

    fn giver_usage(&self, giver: &NodeKey) -> CatalogResult<PoolUsage> {
        let key = giver_key(giver);
        self.look("the use by one giver", |tree| Ok(parsed(tree, &key, pool_from_bytes)?.unwrap_or_default()))
    }

    fn state(&self, key: &str) -> CatalogResult<Option<Vec<u8>>> {
        let place = state_key(key);
        let stored = self.look("a state value", |tree| value_at(tree, &place))?;
        let (Some(sealer), Some(sealed)) = (self.sealer(), &stored) else { return Ok(stored) };
        let opened = sealer.open_state(key, sealed);
        opened.map(Some).ok_or_else(|| self.live().damaged("state value").reading("a state value"))
    }
}
