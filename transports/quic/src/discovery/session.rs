//! One run of the mDNS engine.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mdns_sd::{DaemonEvent, Error, IfKind, Metrics, Receiver, ServiceDaemon, ServiceEvent};
use pigeon_link::{DutyCycle, TransportEvent};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Announcement, Request, SERVICE, Wishes, port, report};
use crate::addresses;
use crate::transport::Shared;

/// How often the engine looks at the interfaces by itself.
const CHECK_INTERVAL_S: u32 = 5;
/// How often it looks after a poke, for [`ALERT_TIME`]. The engine counts in whole seconds.
const CHECK_INTERVAL_ALERT_S: u32 = 1;
const ALERT_TIME: Duration = Duration::from_secs(10);
/// Pokes that come in this time are one.
const POKE_DELAY: Duration = Duration::from_millis(50);
/// The engine asks ever less often (RFC 6762 section 5.2), up to hourly, as if neighbours did not move. It is told to
/// begin anew in this time at most, and not sooner than [`QUERY_INTERVAL_MIN`]: the duty cycle lies in between. How
/// long a window is does not matter here, since a query is a packet, and what answers or announces itself is heard.
const QUERY_INTERVAL_MAX: Duration = Duration::from_secs(300);
const QUERY_INTERVAL_MIN: Duration = Duration::from_secs(30);
/// How often the engine's memory is looked at.
const WEIGH_INTERVAL: Duration = Duration::from_secs(5);
/// Records that the engine may hold. It takes whatever is announced on the link, without a limit of its own,
/// and reads until its sockets are empty: a flood without a pause keeps it from answering, and from being stopped.
const RECORDS_MAX: i64 = 20_000;
/// How long a neighbour in doubt has to answer.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the engine has to say goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// Searches that replace each other and have not been read to their end.
const SEARCHES_MAX: usize = 8;

/// How a session ended.
pub(super) enum End {
    /// The transport stops.
    Stopped,
    /// The engine does not work, or no longer: why.
    Broken(String),
}

/// A running engine that announces and browses.
pub(super) struct Session<'a> {
    shared: &'a Arc<Shared>,
    announcement: &'a Announcement,
    engine: ServiceDaemon,
    monitor: Receiver<DaemonEvent>,
    /// The newest last. An older one ends when the engine has taken up the next.
    searches: VecDeque<Receiver<ServiceEvent>>,
    poked: Option<Instant>,
    calm: Option<Instant>,
    query: Instant,
    weigh: Instant,
    toggle: bool,
    duty: DutyCycle,
}

/// What woke the session.
enum Wake {
    Stop,
    Service(ServiceEvent),
    SearchEnded,
    Engine(DaemonEvent),
    EngineGone,
    Request(Request),
    Carriage,
    Duty,
    Poked,
    Calm,
    Query,
    Weigh,
}

impl<'a> Session<'a> {
    pub(super) fn start(
        shared: &'a Arc<Shared>,
        announcement: &'a Announcement,
        wishes: &Wishes,
    ) -> Result<Self, String> {
        port::check()?;
        let mut session = Self::start_engine(shared, announcement).map_err(|error| error.to_string())?;
        session.follow(wishes).map_err(|error| error.to_string())?;
        Ok(session)
    }

    fn start_engine(shared: &'a Arc<Shared>, announcement: &'a Announcement) -> Result<Self, Error> {
        let engine = ServiceDaemon::new()?;
        engine.set_ip_check_interval(CHECK_INTERVAL_S)?;
        if !shared.config.interfaces.is_empty() {
            engine.disable_interface(IfKind::All)?;
            let names = shared.config.interfaces.iter().map(String::as_str);
            engine.enable_interface(names.collect::<Vec<_>>())?;
        }
        let monitor = engine.monitor()?;
        let now = Instant::now();
        Ok(Self {
            shared,
            announcement,
            engine,
            monitor,
            searches: VecDeque::new(),
            poked: None,
            calm: None,
            query: now + QUERY_INTERVAL_MAX,
            weigh: now + WEIGH_INTERVAL,
            toggle: false,
            duty: DutyCycle::Off,
        })
    }

