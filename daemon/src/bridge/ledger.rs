//! The ledger: what the bridge has accepted or refused, which keys may speak, which messages have arrived.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `BridgeSeen` | [`LedgerKey`] | [`Record`] |
//! | `BridgeQueue` | [`LedgerKey`] | the bundle, until the server is certain to keep it or it waits to be picked up |
//! | `BridgeRegistration` | bare JID | [`Registration`] |
//! | `Bridge` | `c`, commitment, [`LedgerKey`] | none: messages by commitment |
//! | `Bridge` | `e`, u64 due, [`LedgerKey`] | none: messages by the time at which they can be forgotten |
//! | `Bridge` | `r`, u64 due, bare JID | none: registrations by the time at which they lapse |
//! | `Bridge` | `t`, commitment | r |
//!
//! [`Held`] has rows of its own.
//!
//! Every method that writes queues one transaction at once and returns a future that ends when it is durable, so
//! writes keep the order of calls. Reads may show what is not durable yet.

use std::future::Future;
use std::path::Path;

use bytes::Bytes;
use pigeon_bundle::{Bundle, Commitment, PickupTerms, Reveal};
use pigeon_store::{RecordOp, RecoveryReport, Store, StoreError, StoreOptions, Table, Transaction};

use super::config::PickUp;
use super::held::{Held, NONCE};
use super::journal::{Journal, JournalError, News};
use super::pickup::SKEW_S;
use super::record::{LedgerKey, Record, RecordError, Registration, State};

/// Records stay this long after their bundle's end, seconds: a day, for a clock that was set back.
pub const KEEP_AFTER_EXPIRY_S: u64 = 86_400;
/// Records forgotten in one step of [`Ledger::prune`].
pub const PRUNE_STEP: usize = 256;
/// Most messages with one commitment that a reveal is compared with. An honest author gives each message its own.
pub const SAME_COMMITMENT_MAX: usize = 16;

const BY_COMMITMENT: u8 = b'c';
const BY_EXPIRY: u8 = b'e';
const BY_LAPSE: u8 = b'r';
const REVEALED: u8 = b't';
/// `j`, file: how far another instance's log has been read.
const READ_UP_TO: u8 = b'j';
/// Operations of other instances that are written in one transaction.
const CATCH_UP_OPS_MAX: usize = 512;

/// Why the ledger did not answer. Never used for "not there".
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log that several instances share.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A record that cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl LedgerError {
    /// Whether the bridge can go on and try again later. Otherwise the store takes no more writes until it has been
    /// opened anew.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Store(error) => {
                error.is_full() || matches!(error, StoreError::Busy { .. } | StoreError::TooLarge { .. })
            }
            Self::Record(_) => true,
            Self::Journal(_) => false,
        }
    }
}

/// What the judge reads.
pub trait Books {
    /// The key registered for a bare JID, lapsed or not.
    ///
    /// # Errors
    /// [`LedgerError`]; never for a registration that is not there.
    fn registration(&self, jid: &str) -> Result<Option<Registration>, LedgerError>;

    /// What is known about a message.
    ///
    /// # Errors
    /// [`LedgerError`]; never for a message that is not there.
    fn record(&self, key: &LedgerKey) -> Result<Option<Record>, LedgerError>;

    /// The bundle of a message in the queue.
    ///
    /// # Errors
    /// [`LedgerError`]; never for a bundle that is not there.
    fn queued(&self, key: &LedgerKey) -> Result<Option<Bytes>, LedgerError>;

    /// r, if the message with this commitment is known to have arrived.
    ///
    /// # Errors
    /// [`LedgerError`]; never for an r that is not there.
    fn revealed(&self, commitment: &Commitment) -> Result<Option<Reveal>, LedgerError>;
}

/// The ledger. Clones share it.
#[derive(Clone)]
pub struct Ledger {
    store: Store,
    held: Held,
    /// Where there are several instances.
    journal: Option<Journal>,
}

impl Ledger {
    /// Opens or makes the ledger in `dir`. Blocks.
    ///
    /// # Errors
    /// [`LedgerError`]: in use by another process, disk full, written by a newer program.
    pub fn open(
        dir: &Path,
        options: StoreOptions,
        pick_up: PickUp,
    ) -> Result<(Self, RecoveryReport), LedgerError> {
        let (store, report) = Store::open(dir, options)?;
        let held = Held::open(store.clone(), pick_up)?;
        Ok((Self { store, held, journal: None }, report))
    }

