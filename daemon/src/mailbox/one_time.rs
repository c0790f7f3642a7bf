//! One-time prekeys: given to contacts in the padding of messages, used up by messages, deleted with what they opened
//! (`docs/wire-format.md` section 2).
//!
//! The private halves have a record each in [`Table::Meta`], so that giving and deleting one is part of the
//! transaction of its message and writes 73 bytes, not all of them. What contacts have given is in their records.

use pigeon_bundle::{
    Card, IdentityKey, MessageId, ONE_TIME_PER_CONTACT_MAX, OneTimeKey, OneTimeRing, content_room,
};
use pigeon_proto::{Body, Content, ONE_TIME_KEYS_MAX, OneTimeKeys, Text};
use pigeon_store::{RecordOp, Store, Table, Transaction};

use super::send::Outgoing;
use super::{Mailbox, MailboxError, State};
use crate::random::OsRandom;

const PREFIX: &[u8] = b"one-time:";
const PAGE: usize = 64;

/// Why a message is sealed, which decides whether its recipient is given one-time keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The user writes.
    User,
    /// The daemon answers by itself. Whoever wrote first and was not confirmed by the user gets no keys by that: they
    /// are few, and identities cost nothing.
    Daemon,
}

/// Reads the private halves that are kept.
///
/// # Errors
/// When the store cannot be read, or holds something that is no such key.
pub(super) fn load(store: &Store, ring: &mut OneTimeRing) -> Result<(), MailboxError> {
    let damaged = |_| MailboxError::Damaged { what: "a one-time prekey" };
    let mut after = PREFIX.to_vec();
    loop {
        let page = store.secrets(Table::Meta, Some(&after), PAGE)?;
        for (key, value) in &page {
            if !key.starts_with(PREFIX) {
                return Ok(());
            }
            ring.insert(OneTimeKey::from_bytes(value).map_err(damaged)?).map_err(damaged)?;
        }
        let Some((last, _)) = page.last() else { return Ok(()) };
        after.clone_from(last);
    }
}

/// Deletes the private half.
pub(super) fn deletion(public: &[u8; 32]) -> RecordOp {
    RecordOp::Delete { table: Table::Meta, key: [PREFIX, public].concat() }
}

impl Mailbox {
    /// Seals a message to a contact: by a one-time key where the contact has given one, and with keys for the contact
    /// where they cost no padding step. What it gives must be committed as one transaction, or be taken back with
    /// [`Mailbox::take_keys_back`].
    pub(super) fn seal_message(
        &self,
        state: &mut State,
        card: &Card,
        mut content: Content,
        id: MessageId,
        lifetime_s: u64,
        cause: Cause,
    ) -> Result<Outgoing, MailboxError> {
        let now_s = self.clock.day_s().ok_or(MailboxError::NoClock)?;
        let (contact, made_s) = (card.identity(), self.clock.trusted_wall_s());
        let mut records = Vec::new();
        let mut given = Vec::new();
        if let Some(made_s) = made_s
            && may_have_keys(state, &contact, cause)
        {
            let wanted = keys_that_fit(&content)?;
            let issued = state.own.ring_mut().one_time_mut().issue(contact, wanted, made_s, &mut OsRandom);
            records.extend(issued.iter().map(record));
            given = issued.iter().map(OneTimeKey::public).collect();
            let expires_s = issued.first().map(OneTimeKey::expires_s);
            content.one_time = expires_s.map(|expires_s| OneTimeKeys { keys: given.clone(), expires_s });
        }
        let key = state.contacts.take_one_time(&contact, made_s);
        let key = key.map(|(key, record)| {
            records.push(record);
            key
        });
        match self.seal_with(state, card, &content, id, now_s, lifetime_s, key) {
            Ok(outgoing) => Ok(Outgoing { records, given, ..outgoing }),
            Err(error) => {
                take_keys_back(state, &given);
                Err(error)
            }
        }
    }

    /// Forgets keys that were given in a message which did not become durable: nobody has seen them.
    pub(super) fn take_keys_back(&self, given: &[[u8; 32]]) {
        take_keys_back(&mut self.state(), given);
    }

    /// Deletes the private halves that no living bundle can be sealed to.
    ///
    /// # Errors
    /// When the store fails; the records are found again at the next start.
    pub(super) async fn prune_one_time(&self, now_s: u64) -> Result<(), MailboxError> {
        let gone = self.state().own.ring_mut().one_time_mut().prune(now_s);
        if !gone.is_empty() {
            self.store.commit(Transaction::of_records(gone.iter().map(deletion).collect())).await?;
        }
        Ok(())
    }

    /// Drops the keys that contacts have given. Run where the store went back in time: some of them may have been used
    /// since, and a message sealed to one could never be opened.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_one_time(&self) -> Result<(), MailboxError> {
        let written = {
            let mut state = self.state();
            let records = state.contacts.forget_one_time();
            if records.is_empty() {
                return Ok(());
            }
            self.store.commit(Transaction::of_records(records))
        };
        Ok(written.await?)
    }
}

fn take_keys_back(state: &mut State, given: &[[u8; 32]]) {
    for public in given {
        state.own.ring_mut().one_time_mut().remove(public);
    }
}

fn record(key: &OneTimeKey) -> RecordOp {
    RecordOp::Put {
        table: Table::Meta,
        key: [PREFIX, &key.public()].concat(),
        value: key.to_bytes().to_vec(),
    }
}

fn may_have_keys(state: &State, contact: &IdentityKey, cause: Cause) -> bool {
    state.contacts.get(contact).is_some_and(|contact| cause == Cause::User || !contact.introduced)
}

/// How many keys the padding of this content has room for.
fn keys_that_fit(content: &Content) -> Result<usize, MailboxError> {
    let size = content.encode()?.len();
    let room = content_room(size).saturating_sub(size);
    // What they add does not depend on the rest.
    let bare = || {
        let text = Text { id: MessageId([0; 16]), thread: None, sent_ms: 0, text: String::new() };
        Content::new(Body::Text(text))
    };
    let bare_size = bare().encode()?.len();
    for count in (1..=ONE_TIME_KEYS_MAX.min(ONE_TIME_PER_CONTACT_MAX)).rev() {
        let one_time =
            OneTimeKeys { keys: vec![[0; 32]; count], expires_s: u64::from(u32::MAX) / 86_400 * 86_400 };
        let with = Content { one_time: Some(one_time), ..bare() };
        if with.encode()?.len() - bare_size <= room {
            return Ok(count);
        }
    }
    Ok(0)
}
