//! The contacts: cards that the user imported or that came inside messages.

use std::collections::BTreeMap;

use pigeon_bundle::{Card, Identity, IdentityKey};
use pigeon_core::{ContactId, ContactLink};
use pigeon_store::{RecordOp, Store, Table};
use prost::Message;

use super::MailboxError;
use super::records::ContactRecord;

/// Contacts a mailbox holds at most: each costs a recognition entry on every link.
pub(crate) const CONTACTS_MAX: usize = 4_096;
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
    pub(crate) fn load(store: &Store) -> Result<Self, MailboxError> {
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
                let contact = Contact { card, knows_us: record.knows_us, introduced: record.introduced };
                contacts.insert(contact.card.identity(), contact);
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

    /// Takes a card if it is newer than the one held. Gives the record to write, `None` where the held one stays.
    ///
    /// # Errors
    /// When there are too many contacts.
    pub(crate) fn take(&mut self, card: Card, introduced: bool) -> Result<Option<RecordOp>, MailboxError> {
        let identity = card.identity();
        let held = self.0.get(&identity);
        if held.is_some_and(|held| card.issued_s() < held.card.issued_s()) {
            return Ok(None);
        }
        if held.is_none() && self.0.len() >= CONTACTS_MAX {
            return Err(MailboxError::TooManyContacts);
        }
        let contact = Contact {
            card,
            knows_us: held.is_some_and(|held| held.knows_us),
            introduced: introduced && held.is_none_or(|held| held.introduced),
        };
        let record = contact.record();
        self.0.insert(identity, contact);
        Ok(Some(record))
    }

    /// Notes that a contact holds our card. Gives the record to write where that is news.
    pub(crate) fn knows_us(&mut self, identity: &IdentityKey) -> Option<RecordOp> {
        let contact = self.0.get_mut(identity).filter(|contact| !contact.knows_us)?;
        contact.knows_us = true;
        Some(contact.record())
    }

    /// Finds who the user means: a name, a JID, or an identity key in hex (8 digits at least).
    ///
    /// # Errors
    /// Nobody, or several.
    pub(crate) fn find(&self, to: &str) -> Result<&Contact, MailboxError> {
        let found: Vec<&Contact> = self
            .iter()
            .filter(|contact| {
                let card = &contact.card;
                card.name() == to
                    || card.jids().iter().any(|jid| jid.eq_ignore_ascii_case(to))
                    || (to.len() >= 8 && card.identity().to_string().starts_with(&to.to_ascii_lowercase()))
            })
            .collect();
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
        let to = to.to_lowercase();
        let head: String = to.chars().take(2).collect();
        let mut near: Vec<&str> = self
            .iter()
            .map(|c| c.card.name())
            .filter(|name| !head.is_empty() && name.to_lowercase().starts_with(&head))
            .collect();
        near.truncate(5);
        if near.is_empty() { String::new() } else { format!("; near: {}", near.join(", ")) }
    }

    /// What the core needs to recognise contacts on links.
    pub(crate) fn links(&self, identity: &Identity) -> Vec<ContactLink> {
        let link = |contact: &Contact| {
            let recognition_key = identity.recognition_key(contact.card.x25519()).ok()?;
            Some(ContactLink { contact: contact_id(&contact.card.identity()), recognition_key })
        };
        self.iter().filter_map(link).collect()
    }

    /// The contact the core calls `id`.
    pub(crate) fn by_id(&self, id: ContactId) -> Option<&Contact> {
        self.iter().find(|contact| contact_id(&contact.card.identity()) == id)
    }
}

fn contact_id(identity: &IdentityKey) -> ContactId {
    let [a, b, c, d, e, f, g, h, ..] = identity.0;
    ContactId(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}
