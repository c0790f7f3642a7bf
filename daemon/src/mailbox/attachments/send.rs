//! From content to durable bundles: the parts first, as the store has room in its queue, then the message, in one
//! transaction with the outbox. What a crash or an error leaves half done is taken back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pigeon_bundle::attachment::{Cut, Manifest};
use pigeon_bundle::{BundleId, CONTENT_MAX, Card, MessageId, Reveal};
use pigeon_core::{Catalog as _, Event as CoreEvent};
use pigeon_proto::api::Event;
use pigeon_proto::{Attachment, Body, Content, Part, Text};
use pigeon_store::{RecordOp, StoreError, Transaction};
use tokio::sync::SemaphorePermit;

use super::super::records::OutboxRecord;
use super::super::send::{HOUR_S, Outgoing, random};
use super::super::{Mailbox, MailboxError, OUTBOX, Sent};
use super::limits::{BUNDLE_OVERHEAD, MANIFEST_COPIES, PARTS_IN_FLIGHT};
use super::records::{
    AttachmentInfo, SentBundle, all_sent, forget_sent, forget_unfinished, put_sent, put_unfinished,
};
use crate::events::event;

/// A full queue of the store is tried again after this.
const BUSY_RETRY: Duration = Duration::from_millis(50);

/// What is to be attached to a message.
pub struct Attached {
    /// Name of the file.
    pub name: String,
    /// `type/subtype`, or empty.
    pub media_type: String,
    /// 1 byte to 16 MiB.
    pub content: Vec<u8>,
}

/// A message with an attachment that is being sent.
#[derive(Clone)]
struct Letter {
    id: MessageId,
    card: Card,
    text: Text,
    author_card: Option<Vec<u8>>,
    now_s: u64,
    lifetime_s: u64,
}

impl Letter {
    fn content(&self, manifest: Manifest, data: Option<Bytes>) -> Content {
        let body = Body::Attachment(Attachment { message: self.text.clone(), manifest, data });
        Content { author_card: self.author_card.clone(), ..Content::new(body) }
    }

    fn part(&self, index: usize, data: &[u8]) -> Content {
        let data = Bytes::copy_from_slice(data);
        Content::new(Body::Part(Part { attachment: self.id, index, data }))
    }
}

/// A bundle of an attachment, sealed, with what is written beside it.
struct SealedPart {
    index: usize,
    outgoing: Outgoing,
}

impl SealedPart {
    fn sent(&self) -> SentBundle {
        let sealed = &self.outgoing.sealed;
        SentBundle { expires_s: sealed.bundle.expires_s(), bundle: sealed.bundle.id(), reveal: sealed.reveal }
    }
}

