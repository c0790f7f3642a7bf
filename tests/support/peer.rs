//! A neighbour made of the project's own transport with no daemon behind it: it says what a test wants said.
#![allow(dead_code, reason = "each test program uses its part")]

use std::sync::Arc;
use std::time::Duration;

use carrier_pigeon::random::OsRandom;
use pigeon_bundle::{BUNDLE_SIZE_MAX, NodeKey, NodeSecret};
use pigeon_harness::netns::Host;
use pigeon_link::{Link, LinkMeta, Transport, TransportEvent};
use pigeon_proto::{Frame, Hello, Offer, PROTOCOL_VERSION};
use pigeon_quic::{QuicConfig, QuicTransport};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::PATIENCE;

/// A link to one daemon, spoken by hand.
pub(crate) struct Peer {
    runtime: Runtime,
    transport: Arc<QuicTransport>,
    events: mpsc::Receiver<TransportEvent>,
    link: Option<Link>,
    key: NodeKey,
    /// Keeps the runtime's threads in the host's namespace alive for as long as the namespace.
    _host: Host,
}

impl Peer {
    /// Finds the one daemon on the host's network by mDNS and links with it.
    pub(crate) fn meet(host: &Host) -> Self {
        let (runtime, transport, events, key) = host
            .run(|| {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()
                    .unwrap();
                let secret = NodeSecret::generate(&mut OsRandom);
                let key = secret.key();
                let (transport, events) = runtime.block_on(async {
                    QuicTransport::start(QuicConfig::default(), secret, hello, CancellationToken::new())
                        .unwrap()
                });
                (runtime, transport, events, key)
            })
            .unwrap();
        let mut peer = Self { runtime, transport, events, link: None, key, _host: host.clone() };
        peer.link_up();
        peer
    }

    /// The node key by which the daemon knows this peer.
    pub(crate) fn key(&self) -> String {
        self.key.to_string()
    }

    /// Links with the daemon, whoever dials, and says the empty lists with which a session begins.
    pub(crate) fn link_up(&mut self) {
        let (transport, events) = (&self.transport, &mut self.events);
        let link = self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, async {
                loop {
                    match events.recv().await.expect("the transport runs") {
                        TransportEvent::Incoming(link) => return link,
                        TransportEvent::Seen { peer, .. } => {
                            if let Ok(link) = transport.dial(&peer).await {
                                return link;
                            }
                        }
                        _ => {}
                    }
                }
            })
            .await
            .expect("the daemon is found")
        });
        self.link = Some(link);
        self.send(Frame::Recognise { macs: Vec::new(), last: true });
        self.send(Frame::TombstonesHeld { macs: Vec::new(), last: true });
        self.send(Frame::Have { macs: Vec::new(), last: true });
        self.send(Frame::Carrying { macs: Vec::new(), last: true });
        self.send(Frame::Pull { macs: Vec::new() });
    }

    /// What is known of the link.
    pub(crate) fn meta(&self) -> &LinkMeta {
        &self.link.as_ref().expect("linked").meta
    }

    /// Breaks the link without a word.
    pub(crate) fn cut(&mut self) {
        self.link = None;
    }

    /// Sends a frame.
    pub(crate) fn send(&mut self, frame: Frame) {
        assert!(self.still_sends(frame), "the daemon has closed the link");
    }

    /// Sends a frame; false where the daemon has closed the link.
    pub(crate) fn still_sends(&mut self, frame: Frame) -> bool {
        let link = self.link.as_ref().expect("linked");
        self.runtime.block_on(link.send(frame)).is_ok()
    }

    /// The first frame from which `pick` takes something; others are passed over.
    pub(crate) fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&Frame) -> Option<T>) -> T {
        let link = self.link.as_mut().expect("linked");
        let waiting = async {
            loop {
                let frame =
                    link.recv().await.unwrap().unwrap_or_else(|| panic!("the link ended before {what}"));
                if let Some(found) = pick(&frame) {
                    return found;
                }
            }
        };
        let waited = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, waiting).await });
        waited.unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}"))
    }

    /// Offers `bytes` under the id of `offer`, sends them when they are accepted, and returns the last word:
    /// `Stored` or `Decline`.
    pub(crate) fn give(&mut self, offer: Offer, bytes: &[u8]) -> Frame {
        let id = offer.bundle;
        self.send(Frame::Offer(offer));
        let answer = self.wait("an answer to the offer", |frame| match frame {
            Frame::Accept(accept) if accept.bundle == id => Some(frame.clone()),
            Frame::Decline { bundle, .. } if *bundle == id => Some(frame.clone()),
            _ => None,
        });
        if matches!(answer, Frame::Decline { .. }) {
            return answer;
        }
        for (number, data) in bytes.chunks(SEGMENT).enumerate() {
            let offset = u32::try_from(number * SEGMENT).unwrap();
            self.send(Frame::Segment { bundle: id, offset, data: data.to_vec().into() });
        }
        self.wait("the last word on the bundle", |frame| match frame {
            Frame::Stored { bundle } | Frame::Decline { bundle, .. } if *bundle == id => Some(frame.clone()),
            _ => None,
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.link = None;
        self.runtime.block_on(async {
            let _ = tokio::time::timeout(Duration::from_secs(5), self.transport.shutdown()).await;
        });
    }
}

const SEGMENT: usize = 32 << 10;

fn hello() -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        carriage_open: true,
        clock_s: None,
        bundle_size_max: u32::try_from(BUNDLE_SIZE_MAX).unwrap(),
    }
}
