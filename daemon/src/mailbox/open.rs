//! From a bundle with a tag of ours to a message in the inbox, at most once.

use std::sync::Arc;
use std::time::Duration;

use pigeon_bundle::{
    Bundle, BundleId, Card, IdentityKey, LIFETIME_DEFAULT_S, MessageId, NodeKey, OpenError, Opened,
    OpenedWith, Reveal, Verdict, open,
};
use pigeon_core::{Catalog, Event as CoreEvent, OpenOutcome};
use pigeon_proto::api::Event;
use pigeon_proto::{Body, Content, Receipt, ReceiptKind};
use pigeon_store::{RecordOp, Table, Transaction};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::contacts::Origin;
use super::housekeeping::seen_row;
use super::one_time::{self, Cause};
use super::records::{AttachmentInfo, InboxRecord, OutboxRecord, SeenRecord};
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
pub(super) struct Change {
    written: Commit,
    outcome: OpenOutcome,
    events: Vec<Event>,
    core: Vec<CoreEvent>,
    contacts_changed: bool,
    assemble: bool,
    /// There was no room for what it brings: it waits in the store, sealed.
    parked: bool,
    /// The one-time key that opened it, to be deleted.
    used: Option<[u8; 32]>,
    /// One-time keys given in the receipt.
    given: Vec<[u8; 32]>,
    /// Messages for the inbox.
    unread: u64,
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
    /// Opens a bundle from the store and tells the core what came of it. True where there is still no room for it.
    pub(super) async fn open_held(&self, id: &BundleId) -> Result<bool, MailboxError> {
        let (Some(bundle), Some(entry)) = (self.store.bundle(id)?, self.store.entry(id)?) else {
            // Purged meanwhile; the core waits for an answer all the same.
            self.tell(CoreEvent::Opened { bundle: *id, outcome: OpenOutcome::Refused }).await?;
            return Ok(false);
        };
        let arrival = match entry.giver {
            Some(peer) => Arrival::Link { peer, hops: entry.hops },
            None => Arrival::Xmpp,
        };
        self.take_in(&bundle, arrival).await
    }

    /// Opens a bundle that arrived, keeps what is in it, and tells the core, apps and event readers. What there is no
    /// room for is kept sealed, and opened when there is.
    ///
    /// # Errors
    /// Only when the store fails or the daemon stops; then nothing was kept and the call may be repeated.
    pub async fn receive(&self, bundle: &Bundle, arrival: Arrival) -> Result<(), MailboxError> {
        self.take_in(bundle, arrival).await.map(drop)
    }

    /// True where there is no room for it and it waits.
    async fn take_in(&self, bundle: &Bundle, arrival: Arrival) -> Result<bool, MailboxError> {
        let cancelled = match arrival {
            // Over a link the core lets nothing in whose r it knows.
            Arrival::Link { .. } => false,
            Arrival::Xmpp => self.is_revealed(bundle).await?,
        };
        // Until the record of P is applied nobody else may look for it: one message at a time, up to durability.
        let keeping = self.keeping.lock().await;
        let change = {
            let mut state = self.state();
            self.judge(&mut state, bundle, arrival, cancelled)?
        };
        let (outcome, parked) = match change {
            Judged::Settled(outcome) => (outcome, false),
            Judged::Change(change) => {
                if let Err(error) = change.written.await {
                    self.take_keys_back(&change.given);
                    return Err(error.into());
                }
                if let Some(used) = &change.used {
                    // The message and the deletion of this key are one transaction; now it goes from memory too.
                    self.state().own.ring_mut().one_time_mut().remove(used);
                }
                self.state().unread += change.unread;
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
                if change.assemble {
                    self.attachments_changed();
                }
                (change.outcome, change.parked)
            }
        };
        self.tell(CoreEvent::Opened { bundle: bundle.id(), outcome }).await?;
        Ok(parked)
    }

    fn judge(
        &self,
        state: &mut State,
        bundle: &Bundle,
        arrival: Arrival,
        cancelled: bool,
    ) -> Result<Judged, MailboxError> {
        // P comes first: the key that opened the first copy may be gone.
        if let Some(seen) = self.store.record(Table::SeenMessage, &bundle.message_digest().0)? {
            return Ok(Judged::Settled(self.seen_before(state, bundle, &seen)));
        }
        if cancelled || self.store.tombstone(&bundle.commitment())?.is_some() {
            return Ok(self.refuse(bundle, &"its author has cancelled it"));
        }
        let opened = match open(bundle, &self.identity, state.own.ring(), self.clock.trusted_wall_s()) {
            Ok(opened) => opened,
            Err(OpenError::NoKey) => return Ok(Judged::Settled(OpenOutcome::NotOurs)),
            Err(error) => return Ok(self.refuse(bundle, &error)),
        };
        match Content::decode(&opened.content) {
            Ok(content) => {
                if let Some(parked) = self.park_without_room(bundle, &opened, &content, arrival)? {
                    return Ok(Judged::Change(parked));
                }
                self.accept(state, bundle, &opened, &content, arrival).map(Judged::Change)
            }
            Err(error) => {
                tracing::warn!(bundle = %bundle.id(), %error, "a message opens but its content is not understood");
                Ok(Judged::Settled(OpenOutcome::Refused))
            }
        }
    }

