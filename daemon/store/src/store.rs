//! The handle that everything outside this crate holds.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::engine::SyncFn;
use crate::error::StoreError;
use crate::keeper::{Bell, Keeper};
use crate::layout::{RECORD, key, record_key};
use crate::live::{Live, ReadError};
use crate::lock::Lock;
use crate::opening::{self, Limits, Opened};
use crate::report::RecoveryReport;
use crate::seal::key::StoreKey;
use crate::seal::records::{PROOF, RecordSealer};
use crate::stats::{Stats, disk_bytes};
use crate::transaction::{RECORD_KEY_MAX, Table, Transaction, limit};
use crate::writer::{Job, Message, Progress, Writer};

/// Most transactions that may wait for the disk.
pub const QUEUE_TRANSACTIONS_MAX: usize = 1_024;
/// Most bytes that may wait for the disk.
pub const QUEUE_BYTES_MAX: u64 = 32 << 20;

/// Least memory for what is not in the index yet.
const RECENT_BYTES_MIN: usize = 64 << 10;
/// Least memory for sled's pages.
const SLED_CACHE_MIN: u64 = 64 << 10;

/// Key and value of a record.
pub type Record = (Vec<u8>, Vec<u8>);

/// The same with a value that is wiped when it is dropped.
pub type SecretRecord = (Vec<u8>, Zeroizing<Vec<u8>>);

/// What a store may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// Memory in bytes: half of it for sled's page cache, and up to as much again for what is not in the index yet. Half
    /// of it is also held on the disk, for the next checkpoint.
    pub cache_bytes: u64,
    /// Most bytes of bundles and records together, as written by callers.
    pub quota_bytes: u64,
    /// Most bytes on the disk. Reaching it, the store first lets go of what is dead, then refuses to grow.
    pub disk_bytes_max: u64,
    /// Bytes of a file of the log, which is given back as a whole.
    pub segment_bytes: u64,
}

impl Default for StoreOptions {
    /// [`StoreOptions::DEFAULT`].
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl StoreOptions {
    /// 16 MiB of memory, 1 GiB of data, as much disk as that takes.
    pub const DEFAULT: Self = Self {
        cache_bytes: 16 << 20,
        quota_bytes: 1 << 30,
        disk_bytes_max: u64::MAX,
        segment_bytes: 8 << 20,
    };

    fn limits(&self) -> Limits {
        let recent_bytes = usize::try_from(self.cache_bytes).unwrap_or(usize::MAX).max(RECENT_BYTES_MIN);
        let cache_bytes = (self.cache_bytes / 2).max(SLED_CACHE_MIN);
        Limits { cache_bytes, recent_bytes, segment_bytes: self.segment_bytes }
    }
}

/// The durable store of a node or a bridge. Clones share it.
///
/// 1. [`Store::open`] takes the directory for this process, checks what is there and says what it found.
/// 2. [`Store::commit`] writes a [`Transaction`]: its future ends when it is on the disk, or with the reason why nothing
///    of it is.
/// 3. [`pigeon_core::Catalog`], [`Store::record`] and [`Store::records`] look things up, blocking the caller for as
///    long as the disk takes. They may show a transaction that is not yet acknowledged.
/// 4. [`Store::close`] waits for what is queued. Without it the last clone's drop does the same, and waits too.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    live: Arc<Live>,
    progress: Arc<Progress>,
    quota_bytes: u64,
    queue: Mutex<Option<SyncSender<Message>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<Lock>>,
    /// Set at opening, in a sealed store.
    sealer: OnceLock<RecordSealer>,
}