    /// Announces and browses until the transport stops or the engine breaks.
    pub(super) async fn run(&mut self, requests: &mut mpsc::Receiver<Request>, wishes: &mut Wishes) -> End {
        loop {
            let wake = self.wake(requests, wishes).await;
            match self.handle(wake, wishes).await {
                Ok(true) => {}
                Ok(false) => return End::Stopped,
                Err(error) => return End::Broken(error.to_string()),
            }
        }
    }

    /// Withdraws the announcement and ends the engine.
    pub(super) async fn goodbye(&self) {
        if let Ok(done) = self.engine.unregister(&self.announcement.full_name()) {
            let _late = timeout(GOODBYE_TIMEOUT, done.recv_async()).await;
        }
        if let Ok(done) = self.engine.shutdown() {
            let _late = timeout(GOODBYE_TIMEOUT, done.recv_async()).await;
        }
    }

    async fn wake(&self, requests: &mut mpsc::Receiver<Request>, wishes: &mut Wishes) -> Wake {
        let search = async {
            match self.searches.front() {
                Some(search) => search.recv_async().await.map_or(Wake::SearchEnded, Wake::Service),
                None if self.duty.is_off() => std::future::pending().await,
                None => Wake::SearchEnded,
            }
        };
        tokio::select! {
            () = self.shared.stop.cancelled() => Wake::Stop,
            wake = search => wake,
            event = self.monitor.recv_async() => event.map_or(Wake::EngineGone, Wake::Engine),
            request = requests.recv() => request.map_or(Wake::Stop, Wake::Request),
            Ok(()) = wishes.carriage_open.changed() => Wake::Carriage,
            Ok(()) = wishes.duty.changed() => Wake::Duty,
            () = at(self.poked) => Wake::Poked,
            () = at(self.calm) => Wake::Calm,
            () = sleep_until(self.query) => Wake::Query,
            () = sleep_until(self.weigh) => Wake::Weigh,
        }
    }

    /// Whether to go on.
    async fn handle(&mut self, wake: Wake, wishes: &Wishes) -> Result<bool, Error> {
        match wake {
            Wake::Stop => return Ok(false),
            Wake::Service(event) => self.service(event).await,
            Wake::SearchEnded => {
                self.searches.pop_front();
                if self.searches.is_empty() && !self.duty.is_off() {
                    // The engine gave up on a reader that fell behind.
                    self.searches.push_back(self.engine.browse(SERVICE)?);
                }
            }
            Wake::Engine(event) => self.engine_event(event).await,
            Wake::EngineGone => return Err(Error::DaemonShutdown),
            Wake::Request(Request::Poke) => {
                self.poked.get_or_insert_with(|| Instant::now() + POKE_DELAY);
            }
            Wake::Request(Request::Verify { token }) => {
                busy_is_fine(self.engine.verify(format!("{token}.{SERVICE}"), VERIFY_TIMEOUT))?;
            }
            Wake::Carriage => self.announce(wishes)?,
            Wake::Duty => {
                let was_off = self.duty.is_off();
                self.follow(wishes)?;
                if self.duty.is_off() && !was_off {
                    self.forget_all().await;
                }
            }
            Wake::Poked => self.rescan(wishes)?,
            Wake::Calm => {
                self.calm = None;
                busy_is_fine(self.engine.set_ip_check_interval(CHECK_INTERVAL_S))?;
            }
            Wake::Query => self.search_again()?,
            Wake::Weigh => self.weigh().await?,
        }
        Ok(true)
    }

    /// Looks and announces as much as is wanted now.
    fn follow(&mut self, wishes: &Wishes) -> Result<(), Error> {
        let was = std::mem::replace(&mut self.duty, wishes.duty());
        match (was.is_off(), self.duty.is_off()) {
            (_, false) => {
                if was.is_off() {
                    self.announce(wishes)?;
                }
                self.search_again()
            }
            (false, true) => {
                // Neighbours hear that this node is gone; nobody waits for the engine's answer.
                let _answer = self.engine.unregister(&self.announcement.full_name())?;
                busy_is_fine(self.engine.stop_browse(SERVICE))?;
                self.searches.clear();
                Ok(())
            }
            (true, true) => Ok(()),
        }
    }