    /// The same, with all that is written from now on in the log for the other instances.
    #[must_use]
    pub fn shared(self, journal: Journal) -> Self {
        Self { journal: Some(journal), ..self }
    }

    /// Writes down what the other instances have written since the last time.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn catch_up(&self) -> Result<(), LedgerError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        loop {
            let offset = |file: &str| {
                let row = self.store.record(Table::Bridge, &index(READ_UP_TO, &[file.as_bytes()]));
                let bytes = row.ok().flatten().and_then(|bytes| bytes.try_into().ok());
                bytes.map_or(0, u64::from_be_bytes)
            };
            let news = journal.news(offset)?;
            if news.is_empty() {
                return Ok(());
            }
            for News { file, offset, mut ops } in news {
                self.held.note(&ops)?;
                let place = index(READ_UP_TO, &[file.as_bytes()]);
                // In bounded transactions; the place moves with the last, and a repetition changes nothing.
                while ops.len() > CATCH_UP_OPS_MAX {
                    let later = ops.split_off(CATCH_UP_OPS_MAX);
                    self.store.commit(Transaction::of_records(ops)).await?;
                    ops = later;
                }
                ops.push(put(Table::Bridge, place, offset.to_be_bytes().to_vec()));
                self.store.commit(Transaction::of_records(ops)).await?;
            }
        }
    }

    /// What waits to be picked up.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Waits for what is queued and lets go of the directory. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]: the last write failed.
    pub fn close(self) -> Result<(), StoreError> {
        self.store.close()
    }

    /// Figures about the store behind it. Blocks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn stats(&self) -> Result<pigeon_store::Stats, StoreError> {
        self.store.stats()
    }

    /// Notes that a message is about to be delivered: record, indexes, and the bundle for another try.
    pub fn begin(
        &self,
        key: &LedgerKey,
        record: &Record,
        bundle: &Bytes,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send + 'static + use<> {
        self.write(vec![
            put(Table::BridgeSeen, key.0.to_vec(), record.encode()),
            put(Table::BridgeQueue, key.0.to_vec(), bundle.to_vec()),
            put(Table::Bridge, by_commitment(&record.commitment, key), Vec::new()),
            put(Table::Bridge, by_expiry(record, key), Vec::new()),
        ])
    }

    /// Notes an acceptance. The bundle waits for its recipient, if that is one who can have it picked up; otherwise it
    /// stays in the queue until [`Ledger::settle`].
    pub fn accept(
        &self,
        key: &LedgerKey,
        record: &Record,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send + 'static + use<> {
        self.note(key, record, false)
    }

    /// Notes the last word on a message, which leaves the queue.
    pub fn decide(
        &self,
        key: &LedgerKey,
        record: &Record,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send + 'static + use<> {
        self.note(key, record, true)
    }

    /// The server may have lost these: those that are in the queue are in doubt again. The others wait to be picked up.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn doubt<'a>(
        &self,
        messages: impl Iterator<Item = (&'a LedgerKey, &'a Record)>,
    ) -> Result<(), LedgerError> {
        let mut ops = Vec::new();
        for (key, record) in messages {
            if self.queued(key)?.is_some() {
                let record = Record { state: State::InDoubt, ..record.clone() };
                ops.push(put(Table::BridgeSeen, key.0.to_vec(), record.encode()));
            }
        }
        if ops.is_empty() { Ok(()) } else { self.write(ops).await }
    }

    /// The server will not lose these any more, as far as can be known: those that are in the queue leave it.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn settle(&self, keys: &[LedgerKey]) -> Result<(), LedgerError> {
        // Removing what is not there changes nothing, here and where others read of it.
        self.write(keys.iter().map(unqueue).collect()).await
    }

    fn note(
        &self,
        key: &LedgerKey,
        record: &Record,
        mut is_over: bool,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send + 'static + use<> {
        let mut ops = vec![put(Table::BridgeSeen, key.0.to_vec(), record.encode())];
        match self.keep_or_release(key, record) {
            Ok(more) => {
                // The bundle moves, or its arrival is known.
                is_over |= !more.is_empty();
                ops.extend(more);
            }
            // The verdict does not depend on it.
            Err(error) => tracing::error!(%error, "a message cannot be kept to be picked up"),
        }
        if is_over {
            ops.push(unqueue(key));
        }
        self.write(ops)
    }

    fn keep_or_release(&self, key: &LedgerKey, record: &Record) -> Result<Vec<RecordOp>, LedgerError> {
        let State::Decided { code, time_s } = record.state else { return Ok(Vec::new()) };
        if !code.is_accepted() || self.revealed(&record.commitment)?.is_some() {
            return self.held.release(&record.recipient, key);
        }
        let registration = self.registration(&record.recipient)?;
        if !registration.is_some_and(|registration| registration.may_speak(time_s)) {
            return Ok(Vec::new());
        }
        let Some(bytes) = self.queued(key)? else { return Ok(Vec::new()) };
        // It was parsed when it came; only damage to the ledger could have changed it.
        let Ok(bundle) = Bundle::parse(bytes.clone()) else { return Ok(Vec::new()) };
        self.held.keep(&record.recipient, key, bundle.tag(), &bytes)
    }

    /// Whether this token was taken.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn is_spent(&self, terms: &PickupTerms) -> Result<bool, LedgerError> {
        Ok(self.store.record(Table::Bridge, &nonce_row(terms))?.is_some())
    }

    /// Notes that this token was taken.
    pub fn spend(
        &self,
        terms: &PickupTerms,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send + 'static + use<> {
        self.write(vec![put(Table::Bridge, nonce_row(terms), Vec::new())])
    }

    /// The bundle of a message that may have to be sent again, whether it is accepted or not.
    ///
    /// # Errors
    /// [`LedgerError`]; never for a bundle that is not there.
    pub fn bundle(&self, key: &LedgerKey) -> Result<Option<Bytes>, LedgerError> {
        Ok(match self.queued(key)? {
            None => self.held.bundle(key)?,
            queued => queued,
        })
    }

    /// Messages in the queue, at most `limit` of them with keys after `after`.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn queue(
        &self,
        after: Option<&LedgerKey>,
        limit: usize,
    ) -> Result<Vec<(LedgerKey, Bytes)>, LedgerError> {
        let rows = self.store.records(Table::BridgeQueue, after.map(|key| key.0.as_slice()), limit)?;
        rows.into_iter().map(|(key, bundle)| Ok((ledger_key(&key)?, Bytes::from(bundle)))).collect()
    }

    /// Registers a key, over what `held` was. What waits for the owner of another key is let go.
    pub fn register(
        &self,
        jid: &str,
        held: Option<&Registration>,
        registration: &Registration,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send + 'static + use<> {
        let mut ops = Vec::with_capacity(3);
        if let Some(held) = held {
            ops.push(delete(by_lapse(held, jid)));
            if held.key != registration.key {
                ops.extend(self.release_all(jid));
            }
        }
        ops.push(put(Table::BridgeRegistration, jid.as_bytes().to_vec(), registration.encode()));
        ops.push(put(Table::Bridge, by_lapse(registration, jid), Vec::new()));
        self.write(ops)
    }

    /// Forgets the key of an account that is gone, or whose operator says so. What waits for its owner is let go: the name
    /// may be somebody else's tomorrow.
    pub fn unregister(
        &self,
        jid: &str,
        held: &Registration,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send + 'static + use<> {
        let mut ops = vec![
            delete(by_lapse(held, jid)),
            RecordOp::Delete { table: Table::BridgeRegistration, key: jid.as_bytes().to_vec() },
        ];
        ops.extend(self.release_all(jid));
        self.write(ops)
    }

    fn release_all(&self, jid: &str) -> Vec<RecordOp> {
        self.held.release_all(jid).unwrap_or_else(|error| {
            tracing::error!(%error, "what waits for an account's former owner stays until it expires");
            Vec::new()
        })
    }

    /// Accounts with a registered key, at most `limit` of them with names after `after`.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn registered(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, LedgerError> {
        let rows = self.store.records(Table::BridgeRegistration, after.map(str::as_bytes), limit)?;
        let name = |(key, _)| String::from_utf8(key).map_err(|_| RecordError("registered account"));
        Ok(rows.into_iter().map(name).collect::<Result<_, _>>()?)
    }

    /// Messages with this commitment, at most [`SAME_COMMITMENT_MAX`].
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn with_commitment(&self, commitment: &Commitment) -> Result<Vec<(LedgerKey, Record)>, LedgerError> {
        let prefix = index(BY_COMMITMENT, &[&commitment.0]);
        let mut found = Vec::new();
        for key in self.index_rows(&prefix, &prefix, SAME_COMMITMENT_MAX)? {
            let key = ledger_key(key.get(prefix.len()..).unwrap_or_default())?;
            found.extend(self.record(&key)?.map(|record| (key, record)));
        }
        Ok(found)
    }

    /// Keeps reveals until their messages are forgotten, which need not be picked up any more. Callers check them first.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn reveal(&self, reveals: &[Reveal]) -> Result<(), LedgerError> {
        let mut ops = Vec::new();
        for reveal in reveals {
            let commitment = reveal.commitment();
            ops.push(put(Table::Bridge, index(REVEALED, &[&commitment.0]), reveal.as_bytes().to_vec()));
            for (key, record) in self.with_commitment(&commitment)? {
                ops.extend(self.held.release(&record.recipient, &key)?);
            }
        }
        self.write(ops).await
    }

    /// Forgets what is over: at most [`PRUNE_STEP`] messages and as many registrations. Returns how many; as long as it
    /// is not zero there may be more.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn prune(&self, now_s: u64) -> Result<usize, LedgerError> {
        let mut ops = Vec::new();
        let mut forgotten = 0;
        for row in self.due(BY_EXPIRY, now_s)? {
            let key = ledger_key(row.get(DUE_PREFIX..).unwrap_or_default())?;
            if let Some(record) = self.record(&key)? {
                ops.push(delete(by_commitment(&record.commitment, &key)));
                ops.push(delete(index(REVEALED, &[&record.commitment.0])));
                ops.extend(self.held.release(&record.recipient, &key)?);
            }
            ops.push(RecordOp::Delete { table: Table::BridgeSeen, key: key.0.to_vec() });
            ops.push(unqueue(&key));
            ops.push(delete(row));
            forgotten += 1;
        }
        for row in self.due(BY_LAPSE, now_s)? {
            let jid = row.get(DUE_PREFIX..).unwrap_or_default().to_vec();
            if let Ok(jid) = std::str::from_utf8(&jid) {
                ops.extend(self.release_all(jid));
            }
            ops.push(RecordOp::Delete { table: Table::BridgeRegistration, key: jid });
            ops.push(delete(row));
            forgotten += 1;
        }
        for row in self.due(NONCE, now_s)? {
            ops.push(delete(row));
            forgotten += 1;
        }
        if forgotten > 0 {
            self.write(ops).await?;
        }
        Ok(forgotten)
    }

    fn write(
        &self,
        records: Vec<RecordOp>,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send + 'static + use<> {
        let logged = self.journal.as_ref().map(|journal| {
            let of_all = records.iter().filter(|op| is_of_all(op)).cloned().collect::<Vec<_>>();
            journal.append(&of_all)
        });
        let committed = self.store.commit(Transaction::of_records(records));
        async move {
            let committed = committed.await;
            if let Some(logged) = logged {
                logged.await?;
            }
            Ok(committed?)
        }
    }

    /// Rows of a time index that are due.
    fn due(&self, kind: u8, now_s: u64) -> Result<Vec<Vec<u8>>, LedgerError> {
        let mut rows = self.index_rows(&[kind], &[kind], PRUNE_STEP)?;
        rows.retain(|row| row.get(1..DUE_PREFIX).is_some_and(|due| due <= now_s.to_be_bytes().as_slice()));
        Ok(rows)
    }

    /// Keys of the table `Bridge` behind `after` that begin with `prefix`.
    fn index_rows(&self, after: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, LedgerError> {
        let rows = self.store.records(Table::Bridge, Some(after), limit)?;
        Ok(rows.into_iter().map(|(key, _)| key).take_while(|key| key.starts_with(prefix)).collect())
    }
}

