#![allow(clippy::unwrap_used, reason = "tests")]

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::*;
use crate::contract::{Pair, Rig, hello, step};
use crate::{DialError, Link, Transport as _, contract_tests};

struct MemoryRig {
    conditions: Conditions,
    cut: CancellationToken,
    links: std::sync::atomic::AtomicU64,
}

impl MemoryRig {
    fn new(conditions: Conditions) -> Self {
        Self { conditions, cut: CancellationToken::new(), links: 0.into() }
    }
}

impl Rig for MemoryRig {
    fn pair(&self) -> BoxFuture<'_, Pair> {
        let link = self.links.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (dialler, listener) = raw_pair(1, link, self.conditions, [1, 2], &self.cut);
        let dialler_node = NodeSecret::from_secret_bytes(&[1; 32]);
        let listener_node = NodeSecret::from_secret_bytes(&[2; 32]);
        async move { Pair { dialler, listener, dialler_node, listener_node } }.boxed()
    }

    fn cut(&self) -> BoxFuture<'_, ()> {
        self.cut.cancel();
        async {}.boxed()
    }
}

mod ideal_air {
    use super::*;
    contract_tests! { #[tokio::test(start_paused = true)] rig = MemoryRig::new(Conditions::default()) }
}

mod slow_air {
    use super::*;
    const SLOW: Conditions = Conditions {
        latency: Duration::from_millis(40),
        bandwidth_bytes_s: Some(500_000),
        break_per_frame: 0.0,
        dial_failure: 0.0,
        silence: Duration::from_secs(10),
    };
    contract_tests! { #[tokio::test(start_paused = true)] rig = MemoryRig::new(SLOW) }
}

fn node(number: u8) -> NodeSecret {
    NodeSecret::from_secret_bytes(&[number; 32])
}

fn join(network: &MemoryNetwork, number: u8) -> (Arc<MemoryTransport>, mpsc::Receiver<TransportEvent>) {
    network.join(node(number), || hello(true))
}

async fn next(events: &mut mpsc::Receiver<TransportEvent>) -> TransportEvent {
    step("event", events.recv()).await.unwrap()
}

async fn seen(events: &mut mpsc::Receiver<TransportEvent>) -> (PeerAddress, bool, bool) {
    match next(events).await {
        TransportEvent::Seen { peer, dial_first, carriage_open, .. } => (peer, dial_first, carriage_open),
        other => panic!("{other:?}"),
    }
}

async fn incoming(events: &mut mpsc::Receiver<TransportEvent>) -> Link {
    match next(events).await {
        TransportEvent::Incoming(link) => link,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn members_meet_dial_and_part() {
    let network = MemoryNetwork::new(1, Conditions::default());
    let ((a, mut at_a), (b, mut at_b)) = (join(&network, 1), join(&network, 2));
    network.meet(&a, &b).await;
    let (peer_of_a, a_first, _) = seen(&mut at_a).await;
    let (_, b_first, _) = seen(&mut at_b).await;
    assert_ne!(a_first, b_first, "exactly one side dials at once");
    let mut link = a.dial(&peer_of_a).await.unwrap();
    let other = incoming(&mut at_b).await;
    assert_eq!((link.peer, other.peer), (node(2).key(), node(1).key()));
    network.part(&a, &b).await;
    assert!(matches!(next(&mut at_a).await, TransportEvent::Lost { peer } if peer == peer_of_a));
    assert!(matches!(next(&mut at_b).await, TransportEvent::Lost { .. }));
    assert_eq!(step("link breaks", link.recv()).await, Ok(None));
    assert!(matches!(a.dial(&peer_of_a).await, Err(DialError::Unreachable { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_changed_carriage_bit_is_seen() {
    let network = MemoryNetwork::new(1, Conditions::default());
    let ((a, mut at_a), (b, _at_b)) = (join(&network, 1), join(&network, 2));
    network.meet(&a, &b).await;
    assert!(seen(&mut at_a).await.2);
    b.set_carriage_open(false);
    assert!(!seen(&mut at_a).await.2);
}

#[tokio::test(start_paused = true)]
async fn shutdown_is_seen_and_closes_links() {
    let network = MemoryNetwork::new(1, Conditions::default());
    let ((a, mut at_a), (b, mut at_b)) = (join(&network, 1), join(&network, 2));
    network.meet(&a, &b).await;
    let (peer, _, _) = seen(&mut at_a).await;
    seen(&mut at_b).await;
    let mut link = a.dial(&peer).await.unwrap();
    let other = incoming(&mut at_b).await;
    other.send(pigeon_proto::Frame::Goodbye(pigeon_proto::GoodbyeReason::Shutdown)).await.unwrap();
    b.shutdown().await;
    assert!(matches!(next(&mut at_a).await, TransportEvent::Lost { .. }));
    assert!(matches!(link.recv().await, Ok(Some(pigeon_proto::Frame::Goodbye(_)))), "queued frames are sent");
    assert_eq!(step("link ends", link.recv()).await, Ok(None));
    assert!(matches!(b.dial(&peer).await, Err(DialError::Shutdown { .. })));
}

/// The same seed breaks the same frame; another seed another.
#[tokio::test(start_paused = true)]
async fn bad_luck_repeats_with_its_seed() {
    let conditions = Conditions { break_per_frame: 0.02, ..Conditions::default() };
    let lifetime = async |seed: u64| {
        let (a, mut b) = raw_pair(seed, 0, conditions, [1, 2], &CancellationToken::new());
        let mut count = 0_u32;
        loop {
            if a.tx.send(vec![1].into()).await.is_err() || b.rx.recv().await.is_none() {
                return count;
            }
            count += 1;
        }
    };
    let mut lifetimes = Vec::new();
    for seed in 0..8 {
        lifetimes.push(lifetime(seed).await);
        assert_eq!(lifetimes.last(), Some(&lifetime(seed).await), "seed {seed}");
    }
    lifetimes.sort_unstable();
    lifetimes.dedup();
    assert!(lifetimes.len() > 4, "{lifetimes:?}");
}

#[tokio::test(start_paused = true)]
async fn latency_and_bandwidth_take_their_time() {
    let conditions = Conditions {
        latency: Duration::from_millis(100),
        bandwidth_bytes_s: Some(1_000),
        ..Conditions::default()
    };
    let (a, mut b) = raw_pair(1, 0, conditions, [1, 2], &CancellationToken::new());
    let begin = tokio::time::Instant::now();
    for _ in 0..3 {
        a.tx.send(vec![0; 500].into()).await.unwrap();
    }
    for arrival_ms in [600, 1_100, 1_600] {
        b.rx.recv().await.unwrap();
        assert_eq!(begin.elapsed(), Duration::from_millis(arrival_ms), "of virtual time");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_link_is_silent_before_it_ends() {
    let conditions = Conditions { silence: Duration::from_secs(7), ..Conditions::default() };
    let cut = CancellationToken::new();
    let (a, mut b) = raw_pair(1, 0, conditions, [1, 2], &cut);
    let begin = tokio::time::Instant::now();
    cut.cancel();
    a.tx.send(vec![1].into()).await.unwrap();
    assert!(b.rx.recv().await.is_none());
    assert_eq!(begin.elapsed(), Duration::from_secs(7), "of virtual time");
}
