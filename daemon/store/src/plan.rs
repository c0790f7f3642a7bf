//! From operations to writes: what each [`StoreOp`] and [`RecordOp`] does to records, indexes and counters.
//!
//! `Put` of a held bundle replaces its entry; `Update`, `Remove` and `AddTaker` of a bundle that is not there do
//! nothing, as do `ForgetTombstone` and `Delete` of what is not there. The same holds for the twin in memory, and a
//! contract suite compares the two.

use pigeon_bundle::{Bundle, BundleId, Commitment, NodeKey, Reveal};
use pigeon_core::action::STATE_VALUE_MAX;
use pigeon_core::{BundleMeta, Entry, StoreOp};

use crate::counters::{pool_from_bytes, pool_to_bytes};
use crate::draft::Draft;
use crate::error::StoreError;
use crate::held::{Held, takers_from_bytes, tombstone_from_bytes, tombstone_to_bytes};
use crate::layout::{
    ENTRY, body_key, commitment_key, entry_key, expiry_key, giver_key, last_32, record_key, state_key,
    tag_key, takers_key, tombstone_expiry_key, tombstone_key,
};
use crate::live::ReadError;
use crate::transaction::{RecordOp, STATE_KEY_MAX, Transaction, limit};

/// Most takers kept of one bundle. Six copies make at most five hand-overs; direct deliveries are few more.
/// A taker beyond it is not noted, without a word: it is offered the bundle again at each meeting and declines, which
/// costs some 100 bytes on the link; and `hand_overs` and `pigeon bundles show` count no further. Copies are not
/// concerned: they are in the entry.
pub const TAKERS_MAX: usize = 256;

/// Why a transaction cannot be planned.
pub(crate) enum PlanError {
    /// It is the transaction's own fault.
    Refused(StoreError),
    /// The store could not be read.
    Read(ReadError),
}

impl From<StoreError> for PlanError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<ReadError> for PlanError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// Plans one transaction as the draft's current one.
pub(crate) fn plan(draft: &mut Draft<'_>, transaction: &Transaction, quota: u64) -> Result<(), PlanError> {
    for op in &transaction.ops {
        plan_op(draft, op)?;
    }
    for op in &transaction.records {
        op.check()?;
        plan_record(draft, op)?;
    }
    let (before, wanted) = (draft.counters_before().live_bytes(), draft.counters.live_bytes());
    if wanted > quota && wanted > before {
        return Err(StoreError::QuotaExceeded { wanted, quota }.into());
    }
    if draft.has_changes() {
        draft.counters.transactions += 1;
    }
    Ok(())
}

/// The keys that follow from an entry or a tombstone; `None` for bytes that are neither.
pub(crate) fn derived_keys(key: &[u8], value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let end = last_32(key)?;
    if key.first() == Some(&ENTRY) {
        let (id, meta) = (BundleId(end), Held::from_bytes(value)?.meta);
        return Some(vec![
            tag_key(&meta.tag, &id),
            commitment_key(&meta.commitment, &id),
            expiry_key(meta.expires_s, &id),
        ]);
    }
    let commitment = Commitment(end);
    let (_, expires_s) = tombstone_from_bytes(&commitment, value)?;
    Some(vec![tombstone_expiry_key(expires_s, &commitment)])
}

fn plan_op(draft: &mut Draft<'_>, op: &StoreOp) -> Result<(), PlanError> {
    match op {
        StoreOp::Put { bundle, entry } => put(draft, bundle, entry)?,
        StoreOp::Update { id, entry } => update(draft, id, entry)?,
        StoreOp::Remove { id, .. } => remove(draft, id)?,
        StoreOp::AddTaker { id, taker } => add_taker(draft, id, taker)?,
        StoreOp::Tombstone { reveal, expires_s } => bury(draft, reveal, *expires_s)?,
        StoreOp::ForgetTombstone { commitment } => forget(draft, commitment)?,
        StoreOp::SetState { key, value } => {
            limit("the name of a state value", key.len(), STATE_KEY_MAX)?;
            limit("a state value", value.len(), STATE_VALUE_MAX)?;
            let place = state_key(key);
            set_sized(draft, &place, (!value.is_empty()).then_some(value))?;
        }
    }
    Ok(())
}

fn plan_record(draft: &mut Draft<'_>, op: &RecordOp) -> Result<(), ReadError> {
    match op {
        RecordOp::Put { table, key, value } => set_sized(draft, &record_key(*table, key), Some(value)),
        RecordOp::Delete { table, key } => set_sized(draft, &record_key(*table, key), None),
    }
}

/// Sets or removes a value that counts in `record_bytes`.
fn set_sized(draft: &mut Draft<'_>, key: &[u8], value: Option<&Vec<u8>>) -> Result<(), ReadError> {
    let former = match value {
        Some(value) => draft.put_value(key, value)?,
        None => draft.remove_value(key)?,
    };
    let size = |length: usize| u64::try_from(key.len() + length).unwrap_or(u64::MAX);
    let bytes = &mut draft.counters.record_bytes;
    *bytes = bytes.saturating_sub(former.map_or(0, size));
    *bytes = bytes.saturating_add(value.map_or(0, |value| size(value.len())));
    Ok(())
}

