//! The transport as the daemon sees it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bluer::Address;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use pigeon_bundle::NodeSecret;
use pigeon_link::{
    DialError, DutyCycle, FLUSH_TIMEOUT, Link, PeerAddress, Transport, TransportEvent, TransportKind,
};
use pigeon_proto::Hello;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::advert::Token;
use crate::dial::dial;
use crate::radio::{self, Station, Trouble};
use crate::sightings::Sightings;
use crate::{BleConfig, EVENT_QUEUE_MAX, HANDSHAKES_MAX, LinkQuality};

/// What a shutdown waits for beyond flushing links: BlueZ's answers.
const LEAVE_WAIT: Duration = Duration::from_secs(3);

/// Neighbours over Bluetooth Low Energy.
pub struct BleTransport {
    pub(crate) shared: Arc<Shared>,
}

/// What the transport's tasks have in common.
pub(crate) struct Shared {
    pub(crate) config: BleConfig,
    pub(crate) node: NodeSecret,
    pub(crate) hello: Box<dyn Fn() -> Hello + Send + Sync>,
    events: mpsc::Sender<TransportEvent>,
    pub(crate) sightings: Sightings,
    /// Under which name this node advertises.
    pub(crate) token: watch::Sender<Token>,
    pub(crate) carriage_open: watch::Sender<bool>,
    pub(crate) duty: watch::Sender<DutyCycle>,
    pub(crate) handshakes: Arc<Semaphore>,
    station: Mutex<Option<Arc<Station>>>,
    trouble: Mutex<Option<Trouble>>,
    /// Ends the radio's use.
    pub(crate) stop: CancellationToken,
    /// Ends links.
    pub(crate) stop_links: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Shared {
    pub(crate) fn new(
        config: BleConfig,
        node: NodeSecret,
        hello: Box<dyn Fn() -> Hello + Send + Sync>,
        stop: CancellationToken,
    ) -> Result<(Arc<Self>, mpsc::Receiver<TransportEvent>), getrandom::Error> {
        let (events, receiver) = mpsc::channel(EVENT_QUEUE_MAX);
        let carriage_open = watch::Sender::new(hello().carriage_open);
        let shared = Self {
            config,
            node,
            hello,
            events,
            sightings: Sightings::new(),
            token: watch::Sender::new(Token::random()?),
            carriage_open,
            duty: watch::Sender::new(DutyCycle::default()),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            station: Mutex::new(None),
            trouble: Mutex::new(None),
            stop,
            stop_links: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Ok((Arc::new(shared), receiver))
    }

    /// Reports to the daemon. Nobody listens any more while it shuts down.
    pub(crate) async fn tell(&self, event: TransportEvent) {
        if matches!(event, TransportEvent::Ready) {
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let _gone = self.events.send(event).await;
    }

    /// Whether this trouble is another than the last one told.
    pub(crate) fn new_trouble(&self, trouble: &Trouble) -> bool {
        let mut last = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        last.replace(trouble.clone()).as_ref() != Some(trouble)
    }

    pub(crate) fn station(&self) -> Option<Arc<Station>> {
        self.station.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_station(&self, station: Option<Arc<Station>>) {
        *self.station.lock().unwrap_or_else(PoisonError::into_inner) = station;
    }
}

impl BleTransport {
    /// Starts to use the configured adapter, as soon as there is one. `hello` says what each link begins with.
    /// Cancelling `cancel` is [`Transport::shutdown`] without waiting for it, and so is dropping the transport.
    ///
    /// Must be called within a tokio runtime. Nothing that is missing keeps it from starting: what is wrong is
    /// reported as an event, and it goes on by itself once that has changed.
    ///
    /// # Errors
    /// The system gives no randomness.
    #[expect(clippy::needless_pass_by_value, reason = "a token is a handle: the caller gives a clone away")]
    pub fn start(
        config: BleConfig,
        node: NodeSecret,
        hello: impl Fn() -> Hello + Send + Sync + 'static,
        cancel: CancellationToken,
    ) -> Result<(Arc<Self>, mpsc::Receiver<TransportEvent>), getrandom::Error> {
        let (shared, events) = Shared::new(config, node, Box::new(hello), cancel.child_token())?;
        let radio = shared.tasks.spawn(radio::run(Arc::clone(&shared)));
        shared.tasks.spawn(rotate(Arc::clone(&shared)));
        let ending = Arc::clone(&shared);
        tokio::spawn(async move {
            // A radio that panicked is over too.
            let _panicked = radio.await;
            ending.stop_links.cancel();
            ending.tasks.close();
        });
        Ok((Arc::new(Self { shared }), events))
    }

    /// How good the link to this address is, if there is one. The address is [`LinkMeta::remote`].
    ///
    /// [`LinkMeta::remote`]: pigeon_link::LinkMeta::remote
    #[must_use]
    pub fn quality(&self, remote: &str) -> Option<LinkQuality> {
        let address: Address = remote.parse().ok()?;
        self.shared.sightings.meter(address).map(|meter| meter.read())
    }

    async fn finish(&self) {
        self.shared.stop.cancel();
        let _stalled = timeout(FLUSH_TIMEOUT + LEAVE_WAIT, self.shared.tasks.wait()).await;
    }
}

/// Changes the token now and then, so that nobody is followed by it.
async fn rotate(shared: Arc<Shared>) {
    loop {
        let mut random = [0];
        // Without randomness there is no new token either.
        let _fixed = getrandom::fill(&mut random);
        let lifetime = shared.config.token_lifetime;
        let spread = lifetime / 5 * u32::from(random[0]) / 256;
        tokio::select! {
            () = tokio::time::sleep(lifetime - lifetime / 10 + spread) => {}
            () = shared.stop.cancelled() => return,
        }
        match Token::random() {
            Ok(token) => drop(shared.token.send_replace(token)),
            Err(error) => tracing::error!(%error, "no randomness for a new token"),
        }
    }
}

impl Drop for BleTransport {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Transport for BleTransport {
    fn kind(&self) -> TransportKind {
        TransportKind::Ble
    }

    fn dial(&self, peer: &PeerAddress) -> BoxFuture<'_, Result<Link, DialError>> {
        dial(&self.shared, peer.token.clone()).boxed()
    }

    fn set_carriage_open(&self, open: bool) {
        self.shared.carriage_open.send_if_modified(|current| std::mem::replace(current, open) != open);
    }

    fn set_discovery(&self, duty: DutyCycle) {
        self.shared.duty.send_if_modified(|current| std::mem::replace(current, duty) != duty);
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.finish().boxed()
    }
}
