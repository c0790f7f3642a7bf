//! The bridge's side of a component session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jid::BareJid;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::session::Driver;
use crate::ask;
use crate::client::ConfigError;
use crate::limits::{
    ACCEPTANCES_BYTES_MAX, BODY_BYTES_MAX, BUNDLE_BYTES_MAX, COMMANDS_MAX, EVENTS_MAX, VERDICT_BYTES_MAX,
};
use crate::reason::OfflineReason;
use crate::secret::Secret;
use crate::stanza::delivery::Delivery;
use crate::stanza::error::Condition;
use crate::stanza::iq::PickedUp;
use crate::stanza::jid as parse_jid;
use crate::stanza::tell::KeyNotice;
use crate::stanza::verdict;

/// A component and how to reach its server. [`ComponentConfig::new`] fills in the times.
#[derive(Debug, Clone)]
pub struct ComponentConfig {
    /// The component's domain, such as `bridge.example.org`.
    pub domain: String,
    /// The secret that the server's configuration gives it.
    pub secret: Secret,
    /// The server's component port, as `host:port`. The stream is in clear (XEP-0114): it belongs on loopback or
    /// inside a tunnel.
    pub server: String,
    /// The virtual host that answers [`ComponentHandle::sync`]; `None` is the domain without its first label.
    pub host: Option<String>,
    /// Send with the author's address on the component's own stream where a host gives no right to send as its users
    /// (XEP-0356). Works only on a server that checks no senders of this component, and such a server passes on any
    /// author of any domain, whoever has the component's secret. Off unless it is switched on.
    pub unchecked_senders: bool,
    /// For the TCP connection and the handshake, each.
    pub connect_timeout: Duration,
    /// How long a connection must stand before anything is sent over it. ejabberd 23.01, after the component was killed,
    /// takes the new connection and still takes leave of the old one: for half a second it sends back what the new one
    /// sends, as if no account were there, and then ends the new one too.
    pub settle: Duration,
    /// On a connection younger than this the first message that comes back, and that no privilege is announced, is not
    /// believed: where the server is slow, its leave of the old connection takes longer, and takes the privilege away.
    pub young: Duration,
    /// The first wait after a failure; doubles to `retry_max`.
    pub retry_min: Duration,
    /// The longest wait after a failure.
    pub retry_max: Duration,
    /// The wait after a failure that only a person can mend, such as a wrong secret.
    pub retry_operator: Duration,
    /// Silence after which the server is pinged.
    pub ping_after: Duration,
    /// How long the answer may take.
    pub ping_timeout: Duration,
}

impl ComponentConfig {
    /// A component with the usual times.
    pub fn new(domain: impl Into<String>, secret: impl Into<Secret>, server: impl Into<String>) -> Self {
        Self {
            domain: domain.into(),
            secret: secret.into(),
            server: server.into(),
            host: None,
            unchecked_senders: false,
            connect_timeout: Duration::from_secs(10),
            settle: Duration::from_secs(1),
            young: Duration::from_secs(10),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(30),
            retry_operator: Duration::from_secs(60),
            ping_after: Duration::from_secs(60),
            ping_timeout: Duration::from_secs(20),
        }
    }

    pub(super) fn host(&self) -> Option<String> {
        let host = match &self.host {
            Some(host) => host.as_str(),
            None => self.domain.split_once('.')?.1,
        };
        domain(host)
    }
}

/// `text` as a domain, normalised.
pub(super) fn domain(text: &str) -> Option<String> {
    let jid = parse_jid(text)?;
    (jid.node().is_none() && jid.is_bare()).then(|| jid.domain().to_string())
}

