//! Cards made for one person each, with a mailbox secret of their own: revoking one leaves all others alone, and
//! carriers cannot link its tags with those of the published card.

use pigeon_bundle::{
    Card, CardFields, Epoch, Identity, IdentityKey, MailboxSecret, NAME_MAX, SecretRandom, Tag,
};
use pigeon_store::RecordOp;

use super::{Own, Renewal, fresh_secret};
use crate::mailbox::MailboxError;
use crate::mailbox::records::PersonRecord;

/// Cards for one person each, revoked ones included. Each that stands costs 33 tags.
pub(crate) const PERSONS_MAX: usize = 128;

/// A card that was made for one person.
#[derive(Clone)]
pub(crate) struct Person {
    /// What the owner calls that person.
    pub(crate) name: String,
    /// `None`: revoked.
    pub(crate) secret: Option<MailboxSecret>,
    /// Who wrote first by it, or who was meant.
    pub(crate) holder: Option<IdentityKey>,
    /// Unix seconds of its making.
    pub(crate) issued_s: u64,
}

impl Person {
    pub(super) fn record(&self) -> PersonRecord {
        PersonRecord {
            name: self.name.clone(),
            mailbox_secret: self.secret.as_ref().map(|secret| secret.0.to_vec()).unwrap_or_default(),
            holder: self.holder.map(|holder| holder.0.to_vec()).unwrap_or_default(),
            issued_s: self.issued_s,
        }
    }

    pub(super) fn from_record(record: &PersonRecord) -> Option<Self> {
        let secret = match record.mailbox_secret.as_slice() {
            [] => None,
            bytes => Some(MailboxSecret::try_from(bytes).ok()?),
        };
        let holder = match record.holder.as_slice() {
            [] => None,
            bytes => Some(IdentityKey::try_from(bytes).ok()?),
        };
        Some(Self { name: record.name.clone(), secret, holder, issued_s: record.issued_s })
    }
}

impl Own {
    /// All of them, in the order of their making.
    pub(crate) fn persons(&self) -> &[Person] {
        &self.persons
    }

    /// Makes a card for the person of this name, who may be a contact already. `None` where it stands.
    ///
    /// # Errors
    /// A name that is none, or too many cards.
    pub(crate) fn with_person(
        &self,
        name: &str,
        contact: Option<IdentityKey>,
        now_s: u64,
        rng: &mut dyn SecretRandom,
    ) -> Result<Option<Renewal>, MailboxError> {
        if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
            return Err(MailboxError::CardName);
        }
        let mut next = self.next()?;
        let fresh = Person {
            name: name.to_owned(),
            secret: Some(fresh_secret(rng)),
            holder: contact,
            issued_s: now_s,
        };
        match next.persons.iter_mut().find(|person| person.name == name) {
            Some(person) if person.secret.is_some() => return Ok(None),
            Some(revoked) => *revoked = fresh,
            None => next.add_person(fresh)?,
        }
        Ok(Some(next.into_renewal(false)))
    }

    /// Revokes the card of this name: its tags are not listened to any more, and its holder gets no further card. A
    /// contact that holds only the published card gets no further one either. Gives the secrets dropped, 0 or 1.
    ///
    /// # Errors
    /// When there is neither such a card nor such a contact.
    pub(crate) fn without_person(
        &self,
        name: &str,
        contact: Option<IdentityKey>,
        now_s: u64,
    ) -> Result<(Renewal, usize), MailboxError> {
        let mut next = self.next()?;
        let mut dropped = 0;
        let meant = |person: &Person| person.name == name || (contact.is_some() && person.holder == contact);
        let mut found = false;
        for person in next.persons.iter_mut().filter(|person| meant(person)) {
            found = true;
            dropped += usize::from(person.secret.take().is_some());
        }
        match contact {
            _ if found => {}
            Some(_) => {
                let name = name.to_owned();
                next.add_person(Person { name, secret: None, holder: contact, issued_s: now_s })?;
            }
            None => return Err(MailboxError::UnknownCard { name: name.to_owned() }),
        }
        Ok((next.into_renewal(false), dropped))
    }

    /// Where there are too many, a revoked one goes: one that nobody ever wrote by, else the oldest.
    fn add_person(&mut self, person: Person) -> Result<(), MailboxError> {
        if self.persons.len() >= PERSONS_MAX {
            let revoked = |person: &Person| person.secret.is_none();
            let unused = |person: &Person| revoked(person) && person.holder.is_none();
            let at = self.persons.iter().position(unused).or_else(|| self.persons.iter().position(revoked));
            let at = at.ok_or(MailboxError::TooManyCards { limit: PERSONS_MAX, what: "personal" })?;
            self.persons.remove(at);
        }
        self.persons.push(person);
        Ok(())
    }

    /// Whether this contact holds, or held, a card of its own.
    pub(crate) fn is_person(&self, contact: &IdentityKey) -> bool {
        self.person_of(contact).is_some()
    }

    /// The card of this name as it is now.
    ///
    /// # Errors
    /// Never for a card like the published one.
    pub(crate) fn named_card(&self, identity: &Identity, name: &str) -> Result<Option<Card>, MailboxError> {
        match self.persons.iter().find(|person| person.name == name) {
            Some(person) => self.card_of_person(identity, person),
            None => Ok(None),
        }
    }

    /// Whose card a message was written by. The first author who uses a card is taken for its holder, and gets the next
    /// ones; the record to write where that is news.
    pub(crate) fn bind(&mut self, tag: Tag, epoch: Epoch, author: IdentityKey) -> Option<RecordOp> {
        let unused = self.persons.iter_mut().filter(|person| person.holder.is_none());
        let mut by_it =
            unused.filter(|person| person.secret.as_ref().is_some_and(|secret| secret.tag(epoch) == tag));
        by_it.next()?.holder = Some(author);
        Some(self.record())
    }

    /// The published card's fields with the person's own secret. Signatures are deterministic: nothing is kept.
    pub(super) fn card_of_person(
        &self,
        identity: &Identity,
        person: &Person,
    ) -> Result<Option<Card>, MailboxError> {
        let (Some(published), Some(secret)) = (self.card(), &person.secret) else { return Ok(None) };
        let fields = CardFields {
            name: published.name().to_owned(),
            jids: published.jids().to_vec(),
            bridges: published.bridges().to_vec(),
            mailbox_secret: secret.clone(),
            prekey: *published.prekey(),
            prekey_expires_s: published.prekey_expires_s(),
            issued_s: published.issued_s().max(person.issued_s),
        };
        Ok(Some(Card::issue(identity, &fields)?))
    }

    /// The person that this contact is; one whose card stands before one whose card was revoked.
    pub(super) fn person_of(&self, contact: &IdentityKey) -> Option<&Person> {
        let theirs = || self.persons.iter().filter(|person| person.holder == Some(*contact));
        theirs().rfind(|person| person.secret.is_some()).or_else(|| theirs().next_back())
    }
}
