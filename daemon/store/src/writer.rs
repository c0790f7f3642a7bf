//! The one thread that writes: it takes what has arrived, plans it into a group, appends that to the log, makes it durable
//! with one sync, makes it visible, then answers in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::checkpoint::checkpoint;
use crate::counters::Counters;
use crate::draft::{Draft, Drafted};
use crate::engine::{EngineError, SyncFn};
use crate::error::StoreError;
use crate::index::Index;
use crate::keeper::{Bell, wasteful};
use crate::layout::{ENTRY, TOMBSTONE};
use crate::levels::settle;
use crate::live::{Applied, Live, ReadError};
use crate::log::Appender;
use crate::log::group::GroupHead;
use crate::mark::Mark;
use crate::plan::{PlanError, derived_keys, plan};
use crate::space::{self, Room};
use crate::stored::Stored;
use crate::transaction::Transaction;

/// Most transactions that share one sync.
pub const GROUP_TRANSACTIONS_MAX: usize = 64;
/// Bytes after which a group takes no further transaction.
pub const GROUP_BYTES_MAX: u64 = 256 << 10;
/// While the index cannot be written, memory may grow to this many times its limit, by removals only.
const STUCK_TIMES: usize = 4;
/// A checkpoint ends the store's use where memory has this part of its limit.
const CLOSING_PART: usize = 16;
/// How long closing may be held up by merging what such checkpoints leave.
const CLOSING_TIME: Duration = Duration::from_secs(2);

/// What the writer is asked.
pub(crate) enum Message {
    Commit(Job),
    /// Write values again at the end of the log that are still where they are said to be.
    Move {
        moving: Vec<(Vec<u8>, Stored)>,
        answer: SyncSender<Result<(), StoreError>>,
    },
    /// Begin a segment, if the one being written is not behind that number yet.
    Roll {
        behind: u64,
        answer: SyncSender<Result<(), StoreError>>,
    },
    /// Write what is queued and end; whoever wants to know gets the result.
    Close(Option<SyncSender<Result<(), StoreError>>>),
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

pub(crate) struct Writer {
    pub(crate) live: Arc<Live>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) sync: SyncFn,
    pub(crate) mark: Mark,
    pub(crate) quota_bytes: u64,
    pub(crate) disk_bytes_max: u64,
    pub(crate) recent_bytes: usize,
    pub(crate) counters: Counters,
    pub(crate) appender: Appender,
    pub(crate) bell: Arc<Bell>,
    pub(crate) keeper: Option<JoinHandle<()>>,
    /// What is on the disk, while that is more than it may be.
    pub(crate) over_disk: Option<u64>,
    /// A sync failed: no more writes.
    pub(crate) fatal: Option<StoreError>,
}

/// What ends a group that is being gathered.
enum Next {
    Go,
    Between(Message),
}

impl Writer {
    /// Works until it is told to close.
    pub(crate) fn run(mut self, queue: Receiver<Message>) {
        let mut closing = None;
        while let Ok(first) = queue.recv() {
            let (jobs, next) = gather(first, &queue);
            if !jobs.is_empty() {
                self.commit(jobs);
            }
            match next {
                Next::Go | Next::Between(Message::Commit(_)) => {}
                Next::Between(Message::Move { moving, answer }) => drop(answer.send(self.move_all(&moving))),
                Next::Between(Message::Roll { behind, answer }) => drop(answer.send(self.roll(behind))),
                Next::Between(Message::Close(answer)) => {
                    closing = answer;
                    break;
                }
            }
        }
        // The keeper may be waiting for an answer: it gets none any more.
        drop(queue);
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
        self.ring();
    }

    /// Lets the keeper know when there is something to do.
    fn ring(&self) {
        let much = self.live.beside(|parts| parts.recent.is_full(self.recent_bytes));
        if much || self.over_disk.is_some() || wasteful(&self.live, self.disk_bytes_max) {
            self.bell.ring();
        }
    }

