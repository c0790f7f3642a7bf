//! The transport as the daemon sees it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use pigeon_bundle::NodeSecret;
use pigeon_link::{
    DialError, DutyCycle, FLUSH_TIMEOUT, Link, PeerAddress, Role, Transport, TransportEvent, TransportKind,
    authenticate,
};
use pigeon_proto::Hello;
use quinn::{Endpoint, VarInt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::accept;
use crate::dial::{connect, raw_link};
use crate::discovery::{Announcement, Discovery, Request, Sightings};
use crate::live::Live;
use crate::{EVENT_QUEUE_MAX, QuicConfig, QuicError, addresses, endpoint};

const KIND: TransportKind = TransportKind::Quic;
/// How long the peers' acknowledgements of a shutdown are waited for, after the links are flushed.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// Requests to discovery that wait.
const REQUEST_QUEUE_MAX: usize = 16;

/// Neighbours on a local network.
pub struct QuicTransport {
    pub(crate) shared: Arc<Shared>,
    endpoint: Endpoint,
    listening: SocketAddr,
    carriage_open: watch::Sender<bool>,
    duty: watch::Sender<DutyCycle>,
}

/// What the transport's tasks have in common.
pub(crate) struct Shared {
    pub(crate) config: QuicConfig,
    pub(crate) node: NodeSecret,
    pub(crate) hello: Box<dyn Fn() -> Hello + Send + Sync>,
    pub(crate) events: mpsc::Sender<TransportEvent>,
    pub(crate) sightings: Sightings,
    pub(crate) live: Live,
    /// Ends discovery and accepting.
    pub(crate) stop: CancellationToken,
    /// Ends links, once discovery has said goodbye.
    pub(crate) stop_links: CancellationToken,
    pub(crate) tasks: TaskTracker,
    requests: mpsc::Sender<Request>,
}

impl Shared {
    /// A link to this address fell silent: ask whether its neighbour is still there.
    pub(crate) fn doubt(&self, ip: IpAddr) {
        for token in self.sightings.at(ip) {
            self.request(Request::Verify { token });
        }
    }

    /// Asks something of discovery. When its queue is full it is busy with as much already.
    fn request(&self, request: Request) {
        let _full = self.requests.try_send(request);
    }
}

/// An open socket before anything runs on it.
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) endpoint: Endpoint,
    pub(crate) announcement: Announcement,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) events: mpsc::Receiver<TransportEvent>,
}

impl Parts {
    pub(crate) fn prepare(
        config: QuicConfig,
        node: NodeSecret,
        hello: Box<dyn Fn() -> Hello + Send + Sync>,
        stop: CancellationToken,
    ) -> Result<Self, QuicError> {
        let endpoint = endpoint::open(&config, &node)?;
        let bound = |source| QuicError::Bind { listen: config.listen, source };
        let announcement = Announcement::new(endpoint.local_addr().map_err(bound)?)?;
        let (events_sender, events) = mpsc::channel(EVENT_QUEUE_MAX);
        let (requests_sender, requests) = mpsc::channel(REQUEST_QUEUE_MAX);
        let shared = Arc::new(Shared {
            config,
            node,
            hello,
            events: events_sender,
            sightings: Sightings::new(announcement.instance()),
            live: Live::default(),
            stop,
            stop_links: CancellationToken::new(),
            tasks: TaskTracker::new(),
            requests: requests_sender,
        });
        Ok(Self { shared, endpoint, announcement, requests, events })
    }
}

