//! What local apps see of inbox and outbox.

use pigeon_bundle::{BundleId, IdentityKey, MessageId, Reveal};
use pigeon_core::{Catalog, Event as CoreEvent};

use pigeon_store::Transaction;

use super::records::{InboxRecord, MessageTable, OutboxRecord};
use super::{AttachmentView, INBOX, Mailbox, MailboxError, OUTBOX};

/// Messages in a list, at most.
pub const LIST_MAX: usize = 1_000;
/// Text in a list in bytes: a reply has at most 4 MiB.
const LIST_TEXT_MAX: usize = 2 << 20;
/// What a message costs in a list beside its text.
const ENTRY_TEXT: usize = 1_024;
/// Clocks of carriers differ by up to a day.
pub(super) const SKEW_S: u64 = 86_400;

/// Which messages of a list.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// Only those not read yet.
    pub unread: bool,
    /// At most so many, the newest; 0: [`LIST_MAX`].
    pub limit: usize,
    /// Only those before this one, by its id; empty: all.
    pub before: String,
}

/// Messages, oldest first, and whether there are older ones.
pub struct Page<T> {
    /// The messages.
    pub messages: Vec<T>,
    /// There are more before them.
    pub more: bool,
}

/// A received message with its author's name.
pub struct InboxView {
    /// What is kept.
    pub record: InboxRecord,
    /// Name of the author's card, or the identity key.
    pub from: String,
    /// The author chose that name: the user has not imported their card.
    pub introduced: bool,
    /// What is attached.
    pub attachment: Option<AttachmentView>,
}

/// A sent message with what is known of it.
pub struct OutboxView {
    /// What is kept.
    pub record: OutboxRecord,
    /// Name of the recipient's card, or the identity key.
    pub to: String,
    /// One word or two for people: see `OutboxMessage.state` in the API.
    pub state: &'static str,
    /// Copies given to neighbours so far.
    pub hand_overs: u32,
    /// What is attached.
    pub attachment: Option<AttachmentView>,
}

