//! What was opened and belongs to an attachment: manifests and parts become records, within limits.

use pigeon_bundle::attachment::{ATTACHMENT_SIZE_MAX, PART_SIZE_MAX};
use pigeon_bundle::{Bundle, Opened};
use pigeon_core::{Catalog as _, Entry, OpenOutcome, StoreOp};
use pigeon_proto::api::Event;
use pigeon_proto::{Attachment, Body, Content, Part};
use pigeon_store::{StoreError, Transaction};

use super::super::open::{Arrival, Change, Drafted};
use super::super::{INBOX, Mailbox, MailboxError, State};
use super::limits::{
    ARRIVING_BYTES_MAX, ARRIVING_BYTES_PER_AUTHOR_MAX, ARRIVING_MAX, ARRIVING_PER_AUTHOR_MAX,
    ARRIVING_QUOTA_SHARE, WAITING_MAX,
};
use super::records::{Arriving, AttachmentInfo, Key, all_arriving, all_waiting, put_waiting};
use crate::events::event;

/// What is reserved for an attachment whose manifest is not known yet: it may be one of the largest.
const UNKNOWN_RESERVED: u64 = (ATTACHMENT_SIZE_MAX + PART_SIZE_MAX) as u64;

/// Why there is no room for a new attachment, in words for the event log.
type Full = &'static str;

impl Mailbox {
    /// Keeps what begins a new attachment sealed where there is no room for it, to open it again when there is. What
    /// came over a link is in the store already; what came from the account is put there, since the server forgets it.
    /// `None` where the content may be accepted.
    pub(in super::super) fn park_without_room(
        &self,
        bundle: &Bundle,
        opened: &Opened,
        content: &Content,
        arrival: Arrival,
    ) -> Result<Option<Change>, MailboxError> {
        let (id, reserve) = match &content.body {
            Body::Part(part) => (part.attachment, UNKNOWN_RESERVED),
            Body::Attachment(attachment) => (attachment.message.id, reserve(attachment)),
            _ => return Ok(None),
        };
        let key = Key { author: opened.author, id };
        if key.finished(&self.store)?.is_some() || key.arriving(&self.store)?.is_some() {
            return Ok(None);
        }
        let Some(full) = self.full(&key, reserve)? else { return Ok(None) };
        tracing::warn!(bundle = %bundle.id(), full, "there is no room for another attachment now");
        let mut drafted = Drafted::default();
        let waiting = all_waiting(&self.store)?;
        if waiting.contains(&bundle.id()) {
            drafted.parked = true;
        } else {
            let detail = full.to_owned();
            let bundle_id = bundle.id().to_string();
            drafted.events.push(Event { bundle_id, detail, ..event("message_refused") });
            if waiting.len() < WAITING_MAX {
                drafted.parked = true;
                drafted.transaction = self.parking(bundle, arrival)?;
            }
        }
        Ok(Some(self.change(drafted, OpenOutcome::Refused)))
    }

    fn parking(&self, bundle: &Bundle, arrival: Arrival) -> Result<Transaction, MailboxError> {
        let records = vec![put_waiting(&bundle.id(), bundle.expires_s())];
        let mut ops = Vec::new();
        if matches!(arrival, Arrival::Xmpp) && self.store.entry(&bundle.id())?.is_none() {
            let entry = Entry::from_bridge(self.clock.trusted_wall_s());
            ops.push(StoreOp::Put { bundle: bundle.clone(), entry });
        }
        Ok(Transaction { ops, records })
    }

