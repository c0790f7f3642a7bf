//! The mailbox: seals what local apps send, opens what arrives, keeps contacts, inbox and outbox.
//!
//! Everything it writes goes into the store in one transaction with the bundle it belongs to, and is announced
//! (to the app, to the core, to readers of events) only after that transaction is durable.

mod attachments;
mod calendar;
mod cancel;
mod cards;
mod contacts;
mod housekeeping;
mod marks;
mod one_time;
mod open;
mod own;
mod people;
mod pickup;
mod plain;
pub mod records;
mod rows;
mod send;
mod views;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use pigeon_bundle::attachment::{AttachmentError, ManifestError};
use pigeon_bundle::{BridgeCard, BundleId, Card, CardError, Identity, IdentityKey, SealError};
use pigeon_core::{CatalogError, ContactId, Event as CoreEvent};
use pigeon_proto::ContentError;
use pigeon_store::{RecordOp, Store, StoreError, Table, Transaction};
use tokio::sync::{mpsc, watch};

use crate::accounts::Accounts;
use crate::clock::Clock;
use crate::config::Config;
use crate::events::EventLog;
use crate::input::Input;
use crate::random::OsRandom;
use attachments::Desk;
pub use attachments::{Attached, AttachmentFile, AttachmentView, UPLOADS_MAX, run_assembler};
pub use calendar::run_calendar;
pub use cards::{CardView, Revoked};
pub use contacts::Contact;
use contacts::Contacts;
pub use housekeeping::Deleted;
pub use open::{Arrival, run_opener};
use own::{Own, Printed};
use records::{MessageTable, OutboxRecord};
pub use send::Sent;
pub use views::{InboxView, LIST_MAX, OutboxView, Page, Which};

/// Messages received.
pub(crate) const INBOX: MessageTable = MessageTable(Table::Inbox);
/// Messages sent.
pub(crate) const OUTBOX: MessageTable = MessageTable(Table::Outbox);
const BRIDGE_PREFIX: &str = "bridge:";

/// Why the mailbox could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum MailboxError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A card does not hold.
    #[error(transparent)]
    Card(#[from] CardError),
    /// A message cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A message's content is not allowed.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Nobody of that name.
    #[error(
        "no contact matches {to:?}{near}; `pigeon card import` adds one, `pigeon contact list` shows all"
    )]
    UnknownContact {
        /// What the user wrote.
        to: String,
        /// Similar names, with a leading separator.
        near: String,
    },
    /// Several contacts of that name.
    #[error("{to:?} matches several contacts; use one of these identity keys: {matches}")]
    AmbiguousContact {
        /// What the user wrote.
        to: String,
        /// Their identity keys.
        matches: String,
    },
    /// The node's own card.
    #[error("this is the node's own card; give it to others, and import theirs")]
    OwnCard,
    /// The card held is newer.
    #[error("a newer card of this contact is already held; ask the contact for its present card")]
    OldCard,
    /// The card's issuer has a wrong clock.
    #[error("this card is dated more than a day ahead; its owner should set the clock and make a new card")]
    FutureCard,
    /// Limit reached.
    #[error("there are already {limit} contacts of this kind, and no more are kept")]
    TooManyContacts {
        /// How many there may be.
        limit: usize,
    },
    /// Limit reached.
    #[error("there are already {limit} {what} cards that work; `pigeon card revoke` makes room")]
    TooManyCards {
        /// How many there may be.
        limit: usize,
        /// `published` or `personal`.
        what: &'static str,
    },
    /// A name that cannot be given to a card.
    #[error("a card is for a name of 1 to 64 bytes without control characters")]
    CardName,
    /// No card for this name.
    #[error("no card was made for {name:?}, and no contact is called so; `pigeon card list` shows the cards")]
    UnknownCard {
        /// What the user wrote.
        name: String,
    },
    /// Only the published card in force is there.
    #[error("no former card works any more; `pigeon card renew` makes the present one a former one")]
    NothingToRevoke,
    /// Too late to cancel.
    #[error("message {id} was delivered, it cannot be taken back; `pigeon outbox` shows when")]
    AlreadyDelivered {
        /// The message.
        id: String,
    },
    /// Nothing to cancel.
    #[error("message {id} has expired, nobody carries it any more; nothing is left to do")]
    AlreadyExpired {
        /// The message.
        id: String,
    },
    /// No own message with this id.
    #[error("no message {id} in the outbox; `pigeon outbox` lists them")]
    NotSent {
        /// What was asked for.
        id: String,
    },
    /// No message with this id.
    #[error("no message {id} in the inbox; `pigeon inbox` lists them")]
    UnknownMessage {
        /// What was asked for.
        id: String,
    },
    /// No message with this id anywhere.
    #[error("no message {id} in inbox or outbox; `pigeon inbox` and `pigeon outbox` list them")]
    NotKept {
        /// What was asked for.
        id: String,
    },
    /// It cannot be deleted yet.
    #[error("message {id} is still on its way; `pigeon cancel` takes it back, then it can be deleted")]
    OnItsWay {
        /// The message.
        id: String,
    },
    /// The day is unknown.
    #[error(
        "this node does not know the day: its clock is not trusted and no neighbour has told it; \
         set the clock (NTP), or clock = \"trusted\" in the config, and send again"
    )]
    NoClock,
    /// A manifest cannot be made.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// An attachment cannot be cut.
    #[error(transparent)]
    Attachment(#[from] AttachmentError),
    /// Nothing is attached.
    #[error("message {id} has no attachment; `pigeon inbox` shows which have")]
    NoAttachment {
        /// The message.
        id: String,
    },
    /// Not there yet, or never.
    #[error(
        "the attachment is {state}, {parts} of {needed} parts are here; `pigeon inbox` shows when it is complete"
    )]
    AttachmentIncomplete {
        /// Word for people.
        state: &'static str,
        /// Parts here.
        parts: u32,
        /// Parts that suffice.
        needed: u32,
    },
    /// The file of an attachment.
    #[error("the file {path} of an attachment: {source}; see to its folder and the room on its disk")]
    AttachmentFile {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A record cannot be read.
    #[error("{what} in the store is damaged; restore a backup of data_dir")]
    Damaged {
        /// Which record.
        what: &'static str,
    },
    /// The daemon is stopping.
    #[error("the daemon is stopping; send again when it runs")]
    Stopping,
}

