//! Own cards, given out, renewed and revoked; and the contacts told of a new one.

use pigeon_bundle::{Card, IdentityKey, LIFETIME_MAX_S, LIFETIME_MIN_S, MessageId};
use pigeon_core::Event as CoreEvent;
use pigeon_proto::{Body, Content};
use pigeon_store::Transaction;

use super::one_time::Cause;
use super::own::Renewal;
use super::{Contact, Mailbox, MailboxError};
use crate::random::OsRandom;

/// Contacts that are sent a new card at a time. The calendar looks once a minute: a carrier is not to see at once how
/// many contacts its neighbour has.
const CARDS_AT_ONCE: usize = 4;

/// A card that was given out and may still work.
pub struct CardView {
    /// For whom it was made; empty: published.
    pub name: String,
    /// Who holds it, once known: name and identity key.
    pub holder: Option<(String, IdentityKey)>,
    /// Unix seconds.
    pub issued_s: u64,
    /// Mail by it is not listened to any more.
    pub revoked: bool,
    /// Former published cards that still work, with the published one.
    pub former: usize,
}

/// What a revocation came to.
pub struct Revoked {
    /// Mailbox secrets that are not listened to any more.
    pub secrets: usize,
    /// The person meant holds the published card, which goes on working.
    pub holds_published: bool,
}

impl Mailbox {
    /// Publishes a card with a mailbox secret of its own, and sends it to the contacts that hold the former one, which
    /// goes on working until [`Mailbox::revoke_card`].
    ///
    /// # Errors
    /// No trusted clock, too many former cards, or a failing store.
    pub async fn publish_card(&self) -> Result<Card, MailboxError> {
        let now_s = self.clock.trusted_wall_s().ok_or(MailboxError::NoClock)?;
        let keeping = self.keeping.lock().await;
        let renewal =
            self.state().own.with_new_secret(&self.identity, &self.printed(), now_s, &mut OsRandom)?;
        self.adopt(renewal).await?;
        drop(keeping);
        self.send_cards().await?;
        self.card().ok_or(MailboxError::NoClock)
    }

    /// A card for one person, made now or before.
    ///
    /// # Errors
    /// No card at all yet, a name that is none, too many cards, or a failing store.
    pub async fn card_for_person(&self, name: &str) -> Result<Card, MailboxError> {
        let keeping = self.keeping.lock().await;
        let renewal = {
            let state = self.state();
            let now_s = state.own.card().ok_or(MailboxError::NoClock)?.issued_s();
            let now_s = self.clock.trusted_wall_s().unwrap_or(now_s);
            let contact = state.contacts.find(name).ok().map(|contact| contact.card.identity());
            state.own.with_person(name, contact, now_s, &mut OsRandom)?
        };
        if let Some(renewal) = renewal {
            self.adopt(renewal).await?;
        }
        drop(keeping);
        self.state().own.named_card(&self.identity, name)?.ok_or(MailboxError::NoClock)
    }

    /// Revokes the card of one person, or the former published cards: mail by them is not listened to any more.
    ///
    /// # Errors
    /// Nothing to revoke, or a failing store.
    pub async fn revoke_card(&self, name: Option<&str>) -> Result<Revoked, MailboxError> {
        let _keeping = self.keeping.lock().await;
        let (renewal, secrets) = {
            let state = self.state();
            match name {
                None => state.own.without_former()?,
                Some(name) => {
                    let contact = state.contacts.find(name).ok().map(|contact| contact.card.identity());
                    let now_s = self.clock.day_s().unwrap_or_default();
                    state.own.without_person(name, contact, now_s)?
                }
            }
        };
        self.adopt(renewal).await?;
        Ok(Revoked { secrets, holds_published: name.is_some() && secrets == 0 })
    }

