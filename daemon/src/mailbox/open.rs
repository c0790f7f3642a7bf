//! From a bundle with a tag of ours to a message in the inbox, at most once.

use std::sync::Arc;
use std::time::Duration;

use pigeon_bundle::{
    Bundle, BundleId, Card, IdentityKey, LIFETIME_DEFAULT_S, MessageId, NodeKey, OpenError, Opened, Reveal,
    open,
};
use pigeon_core::{Catalog, Event as CoreEvent, OpenOutcome};
use pigeon_proto::api::Event;
use pigeon_proto::{Body, Content, Receipt, ReceiptKind};
use pigeon_store::{RecordOp, Table, Transaction};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::records::{InboxRecord, OutboxRecord};
use super::send::random;
use super::{INBOX, Mailbox, MailboxError, OUTBOX, State};
use crate::events::event;
use crate::input::Commit;

/// A failing store is asked again after this.
const RETRY: Duration = Duration::from_secs(5);

/// How a bundle came here.
#[derive(Debug, Clone, Copy)]
pub enum Arrival {
    /// Over a link, from this node key, after so many hops.
    Link {
        /// Who handed it over.
        peer: NodeKey,
        /// Hops counted on the way.
        hops: u8,
    },
    /// From the XMPP account.
    Xmpp,
}

/// What opening changes: one transaction, and what to tell once it is durable.
struct Change {
    written: Commit,
    outcome: OpenOutcome,
    events: Vec<Event>,
    core: Vec<CoreEvent>,
    contacts_changed: bool,
}

/// Opens held bundles, one at a time and in order, as the core asks. Ends with `cancel`.
pub async fn run_opener(
    mailbox: Arc<Mailbox>,
    mut ids: mpsc::UnboundedReceiver<BundleId>,
    cancel: CancellationToken,
) {
    while let Some(id) = tokio::select! { () = cancel.cancelled() => None, id = ids.recv() => id } {
        while let Err(error) = mailbox.open_held(&id).await {
            if matches!(error, MailboxError::Stopping) {
                return;
            }
            tracing::error!(%error, bundle = %id, "a message that arrived cannot be kept yet; trying again");
            tokio::select! { () = cancel.cancelled() => return, () = tokio::time::sleep(RETRY) => {} }
        }
    }
}

impl Mailbox {
    /// Opens a bundle from the store and tells the core what came of it.
    async fn open_held(&self, id: &BundleId) -> Result<(), MailboxError> {
        let (Some(bundle), Some(entry)) = (self.store.bundle(id)?, self.store.entry(id)?) else {
            // Purged meanwhile; the core waits for an answer all the same.
            return self.tell(CoreEvent::Opened { bundle: *id, outcome: OpenOutcome::Refused }).await;
        };
        let arrival = match entry.giver {
            Some(peer) => Arrival::Link { peer, hops: entry.hops },
            None => Arrival::Xmpp,
        };
        self.receive(&bundle, arrival).await
    }

    /// Opens a bundle that arrived, keeps what is in it, and tells the core, apps and event readers.
    ///
    /// # Errors
    /// Only when the store fails or the daemon stops; then nothing was kept and the call may be repeated.
    pub async fn receive(&self, bundle: &Bundle, arrival: Arrival) -> Result<(), MailboxError> {
        // Until the record of P is applied nobody else may look for it: one message at a time, up to durability.
        let keeping = self.keeping.lock().await;
        let change = {
            let mut state = self.state();
            self.judge(&mut state, bundle, arrival)?
        };
        let outcome = match change {
            Judged::Settled(outcome) => outcome,
            Judged::Change(change) => {
                change.written.await?;
                drop(keeping);
                for event in change.events {
                    self.events.push(event);
                }
                for event in change.core {
                    self.tell(event).await?;
                }
                if change.contacts_changed {
                    self.tell_contacts().await?;
                }
                change.outcome
            }
        };
        self.tell(CoreEvent::Opened { bundle: bundle.id(), outcome }).await
    }

