//! Everything that can go wrong with the store, each with its place and its remedy.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use pigeon_core::{CatalogError, CommitFailure};

/// Why the store did not do what it was asked.
///
/// `Clone`, because one failed flush answers every transaction of its group.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process, or another [`crate::Store`] in this one, has the directory.
    #[error("{} is in use by another pigeon process: stop that one first (see its pid in {}), or give this one a directory of its own", .dir.display(), .dir.join(crate::layout::LOCK_FILE).display())]
    InUse {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The file system refused something outside the database file.
    #[error("cannot {action} {}: {source}; check that it exists, is writable by this user and on a healthy disk", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// No room on the disk. Nothing of the transaction is kept; it works again once there is space.
    #[error("the disk that holds {} is full: free some space there, nothing needs to be restarted", .dir.display())]
    DiskFull {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The file system is read-only. Nothing of the transaction is kept; it works again once it is writable.
    #[error("the file system that holds {} is read-only: see why in the system's log and mount it writable, nothing needs to be restarted", .dir.display())]
    ReadOnly {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The transaction would grow the store over its quota. Nothing of it is kept.
    #[error(
        "the store would hold {wanted} bytes and its quota is {quota}: remove something, or raise the quota"
    )]
    QuotaExceeded {
        /// Live bytes after the transaction.
        wanted: u64,
        /// The limit.
        quota: u64,
    },
    /// A key or value over its limit. Nothing of the transaction is kept.
    #[error("{what} has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Which kind of key or value.
        what: &'static str,
        /// Its length in bytes.
        size: usize,
        /// The most it may have.
        limit: usize,
    },
    /// More is queued than the writer may hold. Nothing of the transaction is kept; try again.
    #[error("{transactions} transactions with {bytes} bytes are waiting for the disk: try again in a moment")]
    Busy {
        /// Transactions waiting.
        transactions: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
    /// sled reported an error or panicked.
    #[error("the database in {} failed to {action}: {detail}; if it happens again, check the disk and restart: the store repairs itself when it opens", .dir.display())]
    Engine {
        /// What was tried.
        action: &'static str,
        /// The store's directory.
        dir: PathBuf,
        /// What sled said.
        detail: String,
    },
    /// `fdatasync` failed. What the kernel then still has in memory is not to be trusted, so the store takes no
    /// more writes until it has been opened anew.
    #[error("writing {} to the disk failed: {detail}; check the disk and restart, nothing that was acknowledged is concerned", .path.display())]
    SyncFailed {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// A record does not have the checksum or the form it was written with.
    #[error("a damaged {what} was found in {}: restart, the store then repairs what it can and says so", .dir.display())]
    Damaged {
        /// Which kind of record.
        what: &'static str,
        /// The store's directory.
        dir: PathBuf,
    },
    /// Records are sealed, and no key was given.
    #[error("{} is encrypted: give the key it was made with ([encryption] in the config)", .dir.display())]
    Sealed {
        /// The store's directory.
        dir: PathBuf,
    },
    /// Records are plain, and a key was given.
    #[error("{} is not encrypted: `pigeon store rekey` encrypts it", .dir.display())]
    Plain {
        /// The store's directory.
        dir: PathBuf,
    },
    /// Records are sealed under another key.
    #[error("{} is encrypted under another key: put back the file keys/vault that belongs to it", .dir.display())]
    WrongKey {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The directory was written by a newer program.
    #[error("{} has schema {found}, this program knows up to {supported}: run the newer program, or use another directory", .dir.display())]
    NewerSchema {
        /// Schema on disk.
        found: u32,
        /// Newest schema known here.
        supported: u32,
        /// The store's directory.
        dir: PathBuf,
    },
}

impl StoreError {
    /// The disk or the quota is full: making room helps.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::QuotaExceeded { .. })
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { action, path: path.into(), source: Arc::new(source) }
    }

    /// The same as an error of the [`pigeon_core::Catalog`].
    pub(crate) fn reading(self, what: &'static str) -> CatalogError {
        CatalogError::new(what, self)
    }
}

impl From<StoreError> for CommitFailure {
    fn from(error: StoreError) -> Self {
        if error.is_full() { Self::Full } else { Self::Storage(error.to_string()) }
    }
}

/// Errors that mounting the file system writable cures.
pub(crate) fn is_read_only(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ReadOnlyFilesystem
}

/// Errors that making room on the disk cures.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
