//! Cards of other people, however they come, and who these people are.

use pigeon_bundle::Card;
use pigeon_core::{ContactId, Event as CoreEvent};
use pigeon_proto::api::Event;
use pigeon_store::Transaction;

use super::contacts::Origin;
use super::{Contact, Mailbox, MailboxError};
use crate::events::event;

/// Clocks of honest people differ by less.
const CARD_AHEAD_S_MAX: u64 = 86_400;

impl Mailbox {
    /// Adds or renews a contact from the text form of its card.
    ///
    /// # Errors
    /// A card that does not verify, is older than the one held, or is our own.
    pub async fn import_card(&self, text: &str) -> Result<Contact, MailboxError> {
        self.take_card(Card::from_text(text.trim())?, Origin::Hand).await
    }

    /// Takes a card that its owner's server showed us: a contact whose name the user has still to confirm.
    ///
    /// # Errors
    /// As [`Mailbox::import_card`].
    pub async fn introduce_card(&self, bytes: &[u8]) -> Result<Contact, MailboxError> {
        self.take_card(Card::parse(bytes)?, Origin::Message).await
    }

    /// Takes the card of somebody met in person, who was shown our card issued at `shown_s` and has confirmed the code.
    ///
    /// # Errors
    /// Our own card, one from the future, no room for another contact, or a failing store.
    pub async fn met(&self, card: Card, shown_s: u64) -> Result<Contact, MailboxError> {
        let met = self.take_card(card, Origin::Meeting { shown_s }).await?;
        self.events.push(Event { contact: met.card.name().to_owned(), ..event("contact_met") });
        Ok(met)
    }

    async fn take_card(&self, card: Card, origin: Origin) -> Result<Contact, MailboxError> {
        let identity = card.identity();
        if identity == self.identity.key() {
            return Err(MailboxError::OwnCard);
        }
        if self.is_from_the_future(&card) {
            return Err(MailboxError::FutureCard);
        }
        let written = {
            let mut state = self.state();
            let taken = state.contacts.take(&self.identity, card, origin)?;
            // Queued under the lock: an older record of this contact must not come after a newer one.
            self.store.commit(Transaction::of_records(vec![taken.record]))
        };
        written.await?;
        self.tell_contacts().await?;
        self.state().contacts.get(&identity).cloned().ok_or(MailboxError::Stopping)
    }

    /// Tells the core whom to recognise, and keeps the names at hand.
    pub(super) async fn tell_contacts(&self) -> Result<(), MailboxError> {
        let (links, names) = {
            let state = self.state();
            (state.contacts.links(), state.contacts.names())
        };
        *self.names.write().unwrap_or_else(std::sync::PoisonError::into_inner) = names;
        self.tell(CoreEvent::Contacts(links)).await
    }

    /// A card that was issued under a clock far ahead would stand above all later ones.
    pub(super) fn is_from_the_future(&self, card: &Card) -> bool {
        self.clock
            .trusted_wall_s()
            .is_some_and(|now_s| card.issued_s() > now_s.saturating_add(CARD_AHEAD_S_MAX))
    }

    /// All contacts by identity.
    pub fn contacts(&self) -> Vec<Contact> {
        self.state().contacts.iter().cloned().collect()
    }

    /// Name of the contact that the core calls `id`.
    pub fn contact_name(&self, id: ContactId) -> Option<String> {
        // Not under the state's lock: the shell asks, and must not wait for a message that is being opened.
        self.names.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&id).cloned()
    }
}
