//! One open sled database, and what sled does on errors.
//!
//! Nothing depends on sled being durable (see [`crate::index`]); what is flushed and synced here only spares work after
//! a crash. `flush` writes the log's buffer with `pwrite` and calls `sync_file_range`, which starts the device but covers
//! neither the file's length, nor newly allocated blocks, nor the device's cache: so a checkpoint ends with an
//! `fdatasync` of a descriptor of our own on `db`. sled writes a leaf of more than 131,052 bytes (a quarter of a segment)
//! to a file under `blobs/`, and a leaf has up to 16 entries, 18 within a batch: blocks are small enough to stay below.
//!
//! After a failed write every later operation fails ("global error"): the database must be dropped and opened again. A
//! waiting `flush` is not always woken then; hence [`Engine::flush_tree`] asks again from time to time, which wakes it.

use std::fs::File;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use sled::{Config, Mode, Tree};

use crate::layout::SLED_LOG;

/// Makes what was written to the log durable; `File::sync_data` outside tests.
pub type SyncFn = Arc<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

/// How long sled's previous instance in this process may hold its lock after it was dropped.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(5);
/// First wait for a flush before asking again; doubles up to [`FLUSH_WAIT_MAX`].
const FLUSH_WAIT: Duration = Duration::from_secs(2);
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(60);

/// Why sled did not do it.
#[derive(Debug)]
pub(crate) enum EngineError {
    /// The file system refused.
    Io(io::Error),
    /// sled found its files damaged, or ran into something it takes for impossible.
    Broken(String),
}

impl From<sled::Error> for EngineError {
    fn from(error: sled::Error) -> Self {
        match error {
            // Recovery of a damaged file runs into early ends and impossible values.
            sled::Error::Io(error) if is_about_content(&error) => Self::Broken(error.to_string()),
            sled::Error::Io(error) => Self::Io(error),
            other => Self::Broken(other.to_string()),
        }
    }
}

fn is_about_content(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

/// Runs sled's code, which asserts more than it returns errors.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            // sled puts whole pages into some messages.
            Err(EngineError::Broken(format!("panic: {}", text.chars().take(200).collect::<String>())))
        }
    }
}

/// An open database.
pub(crate) struct Engine {
    tree: Tree,
    log: File,
}

impl Engine {
    /// Opens or creates the database in `dir`, in a thread of its own, for sled panics on some damaged files.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, EngineError> {
        let path = dir.to_path_buf();
        let opener = thread::Builder::new().name("store-open".into());
        let opened = opener.spawn(move || guarded(|| Self::open_here(&path, cache_bytes)));
        match opened.map_err(EngineError::Io)?.join() {
            Ok(result) => result,
            Err(_) => Err(EngineError::Broken("panic while opening".into())),
        }
    }

    fn open_here(dir: &Path, cache_bytes: u64) -> Result<Self, EngineError> {
        let config = Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .mode(Mode::LowSpace)
            .flush_every_ms(None)
            .print_profile_on_drop(false);
        let until = Instant::now() + LOCK_WAIT;
        let db = loop {
            match config.open() {
                // Our own lock is held: only an instance of ours that is still being dropped can have sled's.
                Err(sled::Error::Io(error)) if is_lock(&error) && Instant::now() < until => {
                    thread::sleep(LOCK_RETRY);
                }
                opened => break opened?,
            }
        };
        // Writable, for `fallocate` wants that; nothing is ever written through it.
        let log = File::options().read(true).write(true).open(dir.join(SLED_LOG)).map_err(EngineError::Io)?;
        Ok(Self { tree: Tree::clone(&db), log })
    }

    /// The tree that holds everything.
    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Our own descriptor of the log.
    pub(crate) fn log(&self) -> &File {
        &self.log
    }

    /// Hands everything applied to the kernel. Not durable before the file has been synced.
    pub(crate) fn flush_tree(tree: &Tree) -> Result<(), EngineError> {
        guarded(|| {
            let mut flushing = pin!(tree.flush_async());
            let mut wait = FLUSH_WAIT;
            loop {
                if let Some(done) = poll_for(flushing.as_mut(), wait) {
                    return Ok(done.map(drop)?);
                }
                tracing::warn!(seconds = wait.as_secs(), "the disk has not taken a write yet");
                wait = (wait * 2).min(FLUSH_WAIT_MAX);
                // If a write has failed meanwhile, another flush notices and wakes the first one.
                let mut again = pin!(tree.flush_async());
                let _ = poll_for(again.as_mut(), Duration::ZERO);
            }
        })
    }

    /// Drops the database; sled flushes and unlocks.
    pub(crate) fn close(self) -> Result<(), EngineError> {
        guarded(|| {
            drop(self);
            Ok(())
        })
    }
}

fn is_lock(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Other && error.to_string().contains("could not acquire lock")
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits at most `time` for a future on this thread.
fn poll_for<F: Future>(mut future: std::pin::Pin<&mut F>, time: Duration) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let until = Instant::now() + time;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}
