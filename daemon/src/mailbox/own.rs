//! This node's own card, prekeys and mailbox secrets.

use pigeon_bundle::{
    Card, CardFields, DAY_S, Epoch, Identity, IdentityKey, MailboxSecret, PrekeyRing, SecretRandom, Tag,
};
use pigeon_store::{RecordOp, Store, Table};
use prost::Message;

use super::records::OwnRecord;
use super::{MailboxError, one_time};

mod persons;

pub(crate) use persons::Person;

const KEY: &[u8] = b"own";
/// Bundles live at most 30 days and a day of skew: tags of these past days are listened to.
const PAST_EPOCHS: u32 = 31;
/// Tags of these coming days are listened to and told: those who count meetings must know under which tags mail of the
/// coming days goes (PROTOCOL.md section 4, point 3).
const FUTURE_EPOCHS: u32 = 7;
/// A neighbour's clock may be ahead by so many.
const SKEW_EPOCHS: u32 = 1;
/// Secrets of published cards that are listened to at a time, the one in force included.
pub(crate) const PUBLISHED_MAX: usize = 4;

/// What this node has given out about itself.
pub(crate) struct Own {
    ring: PrekeyRing,
    /// Of published cards; the one in force is the last.
    secrets: Vec<MailboxSecret>,
    /// Cards that were made for one person each.
    persons: Vec<Person>,
    card: Option<Card>,
}

/// What a card says of its owner.
pub(crate) struct Printed {
    /// The name that the owner chose.
    pub(crate) name: String,
    /// Accounts, at most 4.
    pub(crate) jids: Vec<String>,
    /// Their bridges.
    pub(crate) bridges: Vec<String>,
}

/// What is given out next: first made durable, then taken over, so that nobody is shown a card whose prekey or secret a
/// crash could take away.
pub(crate) struct Renewal {
    next: Own,
    /// To be written first.
    pub(crate) record: RecordOp,
    /// There is a new published card to show.
    pub(crate) new_card: bool,
}

impl Own {
    /// Reads the records, or starts afresh; nothing is written yet.
    ///
    /// # Errors
    /// When the store cannot be read, or holds something that is not ours.
    pub(crate) fn load(store: &Store, rng: &mut dyn SecretRandom) -> Result<Self, MailboxError> {
        let Some(bytes) = store.secret(Table::Meta, KEY)? else {
            let secrets = vec![fresh_secret(rng)];
            return Ok(Self { ring: PrekeyRing::default(), secrets, persons: Vec::new(), card: None });
        };
        let damaged = |what| MailboxError::Damaged { what };
        let record = OwnRecord::decode(bytes.as_slice()).map_err(|_| damaged("the node's own record"))?;
        let secrets = record.mailbox_secrets.iter().map(|s| s.as_slice().try_into().map(MailboxSecret));
        let persons: Option<_> = record.persons.iter().map(Person::from_record).collect();
        let mut own = Self {
            ring: PrekeyRing::from_bytes(&record.ring).map_err(|_| damaged("the prekey ring"))?,
            secrets: secrets.collect::<Result<_, _>>().map_err(|_| damaged("a mailbox secret"))?,
            persons: persons.ok_or_else(|| damaged("the record of a card for one person"))?,
            card: Card::parse(&record.card).ok(),
        };
        one_time::load(store, own.ring.one_time_mut())?;
        Ok(own)
    }

    /// The published card in force; `None` until a first renewal was adopted.
    pub(crate) fn card(&self) -> Option<&Card> {
        self.card.as_ref()
    }

    /// The live prekeys.
    pub(crate) fn ring(&self) -> &PrekeyRing {
        &self.ring
    }

    /// The live prekeys, to give out and delete one-time keys.
    pub(crate) fn ring_mut(&mut self) -> &mut PrekeyRing {
        &mut self.ring
    }

    /// What the calendar or the configuration asks for, or `None` where all stands.
    ///
    /// # Errors
    /// When the configured name, JID or bridge does not fit on a card.
    pub(crate) fn renewal(
        &self,
        identity: &Identity,
        printed: &Printed,
        now_s: u64,
        rng: &mut dyn SecretRandom,
    ) -> Result<Option<Renewal>, MailboxError> {
        let mut next = self.next()?;
        let rotated = next.ring.rotate(now_s, rng);
        let pruned = next.ring.prune(now_s) > 0;
        let stands = self.card.as_ref().is_some_and(|card| {
            card.identity() == identity.key()
                && card.name() == printed.name
                && card.jids() == printed.jids
                && card.bridges() == printed.bridges
        });
        let new_card = rotated || !stands;
        if !new_card && !pruned {
            return Ok(None);
        }
        if new_card {
            next.issue(identity, printed, now_s)?;
        }
        Ok(Some(next.into_renewal(new_card)))
    }

    /// A published card with a mailbox secret of its own; tags of the former one are listened to until it is revoked.
    ///
    /// # Errors
    /// When as many former secrets are listened to as there may be.
    pub(crate) fn with_new_secret(
        &self,
        identity: &Identity,
        printed: &Printed,
        now_s: u64,
        rng: &mut dyn SecretRandom,
    ) -> Result<Renewal, MailboxError> {
        if self.secrets.len() >= PUBLISHED_MAX {
            return Err(MailboxError::TooManyCards { limit: PUBLISHED_MAX, what: "published" });
        }
        let mut next = self.next()?;
        next.ring.rotate(now_s, rng);
        next.secrets.push(fresh_secret(rng));
        next.issue(identity, printed, now_s)?;
        Ok(next.into_renewal(true))
    }

