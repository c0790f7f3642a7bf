//! The check at opening: do the derived keys agree with the primary records, and are the records whole?
//!
//! After a clean close only the small records are read: entries, indexes, takers, tombstones. After a crash, or when
//! something damaged was seen, every record is read and its checksum compared. Derived keys that disagree are made
//! anew from the primary records; records that fail are dropped into a file and counted in the report.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use pigeon_bundle::{BundleId, Commitment, NodeKey};
use pigeon_core::{PoolUsage, Usage};
use sled::{IVec, Tree};

use crate::bulk::Bulk;
use crate::counters::{Counters, pool_from_bytes, pool_to_bytes};
use crate::engine::EngineError;
use crate::held::{Held, takers_from_bytes, tombstone_from_bytes};
use crate::layout::{
    BODY, COMMITMENT, COUNTERS, ENTRY, EXPIRY, GIVER, MORE, RECORD, STATE, TAG, TAKERS, TOMBSTONE,
    TOMBSTONE_EXPIRY, body_key, commitment_key, entry_key, expiry_key, giver_key, last_32, split_more_key,
    tag_key, takers_key, tombstone_expiry_key,
};
use crate::quarantine::Quarantine;
use crate::report::RecoveryReport;
use crate::value::{self, Head};

type Checked<T> = Result<T, EngineError>;

/// How much to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Small records.
    Structure,
    /// Every byte.
    Everything,
}

/// Checks and repairs a tree; returns the true counters.
pub(crate) fn check(
    tree: &Tree,
    depth: Depth,
    quarantine: &mut Quarantine,
    report: &mut RecoveryReport,
) -> Checked<Counters> {
    let stored = match value::get(tree, &COUNTERS)? {
        Some(Ok(bytes)) => Counters::from_bytes(&bytes),
        _ => None,
    };
    let mut checker = Checker { tree, depth, quarantine, report, expected: Expected::new() };
    checker.entries()?;
    checker.bodies_without_entry()?;
    checker.takers()?;
    checker.tombstones()?;
    checker.indexes()?;
    checker.givers()?;
    let record_bytes = match (depth, stored) {
        (Depth::Structure, Some(stored)) => stored.record_bytes,
        _ => checker.records()?,
    };
    if depth == Depth::Everything {
        checker.stray_chunks()?;
    }
    let transactions = stored.map_or(0, |stored| stored.transactions);
    let counters = Counters { transactions, usage: checker.expected.usage, record_bytes };
    if stored != Some(counters) {
        let empty = stored.is_none() && counters == Counters::default();
        if !empty {
            report.repaired("the counters did not agree with what is there and were set right");
        }
        write_value(tree, &COUNTERS, &counters.to_bytes())?;
    }
    Ok(counters)
}

fn write_value(tree: &Tree, key: &[u8], bytes: &[u8]) -> Checked<()> {
    let mut bulk = Bulk::new(tree);
    for (key, bytes) in value::encode(key, bytes) {
        bulk.insert(key, bytes)?;
    }
    Ok(bulk.finish()?)
}

/// What the derived keys must be, in constant space for the indexes: a number of keys and the sum of their hashes
/// under a random key, which two different sets share with a chance of 2^-64.
struct Expected {
    hasher: RandomState,
    indexes: BTreeMap<u8, Sum>,
    usage: Usage,
    givers: BTreeMap<NodeKey, PoolUsage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sum {
    keys: u64,
    hashes: u64,
}

impl Expected {
    fn new() -> Self {
        let (indexes, givers) = (BTreeMap::new(), BTreeMap::new());
        Self { hasher: RandomState::new(), indexes, usage: Usage::default(), givers }
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn key(&mut self, key: &[u8]) {
        let hash = self.hash(key);
        if let Some(kind) = key.first() {
            self.indexes.entry(*kind).or_default().add(hash);
        }
    }

    fn entry(&mut self, id: &BundleId, held: &Held) {
        for key in index_keys(id, held) {
            self.key(&key);
        }
        self.usage.add(&held.entry, held.meta.size);
        if let Some(giver) = held.entry.giver {
            self.givers.entry(giver).or_default().add(held.meta.size);
        }
    }
}

impl Sum {
    fn add(&mut self, hash: u64) {
        self.keys += 1;
        self.hashes = self.hashes.wrapping_add(hash);
    }
}

/// The derived keys of one bundle.
fn index_keys(id: &BundleId, held: &Held) -> [Vec<u8>; 3] {
    let meta = &held.meta;
    [tag_key(&meta.tag, id), commitment_key(&meta.commitment, id), expiry_key(meta.expires_s, id)]
}

struct Checker<'a> {
    tree: &'a Tree,
    depth: Depth,
    quarantine: &'a mut Quarantine,
    report: &'a mut RecoveryReport,
    expected: Expected,
}

impl Checker<'_> {
    /// A whole value, or nothing where it is damaged.
    fn value(&self, key: &[u8], head: &[u8]) -> Checked<Option<Vec<u8>>> {
        Ok(value::complete(self.tree, key, head)?.ok())
    }