impl QuicTransport {
    /// Opens the socket, announces, browses and accepts. `hello` says what each link begins with. Cancelling
    /// `cancel` is [`Transport::shutdown`] without waiting for it, and so is dropping the transport.
    ///
    /// Must be called within a tokio runtime. Trouble with mDNS does not keep the transport from starting: it
    /// is reported as an event and tried again.
    ///
    /// # Errors
    /// The socket cannot be opened, or a setting is out of range.
    #[expect(clippy::needless_pass_by_value, reason = "a token is a handle: the caller gives a clone away")]
    pub fn start(
        config: QuicConfig,
        node: NodeSecret,
        hello: impl Fn() -> Hello + Send + Sync + 'static,
        cancel: CancellationToken,
    ) -> Result<(Arc<Self>, mpsc::Receiver<TransportEvent>), QuicError> {
        // A token of its own: shutting down one transport must not stop what else hangs on the caller's.
        let stop = cancel.child_token();
        let Parts { shared, endpoint, announcement, requests, events } =
            Parts::prepare(config, node, Box::new(hello), stop)?;
        let (carriage_open, carriage) = watch::channel((shared.hello)().carriage_open);
        let (duty, duties) = watch::channel(DutyCycle::ALWAYS);
        let listening = announcement.listening();
        shared.tasks.spawn(accept(Arc::clone(&shared), endpoint.clone()));
        let discovery = Discovery::new(Arc::clone(&shared), announcement, requests, carriage, duties);
        let discovering = shared.tasks.spawn(discovery.run());
        tokio::spawn(end_links_after(discovering, Arc::clone(&shared)));
        Ok((Arc::new(Self { shared, endpoint, listening, carriage_open, duty }), events))
    }

    /// Where the socket listens.
    #[must_use]
    pub fn listening(&self) -> SocketAddr {
        self.listening
    }

    /// Interfaces or addresses have changed: announce and query anew at once, and drop links whose local
    /// address is gone. Without it mDNS notices within seconds and links time out.
    pub fn poke(&self) {
        self.shared.request(Request::Poke);
    }

    async fn dial_token(&self, token: String) -> Result<Link, DialError> {
        if self.shared.stop.is_cancelled() {
            return Err(DialError::Shutdown { kind: KIND });
        }
        let Some(candidates) = self.shared.sightings.candidates(&token) else {
            return Err(DialError::Unknown { kind: KIND, token });
        };
        let interfaces = addresses::local();
        let on_link = candidates.into_iter().filter(|address| addresses::is_on_link(*address, &interfaces));
        let connection = match connect(&self.endpoint, on_link.collect()).await {
            Ok(connection) => connection,
            Err(attempts) => {
                self.shared.request(Request::Verify { token: token.clone() });
                return Err(DialError::Unreachable { kind: KIND, token, attempts });
            }
        };
        let Some(raw) = raw_link(&self.shared, connection, Role::Dialler) else {
            return Err(DialError::Unreachable {
                kind: KIND,
                token,
                attempts: "TLS has proved no key".into(),
            });
        };
        Ok(authenticate(raw, &self.shared.node, (self.shared.hello)()).await?)
    }

    async fn finish(&self) {
        self.shared.stop.cancel();
        self.shared.stop_links.cancelled().await;
        let _stalled = timeout(FLUSH_TIMEOUT + IDLE_WAIT, self.shared.tasks.wait()).await;
        self.endpoint.close(VarInt::from_u32(0), b"");
        let _unacknowledged = timeout(IDLE_WAIT, self.endpoint.wait_idle()).await;
    }
}

/// Waits for discovery to say goodbye, then closes links.
async fn end_links_after(discovering: JoinHandle<()>, shared: Arc<Shared>) {
    // A discovery that panicked is over too.
    let _panicked = discovering.await;
    shared.stop_links.cancel();
    shared.tasks.close();
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Transport for QuicTransport {
    fn kind(&self) -> TransportKind {
        KIND
    }

    fn dial(&self, peer: &PeerAddress) -> BoxFuture<'_, Result<Link, DialError>> {
        self.dial_token(peer.token.clone()).boxed()
    }

    fn set_carriage_open(&self, open: bool) {
        self.carriage_open.send_if_modified(|current| std::mem::replace(current, open) != open);
    }

    fn set_discovery(&self, duty: DutyCycle) {
        self.duty.send_if_modified(|current| std::mem::replace(current, duty) != duty);
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.finish().boxed()
    }
}