    /// Drops the secrets of all published cards but the one in force; gives how many.
    ///
    /// # Errors
    /// When there is none to drop.
    pub(crate) fn without_former(&self) -> Result<(Renewal, usize), MailboxError> {
        let dropped = self.secrets.len().saturating_sub(1);
        if dropped == 0 {
            return Err(MailboxError::NothingToRevoke);
        }
        let mut next = self.next()?;
        next.secrets.drain(..dropped);
        Ok((next.into_renewal(false), dropped))
    }

    /// Former published cards that still work.
    pub(crate) fn former(&self) -> usize {
        self.secrets.len().saturating_sub(1)
    }

    /// Whether a message came by a former published card.
    pub(crate) fn is_former(&self, tag: Tag, epoch: Epoch) -> bool {
        let (_, former) = self.secrets.split_last().unzip();
        former.is_some_and(|former: &[MailboxSecret]| former.iter().any(|secret| secret.tag(epoch) == tag))
    }

    /// Takes over a renewal whose record is durable.
    pub(crate) fn adopt(&mut self, renewal: Renewal) {
        let Own { ring, secrets, persons, card } = renewal.next;
        self.ring.replace_signed(ring);
        (self.secrets, self.persons, self.card) = (secrets, persons, card);
    }

    /// All tags that may carry mail for this node around `now_s`.
    pub(crate) fn tags(&self, now_s: u64) -> Vec<Tag> {
        let today = Epoch::at(now_s).0;
        let days = today.saturating_sub(PAST_EPOCHS)..=today.saturating_add(FUTURE_EPOCHS);
        let persons = self.persons.iter().filter_map(|person| person.secret.as_ref());
        let secrets = self.secrets.iter().chain(persons);
        secrets.flat_map(|secret| days.clone().map(|day| secret.tag(Epoch(day)))).collect()
    }

    /// At most `limit` of the tags that mail may carry now, the newest first, each day with every secret.
    pub(crate) fn newest_tags(&self, now_s: u64, limit: usize) -> Vec<Tag> {
        let today = Epoch::at(now_s).0;
        let days = (today.saturating_sub(PAST_EPOCHS)..=today.saturating_add(SKEW_EPOCHS)).rev();
        let persons = || self.persons.iter().filter_map(|person| person.secret.as_ref());
        let secrets = || self.secrets.iter().chain(persons());
        days.flat_map(|day| secrets().map(move |secret| secret.tag(Epoch(day)))).take(limit).collect()
    }

    /// Issue time of the card that this contact should hold; `None` for one whose card was revoked.
    pub(crate) fn issued_for(&self, contact: &IdentityKey) -> Option<u64> {
        let published_s = self.card.as_ref()?.issued_s();
        match self.person_of(contact) {
            Some(person) => person.secret.as_ref().map(|_| person.issued_s.max(published_s)),
            None => Some(published_s),
        }
    }

    /// The card that this contact should hold.
    ///
    /// # Errors
    /// [`CardError`](pigeon_bundle::CardError), never for a card like the published one.
    pub(crate) fn card_for(
        &self,
        identity: &Identity,
        contact: &IdentityKey,
    ) -> Result<Option<Card>, MailboxError> {
        match self.person_of(contact) {
            Some(person) => self.card_of_person(identity, person),
            None => Ok(self.card.clone()),
        }
    }

    /// Signs the published card anew. It is issued later than any before it, unless that one is dated ahead.
    fn issue(&mut self, identity: &Identity, printed: &Printed, now_s: u64) -> Result<(), MailboxError> {
        let (Some(prekey), Some(secret)) = (self.ring.current(), self.secrets.last()) else {
            return Err(MailboxError::Damaged { what: "the prekey ring" });
        };
        let last_s = self.card.as_ref().map_or(0, Card::issued_s);
        let fields = CardFields {
            name: printed.name.clone(),
            jids: printed.jids.clone(),
            bridges: printed.bridges.clone(),
            mailbox_secret: secret.clone(),
            prekey: prekey.public(),
            prekey_expires_s: prekey.expires_s(),
            issued_s: if last_s > now_s.saturating_add(DAY_S) { now_s } else { now_s.max(last_s + 1) },
        };
        self.card = Some(Card::issue(identity, &fields)?);
        Ok(())
    }

    /// A copy to be changed. One-time keys stay where they are: they have records of their own.
    fn next(&self) -> Result<Self, MailboxError> {
        let damaged = MailboxError::Damaged { what: "the prekey ring" };
        Ok(Self {
            ring: PrekeyRing::from_bytes(&self.ring.to_bytes()).map_err(|_| damaged)?,
            secrets: self.secrets.clone(),
            persons: self.persons.clone(),
            card: self.card.clone(),
        })
    }

    fn into_renewal(self, new_card: bool) -> Renewal {
        Renewal { record: self.record(), next: self, new_card }
    }

    fn record(&self) -> RecordOp {
        let record = OwnRecord {
            ring: self.ring.to_bytes().to_vec(),
            mailbox_secrets: self.secrets.iter().map(|s| s.0.to_vec()).collect(),
            card: self.card.as_ref().map(|card| card.as_bytes().to_vec()).unwrap_or_default(),
            persons: self.persons.iter().map(Person::record).collect(),
        };
        RecordOp::Put { table: Table::Meta, key: KEY.to_vec(), value: record.encode_to_vec() }
    }
}

fn fresh_secret(rng: &mut dyn SecretRandom) -> MailboxSecret {
    let mut secret = MailboxSecret([0; 32]);
    rng.fill(&mut secret.0);
    secret
}
