//! The check at opening: do the derived keys agree with the primary records, and are the records whole?
//!
//! This is done where the index was made anew, where something damaged was seen, and where what the log has beyond the index
//! does not follow from it ([`crate::tail`]). Every key of the index is read, which also counts what is alive in each
//! segment of the log; but for an index that has just been made from a log without damage, every value is read too and
//! its checksum compared. Derived keys that disagree are made
//! anew from the primary records; records that fail are dropped into a file and counted in the report.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use pigeon_bundle::{BundleId, Commitment, NodeKey};
use pigeon_core::{PoolUsage, Usage};

use crate::counters::{Counters, pool_from_bytes, pool_to_bytes};
use crate::error::StoreError;
use crate::held::{Held, takers_from_bytes, tombstone_from_bytes};
use crate::layout::{
    BODY, COMMITMENT, COUNTERS, ENTRY, EXPIRY, GIVER, RECORD, STATE, TAG, TAKERS, TOMBSTONE,
    TOMBSTONE_EXPIRY, entry_key, giver_key, last_32,
};
use crate::live::ReadError;
use crate::log::group::Write;
use crate::opening::Base;
use crate::plan::derived_keys;
use crate::quarantine::Quarantine;
use crate::report::RecoveryReport;
use crate::stored::Stored;
use crate::view::View;

type Checked<T> = Result<T, ReadError>;

/// How much to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The index, and what is in it.
    Structure,
    /// Every byte.
    Everything,
}

/// Checks and repairs a store; returns the true counters.
pub(crate) fn check(
    base: &mut Base<'_>,
    depth: Depth,
    quarantine: &mut Quarantine,
    report: &mut RecoveryReport,
) -> Result<Counters, StoreError> {
    base.live.log.forget_live();
    let mut checker = Checker { depth, quarantine, report, expected: Expected::new(), dropped: Vec::new() };
    checker.phase(base, "entry of a bundle", Checker::entries)?;
    checker.phase(base, "list of takers", Checker::takers)?;
    checker.phase(base, "tombstone", Checker::tombstones)?;
    checker.phase(base, "index", Checker::indexes)?;
    checker.phase(base, "use by giver", Checker::givers)?;
    checker.phase(base, "record", Checker::records)?;
    let Checker { expected, report, .. } = checker;
    let (usage, record_bytes) = (expected.usage, expected.record_bytes);
    let counters = Counters { transactions: base.counters.transactions, usage, record_bytes };
    let stored = base.live.read("counter", |view| {
        let stored = view.get(&COUNTERS)?;
        if let Some(stored) = &stored {
            view.log.came(&COUNTERS, stored);
        }
        Ok(stored.is_some())
    })?;
    if base.counters != counters && (stored || counters != Counters::default()) {
        report.repaired("the counters did not agree with what is there and were set right");
        base.write(vec![(COUNTERS.to_vec(), Some(counters.to_bytes()))])?;
    }
    base.counters = counters;
    Ok(counters)
}

/// What the derived keys must be, in constant space for the indexes: a number of keys and the sum of their hashes
/// under a random key, which two different sets share with a chance of 2^-64.
struct Expected {
    record_bytes: u64,
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
        Self { record_bytes: 0, hasher: RandomState::new(), indexes, usage: Usage::default(), givers }
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Takes in the keys that follow from an entry or a tombstone.
    fn keys(&mut self, key: &[u8], value: &[u8]) {
        for derived in derived_keys(key, value).unwrap_or_default() {
            self.key(&derived);
        }
    }

    fn key(&mut self, key: &[u8]) {
        let hash = self.hash(key);
        if let Some(kind) = key.first() {
            self.indexes.entry(*kind).or_default().add(hash);
        }
    }