    fn announce(&self, wishes: &Wishes) -> Result<(), Error> {
        if self.duty.is_off() {
            return Ok(());
        }
        busy_is_fine(self.engine.register(self.announcement.service(wishes.carriage_open())?))
    }

    /// What is not looked for is not in sight.
    async fn forget_all(&self) {
        for peer in self.shared.sightings.clear() {
            report(self.shared, TransportEvent::Lost { peer }).await;
        }
    }

    async fn service(&self, event: ServiceEvent) {
        let news = match event {
            ServiceEvent::ServiceResolved(service) => self.shared.sightings.resolved(&service),
            ServiceEvent::ServiceRemoved(_, full_name) => self.shared.sightings.removed(&full_name),
            _ => None,
        };
        if let Some(event) = news {
            report(self.shared, event).await;
        }
    }

    async fn engine_event(&self, event: DaemonEvent) {
        if let DaemonEvent::Error(error) = event {
            let problem = format!("mDNS: {error}; neighbours may not be found");
            report(self.shared, TransportEvent::Problem(problem)).await;
        }
    }

    /// Interfaces have changed.
    fn rescan(&mut self, wishes: &Wishes) -> Result<(), Error> {
        self.poked = None;
        self.shared.live.drop_all_but(&addresses::local_ips());
        // The engine takes up new interfaces at once when the set of those it excludes changes, and otherwise
        // at its next check. This switch concerns interfaces of Apple's alone, so it may be turned freely.
        self.toggle = !self.toggle;
        busy_is_fine(self.engine.include_apple_p2p(self.toggle))?;
        if self.calm.is_none() {
            // What has gone is noticed by the check only. Setting the interval starts it anew: once is enough.
            busy_is_fine(self.engine.set_ip_check_interval(CHECK_INTERVAL_ALERT_S))?;
        }
        self.calm = Some(Instant::now() + ALERT_TIME);
        // An interface that went and came back between two checks is nothing new to the engine.
        self.announce(wishes)?;
        self.search_again()
    }

    /// Gives up an engine that somebody has filled: the next one starts empty.
    async fn weigh(&mut self) -> Result<(), Error> {
        self.weigh = Instant::now() + WEIGH_INTERVAL;
        let answer = match self.engine.get_metrics() {
            Err(Error::Again) => return Ok(()),
            answer => answer?,
        };
        match timeout(WEIGH_INTERVAL, answer.recv_async()).await {
            Ok(Ok(metrics)) if records(&metrics) > RECORDS_MAX => {
                Err(Error::Msg(format!("somebody on this link announces more than {RECORDS_MAX} records")))
            }
            Ok(_) => Ok(()),
            Err(_) => {
                tracing::warn!("mDNS does not keep up: somebody floods this link with announcements");
                Ok(())
            }
        }
    }

    /// Queries at once, and again soon.
    fn search_again(&mut self) -> Result<(), Error> {
        let DutyCycle::Windows { period, .. } = self.duty else {
            self.query = Instant::now() + QUERY_INTERVAL_MAX;
            return Ok(());
        };
        self.query = Instant::now() + period.clamp(QUERY_INTERVAL_MIN, QUERY_INTERVAL_MAX);
        if self.searches.len() < SEARCHES_MAX {
            match self.engine.browse(SERVICE) {
                Ok(search) => self.searches.push_back(search),
                Err(Error::Again) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Records in the engine's memory.
fn records(metrics: &Metrics) -> i64 {
    metrics.iter().filter(|(name, _)| name.starts_with("cached-")).map(|(_, count)| *count).sum()
}

/// The engine's queue is full: it has enough to do, and will be asked again.
fn busy_is_fine(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(Error::Again) => Ok(()),
        outcome => outcome,
    }
}

/// Waits until then; for ever without a time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
