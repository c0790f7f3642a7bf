//! Mail that a recipient may have fetched by a neighbour: kept from its acceptance until its r is known or it expires,
//! within limits for each recipient and for all.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `BridgeHeld` | [`LedgerKey`] | the bundle |
//! | `Bridge` | `h`, mark of the recipient, [`LedgerKey`] | its tag and size |
//! | `Bridge` | `n`, u64 due, mark of the recipient, nonce | none: tokens that were taken |

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pigeon_bundle::{Tag, context};
use pigeon_store::{RecordOp, Store, Table};

use super::config::PickUp;
use super::ledger::LedgerError;
use super::record::{LedgerKey, RecordError};

const HELD: u8 = b'h';
/// Tokens that were taken, by the time at which they can be forgotten.
pub(super) const NONCE: u8 = b'n';
/// Rows read in one go.
const PAGE: usize = 256;
const MARK: usize = 16;

/// A row's key and value.
type Row = (Vec<u8>, Vec<u8>);

/// 16 bytes of a digest over a bare JID.
type Mark = [u8; MARK];

/// A bundle that waits, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The ledger's name for its message.
    pub key: LedgerKey,
    /// To which tag it is addressed.
    pub tag: Tag,
    /// Bytes of the bundle.
    pub size: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Load {
    bundles: u32,
    bytes: u64,
}

/// How much waits: rebuilt at the start, then counted as rows are queued for writing. A write that fails leaves a count
/// too high, to the caution's side.
#[derive(Debug, Default)]
struct Usage {
    recipients: HashMap<Mark, Load>,
    bytes: u64,
}

/// What waits for recipients.
#[derive(Clone)]
pub struct Held {
    store: Store,
    limits: PickUp,
    usage: Arc<Mutex<Usage>>,
}

