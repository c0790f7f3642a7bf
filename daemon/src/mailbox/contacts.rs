//! The contacts: cards that the user imported or that came inside messages.

use std::collections::BTreeMap;

use pigeon_bundle::{Card, Identity, IdentityKey};
use pigeon_core::{ContactId, ContactLink};
use pigeon_store::{RecordOp, Store, Table};
use prost::Message;

use super::MailboxError;
use super::records::ContactRecord;

/// Contacts from the user's hand: each costs a recognition entry on every link, and the core takes so many.
pub(crate) const CONTACTS_MAX: usize = pigeon_core::limits::CONTACTS_MAX;
/// People who wrote first and whom the user has not confirmed by importing their card.
pub(crate) const INTRODUCED_MAX: usize = 1_024;
const PAGE: usize = 256;

/// One contact.
#[derive(Clone)]
pub struct Contact {
    /// The newest card held.
    pub card: Card,
    /// The contact has shown that it holds our card.
    pub knows_us: bool,
    /// Came inside a message, not from the user's hand.
    pub introduced: bool,
    /// [`Identity::recognition_key`] with this contact; `None` where the card's key allows none.
    recognition_key: Option<[u8; 32]>,
}

/// What taking a card comes to.
pub(crate) struct Taken {
    /// To be written.
    pub(crate) record: RecordOp,
    /// It is another card than the one held, or the user confirmed it.
    pub(crate) news: bool,
}

impl Contact {
    /// What the store keeps of it.
    pub(crate) fn record(&self) -> RecordOp {
        let record = ContactRecord {
            card: self.card.as_bytes().to_vec(),
            knows_us: self.knows_us,
            introduced: self.introduced,
        };
        RecordOp::Put {
            table: Table::Contact,
            key: self.card.identity().0.to_vec(),
            value: record.encode_to_vec(),
        }
    }
}

/// All contacts, in memory and by identity.
#[derive(Default)]
pub(crate) struct Contacts(BTreeMap<IdentityKey, Contact>);

