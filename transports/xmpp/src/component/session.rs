//! The task behind a component session.

use std::collections::{BTreeMap, HashMap, VecDeque};

use minidom::Element;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::handle::{
    Command, ComponentConfig, ComponentEvent, IqAnswer, IqToken, SendError, SyncError, Synced, author_host,
    domain,
};
use super::handshake::{Stream, connect};
use super::incoming::{self, Incoming};
use super::knocking::Knocking;
use crate::backoff::{Backoff, random};
use crate::client::ConfigError;
use crate::client::dial::Target;
use crate::limits::{
    BACKLOG_MAX, CLOSE_TIMEOUT, DELIVERIES_REMEMBERED, EARLY_BYTES_MAX, IQ_TIMEOUT, IQS_MAX,
    OUTPUT_BYTES_MAX, PRIVILEGED_HOSTS_MAX, STANZA_BYTES_MAX,
};
use crate::ns;
use crate::probe::{Due, Probe, at};
use crate::reason::OfflineReason;
use crate::stanza::delivery::{self, Delivery};
use crate::stanza::privilege::Announcement;
use crate::stanza::tell::{self, Knock};
use crate::stanza::{bundle, iq, verdict};
use crate::wire::{Item, WireError, With, print};

/// What a stanza costs in memory beside its bundle, roughly.
const STANZA_OVERHEAD: usize = 1_024;

/// How a connection or the wait for one ended.
enum End {
    Lost(OfflineReason),
    Stop,
}

type SyncReply = oneshot::Sender<Result<Synced, SyncError>>;

/// A ping without an answer yet.
enum Ping {
    /// The first on a connection, once that has stood for a while: its answer comes after the server's announcements.
    First,
    /// To see whether the server is there.
    Alive,
    /// After the trials that show how to ask about accounts.
    Trial,
    /// After the question about an account, by the id of its message.
    Knock(String),
    /// Somebody waits until the server has come to it.
    Sync { reply: SyncReply, until: Instant },
}

/// Everything that outlives a connection.
pub(super) struct Driver {
    config: ComponentConfig,
    domain: String,
    host: String,
    target: Target,
    cancel: CancellationToken,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<ComponentEvent>,
    backlog: VecDeque<ComponentEvent>,
    /// What came before the connection was relied on.
    early: Vec<ComponentEvent>,
    early_bytes: usize,
    /// When the connection was made.
    since: Instant,
    /// A young connection was given up because of what it returned.
    doubted: bool,
    /// Counts connections, so that a sync cannot speak for an earlier one.
    connection: u64,
    prefix: u64,
    next: u64,
    pings: HashMap<String, Ping>,
    online: bool,
    /// The namespace of each host that lets us send as its users.
    privileges: BTreeMap<String, String>,
    /// Recipients of the last deliveries, by stanza id.
    delivered: VecDeque<(String, String)>,
    said: Option<OfflineReason>,
    knocking: Knocking,
}

impl Driver {
    pub(super) fn new(
        config: ComponentConfig,
        cancel: CancellationToken,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<ComponentEvent>,
    ) -> Result<Self, ConfigError> {
        let name = domain(&config.domain).ok_or_else(|| ConfigError::Domain(config.domain.clone()))?;
        let host = config.host().ok_or_else(|| ConfigError::Domain(config.domain.clone()))?;
        let target =
            Target::given(&config.server).ok_or_else(|| ConfigError::Server(config.server.clone()))?;
        Ok(Self {
            domain: name,
            host,
            target,
            config,
            cancel,
            commands,
            events,
            backlog: VecDeque::new(),
            early: Vec::new(),
            early_bytes: 0,
            since: Instant::now(),
            doubted: false,
            connection: 0,
            prefix: random(),
            next: 0,
            pings: HashMap::new(),
            online: false,
            privileges: BTreeMap::new(),
            delivered: VecDeque::new(),
            said: None,
            knocking: Knocking::default(),
        })
    }