/// What happens on a component session.
#[derive(Debug)]
#[non_exhaustive]
pub enum ComponentEvent {
    /// Connected. Said again when the server announces privileges later.
    Online {
        /// The namespace in which the own host lets the component send messages as its users (XEP-0356); without it
        /// nothing can be delivered.
        privilege_ns: Option<String>,
    },
    /// Not connected, or not any more; the session tries again by itself. Said again only when the reason changes.
    Offline {
        /// Why.
        reason: OfflineReason,
    },
    /// A carrier hands bundles up.
    Upload {
        /// The carrier's full JID, as its server stamped it.
        from: String,
        /// The message's id.
        id: Option<String>,
        /// One to [`UPLOAD_BUNDLES_MAX`](crate::UPLOAD_BUNDLES_MAX), in their order, not parsed.
        bundles: Vec<Vec<u8>>,
    },
    /// Somebody asks for the bridge's card. Answer it.
    CardRequest {
        /// The full JID that asks.
        from: String,
        /// Answers it.
        iq: IqToken,
    },
    /// A session registers the key on its card. Answer it.
    Register {
        /// The full JID that asks, as its server stamped it.
        from: String,
        /// The bytes of a `SignedCard`, not checked.
        card: Vec<u8>,
        /// The signature by which the key registered so far passes the account on, not checked.
        handover: Option<Vec<u8>>,
        /// Answers it.
        iq: IqToken,
    },
    /// A session takes its account's key back. Answer it.
    Revoke {
        /// The full JID that asks, as its server stamped it.
        from: String,
        /// Answers it.
        iq: IqToken,
    },
    /// A session reveals tombstones. Answer it.
    Reveal {
        /// The full JID that asks.
        from: String,
        /// Each r.
        reveals: Vec<[u8; 32]>,
        /// Answers it.
        iq: IqToken,
    },
    /// A carrier hands in a token of delegated pick-up. Answer it.
    PickUp {
        /// The full JID that asks, as its server stamped it.
        from: String,
        /// The request's bytes, not checked.
        request: Vec<u8>,
        /// Answers it.
        iq: IqToken,
    },
    /// Something that this component sent came back.
    Bounce {
        /// Whom it was for.
        to: String,
        /// Its id: for a delivery, the message id in hex.
        id: Option<String>,
        /// The stanza error's condition, such as `forbidden`.
        condition: String,
    },
}

/// The right to answer one IQ, once.
#[derive(Debug, PartialEq, Eq)]
pub struct IqToken {
    pub(super) to: String,
    pub(super) id: String,
}

/// An answer to an IQ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IqAnswer {
    /// To [`ComponentEvent::CardRequest`]: the bytes of a `SignedBridgeCard`.
    Card(Vec<u8>),
    /// To [`ComponentEvent::Register`]: until when it holds, Unix seconds.
    Registered(u64),
    /// To [`ComponentEvent::Reveal`].
    Done,
    /// To [`ComponentEvent::PickUp`], after the bundles.
    PickedUp(PickedUp),
    /// No.
    Error {
        /// The kind of refusal.
        condition: Condition,
        /// For people; may be empty.
        text: String,
    },
}

/// Why something was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No connection now.
    #[error("the component is not connected to its server; send again when it is online")]
    Offline,
    /// The session has ended.
    #[error("the component's session is closed")]
    Ended,
    /// The server takes what is sent more slowly than it is sent.
    #[error("too much waits for the server to take it; send again later")]
    Busy,
    /// The server of the author has not announced that the component may speak for its users.
    #[error(
        "the server {host:?} does not let this component send messages as its users; on Prosody load mod_privilege and \
         set privileged_entities = {{ [\"{component}\"] = {{ message = \"outgoing\" }} }} on the host, on ejabberd give \
         mod_privilege the message permission \"outgoing\""
    )]
    NotPrivileged {
        /// The author's host.
        host: String,
        /// This component.
        component: String,
    },
    /// Not a bare JID.
    #[error("the {role} of the message is not a bare JID")]
    Jid {
        /// Author or recipient.
        role: &'static str,
    },
    /// No server would take it.
    #[error("{what} has {bytes} bytes, at most {max} are possible; it was not sent")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The largest size.
        max: usize,
    },
}

/// The connection over which a [`ComponentHandle::sync`] was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced(pub(super) u64);

/// Why it is not certain that the server has what was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// No connection now.
    #[error("the component is not connected to its server; what was sent may be lost: send it again")]
    Offline,
    /// The session has ended.
    #[error("the component's session is closed; what was sent last may be lost")]
    Ended,
    /// The connection broke after something was sent.
    #[error("the connection to the server broke; what was sent may be lost: send it again")]
    Lost,
    /// No answer came.
    #[error("the server did not answer in time; what was sent may be lost: send it again")]
    Timeout,
}

/// One for each message.
type Outcomes = Vec<Result<(), SendError>>;

#[derive(Debug)]
pub(super) enum Command {
    /// The answer is the connection's number, and an outcome for each that there was room for.
    Deliver {
        deliveries: Vec<Delivery>,
        reply: oneshot::Sender<Result<(u64, Outcomes), SendError>>,
    },
    Verdict {
        to: String,
        verdict: verdict::Answer,
        reply: oneshot::Sender<Result<u64, SendError>>,
    },
    HandOut {
        to: String,
        id: String,
        bundle: Bytes,
        reply: oneshot::Sender<Result<u64, SendError>>,
    },
    Answer {
        iq: IqToken,
        answer: IqAnswer,
        reply: oneshot::Sender<Result<u64, SendError>>,
    },
    Sync {
        connection: u64,
        reply: oneshot::Sender<Result<Synced, SyncError>>,
    },
    Notice {
        to: String,
        text: String,
        notice: KeyNotice,
        reply: oneshot::Sender<Result<u64, SendError>>,
    },
    Exists {
        account: String,
        reply: oneshot::Sender<Option<bool>>,
    },
}