impl Books for Ledger {
    fn registration(&self, jid: &str) -> Result<Option<Registration>, LedgerError> {
        let bytes = self.store.record(Table::BridgeRegistration, jid.as_bytes())?;
        Ok(bytes.map(|bytes| Registration::decode(&bytes)).transpose()?)
    }

    fn record(&self, key: &LedgerKey) -> Result<Option<Record>, LedgerError> {
        let bytes = self.store.record(Table::BridgeSeen, &key.0)?;
        Ok(bytes.map(|bytes| Record::decode(&bytes)).transpose()?)
    }

    fn queued(&self, key: &LedgerKey) -> Result<Option<Bytes>, LedgerError> {
        Ok(self.store.record(Table::BridgeQueue, &key.0)?.map(Bytes::from))
    }

    fn revealed(&self, commitment: &Commitment) -> Result<Option<Reveal>, LedgerError> {
        let bytes = self.store.record(Table::Bridge, &index(REVEALED, &[&commitment.0]))?;
        let reveal = |bytes: Vec<u8>| Reveal::try_from(bytes.as_slice()).map_err(|_| RecordError("reveal"));
        Ok(bytes.map(reveal).transpose()?)
    }
}

/// Whether all instances are to know: everything but how far this one has read what others wrote.
fn is_of_all(op: &RecordOp) -> bool {
    let (RecordOp::Put { table, key, .. } | RecordOp::Delete { table, key }) = op;
    *table != Table::Bridge || key.first() != Some(&READ_UP_TO)
}

