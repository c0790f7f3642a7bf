//! The contacts: cards that the user imported or that came inside messages.

use std::collections::BTreeMap;

use pigeon_bundle::{Card, Identity, IdentityKey, OneTimePublic, OneTimeStock, Reveal};
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
    /// The user has met this person and compared a code: nobody was in between.
    pub met: bool,
    /// Issue time of the newest card of ours that it is believed to hold or was sent; 0: none.
    pub(crate) card_sent_s: u64,
    /// r of the last card sent to it, to take that back when a newer one follows.
    pub(crate) update: Option<Reveal>,
    /// [`Identity::recognition_key`] with this contact; `None` where the card's key allows none.
    recognition_key: Option<[u8; 32]>,
}

/// How a card came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From the user's hand.
    Hand,
    /// From a meeting in person, in which ours of this issue time was shown.
    Meeting {
        /// Unix seconds.
        shown_s: u64,
    },
    /// In a message, or from a server: its owner's word.
    Message,
}

/// What taking a card comes to.
pub(crate) struct Taken {
    /// To be written.
    pub(crate) record: RecordOp,
    /// It is another card than the one held, or the user confirmed it.
    pub(crate) news: bool,
}

impl Contact {
    /// What the store keeps of it, and of the one-time keys it has given.
    fn record(&self, stock: Option<&OneTimeStock>) -> RecordOp {
        let record = ContactRecord {
            card: self.card.as_bytes().to_vec(),
            knows_us: self.knows_us,
            introduced: self.introduced,
            one_time: stock.map(OneTimeStock::to_bytes).unwrap_or_default(),
            card_sent_s: self.card_sent_s,
            update: self.update.map(|reveal| reveal.0.to_vec()).unwrap_or_default(),
            met: self.met,
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
pub(crate) struct Contacts {
    people: BTreeMap<IdentityKey, Contact>,
    /// One-time keys that contacts have given. Apart from the contact, which may be copied: these must not be.
    stocks: BTreeMap<IdentityKey, OneTimeStock>,
}

impl Contacts {
    /// Reads all contacts.
    ///
    /// # Errors
    /// When the store cannot be read. A card that does not verify any more is left out and logged.
    pub(crate) fn load(store: &Store, own: &Identity) -> Result<Self, MailboxError> {
        let mut contacts = Self::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = store.records(Table::Contact, after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(contacts) };
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
                let identity = card.identity();
                // A stock that cannot be read costs nothing but the use of its keys.
                let stock = OneTimeStock::from_bytes(&record.one_time).unwrap_or_default();
                contacts.stocks.insert(identity, stock);
                let contact = Contact {
                    card,
                    knows_us: record.knows_us,
                    introduced: record.introduced,
                    met: record.met,
                    card_sent_s: record.card_sent_s,
                    update: record.update.as_slice().try_into().ok(),
                    recognition_key,
                };
                contacts.people.insert(identity, contact);
            }
        }
    }

    /// The contact with this identity.
    pub(crate) fn get(&self, identity: &IdentityKey) -> Option<&Contact> {
        self.people.get(identity)
    }

    /// All contacts by identity.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Contact> {
        self.people.values()
    }

    /// Name for people: the card's, or the start of the key.
    pub(crate) fn name(&self, identity: &IdentityKey) -> String {
        self.get(identity).map_or_else(|| identity.to_string(), |contact| contact.card.name().to_owned())
    }

    /// Takes a card unless a newer one of this contact is held. The user's hand confirms, and so does a meeting; a message
    /// does not. Hand and meeting also drop the contact's one-time keys: it may have lost the private halves. Whoever is
    /// met keeps a newer card that is held: the person is the same, and that is what was confirmed.
    ///
    /// # Errors
    /// An older card than the one held, or too many contacts.
    pub(crate) fn take(&mut self, own: &Identity, card: Card, origin: Origin) -> Result<Taken, MailboxError> {
        let identity = card.identity();
        let held = self.people.get(&identity);
        let newer = held.filter(|held| card.issued_s() < held.card.issued_s());
        let card = match (newer, origin) {
            (None, _) => card,
            (Some(held), Origin::Meeting { .. }) => held.card.clone(),
            (Some(_), _) => return Err(MailboxError::OldCard),
        };
        let by_hand = origin != Origin::Message;
        let introduced = !by_hand && held.is_none_or(|held| held.introduced);
        let (limit, count) = match introduced {
            true => (INTRODUCED_MAX, self.iter().filter(|contact| contact.introduced).count()),
            false => (CONTACTS_MAX, self.iter().filter(|contact| !contact.introduced).count()),
        };
        if held.is_none_or(|held| held.introduced != introduced) && count >= limit {
            return Err(MailboxError::TooManyContacts { limit });
        }
        let same = held.is_some_and(|held| held.card.as_bytes() == card.as_bytes());
        let news = !same || held.is_some_and(|held| held.introduced != introduced);
        // They have shown that they hold our card; only a newer one need be sent.
        let shown_s = match origin {
            Origin::Meeting { shown_s } => Some(shown_s),
            Origin::Hand | Origin::Message => None,
        };
        let contact = Contact {
            recognition_key: match held {
                Some(held) if same => held.recognition_key,
                _ => own.recognition_key(card.x25519()).ok(),
            },
            card,
            knows_us: shown_s.is_some() || held.is_some_and(|held| held.knows_us),
            met: shown_s.is_some() || held.is_some_and(|held| held.met),
            card_sent_s: held.map_or(0, |held| held.card_sent_s).max(shown_s.unwrap_or(0)),
            update: held.and_then(|held| held.update),
            introduced,
        };
        if by_hand {
            self.stocks.remove(&identity);
        }
        let record = contact.record(self.stocks.get(&identity));
        self.people.insert(identity, contact);
        Ok(Taken { record, news })
    }