    /// A further copy of a message that was delivered: ended by its r.
    fn seen_before(&self, state: &mut State, bundle: &Bundle, seen: &[u8]) -> OpenOutcome {
        // Older programs kept no r, and used no keys that are gone before their messages end.
        let opened = || open(bundle, &self.identity, state.own.ring(), None).ok().map(|opened| opened.reveal);
        let reveal = SeenRecord::from_bytes(seen).and_then(|seen| seen.reveal).or_else(opened);
        state.duplicates += 1;
        self.events.push(Event { bundle_id: bundle.id().to_string(), ..event("duplicate_dropped") });
        reveal.map_or(OpenOutcome::Refused, |reveal| OpenOutcome::Duplicate { reveal })
    }

    fn refuse(&self, bundle: &Bundle, reason: &dyn std::fmt::Display) -> Judged {
        tracing::warn!(bundle = %bundle.id(), %reason, "a bundle with a tag of ours is refused");
        self.events.push(Event {
            bundle_id: bundle.id().to_string(),
            detail: reason.to_string(),
            ..event("message_refused")
        });
        Judged::Settled(OpenOutcome::Refused)
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
            value: SeenRecord { expires_s: bundle.expires_s(), reveal: Some(opened.reveal) }.to_bytes(),
        };
        draft.transaction.records.push(seen);
        draft.transaction.records.push(seen_row(bundle.expires_s(), &opened.message.0));
        if let OpenedWith::OneTime(used) = opened.with {
            draft.transaction.records.push(one_time::deletion(&used));
            draft.used = Some(used);
        }
        if let Body::Refusal(verdict) = &content.body {
            // Its author is nobody: the bridge's signature on the verdict is what counts.
            self.take_refusal(verdict, &mut draft)?;
            return Ok(self.change(draft, OpenOutcome::Delivered { reveal: opened.reveal }));
        }
        if let Some(card) = content.author_card.as_deref().and_then(|bytes| Card::parse(bytes).ok()) {
            self.introduce(state, card, &opened.author, &mut draft);
        }
        self.learn(state, bundle, &opened.author, content, &mut draft);
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
                    None,
                    &mut draft,
                );
            }
            Body::Application(app) => {
                let text = format!("{}: {} bytes", app.service, app.data.len());
                self.keep(state, bundle, opened, arrival, app.id, text, 0, None, &mut draft);
            }
            Body::Receipt(receipt) => self.confirm(state, opened, receipt, &mut draft)?,
            Body::Attachment(attachment) => {
                self.accept_attachment(state, bundle, opened, arrival, attachment, &mut draft)?;
            }
            Body::Part(part) => self.accept_part(bundle, opened, part, &mut draft)?,
            // Taken above.
            Body::Refusal(_) => {}
            Body::CardUpdate(bytes) => {
                if let Ok(card) = Card::parse(bytes)
                    && state.contacts.get(&opened.author).is_some()
                {
                    self.introduce(state, card, &opened.author, &mut draft);
                }
            }
        }
        // r is not written as a tombstone here, though it could be: what the store holds is told to every neighbour at
        // once, and the core may have to hide this one for a while. A crash before the core has it delays the purge
        // until a further copy comes, which the record of P answers with r.
        let outcome = OpenOutcome::Delivered { reveal: opened.reveal };
        Ok(self.change(draft, outcome))
    }

    /// Queues what was drafted.
    pub(super) fn change(&self, draft: Drafted, outcome: OpenOutcome) -> Change {
        let Drafted { transaction, events, core, contacts_changed, assemble, parked, used, given, unread } =
            draft;
        let written = Box::pin(self.store.commit(transaction));
        Change { written, outcome, events, core, contacts_changed, assemble, parked, used, given, unread }
    }

    /// What a message tells beside its body: which of our cards its author holds, and one-time keys.
    fn learn(
        &self,
        state: &mut State,
        bundle: &Bundle,
        author: &IdentityKey,
        content: &Content,
        draft: &mut Drafted,
    ) {
        let records = &mut draft.transaction.records;
        if *author == self.identity() {
            return;
        }
        records.extend(state.own.bind(bundle.tag(), bundle.epoch(), *author));
        // Who can address us holds a card of ours; in doubt the present one.
        if state.own.is_former(bundle.tag(), bundle.epoch()) {
            records.extend(state.contacts.knows_us(author, 0));
            let under_way = |update: &Reveal| self.is_held(update).unwrap_or(true);
            records.extend(state.contacts.holds_former(author, under_way));
        } else {
            let issued_s = state.own.issued_for(author).unwrap_or_default();
            records.extend(state.contacts.knows_us(author, issued_s));
        }
        if let Some(given) = &content.one_time {
            records.extend(state.contacts.add_one_time(author, &given.keys, given.expires_s));
        }
    }

    /// A card inside a message is believed only about the author of that message. A card that cannot be taken does
    /// not keep the message from being taken.
    fn introduce(&self, state: &mut State, card: Card, author: &IdentityKey, draft: &mut Drafted) {
        if card.identity() != *author || *author == self.identity() || self.is_from_the_future(&card) {
            return;
        }
        match state.contacts.take(&self.identity, card, Origin::Message) {
            Ok(taken) => {
                draft.transaction.records.push(taken.record);
                draft.contacts_changed |= taken.news;
            }
            Err(MailboxError::OldCard) => {}
            Err(error) => tracing::warn!(%error, "the author of a message does not become a contact"),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call per kind of content, all of it is one message")]
    pub(super) fn keep(
        &self,
        state: &mut State,
        bundle: &Bundle,
        opened: &Opened,
        arrival: Arrival,
        id: MessageId,
        text: String,
        sent_ms: u64,
        attachment: Option<AttachmentInfo>,
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
            attachment,
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
        draft.transaction.records.push(INBOX.put_unread(state.inbox_next));
        draft.unread += 1;
        state.inbox_next += 1;
        // With an attachment there is one receipt for all of it, when it is complete.
        if record.attachment.is_none() {
            self.owe_receipt(state, &opened.author, id, ReceiptKind::Delivered, draft);
        }
    }

    /// Seals a receipt beside the message it confirms, in the same transaction.
    pub(super) fn owe_receipt(
        &self,
        state: &mut State,
        author: &IdentityKey,
        id: MessageId,
        kind: ReceiptKind,
        draft: &mut Drafted,
    ) {
        let Some(card) = Self::card_of(state, author) else {
            return; // an author whose card we do not hold cannot be answered
        };
        let body = Body::Receipt(Receipt { kind, messages: vec![id], time_ms: self.clock.display_ms() });
        let content = Content { body, author_card: None, one_time: None };
        match self.seal_message(state, &card, content, MessageId::NONE, LIFETIME_DEFAULT_S, Cause::Daemon) {
            Ok(outgoing) => {
                draft.transaction.records.extend(outgoing.records);
                draft.given.extend(outgoing.given);
                draft.core.push(CoreEvent::Submitted { bundle: outgoing.sealed.bundle.id() });
                draft.transaction.ops.push(outgoing.put);
            }
            Err(MailboxError::NoClock) => {}
            // The author's card is at fault; the message is kept all the same.
            Err(error) => tracing::warn!(%error, "a receipt cannot be sealed"),
        }
    }

    /// A bridge's refusal that came by way of a carrier counts only with the signature of the bridge that the refused
    /// message names, as one that comes over XMPP.
    fn take_refusal(&self, verdict: &[u8], draft: &mut Drafted) -> Result<(), MailboxError> {
        let Some(named) = Verdict::bundle_of(verdict) else { return Ok(()) };
        let Some((sequence, mut record)) = OUTBOX.by_bundle::<OutboxRecord>(&self.store, &named)? else {
            return Ok(());
        };
        let Some(bundle) = self.store.bundle(&named)? else { return Ok(()) };
        let signed = bundle.uplink().map(|uplink| Verdict::parse_verified(verdict, &uplink.bridge_key));
        let Some(Ok(verdict)) = signed.filter(|_| record.delivered_ms == 0) else { return Ok(()) };
        let is_over =
            verdict.code.is_passing() && self.store.entry(&named)?.is_some_and(|entry| entry.at_bridge);
        if verdict.message != bundle.message_digest() || verdict.code.is_accepted() || is_over {
            return Ok(());
        }
        record.refusal = verdict.code.to_string();
        draft.transaction.records.push(OUTBOX.replace(sequence, &record));
        draft.events.push(Event {
            bundle_id: named.to_string(),
            message_id: data_encoding::HEXLOWER.encode(&record.message_id),
            detail: record.refusal.clone(),
            ..event("refusal_received")
        });
        if !verdict.code.is_passing() {
            draft.core.push(CoreEvent::Verdict { bundles: vec![named], accepted: false });
        }
        Ok(())
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
            if record.attachment.is_some() {
                reveals.extend(self.attachment_reveals(id)?);
            }
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
            draft.core.push(CoreEvent::Revealed { reveals });
        }
        Ok(())
    }
}

enum Judged {
    Settled(OpenOutcome),
    Change(Change),
}

/// What a transaction will hold, and what is told and done once it is durable.
#[derive(Default)]
pub(super) struct Drafted {
    pub(super) transaction: Transaction,
    pub(super) events: Vec<Event>,
    pub(super) core: Vec<CoreEvent>,
    pub(super) contacts_changed: bool,
    /// There may be an attachment to put together.
    pub(super) assemble: bool,
    /// There was no room for what the message brings.
    pub(super) parked: bool,
    /// The one-time key that opened the message, deleted in the transaction.
    pub(super) used: Option<[u8; 32]>,
    /// One-time keys given in the transaction.
    pub(super) given: Vec<[u8; 32]>,
    /// Messages for the inbox.
    pub(super) unread: u64,
}