/// Bytes before the name in a row of a time index: kind and time.
const DUE_PREFIX: usize = 9;

fn index(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind];
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

fn by_commitment(commitment: &Commitment, key: &LedgerKey) -> Vec<u8> {
    index(BY_COMMITMENT, &[&commitment.0, &key.0])
}

fn by_expiry(record: &Record, key: &LedgerKey) -> Vec<u8> {
    let due = record.expires_s.saturating_add(KEEP_AFTER_EXPIRY_S);
    index(BY_EXPIRY, &[&due.to_be_bytes(), &key.0])
}

fn by_lapse(registration: &Registration, jid: &str) -> Vec<u8> {
    index(BY_LAPSE, &[&registration.until_s.to_be_bytes(), jid.as_bytes()])
}

/// A token that was taken is remembered for as long as anybody could take it for alive.
fn nonce_row(terms: &PickupTerms) -> Vec<u8> {
    Held::nonce_row(&terms.recipient, &terms.nonce, terms.expires_s.saturating_add(SKEW_S))
}

fn put(table: Table, key: Vec<u8>, value: Vec<u8>) -> RecordOp {
    RecordOp::Put { table, key, value }
}

fn delete(key: Vec<u8>) -> RecordOp {
    RecordOp::Delete { table: Table::Bridge, key }
}

