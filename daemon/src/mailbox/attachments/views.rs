//! What local apps see of attachments.

use pigeon_bundle::{IdentityKey, MessageId};
use pigeon_core::Catalog as _;
use pigeon_store::RecordOp;

use super::super::records::{InboxRecord, OutboxRecord};
use super::super::{INBOX, Mailbox, MailboxError};
use super::records::{AttachmentInfo, Ending, Key, all_sent};
use crate::folder::files::{Files, Owner};

/// An attachment with what is known of it.
pub struct AttachmentView {
    /// What it is.
    pub info: AttachmentInfo,
    /// "arriving", "complete", "damaged" or "expired"; empty for one that was sent.
    pub state: &'static str,
    /// Received: parts that are here. Sent: parts that somebody else holds too.
    pub parts: u32,
}

/// A complete attachment, for reading.
pub struct AttachmentFile {
    /// What it is.
    pub view: AttachmentView,
    /// Where it is.
    pub files: Files,
    /// Whose it is.
    pub owner: Owner,
}

impl Mailbox {
    /// The attachment of a message received, `None` where it has none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in super::super) fn attachment_received(
        &self,
        record: &InboxRecord,
    ) -> Result<Option<AttachmentView>, MailboxError> {
        let (Some(info), Some(key)) = (record.attachment.clone(), key_of(record)) else { return Ok(None) };
        let ending = key.finished(&self.store)?.unwrap_or(Ending::Open);
        let (state, parts) = match ending {
            Ending::Open => ("arriving", key.arriving(&self.store)?.map_or(0, |arriving| arriving.count())),
            Ending::Complete => ("complete", info.needed),
            Ending::Damaged => ("damaged", 0),
            Ending::Expired => ("expired", 0),
        };
        Ok(Some(AttachmentView { info, state, parts }))
    }

    /// The attachment of a message sent, `None` where it has none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in super::super) fn attachment_sent(
        &self,
        record: &OutboxRecord,
    ) -> Result<Option<AttachmentView>, MailboxError> {
        let (Some(info), Ok(id)) = (record.attachment.clone(), record.message_id.as_slice().try_into())
        else {
            return Ok(None);
        };
        let mut parts = 0;
        for (index, sent) in all_sent(&self.store, &MessageId(id))? {
            let part = u32::try_from(index).is_ok_and(|index| index < info.total);
            let elsewhere = match self.store.entry(&sent.bundle)? {
                Some(entry) => entry.at_bridge || !self.store.takers(&sent.bundle)?.is_empty(),
                None => record.delivered_ms > 0,
            };
            parts += u32::from(part && elsewhere);
        }
        Ok(Some(AttachmentView { info, state: "", parts }))
    }

    /// The file of a message's attachment.
    ///
    /// # Errors
    /// No such message, a message without attachment, or one that is not complete.
    pub fn attachment(&self, id: &str) -> Result<AttachmentFile, MailboxError> {
        let unknown = || MailboxError::UnknownMessage { id: id.to_owned() };
        let message: MessageId = id.parse().map_err(|_| unknown())?;
        let (_, record) = INBOX.by_message::<InboxRecord>(&self.store, &message)?.ok_or_else(unknown)?;
        let none = || MailboxError::NoAttachment { id: id.to_owned() };
        let view = self.attachment_received(&record)?.ok_or_else(none)?;
        let key = key_of(&record).ok_or_else(none)?;
        if view.state != "complete" {
            let AttachmentView { info, state, parts } = view;
            return Err(MailboxError::AttachmentIncomplete { state, parts, needed: info.needed });
        }
        Ok(AttachmentFile { view, files: self.files(), owner: key.owner() })
    }

    /// What ends an attachment on its way whose message is deleted; its parts are dropped by the worker.
    pub(in super::super) fn without_attachment(
        &self,
        record: &InboxRecord,
    ) -> Result<Vec<RecordOp>, MailboxError> {
        let Some(key) = record.attachment.as_ref().and_then(|_| key_of(record)) else {
            return Ok(Vec::new());
        };
        match key.arriving(&self.store)? {
            Some(arriving) if arriving.is_open() => self.ending(key, Ending::Expired),
            _ => Ok(Vec::new()),
        }
    }

    /// Removes the file of a message that was deleted. What cannot be removed is logged: the message is gone.
    pub(in super::super) fn remove_file(&self, record: &InboxRecord) {
        let Some(key) = record.attachment.as_ref().and_then(|_| key_of(record)) else { return };
        if let Err(error) = self.files().remove(&key.owner()) {
            tracing::warn!(%error, "the file of a deleted message cannot be removed");
        }
        self.attachments_changed();
    }

    /// Where attachments that arrived are kept.
    pub(super) fn files(&self) -> Files {
        Files::new(&self.config.data_dir, self.store.key())
    }
}

fn key_of(record: &InboxRecord) -> Option<Key> {
    let author = IdentityKey::try_from(record.author.as_slice()).ok()?;
    Some(Key { author, id: MessageId(record.message_id.as_slice().try_into().ok()?) })
}