/// The node's mailbox, shared by the API, the opener and the uplink.
pub struct Mailbox {
    store: Store,
    identity: Identity,
    config: Arc<Config>,
    accounts: Accounts,
    clock: Clock,
    events: EventLog,
    inputs: mpsc::Sender<Input>,
    card_changes: watch::Sender<u64>,
    /// Held by whoever reads a record in order to replace it, until the new one is durable: the store shows a
    /// transaction only once its writer has come to it.
    keeping: tokio::sync::Mutex<()>,
    names: RwLock<BTreeMap<ContactId, String>>,
    desk: Desk,
    state: Mutex<State>,
}

struct State {
    own: Own,
    contacts: Contacts,
    /// Pinned cards of the accounts' bridges, by domain.
    bridges: BTreeMap<String, BridgeCard>,
    inbox_next: u64,
    outbox_next: u64,
    duplicates: u64,
    /// Rows of unread messages in the store.
    unread: u64,
}

impl Mailbox {
    /// Opens the mailbox on `store`.
    ///
    /// # Errors
    /// When the store cannot be read or holds damaged records.
    pub fn open(
        store: Store,
        identity: Identity,
        config: Arc<Config>,
        accounts: Accounts,
        clock: Clock,
        events: EventLog,
        inputs: mpsc::Sender<Input>,
    ) -> Result<Self, MailboxError> {
        let mut bridges = BTreeMap::new();
        for domain in accounts.addresses().1 {
            if let Some(card) = pinned(&store, &domain)? {
                bridges.insert(domain, card);
            }
        }
        let state = State {
            own: Own::load(&store, &mut OsRandom)?,
            contacts: Contacts::load(&store, &identity)?,
            bridges,
            inbox_next: INBOX.next(&store)?,
            outbox_next: OUTBOX.next(&store)?,
            unread: INBOX.unread(&store)?,
            duplicates: 0,
        };
        Ok(Self {
            desk: Desk::open(&store)?,
            store,
            identity,
            config,
            accounts,
            clock,
            events,
            inputs,
            card_changes: watch::Sender::new(0),
            keeping: tokio::sync::Mutex::new(()),
            names: RwLock::default(),
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is applied only after it is complete, so a panicking holder leaves a usable state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This node's identity key.
    pub fn identity(&self) -> IdentityKey {
        self.identity.key()
    }

    /// The card to give to others; `None` before the day is known for the first time.
    pub fn card(&self) -> Option<Card> {
        self.state().own.card().cloned()
    }

    /// Renews what the calendar asks for and tells the core which tags and contacts to listen for.
    /// Run at start and whenever the day or the contacts may have changed. True where a new card was issued.
    ///
    /// # Errors
    /// When the store fails, or the configured name or JID does not fit on a card.
    pub async fn refresh(&self) -> Result<bool, MailboxError> {
        let Some(now_s) = self.clock.day_s() else { return Ok(false) };
        let renewed = self.renew_card(now_s).await?;
        self.tell_tags(now_s).await?;
        self.tell_contacts().await?;
        if renewed {
            self.card_changes.send_modify(|count| *count += 1);
        }
        self.send_cards().await?;
        Ok(renewed)
    }

    async fn tell_tags(&self, now_s: u64) -> Result<(), MailboxError> {
        let tags = self.state().own.tags(now_s);
        self.tell(CoreEvent::OwnTags(tags)).await
    }

    /// A day that only neighbours have told makes a first card and nothing else: a liar's day would delete prekeys,
    /// and date the card ahead of all later ones.
    async fn renew_card(&self, now_s: u64) -> Result<bool, MailboxError> {
        let _keeping = self.keeping.lock().await;
        let renewal = {
            let state = self.state();
            if state.own.card().is_some() && self.clock.trusted_wall_s().is_none() {
                return Ok(false);
            }
            state.own.renewal(&self.identity, &self.printed(), now_s, &mut OsRandom)?
        };
        let Some(renewal) = renewal else { return Ok(false) };
        self.store.commit(Transaction::of_records(vec![renewal.record.clone()])).await?;
        let new_card = renewal.new_card;
        self.state().own.adopt(renewal);
        Ok(new_card)
    }

    async fn tell(&self, event: CoreEvent) -> Result<(), MailboxError> {
        self.inputs.send(Input::Core(event)).await.map_err(|_| MailboxError::Stopping)
    }

    /// Unix seconds by a clock that can be believed.
    pub fn trusted_wall_s(&self) -> Option<u64> {
        self.clock.trusted_wall_s()
    }

    /// Counts the cards issued: the uplink registers each new one.
    pub fn card_changes(&self) -> watch::Receiver<u64> {
        self.card_changes.subscribe()
    }

    /// The pinned card of a bridge.
    pub fn bridge(&self, domain: &str) -> Option<BridgeCard> {
        if let Some(card) = self.state().bridges.get(domain) {
            return Some(card.clone());
        }
        // That of an account which was added since the start may have been pinned long ago.
        let card = pinned(&self.store, domain).ok().flatten()?;
        self.state().bridges.insert(domain.to_owned(), card.clone());
        Some(card)
    }

    /// What this node's card says of its owner.
    fn printed(&self) -> Printed {
        let (jids, bridges) = self.accounts.addresses();
        Printed { name: self.config.name.clone(), jids, bridges }
    }

    /// Pins the bridge's card durably.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn pin_bridge(&self, card: BridgeCard) -> Result<(), MailboxError> {
        let record = RecordOp::Put {
            table: Table::Meta,
            key: bridge_key(card.domain()),
            value: card.as_bytes().to_vec(),
        };
        self.store.commit(Transaction::of_records(vec![record])).await?;
        self.state().bridges.insert(card.domain().to_owned(), card);
        Ok(())
    }

    /// Notes that the bridge refused an own message. False where the bundle is not ours.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn refused(&self, bundle: &BundleId, reason: &str) -> Result<bool, MailboxError> {
        let _keeping = self.keeping.lock().await;
        let Some((sequence, mut record)) = OUTBOX.by_bundle::<OutboxRecord>(&self.store, bundle)? else {
            return Ok(false);
        };
        reason.clone_into(&mut record.refusal);
        self.store.commit(Transaction::of_records(vec![OUTBOX.replace(sequence, &record)])).await?;
        Ok(true)
    }

    /// Notes that the bridge has taken what it had no room for before.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn unrefused(&self, bundle: &BundleId) -> Result<(), MailboxError> {
        let _keeping = self.keeping.lock().await;
        let Some((sequence, mut record)) = OUTBOX.by_bundle::<OutboxRecord>(&self.store, bundle)? else {
            return Ok(());
        };
        if !record.refusal.is_empty() {
            record.refusal.clear();
            self.store.commit(Transaction::of_records(vec![OUTBOX.replace(sequence, &record)])).await?;
        }
        Ok(())
    }
}

/// The card of a bridge that was pinned; one that does not parse any more is pinned anew.
fn pinned(store: &Store, domain: &str) -> Result<Option<BridgeCard>, MailboxError> {
    let bytes = store.record(Table::Meta, &bridge_key(domain))?;
    Ok(bytes.and_then(|bytes| BridgeCard::parse(&bytes).ok()))
}

fn bridge_key(domain: &str) -> Vec<u8> {
    format!("{BRIDGE_PREFIX}{domain}").into_bytes()
}