    fn held(&self, key: &[u8], head: &[u8]) -> Checked<Option<(BundleId, Held)>> {
        let held = self.value(key, head)?.and_then(|bytes| Held::from_bytes(&bytes));
        Ok(last_32(key).filter(|_| key.len() == 33).map(BundleId).zip(held))
    }

    /// Drops damaged entries and, at full depth, those whose body is missing or damaged; sums up the rest.
    fn entries(&mut self) -> Checked<()> {
        let mut drop = Vec::new();
        let (mut damaged, mut bodiless) = (0, 0);
        for item in self.tree.scan_prefix([ENTRY]) {
            let (key, head) = item?;
            let Some((id, held)) = self.held(&key, &head)? else {
                damaged += 1;
                drop.push(key);
                continue;
            };
            if self.depth == Depth::Everything && !self.body_is_whole(&id, &held)? {
                bodiless += 1;
                drop.push(key);
                continue;
            }
            self.expected.entry(&id, &held);
        }
        self.drop_all(&drop)?;
        self.report.repaired_some(damaged, "bundles were dropped: their entry was damaged");
        self.report.repaired_some(bodiless, "bundles were dropped: their bytes were damaged or missing");
        Ok(())
    }

    fn body_is_whole(&self, id: &BundleId, held: &Held) -> Checked<bool> {
        let body = value::get(self.tree, &body_key(id))?;
        Ok(body.is_some_and(|body| body.is_ok_and(|body| u32::try_from(body.len()) == Ok(held.meta.size))))
    }

    /// Only at full depth: reading bodies is most of the work.
    fn bodies_without_entry(&mut self) -> Checked<()> {
        if self.depth == Depth::Structure {
            return Ok(());
        }
        let strays = self.collect(BODY, |checker, key, _| {
            let id = last_32(key).map(BundleId);
            Ok(!match id {
                Some(id) => checker.tree.contains_key(entry_key(&id))?,
                None => false,
            })
        })?;
        self.report.repaired_some(strays.len(), "bundles without an entry were dropped");
        self.drop_all(&strays)
    }

    fn takers(&mut self) -> Checked<()> {
        let strays = self.collect(TAKERS, |checker, key, head| {
            let list = checker.value(key, head)?.and_then(|bytes| takers_from_bytes(&bytes));
            let id = last_32(key).map(BundleId);
            Ok(match (id, list) {
                (Some(id), Some(_)) if takers_key(&id) == key => {
                    !checker.tree.contains_key(entry_key(&id))?
                }
                _ => true,
            })
        })?;
        self.report.repaired_some(strays.len(), "lists of takers were dropped: damaged, or of no bundle");
        self.drop_all(&strays)
    }

    fn tombstones(&mut self) -> Checked<()> {
        let mut drop = Vec::new();
        for item in self.tree.scan_prefix([TOMBSTONE]) {
            let (key, head) = item?;
            let commitment = last_32(&key).filter(|_| key.len() == 33).map(Commitment);
            let bytes = self.value(&key, &head)?;
            let tombstone = commitment.zip(bytes).and_then(|(commitment, bytes)| {
                Some((commitment, tombstone_from_bytes(&commitment, &bytes)?))
            });
            match tombstone {
                Some((commitment, (_, expires_s))) => {
                    self.expected.key(&tombstone_expiry_key(expires_s, &commitment));
                }
                None => drop.push(key),
            }
        }
        self.report.repaired_some(drop.len(), "damaged tombstones were dropped");
        self.drop_all(&drop)
    }

    /// Compares each index with what it must be; makes anew those that differ.
    fn indexes(&mut self) -> Checked<()> {
        for (kind, name) in [
            (TAG, "tag"),
            (COMMITMENT, "commitment"),
            (EXPIRY, "expiry"),
            (TOMBSTONE_EXPIRY, "tombstone expiry"),
        ] {
            let mut found = Sum::default();
            for item in self.tree.scan_prefix([kind]) {
                found.add(self.expected.hash(&item?.0));
            }
            let expected = self.expected.indexes.get(&kind).copied().unwrap_or_default();
            if found != expected {
                self.rebuild(kind)?;
                let (had, has) = (found.keys, expected.keys);
                self.report
                    .repaired(format!("the index by {name} had {had} keys and was made anew with {has}"));
            }
        }
        Ok(())
    }