    fn judge(&self, state: &mut State, bundle: &Bundle, arrival: Arrival) -> Result<Judged, MailboxError> {
        let opened = match open(bundle, &self.identity, state.own.ring(), self.clock.trusted_wall_s()) {
            Ok(opened) => opened,
            Err(OpenError::NoKey) => return Ok(Judged::Settled(OpenOutcome::NotOurs)),
            Err(error) => {
                tracing::warn!(bundle = %bundle.id(), %error, "a bundle with a tag of ours is refused");
                self.events.push(Event {
                    bundle_id: bundle.id().to_string(),
                    detail: error.to_string(),
                    ..event("message_refused")
                });
                return Ok(Judged::Settled(OpenOutcome::Refused));
            }
        };
        if self.store.record(Table::SeenMessage, &opened.message.0)?.is_some() {
            state.duplicates += 1;
            self.events.push(Event { bundle_id: bundle.id().to_string(), ..event("duplicate_dropped") });
            return Ok(Judged::Settled(OpenOutcome::Duplicate { reveal: opened.reveal }));
        }
        match Content::decode(&opened.content) {
            Ok(content) => self.accept(state, bundle, &opened, &content, arrival).map(Judged::Change),
            Err(error) => {
                tracing::warn!(bundle = %bundle.id(), %error, "a message opens but its content is not understood");
                Ok(Judged::Settled(OpenOutcome::Refused))
            }
        }
    }

    fn accept(
        &self,
        state: &mut State,
        bundle: &Bundle,
        opened: &Opened,
        content: &Content,
        arrival: Arrival,
    ) -> Result<Change, MailboxError> {
        let mut draft = Drafted::default();
        let seen = RecordOp::Put {
            table: Table::SeenMessage,
            key: opened.message.0.to_vec(),
            value: bundle.expires_s().to_be_bytes().to_vec(),
        };
        draft.transaction.records.push(seen);
        if let Some(card) = content.author_card.as_deref().and_then(|bytes| Card::parse(bytes).ok()) {
            self.introduce(state, card, &opened.author, &mut draft);
        }
        match &content.body {
            Body::Text(text) => {
                self.keep(
                    state,
                    bundle,
                    opened,
                    arrival,
                    text.id,
                    text.text.clone(),
                    text.sent_ms,
                    &mut draft,
                );
            }
            Body::Application(app) => {
                let text = format!("{}: {} bytes", app.service, app.data.len());
                self.keep(state, bundle, opened, arrival, app.id, text, 0, &mut draft);
            }
            Body::Receipt(receipt) => self.confirm(state, opened, receipt, &mut draft)?,
            Body::CardUpdate(bytes) => {
                if let Ok(card) = Card::parse(bytes) {
                    self.introduce(state, card, &opened.author, &mut draft);
                }
            }
        }
        let outcome = OpenOutcome::Delivered { reveal: opened.reveal };
        let Drafted { transaction, events, core, contacts_changed } = draft;
        Ok(Change {
            written: Box::pin(self.store.commit(transaction)),
            outcome,
            events,
            core,
            contacts_changed,
        })
    }

