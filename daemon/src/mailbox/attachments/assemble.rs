//! The worker that ends attachments: complete when enough parts are there, damaged when they cannot be, expired when
//! none can come any more. It is the only one that drops parts.

use std::sync::Arc;
use std::time::Duration;

use pigeon_bundle::IdentityKey;
use pigeon_bundle::attachment::{Assembly, AttachmentError, Manifest};
use pigeon_core::Event as CoreEvent;
use pigeon_proto::ReceiptKind;
use pigeon_proto::api::Event;
use pigeon_store::{RecordOp, Store, StoreError, Transaction};
use tokio_util::sync::CancellationToken;

use super::super::open::Drafted;
use super::super::{INBOX, Mailbox, MailboxError};
use super::limits::{DROPPED_AT_ONCE, REVEALS_AT_ONCE};
use super::records::{Arriving, Ending, Key, all_arriving, all_waiting, expired_sent, forget_waiting};
use crate::events::event;

/// How often expiry is looked at, and what failed is tried again.
const LOOK: Duration = Duration::from_secs(60);
/// Clocks of carriers differ by up to a day.
const SKEW_S: u64 = 86_400;

/// What came of putting parts together.
enum Assembled {
    /// These are the whole content.
    Content(Vec<u8>),
    /// The content is not what its manifest names.
    Damaged,
    /// These parts were wrong or were not there; without them there are too few.
    Wrong(Vec<usize>),
}

