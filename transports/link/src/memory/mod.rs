//! A transport without a network: seeded, for simulations and tests.
//!
//! A [`MemoryNetwork`] has members; members that [meet](MemoryNetwork::meet) see each other and can dial, and
//! links between them break when they [part](MemoryNetwork::part). [`Conditions`] say how bad the air is. What
//! is random comes from the network's seed, the number of the link and its direction, so a run repeats.

mod pipe;
#[cfg(test)]
mod tests;
mod transport;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pigeon_bundle::NodeSecret;
use pigeon_proto::Hello;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use pipe::raw_pair;
pub use transport::MemoryTransport;

use crate::{PeerAddress, RawLink, TransportEvent, TransportKind};

/// Events that wait for a member's daemon.
pub const EVENT_QUEUE_MAX: usize = 64;

/// How bad the air is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// From the last bit sent to the last bit received.
    pub latency: Duration,
    /// Bytes a second in each direction; `None`: no limit.
    pub bandwidth_bytes_s: Option<u32>,
    /// Probability that a frame breaks its link, 0 to 1.
    pub break_per_frame: f64,
    /// Probability that a dial fails, 0 to 1.
    pub dial_failure: f64,
    /// How long a broken link stays silent before both sides notice.
    pub silence: Duration,
}

impl Default for Conditions {
    /// Ideal air.
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            bandwidth_bytes_s: None,
            break_per_frame: 0.0,
            dial_failure: 0.0,
            silence: Duration::ZERO,
        }
    }
}

/// What a member says of itself at the beginning of a link.
type HelloSource = dyn Fn() -> Hello + Send + Sync;

/// Members that can meet.
#[derive(Clone)]
pub struct MemoryNetwork(Arc<Shared>);

struct Shared {
    seed: u64,
    conditions: Conditions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    links: u64,
    next_member: u64,
    members: BTreeMap<u64, Member>,
    /// Keyed by the lower and the higher member. Cancelled when they part.
    meetings: BTreeMap<(u64, u64), CancellationToken>,
}

struct Member {
    node: NodeSecret,
    hello: Arc<HelloSource>,
    events: mpsc::Sender<TransportEvent>,
    carriage_open: bool,
    shutdown: CancellationToken,
}

/// Both ends of a new connection, and what the peer needs for its side of the handshake.
struct Connected {
    own: RawLink,
    theirs: RawLink,
    node: NodeSecret,
    hello: Arc<HelloSource>,
    events: mpsc::Sender<TransportEvent>,
    shutdown: CancellationToken,
}