    /// A card inside a message is believed only about the author of that message. A card that cannot be taken does
    /// not keep the message from being taken.
    fn introduce(&self, state: &mut State, card: Card, author: &IdentityKey, draft: &mut Drafted) {
        if card.identity() != *author || *author == self.identity() || self.is_from_the_future(&card) {
            return;
        }
        match state.contacts.take(&self.identity, card, true) {
            Ok(taken) => {
                draft.transaction.records.push(taken.record);
                draft.contacts_changed |= taken.news;
            }
            Err(MailboxError::OldCard) => {}
            Err(error) => tracing::warn!(%error, "the author of a message does not become a contact"),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call per kind of content, all of it is one message")]
    fn keep(
        &self,
        state: &mut State,
        bundle: &Bundle,
        opened: &Opened,
        arrival: Arrival,
        id: MessageId,
        text: String,
        sent_ms: u64,
        draft: &mut Drafted,
    ) {
        let (via, via_peer, hops) = match arrival {
            Arrival::Link { peer, hops } => ("link", peer.0.to_vec(), hops),
            Arrival::Xmpp => ("xmpp", Vec::new(), 0),
        };
        let record = InboxRecord {
            message_id: id.0.to_vec(),
            author: opened.author.0.to_vec(),
            text,
            sent_ms,
            received_ms: self.clock.display_ms(),
            read: false,
            via: via.to_owned(),
            via_peer,
            hops: u32::from(hops),
            bundle: bundle.id().0.to_vec(),
        };
        draft.events.push(Event {
            bundle_id: bundle.id().to_string(),
            message_id: id.to_string(),
            peer: data_encoding::HEXLOWER.encode(&record.via_peer),
            hops: u32::from(hops),
            detail: via.to_owned(),
            contact: state.contacts.name(&opened.author),
            ..event("message_received")
        });
        draft.transaction.records.extend(INBOX.put(
            state.inbox_next,
            &record,
            id,
            &opened.author,
            bundle.id(),
        ));
        state.inbox_next += 1;
        self.owe_receipt(state, &opened.author, id, ReceiptKind::Delivered, draft);
    }

    /// Seals a receipt beside the message it confirms, in the same transaction.
    fn owe_receipt(
        &self,
        state: &State,
        author: &IdentityKey,
        id: MessageId,
        kind: ReceiptKind,
        draft: &mut Drafted,
    ) {
        let (Some(card), Some(now_s)) = (Self::card_of(state, author), self.clock.day_s()) else {
            return; // an author whose card we do not hold cannot be answered
        };
        let body = Body::Receipt(Receipt { kind, messages: vec![id], time_ms: self.clock.display_ms() });
        let content = Content { body, author_card: None, one_time: None };
        match self.seal_for(state, &card, &content, MessageId(random()), now_s, LIFETIME_DEFAULT_S) {
            Ok(outgoing) => {
                draft.core.push(CoreEvent::Submitted { bundle: outgoing.sealed.bundle.id() });
                draft.transaction.ops.push(outgoing.put);
            }
            // The author's card is at fault; the message is kept all the same.
            Err(error) => tracing::warn!(%error, "a receipt cannot be sealed"),
        }
    }

    /// A receipt counts only from the one the message was written to.
    fn confirm(
        &self,
        state: &mut State,
        opened: &Opened,
        receipt: &Receipt,
        draft: &mut Drafted,
    ) -> Result<(), MailboxError> {
        let mut reveals = Vec::new();
        for id in &receipt.messages {
            let Some((sequence, mut record)) = OUTBOX.by_message::<OutboxRecord>(&self.store, id)? else {
                continue;
            };
            if record.recipient != opened.author.0 {
                continue;
            }
            if let Ok(bundle) = record.bundle.as_slice().try_into() {
                let takers = self.store.takers(&bundle).map_or(0, |takers| takers.len());
                record.hand_overs = record.hand_overs.max(u32::try_from(takers).unwrap_or(u32::MAX));
            }
            // Never 0, which means "not yet".
            let now_ms = self.clock.display_ms().max(1);
            let detail = match receipt.kind {
                ReceiptKind::Delivered => {
                    record.receipts += 1;
                    record.delivered_ms = now_ms;
                    "delivered"
                }
                ReceiptKind::Read => {
                    record.read_ms = now_ms;
                    "read"
                }
            };
            reveals.extend(Reveal::try_from(record.reveal.as_slice()).ok());
            draft.transaction.records.push(OUTBOX.replace(sequence, &record));
            draft.events.push(Event {
                message_id: id.to_string(),
                bundle_id: data_encoding::HEXLOWER.encode(&record.bundle),
                detail: detail.to_owned(),
                contact: state.contacts.name(&opened.author),
                ..event("receipt_received")
            });
        }
        if !reveals.is_empty() {
            draft.transaction.records.extend(state.contacts.knows_us(&opened.author));
            draft.core.push(CoreEvent::Revealed { reveals });
        }
        Ok(())
    }
}

enum Judged {
    Settled(OpenOutcome),
    Change(Change),
}

#[derive(Default)]
struct Drafted {
    transaction: Transaction,
    events: Vec<Event>,
    core: Vec<CoreEvent>,
    contacts_changed: bool,
}
