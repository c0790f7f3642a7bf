//! How the core reads the store: synchronous, read only, in a deterministic order.

use pigeon_bundle::{Bundle, BundleId, Commitment, MessageDigest, NodeKey, Reveal, Tag};

use crate::entry::{Entry, Pool};

/// What the core needs to know of a bundle without decoding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleMeta {
    /// Destination.
    pub tag: Tag,
    /// SHA-256(r).
    pub commitment: Commitment,
    /// P.
    pub message: MessageDigest,
    /// Bytes of the fixed form.
    pub size: u32,
    /// Unix seconds from which on nobody may hold it.
    pub expires_s: u64,
    /// Unix seconds of creation; `None` where the author had no clock.
    pub creation_s: Option<u64>,
    /// Lifetime in seconds.
    pub lifetime_s: u64,
    /// It may go up to a bridge.
    pub has_uplink: bool,
}

impl BundleMeta {
    /// The meta data of a bundle.
    pub fn of(bundle: &Bundle) -> Self {
        Self {
            tag: bundle.tag(),
            commitment: bundle.commitment(),
            message: bundle.message_digest(),
            // A checked bundle is at most BUNDLE_SIZE_MAX, far below u32::MAX.
            size: u32::try_from(bundle.size()).unwrap_or(u32::MAX),
            expires_s: bundle.expires_s(),
            creation_s: bundle.creation_s(),
            lifetime_s: bundle.lifetime_s(),
            has_uplink: bundle.uplink().is_some(),
        }
    }
}

/// Number and bytes of bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolUsage {
    /// Bundles.
    pub bundles: u64,
    /// Bytes of their fixed form.
    pub bytes: u64,
}

impl PoolUsage {
    /// Counts one bundle more.
    pub fn add(&mut self, size: u32) {
        self.bundles += 1;
        self.bytes += u64::from(size);
    }

    /// Counts one bundle less.
    pub fn remove(&mut self, size: u32) {
        self.bundles = self.bundles.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(size));
    }
}

/// What the store holds, by pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Own mail.
    pub own: PoolUsage,
    /// Contacts' mail.
    pub contacts: PoolUsage,
    /// Strangers' mail, newcomers' included.
    pub strangers: PoolUsage,
    /// Entries whose `newcomer` is set, also counted in their pool.
    pub newcomers: PoolUsage,
}

impl Usage {
    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.own.bytes + self.contacts.bytes + self.strangers.bytes
    }

    /// All bundles.
    pub fn bundles(&self) -> u64 {
        self.own.bundles + self.contacts.bundles + self.strangers.bundles
    }

    /// Counts an entry of `size` bytes.
    pub fn add(&mut self, entry: &Entry, size: u32) {
        self.pool_mut(entry.pool).add(size);
        if entry.newcomer {
            self.newcomers.add(size);
        }
    }

    /// Takes an entry of `size` bytes out.
    pub fn remove(&mut self, entry: &Entry, size: u32) {
        self.pool_mut(entry.pool).remove(size);
        if entry.newcomer {
            self.newcomers.remove(size);
        }
    }

    fn pool_mut(&mut self, pool: Pool) -> &mut PoolUsage {
        match pool {
            Pool::Own => &mut self.own,
            Pool::Contact => &mut self.contacts,
            Pool::Stranger => &mut self.strangers,
        }
    }
}

/// The store could not be read. Never "not there".
#[derive(Debug, thiserror::Error)]
#[error("the store cannot read {what}: {source}; check the disk, then restart pigeond")]
pub struct CatalogError {
    /// What was asked for.
    pub what: &'static str,
    /// What the store said.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync + 'static>,
}

impl CatalogError {
    /// Wraps a store's error.
    pub fn new(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
    ) -> Self {
        Self { what, source: source.into() }
    }
}

/// Result of a look-up.
pub type CatalogResult<T> = Result<T, CatalogError>;

/// The durable state of a node, as of the last finished commit, or newer.
///
/// Lists are in ascending order of their keys (bytes). Between a `Commit` and its `Committed` a look-up may
/// show the old or the new state; the core keeps what it has asked for in an overlay of its own.
pub trait Catalog {
    /// State of a held bundle.
    fn entry(&self, id: &BundleId) -> CatalogResult<Option<Entry>>;
    /// A held bundle.
    fn bundle(&self, id: &BundleId) -> CatalogResult<Option<Bundle>>;
    /// Meta data of a held bundle, without decoding its body.
    fn meta(&self, id: &BundleId) -> CatalogResult<Option<BundleMeta>>;
    /// At most `limit` entries with ids greater than `after`.
    fn page(&self, after: Option<BundleId>, limit: usize) -> CatalogResult<Vec<(BundleId, Entry)>>;
    /// Held bundles with this tag.
    fn by_tag(&self, tag: &Tag) -> CatalogResult<Vec<BundleId>>;
    /// Held bundles with this commitment.
    fn by_commitment(&self, commitment: &Commitment) -> CatalogResult<Vec<BundleId>>;
    /// At most `limit` bundles with `expires_s <= until_s`, earliest first.
    fn expiring(&self, until_s: u64, limit: usize) -> CatalogResult<Vec<BundleId>>;
    /// Node keys that took a copy.
    fn takers(&self, id: &BundleId) -> CatalogResult<Vec<NodeKey>>;
    /// The r of a commitment, if known.
    fn tombstone(&self, commitment: &Commitment) -> CatalogResult<Option<Reveal>>;
    /// At most `limit` tombstones with commitments greater than `after`.
    fn tombstones(&self, after: Option<Commitment>, limit: usize)
    -> CatalogResult<Vec<(Commitment, Reveal)>>;
    /// At most `limit` tombstones with `expires_s <= until_s`, earliest first.
    fn expiring_tombstones(&self, until_s: u64, limit: usize) -> CatalogResult<Vec<Commitment>>;
    /// Number and bytes by pool.
    fn usage(&self) -> CatalogResult<Usage>;
    /// Number and bytes of what one node key handed over (`Entry::giver`).
    fn giver_usage(&self, giver: &NodeKey) -> CatalogResult<PoolUsage>;
    /// A value kept with `SetState`.
    fn state(&self, key: &str) -> CatalogResult<Option<Vec<u8>>>;
}