impl MemoryNetwork {
    /// A network without members.
    #[must_use]
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self(Arc::new(Shared { seed, conditions, state: Mutex::default() }))
    }

    /// A new member, in sight of nobody.
    #[must_use]
    pub fn join(
        &self,
        node: NodeSecret,
        hello: impl Fn() -> Hello + Send + Sync + 'static,
    ) -> (Arc<MemoryTransport>, mpsc::Receiver<TransportEvent>) {
        let (events, receiver) = mpsc::channel(EVENT_QUEUE_MAX);
        let shutdown = CancellationToken::new();
        let mut state = self.state();
        let number = state.next_member;
        state.next_member += 1;
        let carriage_open = hello().carriage_open;
        let hello: Arc<HelloSource> = Arc::new(hello);
        let member = Member {
            node: node.clone(),
            hello: Arc::clone(&hello),
            events,
            carriage_open,
            shutdown: shutdown.clone(),
        };
        state.members.insert(number, member);
        drop(state);
        (Arc::new(MemoryTransport::new(self.clone(), number, node, hello, shutdown)), receiver)
    }

    /// Two members come into each other's sight.
    pub async fn meet(&self, a: &MemoryTransport, b: &MemoryTransport) {
        let pair = ordered(a.member(), b.member());
        let sightings = {
            let mut state = self.state();
            state.meetings.entry(pair).or_default();
            [state.sighting(pair.0, pair.1), state.sighting(pair.1, pair.0)]
        };
        for (events, event) in sightings.into_iter().flatten() {
            // A member that is gone sees nobody.
            let _gone = events.send(event).await;
        }
    }

    /// Two members lose sight of each other; links between them break.
    pub async fn part(&self, a: &MemoryTransport, b: &MemoryTransport) {
        let losses = {
            let mut state = self.state();
            let (meeting, losses) = state.part(ordered(a.member(), b.member()));
            meeting.cancel();
            losses
        };
        for (events, event) in losses {
            let _gone = events.send(event).await;
        }
    }

    /// Breaks the links between two members that stay in sight of each other.
    pub fn cut_links(&self, a: &MemoryTransport, b: &MemoryTransport) {
        if let Some(meeting) = self.state().meetings.get_mut(&ordered(a.member(), b.member())) {
            std::mem::take(meeting).cancel();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Both ends of a new link, or `None` when the two do not see each other or the dial fails.
    fn connect(&self, own: u64, peer: u64) -> Option<Connected> {
        let mut state = self.state();
        let cut = state.meetings.get(&ordered(own, peer))?.child_token();
        let link = state.links;
        state.links += 1;
        let mut rng = link_rng(self.0.seed, link, 2);
        if pipe::chance(&mut rng, self.0.conditions.dial_failure) {
            return None;
        }
        let (mine, theirs) = raw_pair(self.0.seed, link, self.0.conditions, [own, peer], &cut);
        let member = state.members.get(&peer)?;
        Some(Connected {
            own: mine,
            theirs,
            node: member.node.clone(),
            hello: Arc::clone(&member.hello),
            events: member.events.clone(),
            shutdown: member.shutdown.clone(),
        })
    }

    fn set_carriage_open(&self, member: u64, open: bool) {
        let mut state = self.state();
        let Some(entry) = state.members.get_mut(&member) else { return };
        entry.carriage_open = open;
        for peer in state.met_by(member) {
            if let Some((events, event)) = state.sighting(peer, member) {
                // A hint only: whoever has a full queue reads the carriage bit in the next Hello.
                let _full = events.try_send(event);
            }
        }
    }

    fn leave(&self, member: u64) {
        let mut state = self.state();
        for peer in state.met_by(member) {
            // Links are not cut: the members' shutdown closes them once they are flushed.
            for (events, event) in state.part(ordered(member, peer)).1 {
                // As for a radio that is out of range: a full queue misses it and finds out by dialling.
                let _full = events.try_send(event);
            }
        }
        if let Some(gone) = state.members.remove(&member) {
            gone.shutdown.cancel();
        }
    }
}

type Addressed = (mpsc::Sender<TransportEvent>, TransportEvent);

impl State {
    /// What `viewer` is told when it sees `seen`.
    fn sighting(&self, viewer: u64, seen: u64) -> Option<Addressed> {
        let carriage_open = self.members.get(&seen)?.carriage_open;
        let events = self.members.get(&viewer)?.events.clone();
        let event = TransportEvent::Seen {
            peer: address(seen),
            dial_first: viewer > seen,
            carriage_open,
            rssi: None,
        };
        Some((events, event))
    }

    /// Ends a meeting: its token, and what the two are told.
    fn part(&mut self, pair: (u64, u64)) -> (CancellationToken, Vec<Addressed>) {
        let Some(meeting) = self.meetings.remove(&pair) else { return Default::default() };
        let lost = |viewer: u64, seen: u64| {
            let events = self.members.get(&viewer)?.events.clone();
            Some((events, TransportEvent::Lost { peer: address(seen) }))
        };
        let losses = [lost(pair.0, pair.1), lost(pair.1, pair.0)].into_iter().flatten().collect();
        (meeting, losses)
    }

    fn met_by(&self, member: u64) -> Vec<u64> {
        let other = |&(low, high): &(u64, u64)| match member {
            m if m == low => Some(high),
            m if m == high => Some(low),
            _ => None,
        };
        self.meetings.keys().filter_map(other).collect()
    }
}

fn ordered(a: u64, b: u64) -> (u64, u64) {
    (a.min(b), a.max(b))
}

fn address(member: u64) -> PeerAddress {
    PeerAddress { transport: TransportKind::Memory, token: member.to_string() }
}

/// Randomness for one direction (0, 1) of a link, or for its dial (2).
fn link_rng(seed: u64, link: u64, purpose: u64) -> ChaCha8Rng {
    let mut bytes = [0; 32];
    for (chunk, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip([seed, link, purpose]) {
        *chunk = number.to_be_bytes();
    }
    ChaCha8Rng::from_seed(bytes)
}
