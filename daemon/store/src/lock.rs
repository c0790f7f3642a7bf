//! One store, one process: an advisory lock on a file of our own, held as long as the store is open.
//!
//! sled locks its log too, but drops that lock whenever it is opened again inside, and its message names no remedy.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::StoreError;
use crate::layout::LOCK_FILE;

/// Released when dropped, and by the kernel when the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

/// Closing is not enough: a process that this one is just starting holds the descriptor until its `exec`.
impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "unlocking the store");
        }
    }
}

impl Lock {
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = opened.map_err(|error| StoreError::file("open", &path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { dir: dir.to_path_buf() }),
            Err(TryLockError::Error(error)) => return Err(StoreError::file("lock", &path, error)),
        }
        // The pid is for people; on a full disk the lock counts without it.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { file })
    }
}
