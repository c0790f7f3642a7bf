//! The core's view of the store: every look-up goes straight to sled.

use pigeon_bundle::{Bundle, BundleId, Commitment, NodeKey, Reveal, Tag};
use pigeon_core::{BundleMeta, Catalog, CatalogResult, Entry, PoolUsage, Usage};

use crate::counters::{Counters, pool_from_bytes};
use crate::held::{Held, takers_from_bytes, tombstone_from_bytes};
use crate::layout::{
    COMMITMENT, COUNTERS, ENTRY, EXPIRY, TAG, TOMBSTONE, TOMBSTONE_EXPIRY, body_key, entry_key, giver_key,
    key, last_32, state_key, takers_key, tombstone_key,
};
use crate::live::ReadError;
use crate::store::Store;
use crate::view::View;

type Read<T> = Result<T, ReadError>;

/// A value read with `parse`; what it does not take is damaged.
fn parsed<T>(view: View<'_>, key: &[u8], parse: impl FnOnce(&[u8]) -> Option<T>) -> Read<Option<T>> {
    match view.value(key)? {
        Some(bytes) => parse(&bytes).map(Some).ok_or(ReadError::Damaged),
        None => Ok(None),
    }
}

fn held(view: View<'_>, id: &BundleId) -> Read<Option<Held>> {
    parsed(view, &entry_key(id), Held::from_bytes)
}

fn body(view: View<'_>, id: &BundleId) -> Read<Option<Bundle>> {
    let Some(bytes) = view.value(&body_key(id))? else {
        // An entry without its bytes is damage, not absence.
        return if view.get(&entry_key(id))?.is_some() { Err(ReadError::Damaged) } else { Ok(None) };
    };
    match Bundle::parse(bytes.into()) {
        Ok(bundle) if bundle.id() == *id => Ok(Some(bundle)),
        _ => Err(ReadError::Damaged),
    }
}

/// The 32-byte ends of the index keys under a prefix.
fn ends(view: View<'_>, prefix: &[u8]) -> Read<Vec<[u8; 32]>> {
    let mut found = Vec::new();
    for item in view.scan(prefix, vec![u8::MAX])? {
        let (key, _) = item?;
        if !key.starts_with(prefix) {
            break;
        }
        found.push(last_32(&key).ok_or(ReadError::Damaged)?);
    }
    Ok(found)
}

/// The 32-byte ends of keys `kind ‖ time ‖ 32 bytes` up to a time.
fn due(view: View<'_>, kind: u8, until_s: u64, limit: usize) -> Read<Vec<[u8; 32]>> {
    // Behind the last key of that time.
    let end = key(kind, &[&until_s.to_be_bytes(), &[0xff; 33]]);
    view.scan(&[kind], end)?.take(limit).map(|item| last_32(&item?.0).ok_or(ReadError::Damaged)).collect()
}

/// At most `limit` values of a kind behind `after`, each read with `parse`.
pub(crate) fn page_of<T>(
    view: View<'_>,
    kind: u8,
    after: Option<[u8; 32]>,
    limit: usize,
    parse: impl Fn([u8; 32], &[u8]) -> Option<T>,
) -> Read<Vec<T>> {
    // The shortest key behind `after` is `after` and a zero.
    let start = after.map_or(vec![kind], |after| key(kind, &[&after, &[0]]));
    let mut found = Vec::new();
    for item in view.scan(&start, vec![kind + 1])?.take(limit) {
        let (key, stored) = item?;
        let bytes = view.load(&key, &stored)?;
        let end = last_32(&key).ok_or(ReadError::Damaged)?;
        found.push(parse(end, &bytes).ok_or(ReadError::Damaged)?);
    }
    Ok(found)
}

impl Store {
    fn look<T>(&self, what: &'static str, look: impl FnOnce(View<'_>) -> Read<T>) -> CatalogResult<T> {
        self.live().read(what, look).map_err(|error| error.reading(what))
    }

    pub(crate) fn counters(view: View<'_>) -> Read<Counters> {
        Ok(parsed(view, &COUNTERS, Counters::from_bytes)?.unwrap_or_default())
    }
}

