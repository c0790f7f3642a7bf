//! The one thread that writes: it takes what has arrived, plans it into batches, makes it durable with one sync, then
//! answers in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use sled::Batch;
use tokio::sync::oneshot;

use crate::counters::Counters;
use crate::draft::Draft;
use crate::engine::{Engine, EngineError, SyncFn, guarded};
use crate::error::StoreError;
use crate::layout::{CLEAN, COUNTERS, SLED_DIR, SLED_LOG};
use crate::live::{Live, ReadError};
use crate::mark::Mark;
use crate::plan::{PlanError, plan};
use crate::space::{self, Room};
use crate::transaction::Transaction;
use crate::value;

/// Most transactions that share one sync.
pub const GROUP_TRANSACTIONS_MAX: usize = 64;
/// Bytes after which a group takes no further transaction. sled may write some three times that.
pub const GROUP_BYTES_MAX: u64 = 256 << 10;
/// Entries of one sled batch; a single larger transaction is a batch of its own. sled's memory grows fast with it.
const BATCH_ENTRIES: usize = 64;

/// What the writer is asked.
pub(crate) enum Message {
    Commit(Job),
    Close(SyncSender<Result<(), StoreError>>),
}

/// A transaction and who waits for it.
pub(crate) struct Job {
    pub(crate) transaction: Transaction,
    pub(crate) bytes: u64,
    pub(crate) answer: oneshot::Sender<Result<(), StoreError>>,
}

/// What the writer has done, and what waits for it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) queued: AtomicU64,
    pub(crate) queued_bytes: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) syncs: AtomicU64,
}

/// What became of a transaction before the sync.
enum Planned {
    Refused(StoreError),
    /// Number of the last transaction that must be in the log for this one to be there.
    Number(u64),
}

pub(crate) struct Writer {
    pub(crate) live: Arc<Live>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) sync: SyncFn,
    pub(crate) mark: Mark,
    pub(crate) cache_bytes: u64,
    pub(crate) quota_bytes: u64,
    pub(crate) counters: Counters,
    /// sled failed and has to be opened again before the next group.
    pub(crate) down: bool,
    /// A sync failed: no more writes.
    pub(crate) fatal: Option<StoreError>,
}

impl Writer {
    /// Works until it is told to close or nobody can ask any more.
    pub(crate) fn run(mut self, queue: &Receiver<Message>) {
        let mut closing = None;
        while closing.is_none() {
            let Ok(first) = queue.recv() else { break };
            let (jobs, close) = gather(first, queue);
            closing = close;
            if !jobs.is_empty() {
                self.commit(jobs);
            }
        }
        let result = self.finish();
        if let Some(answer) = closing {
            let _ = answer.send(result);
        }
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        let answers = match self.prepare() {
            Ok(room) => self.write(&jobs, room),
            Err(error) => vec![Err(error); jobs.len()],
        };
        self.progress.groups.fetch_add(1, Ordering::Relaxed);
        for (job, answer) in jobs.into_iter().zip(answers) {
            self.progress.queued.fetch_sub(1, Ordering::Relaxed);
            self.progress.queued_bytes.fetch_sub(job.bytes, Ordering::Relaxed);
            // Whoever asked may have gone; the write stands.
            let _ = job.answer.send(answer);
        }
    }

    /// Makes sure there is a database and room for the group.
    fn prepare(&mut self) -> Result<Room, StoreError> {
        if let Some(error) = &self.fatal {
            return Err(error.clone());
        }
        if self.down {
            self.reopen()?;
        }
        self.live.with("take room on the disk", |engine| space::take(engine.log()).map_err(EngineError::Io))
    }

    fn write(&mut self, jobs: &[Job], room: Room) -> Vec<Result<(), StoreError>> {
        let before = self.counters.transactions;
        let mut planned = Vec::with_capacity(jobs.len());
        let applied = self.apply(jobs, room, &mut planned);
        let durable = applied.and_then(|()| match self.counters.transactions {
            now if now == before => Ok(()),
            _ => self.make_durable(),
        });
        match durable {
            Ok(()) => {
                self.mark.set(self.counters.transactions);
                planned.into_iter().map(Planned::done).collect()
            }
            Err(error) => {
                planned.resize_with(jobs.len(), || Planned::Number(u64::MAX));
                self.recover(&error, planned)
            }
        }
    }

    /// Plans the jobs into batches and applies them. Jobs after a failed batch are left out of `planned`.
    fn apply(&mut self, jobs: &[Job], room: Room, planned: &mut Vec<Planned>) -> Result<(), StoreError> {
        let tree = self.live.with("write", |engine| Ok(engine.tree().clone()))?;
        let mut draft = Draft::new(&tree, self.counters);
        for job in jobs {
            match self.plan(&mut draft, &job.transaction, room) {
                Ok(()) => {
                    if draft.settled_len() > 0 && draft.settled_len() + draft.current_len() > BATCH_ENTRIES {
                        self.live.apply(draft.take_batch())?;
                    }
                    draft.keep();
                    planned.push(Planned::Number(draft.counters.transactions));
                }
                Err(error) => {
                    draft.discard();
                    planned.push(Planned::Refused(error));
                }
            }
        }
        if draft.settled_len() > 0 {
            self.live.apply(draft.take_batch())?;
        }
        self.counters = draft.counters;
        Ok(())
    }