impl Store {
    /// Opens or creates the store in `dir`, which nothing else may use meanwhile. Blocks: it reads the index, and the log
    /// from the last checkpoint on, at most some 64 MiB; all of the store only where something is damaged.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::DiskFull`], [`StoreError::NewerSchema`], and what the file system refuses.
    /// Damage is no error: it is repaired or set aside, and the report says so.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<(Self, RecoveryReport), StoreError> {
        Self::open_with(dir, options, Arc::new(std::fs::File::sync_data))
    }

    /// [`Store::open`] with another way to make a file durable, for tests that count or fail it.
    ///
    /// # Errors
    /// As [`Store::open`].
    #[doc(hidden)]
    pub fn open_with(
        dir: &Path,
        options: StoreOptions,
        sync: SyncFn,
    ) -> Result<(Self, RecoveryReport), StoreError> {
        let (store, report) = Self::open_engine(dir, options, sync)?;
        if store.raw_records(Table::Vault, None, 1)?.is_empty() {
            return Ok((store, report));
        }
        Err(StoreError::Sealed { dir: dir.to_path_buf() })
    }

    fn open_engine(
        dir: &Path,
        options: StoreOptions,
        sync: SyncFn,
    ) -> Result<(Self, RecoveryReport), StoreError> {
        let limits = options.limits();
        let Opened { live, appender, counters, mark, lock, report } = opening::open(dir, limits, &sync)?;
        let (live, bell) = (Arc::new(live), Arc::new(Bell::default()));
        let (sender, queue) = sync_channel(QUEUE_TRANSACTIONS_MAX);
        let keeper = Keeper {
            live: Arc::clone(&live),
            bell: Arc::clone(&bell),
            queue: sender.clone(),
            recent_bytes: limits.recent_bytes,
            cache_bytes: limits.cache_bytes,
            disk_bytes_max: options.disk_bytes_max,
        };
        let unstarted = |error| StoreError::file("start a thread for", dir, error);
        // What the last use left to be done.
        bell.ring();
        let keeper = thread::Builder::new().name("store-keeper".into()).spawn(move || keeper.run());
        let keeper = keeper.map_err(unstarted)?;
        let progress = Arc::new(Progress::default());
        let writer = Writer {
            live: Arc::clone(&live),
            progress: Arc::clone(&progress),
            sync,
            mark,
            quota_bytes: options.quota_bytes,
            disk_bytes_max: options.disk_bytes_max,
            recent_bytes: limits.recent_bytes,
            counters,
            appender,
            bell,
            keeper: Some(keeper),
            over_disk: None,
            fatal: None,
        };
        let thread = thread::Builder::new().name("store-writer".into()).spawn(move || writer.run(queue));
        let thread = thread.map_err(unstarted)?;
        let inner = Inner {
            live,
            progress,
            quota_bytes: options.quota_bytes,
            queue: Mutex::new(Some(sender)),
            writer: Mutex::new(Some(thread)),
            lock: Mutex::new(Some(lock)),
            sealer: OnceLock::new(),
        };
        Ok((Self { inner: Arc::new(inner) }, report))
    }

    /// [`Store::open`] with all records and state values sealed under `key`. A new store is made so.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StoreError::Plain`] where there are plain records ([`Store::copy_into`] is the way), and
    /// [`StoreError::WrongKey`].
    pub fn open_sealed(
        dir: &Path,
        options: StoreOptions,
        key: StoreKey,
    ) -> Result<(Self, RecoveryReport), StoreError> {
        let (store, report) = Self::open_engine(dir, options, Arc::new(std::fs::File::sync_data))?;
        let sealer = RecordSealer::new(key);
        match store.raw_record(Table::Vault, PROOF)? {
            Some(proof) if sealer.open(PROOF, &proof).is_some() => {}
            Some(_) => return Err(StoreError::WrongKey { dir: dir.to_path_buf() }),
            None if store.has_plain()? => return Err(StoreError::Plain { dir: dir.to_path_buf() }),
            // Lost to damage, or a new store.
            None => store.prove(&sealer)?,
        }
        // Nobody else has this store yet.
        let _ = store.inner.sealer.set(sealer);
        Ok((store, report))
    }

    /// Writes the proof, unless rows under another key are there.
    fn prove(&self, sealer: &RecordSealer) -> Result<(), StoreError> {
        if let Some((row, value)) = self.raw_records(Table::Vault, None, 1)?.first()
            && sealer.open(row, value).is_none()
        {
            return Err(StoreError::WrongKey { dir: self.live().dir().to_path_buf() });
        }
        self.commit_blocking(Transaction::of_records(vec![sealer.proof()]))
    }

    /// The key of a sealed store, from which other files beside it have theirs.
    pub fn key(&self) -> Option<&StoreKey> {
        self.inner.sealer.get().map(RecordSealer::key)
    }

    pub(crate) fn sealer(&self) -> Option<&RecordSealer> {
        self.inner.sealer.get()
    }

    /// Writes keys and values as they are, for tests that damage what is there.
    ///
    /// # Errors
    /// As [`Store::open`].
    #[doc(hidden)]
    pub fn write_raw(dir: &Path, writes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        opening::write_raw(dir, StoreOptions::default().limits(), writes)
    }

    pub(crate) fn live(&self) -> &Live {
        &self.inner.live
    }

    /// Writes a transaction. It is queued in the order of calls, whether or not the future is polled, and answered in
    /// that order; the future ends with `Ok` when it is durable.
    ///
    /// # Errors
    /// With an error nothing of it is in the store, and later transactions are not concerned. There are three exceptions,
    /// all after a failing disk ([`StoreError::Engine`], [`StoreError::SyncFailed`], and a [`StoreError::DiskFull`] that
    /// came while the group was being written) that could not be read again at once: the transaction may then turn out
    /// to be there when the store has been opened again.
    pub fn commit(
        &self,
        transaction: Transaction,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static + use<> {
        let queued = self.enqueue(transaction);
        async move { queued?.await.unwrap_or(Err(StoreError::Closed)) }
    }

    /// [`Store::commit`] for callers without a runtime. Must not be called from async code.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_blocking(&self, transaction: Transaction) -> Result<(), StoreError> {
        self.enqueue(transaction)?.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }

    fn enqueue(
        &self,
        transaction: Transaction,
    ) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        let transaction = match self.sealer() {
            Some(sealer) => sealer.seal(transaction)?,
            None => transaction,
        };
        self.inner.enqueue(transaction)
    }

    /// The value of a record.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] and other failures to read, never for a record that is not there.
    pub fn record(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        limit("the key of a record", key.len(), RECORD_KEY_MAX)?;
        let Some(sealer) = self.sealer() else { return self.raw_record(table, key) };
        let row = sealer.row(table, key);
        let Some(sealed) = self.raw_record(Table::Vault, &row)? else { return Ok(None) };
        match sealer.open(&row, &sealed) {
            Some((whose, value)) if whose == key => Ok(Some(value)),
            _ => Err(self.live().unreadable("record", ReadError::Damaged)),
        }
    }

    /// [`Store::record`] for a value with keys in it: it is wiped when it is dropped.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn secret(&self, table: Table, key: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        Ok(self.record(table, key)?.map(Zeroizing::new))
    }

    /// A record as the engine keeps it.
    fn raw_record(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let key = record_key(table, key);
        self.live().read("record", |view| view.value(&key))
    }

    /// At most `limit` records of a table behind `after`, in the order of their keys; in a sealed store in the order of
    /// what is readable of them (numbers, times, kinds), and among equals in some order that stays the same.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn records(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let Some(sealer) = self.sealer() else { return self.raw_records(table, after, limit) };
        let first = sealer.row(table, after.unwrap_or_default());
        let rows = self.raw_records(Table::Vault, Some(&first), limit)?;
        let rows = rows.into_iter().take_while(|(row, _)| row.first() == Some(&table.number()));
        rows.map(|(row, sealed)| {
            sealer.open(&row, &sealed).ok_or_else(|| self.live().unreadable("record", ReadError::Damaged))
        })
        .collect()
    }

    /// [`Store::records`] for values with keys in them: they are wiped when they are dropped.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn secrets(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<SecretRecord>, StoreError> {
        let rows = self.records(table, after, limit)?;
        Ok(rows.into_iter().map(|(key, value)| (key, Zeroizing::new(value))).collect())
    }

    /// [`Store::records`] as the engine keeps them.
    pub(crate) fn raw_records(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let table = table.number();
        let start = match after {
            // The first key behind `after` is `after` and a zero.
            Some(after) => key(RECORD, &[&[table], after, &[0]]),
            None => key(RECORD, &[&[table]]),
        };
        self.live().read("record", |view| {
            let mut found = Vec::new();
            for item in view.scan(&start, key(RECORD, &[&[table + 1]]))?.take(limit) {
                let (key, stored) = item?;
                let value = view.load(&key, &stored)?;
                found.push((key.get(2..).ok_or(ReadError::Damaged)?.to_vec(), value));
            }
            Ok(found)
        })
    }

    /// Figures for people and metrics.
    ///
    /// # Errors
    /// The store or its directory cannot be read.
    pub fn stats(&self) -> Result<Stats, StoreError> {
        let counters = self.live().read("counter", Self::counters)?;
        let dir = self.live().dir();
        let progress = &self.inner.progress;
        Ok(Stats {
            usage: counters.usage,
            record_bytes: counters.record_bytes,
            live_bytes: counters.live_bytes(),
            quota_bytes: self.inner.quota_bytes,
            transactions: counters.transactions,
            groups: progress.groups.load(Ordering::Relaxed),
            syncs: progress.syncs.load(Ordering::Relaxed),
            queued: progress.queued.load(Ordering::Relaxed),
            disk_bytes: disk_bytes(dir).map_err(|error| StoreError::file("list", dir, error))?,
        })
    }

    /// Writes what is queued, notes that the store was closed properly, and lets go of the directory. Other clones answer
    /// [`StoreError::Closed`] from then on. Blocks.
    ///
    /// # Errors
    /// The last write failed; what was acknowledged is not concerned.
    pub fn close(self) -> Result<(), StoreError> {
        let (sender, answer) = sync_channel(1);
        let queue = lock(&self.inner.queue).take();
        let result = match queue {
            // The queue may be full: this waits for its turn. A writer that is gone has nothing to close.
            Some(queue) if queue.send(Message::Close(Some(sender))).is_ok() => {
                answer.recv().unwrap_or(Err(StoreError::Closed))
            }
            _ => Ok(()),
        };
        self.inner.let_go();
        result
    }
}