impl Held {
    /// Counts what waits already.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open(store: Store, limits: PickUp) -> Result<Self, LedgerError> {
        let held = Self { store, limits, usage: Arc::default() };
        let mut after = vec![HELD];
        loop {
            let rows = held.rows(&after, &[HELD])?;
            let Some((last, _)) = rows.last() else { return Ok(held) };
            after.clone_from(last);
            for (row, value) in rows {
                let mark = row.get(1..=MARK).and_then(|mark| mark.try_into().ok());
                let mark = mark.ok_or(RecordError("row of what waits"))?;
                held.usage().add(mark, u64::from(waiting(&row, &value)?.size));
            }
        }
    }

    /// The writes that keep a bundle, or none where its recipient or all have too much waiting, or it waits already.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub(super) fn keep(
        &self,
        recipient: &str,
        key: &LedgerKey,
        tag: Tag,
        bundle: &Bytes,
    ) -> Result<Vec<RecordOp>, LedgerError> {
        let mark = mark(recipient);
        let row = row(&mark, key);
        let size = u32::try_from(bundle.len()).unwrap_or(u32::MAX);
        if self.store.record(Table::Bridge, &row)?.is_some() {
            return Ok(Vec::new());
        }
        let mut usage = self.usage();
        let load = usage.recipients.get(&mark).copied().unwrap_or_default();
        let bytes = u64::from(size);
        if load.bundles >= self.limits.recipient_bundles
            || load.bytes + bytes > self.limits.recipient_bytes
            || usage.bytes + bytes > self.limits.total_bytes
        {
            tracing::debug!("too much waits to be picked up; a message waits at its server only");
            return Ok(Vec::new());
        }
        usage.add(mark, bytes);
        let value = [tag.0.as_slice(), &size.to_be_bytes()].concat();
        Ok(vec![
            RecordOp::Put { table: Table::Bridge, key: row, value },
            RecordOp::Put { table: Table::BridgeHeld, key: key.0.to_vec(), value: bundle.to_vec() },
        ])
    }

    /// The writes that let a bundle go; none where it does not wait.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub(super) fn release(&self, recipient: &str, key: &LedgerKey) -> Result<Vec<RecordOp>, LedgerError> {
        let mark = mark(recipient);
        let row = row(&mark, key);
        let Some(value) = self.store.record(Table::Bridge, &row)? else { return Ok(Vec::new()) };
        self.usage().remove(mark, u64::from(waiting(&row, &value)?.size));
        Ok(vec![
            RecordOp::Delete { table: Table::Bridge, key: row },
            RecordOp::Delete { table: Table::BridgeHeld, key: key.0.to_vec() },
        ])
    }

    /// The writes that let all of a recipient's bundles go.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub(super) fn release_all(&self, recipient: &str) -> Result<Vec<RecordOp>, LedgerError> {
        let mut ops = Vec::new();
        for waiting in self.waiting(recipient)? {
            ops.extend(self.release(recipient, &waiting.key)?);
        }
        Ok(ops)
    }

    /// Counts what another instance has kept and let go, before it is written here too.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub(super) fn note(&self, ops: &[RecordOp]) -> Result<(), LedgerError> {
        // What these operations themselves have changed so far: the store does not show it yet.
        let mut changed: HashMap<&[u8], Option<&[u8]>> = HashMap::new();
        for op in ops {
            let (row, value) = match op {
                RecordOp::Put { table: Table::Bridge, key, value } => {
                    (key.as_slice(), Some(value.as_slice()))
                }
                RecordOp::Delete { table: Table::Bridge, key } => (key.as_slice(), None),
                _ => continue,
            };
            if row.first() != Some(&HELD) {
                continue;
            }
            let stored;
            let before = match changed.get(row) {
                Some(before) => *before,
                None => {
                    stored = self.store.record(Table::Bridge, row)?;
                    stored.as_deref()
                }
            };
            self.recount(row, before, value)?;
            changed.insert(row, value);
        }
        Ok(())
    }

    fn recount(&self, row: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) -> Result<(), LedgerError> {
        let mark = row.get(1..=MARK).and_then(|mark| mark.try_into().ok());
        let mark = mark.ok_or(RecordError("row of what waits"))?;
        let size = |value: &[u8]| waiting(row, value).map(|waiting| u64::from(waiting.size));
        match (before, after) {
            (None, Some(value)) => self.usage().add(mark, size(value)?),
            (Some(value), None) => self.usage().remove(mark, size(value)?),
            _ => {}
        }
        Ok(())
    }

    /// Everything that waits for a recipient, at most as much as its limit allows.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn waiting(&self, recipient: &str) -> Result<Vec<Waiting>, LedgerError> {
        let prefix = [&[HELD], mark(recipient).as_slice()].concat();
        let (mut after, mut found) = (prefix.clone(), Vec::new());
        let limit = usize::try_from(self.limits.recipient_bundles).unwrap_or(usize::MAX);
        while found.len() < limit {
            let rows = self.rows(&after, &prefix)?;
            let Some((last, _)) = rows.last() else { break };
            after.clone_from(last);
            for (row, value) in &rows {
                found.push(waiting(row, value)?);
            }
        }
        Ok(found)
    }

    /// A bundle that waits.
    ///
    /// # Errors
    /// [`LedgerError`]; never for one that does not wait any more.
    pub fn bundle(&self, key: &LedgerKey) -> Result<Option<Bytes>, LedgerError> {
        Ok(self.store.record(Table::BridgeHeld, &key.0)?.map(Bytes::from))
    }

    /// The row that says that this token was taken. It is there until `due_s`, which the token itself gives.
    pub(super) fn nonce_row(recipient: &str, nonce: &[u8; 16], due_s: u64) -> Vec<u8> {
        [&[NONCE], due_s.to_be_bytes().as_slice(), &mark(recipient), nonce].concat()
    }

    fn rows(&self, after: &[u8], prefix: &[u8]) -> Result<Vec<Row>, LedgerError> {
        let mut rows = self.store.records(Table::Bridge, Some(after), PAGE)?;
        rows.retain(|(row, _)| row.starts_with(prefix));
        Ok(rows)
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        // Every method leaves it whole.
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Usage {
    fn add(&mut self, mark: Mark, bytes: u64) {
        let load = self.recipients.entry(mark).or_default();
        load.bundles += 1;
        load.bytes += bytes;
        self.bytes += bytes;
    }

    fn remove(&mut self, mark: Mark, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        let Some(load) = self.recipients.get_mut(&mark) else { return };
        load.bundles = load.bundles.saturating_sub(1);
        load.bytes = load.bytes.saturating_sub(bytes);
        if load.bundles == 0 {
            self.recipients.remove(&mark);
        }
    }
}

fn mark(recipient: &str) -> Mark {
    let digest = context::sha256("bridge-recipient", &[recipient.as_bytes()]);
    let mut mark = [0; MARK];
    mark.copy_from_slice(&digest[..MARK]);
    mark
}

fn row(mark: &Mark, key: &LedgerKey) -> Vec<u8> {
    [&[HELD], mark.as_slice(), &key.0].concat()
}

fn waiting(row: &[u8], value: &[u8]) -> Result<Waiting, RecordError> {
    let damaged = RecordError("row of what waits");
    let key = row.get(1 + MARK..).and_then(|key| key.try_into().ok()).map(LedgerKey).ok_or(damaged)?;
    let (tag, size) = value.split_first_chunk::<16>().ok_or(damaged)?;
    let size = size.try_into().map(u32::from_be_bytes).map_err(|_| damaged)?;
    Ok(Waiting { key, tag: Tag(*tag), size })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use pigeon_bundle::MessageDigest;
    use pigeon_store::{StoreOptions, Transaction};

    use super::*;

    const JERRY: &str = "jerry@example.org";
    const NEWMAN: &str = "newman@example.org";

    fn limits() -> PickUp {
        PickUp { recipient_bundles: 3, recipient_bytes: 1_000, total_bytes: 1_500, ..PickUp::default() }
    }

    fn key(n: u8) -> LedgerKey {
        LedgerKey::new(&MessageDigest([n; 32]), "elaine@example.org", JERRY)
    }

    struct Bench {
        store: Store,
        held: Held,
        _dir: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (store, _) = Store::open(dir.path(), StoreOptions::default()).unwrap();
            let held = Held::open(store.clone(), limits()).unwrap();
            Self { store, held, _dir: dir }
        }

        async fn keep(&self, recipient: &str, n: u8, bytes: usize) -> bool {
            let ops = self.held.keep(recipient, &key(n), Tag([n; 16]), &vec![n; bytes].into()).unwrap();
            let kept = !ops.is_empty();
            self.store.commit(Transaction::of_records(ops)).await.unwrap();
            kept
        }
    }

    #[tokio::test]
    async fn what_waits_is_found_by_its_recipient_and_let_go_once() {
        let bench = Bench::new();
        assert!(bench.keep(JERRY, 1, 100).await && bench.keep(JERRY, 2, 200).await);
        assert!(!bench.keep(JERRY, 1, 100).await, "twice is once");
        assert!(bench.keep(NEWMAN, 3, 100).await);
        let waiting = bench.held.waiting(JERRY).unwrap();
        assert_eq!(waiting.len(), 2);
        assert!(waiting.contains(&Waiting { key: key(2), tag: Tag([2; 16]), size: 200 }));
        assert_eq!(bench.held.bundle(&key(2)).unwrap().unwrap().len(), 200);
        let ops = bench.held.release(JERRY, &key(2)).unwrap();
        bench.store.commit(Transaction::of_records(ops)).await.unwrap();
        assert_eq!(bench.held.release(JERRY, &key(2)).unwrap().len(), 0);
        assert_eq!(bench.held.release(JERRY, &key(3)).unwrap().len(), 0, "it waits for somebody else");
        assert_eq!(bench.held.bundle(&key(2)).unwrap(), None);
        assert_eq!(bench.held.waiting(JERRY).unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_another_instance_keeps_and_lets_go_counts_here_too_and_once() {
        let (bench, other) = (Bench::new(), Bench::new());
        let bundle = Bytes::from(vec![7; 100]);
        let kept = other.held.keep(JERRY, &key(1), Tag([1; 16]), &bundle).unwrap();
        other.store.commit(Transaction::of_records(kept.clone())).await.unwrap();
        let gone = other.held.release(JERRY, &key(1)).unwrap();
        let load = || bench.held.usage().recipients.get(&mark(JERRY)).copied().unwrap_or_default();
        bench.held.note(&[kept.clone(), gone.clone()].concat()).unwrap();
        assert_eq!(load(), Load::default(), "kept and let go in one reading");
        bench.held.note(&kept).unwrap();
        bench.store.commit(Transaction::of_records(kept.clone())).await.unwrap();
        bench.held.note(&kept).unwrap();
        assert_eq!(load(), Load { bundles: 1, bytes: 100 });
        assert_eq!(bench.held.waiting(JERRY).unwrap().len(), 1);
        bench.held.note(&gone).unwrap();
        assert_eq!(load(), Load::default());
    }

    #[tokio::test]
    async fn a_recipient_has_a_limit_and_all_together_have_one_also_after_a_restart() {
        let bench = Bench::new();
        for n in 1..=3 {
            assert!(bench.keep(JERRY, n, 100).await);
        }
        assert!(!bench.keep(JERRY, 4, 1).await, "a fourth");
        assert!(!bench.keep(NEWMAN, 5, 1_001).await, "too many bytes for one");
        assert!(bench.keep(NEWMAN, 6, 1_000).await);
        assert!(!bench.keep("george@example.org", 7, 300).await, "too many bytes for all");
        let ops = bench.held.release_all(NEWMAN).unwrap();
        bench.store.commit(Transaction::of_records(ops)).await.unwrap();
        assert_eq!(bench.held.waiting(NEWMAN).unwrap(), []);
        assert!(bench.keep(NEWMAN, 6, 1_000).await, "his limit is free again");
        let again = Held::open(bench.store.clone(), limits()).unwrap();
        assert_eq!(*again.usage().recipients.get(&mark(JERRY)).unwrap(), Load { bundles: 3, bytes: 300 });
        assert_eq!(again.usage().bytes, 1_300);
        let ops = bench.held.release(JERRY, &key(1)).unwrap();
        assert_eq!(ops.len(), 2);
        assert!(bench.keep(JERRY, 8, 100).await, "room again");
    }
}