impl Catalog for Store {
    fn entry(&self, id: &BundleId) -> CatalogResult<Option<Entry>> {
        self.look("the entry of a bundle", |view| Ok(held(view, id)?.map(|held| held.entry)))
    }

    fn bundle(&self, id: &BundleId) -> CatalogResult<Option<Bundle>> {
        self.look("a bundle", |view| body(view, id))
    }

    fn meta(&self, id: &BundleId) -> CatalogResult<Option<BundleMeta>> {
        self.look("the meta data of a bundle", |view| Ok(held(view, id)?.map(|held| held.meta)))
    }

    fn page(&self, after: Option<BundleId>, limit: usize) -> CatalogResult<Vec<(BundleId, Entry)>> {
        self.look("a page of entries", |view| {
            page_of(view, ENTRY, after.map(|id| id.0), limit, |id, bytes| {
                Some((BundleId(id), Held::from_bytes(bytes)?.entry))
            })
        })
    }

    fn by_tag(&self, tag: &Tag) -> CatalogResult<Vec<BundleId>> {
        let found = self.look("bundles by tag", |view| ends(view, &key(TAG, &[&tag.0])))?;
        Ok(found.into_iter().map(BundleId).collect())
    }

    fn by_commitment(&self, commitment: &Commitment) -> CatalogResult<Vec<BundleId>> {
        let prefix = key(COMMITMENT, &[&commitment.0]);
        let found = self.look("bundles by commitment", |view| ends(view, &prefix))?;
        Ok(found.into_iter().map(BundleId).collect())
    }

    fn expiring(&self, until_s: u64, limit: usize) -> CatalogResult<Vec<BundleId>> {
        let found = self.look("bundles by expiry", |view| due(view, EXPIRY, until_s, limit))?;
        Ok(found.into_iter().map(BundleId).collect())
    }

    fn takers(&self, id: &BundleId) -> CatalogResult<Vec<NodeKey>> {
        let key = takers_key(id);
        self.look("the takers of a bundle", |view| {
            Ok(parsed(view, &key, takers_from_bytes)?.unwrap_or_default())
        })
    }

    fn tombstone(&self, commitment: &Commitment) -> CatalogResult<Option<Reveal>> {
        let key = tombstone_key(commitment);
        self.look("a tombstone", |view| {
            let found = parsed(view, &key, |bytes| tombstone_from_bytes(commitment, bytes))?;
            Ok(found.map(|(reveal, _)| reveal))
        })
    }

    fn tombstones(
        &self,
        after: Option<Commitment>,
        limit: usize,
    ) -> CatalogResult<Vec<(Commitment, Reveal)>> {
        self.look("a page of tombstones", |view| {
            page_of(view, TOMBSTONE, after.map(|commitment| commitment.0), limit, |commitment, bytes| {
                let commitment = Commitment(commitment);
                Some((commitment, tombstone_from_bytes(&commitment, bytes)?.0))
            })
        })
    }

    fn expiring_tombstones(&self, until_s: u64, limit: usize) -> CatalogResult<Vec<Commitment>> {
        let found = self.look("tombstones by expiry", |view| due(view, TOMBSTONE_EXPIRY, until_s, limit))?;
        Ok(found.into_iter().map(Commitment).collect())
    }

    fn usage(&self) -> CatalogResult<Usage> {
        self.look("the use by pool", |view| Ok(Self::counters(view)?.usage))
    }

    fn giver_usage(&self, giver: &NodeKey) -> CatalogResult<PoolUsage> {
        let key = giver_key(giver);
        self.look("the use by one giver", |view| Ok(parsed(view, &key, pool_from_bytes)?.unwrap_or_default()))
    }

    fn state(&self, key: &str) -> CatalogResult<Option<Vec<u8>>> {
        let place = state_key(key);
        let stored = self.look("a state value", |view| view.value(&place))?;
        let (Some(sealer), Some(sealed)) = (self.sealer(), &stored) else { return Ok(stored) };
        let opened = sealer.open_state(key, sealed);
        opened
            .map(Some)
            .ok_or_else(|| self.live().unreadable("state value", ReadError::Damaged).reading("a state value"))
    }
}