    /// Makes sure there is room for the group: in memory, in the segment, on the disk.
    fn prepare(&mut self) -> Result<Room, StoreError> {
        if let Some(error) = &self.fatal {
            return Err(error.clone());
        }
        let mut room = Room::Enough;
        self.over_disk = Some(self.live.disk_bytes()).filter(|bytes| *bytes > self.disk_bytes_max);
        let (recent, merging) = self.live.beside(|parts| (parts.recent.bytes(), parts.merging.is_some()));
        if recent >= self.recent_bytes && merging && self.bell.wait_for_round().is_err() {
            let much = recent >= self.recent_bytes * STUCK_TIMES;
            room = if much { Room::None } else { Room::RemovalsOnly };
        }
        if self.appender.is_full() {
            // On a full disk the segment at hand goes on.
            if let Err(error) = self.begin_segment() {
                tracing::debug!(%error, "no new segment yet");
            }
        }
        let taken = space::take(self.appender.file(), space::LOG);
        let taken =
            taken.map_err(|error| self.live.failed("take room on the disk", &EngineError::Io(error)))?;
        Ok(room.min(taken))
    }

    fn begin_segment(&mut self) -> Result<(), StoreError> {
        let next = Appender::begin(&self.live.log);
        let next = next.map_err(|error| self.live.failed("begin a segment", &EngineError::Io(error)))?;
        // Gives back the room taken beyond its end.
        if let Err(error) = self.appender.file().set_len(self.appender.position().offset) {
            tracing::debug!(%error, "giving back the room of a finished segment");
        }
        self.appender = next;
        Ok(())
    }

    fn roll(&mut self, behind: u64) -> Result<(), StoreError> {
        if self.appender.position().segment > behind {
            return Ok(());
        }
        self.begin_segment()?;
        // Something must be in it, for a checkpoint to lie in it.
        self.append_and_apply(Drafted::default_at(self.counters))
    }

    fn write(&mut self, jobs: &[Job], room: Room) -> Vec<Result<(), StoreError>> {
        let mut answers = Vec::with_capacity(jobs.len());
        let drafted = self.live.look(|view| {
            let mut draft = Draft::new(view, self.counters);
            for job in jobs {
                let planned = self.plan(&mut draft, &job.transaction, room);
                match &planned {
                    Ok(()) => draft.keep(),
                    Err(_) => draft.discard(),
                }
                answers.push(planned);
            }
            draft.finish()
        });
        let drafted = match drafted {
            Ok(Ok(drafted)) => drafted,
            Ok(Err(error)) => return vec![Err(self.live.unreadable("record", error)); jobs.len()],
            Err(error) => return vec![Err(error); jobs.len()],
        };
        if drafted.writes.is_empty() {
            return answers;
        }
        if let Err(error) = self.append_and_apply(drafted) {
            return answers.into_iter().map(|answer| answer.and(Err(error.clone()))).collect();
        }
        self.mark.set(self.counters.transactions);
        answers
    }

    fn plan(&self, draft: &mut Draft<'_>, transaction: &Transaction, room: Room) -> Result<(), StoreError> {
        match plan(draft, transaction, self.quota_bytes) {
            Ok(()) => {}
            Err(PlanError::Refused(error)) => return Err(error),
            Err(PlanError::Read(error)) => return Err(self.live.unreadable("record", error)),
        }
        let grows = draft.counters.live_bytes() > draft.counters_before().live_bytes();
        if let Some(wanted) = self.over_disk.filter(|_| grows) {
            return Err(StoreError::QuotaExceeded { wanted, quota: self.disk_bytes_max });
        }
        if room == Room::None || (grows && room == Room::RemovalsOnly) {
            return Err(StoreError::DiskFull { dir: self.live.dir().to_path_buf() });
        }
        Ok(())
    }