impl Mailbox {
    /// A permit to hold the content of one attachment in memory. Waits while there are too many.
    ///
    /// # Errors
    /// The daemon is stopping.
    pub async fn upload(&self) -> Result<SemaphorePermit<'_>, MailboxError> {
        self.desk.uploads.acquire().await.map_err(|_| MailboxError::Stopping)
    }

    /// Seals `text` with an attachment to the contact `to` and keeps it. Returns when all of it is durable. A caller
    /// that goes away does not stop it.
    ///
    /// # Errors
    /// As [`Mailbox::send`]; content, name or media type that cannot be attached. Nothing is kept then.
    pub async fn send_attached(
        self: &Arc<Self>,
        to: &str,
        text: String,
        lifetime_h: u32,
        attached: Attached,
    ) -> Result<Sent, MailboxError> {
        let letter = self.letter(to, text, lifetime_h)?;
        let mailbox = self.clone();
        let sending = tokio::spawn(async move {
            let _one_at_a_time = mailbox.desk.cutting.acquire().await.map_err(|_| MailboxError::Stopping)?;
            mailbox.cut_and_send(letter, attached).await
        });
        sending.await.map_err(|_| MailboxError::Stopping)?
    }

    fn letter(&self, to: &str, text: String, lifetime_h: u32) -> Result<Letter, MailboxError> {
        let now_s = self.clock.day_s().ok_or(MailboxError::NoClock)?;
        let lifetime_h = if lifetime_h == 0 { self.config.carry.lifetime_h } else { lifetime_h };
        let state = self.state();
        let contact = state.contacts.find(to)?;
        let id = MessageId(random());
        Ok(Letter {
            id,
            card: contact.card.clone(),
            text: Text { id, thread: None, sent_ms: self.clock.display_ms(), text },
            author_card: self.card_to_enclose(&state, contact)?,
            now_s,
            lifetime_s: u64::from(lifetime_h) * HOUR_S,
        })
    }

    async fn cut_and_send(
        self: &Arc<Self>,
        letter: Letter,
        attached: Attached,
    ) -> Result<Sent, MailboxError> {
        let Attached { name, media_type, content } = attached;
        if content.len() <= CONTENT_MAX {
            let manifest = Manifest::whole(&name, &media_type, &content)?;
            let message = letter.content(manifest.clone(), Some(content.clone().into()));
            if message.encode().is_ok() {
                return self.send_message(&letter, &message, &manifest, Vec::new()).await;
            }
        }
        let cut = blocking(move || Cut::new(&name, &media_type, content)).await??;
        let message = letter.content(cut.manifest().clone(), None);
        message.encode()?;
        self.check_room(&cut)?;
        let manifest = cut.manifest().clone();
        let sent = match self.send_parts(&letter, Arc::new(cut)).await {
            Ok(parts) => self.send_message(&letter, &message, &manifest, parts).await,
            Err(error) => Err(error),
        };
        if sent.is_err() {
            self.take_back(&letter.id).await?;
        }
        sent
    }

    /// Refuses before anything is written what the store would refuse in the middle.
    fn check_room(&self, cut: &Cut) -> Result<(), MailboxError> {
        let layout = cut.layout();
        let bundles = (layout.parts() + MANIFEST_COPIES) as u64;
        let stats = self.store.stats()?;
        let wanted = stats.live_bytes + bundles * (layout.part_size() as u64 + BUNDLE_OVERHEAD);
        if wanted > stats.quota_bytes {
            return Err(StoreError::QuotaExceeded { wanted, quota: stats.quota_bytes }.into());
        }
        Ok(())
    }

    /// Seals and writes all parts, a few at a time.
    async fn send_parts(
        self: &Arc<Self>,
        letter: &Letter,
        cut: Arc<Cut>,
    ) -> Result<Vec<BundleId>, MailboxError> {
        let total = cut.layout().parts();
        let mut bundles = Vec::with_capacity(total);
        for first in (0..total).step_by(PARTS_IN_FLIGHT) {
            let range = first..total.min(first + PARTS_IN_FLIGHT);
            let (mailbox, own_letter, cut) = (self.clone(), letter.clone(), cut.clone());
            let sealed = blocking(move || mailbox.seal_parts(&own_letter, &cut, range)).await??;
            let mut transactions = Vec::with_capacity(sealed.len());
            for part in sealed {
                let sent = part.sent();
                bundles.push(sent.bundle);
                let mut records = vec![put_sent(&letter.id, part.index, &sent)];
                if part.index == 0 {
                    records.push(put_unfinished(&letter.id, sent.expires_s));
                }
                transactions.push(Transaction { ops: vec![part.outgoing.put], records });
            }
            self.commit_patiently(transactions).await?;
        }
        Ok(bundles)
    }

    fn seal_parts(
        &self,
        letter: &Letter,
        cut: &Cut,
        range: std::ops::Range<usize>,
    ) -> Result<Vec<SealedPart>, MailboxError> {
        let mut sealed = Vec::with_capacity(range.len());
        for index in range {
            let content = letter.part(index, cut.part(index).unwrap_or_default());
            // A bridge takes each for a message of its own, in which there is nothing to read.
            let outgoing = self.seal_letter(letter, &content, MessageId::NONE)?;
            sealed.push(SealedPart { index, outgoing });
        }
        Ok(sealed)
    }

    fn seal_letter(
        &self,
        letter: &Letter,
        content: &Content,
        id: MessageId,
    ) -> Result<Outgoing, MailboxError> {
        let state = self.state();
        self.seal_for(&state, &letter.card, content, id, letter.now_s, letter.lifetime_s)
    }

    /// Writes all of them; where the queue is full they wait for their turn.
    async fn commit_patiently(&self, transactions: Vec<Transaction>) -> Result<(), MailboxError> {
        let queued: Vec<_> = transactions.into_iter().map(|t| (self.store.commit(t.clone()), t)).collect();
        for (written, transaction) in queued {
            let mut result = written.await;
            while let Err(StoreError::Busy { .. }) = result {
                tokio::time::sleep(BUSY_RETRY).await;
                result = self.store.commit(transaction.clone()).await;
            }
            result?;
        }
        Ok(())
    }

    /// Seals and writes the message, which stands for the whole from then on.
    async fn send_message(
        &self,
        letter: &Letter,
        message: &Content,
        manifest: &Manifest,
        parts: Vec<BundleId>,
    ) -> Result<Sent, MailboxError> {
        let copies = if parts.is_empty() { 1 } else { MANIFEST_COPIES };
        let mut sealed = Vec::with_capacity(copies);
        for copy in 0..copies {
            let id = if copy == 0 { letter.id } else { MessageId::NONE };
            sealed.push(SealedPart {
                index: parts.len() + copy,
                outgoing: self.seal_letter(letter, message, id)?,
            });
        }
        let Some((first, others)) = sealed.split_first() else { return Err(MailboxError::Stopping) };
        let mut records: Vec<RecordOp> =
            others.iter().map(|other| put_sent(&letter.id, other.index, &other.sent())).collect();
        if !parts.is_empty() {
            records.push(forget_unfinished(&letter.id));
        }
        let first_sent = first.sent();
        let sent = Sent {
            message: letter.id,
            bundle: first_sent.bundle,
            uplink: first.outgoing.sealed.bundle.uplink().is_some(),
        };
        let record = OutboxRecord {
            message_id: letter.id.0.to_vec(),
            recipient: letter.card.identity().0.to_vec(),
            text: letter.text.text.clone(),
            sent_ms: letter.text.sent_ms,
            bundle: first_sent.bundle.0.to_vec(),
            reveal: first_sent.reveal.0.to_vec(),
            expires_s: first_sent.expires_s,
            attachment: Some(AttachmentInfo::of(manifest)),
            ..OutboxRecord::default()
        };
        let mut bundles = parts;
        bundles.extend(sealed.iter().map(|one| one.sent().bundle));
        let ops = sealed.into_iter().map(|one| one.outgoing.put).collect();
        let written = {
            let mut state = self.state();
            records.extend(OUTBOX.put(state.outbox_next, &record, letter.id, &self.identity(), sent.bundle));
            records.push(OUTBOX.put_open(record.expires_s, state.outbox_next));
            state.outbox_next += 1;
            // Queued under the lock: the order of sequence numbers is the order in the store.
            self.store.commit(Transaction { ops, records })
        };
        written.await?;
        self.events.push(Event {
            bundle_id: sent.bundle.to_string(),
            message_id: sent.message.to_string(),
            ..event("message_queued")
        });
        for bundle in bundles {
            self.tell(CoreEvent::Submitted { bundle }).await?;
        }
        Ok(sent)
    }

    /// Takes back what is durable of an attachment that will not be sent. Its records stay until its bundles are gone.
    async fn take_back(&self, id: &MessageId) -> Result<(), MailboxError> {
        let reveals = self.attachment_reveals_held(id)?;
        self.cancel_all(&reveals).await
    }

    /// Takes back attachments whose sending was interrupted by the end of the daemon's last run. Run once at start.
    pub(super) async fn take_back_unfinished(&self) -> Result<(), MailboxError> {
        for id in self.desk.take_interrupted() {
            self.take_back(&id).await?;
            let mut gone = Vec::new();
            let all = all_sent(&self.store, &id)?;
            for (index, sent) in &all {
                if self.store.entry(&sent.bundle)?.is_none() {
                    gone.push(forget_sent(&id, *index));
                }
            }
            if gone.len() == all.len() {
                gone.push(forget_unfinished(&id));
            }
            self.store.commit(Transaction::of_records(gone)).await?;
        }
        Ok(())
    }

    /// r of the other bundles of an attachment sent, for when its receipt has come.
    pub(in super::super) fn attachment_reveals(&self, id: &MessageId) -> Result<Vec<Reveal>, MailboxError> {
        Ok(all_sent(&self.store, id)?.into_iter().map(|(_, sent)| sent.reveal).collect())
    }

    /// The same, of those that are still held.
    pub(in super::super) fn attachment_reveals_held(
        &self,
        id: &MessageId,
    ) -> Result<Vec<Reveal>, MailboxError> {
        let mut held = Vec::new();
        for (_, sent) in all_sent(&self.store, id)? {
            if self.store.entry(&sent.bundle)?.is_some() {
                held.push(sent.reveal);
            }
        }
        Ok(held)
    }
}

/// Work that takes longer than the runtime's threads may be held.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, MailboxError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| MailboxError::Stopping)
}
