//! The application's side of a client session.

use std::sync::Arc;

use bytes::Bytes;
use jid::BareJid;
use minidom::Element;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::config::{Account, ClientConfig, ConfigError};
use super::incoming::ARCHIVE_QUERY;
use super::register;
use super::session::Driver;
use super::sm::Ticket;
use crate::ask;
use crate::limits::{
    BUNDLE_BYTES_MAX, CARD_BYTES_MAX, COMMANDS_MAX, EVENTS_MAX, PICKUP_BYTES_MAX, REVEALS_MAX,
    TEXT_BYTES_MAX, UPLOAD_BUNDLES_MAX,
};
use crate::ns;
use crate::reason::OfflineReason;
use crate::secret::Secret;
use crate::stanza::archive::{self, ArchivePage, ArchiveStart, Archived};
use crate::stanza::delivery::{self, Delivery};
use crate::stanza::iq::PickedUp;
use crate::stanza::people::{self, Mark, RosterItem, Subscription};
use crate::stanza::{StanzaError, bundle, iq};

/// What happens on a client session.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientEvent {
    /// Logged in. Without `resumed`, whatever was uploaded before and has no verdict must be uploaded again.
    Online {
        /// Whether the session continues where it broke off, nothing lost.
        resumed: bool,
    },
    /// Not logged in, or not any more; the session tries again by itself. Said again only when the reason changes.
    Offline {
        /// Why.
        reason: OfflineReason,
    },
    /// The bridge's verdict on an upload. Only from the configured bridge; the signature is not checked here.
    Verdict {
        /// The signed verdict.
        bytes: Vec<u8>,
        /// r, where the bridge knows that the message arrived.
        reveal: Option<[u8; 32]>,
    },
    /// The bridge has accepted several uploads. Only from the configured bridge; the signature is not checked here.
    Acceptances {
        /// The signed acceptances.
        bytes: Vec<u8>,
    },
    /// A message with a bundle, from anyone.
    Bundle {
        /// The sender's bare JID, as the server stamped it.
        from: String,
        /// The bundle, not parsed.
        bytes: Vec<u8>,
        /// The message's id.
        message_id: Option<String>,
        /// The archive's name for it, where the account has an archive.
        archive_id: Option<String>,
        /// Keep this until the bundle is durable: then the server may forget it.
        taken: Taken,
    },
    /// An ordinary client of the recipient says what became of a message (XEP-0184, XEP-0333).
    Mark {
        /// The recipient's bare JID, as the server stamped it.
        from: String,
        /// The author's message id.
        message_id: String,
        /// What it says.
        mark: Mark,
        /// Keep this until that is durable.
        taken: Taken,
    },
    /// Somebody asks to see the account's presence, or answers such a question.
    Subscription {
        /// Bare JID.
        from: String,
        /// What is said.
        kind: Subscription,
    },
    /// An upload came back, from the bridge or from a server on the way to it.
    Refusal {
        /// The id given to [`ClientHandle::upload`].
        id: Option<String>,
        /// The stanza error's condition, such as `service-unavailable`.
        condition: String,
        /// Its text.
        text: Option<String>,
    },
}

/// The server keeps a stanza until this is dropped: drop it when what came with it is durable, not before.
#[derive(Debug)]
pub struct Taken {
    pub(super) ticket: Ticket,
    pub(super) done: mpsc::UnboundedSender<Ticket>,
}

impl Taken {
    /// The same as dropping it, but visible in the code.
    pub fn done(self) {}
}

impl Drop for Taken {
    fn drop(&mut self) {
        // A task that panics has stored nothing.
        if !std::thread::panicking() {
            // Without a session there is nobody to tell.
            let _ = self.done.send(self.ticket);
        }
    }
}

/// Why an upload was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// No session now. Upload after the next [`ClientEvent::Online`].
    #[error("the XMPP session is offline; upload again when it is online")]
    Offline,
    /// The session was shut down.
    #[error("the XMPP session is closed")]
    Ended,
    /// The server takes what is sent more slowly than it is uploaded.
    #[error("too much waits for the server to take it; upload again after the next verdict")]
    Busy,
    /// No server would take it.
    #[error("a bundle of {bytes} bytes is too large for XMPP (at most {BUNDLE_BYTES_MAX}); it was not sent")]
    TooLarge {
        /// The bundle's size.
        bytes: usize,
    },
    /// The server has said that it takes no stanza so large.
    #[error(
        "a stanza of {bytes} bytes is larger than the {max} that this server takes; it was not sent: another carrier's \
         server may take it"
    )]
    OverLimit {
        /// The stanza's size.
        bytes: usize,
        /// What the server takes.
        max: usize,
    },
    /// None at all, or more than a bridge reads.
    #[error("an upload has 1 to {UPLOAD_BUNDLES_MAX} bundles, not {bundles}")]
    Number {
        /// How many it would have.
        bundles: usize,
    },
    /// An id that no stanza can have.
    #[error("an upload needs an id of 1 to {TEXT_BYTES_MAX} bytes")]
    Id,
}