    fn full(&self, key: &Key, reserve: u64) -> Result<Option<Full>, MailboxError> {
        let all = all_arriving(&self.store)?;
        let quota = self.config.store.quota_bytes;
        let bytes = |of: &[&(Key, Arriving)]| of.iter().map(|(_, a)| a.reserved).sum::<u64>() + reserve;
        let together: Vec<_> = all.iter().collect();
        let author: Vec<_> = all.iter().filter(|(other, _)| other.author == key.author).collect();
        if author.len() >= ARRIVING_PER_AUTHOR_MAX || bytes(&author) > ARRIVING_BYTES_PER_AUTHOR_MAX {
            return Ok(Some("too many attachments of this author are on their way"));
        }
        let limit = ARRIVING_BYTES_MAX.min(quota / ARRIVING_QUOTA_SHARE);
        if all.len() >= ARRIVING_MAX || bytes(&together) > limit {
            return Ok(Some("too many attachments are on their way"));
        }
        // The files are no part of the store, and may take as much as it may.
        let files = self.files().bytes().unwrap_or(u64::MAX);
        if files.saturating_add(bytes(&together)) > quota {
            return Ok(Some("the attachments received fill the quota"));
        }
        if self.store.stats()?.live_bytes.saturating_add(bytes(&together)) > quota {
            return Ok(Some("the store is nearly full"));
        }
        Ok(None)
    }

    /// Takes the message of an attachment into the inbox, where it stands as arriving. A second one changes nothing.
    pub(in super::super) fn accept_attachment(
        &self,
        state: &mut State,
        bundle: &Bundle,
        opened: &Opened,
        arrival: Arrival,
        attachment: &Attachment,
        draft: &mut Drafted,
    ) -> Result<(), MailboxError> {
        let message = &attachment.message;
        let key = Key { author: opened.author, id: message.id };
        if INBOX.has(&self.store, &key.id, &key.author)? {
            return Ok(());
        }
        let mut arriving = key.arriving(&self.store)?.unwrap_or_default();
        if !arriving.is_open() || key.finished(&self.store)?.is_some() {
            return Ok(()); // it ended before its message came
        }
        let info = AttachmentInfo::of(&attachment.manifest);
        arriving.needed = info.needed;
        arriving.reserved = reserve(attachment);
        arriving.expires_s = arriving.expires_s.max(bundle.expires_s());
        if let Some(whole) = &attachment.data {
            // Parts that came of something that has none are dropped with it.
            arriving.set(0, true);
            draft.transaction.records.push(key.put_part(0, whole));
        }
        draft.assemble |= arriving.is_ready();
        draft.transaction.records.push(key.put_manifest(&attachment.manifest));
        draft.transaction.records.push(key.put_arriving(&arriving));
        let text = message.text.clone();
        self.keep(state, bundle, opened, arrival, key.id, text, message.sent_ms, Some(info), draft);
        Ok(())
    }

    /// Keeps a part, unless it is there already, or wrong, or no longer wanted.
    pub(in super::super) fn accept_part(
        &self,
        bundle: &Bundle,
        opened: &Opened,
        part: &Part,
        draft: &mut Drafted,
    ) -> Result<(), StoreError> {
        let key = Key { author: opened.author, id: part.attachment };
        if key.finished(&self.store)?.is_some() {
            return Ok(());
        }
        let unknown = || Arriving { reserved: UNKNOWN_RESERVED, ..Arriving::default() };
        let mut arriving = key.arriving(&self.store)?.unwrap_or_else(unknown);
        if !arriving.is_open() || arriving.has(part.index) {
            return Ok(());
        }
        if let Some(manifest) = key.manifest(&self.store)?
            && let Err(error) = manifest.check_part(part.index, &part.data)
        {
            tracing::warn!(bundle = %bundle.id(), %error, "a part of an attachment is dropped");
            return Ok(());
        }
        arriving.set(part.index, true);
        arriving.expires_s = arriving.expires_s.max(bundle.expires_s());
        draft.assemble |= arriving.is_ready();
        draft.transaction.records.push(key.put_part(part.index, &part.data));
        draft.transaction.records.push(key.put_arriving(&arriving));
        Ok(())
    }

    /// There may be something to put together, or to drop. Called when what made it so is durable.
    pub(in super::super) fn attachments_changed(&self) {
        self.desk.news.notify_one();
    }
}

/// Bytes that its parts take until it is complete.
fn reserve(attachment: &Attachment) -> u64 {
    let manifest = &attachment.manifest;
    manifest.layout().map_or(manifest.size(), |layout| layout.padded_size()) as u64
}