    /// The cards given out: the published one first, then those for one person each.
    pub fn cards(&self) -> Vec<CardView> {
        let state = self.state();
        let published = state.own.card().map(|card| CardView {
            name: String::new(),
            holder: None,
            issued_s: card.issued_s(),
            revoked: false,
            former: state.own.former(),
        });
        let persons = state.own.persons().iter().map(|person| CardView {
            name: person.name.clone(),
            holder: person.holder.map(|holder| (state.contacts.name(&holder), holder)),
            issued_s: person.issued_s,
            revoked: person.secret.is_none(),
            former: 0,
        });
        published.into_iter().chain(persons).collect()
    }

    /// Makes a renewal durable, takes it over, and listens to its tags before anybody is shown its card.
    async fn adopt(&self, renewal: Renewal) -> Result<(), MailboxError> {
        self.store.commit(Transaction::of_records(vec![renewal.record.clone()])).await?;
        let new_card = renewal.new_card;
        self.state().own.adopt(renewal);
        if let Some(now_s) = self.clock.day_s() {
            self.tell_tags(now_s).await?;
        }
        if new_card {
            self.card_changes.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// Sends the present card to contacts that hold an older one, a few at a time.
    ///
    /// # Errors
    /// When the store fails or the daemon stops.
    pub(super) async fn send_cards(&self) -> Result<(), MailboxError> {
        // A day that only neighbours have told may be a lie, and the card's dates with it.
        let Some(now_s) = self.clock.trusted_wall_s() else { return Ok(()) };
        let outdated = {
            let state = self.state();
            // Whoever wrote first and was not confirmed by the user gets none by that: identities cost nothing.
            let issued_s = |contact: &Contact| {
                let identity = contact.card.identity();
                let known = !contact.introduced || state.own.is_person(&identity);
                if known { state.own.issued_for(&identity) } else { None }
            };
            state.contacts.outdated(issued_s, CARDS_AT_ONCE)
        };
        for contact in outdated {
            self.send_card(&contact, now_s).await?;
        }
        Ok(())
    }

    /// Seals our card to a contact. It has r as all messages, and no receipt; a newer card takes back the one before.
    async fn send_card(&self, contact: &Contact, now_s: u64) -> Result<(), MailboxError> {
        let identity = contact.card.identity();
        let (written, bundle, before, given) = {
            let mut state = self.state();
            let Some(card) = state.own.card_for(&self.identity, &identity)? else { return Ok(()) };
            let issued_s = card.issued_s();
            let lifetime_s = card.prekey_expires_s().saturating_sub(now_s);
            let content = Content::new(Body::CardUpdate(card.as_bytes().to_vec().into()));
            let sealed = self.seal_message(
                &mut state,
                &contact.card,
                content,
                MessageId::NONE,
                lifetime_s.clamp(LIFETIME_MIN_S, LIFETIME_MAX_S),
                Cause::Daemon,
            );
            let (mut transaction, reveal, bundle, given) = match sealed {
                Ok(outgoing) => {
                    let bundle = outgoing.sealed.bundle.id();
                    let transaction = Transaction { ops: vec![outgoing.put], records: outgoing.records };
                    (transaction, Some(outgoing.sealed.reveal), Some(bundle), outgoing.given)
                }
                // The contact's card is at fault: it is not tried again before there is another card of ours.
                Err(MailboxError::Seal(error)) => {
                    tracing::warn!(%error, "a contact cannot be sent our card");
                    (Transaction::default(), None, None, Vec::new())
                }
                Err(error) => return Err(error),
            };
            let sent = state.contacts.card_sent(&identity, issued_s, reveal);
            let Some((before, record)) = sent else { return Ok(()) };
            transaction.records.push(record);
            (self.store.commit(transaction), bundle, before, given)
        };
        if let Err(error) = written.await {
            self.take_keys_back(&given);
            return Err(error.into());
        }
        if let Some(bundle) = bundle {
            self.tell(CoreEvent::Submitted { bundle }).await?;
        }
        match before {
            Some(before) if self.is_held(&before)? => {
                self.tell(CoreEvent::Cancelled { reveals: vec![before] }).await
            }
            _ => Ok(()),
        }
    }
}
