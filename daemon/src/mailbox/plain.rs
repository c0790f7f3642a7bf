//! Messages to people who have no card here: sealed to the bridge, which reads them and sends them on as plain text.

use jid::BareJid;
use pigeon_bundle::{BridgeCard, BridgeDraft, Bundle, Epoch, MessageId, UplinkDraft, seal_to_bridge};
use pigeon_core::entry::HOPS_AT_BIRTH_MAX;
use pigeon_core::{Entry, Event as CoreEvent, StoreOp};
use pigeon_proto::api::Event;
use pigeon_proto::{Body, Content, Text};
use pigeon_store::Transaction;

use super::records::OutboxRecord;
use super::send::{HOUR_S, Sent, random};
use super::{Mailbox, MailboxError, OUTBOX, State};
use crate::events::event;
use crate::random::OsRandom;

impl Mailbox {
    /// The domain of the bridge that would read a message to `to`: it is a JID, no card of it is held, and there is a
    /// bridge. `None` where the message stays between its author and its recipient, or cannot be sent at all.
    pub fn bridge_that_reads(&self, to: &str) -> Option<String> {
        let state = self.state();
        let jid = Self::plain_recipient(&state, to)?;
        self.plain_way(&state, &jid).map(|(bridge, _)| bridge.domain().to_owned())
    }

    /// The bridge that would read mail for `jid`, and which of our accounts writes: one on the same host, for a bridge
    /// serves the hosts of its own server, else the first.
    fn plain_way(&self, state: &State, jid: &str) -> Option<(BridgeCard, String)> {
        let host = |jid: &str| jid.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
        let mut entries = self.accounts.all();
        entries.sort_by_key(|entry| host(&entry.account.jid) != host(jid));
        entries.into_iter().find_map(|entry| {
            let bridge = state.bridges.get(&entry.account.bridge)?;
            Some((bridge.clone(), entry.account.jid))
        })
    }

    /// The JID in normal form, if no card of it is held.
    pub(super) fn plain_recipient(state: &State, to: &str) -> Option<String> {
        if !matches!(state.contacts.find(to), Err(MailboxError::UnknownContact { .. })) {
            return None;
        }
        let jid = BareJid::new(to).ok().filter(|jid| jid.node().is_some())?;
        let is_on_a_card = state.contacts.iter().any(|contact| {
            contact.card.jids().iter().any(|held| BareJid::new(held).is_ok_and(|held| held == jid))
        });
        (!is_on_a_card).then(|| jid.to_string())
    }

    /// Seals `text` to the bridge for the account `jid`, and keeps it. The caller has its author's leave.
    ///
    /// # Errors
    /// As [`Mailbox::send`].
    pub(super) async fn send_plain(
        &self,
        jid: String,
        text: String,
        lifetime_h: u32,
    ) -> Result<Sent, MailboxError> {
        let unknown = || MailboxError::UnknownContact { to: jid.clone(), near: String::new() };
        let (written, sent) = {
            let mut state = self.state();
            let Some((bridge, author)) = self.plain_way(&state, &jid) else { return Err(unknown()) };
            let now_s = self.clock.day_s().ok_or(MailboxError::NoClock)?;
            let clock = self.clock.trusted_wall_s();
            let (id, sent_ms) = (MessageId(random()), self.clock.display_ms());
            let content = Content::new(Body::Text(Text { id, thread: None, sent_ms, text: text.clone() }));
            let draft = BridgeDraft {
                content: &content.encode()?,
                created_s: clock,
                epoch: Epoch::at(now_s),
                lifetime_s: u64::from(lifetime_h) * HOUR_S,
                uplink: UplinkDraft {
                    bridge: &bridge,
                    author_jid: &author,
                    recipient_jid: &jid,
                    message_id: id,
                    sent_ms,
                },
            };
            let sealed = seal_to_bridge(&self.identity, &draft, &mut OsRandom)?;
            let bundle = &sealed.bundle;
            let record = OutboxRecord {
                message_id: id.0.to_vec(),
                recipient_jid: jid,
                text,
                sent_ms,
                bundle: bundle.id().0.to_vec(),
                reveal: sealed.reveal.0.to_vec(),
                expires_s: bundle.expires_s(),
                ..OutboxRecord::default()
            };
            let [hops] = random::<1>();
            let entry = Entry::own(hops % (HOPS_AT_BIRTH_MAX + 1), clock);
            let put = StoreOp::Put { bundle: Bundle::clone(bundle), entry };
            let records = OUTBOX.put(state.outbox_next, &record, id, &self.identity(), bundle.id());
            state.outbox_next += 1;
            let sent = Sent { message: id, bundle: bundle.id(), uplink: true };
            (self.store.commit(Transaction { ops: vec![put], records }), sent)
        };
        written.await?;
        self.events.push(Event {
            bundle_id: sent.bundle.to_string(),
            message_id: sent.message.to_string(),
            ..event("message_queued")
        });
        self.tell(CoreEvent::Submitted { bundle: sent.bundle }).await?;
        Ok(sent)
    }
}
