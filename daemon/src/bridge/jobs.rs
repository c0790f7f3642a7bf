//! What the reader of the server's stream leaves to the worker, in order and bounded by number and bytes.
//!
//! The reader never waits: the server's answers to our own pings come through the same stream, so a reader that waits
//! for the worker, while the worker waits for such an answer, would wait for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pigeon_xmpp::IqToken;
use tokio::sync::mpsc;

use super::flights::Returned;
use super::record::LedgerKey;

/// Most jobs that wait.
pub const JOBS_MAX: usize = 16_384;
/// Most bytes of bundles that wait.
pub const JOB_BYTES_MAX: usize = 64 << 20;

/// Something to do.
#[derive(Debug)]
pub enum Job {
    /// A carrier's upload.
    Upload {
        /// The carrier's full JID.
        from: String,
        /// Not parsed.
        bytes: Vec<u8>,
    },
    /// A session registers its key.
    Register {
        /// The session's full JID, as its server stamped it.
        from: String,
        /// A `SignedCard`, not checked.
        card: Vec<u8>,
        /// The registered key's signature, not checked.
        handover: Option<Vec<u8>>,
        /// To be answered.
        iq: IqToken,
    },
    /// A session takes its account's key back.
    Revoke {
        /// The session's full JID, as its server stamped it.
        from: String,
        /// To be answered.
        iq: IqToken,
    },
    /// A session says what has arrived.
    Reveal {
        /// The session's full JID, as its server stamped it.
        from: String,
        /// Each r.
        reveals: Vec<[u8; 32]>,
        /// To be answered.
        iq: IqToken,
    },
    /// A carrier hands in a token of delegated pick-up.
    PickUp {
        /// The carrier's full JID, as its server stamped it.
        from: String,
        /// Not checked.
        request: Vec<u8>,
        /// To be answered.
        iq: IqToken,
    },
    /// A message that has its verdict already came back.
    Returned {
        /// Which.
        key: LedgerKey,
        /// Why.
        what: Returned,
    },
    /// Send again what is in doubt.
    Recover,
    /// Forget what is over.
    Prune,
    /// Let go of shards without work.
    Yield,
    /// Look after the accounts that have registered keys.
    Sweep,
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Upload { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }
}

/// The reader's end.
#[derive(Debug)]
pub struct JobSender {
    jobs: mpsc::Sender<Job>,
    bytes: Arc<AtomicUsize>,
}

/// The worker's end.
#[derive(Debug)]
pub struct JobReceiver {
    jobs: mpsc::Receiver<Job>,
    bytes: Arc<AtomicUsize>,
}

/// A queue.
#[must_use]
pub fn queue() -> (JobSender, JobReceiver) {
    let (sender, receiver) = mpsc::channel(JOBS_MAX);
    let bytes = Arc::new(AtomicUsize::new(0));
    (JobSender { jobs: sender, bytes: Arc::clone(&bytes) }, JobReceiver { jobs: receiver, bytes })
}

impl JobSender {
    /// Adds a job, or gives it back when there is no room.
    ///
    /// # Errors
    /// The job itself.
    pub fn push(&self, job: Job) -> Result<(), Job> {
        let bytes = job.bytes();
        // Only this side adds, so what is read here can only shrink meanwhile.
        if self.bytes.load(Ordering::Acquire) + bytes > JOB_BYTES_MAX {
            return Err(job);
        }
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.jobs.try_send(job).map_err(|error| {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
            error.into_inner()
        })
    }
}

impl JobReceiver {
    /// Waits for at least one job and takes at most `limit`. Empty when the reader has ended.
    pub async fn take(&mut self, limit: usize) -> Vec<Job> {
        let mut jobs = Vec::new();
        self.jobs.recv_many(&mut jobs, limit).await;
        self.took(&jobs);
        jobs
    }

    /// Takes what waits, at most `limit`.
    pub fn take_waiting(&mut self, limit: usize) -> Vec<Job> {
        let jobs: Vec<Job> = std::iter::from_fn(|| self.jobs.try_recv().ok()).take(limit).collect();
        self.took(&jobs);
        jobs
    }

    fn took(&self, jobs: &[Job]) {
        let bytes = jobs.iter().map(Job::bytes).sum();
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn upload(bytes: usize) -> Job {
        Job::Upload { from: String::new(), bytes: vec![0; bytes] }
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_given_back() {
        let (sender, mut receiver) = queue();
        sender.push(upload(JOB_BYTES_MAX)).unwrap();
        assert!(sender.push(upload(1)).is_err());
        sender.push(Job::Prune).unwrap();
        assert_eq!(receiver.take(10).await.len(), 2);
        sender.push(upload(JOB_BYTES_MAX)).unwrap();
        sender.push(Job::Prune).unwrap();
        assert_eq!(receiver.take_waiting(1).len(), 1);
        sender.push(upload(1)).unwrap();
        assert_eq!(receiver.take_waiting(9).len(), 2);
        assert!(receiver.take_waiting(9).is_empty());
    }

    #[tokio::test]
    async fn numbers_are_bounded_and_the_end_is_seen() {
        let (sender, mut receiver) = queue();
        for _ in 0..JOBS_MAX {
            sender.push(Job::Prune).unwrap();
        }
        assert!(matches!(sender.push(upload(5)), Err(Job::Upload { .. })));
        drop(sender);
        assert_eq!(receiver.take(JOBS_MAX).await.len(), JOBS_MAX);
        assert!(receiver.take(1).await.is_empty());
    }
}