fn unqueue(key: &LedgerKey) -> RecordOp {
    RecordOp::Delete { table: Table::BridgeQueue, key: key.0.to_vec() }
}

fn ledger_key(bytes: &[u8]) -> Result<LedgerKey, RecordError> {
    bytes.try_into().map(LedgerKey).map_err(|_| RecordError("key"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use pigeon_bundle::{IdentityKey, MessageDigest, VerdictCode};

    use super::*;
    use crate::bridge::record::tests::record;
    use crate::bridge::record::{State, Successor};

    const JID: &str = "elaine@example.org";

    fn open(dir: &Path) -> Ledger {
        let (ledger, report) = Ledger::open(dir, StoreOptions::default(), PickUp::default()).unwrap();
        assert!(report.is_healthy(), "{report}");
        ledger
    }

    fn key(n: u8) -> LedgerKey {
        LedgerKey::new(&MessageDigest([n; 32]), JID, "jerry@example.org")
    }

    fn registered_until(until_s: u64) -> Registration {
        Registration {
            key: IdentityKey([7; 32]),
            issued_s: 1,
            until_s,
            is_revoked: false,
            successor: Some(Successor { key: IdentityKey([8; 32]), due_s: 3 }),
            card: vec![9; 200],
        }
    }

    fn decided(n: u8, code: VerdictCode) -> Record {
        Record { state: State::Decided { code, time_s: 5 }, ..record(n) }
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = open(dir.path());
        let bundle = Bytes::from_static(b"bundle");
        for n in 1..=3 {
            ledger.begin(&key(n), &record(n), &bundle).await.unwrap();
        }
        ledger.decide(&key(2), &decided(2, VerdictCode::Accepted)).await.unwrap();
        for n in 4..=5 {
            ledger.begin(&key(n), &record(n), &bundle).await.unwrap();
            ledger.accept(&key(n), &decided(n, VerdictCode::Accepted)).await.unwrap();
        }
        ledger.settle(&[key(5)]).await.unwrap();
        let registration = registered_until(9);
        ledger.register(JID, None, &registration).await.unwrap();
        ledger.close().unwrap();

        let ledger = open(dir.path());
        assert_eq!(ledger.record(&key(1)).unwrap(), Some(record(1)));
        assert_eq!(ledger.record(&key(2)).unwrap(), Some(decided(2, VerdictCode::Accepted)));
        assert_eq!(ledger.record(&key(9)).unwrap(), None);
        assert_eq!(ledger.registration(JID).unwrap(), Some(registration));
        assert_eq!(ledger.record(&key(4)).unwrap(), Some(decided(4, VerdictCode::Accepted)));
        let queued: Vec<_> = ledger.queue(None, 10).unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(queued.len(), 3);
        assert!([1, 3, 4].iter().all(|n| queued.contains(&key(*n))));
        assert_eq!(ledger.queue(Some(&queued[1]), 10).unwrap(), [(queued[2], bundle.clone())]);
        assert_eq!(ledger.queued(&key(3)).unwrap(), Some(bundle));
        assert_eq!(ledger.queued(&key(2)).unwrap(), None);
    }

    #[tokio::test]
    async fn a_reveal_is_found_by_commitment() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = open(dir.path());
        let reveal = Reveal([4; 32]);
        let marked = Record { commitment: reveal.commitment(), ..record(1) };
        ledger.begin(&key(1), &marked, &Bytes::new()).await.unwrap();
        ledger.begin(&key(2), &record(2), &Bytes::new()).await.unwrap();
        assert_eq!(ledger.with_commitment(&reveal.commitment()).unwrap(), [(key(1), marked.clone())]);
        assert_eq!(ledger.with_commitment(&Commitment([0; 32])).unwrap(), []);
        assert_eq!(ledger.revealed(&marked.commitment).unwrap(), None);
        ledger.reveal(&[reveal]).await.unwrap();
        assert_eq!(ledger.revealed(&marked.commitment).unwrap(), Some(reveal));
    }

    #[tokio::test]
    async fn expired_records_go_in_bounded_steps_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = open(dir.path());
        let reveal = Reveal([4; 32]);
        let old = Record { commitment: reveal.commitment(), expires_s: 1_000, ..record(1) };
        let mut writes = Vec::new();
        for n in 0..=u16::try_from(PRUNE_STEP).unwrap() {
            let mut p = [0; 32];
            p[..2].copy_from_slice(&n.to_be_bytes());
            writes.push(ledger.begin(&LedgerKey::new(&MessageDigest(p), JID, JID), &old, &Bytes::new()));
        }
        writes.push(ledger.begin(&key(9), &record(9), &Bytes::new()));
        for write in writes {
            write.await.unwrap();
        }
        ledger.reveal(&[reveal]).await.unwrap();
        assert_eq!(ledger.prune(1_000 + KEEP_AFTER_EXPIRY_S - 1).await.unwrap(), 0);
        assert_eq!(ledger.prune(1_000 + KEEP_AFTER_EXPIRY_S).await.unwrap(), PRUNE_STEP);
        assert_eq!(ledger.prune(1_000 + KEEP_AFTER_EXPIRY_S).await.unwrap(), 1);
        assert_eq!(ledger.prune(1_000 + KEEP_AFTER_EXPIRY_S).await.unwrap(), 0);
        assert_eq!(ledger.with_commitment(&old.commitment).unwrap(), []);
        assert_eq!(ledger.revealed(&old.commitment).unwrap(), None);
        assert_eq!(ledger.record(&key(9)).unwrap(), Some(record(9)));
        assert_eq!(ledger.queue(None, 1_000).unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_renewed_registration_outlives_its_first_term() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = open(dir.path());
        let first = registered_until(100);
        let renewed = Registration { until_s: 200, ..first.clone() };
        ledger.register(JID, None, &first).await.unwrap();
        ledger.register(JID, Some(&first), &renewed).await.unwrap();
        assert_eq!(ledger.prune(150).await.unwrap(), 0);
        assert_eq!(ledger.registration(JID).unwrap(), Some(renewed));
        assert_eq!(ledger.prune(200).await.unwrap(), 1);
        assert_eq!(ledger.registration(JID).unwrap(), None);
    }
}
