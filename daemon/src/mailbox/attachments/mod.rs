//! Attachments (`docs/wire-format.md` section 8): cut and sealed here, collected and put together here.
//!
//! - `send`: content into parts, each sealed and written as there is room in the store's queue; the message last.
//! - `arrive`: a manifest or a part that was opened, into records, within limits.
//! - `assemble`: the worker that makes a file of enough parts, or gives an attachment up, and drops the parts.
//! - `files`: the files, written so that a crash leaves all or nothing.
//! - `records`: what is in the store meanwhile. All state is there: a restart goes on where it was.
//! - `views`: what apps are told.
//!
//! Records of attachments that arrive are read, changed and written under the mailbox's `keeping` lock, as all others.

mod arrive;
mod assemble;
mod limits;
mod records;
mod send;
mod views;

pub use assemble::run_assembler;
pub use limits::UPLOADS_MAX;
pub use records::AttachmentInfo;
pub use send::Attached;
pub use views::{AttachmentFile, AttachmentView};

use std::sync::{Mutex, PoisonError};

use pigeon_bundle::MessageId;
use pigeon_store::{Store, StoreError};
use tokio::sync::{Notify, Semaphore};

/// What the mailbox keeps in memory about attachments.
pub(super) struct Desk {
    /// There may be an attachment to put together or to drop.
    news: Notify,
    /// Who holds a permit may have the content of an attachment in memory.
    uploads: Semaphore,
    /// Attachments are cut and sealed one at a time: that takes memory and the disk.
    cutting: Semaphore,
    /// Attachments whose sending the end of the last run interrupted, until they are taken back.
    interrupted: Mutex<Vec<MessageId>>,
}

impl Desk {
    /// A desk over what the last run left in the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn open(store: &Store) -> Result<Self, StoreError> {
        Ok(Self {
            news: Notify::new(),
            uploads: Semaphore::new(UPLOADS_MAX),
            cutting: Semaphore::new(1),
            interrupted: Mutex::new(records::all_unfinished(store)?),
        })
    }

    fn take_interrupted(&self) -> Vec<MessageId> {
        std::mem::take(&mut *self.interrupted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
