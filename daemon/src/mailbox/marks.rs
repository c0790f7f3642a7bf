//! What ordinary XMPP programs say about our messages: receipts (XEP-0184) and read markers (XEP-0333).
//!
//! The recipient's server vouches for them, nobody else: they are shown like receipts, and reveal nothing. A sealed
//! receipt, where one comes, counts as before.

use pigeon_bundle::{IdentityKey, MessageId};
use pigeon_proto::api::Event;
use pigeon_store::Transaction;
use pigeon_xmpp::Mark;

use super::records::OutboxRecord;
use super::{Mailbox, MailboxError, OUTBOX, State};
use crate::events::event;

impl Mailbox {
    /// The account `from` says this about our message `id`. False where that is not its recipient's to say, or known.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn marked(&self, from: &str, id: &str, mark: Mark) -> Result<bool, MailboxError> {
        let Ok(id) = id.parse::<MessageId>() else { return Ok(false) };
        let _keeping = self.keeping.lock().await;
        let Some((sequence, mut record)) = OUTBOX.by_message::<OutboxRecord>(&self.store, &id)? else {
            return Ok(false);
        };
        let Some(contact) = self.recipient_at(&record, from) else { return Ok(false) };
        let (when, detail) = match mark {
            Mark::Delivered => (&mut record.delivered_ms, "delivered"),
            Mark::Read => (&mut record.read_ms, "read"),
        };
        if *when != 0 {
            return Ok(false);
        }
        // Never 0, which means "not yet".
        *when = self.clock.display_ms().max(1);
        let bundle_id = data_encoding::HEXLOWER.encode(&record.bundle);
        self.store.commit(Transaction::of_records(vec![OUTBOX.replace(sequence, &record)])).await?;
        let (message_id, detail) = (id.to_string(), detail.to_owned());
        self.events.push(Event { message_id, bundle_id, detail, contact, ..event("client_receipt") });
        Ok(true)
    }

    /// The name of the recipient of an own message, if this is an account of that recipient: one on the card, or the one
    /// that the message was written to where there is no card.
    fn recipient_at(&self, record: &OutboxRecord, jid: &str) -> Option<String> {
        if !record.recipient_jid.is_empty() {
            return record.recipient_jid.eq_ignore_ascii_case(jid).then(|| record.recipient_jid.clone());
        }
        let recipient = IdentityKey(record.recipient.as_slice().try_into().ok()?);
        let state = self.state();
        has_jid(&state, &recipient, jid).then(|| state.contacts.name(&recipient))
    }
}

fn has_jid(state: &State, recipient: &IdentityKey, jid: &str) -> bool {
    let contact = state.contacts.get(recipient);
    contact.is_some_and(|contact| contact.card.jids().iter().any(|own| own.eq_ignore_ascii_case(jid)))
}