    /// Connects again and again until it is told to stop.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(self.config.retry_min, self.config.retry_max);
        loop {
            let end = match self.connect().await {
                Ok(wire) => {
                    backoff.reset();
                    self.serve(wire).await
                }
                Err(end) => end,
            };
            self.disconnected();
            let End::Lost(reason) = end else { break };
            tracing::warn!(%reason, "component offline");
            self.say_offline(&reason);
            let wait = if reason.needs_operator() { self.config.retry_operator } else { backoff.wait() };
            if self.pause(wait).await.is_err() {
                break;
            }
        }
        // If nobody reads, nobody misses it.
        let _ = self.events.try_send(ComponentEvent::Offline { reason: OfflineReason::Shutdown });
    }

    /// What was known through the connection is not any more.
    fn disconnected(&mut self) {
        self.online = false;
        if self.since.elapsed() >= self.config.young {
            self.doubted = false;
        }
        self.privileges.clear();
        // Whoever asked about an account learns nothing.
        self.knocking = Knocking::default();
        for (_, ping) in self.pings.drain() {
            if let Ping::Sync { reply, .. } = ping {
                let _ = reply.send(Err(SyncError::Lost));
            }
        }
    }

    async fn connect(&mut self) -> Result<Stream, End> {
        let mut attempt = std::pin::pin!(connect(&self.config, &self.domain, &self.target));
        loop {
            tokio::select! {
                outcome = &mut attempt => return outcome.map_err(End::Lost),
                command = self.commands.recv() => refuse(command)?,
                () = self.cancel.cancelled() => return Err(End::Stop),
                sent = deliver(&self.events, &mut self.backlog) => sent?,
            }
        }
    }

    async fn pause(&mut self, wait: std::time::Duration) -> Result<(), End> {
        let mut waiting = std::pin::pin!(sleep(wait));
        loop {
            tokio::select! {
                () = &mut waiting => return Ok(()),
                command = self.commands.recv() => refuse(command)?,
                () = self.cancel.cancelled() => return Err(End::Stop),
                sent = deliver(&self.events, &mut self.backlog) => sent?,
            }
        }
    }

    /// Serves a connection until it ends.
    ///
    /// It is relied on when it has stood for [`ComponentConfig::settle`] and has answered then: what goes out before may
    /// come back although its addressee is there.
    async fn serve(&mut self, mut wire: Stream) -> End {
        self.connection += 1;
        self.since = Instant::now();
        let mut settles = Some(self.since + self.config.settle);
        let mut probe =
            Probe::new(self.config.ping_after, self.config.ping_timeout, self.config.ping_timeout);
        loop {
            let reading = self.backlog.len() < BACKLOG_MAX;
            let in_flight = wire.queued();
            if !reading {
                probe.hold(Instant::now());
            }
            let due = probe.deadline(wire.last_read());
            let stop = tokio::select! {
                item = wire.drive(reading) => match self.item(&mut wire, item) {
                    Ok(()) => false,
                    Err(reason) => return End::Lost(reason),
                },
                command = self.commands.recv() => match command {
                    Some(command) if self.online => {
                        self.command(&mut wire, command);
                        false
                    }
                    // Where all handles are gone, nobody can answer any more.
                    command => refuse(command).is_err(),
                },
                () = at(settles) => {
                    settles = None;
                    self.ping(&mut wire, Ping::First);
                    self.try_knocking(&mut wire);
                    false
                },
                sent = deliver(&self.events, &mut self.backlog) => sent.is_err(),
                () = sleep_until(due) => {
                    match probe.expired(Instant::now(), wire.last_read(), in_flight) {
                        Due::Nothing => {}
                        Due::Ask => self.ping(&mut wire, Ping::Alive),
                        Due::Dead => {
                            return End::Lost(OfflineReason::Timeout { doing: "checking that it is still there" });
                        }
                    }
                    false
                },
                () = expiry(&self.pings) => {
                    self.expire();
                    false
                },
                () = self.cancel.cancelled() => true,
            };
            if stop {
                if timeout(CLOSE_TIMEOUT, wire.close()).await.is_err() {
                    tracing::debug!("the server did not close the stream in time");
                }
                return End::Stop;
            }
        }
    }

    fn item(&mut self, wire: &mut Stream, item: Result<Item, WireError>) -> Result<(), OfflineReason> {
        match item.map_err(OfflineReason::broken)? {
            Item::Element(element) if element.has_ns(ns::COMPONENT) => self.stanza(wire, &element),
            Item::Element(element) if element.is("error", ns::STREAM) => {
                Err(OfflineReason::stream_error(&element, &self.domain))
            }
            Item::Element(_) => Ok(()),
            Item::Refused(_) => {
                tracing::info!("dropped a stanza that is nested too deep or has too many elements");
                Ok(())
            }
            Item::Closed => {
                Err(OfflineReason::StreamEnded { detail: "the server closed the stream".to_owned() })
            }
            Item::Opened { .. } => {
                Err(OfflineReason::Protocol { detail: "a second stream header".to_owned() })
            }
        }
    }

    fn stanza(&mut self, wire: &mut Stream, stanza: &Element) -> Result<(), OfflineReason> {
        match incoming::read(stanza, &self.domain) {
            Incoming::Nothing => {}
            Incoming::Event(event) => self.event(event),
            Incoming::Reply(reply) => wire.push(&reply),
            Incoming::Pong { from, id } if from == self.host => return self.pong(&id),
            Incoming::Pong { .. } => {}
            Incoming::Privilege(announcement) => self.privilege(announcement),
            Incoming::Bounce { from, id, condition } => return self.bounce(from, id, condition),
        }
        Ok(())
    }

    /// Whoever answers needs the connection: what comes early waits for it.
    fn event(&mut self, event: ComponentEvent) {
        if self.online {
            self.backlog.push_back(event);
            return;
        }
        self.early_bytes += match &event {
            ComponentEvent::Upload { bundles, .. } => {
                bundles.iter().map(|bundle| STANZA_OVERHEAD + bundle.len()).sum()
            }
            _ => STANZA_OVERHEAD,
        };
        if self.early_bytes <= EARLY_BYTES_MAX {
            self.early.push(event);
        } else {
            tracing::info!("what came before the connection was relied on is too much; it comes again");
        }
    }

    fn pong(&mut self, id: &str) -> Result<(), OfflineReason> {
        match self.pings.remove(id) {
            Some(Ping::First) => {
                if self.privileges.is_empty() && !self.config.unchecked_senders {
                    self.doubt("no privilege was announced")?;
                }
                self.online = true;
                self.said = None;
                self.say_online();
                self.early_bytes = 0;
                self.backlog.extend(self.early.drain(..));
            }
            Some(Ping::Sync { reply, .. }) => {
                // Whoever asked may have gone.
                let _ = reply.send(Ok(Synced(self.connection)));
            }
            Some(Ping::Trial) => self.knocking.tried(),
            Some(Ping::Knock(id)) => self.knocking.answered(&id),
            Some(Ping::Alive) | None => {}
        }
        Ok(())
    }

    /// The first time that something is wrong soon after the connection was made, the connection is given up: what shows
    /// on the next one is believed.
    fn doubt(&mut self, what: &str) -> Result<(), OfflineReason> {
        if self.doubted || self.since.elapsed() >= self.config.young {
            return Ok(());
        }
        self.doubted = true;
        Err(OfflineReason::Doubted { what: what.to_owned() })
    }

    fn privilege(&mut self, announcement: Announcement) {
        let Announcement { host, namespace, outgoing } = announcement;
        if !outgoing {
            self.privileges.remove(&host);
        } else if self.privileges.len() < PRIVILEGED_HOSTS_MAX || self.privileges.contains_key(&host) {
            self.privileges.insert(host.clone(), namespace);
        }
        if self.online && host == self.host {
            self.say_online();
        }
    }

    fn say_online(&mut self) {
        let privilege_ns = self.privileges.get(&self.host).cloned();
        tracing::info!(privileged = privilege_ns.is_some(), "component online");
        self.backlog.push_back(ComponentEvent::Online { privilege_ns });
    }

    /// A message came back.
    fn bounce(&mut self, from: String, id: Option<String>, condition: String) -> Result<(), OfflineReason> {
        if !id.as_deref().is_some_and(Knocking::is_trial) {
            self.doubt(&format!("a message came back, {condition}"))?;
        }
        if id.as_deref().is_some_and(|id| self.knocking.bounced(id)) {
            return Ok(());
        }
        let known = self.delivered.iter().rev().find(|(sent, _)| Some(sent) == id.as_ref());
        let to = known.map_or(from, |(_, recipient)| recipient.clone());
        self.backlog.push_back(ComponentEvent::Bounce { to, id, condition });
        Ok(())
    }

    fn command(&mut self, wire: &mut Stream, command: Command) {
        // Refused, never kept waiting: whoever waits here may be the one who reads the events.
        let full = wire.queued() >= OUTPUT_BYTES_MAX;
        match command {
            Command::Sync { connection, reply } => self.sync(wire, connection, reply),
            Command::Exists { account, reply } => self.knock(wire, &account, reply),
            Command::Deliver { reply, .. } if full => drop(reply.send(Err(SendError::Busy))),
            Command::Verdict { reply, .. }
            | Command::HandOut { reply, .. }
            | Command::Notice { reply, .. }
            | Command::Answer { reply, .. }
                if full =>
            {
                drop(reply.send(Err(SendError::Busy)));
            }
            Command::Deliver { deliveries, reply } => {
                let mut outcomes = Vec::with_capacity(deliveries.len());
                for delivery in &deliveries {
                    if wire.queued() >= OUTPUT_BYTES_MAX {
                        break;
                    }
                    outcomes.push(self.deliver(wire, delivery));
                }
                drop(reply.send(Ok((self.connection, outcomes))));
            }
            Command::Verdict { to, verdict, reply } => {
                wire.push(&verdict::message(&self.domain, &to, &verdict));
                drop(reply.send(Ok(self.connection)));
            }
            Command::HandOut { to, id, bundle, reply } => {
                wire.push(&bundle::hand_out(&self.domain, &to, &id, &bundle));
                drop(reply.send(Ok(self.connection)));
            }
            Command::Notice { to, text, notice, reply } => {
                wire.push(&tell::notice(&self.domain, &to, &text, &notice));
                drop(reply.send(Ok(self.connection)));
            }
            Command::Answer { iq, answer, reply } => {
                wire.push(&self.answer(&iq, answer));
                drop(reply.send(Ok(self.connection)));
            }
        }
    }

    fn deliver(&mut self, wire: &mut Stream, delivery: &Delivery) -> Result<(), SendError> {
        let host = author_host(delivery)?;
        let id = &delivery.message_id_hex;
        let message = match self.privileges.get(&host) {
            Some(namespace) => {
                let message = delivery::message(delivery, ns::CLIENT);
                delivery::privileged(message, id, &self.domain, &host, namespace)
            }
            None if self.config.unchecked_senders => delivery::message(delivery, ns::COMPONENT),
            None => return Err(SendError::NotPrivileged { host, component: self.domain.clone() }),
        };
        let text = print(&message, ns::COMPONENT);
        if text.len() > STANZA_BYTES_MAX {
            return Err(SendError::TooLarge {
                what: "the message",
                bytes: text.len(),
                max: STANZA_BYTES_MAX,
            });
        }
        wire.push_text(&text);
        if self.delivered.len() == DELIVERIES_REMEMBERED {
            self.delivered.pop_front();
        }
        self.delivered.push_back((id.clone(), delivery.recipient.clone()));
        Ok(())
    }

    fn answer(&self, iq: &IqToken, answer: IqAnswer) -> Element {
        let (id, from, to) = (iq.id.as_str(), Some(self.domain.as_str()), Some(iq.to.as_str()));
        match answer {
            IqAnswer::Card(bytes) => iq::result(ns::COMPONENT, id, from, to, Some(iq::card_answer(&bytes))),
            IqAnswer::Registered(until) => {
                iq::result(ns::COMPONENT, id, from, to, Some(iq::registered(until)))
            }
            IqAnswer::PickedUp(done) => iq::result(ns::COMPONENT, id, from, to, Some(iq::picked_up(done))),
            IqAnswer::Done => iq::result(ns::COMPONENT, id, from, to, None),
            IqAnswer::Error { condition, text } => iq::failure(ns::COMPONENT, id, from, to, condition, &text),
        }
    }

    /// Sends both kinds of message to an account that cannot exist, to see which of them the server reports.
    fn try_knocking(&mut self, wire: &mut Stream) {
        let nobody = format!("pigeon-{:x}{:x}@{}", self.prefix, random(), self.host);
        for (knock, id) in [(Knock::Headline, Knocking::TRIAL_HEADLINE), (Knock::Chat, Knocking::TRIAL_CHAT)]
        {
            wire.push(&tell::knock(knock, &self.domain, &nobody, id));
        }
        self.ping(wire, Ping::Trial);
    }

    fn knock(&mut self, wire: &mut Stream, account: &str, reply: oneshot::Sender<Option<bool>>) {
        let Some(way) = self.knocking.way() else {
            let _ = reply.send(None);
            return;
        };
        self.next += 1;
        let id = format!("knock-{:x}-{}", self.prefix, self.next);
        wire.push(&tell::knock(way, &self.domain, account, &id));
        self.knocking.asked(id.clone(), reply);
        self.ping(wire, Ping::Knock(id));
    }

    fn sync(&mut self, wire: &mut Stream, connection: u64, reply: SyncReply) {
        if connection != 0 && connection != self.connection {
            drop(reply.send(Err(SyncError::Lost)));
        } else if self.pings.len() >= IQS_MAX {
            drop(reply.send(Err(SyncError::Timeout)));
        } else {
            self.ping(wire, Ping::Sync { reply, until: Instant::now() + IQ_TIMEOUT });
        }
    }

    fn ping(&mut self, wire: &mut Stream, ping: Ping) {
        self.next += 1;
        let id = format!("{:x}-{}", self.prefix, self.next);
        let request = iq::ping(ns::COMPONENT, &id, &self.host).with("from", &self.domain);
        wire.push(&request);
        self.pings.insert(id, ping);
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let late = |ping: &mut Ping| matches!(ping, Ping::Sync { until, .. } if *until <= now);
        for (_, ping) in self.pings.extract_if(|_, ping| late(ping)) {
            if let Ping::Sync { reply, .. } = ping {
                let _ = reply.send(Err(SyncError::Timeout));
            }
        }
    }

    fn say_offline(&mut self, reason: &OfflineReason) {
        let kind = std::mem::discriminant(reason);
        if self.said.as_ref().map(std::mem::discriminant) != Some(kind) {
            self.said = Some(reason.clone());
            self.backlog.push_back(ComponentEvent::Offline { reason: reason.clone() });
        }
    }
}