/// A component session's commands. A clone is a sender of its own: its [`sync`](Self::sync) speaks for what was sent
/// through it.
#[derive(Debug)]
pub struct ComponentHandle {
    commands: mpsc::Sender<Command>,
    /// The first connection that carried something since the last sync; 0 is none.
    unsynced: Arc<AtomicU64>,
}

impl Clone for ComponentHandle {
    fn clone(&self) -> Self {
        Self { commands: self.commands.clone(), unsynced: Arc::new(AtomicU64::new(0)) }
    }
}

/// Starts a session, which keeps itself connected until `cancel`, or until all handles are dropped.
///
/// Must be called inside a tokio runtime. The receiver should be read all the time: the session keeps a few events
/// back and then stops reading from the network.
///
/// # Errors
/// When the configuration cannot work.
pub fn spawn_component(
    config: ComponentConfig,
    cancel: CancellationToken,
) -> Result<(ComponentHandle, mpsc::Receiver<ComponentEvent>), ConfigError> {
    let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
    let (events, event_queue) = mpsc::channel(EVENTS_MAX);
    tokio::spawn(Driver::new(config, cancel, command_queue, events)?.run());
    Ok((ComponentHandle { commands, unsynced: Arc::new(AtomicU64::new(0)) }, event_queue))
}

impl ComponentHandle {
    /// Sends a message as its author (XEP-0356). `Ok` means that it is on its way; [`sync`](Self::sync) tells that the
    /// server has it. What the server refuses comes back as [`ComponentEvent::Bounce`].
    ///
    /// # Errors
    /// When there is no connection, the author's server has not given the right, or the message is too large.
    pub async fn deliver(&self, delivery: Delivery) -> Result<(), SendError> {
        self.deliver_all(vec![delivery]).await?.into_iter().collect()
    }