    fn entry(&mut self, id: &BundleId, held: &Held) {
        self.keys(&entry_key(id), &held.to_bytes());
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

struct Checker<'a> {
    depth: Depth,
    quarantine: &'a mut Quarantine,
    report: &'a mut RecoveryReport,
    expected: Expected,
    /// What this phase drops, with what could be read of it.
    dropped: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Checker<'_> {
    /// Runs one part of the check, then writes what it wants written: the next part sees that.
    fn phase(
        &mut self,
        base: &mut Base<'_>,
        what: &'static str,
        part: impl FnOnce(&mut Self, View<'_>) -> Checked<Vec<Write>>,
    ) -> Result<(), StoreError> {
        let mut writes = base.live.read(what, |view| part(self, view))?;
        for (key, bytes) in std::mem::take(&mut self.dropped) {
            let kept = self.quarantine.keep(&key, &bytes);
            kept.map_err(|error| StoreError::file("set aside records in", base.live.dir(), error))?;
            writes.push((key, None));
        }
        base.write_all(writes)
    }

    /// A small value, or nothing where it is damaged.
    fn value(view: View<'_>, key: &[u8], stored: &Stored) -> Checked<Option<Vec<u8>>> {
        view.log.came(key, stored);
        match view.load(key, stored) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ReadError::Damaged) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Drops a key, keeping what can be read of its value aside.
    fn drop_key(&mut self, view: View<'_>, key: Vec<u8>, stored: &Stored) {
        let bytes = view.load(&key, stored).unwrap_or_default();
        self.dropped.push((key, bytes));
    }

    /// Entries and bodies, side by side: both are in the order of their ids.
    fn entries(&mut self, view: View<'_>) -> Checked<Vec<Write>> {
        let (mut damaged, mut bodiless, mut strays) = (0, 0, 0);
        let mut bodies = view.kind(BODY)?.peekable();
        for item in view.kind(ENTRY)? {
            let (key, stored) = item?;
            while let Some(stray) =
                bodies.next_if(|body| body.as_ref().is_ok_and(|(body, _)| body[1..] < key[1..]))
            {
                let (key, stored) = stray?;
                self.drop_key(view, key, &stored);
                strays += 1;
            }
            let is_its = |body: &Checked<(Vec<u8>, Stored)>| {
                body.as_ref().map_or(true, |(body, _)| body[1..] == key[1..])
            };
            let body = bodies.next_if(is_its).transpose()?;
            let id = last_32(&key).filter(|_| key.len() == 33).map(BundleId);
            let held = Self::value(view, &key, &stored)?.and_then(|bytes| Held::from_bytes(&bytes));
            match id.zip(held) {
                Some((id, held)) if self.is_whole(view, &held, body.as_ref())? => {
                    self.expected.entry(&id, &held);
                    continue;
                }
                Some(_) => bodiless += 1,
                None => damaged += 1,
            }
            self.drop_key(view, key, &stored);
            if let Some((key, stored)) = body {
                self.drop_key(view, key, &stored);
            }
        }
        for stray in bodies {
            let (key, stored) = stray?;
            self.drop_key(view, key, &stored);
            strays += 1;
        }
        self.report.repaired_some(damaged, "bundles were dropped: their entry was damaged");
        self.report.repaired_some(bodiless, "bundles were dropped: their bytes were damaged or missing");
        self.report.repaired_some(strays, "bundles without an entry were dropped");
        Ok(Vec::new())
    }

    fn is_whole(&self, view: View<'_>, held: &Held, body: Option<&(Vec<u8>, Stored)>) -> Checked<bool> {
        let Some((key, stored)) = body else { return Ok(false) };
        if u32::try_from(stored.length()) != Ok(held.meta.size) {
            return Ok(false);
        }
        if self.depth == Depth::Structure {
            view.log.came(key, stored);
            return Ok(true);
        }
        Ok(Self::value(view, key, stored)?.is_some())
    }

    fn takers(&mut self, view: View<'_>) -> Checked<Vec<Write>> {
        let mut strays = 0;
        for item in view.kind(TAKERS)? {
            let (key, stored) = item?;
            let list = Self::value(view, &key, &stored)?.and_then(|bytes| takers_from_bytes(&bytes));
            let id = last_32(&key).filter(|_| key.len() == 33).map(BundleId);
            let is_good = match id.zip(list) {
                Some((id, _)) => view.get(&entry_key(&id))?.is_some(),
                None => false,
            };
            if !is_good {
                self.drop_key(view, key, &stored);
                strays += 1;
            }
        }
        self.report.repaired_some(strays, "lists of takers were dropped: damaged, or of no bundle");
        Ok(Vec::new())
    }

    fn tombstones(&mut self, view: View<'_>) -> Checked<Vec<Write>> {
        let mut damaged = 0;
        for item in view.kind(TOMBSTONE)? {
            let (key, stored) = item?;
            let commitment = last_32(&key).filter(|_| key.len() == 33).map(Commitment);
            let bytes = Self::value(view, &key, &stored)?;
            let is_good = |(commitment, bytes): &(Commitment, Vec<u8>)| {
                tombstone_from_bytes(commitment, bytes).is_some()
            };
            match commitment.zip(bytes).filter(is_good) {
                Some((_, bytes)) => {
                    self.expected.keys(&key, &bytes);
                }
                None => {
                    self.drop_key(view, key, &stored);
                    damaged += 1;
                }
            }
        }
        self.report.repaired_some(damaged, "damaged tombstones were dropped");
        Ok(Vec::new())
    }

    /// Compares each index with what it must be; makes anew those that differ.
    fn indexes(&mut self, view: View<'_>) -> Checked<Vec<Write>> {
        let mut writes = Vec::new();
        for (kind, name) in [
            (TAG, "tag"),
            (COMMITMENT, "commitment"),
            (EXPIRY, "expiry"),
            (TOMBSTONE_EXPIRY, "tombstone expiry"),
        ] {
            let mut found = Sum::default();
            for item in view.kind(kind)? {
                found.add(self.expected.hash(&item?.0));
            }
            let expected = self.expected.indexes.get(&kind).copied().unwrap_or_default();
            if found != expected {
                rebuild(view, kind, &mut writes)?;
                let (had, has) = (found.keys, expected.keys);
                self.report
                    .repaired(format!("the index by {name} had {had} keys and was made anew with {has}"));
            }
        }
        Ok(writes)
    }

    fn givers(&mut self, view: View<'_>) -> Checked<Vec<Write>> {
        let (mut found, mut writes) = (BTreeMap::new(), Vec::new());
        let mut readable = true;
        for item in view.kind(GIVER)? {
            let (key, stored) = item?;
            let usage = Self::value(view, &key, &stored)?.and_then(|bytes| pool_from_bytes(&bytes));
            match last_32(&key).filter(|_| key.len() == 33).map(NodeKey).zip(usage) {
                Some((giver, usage)) => drop(found.insert(giver, usage)),
                None => readable = false,
            }
            writes.push((key, None));
        }
        if readable && found == self.expected.givers {
            return Ok(Vec::new());
        }
        for (giver, usage) in &self.expected.givers {
            writes.push((giver_key(giver), Some(pool_to_bytes(*usage))));
        }
        self.report.repaired("the use by giver did not agree with the bundles and was made anew");
        Ok(writes)
    }

    /// Counts records and state values; drops damaged ones where every byte is read.
    fn records(&mut self, view: View<'_>) -> Checked<Vec<Write>> {
        for (kind, what) in
            [(STATE, "damaged state values were dropped"), (RECORD, "damaged records were dropped")]
        {
            let mut damaged = 0;
            for item in view.kind(kind)? {
                let (key, stored) = item?;
                if self.depth == Depth::Structure {
                    view.log.came(&key, &stored);
                } else if Self::value(view, &key, &stored)?.is_none() {
                    self.drop_key(view, key, &stored);
                    damaged += 1;
                    continue;
                }
                let size = u64::try_from(key.len() + stored.length()).unwrap_or(u64::MAX);
                self.expected.record_bytes += size;
            }
            self.report.repaired_some(damaged, what);
        }
        Ok(Vec::new())
    }
}

/// Removes all keys of an index and adds those that follow from the primary records.
fn rebuild(view: View<'_>, kind: u8, writes: &mut Vec<Write>) -> Checked<()> {
    for item in view.kind(kind)? {
        writes.push((item?.0, None));
    }
    for item in view.kind(if kind == TOMBSTONE_EXPIRY { TOMBSTONE } else { ENTRY })? {
        let (key, stored) = item?;
        let derived = derived_keys(&key, &view.load(&key, &stored)?).ok_or(ReadError::Damaged)?;
        let wanted = derived.into_iter().filter(|key| key.first() == Some(&kind));
        writes.extend(wanted.map(|key| (key, Some(Vec::new()))));
    }
    Ok(())
}