    /// Notes that a contact holds our card, in doubt the present one, issued at `issued_s`. Gives the record to write
    /// where that is news.
    pub(crate) fn knows_us(&mut self, identity: &IdentityKey, issued_s: u64) -> Option<RecordOp> {
        let contact = self.people.get_mut(identity).filter(|contact| !contact.knows_us)?;
        contact.knows_us = true;
        contact.card_sent_s = contact.card_sent_s.max(issued_s);
        self.record(identity)
    }

    /// Notes that a contact wrote by a former card of ours, though it was sent the present one: it is sent once more,
    /// unless that is still `under_way`. Gives the record to write where that is news.
    pub(crate) fn holds_former(
        &mut self,
        identity: &IdentityKey,
        under_way: impl Fn(&Reveal) -> bool,
    ) -> Option<RecordOp> {
        let contact = self.people.get_mut(identity).filter(|contact| contact.card_sent_s > 0)?;
        if contact.update.as_ref().is_some_and(under_way) {
            return None;
        }
        contact.card_sent_s = 0;
        self.record(identity)
    }

    /// Takes in one-time keys that a contact gave. Gives the record to write where that is news.
    pub(crate) fn add_one_time(
        &mut self,
        identity: &IdentityKey,
        keys: &[[u8; 32]],
        expires_s: u64,
    ) -> Option<RecordOp> {
        if !self.people.contains_key(identity) {
            return None;
        }
        let news = self.stocks.entry(*identity).or_default().add(keys, expires_s);
        if news { self.record(identity) } else { None }
    }

    /// Takes out a one-time key for a message to this contact, with the record to write in the message's transaction.
    pub(crate) fn take_one_time(
        &mut self,
        identity: &IdentityKey,
        made_s: Option<u64>,
    ) -> Option<(OneTimePublic, RecordOp)> {
        let key = self.stocks.get_mut(identity)?.take(made_s)?;
        Some((key, self.record(identity)?))
    }

    /// Drops all one-time keys: this node may have used some of them and not know it. Gives the records to write.
    pub(crate) fn forget_one_time(&mut self) -> Vec<RecordOp> {
        let held: Vec<_> =
            self.stocks.iter().filter(|(_, stock)| !stock.is_empty()).map(|(id, _)| *id).collect();
        self.stocks.clear();
        held.iter().filter_map(|identity| self.record(identity)).collect()
    }

    /// At most `limit` contacts that hold an older card of ours than the one that `issued_s` says they should.
    pub(crate) fn outdated(&self, issued_s: impl Fn(&Contact) -> Option<u64>, limit: usize) -> Vec<Contact> {
        let behind = |contact: &&Contact| {
            contact.knows_us && issued_s(contact).is_some_and(|at| at > contact.card_sent_s)
        };
        self.iter().filter(behind).take(limit).cloned().collect()
    }

    /// Notes that our card was sent. Gives r of the card sent before, and the record to write.
    pub(crate) fn card_sent(
        &mut self,
        identity: &IdentityKey,
        issued_s: u64,
        reveal: Option<Reveal>,
    ) -> Option<(Option<Reveal>, RecordOp)> {
        let contact = self.people.get_mut(identity)?;
        contact.card_sent_s = issued_s;
        let before = std::mem::replace(&mut contact.update, reveal);
        Some((before, self.record(identity)?))
    }

    fn record(&self, identity: &IdentityKey) -> Option<RecordOp> {
        Some(self.people.get(identity)?.record(self.stocks.get(identity)))
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