    /// [`deliver`](Self::deliver) for several, in this order: an outcome for each, up to the first for which there is no
    /// room because the server takes too slowly.
    ///
    /// # Errors
    /// When there is no connection, or no room for any of them.
    pub async fn deliver_all(
        &self,
        deliveries: Vec<Delivery>,
    ) -> Result<Vec<Result<(), SendError>>, SendError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Deliver { deliveries, reply };
        self.commands.send(command).await.map_err(|_| SendError::Ended)?;
        let (connection, outcomes) = ask::answer(&self.commands, answer).await.ok_or(SendError::Ended)??;
        if outcomes.iter().any(Result::is_ok) {
            self.note(connection);
        }
        Ok(outcomes)
    }

    /// Sends a verdict to a carrier.
    ///
    /// # Errors
    /// When there is no connection or the verdict is too large.
    pub async fn verdict(&self, to: &str, verdict: &[u8], reveal: Option<[u8; 32]>) -> Result<(), SendError> {
        limit("the verdict", verdict.len(), VERDICT_BYTES_MAX)?;
        self.send_verdict(to, verdict::Answer::Verdict { bytes: verdict.to_vec(), reveal }).await
    }

    /// Sends acceptances under one signature to a carrier.
    ///
    /// # Errors
    /// When there is no connection or they are too large.
    pub async fn acceptances(&self, to: &str, acceptances: &[u8]) -> Result<(), SendError> {
        limit("the acceptances", acceptances.len(), ACCEPTANCES_BYTES_MAX)?;
        self.send_verdict(to, verdict::Answer::Acceptances { bytes: acceptances.to_vec() }).await
    }

    async fn send_verdict(&self, to: &str, verdict: verdict::Answer) -> Result<(), SendError> {
        parse_jid(to).ok_or(SendError::Jid { role: "carrier" })?;
        let to = to.to_owned();
        self.send(|reply| Command::Verdict { to, verdict, reply }).await
    }

    /// Hands a bundle to a carrier that picks it up for its recipient.
    ///
    /// # Errors
    /// When there is no connection or the bundle is too large.
    pub async fn hand_out(&self, to: &str, id: &str, bundle: Bytes) -> Result<(), SendError> {
        limit("the bundle", bundle.len(), BUNDLE_BYTES_MAX)?;
        parse_jid(to).ok_or(SendError::Jid { role: "carrier" })?;
        let (to, id) = (to.to_owned(), id.to_owned());
        self.send(|reply| Command::HandOut { to, id, bundle, reply }).await
    }

    /// Says to all clients of an account that another key asks to speak for it.
    ///
    /// # Errors
    /// When there is no connection or the text is too large.
    pub async fn notice(&self, to: &str, text: &str, notice: KeyNotice) -> Result<(), SendError> {
        limit("the text", text.len(), BODY_BYTES_MAX)?;
        bare(to).ok_or(SendError::Jid { role: "account" })?;
        let (to, text) = (to.to_owned(), text.to_owned());
        self.send(|reply| Command::Notice { to, text, notice, reply }).await
    }

    /// Whether the server has this account; `None` when it cannot be told now, or from this server at all.
    ///
    /// No standard asks this, and servers hide it on purpose. What they do report is a message that they cannot
    /// deliver, so an empty one is sent, followed by a ping: an error that comes before the ping's answer means "no".
    /// Which kind of message a server reports so is found out at each connection, with an account that cannot exist.
    pub async fn account_exists(&self, account: &str) -> Option<bool> {
        bare(account)?;
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Exists { account: account.to_owned(), reply }).await.ok()?;
        ask::answer(&self.commands, answer).await?
    }

    /// Answers an IQ.
    ///
    /// # Errors
    /// When there is no connection: the asker will ask again.
    pub async fn answer(&self, iq: IqToken, answer: IqAnswer) -> Result<(), SendError> {
        self.send(|reply| Command::Answer { iq, answer, reply }).await
    }

    /// Returns when the server has taken everything that was sent through this handle before: it answers in order, so
    /// its answer to a ping says so.
    ///
    /// # Errors
    /// When the connection broke in between: everything sent since the last successful sync must be sent again.
    pub async fn sync(&self) -> Result<Synced, SyncError> {
        self.ping(self.unsynced.swap(0, Ordering::AcqRel)).await
    }

    /// As [`sync`](Self::sync) for several handles, in their order, with one question for all that was sent over the same
    /// connection.
    pub async fn sync_all(handles: &[Self]) -> Vec<Result<Synced, SyncError>> {
        let mut answers: BTreeMap<u64, Result<Synced, SyncError>> = BTreeMap::new();
        let mut all = Vec::with_capacity(handles.len());
        for handle in handles {
            let connection = handle.unsynced.swap(0, Ordering::AcqRel);
            let answer = match answers.get(&connection) {
                Some(answer) => answer.clone(),
                None => handle.ping(connection).await,
            };
            answers.insert(connection, answer.clone());
            all.push(answer);
        }
        all
    }

    /// Returns when the server has answered once more on the connection of an earlier sync. What a server that stops had
    /// taken last may be lost or come back; then the connection ends soon after.
    ///
    /// # Errors
    /// When that connection is gone.
    pub async fn stands(&self, since: Synced) -> Result<(), SyncError> {
        self.ping(since.0).await.map(|_same| ())
    }

    async fn ping(&self, connection: u64) -> Result<Synced, SyncError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Sync { connection, reply }).await.map_err(|_| SyncError::Ended)?;
        ask::answer(&self.commands, answer).await.ok_or(SyncError::Ended)?
    }

    async fn send(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<u64, SendError>>) -> Command,
    ) -> Result<(), SendError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| SendError::Ended)?;
        let connection = ask::answer(&self.commands, answer).await.ok_or(SendError::Ended)??;
        self.note(connection);
        Ok(())
    }

    /// Something was sent over this connection.
    fn note(&self, connection: u64) {
        // Keep the first: what an older connection carried may be lost although a newer one works.
        let _ = self.unsynced.compare_exchange(0, connection, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// The host of a delivery's author, if it can be sent at all.
pub(super) fn author_host(delivery: &Delivery) -> Result<String, SendError> {
    let author = bare(&delivery.author).ok_or(SendError::Jid { role: "author" })?;
    bare(&delivery.recipient).ok_or(SendError::Jid { role: "recipient" })?;
    limit("the text", delivery.body.as_ref().map_or(0, String::len), BODY_BYTES_MAX)?;
    limit("the bundle", delivery.bundle.as_ref().map_or(0, |bundle| bundle.len()), BUNDLE_BYTES_MAX)?;
    Ok(author.domain().to_string())
}

fn bare(text: &str) -> Option<BareJid> {
    parse_jid(text)?.try_into_full().err()
}

fn limit(what: &'static str, bytes: usize, max: usize) -> Result<(), SendError> {
    if bytes > max { Err(SendError::TooLarge { what, bytes, max }) } else { Ok(()) }
}