/// Why a question to the bridge has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IqError {
    /// No session now.
    #[error("the XMPP session is offline; ask again when it is online")]
    Offline,
    /// The session was shut down.
    #[error("the XMPP session is closed")]
    Ended,
    /// No answer came.
    #[error("no answer came in time; whoever was asked may be offline")]
    Timeout,
    /// Too many questions at once.
    #[error("too much waits for the server or the bridge; ask again later")]
    Busy,
    /// The bridge, or a server on the way to it, refused.
    #[error("the answer is a refusal: {condition}{}", text.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// The stanza error's condition.
        condition: String,
        /// Its text.
        text: Option<String>,
    },
    /// The answer cannot be read.
    #[error("the answer cannot be read: {0}; is it another version?")]
    Answer(#[from] StanzaError),
    /// Nobody's address.
    #[error("that is not a JID such as name@example.org")]
    Jid,
    /// The question cannot be asked.
    #[error("{what}: {n} is not between 1 and {max}")]
    Request {
        /// What is wrong with it.
        what: &'static str,
        /// The number it has.
        n: usize,
        /// The number it may have.
        max: usize,
    },
}

/// The answer's payload to an IQ.
pub(super) type IqReply = Result<Option<Element>, IqError>;

/// Whom a question is for.
#[derive(Debug)]
pub(super) enum Whom {
    /// The bridge.
    Bridge,
    /// The account's server.
    Server,
    /// The account itself: its roster, its archive.
    Own,
    /// Somebody else.
    Other(BareJid),
}

#[derive(Debug)]
pub(super) enum Command {
    Message { message: Element, reply: oneshot::Sender<Result<usize, Closed>> },
    Iq { set: bool, whom: Whom, payload: Element, reply: oneshot::Sender<IqReply> },
    Presence { to: String, kind: Subscription, reply: oneshot::Sender<Result<(), Closed>> },
    TakeArchived { reply: oneshot::Sender<Vec<Archived>> },
    Shutdown { reply: oneshot::Sender<()> },
}

/// A client session's commands. Clones speak to the same session.
#[derive(Debug, Clone)]
pub struct ClientHandle {
    commands: mpsc::Sender<Command>,
    poke: Arc<Notify>,
    bridge: Arc<str>,
}

/// Starts a session, which keeps itself logged in until `cancel` or [`ClientHandle::shutdown`].
///
/// Must be called inside a tokio runtime. The receiver should be read all the time: the session keeps a few events
/// back and then stops reading from the network.
///
/// # Errors
/// When the configuration cannot work.
pub fn spawn_client(
    config: ClientConfig,
    cancel: CancellationToken,
) -> Result<(ClientHandle, mpsc::Receiver<ClientEvent>), ConfigError> {
    let account = Account::check(config)?;
    let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
    let (events, event_queue) = mpsc::channel(EVENTS_MAX);
    let poke = Arc::new(Notify::new());
    let bridge = Arc::from(account.config.bridge.as_str());
    tokio::spawn(Driver::new(account, cancel, command_queue, events, Arc::clone(&poke)).run());
    Ok((ClientHandle { commands, poke, bridge }, event_queue))
}

impl ClientHandle {
    /// Sends a bundle to the bridge as a message of this `id`. `Ok` means that it is on its way, no more: the
    /// [verdict](ClientEvent::Verdict) or a [refusal](ClientEvent::Refusal) comes as an event. The number is how many bytes
    /// are on their way with it, which the server has not acknowledged.
    ///
    /// # Errors
    /// When there is no session, or the bundle is larger than [`BUNDLE_BYTES_MAX`].
    pub async fn upload(&self, bundle: Bytes, id: String) -> Result<usize, Closed> {
        self.upload_to(&self.bridge, bundle, id).await
    }