/// Ends when the first sync has waited long enough.
async fn expiry(pings: &HashMap<String, Ping>) {
    let first = pings.values().filter_map(|ping| match ping {
        Ping::Sync { until, .. } => Some(*until),
        Ping::First | Ping::Alive | Ping::Trial | Ping::Knock(_) => None,
    });
    at(first.min()).await;
}

/// Answers a command while there is no connection that is relied on.
fn refuse(command: Option<Command>) -> Result<(), End> {
    match command {
        Some(Command::Deliver { reply, .. }) => drop(reply.send(Err(SendError::Offline))),
        Some(
            Command::Verdict { reply, .. }
            | Command::HandOut { reply, .. }
            | Command::Notice { reply, .. }
            | Command::Answer { reply, .. },
        ) => drop(reply.send(Err(SendError::Offline))),
        Some(Command::Sync { reply, .. }) => drop(reply.send(Err(SyncError::Offline))),
        Some(Command::Exists { reply, .. }) => {
            let _ = reply.send(None);
        }
        None => return Err(End::Stop),
    }
    Ok(())
}

/// Moves the oldest waiting event into the channel; never ends while there is none.
async fn deliver(
    events: &mpsc::Sender<ComponentEvent>,
    backlog: &mut VecDeque<ComponentEvent>,
) -> Result<(), End> {
    if backlog.is_empty() {
        return std::future::pending().await;
    }
    // The bridge is gone when the channel is closed.
    let permit = events.reserve().await.map_err(|_| End::Stop)?;
    if let Some(event) = backlog.pop_front() {
        permit.send(event);
    }
    Ok(())
}