    fn plan(&self, draft: &mut Draft<'_>, transaction: &Transaction, room: Room) -> Result<(), StoreError> {
        match guarded(|| Ok(plan(draft, transaction, self.quota_bytes))) {
            Ok(Ok(())) => {}
            Ok(Err(PlanError::Refused(error))) => return Err(error),
            Ok(Err(PlanError::Read(ReadError::Damaged))) => return Err(self.live.damaged("record")),
            Ok(Err(PlanError::Read(ReadError::Sled(error)))) => {
                return Err(self.live.failed("read", &error.into()));
            }
            Err(error) => return Err(self.live.failed("read", &error)),
        }
        let grows = draft.counters.live_bytes() > draft.counters_before().live_bytes();
        if room == Room::None || (grows && room == Room::RemovalsOnly) {
            return Err(StoreError::DiskFull { dir: self.live.dir().to_path_buf() });
        }
        Ok(())
    }

    /// The one place where data become durable.
    fn make_durable(&mut self) -> Result<(), StoreError> {
        let sync = Arc::clone(&self.sync);
        let synced = self.live.with("write", |engine| {
            engine.flush()?;
            Ok(sync(engine.log()))
        })?;
        self.progress.syncs.fetch_add(1, Ordering::Relaxed);
        synced.map_err(|error| {
            let path = self.live.dir().join(SLED_DIR).join(SLED_LOG);
            let error = StoreError::SyncFailed { path, detail: error.to_string() };
            self.fatal = Some(error.clone());
            error
        })
    }

    /// After a failure: opens the log again and answers by what is in it. A transaction that is there has been synced
    /// by then and counts; of the others nothing is there. Only if the log cannot be opened now (`error` is answered to
    /// all) may a later opening show transactions of this group that were answered with an error.
    fn recover(&mut self, error: &StoreError, planned: Vec<Planned>) -> Vec<Result<(), StoreError>> {
        tracing::warn!(%error, "a write failed");
        let acknowledged = if self.fatal.is_some() {
            0
        } else {
            self.down = true;
            self.reopen().map_or(0, |()| self.counters.transactions)
        };
        let answer = |planned| match planned {
            Planned::Number(number) if number > acknowledged => Err(error.clone()),
            planned => planned.done(),
        };
        planned.into_iter().map(answer).collect()
    }

    /// Drops sled's instance, which does nothing any more after a failed write, and opens its log again.
    fn reopen(&mut self) -> Result<(), StoreError> {
        let reason = StoreError::Engine {
            action: "go on",
            dir: self.live.dir().to_path_buf(),
            detail: "it failed to write and is opened again with the next transaction".into(),
        };
        if let Err(error) = self.live.shut(reason) {
            tracing::debug!(?error, "closing the failed database");
        }
        let opened = Engine::open(&self.live.dir().join(SLED_DIR), self.cache_bytes);
        let engine = opened.map_err(|error| self.live.failed("open again", &error))?;
        let read = guarded(|| Ok(value::get(engine.tree(), &COUNTERS)?));
        let counters = read.map_err(|error| self.live.failed("open again", &error))?;
        let counters = match counters {
            Some(stored) => stored.ok().and_then(|bytes| Counters::from_bytes(&bytes)),
            None => Some(Counters::default()),
        };
        let counters = counters.ok_or_else(|| self.live.damaged("counter"))?;
        (self.sync)(engine.log()).map_err(|error| self.live.failed("open again", &EngineError::Io(error)))?;
        self.live.resume(engine);
        self.counters = counters;
        self.down = false;
        tracing::info!("the database is open again");
        Ok(())
    }

    /// Notes that everything is written, then lets go of the database.
    fn finish(&mut self) -> Result<(), StoreError> {
        let noted = if self.fatal.is_some() || self.down || self.live.damage_seen() {
            Ok(())
        } else {
            let mut batch = Batch::default();
            for (key, bytes) in value::encode(&CLEAN, &[]) {
                batch.insert(key, bytes);
            }
            self.live.apply(batch).and_then(|()| self.make_durable())
        };
        let shut = self.live.shut(StoreError::Closed);
        noted.and(shut.map_err(|error| self.live.failed("close", &error)))
    }
}

impl Planned {
    fn done(self) -> Result<(), StoreError> {
        match self {
            Self::Refused(error) => Err(error),
            Self::Number(_) => Ok(()),
        }
    }
}

/// Takes what has arrived, up to a group.
fn gather(
    first: Message,
    queue: &Receiver<Message>,
) -> (Vec<Job>, Option<SyncSender<Result<(), StoreError>>>) {
    let mut jobs: Vec<Job> = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Close(answer) => return (jobs, Some(answer)),
            Message::Commit(job) => {
                bytes += job.bytes;
                jobs.push(job);
            }
        }
        let full = jobs.len() >= GROUP_TRANSACTIONS_MAX || bytes >= GROUP_BYTES_MAX;
        next = if full { None } else { queue.try_recv().ok() };
    }
    (jobs, None)
}