    fn rebuild(&self, kind: u8) -> Checked<()> {
        let mut bulk = Bulk::new(self.tree);
        for item in self.tree.scan_prefix([kind]) {
            bulk.remove(item?.0)?;
        }
        let from = if kind == TOMBSTONE_EXPIRY { TOMBSTONE } else { ENTRY };
        for item in self.tree.scan_prefix([from]) {
            let (key, head) = item?;
            for derived in self.derived(&key, &head)? {
                if derived.first() == Some(&kind) {
                    bulk.insert(derived, Vec::new())?;
                }
            }
        }
        Ok(bulk.finish()?)
    }

    /// The derived keys of a primary record that passed the check.
    fn derived(&self, key: &[u8], head: &[u8]) -> Checked<Vec<Vec<u8>>> {
        if key.first() == Some(&ENTRY) {
            return Ok(self
                .held(key, head)?
                .map_or(Vec::new(), |(id, held)| index_keys(&id, &held).to_vec()));
        }
        let Some(commitment) = last_32(key).map(Commitment) else { return Ok(Vec::new()) };
        let tombstone = self.value(key, head)?.and_then(|bytes| tombstone_from_bytes(&commitment, &bytes));
        Ok(tombstone.map_or(Vec::new(), |(_, expires_s)| vec![tombstone_expiry_key(expires_s, &commitment)]))
    }

    fn givers(&mut self) -> Checked<()> {
        let mut found = BTreeMap::new();
        let mut readable = true;
        for item in self.tree.scan_prefix([GIVER]) {
            let (key, head) = item?;
            let usage = self.value(&key, &head)?.and_then(|bytes| pool_from_bytes(&bytes));
            match last_32(&key).filter(|_| key.len() == 33).map(NodeKey).zip(usage) {
                Some((giver, usage)) => drop(found.insert(giver, usage)),
                None => readable = false,
            }
        }
        if readable && found == self.expected.givers {
            return Ok(());
        }
        let mut bulk = Bulk::new(self.tree);
        for item in self.tree.scan_prefix([GIVER]) {
            bulk.remove(item?.0)?;
        }
        for (giver, usage) in &self.expected.givers {
            for (key, bytes) in value::encode(&giver_key(giver), &pool_to_bytes(*usage)) {
                bulk.insert(key, bytes)?;
            }
        }
        self.report.repaired("the use by giver did not agree with the bundles and was made anew");
        Ok(bulk.finish()?)
    }

    /// Drops damaged records and state values; returns the bytes of the others.
    fn records(&mut self) -> Checked<u64> {
        let mut bytes = 0;
        for (kind, what) in
            [(STATE, "damaged state values were dropped"), (RECORD, "damaged records were dropped")]
        {
            let mut drop = Vec::new();
            for item in self.tree.scan_prefix([kind]) {
                let (key, head) = item?;
                match self.value(&key, &head)? {
                    Some(value) => bytes += u64::try_from(key.len() + value.len()).unwrap_or(u64::MAX),
                    None => drop.push(key),
                }
            }
            self.report.repaired_some(drop.len(), what);
            self.drop_all(&drop)?;
        }
        Ok(bytes)
    }

    /// Chunks whose value is gone or shorter.
    fn stray_chunks(&mut self) -> Checked<()> {
        let strays = self.collect(MORE, |checker, key, _| {
            let Some((head_key, number)) = split_more_key(key) else { return Ok(true) };
            let head = checker.tree.get(head_key)?;
            let chunks = head.and_then(|head| Head::parse(&head).ok().map(|head| head.further_chunks()));
            Ok(chunks.is_none_or(|chunks| number == 0 || number > chunks))
        })?;
        self.report.repaired_some(strays.len(), "chunks of no value were dropped");
        self.drop_all(&strays)
    }

    /// Keys of a kind that `is_bad` picks.
    fn collect(&self, kind: u8, is_bad: impl Fn(&Self, &[u8], &[u8]) -> Checked<bool>) -> Checked<Vec<IVec>> {
        let mut bad = Vec::new();
        for item in self.tree.scan_prefix([kind]) {
            let (key, stored) = item?;
            if is_bad(self, &key, &stored)? {
                bad.push(key);
            }
        }
        Ok(bad)
    }

    /// Sets values aside and removes them. Their further chunks are strays from then on.
    fn drop_all(&mut self, keys: &[IVec]) -> Checked<()> {
        for key in keys {
            if let Some(stored) = self.tree.remove(key)? {
                self.quarantine.keep(key, &stored).map_err(EngineError::Io)?;
            }
        }
        Ok(())
    }
}