    /// The same to one of the addresses that the bridge's card names.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    pub async fn upload_to(&self, address: &str, bundle: Bytes, id: String) -> Result<usize, Closed> {
        self.upload_all(address, &[bundle], id).await
    }

    /// The same with several in one message. Together they should have at most
    /// [`UPLOAD_BYTES_MAX`](crate::UPLOAD_BYTES_MAX). Each gets a verdict of its own; a refusal is one for all.
    ///
    /// # Errors
    /// As [`upload`](Self::upload); and when there are none or more than [`UPLOAD_BUNDLES_MAX`].
    pub async fn upload_all(&self, address: &str, bundles: &[Bytes], id: String) -> Result<usize, Closed> {
        if let Some(bundle) = bundles.iter().find(|bundle| bundle.len() > BUNDLE_BYTES_MAX) {
            return Err(Closed::TooLarge { bytes: bundle.len() });
        }
        if bundles.is_empty() || bundles.len() > UPLOAD_BUNDLES_MAX {
            return Err(Closed::Number { bundles: bundles.len() });
        }
        if id.is_empty() || id.len() > TEXT_BYTES_MAX {
            return Err(Closed::Id);
        }
        self.message(bundle::upload(address, &id, bundles)).await
    }

    /// Sends a message straight to its recipient, the same stanza as the bridge would send in the author's name: what the
    /// way through the bridge is measured against.
    ///
    /// # Errors
    /// When there is no session, or the server takes nothing so large.
    pub async fn send_direct(&self, delivery: &Delivery) -> Result<usize, Closed> {
        self.message(delivery::message(delivery, ns::CLIENT)).await
    }

    async fn message(&self, message: Element) -> Result<usize, Closed> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Message { message, reply }).await.map_err(|_| Closed::Ended)?;
        ask::answer(&self.commands, answer).await.ok_or(Closed::Ended)?
    }

    /// Asks for the bridge's card: the bytes of a `SignedBridgeCard`, not checked.
    ///
    /// # Errors
    /// When there is no session, no answer, or no card in it.
    pub async fn bridge_card(&self) -> Result<Vec<u8>, IqError> {
        let answer = self.iq(false, iq::card()).await?;
        Ok(iq::parse_card(answer.as_ref())?)
    }

    /// Registers the key on the bytes of a `SignedCard` for this account. The time until which it holds, Unix seconds.
    ///
    /// # Errors
    /// When there is no session, no answer, or the bridge refuses.
    pub async fn register(&self, signed_card: &[u8]) -> Result<u64, IqError> {
        let n = signed_card.len();
        if n == 0 || n > CARD_BYTES_MAX {
            return Err(IqError::Request { what: "bytes of a card", n, max: CARD_BYTES_MAX });
        }
        let answer = self.iq(true, iq::register(signed_card)).await?;
        Ok(iq::parse_registered(answer.as_ref())?)
    }

    /// As [`register`](Self::register), where another key is registered, with that key's own word that this one shall
    /// speak from now on.
    ///
    /// # Errors
    /// As there.
    pub async fn register_over(&self, signed_card: &[u8], handover: &[u8; 64]) -> Result<u64, IqError> {
        let n = signed_card.len();
        if n == 0 || n > CARD_BYTES_MAX {
            return Err(IqError::Request { what: "bytes of a card", n, max: CARD_BYTES_MAX });
        }
        let answer = self.iq(true, iq::register_over(signed_card, handover)).await?;
        Ok(iq::parse_registered(answer.as_ref())?)
    }

    /// Takes the right to speak from the key that is registered for this account, at once.
    ///
    /// # Errors
    /// When there is no session, no answer, or the bridge refuses.
    pub async fn revoke(&self) -> Result<(), IqError> {
        self.iq(true, iq::revoke()).await.map(|_payload| ())
    }

    /// Tells the bridge that messages have arrived, by their r.
    ///
    /// # Errors
    /// When there are none or more than [`REVEALS_MAX`], there is no session, no answer, or the bridge refuses.
    pub async fn reveal(&self, reveals: &[[u8; 32]]) -> Result<(), IqError> {
        let n = reveals.len();
        if n == 0 || n > REVEALS_MAX {
            return Err(IqError::Request { what: "number of reveals", n, max: REVEALS_MAX });
        }
        self.iq(true, iq::reveal(reveals)).await.map(|_payload| ())
    }

    /// Hands in a request for a delegated pick-up. The bundles come first, as [`ClientEvent::Bundle`] from the bridge.
    ///
    /// # Errors
    /// When there is no session, no answer, or the bridge refuses.
    pub async fn pick_up(&self, request: &[u8]) -> Result<PickedUp, IqError> {
        let n = request.len();
        if n == 0 || n > PICKUP_BYTES_MAX {
            return Err(IqError::Request { what: "bytes of a pick-up request", n, max: PICKUP_BYTES_MAX });
        }
        let answer = self.iq(true, iq::pick_up(request)).await?;
        Ok(iq::parse_picked_up(answer.as_ref())?)
    }

    /// The network may have changed: an offline session tries to connect now, an online one makes sure that its
    /// connection still works. Cheap, and may be called as often as one likes.
    pub fn poke(&self) {
        self.poke.notify_one();
    }

    /// Closes the session properly, so that the server neither waits for its resumption nor keeps what was
    /// taken. Returns when it is closed, after a few seconds at most.
    pub async fn shutdown(&self) {
        let (reply, closed) = oneshot::channel();
        if self.commands.send(Command::Shutdown { reply }).await.is_ok() {
            // An error means that the session has ended, which is what was wanted.
            let _ = ask::answer(&self.commands, closed).await;
        }
    }

    /// Changes the account's password (XEP-0077 section 3.3). The session goes on; the next login needs the new one.
    ///
    /// # Errors
    /// When there is no session, no answer, or the server refuses.
    pub async fn change_password(&self, account: &str, password: &Secret) -> Result<(), IqError> {
        let username = account.split_once('@').map(|(name, _)| name.to_owned());
        let query = register::credentials(username, password.expose());
        self.question(true, Whom::Server, query).await.map(|_payload| ())
    }

    /// A page of the account's archive. One at a time.
    ///
    /// # Errors
    /// When there is no session, no answer, or no archive.
    pub async fn archive_page(&self, start: &ArchiveStart) -> Result<ArchivePage, IqError> {
        let query = archive::query(ARCHIVE_QUERY, start);
        let answer = self.question(true, Whom::Own, query).await?;
        let (last, complete) = archive::parse_fin(answer.as_ref())?;
        let (reply, messages) = oneshot::channel();
        self.commands.send(Command::TakeArchived { reply }).await.map_err(|_| IqError::Ended)?;
        let messages = ask::answer(&self.commands, messages).await.ok_or(IqError::Ended)?;
        Ok(ArchivePage { messages, last, complete })
    }

    /// The account's roster.
    ///
    /// # Errors
    /// When there is no session or no answer.
    pub async fn roster(&self) -> Result<Vec<RosterItem>, IqError> {
        let answer = self.question(false, Whom::Own, people::roster()).await?;
        Ok(people::parse_roster(answer.as_ref())?)
    }

    /// Puts somebody on the roster.
    ///
    /// # Errors
    /// When there is no session, no answer, or the server refuses.
    pub async fn roster_add(&self, jid: &str, name: &str) -> Result<(), IqError> {
        let jid = people::bare(jid).ok_or(IqError::Jid)?.to_string();
        self.question(true, Whom::Own, people::roster_item(&jid, name)).await.map(|_payload| ())
    }

    /// Says something about subscriptions to presence.
    ///
    /// # Errors
    /// When there is no session.
    pub async fn subscription(&self, jid: &str, kind: Subscription) -> Result<(), Closed> {
        let to = people::bare(jid).ok_or(Closed::Id)?.to_string();
        let (reply, answer) = oneshot::channel();
        let command = Command::Presence { to, kind, reply };
        self.commands.send(command).await.map_err(|_| Closed::Ended)?;
        ask::answer(&self.commands, answer).await.ok_or(Closed::Ended)?
    }

    /// Publishes a `SignedCard` for those who may see the account's presence (XEP-0163).
    ///
    /// # Errors
    /// When there is no session, no answer, or the server refuses.
    pub async fn publish_card(&self, signed_card: &[u8]) -> Result<(), IqError> {
        self.question(true, Whom::Own, people::publish_card(signed_card)).await.map(|_payload| ())
    }

    /// Somebody's published card: the bytes of a `SignedCard`, not checked; `None` where there is none.
    ///
    /// # Errors
    /// When there is no session, no answer, or we may not see it.
    pub async fn published_card(&self, jid: &str) -> Result<Option<Vec<u8>>, IqError> {
        let whom = Whom::Other(people::bare(jid).ok_or(IqError::Jid)?);
        match self.question(false, whom, people::ask_card()).await {
            Ok(answer) => Ok(people::parse_card(answer.as_ref())?),
            Err(IqError::Refused { condition, .. }) if condition == "item-not-found" => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn iq(&self, set: bool, payload: Element) -> IqReply {
        self.question(set, Whom::Bridge, payload).await
    }

    async fn question(&self, set: bool, whom: Whom, payload: Element) -> IqReply {
        let (reply, answer) = oneshot::channel();
        let command = Command::Iq { set, whom, payload, reply };
        self.commands.send(command).await.map_err(|_| IqError::Ended)?;
        ask::answer(&self.commands, answer).await.ok_or(IqError::Ended)?
    }
}