fn held(draft: &mut Draft<'_>, id: &BundleId) -> Result<Option<Held>, ReadError> {
    match draft.value(&entry_key(id))? {
        Some(bytes) => Held::from_bytes(&bytes).map(Some).ok_or(ReadError::Damaged),
        None => Ok(None),
    }
}

fn put(draft: &mut Draft<'_>, bundle: &Bundle, entry: &Entry) -> Result<(), ReadError> {
    let id = bundle.id();
    if let Some(held) = held(draft, &id)? {
        return replace(draft, &id, held, entry);
    }
    let held = Held { meta: BundleMeta::of(bundle), entry: entry.clone() };
    let meta = &held.meta;
    draft.put_index(tag_key(&meta.tag, &id));
    draft.put_index(commitment_key(&meta.commitment, &id));
    draft.put_index(expiry_key(meta.expires_s, &id));
    // There is no entry, so there are no bytes either; the entry has just been looked for.
    draft.put_new_value(body_key(&id), bundle.as_bytes());
    draft.put_value(&entry_key(&id), &held.to_bytes())?;
    count(draft, entry, meta.size)
}

fn update(draft: &mut Draft<'_>, id: &BundleId, entry: &Entry) -> Result<(), ReadError> {
    match held(draft, id)? {
        Some(held) => replace(draft, id, held, entry),
        None => Ok(()),
    }
}

fn replace(draft: &mut Draft<'_>, id: &BundleId, held: Held, entry: &Entry) -> Result<(), ReadError> {
    if held.entry == *entry {
        return Ok(());
    }
    uncount(draft, &held.entry, held.meta.size)?;
    count(draft, entry, held.meta.size)?;
    let held = Held { meta: held.meta, entry: entry.clone() };
    draft.put_value(&entry_key(id), &held.to_bytes())?;
    Ok(())
}

fn remove(draft: &mut Draft<'_>, id: &BundleId) -> Result<(), ReadError> {
    let Some(Held { meta, entry }) = held(draft, id)? else { return Ok(()) };
    draft.remove_index(tag_key(&meta.tag, id));
    draft.remove_index(commitment_key(&meta.commitment, id));
    draft.remove_index(expiry_key(meta.expires_s, id));
    draft.remove_value(&entry_key(id))?;
    draft.remove_value(&body_key(id))?;
    draft.remove_value(&takers_key(id))?;
    uncount(draft, &entry, meta.size)
}

fn add_taker(draft: &mut Draft<'_>, id: &BundleId, taker: &NodeKey) -> Result<(), ReadError> {
    if held(draft, id)?.is_none() {
        return Ok(());
    }
    let key = takers_key(id);
    let stored = draft.value(&key)?.unwrap_or_default();
    let mut takers = takers_from_bytes(&stored).ok_or(ReadError::Damaged)?;
    match takers.binary_search(taker) {
        Err(at) if takers.len() < TAKERS_MAX => takers.insert(at, *taker),
        _ => return Ok(()),
    }
    let list: Vec<u8> = takers.iter().flat_map(|taker| taker.0).collect();
    draft.put_value(&key, &list)?;
    Ok(())
}

fn bury(draft: &mut Draft<'_>, reveal: &Reveal, expires_s: u64) -> Result<(), ReadError> {
    let commitment = reveal.commitment();
    forget(draft, &commitment)?;
    draft.put_value(&tombstone_key(&commitment), &tombstone_to_bytes(reveal, expires_s))?;
    draft.put_index(tombstone_expiry_key(expires_s, &commitment));
    Ok(())
}

fn forget(draft: &mut Draft<'_>, commitment: &Commitment) -> Result<(), ReadError> {
    let key = tombstone_key(commitment);
    let Some(stored) = draft.value(&key)? else { return Ok(()) };
    let (_, expires_s) = tombstone_from_bytes(commitment, &stored).ok_or(ReadError::Damaged)?;
    draft.remove_value(&key)?;
    draft.remove_index(tombstone_expiry_key(expires_s, commitment));
    Ok(())
}

fn count(draft: &mut Draft<'_>, entry: &Entry, size: u32) -> Result<(), ReadError> {
    draft.counters.usage.add(entry, size);
    let Some(giver) = &entry.giver else { return Ok(()) };
    let key = giver_key(giver);
    let mut usage = giver_usage(draft, &key)?;
    usage.add(size);
    draft.put_value(&key, &pool_to_bytes(usage))?;
    Ok(())
}

fn uncount(draft: &mut Draft<'_>, entry: &Entry, size: u32) -> Result<(), ReadError> {
    draft.counters.usage.remove(entry, size);
    let Some(giver) = &entry.giver else { return Ok(()) };
    let key = giver_key(giver);
    let mut usage = giver_usage(draft, &key)?;
    usage.remove(size);
    if usage.bundles == 0 {
        draft.remove_value(&key)?;
    } else {
        draft.put_value(&key, &pool_to_bytes(usage))?;
    }
    Ok(())
}

fn giver_usage(draft: &mut Draft<'_>, key: &[u8]) -> Result<pigeon_core::PoolUsage, ReadError> {
    match draft.value(key)? {
        Some(bytes) => pool_from_bytes(&bytes).ok_or(ReadError::Damaged),
        None => Ok(pigeon_core::PoolUsage::default()),
    }
}
