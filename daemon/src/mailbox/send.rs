//! From a text to a durable bundle.

use pigeon_bundle::{
    BridgeCard, Bundle, Card, Draft, Epoch, IdentityKey, MessageId, OneTimePublic, Sealed, SecretRandom,
    UplinkDraft, seal, seal_once,
};
use pigeon_core::entry::HOPS_AT_BIRTH_MAX;
use pigeon_core::{Entry, Event as CoreEvent, StoreOp};
use pigeon_proto::api::Event;
use pigeon_proto::{Body, Content, Text};
use pigeon_store::{RecordOp, Transaction};

use super::one_time::Cause;
use super::records::OutboxRecord;
use super::{Mailbox, MailboxError, OUTBOX, State};
use crate::events::event;
use crate::random::OsRandom;

pub(super) const HOUR_S: u64 = 3_600;

/// A message that is now durable.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its id.
    pub message: MessageId,
    /// Its bundle.
    pub bundle: pigeon_bundle::BundleId,
    /// It may also travel over a bridge.
    pub uplink: bool,
}

/// A sealed bundle with what has to be written beside it.
pub(super) struct Outgoing {
    pub(super) sealed: Sealed,
    pub(super) put: StoreOp,
    /// One-time keys given and used up; part of the same transaction.
    pub(super) records: Vec<RecordOp>,
    /// One-time keys given, to be taken back if the transaction fails.
    pub(super) given: Vec<[u8; 32]>,
}

impl Mailbox {
    /// Seals `text` to the contact `to` and keeps it. Returns when it is durable. Where no card of `to` is held and it is
    /// a JID, the message is sealed to the bridge: see [`Mailbox::bridge_that_reads`].
    ///
    /// # Errors
    /// An unknown contact, a text that is too long, no known day, a full or failing store. Nothing is kept then.
    pub async fn send(&self, to: &str, text: String, lifetime_h: u32) -> Result<Sent, MailboxError> {
        let lifetime_h = if lifetime_h == 0 { self.config.carry.lifetime_h } else { lifetime_h };
        let plain = Self::plain_recipient(&self.state(), to);
        if let Some(jid) = plain {
            return self.send_plain(jid, text, lifetime_h).await;
        }
        let (written, sent, given) = {
            let mut state = self.state();
            let contact = state.contacts.find(to)?.clone();
            let id = MessageId(random());
            let sent_ms = self.clock.display_ms();
            let author_card = self.card_to_enclose(&state, &contact)?;
            let body = Body::Text(Text { id, thread: None, sent_ms, text: text.clone() });
            let content = Content { body, author_card, one_time: None };
            let lifetime_s = u64::from(lifetime_h) * HOUR_S;
            let outgoing =
                self.seal_message(&mut state, &contact.card, content, id, lifetime_s, Cause::User)?;
            let bundle = &outgoing.sealed.bundle;
            let record = OutboxRecord {
                message_id: id.0.to_vec(),
                recipient: contact.card.identity().0.to_vec(),
                text,
                sent_ms,
                bundle: bundle.id().0.to_vec(),
                reveal: outgoing.sealed.reveal.0.to_vec(),
                expires_s: bundle.expires_s(),
                ..OutboxRecord::default()
            };
            let mut records = OUTBOX.put(state.outbox_next, &record, id, &self.identity(), bundle.id());
            records.push(OUTBOX.put_open(record.expires_s, state.outbox_next));
            state.outbox_next += 1;
            let sent = Sent { message: id, bundle: bundle.id(), uplink: bundle.uplink().is_some() };
            records.extend(outgoing.records);
            // Queued under the lock: the order of sequence numbers is the order in the store.
            (self.store.commit(Transaction { ops: vec![outgoing.put], records }), sent, outgoing.given)
        };
        if let Err(error) = written.await {
            self.take_keys_back(&given);
            return Err(error.into());
        }
        self.events.push(Event {
            bundle_id: sent.bundle.to_string(),
            message_id: sent.message.to_string(),
            ..event("message_queued")
        });
        self.tell(CoreEvent::Submitted { bundle: sent.bundle }).await?;
        Ok(sent)
    }

    /// Our card, for a contact that is not known to hold it, and whose card was not revoked.
    pub(super) fn card_to_enclose(
        &self,
        state: &State,
        contact: &super::Contact,
    ) -> Result<Option<Vec<u8>>, MailboxError> {
        if contact.knows_us {
            return Ok(None);
        }
        let card = state.own.card_for(&self.identity, &contact.card.identity())?;
        Ok(card.map(|card| card.as_bytes().to_vec()))
    }

    /// Seals `content` to the prekey of the holder of `card`, with an uplink where the recipient's bridge is ours.
    /// [`Mailbox::seal_message`] does better for what a one-time key is worth.
    pub(super) fn seal_for(
        &self,
        state: &State,
        card: &Card,
        content: &Content,
        id: MessageId,
        now_s: u64,
        lifetime_s: u64,
    ) -> Result<Outgoing, MailboxError> {
        self.seal_with(state, card, content, id, now_s, lifetime_s, None)
    }

    /// Seals `content` to `key`, or to the prekey of the holder of `card`.
    #[expect(clippy::too_many_arguments, reason = "all of it is one message")]
    pub(super) fn seal_with(
        &self,
        state: &State,
        card: &Card,
        content: &Content,
        id: MessageId,
        now_s: u64,
        lifetime_s: u64,
        key: Option<OneTimePublic>,
    ) -> Result<Outgoing, MailboxError> {
        let bytes = content.encode()?;
        let clock = self.clock.trusted_wall_s();
        let way = self.way(state, card);
        let uplink = way.as_ref().map(|(bridge, author_jid, recipient_jid)| UplinkDraft {
            bridge,
            author_jid,
            recipient_jid,
            message_id: id,
            sent_ms: self.clock.display_ms(),
        });
        let draft = Draft {
            recipient: card,
            content: &bytes,
            created_s: clock,
            epoch: Epoch::at(now_s),
            lifetime_s,
            uplink,
        };
        let sealed = match key {
            Some(key) => seal_once(&self.identity, &draft, key, &mut OsRandom)?,
            None => seal(&self.identity, &draft, &mut OsRandom)?,
        };
        let [hops] = random::<1>();
        let entry = Entry::own(hops % (HOPS_AT_BIRTH_MAX + 1), clock);
        let put = StoreOp::Put { bundle: Bundle::clone(&sealed.bundle), entry };
        Ok(Outgoing { sealed, put, records: Vec::new(), given: Vec::new() })
    }

    /// By which of our accounts' bridges the holder of `card` can be reached: bridge, our JID, theirs. An account that is
    /// logged out does as well: carriers bring the message to its bridge.
    fn way(&self, state: &State, card: &Card) -> Option<(BridgeCard, String, String)> {
        let recipient = card.jids().first()?;
        self.accounts.all().into_iter().find_map(|entry| {
            let bridge = state.bridges.get(&entry.account.bridge)?;
            let shared = card.bridges().iter().any(|domain| domain == bridge.domain());
            shared.then(|| (bridge.clone(), entry.account.jid, recipient.clone()))
        })
    }

    /// The card held of an identity.
    pub(super) fn card_of(state: &State, identity: &IdentityKey) -> Option<Card> {
        state.contacts.get(identity).map(|contact| contact.card.clone())
    }
}

/// `N` bytes from the operating system.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRandom.fill(&mut bytes);
    bytes
}