impl Inner {
    fn enqueue(
        &self,
        transaction: Transaction,
    ) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        let bytes = transaction.bytes();
        let (answer, receiver) = oneshot::channel();
        // Held over the send: two callers keep their order, and the limit on bytes holds.
        let queue = lock(&self.queue);
        let sender = queue.as_ref().ok_or(StoreError::Closed)?;
        let queued = self.progress.queued_bytes.load(Ordering::Relaxed);
        if queued > 0 && queued + bytes > QUEUE_BYTES_MAX {
            return Err(self.busy());
        }
        self.progress.queued.fetch_add(1, Ordering::Relaxed);
        self.progress.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        match sender.try_send(Message::Commit(Job { transaction, bytes, answer })) {
            Ok(()) => Ok(receiver),
            Err(error) => {
                self.progress.queued.fetch_sub(1, Ordering::Relaxed);
                self.progress.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
                Err(match error {
                    TrySendError::Full(_) => self.busy(),
                    TrySendError::Disconnected(_) => StoreError::Closed,
                })
            }
        }
    }

    fn busy(&self) -> StoreError {
        let transactions =
            usize::try_from(self.progress.queued.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        StoreError::Busy { transactions, bytes: self.progress.queued_bytes.load(Ordering::Relaxed) }
    }

    /// Has the writer end, waits for it, then gives the directory free.
    fn let_go(&self) {
        if let Some(queue) = lock(&self.queue).take() {
            // A writer that is gone has ended already.
            let _ = queue.send(Message::Close(None));
        }
        if let Some(writer) = lock(&self.writer).take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
        lock(&self.lock).take();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// What these mutexes hold is whole at any time: a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
