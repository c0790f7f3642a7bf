//! What local apps see of inbox and outbox.

use pigeon_bundle::{BundleId, IdentityKey, MessageId, Reveal};
use pigeon_core::{Catalog, Event as CoreEvent};

use pigeon_store::{RecordOp, Table, Transaction};

use super::records::{InboxRecord, OutboxRecord, SeenRecord};
use super::{AttachmentView, INBOX, Mailbox, MailboxError, OUTBOX};

/// Records looked at in one go.
const PAGE: usize = 64;
/// Clocks of carriers differ by up to a day.
const SKEW_S: u64 = 86_400;

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
    /// Messages received, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn inbox(&self, unread_only: bool) -> Result<Vec<InboxView>, MailboxError> {
        let records = INBOX.all::<InboxRecord>(&self.store)?;
        let mut views = Vec::with_capacity(records.len());
        for (_, record) in records {
            if !(unread_only && record.read) {
                let attachment = self.attachment_received(&record)?;
                views.push(InboxView { from: String::new(), introduced: false, attachment, record });
            }
        }
        let state = self.state();
        for view in &mut views {
            (view.from, view.introduced) = author(&state.contacts, &view.record.author);
        }
        Ok(views)
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
            self.store.commit(Transaction::of_records(vec![INBOX.replace(sequence, &record)])).await?;
        }
        let (from, introduced) = author(&self.state().contacts, &record.author);
        let attachment = self.attachment_received(&record)?;
        Ok(InboxView { record, from, introduced, attachment })
    }

    /// Messages sent, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn outbox(&self) -> Result<Vec<OutboxView>, MailboxError> {
        let records = OUTBOX.all::<OutboxRecord>(&self.store)?;
        let now_s = self.clock.day_s();
        let mut views = Vec::with_capacity(records.len());
        for (_, record) in records {
            let (at_bridge, hand_overs) = self.progress(&record)?;
            let state = word(&record, at_bridge, hand_overs, now_s);
            let attachment = self.attachment_sent(&record)?;
            views.push(OutboxView { to: String::new(), state, hand_overs, attachment, record });
        }
        let state = self.state();
        for view in &mut views {
            view.to = name(&state.contacts, &view.record.recipient);
        }
        Ok(views)
    }

    /// Tells the core again what a crash may have kept from it: an own message whose receipt is in the outbox, while
    /// its bundle is still in the store, was delivered and not yet revealed. Run once at start.
    ///
    /// # Errors
    /// When the store cannot be read, or the daemon stops.
    pub async fn reveal_again(&self) -> Result<(), MailboxError> {
        let mut reveals = Vec::new();
        for (_, record) in OUTBOX.all::<OutboxRecord>(&self.store)? {
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

    /// Forgets which messages were seen once no bundle of them can be alive.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_expired(&self) -> Result<(), MailboxError> {
        let Some(now_s) = self.clock.trusted_wall_s() else { return Ok(()) };
        self.prune_one_time(now_s).await?;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.store.records(Table::SeenMessage, after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let expired = |value: &[u8]| {
                SeenRecord::from_bytes(value)
                    .is_some_and(|seen| now_s > seen.expires_s.saturating_add(SKEW_S))
            };
            let gone: Vec<RecordOp> = page
                .iter()
                .filter(|(_, value)| expired(value))
                .map(|(key, _)| RecordOp::Delete { table: Table::SeenMessage, key: key.clone() })
                .collect();
            if !gone.is_empty() {
                self.store.commit(Transaction::of_records(gone)).await?;
            }
        }
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