impl Mailbox {
    /// Messages received, oldest first: all of them, or the newest [`LIST_MAX`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn inbox(&self, unread_only: bool) -> Result<Vec<InboxView>, MailboxError> {
        Ok(self.inbox_page(&Which { unread: unread_only, ..Which::default() })?.messages)
    }

    /// A page of the messages received.
    ///
    /// # Errors
    /// No such message as `before`, or a store that cannot be read.
    pub fn inbox_page(&self, which: &Which) -> Result<Page<InboxView>, MailboxError> {
        let before = match which.before.as_str() {
            "" => u64::MAX,
            id => self.sequence_in::<InboxRecord>(INBOX, id)?,
        };
        let limit = which.limit();
        let records = match which.unread {
            true => INBOX.unread_page::<InboxRecord>(&self.store, before, limit + 1)?,
            false => INBOX.page::<InboxRecord>(&self.store, before, limit + 1)?,
        };
        let (records, more) = fitting(records, limit, |record| record.text.len());
        let mut views = Vec::with_capacity(records.len());
        for record in records {
            let attachment = self.attachment_received(&record)?;
            views.push(InboxView { from: String::new(), introduced: false, attachment, record });
        }
        let state = self.state();
        for view in &mut views {
            (view.from, view.introduced) = author(&state.contacts, &view.record.author);
        }
        Ok(Page { messages: views, more })
    }

    fn sequence_in<R: prost::Message + Default>(
        &self,
        table: MessageTable,
        id: &str,
    ) -> Result<u64, MailboxError> {
        let unknown = || MailboxError::NotKept { id: id.to_owned() };
        let message: MessageId = id.parse().map_err(|_| unknown())?;
        Ok(table.by_message::<R>(&self.store, &message)?.ok_or_else(unknown)?.0)
    }

    /// Messages received and not read yet.
    pub fn unread(&self) -> u64 {
        self.state().unread
    }

    /// Messages sent that nobody is known to have received, and that are not at the bridge.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn waiting(&self) -> Result<u64, MailboxError> {
        let now_s = self.clock.day_s();
        let mut waiting = 0;
        for (_, record) in OUTBOX.all_open::<OutboxRecord>(&self.store)? {
            if word(&record, false, 0, now_s) == "waiting" && !self.progress(&record)?.0 {
                waiting += 1;
            }
        }
        Ok(waiting)
    }

    /// Copies of delivered messages that were dropped since the daemon started.
    pub fn duplicates(&self) -> u64 {
        self.state().duplicates
    }

    /// Marks a message as read and gives it.
    ///
    /// # Errors
    /// No such message, or a failing store.
    pub async fn read(&self, id: &str) -> Result<InboxView, MailboxError> {
        let unknown = || MailboxError::UnknownMessage { id: id.to_owned() };
        let message: MessageId = id.parse().map_err(|_| unknown())?;
        let _keeping = self.keeping.lock().await;
        let found = INBOX.by_message::<InboxRecord>(&self.store, &message)?;
        let (sequence, mut record) = found.ok_or_else(unknown)?;
        if !record.read {
            record.read = true;
            let written = vec![INBOX.replace(sequence, &record), INBOX.forget_unread(sequence)];
            self.store.commit(Transaction::of_records(written)).await?;
            self.unread_changed(1);
        }
        let (from, introduced) = author(&self.state().contacts, &record.author);
        let attachment = self.attachment_received(&record)?;
        Ok(InboxView { record, from, introduced, attachment })
    }

    /// Messages sent, oldest first: all of them, or the newest [`LIST_MAX`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn outbox(&self) -> Result<Vec<OutboxView>, MailboxError> {
        Ok(self.outbox_page(&Which::default())?.messages)
    }

    /// A page of the messages sent.
    ///
    /// # Errors
    /// No such message as `before`, or a store that cannot be read.
    pub fn outbox_page(&self, which: &Which) -> Result<Page<OutboxView>, MailboxError> {
        let before = match which.before.as_str() {
            "" => u64::MAX,
            id => self.sequence_in::<OutboxRecord>(OUTBOX, id)?,
        };
        let limit = which.limit();
        let records = OUTBOX.page::<OutboxRecord>(&self.store, before, limit + 1)?;
        let (records, more) = fitting(records, limit, |record| record.text.len());
        let now_s = self.clock.day_s();
        let mut views = Vec::with_capacity(records.len());
        for record in records {
            let (at_bridge, hand_overs) = self.progress(&record)?;
            let state = word(&record, at_bridge, hand_overs, now_s);
            let attachment = self.attachment_sent(&record)?;
            views.push(OutboxView { to: String::new(), state, hand_overs, attachment, record });
        }
        let state = self.state();
        for view in &mut views {
            view.to = match view.record.recipient_jid.as_str() {
                "" => name(&state.contacts, &view.record.recipient),
                jid => jid.to_owned(),
            };
        }
        Ok(Page { messages: views, more })
    }

    /// Tells the core again what a crash may have kept from it: an own message whose receipt is in the outbox, while
    /// its bundle is still in the store, was delivered and not yet revealed. Run once at start.
    ///
    /// # Errors
    /// When the store cannot be read, or the daemon stops.
    pub async fn reveal_again(&self) -> Result<(), MailboxError> {
        let mut reveals = Vec::new();
        for (_, record) in OUTBOX.all_open::<OutboxRecord>(&self.store)? {
            let bundle = BundleId::try_from(record.bundle.as_slice());
            let held =
                bundle.is_ok_and(|bundle| self.store.entry(&bundle).is_ok_and(|entry| entry.is_some()));
            if record.delivered_ms > 0
                && record.attachment.is_some()
                && let Ok(id) = record.message_id.as_slice().try_into()
            {
                reveals.extend(self.attachment_reveals_held(&MessageId(id))?);
            }
            if held && record.delivered_ms > 0 {
                reveals.extend(Reveal::try_from(record.reveal.as_slice()).ok());
            }
        }
        if !reveals.is_empty() {
            self.tell(CoreEvent::Revealed { reveals }).await?;
        }
        self.cancel_again().await
    }

    pub(super) fn progress(&self, record: &OutboxRecord) -> Result<(bool, u32), MailboxError> {
        let Ok(bundle) = BundleId::try_from(record.bundle.as_slice()) else {
            return Err(MailboxError::Damaged { what: "an outbox record" });
        };
        let at_bridge = self.store.entry(&bundle)?.is_some_and(|entry| entry.at_bridge);
        let takers = self.store.takers(&bundle)?.len();
        Ok((at_bridge, record.hand_overs.max(u32::try_from(takers).unwrap_or(u32::MAX))))
    }
}

impl Which {
    fn limit(&self) -> usize {
        if self.limit == 0 { LIST_MAX } else { self.limit.min(LIST_MAX) }
    }
}

/// The newest records that fit into a reply, and whether any were left out.
fn fitting<R>(mut records: Vec<(u64, R)>, limit: usize, text: impl Fn(&R) -> usize) -> (Vec<R>, bool) {
    let all = records.len();
    let mut room = LIST_TEXT_MAX;
    let fits = records.iter().rev().take(limit).take_while(|(_, record)| {
        let left = room.checked_sub(text(record) + ENTRY_TEXT);
        room = left.unwrap_or(0);
        left.is_some()
    });
    let kept = fits.count();
    (records.split_off(all - kept).into_iter().map(|(_, record)| record).collect(), kept < all)
}

pub(super) fn word(
    record: &OutboxRecord,
    at_bridge: bool,
    hand_overs: u32,
    now_s: Option<u64>,
) -> &'static str {
    match record {
        r if r.read_ms > 0 => "read",
        r if r.delivered_ms > 0 => "delivered",
        r if r.cancelled_ms > 0 => "cancelled",
        r if !r.refusal.is_empty() => "refused",
        r if now_s.is_some_and(|now_s| now_s > r.expires_s) => "expired",
        _ if at_bridge => "at bridge",
        _ if hand_overs > 0 => "handed over",
        _ => "waiting",
    }
}

pub(super) fn name(contacts: &super::Contacts, identity: &[u8]) -> String {
    match IdentityKey::try_from(identity) {
        Ok(key) => contacts.name(&key),
        Err(_) => String::new(),
    }
}

/// Name of an author, and whether it is of the author's own choice.
fn author(contacts: &super::Contacts, identity: &[u8]) -> (String, bool) {
    let introduced =
        IdentityKey::try_from(identity).ok().and_then(|key| contacts.get(&key)).is_some_and(|c| c.introduced);
    (name(contacts, identity), introduced)
}
