//! Own messages taken back: whoever learns r drops the bundle, and a recipient that learns it first does not deliver.

use pigeon_bundle::{Bundle, BundleId, MessageId, Reveal};
use pigeon_core::{Catalog, Event as CoreEvent};
use pigeon_proto::api::Event;
use pigeon_store::Transaction;
use tokio::sync::oneshot;

use super::records::OutboxRecord;
use super::views::{name, word};
use super::{Mailbox, MailboxError, OUTBOX, OutboxView};
use crate::events::event;
use crate::input::Input;

impl Mailbox {
    /// Cancels an own message that is not known to be delivered: durable first, then told to neighbours and the bridge.
    /// A copy that reaches the recipient before the news is delivered all the same, and its receipt says so.
    ///
    /// # Errors
    /// No such message, one that was delivered or has expired, or a failing store.
    pub async fn cancel(&self, id: &str) -> Result<OutboxView, MailboxError> {
        let unknown = || MailboxError::NotSent { id: id.to_owned() };
        let message: MessageId = id.parse().map_err(|_| unknown())?;
        let keeping = self.keeping.lock().await;
        let (sequence, mut record) =
            OUTBOX.by_message::<OutboxRecord>(&self.store, &message)?.ok_or_else(unknown)?;
        if record.delivered_ms > 0 || record.read_ms > 0 {
            return Err(MailboxError::AlreadyDelivered { id: id.to_owned() });
        }
        if self.clock.trusted_wall_s().is_some_and(|now_s| now_s > record.expires_s) {
            return Err(MailboxError::AlreadyExpired { id: id.to_owned() });
        }
        // The takers are forgotten with the bundle.
        record.hand_overs = self.progress(&record)?.1;
        if record.cancelled_ms == 0 {
            record.cancelled_ms = self.clock.display_ms().max(1);
            self.store.commit(Transaction::of_records(vec![OUTBOX.replace(sequence, &record)])).await?;
            self.events.push(Event {
                message_id: message.to_string(),
                bundle_id: data_encoding::HEXLOWER.encode(&record.bundle),
                ..event("message_cancelled")
            });
        }
        drop(keeping);
        self.tell(CoreEvent::Cancelled { reveals: self.reveals_of(&record)? }).await?;
        let to = name(&self.state().contacts, &record.recipient);
        let state = word(&record, false, record.hand_overs, self.clock.day_s());
        let attachment = self.attachment_sent(&record)?;
        Ok(OutboxView { to, state, hand_overs: record.hand_overs, attachment, record })
    }

    /// Tells the core again what a crash may have kept from it: own messages that are cancelled and still held.
    ///
    /// # Errors
    /// When the store cannot be read, or the daemon stops.
    pub(super) async fn cancel_again(&self) -> Result<(), MailboxError> {
        let mut reveals = Vec::new();
        for (_, record) in OUTBOX.all_open::<OutboxRecord>(&self.store)? {
            if record.cancelled_ms > 0 && record.delivered_ms == 0 {
                let held = |reveal: &Reveal| {
                    self.store.by_commitment(&reveal.commitment()).is_ok_and(|held| !held.is_empty())
                };
                reveals.extend(self.reveals_of(&record)?.into_iter().filter(held));
            }
        }
        if reveals.is_empty() { Ok(()) } else { self.tell(CoreEvent::Cancelled { reveals }).await }
    }

    /// r of each bundle of an own message.
    fn reveals_of(&self, record: &OutboxRecord) -> Result<Vec<Reveal>, MailboxError> {
        let damaged = |_| MailboxError::Damaged { what: "an outbox record" };
        let mut reveals = vec![Reveal::try_from(record.reveal.as_slice()).map_err(damaged)?];
        if record.attachment.is_some() {
            let id = record.message_id.as_slice().try_into().map(MessageId);
            reveals.extend(
                self.attachment_reveals(
                    &id.map_err(|_| MailboxError::Damaged { what: "an outbox record" })?,
                )?,
            );
        }
        Ok(reveals)
    }

    /// Whether r of this bundle is known here, be it in the core's memory only: its author has cancelled it, if it was
    /// not delivered.
    pub(super) async fn is_revealed(&self, bundle: &Bundle) -> Result<bool, MailboxError> {
        let (answer, revealed) = oneshot::channel();
        let commitment = bundle.commitment();
        let asked = self.inputs.send(Input::IsRevealed { commitment, answer }).await;
        asked.map_err(|_| MailboxError::Stopping)?;
        Ok(revealed.await.map_err(|_| MailboxError::Stopping)??)
    }

    /// Whether the store holds a bundle with this r.
    pub(super) fn is_held(&self, reveal: &Reveal) -> Result<bool, MailboxError> {
        let held: Vec<BundleId> = self.store.by_commitment(&reveal.commitment())?;
        Ok(!held.is_empty())
    }
}