impl Contacts {
    /// Reads all contacts.
    ///
    /// # Errors
    /// When the store cannot be read. A card that does not verify any more is left out and logged.
    pub(crate) fn load(store: &Store, own: &Identity) -> Result<Self, MailboxError> {
        let mut contacts = BTreeMap::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = store.records(Table::Contact, after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(Self(contacts)) };
            after = Some(last.clone());
            for (_, value) in &page {
                let record = ContactRecord::decode(value.as_slice()).ok();
                let card = record.as_ref().and_then(|r| Card::parse(&r.card).ok());
                let (Some(record), Some(card)) = (record, card) else {
                    tracing::warn!(
                        "a contact's record does not verify and is left out; import its card again"
                    );
                    continue;
                };
                let recognition_key = own.recognition_key(card.x25519()).ok();
                let (knows_us, introduced) = (record.knows_us, record.introduced);
                contacts.insert(card.identity(), Contact { card, knows_us, introduced, recognition_key });
            }
        }
    }

    /// The contact with this identity.
    pub(crate) fn get(&self, identity: &IdentityKey) -> Option<&Contact> {
        self.0.get(identity)
    }

    /// All contacts by identity.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Contact> {
        self.0.values()
    }

    /// Name for people: the card's, or the start of the key.
    pub(crate) fn name(&self, identity: &IdentityKey) -> String {
        self.get(identity).map_or_else(|| identity.to_string(), |contact| contact.card.name().to_owned())
    }

    /// Takes a card unless a newer one of this contact is held. The user's hand confirms; a message does not.
    ///
    /// # Errors
    /// An older card than the one held, or too many contacts.
    pub(crate) fn take(
        &mut self,
        own: &Identity,
        card: Card,
        introduced: bool,
    ) -> Result<Taken, MailboxError> {
        let identity = card.identity();
        let held = self.0.get(&identity);
        if held.is_some_and(|held| card.issued_s() < held.card.issued_s()) {
            return Err(MailboxError::OldCard);
        }
        let introduced = introduced && held.is_none_or(|held| held.introduced);
        let (limit, count) = match introduced {
            true => (INTRODUCED_MAX, self.iter().filter(|contact| contact.introduced).count()),
            false => (CONTACTS_MAX, self.iter().filter(|contact| !contact.introduced).count()),
        };
        if held.is_none_or(|held| held.introduced != introduced) && count >= limit {
            return Err(MailboxError::TooManyContacts { limit });
        }
        let same = held.is_some_and(|held| held.card.as_bytes() == card.as_bytes());
        let news = !same || held.is_some_and(|held| held.introduced != introduced);
        let contact = Contact {
            recognition_key: match held {
                Some(held) if same => held.recognition_key,
                _ => own.recognition_key(card.x25519()).ok(),
            },
            card,
            knows_us: held.is_some_and(|held| held.knows_us),
            introduced,
        };
        let record = contact.record();
        self.0.insert(identity, contact);
        Ok(Taken { record, news })
    }

    /// Notes that a contact holds our card. Gives the record to write where that is news.
    pub(crate) fn knows_us(&mut self, identity: &IdentityKey) -> Option<RecordOp> {
        let contact = self.0.get_mut(identity).filter(|contact| !contact.knows_us)?;
        contact.knows_us = true;
        Some(contact.record())
    }

    /// Finds who the user means: a name, a JID, or an identity key in hex (8 digits at least). Whoever wrote first
    /// chose their own name and JID, so these count only for contacts whose card the user imported.
    ///
    /// # Errors
    /// Nobody, or several.
    pub(crate) fn find(&self, to: &str) -> Result<&Contact, MailboxError> {
        let by_key = |contact: &Contact| {
            to.len() >= 8 && contact.card.identity().to_string().starts_with(&to.to_ascii_lowercase())
        };
        let by_name = |contact: &Contact| !contact.introduced && is_called(&contact.card, to);
        let found: Vec<&Contact> =
            self.iter().filter(|contact| by_name(contact) || by_key(contact)).collect();
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(MailboxError::UnknownContact { to: to.to_owned(), near: self.near(to) }),
            several => Err(MailboxError::AmbiguousContact {
                to: to.to_owned(),
                matches: several.iter().map(|c| c.card.identity().to_string()).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    fn near(&self, to: &str) -> String {
        if let Some(claims) = self.iter().find(|contact| contact.introduced && is_called(&contact.card, to)) {
            return format!(
                " whose card you imported, though somebody who calls themselves so has written to you: import their \
                 card, or use their identity key {}",
                claims.card.identity()
            );
        }
        let to = to.to_lowercase();
        let head: String = to.chars().take(2).collect();
        let mut near: Vec<&str> = self
            .iter()
            .filter(|contact| !contact.introduced)
            .map(|c| c.card.name())
            .filter(|name| !head.is_empty() && name.to_lowercase().starts_with(&head))
            .collect();
        near.truncate(5);
        if near.is_empty() { String::new() } else { format!("; near: {}", near.join(", ")) }
    }

    /// What the core needs to recognise contacts on links. Recognition gives a contact's share of the store, so it is
    /// for those whom the user chose.
    pub(crate) fn links(&self) -> Vec<ContactLink> {
        let link = |contact: &Contact| {
            let recognition_key = contact.recognition_key?;
            Some(ContactLink { contact: contact_id(&contact.card.identity()), recognition_key })
        };
        self.iter().filter(|contact| !contact.introduced).filter_map(link).collect()
    }

    /// Names by what the core calls contacts.
    pub(crate) fn names(&self) -> BTreeMap<ContactId, String> {
        self.iter().map(|c| (contact_id(&c.card.identity()), c.card.name().to_owned())).collect()
    }
}

fn is_called(card: &Card, to: &str) -> bool {
    card.name() == to || card.jids().iter().any(|jid| jid.eq_ignore_ascii_case(to))
}

fn contact_id(identity: &IdentityKey) -> ContactId {
    let [a, b, c, d, e, f, g, h, ..] = identity.0;
    ContactId(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}