    /// Appends a group, makes it durable, then visible. With an error nothing of it is there: what could not be written is
    /// cut off. Only after a failed sync may the next opening find it.
    fn append_and_apply(&mut self, drafted: Drafted) -> Result<(), StoreError> {
        let head = GroupHead { transactions: drafted.counters.transactions, closed: false };
        let stored = self.appender.append(head, &drafted.writes);
        let stored = stored.map_err(|error| self.live.failed("write", &EngineError::Io(error)))?;
        self.make_durable()?;
        let writes = drafted.writes.into_iter().zip(stored).map(|((key, _), stored)| (key, stored)).collect();
        self.counters = drafted.counters;
        self.live.apply(Applied { writes, formers: drafted.formers, end: self.appender.position() });
        Ok(())
    }

    /// The one place where data become durable.
    fn make_durable(&mut self) -> Result<(), StoreError> {
        let synced = (self.sync)(self.appender.file());
        self.progress.syncs.fetch_add(1, Ordering::Relaxed);
        synced.map_err(|error| {
            let error = StoreError::SyncFailed { path: self.appender.path(), detail: error.to_string() };
            self.fatal = Some(error.clone());
            error
        })
    }

    /// Writes values again, with the keys that follow from them, so that the log without their segment still has all.
    fn move_all(&mut self, moving: &[(Vec<u8>, Stored)]) -> Result<(), StoreError> {
        if self.prepare()? == Room::None {
            return Err(StoreError::DiskFull { dir: self.live.dir().to_path_buf() });
        }
        let drafted = self.live.read("record", |view| {
            let mut draft = Draft::new(view, self.counters);
            for (key, stored) in moving {
                if draft.move_value(key, stored)? && matches!(key.first(), Some(&(ENTRY | TOMBSTONE))) {
                    let value = draft.value(key)?.unwrap_or_default();
                    derived_keys(key, &value)
                        .ok_or(ReadError::Damaged)?
                        .into_iter()
                        .for_each(|key| draft.put_index(key));
                }
            }
            draft.keep();
            draft.finish()
        })?;
        self.append_and_apply(drafted)
    }

    /// Notes that everything is written.
    fn finish(&mut self) -> Result<(), StoreError> {
        self.bell.stop();
        if let Some(keeper) = self.keeper.take()
            && keeper.join().is_err()
        {
            tracing::error!("the store's keeper panicked");
        }
        self.checkpoint_at_end();
        let noted = if self.fatal.is_some() || self.live.damage_seen() { Ok(()) } else { self.note_closed() };
        let before = self.live.change(|parts| std::mem::replace(&mut parts.index, Err(StoreError::Closed)));
        let shut = before.map_or(Ok(()), Index::close);
        noted.and(shut.map_err(|error| self.live.failed("close", &error)))
    }

    /// Spares the next opening the reading of much of the log, and the memory for it. The keeper is gone, so runs are merged
    /// here, as far as closing is not held up.
    fn checkpoint_at_end(&self) {
        let due = self.live.beside(|parts| parts.recent.bytes() >= self.recent_bytes / CLOSING_PART);
        if !due || self.fatal.is_some() {
            return;
        }
        let until = Instant::now() + CLOSING_TIME;
        let written = checkpoint(&self.live);
        let merged = written.and_then(|()| settle(&self.live, &mut || Ok(Instant::now() < until)));
        if let Err(error) = merged {
            tracing::debug!(%error, "no checkpoint at the end");
        }
    }

    fn note_closed(&mut self) -> Result<(), StoreError> {
        let head = GroupHead { transactions: self.counters.transactions, closed: true };
        let noted = self.appender.append(head, &[]);
        noted.map_err(|error| self.live.failed("write", &EngineError::Io(error)))?;
        self.make_durable()
    }
}

/// Takes what has arrived, up to a group, and what else must be done after it.
fn gather(first: Message, queue: &Receiver<Message>) -> (Vec<Job>, Next) {
    let mut jobs: Vec<Job> = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Commit(job) => {
                bytes += job.bytes;
                jobs.push(job);
            }
            other => return (jobs, Next::Between(other)),
        }
        let full = jobs.len() >= GROUP_TRANSACTIONS_MAX || bytes >= GROUP_BYTES_MAX;
        next = if full { None } else { queue.try_recv().ok() };
    }
    (jobs, Next::Go)
}