/// Puts attachments together and drops those that expired, until `cancel`. First it goes on where the last run of the
/// daemon ended.
pub async fn run_assembler(mailbox: Arc<Mailbox>, cancel: CancellationToken) {
    if let Err(error) = mailbox.take_back_unfinished().await {
        tracing::error!(%error, "parts of attachments whose sending was interrupted stay until they expire");
    }
    if let Err(error) = mailbox.sweep_files().await {
        tracing::warn!(%error, "files of deleted messages may be left");
    }
    loop {
        if let Err(error) = mailbox.end_attachments().await {
            if matches!(error, MailboxError::Stopping) {
                return;
            }
            tracing::error!(%error, "attachments cannot be put together now; trying again in a minute");
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = mailbox.desk.news.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

impl Mailbox {
    /// Removes files whose message is gone: a crash came between the end of a message and that of its file.
    async fn sweep_files(&self) -> Result<(), MailboxError> {
        let (files, store) = (self.files(), self.store.clone());
        let work = tokio::task::spawn_blocking(move || -> Result<_, MailboxError> {
            let failed = |source| MailboxError::AttachmentFile { path: files.folder().to_owned(), source };
            let mut removed = 0_usize;
            for owner in files.owners().map_err(failed)? {
                let key = Key { author: owner.author, id: owner.id };
                let is_wanted =
                    INBOX.has(&store, &owner.id, &owner.author)? || key.arriving(&store)?.is_some();
                if !is_wanted {
                    files.remove(&owner).map_err(failed)?;
                    removed += 1;
                }
            }
            Ok(removed)
        });
        let removed = work.await.map_err(|_| MailboxError::Stopping)??;
        if removed > 0 {
            tracing::info!(removed, "files whose message is gone were removed");
        }
        Ok(())
    }

    /// One round over all attachments on their way.
    async fn end_attachments(self: &Arc<Self>) -> Result<(), MailboxError> {
        let (mut ended, mut failed) = (0, None);
        for (key, arriving) in all_arriving(&self.store)? {
            // One that cannot be written must not keep the others from their end.
            match self.end_one(key, &arriving).await {
                Ok(true) => ended += 1,
                Ok(false) => {}
                Err(MailboxError::Stopping) => return Err(MailboxError::Stopping),
                Err(error) => failed = Some(error),
            }
        }
        self.forget_sent_bundles().await?;
        self.open_waiting(ended > 0).await?;
        failed.map_or(Ok(()), Err)
    }

    /// Ends an attachment if it can be ended now. True where it has.
    async fn end_one(self: &Arc<Self>, key: Key, arriving: &Arriving) -> Result<bool, MailboxError> {
        if arriving.is_ready() {
            self.assemble(key, arriving).await?;
        } else if arriving.is_open() && self.is_past(arriving.expires_s) {
            self.give_up(key, Ending::Expired).await?;
        }
        // As it is now: both may have ended it.
        match key.arriving(&self.store)? {
            Some(arriving) if !arriving.is_open() => self.drop_parts(key, &arriving).await.map(|()| true),
            _ => Ok(false),
        }
    }

    fn is_past(&self, expires_s: u64) -> bool {
        self.clock.trusted_wall_s().is_some_and(|now_s| now_s > expires_s.saturating_add(SKEW_S))
    }

    async fn assemble(self: &Arc<Self>, key: Key, arriving: &Arriving) -> Result<(), MailboxError> {
        let (store, parts) = (self.store.clone(), arriving.parts().collect::<Vec<_>>());
        let (files, owner) = (self.files(), key.owner());
        let work = tokio::task::spawn_blocking(move || -> Result<_, MailboxError> {
            let assembled = put_together(&store, &key, &parts)?;
            if let Assembled::Content(content) = &assembled {
                let failed = |source| MailboxError::AttachmentFile { path: files.path(&owner), source };
                files.write(&owner, content).map_err(failed)?;
            }
            Ok(assembled)
        });
        match work.await.map_err(|_| MailboxError::Stopping)?? {
            Assembled::Content(_) => self.complete(key).await,
            Assembled::Damaged => self.give_up(key, Ending::Damaged).await,
            Assembled::Wrong(parts) => self.drop_wrong(key, &parts).await,
        }
    }

    /// The file is durable: so becomes that it is complete, with the one receipt for all of it.
    async fn complete(&self, key: Key) -> Result<(), MailboxError> {
        let mut draft = Drafted::default();
        let (contact, keeping) = (self.author_name(&key.author), self.keeping.lock().await);
        draft.transaction.records = self.ending(key, Ending::Complete)?;
        let written = {
            // Queued under the lock: the receipt uses up one-time keys, and no older record may come after.
            let mut state = self.state();
            self.owe_receipt(&mut state, &key.author, key.id, ReceiptKind::Delivered, &mut draft);
            self.store.commit(draft.transaction)
        };
        if let Err(error) = written.await {
            self.take_keys_back(&draft.given);
            return Err(error.into());
        }
        drop(keeping);
        self.events.push(Event { message_id: key.id.to_string(), contact, ..event("attachment_complete") });
        for event in draft.core {
            self.tell(event).await?;
        }
        Ok(())
    }

    async fn give_up(&self, key: Key, ending: Ending) -> Result<(), MailboxError> {
        let (contact, keeping) = (self.author_name(&key.author), self.keeping.lock().await);
        let records = self.ending(key, ending)?;
        self.store.commit(Transaction::of_records(records)).await?;
        drop(keeping);
        let detail = if ending == Ending::Damaged { "damaged" } else { "expired" };
        self.events.push(Event {
            message_id: key.id.to_string(),
            detail: detail.to_owned(),
            contact,
            ..event("attachment_failed")
        });
        Ok(())
    }

    /// The records that say how it ended, under the `keeping` lock.
    pub(super) fn ending(&self, key: Key, ending: Ending) -> Result<Vec<RecordOp>, MailboxError> {
        let mut arriving = key.arriving(&self.store)?.unwrap_or_default();
        arriving.ending = ending.into();
        arriving.reserved = 0;
        let mut records = vec![key.put_arriving(&arriving)];
        // Parts without a message leave no trace once none of them can come any more.
        if ending != Ending::Expired || INBOX.has(&self.store, &key.id, &key.author)? {
            records.push(key.put_finished(ending));
        }
        Ok(records)
    }

    async fn drop_wrong(&self, key: Key, wrong: &[usize]) -> Result<(), MailboxError> {
        tracing::warn!(
            parts = wrong.len(),
            "parts of an attachment are not those of its manifest, and are dropped"
        );
        for some in wrong.chunks(DROPPED_AT_ONCE) {
            let _keeping = self.keeping.lock().await;
            let mut arriving = key.arriving(&self.store)?.unwrap_or_default();
            some.iter().for_each(|index| arriving.set(*index, false));
            let mut records: Vec<_> = some.iter().map(|index| key.drop_part(*index)).collect();
            records.push(key.put_arriving(&arriving));
            self.store.commit(Transaction::of_records(records)).await?;
        }
        Ok(())
    }

    async fn drop_parts(&self, key: Key, arriving: &Arriving) -> Result<(), MailboxError> {
        // Nobody else writes to an attachment that has ended.
        let parts: Vec<usize> = arriving.parts().collect();
        for some in parts.chunks(DROPPED_AT_ONCE) {
            let records = some.iter().map(|index| key.drop_part(*index)).collect();
            self.store.commit(Transaction::of_records(records)).await?;
        }
        Ok(self.store.commit(Transaction::of_records(key.forget().into())).await?)
    }

    /// There may be room again: what waits for it is opened. Where nothing is known to have changed, one that has to
    /// wait on stands for all.
    async fn open_waiting(&self, changed: bool) -> Result<(), MailboxError> {
        for bundle in all_waiting(&self.store)? {
            if !self.open_held(&bundle).await? {
                self.store.commit(Transaction::of_records(vec![forget_waiting(&bundle)])).await?;
            } else if !changed {
                break;
            }
        }
        Ok(())
    }

    /// Forgets the bundles of attachments sent once none of them can be alive.
    async fn forget_sent_bundles(&self) -> Result<(), MailboxError> {
        let Some(now_s) = self.clock.trusted_wall_s() else { return Ok(()) };
        let mut after = None;
        loop {
            let (gone, next) = expired_sent(&self.store, after.as_deref(), now_s.saturating_sub(SKEW_S))?;
            if !gone.is_empty() {
                self.store.commit(Transaction::of_records(gone)).await?;
            }
            let Some(next) = next else { return Ok(()) };
            after = Some(next);
        }
    }

    /// Lets the core take back bundles, in words it can take.
    pub(super) async fn cancel_all(&self, reveals: &[pigeon_bundle::Reveal]) -> Result<(), MailboxError> {
        for some in reveals.chunks(REVEALS_AT_ONCE) {
            self.tell(CoreEvent::Cancelled { reveals: some.to_vec() }).await?;
        }
        Ok(())
    }

    fn author_name(&self, author: &IdentityKey) -> String {
        self.state().contacts.name(author)
    }
}

/// Reads the parts that are kept and makes the content of them. Blocks. Holds the content, and while parts are missing
/// about twice more.
fn put_together(store: &Store, key: &Key, parts: &[usize]) -> Result<Assembled, StoreError> {
    let Some(manifest) = key.manifest(store)? else { return Ok(Assembled::Damaged) };
    let Some(mut assembly) = Assembly::new(&manifest) else { return whole(store, key, &manifest) };
    let mut wrong = Vec::new();
    for &index in parts {
        let right = key.read_part(store, index)?.is_some_and(|part| assembly.add(index, &part).is_ok());
        if !right {
            wrong.push(index);
        }
        if assembly.is_ready() {
            break;
        }
    }
    if !assembly.is_ready() {
        return Ok(Assembled::Wrong(wrong));
    }
    match assembly.finish() {
        Ok(content) => Ok(Assembled::Content(content)),
        Err(error @ (AttachmentError::Content | AttachmentError::Code(_))) => {
            tracing::warn!(%error, "an attachment cannot be put together");
            Ok(Assembled::Damaged)
        }
        Err(AttachmentError::TooFew { .. } | AttachmentError::Manifest(_)) => Ok(Assembled::Wrong(wrong)),
    }
}

fn whole(store: &Store, key: &Key, manifest: &Manifest) -> Result<Assembled, StoreError> {
    let content = key.read_part(store, 0)?;
    Ok(match content.filter(|content| manifest.is_content(content)) {
        Some(content) => Assembled::Content(content),
        None => Assembled::Damaged,
    })
}
