//! What an event costs as the store grows, and a thousand nodes in one process.
//!
//! `make bench-core`. CPU seconds, not seconds: the machine may be busy. Ratios are of the same run, best of several.

#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::VecDeque;

use bytes::Bytes;
use pigeon_bundle::{Bundle, NodeKey, Reveal};
use pigeon_core::{
    Action, Catalog, CoreConfig, Entry, Event, LinkId, LinkInfo, OpenOutcome, Pool, Role, StoreOp,
};
use pigeon_proto::{DeclineReason, Frame, Offer};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use support::node::Node;
use support::pool::{WALL_S, many};

/// Nodes of the large world, and bundles in it.
const NODES: usize = 1_000;
const BUNDLES: usize = 100_000;
/// Meetings in the large world.
const MEETINGS: u64 = 4_000;
/// Stores of one node that are compared.
const HELD: [usize; 3] = [1_000, 10_000, 100_000];
/// Neighbours of that node, and bundles that come while it is measured, each time.
const NEIGHBOURS: u8 = 8;
const ROUNDS: usize = 400;
const TIMES: usize = 5;
/// Links that are made where their cost is measured.
const SESSIONS: u64 = 4;

type Sealed = (Bundle, Reveal);

fn main() {
    let sealed = many(BUNDLES + TIMES * ROUNDS);
    let (held, fresh) = sealed.split_at(BUNDLES);
    let costs = HELD.map(|count| event_cost(&held[..count], fresh));
    for (count, (event_us, session_ms)) in HELD.iter().zip(costs) {
        println!(
            "bench: core.event_us_{} {event_us:.2} (CPU of one event, {count} bundles held)",
            count / 1_000
        );
        println!(
            "bench: core.session_ms_{} {session_ms:.2} (CPU of both lists at the begin of a link, {count} held, at most \
             16384 are listed)",
            count / 1_000
        );
    }
    let ratio = |count: usize| costs[count].0 / costs[0].0;
    println!("bench: core.event_cost_10k_vs_1k {:.2} (logarithms: 1.33)", ratio(1));
    println!("bench: core.event_cost_100k_vs_1k {:.2} (logarithms: 1.67)", ratio(2));
    thousand_nodes(held);
}

/// CPU seconds of this process.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Bytes of this process in memory.
fn resident() -> f64 {
    const PAGE: f64 = 4_096.0;
    let stat = std::fs::read_to_string("/proc/self/statm").unwrap();
    stat.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * PAGE
}

fn info(link: u64, node: NodeKey, own: NodeKey, role: Role) -> LinkInfo {
    LinkInfo {
        link: LinkId(link),
        peer: None,
        node,
        own,
        role,
        binding: [u8::try_from(link % 251).unwrap(); 32],
        cost: 0,
        address: node.0[..8].try_into().unwrap(),
        carriage_open: true,
        clock_s: None,
    }
}

fn config() -> CoreConfig {
    let limit = u64::MAX / 4;
    CoreConfig {
        quota_bytes: limit,
        daily_bytes: limit,
        daily_bundles: limit,
        reveal_delay_ms_max: 0,
        ..CoreConfig::default()
    }
}

fn key(number: u64) -> NodeKey {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    NodeKey(key)
}

/// A node whose neighbours are this program.
struct Measured {
    node: Node,
    now_ms: u64,
    events: u64,
    links: u64,
}

impl Measured {
    fn holding(sealed: &[Sealed]) -> Self {
        let mut node = Node::new(1, config());
        for (bundle, _) in sealed {
            let entry = Entry { copies: 0, pool: Pool::Stranger, ..Entry::own(0, Some(WALL_S)) };
            node.catalog.apply(&[StoreOp::Put { bundle: bundle.clone(), entry }]);
        }
        let mut measured = Self { node, now_ms: 1_000, events: 0, links: 0 };
        measured.event(Event::Started);
        for number in 0..NEIGHBOURS {
            measured.link(u64::from(number));
        }
        // Until every link has been searched for what to offer.
        while measured.node.core.next_deadline_ms().is_some_and(|due_ms| due_ms < measured.now_ms + 1_000) {
            measured.now_ms = measured.node.core.next_deadline_ms().unwrap().max(measured.now_ms);
            measured.event(Event::Timer);
        }
        measured
    }

    fn event(&mut self, event: Event) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.events += 1;
            for action in self.node.handle(self.now_ms, event) {
                match action {
                    Action::Commit { token, ops } => {
                        self.node.catalog.apply(&ops);
                        events.push_back(Event::Committed { token, result: Ok(()) });
                    }
                    Action::Send { link, frame } => {
                        if let Frame::Offer(offer) = &frame {
                            let declined =
                                Frame::Decline { bundle: offer.bundle, reason: DeclineReason::Known };
                            events.push_back(Event::Frame { link, frame: declined });
                        }
                        if matches!(frame, Frame::Carrying { last: true, .. }) {
                            events.push_back(Event::Frame { link, frame: Frame::Pull { macs: vec![] } });
                        }
                        frames.push(frame);
                    }
                    _ => {}
                }
            }
        }
        frames
    }

    /// A neighbour that holds nothing and wants nothing directly.
    fn link(&mut self, number: u64) -> LinkId {
        self.links += 1;
        let link = LinkId(self.links);
        self.event(Event::LinkUp(info(self.links, key(number + 2), key(1), Role::Listener)));
        for frame in [
            Frame::Recognise { macs: vec![[0; 16]; 16], last: true },
            Frame::TombstonesHeld { macs: vec![], last: true },
            Frame::Have { macs: vec![], last: true },
            Frame::Carrying { macs: vec![], last: true },
        ] {
            self.event(Event::Frame { link, frame });
        }
        link
    }

    /// A bundle comes from a neighbour, is offered to the others, and another one turns out to be delivered.
    fn round(&mut self, number: usize, (bundle, _): &Sealed, delivered: &Sealed) {
        self.now_ms += 10;
        let link = LinkId(1 + number as u64 % u64::from(NEIGHBOURS));
        let size = u32::try_from(bundle.size()).unwrap();
        let id = bundle.id();
        let offer =
            Offer { bundle: id, size, copies: 3, quality: 0, moves: 0, age_s: 60, hops: 2, tag: None };
        let accepted = self.event(Event::Frame { link, frame: Frame::Offer(offer) });
        assert!(matches!(accepted[..], [Frame::Accept(_)]), "{accepted:?}");
        let data = Bytes::copy_from_slice(bundle.as_bytes());
        self.event(Event::Frame { link, frame: Frame::Segment { bundle: id, offset: 0, data } });
        self.event(Event::Frame { link, frame: Frame::Granted { bundle: id, copies: 3 } });
        let reveals = vec![delivered.1];
        self.event(Event::Frame { link, frame: Frame::TombstonesRevealed { reveals } });
        assert!(self.node.entry(&delivered.0.id()).is_none() && self.node.entry(&id).is_some());
        self.event(Event::Timer);
    }
}

/// CPU microseconds of an event, and milliseconds of the begin of a session, with so many bundles held.
fn event_cost(held: &[Sealed], fresh: &[Sealed]) -> (f64, f64) {
    let mut measured = Measured::holding(held);
    let mut best_us = f64::INFINITY;
    let stride = held.len() / (TIMES * ROUNDS).min(held.len());
    let mut gone = (0..held.len()).step_by(stride.max(1)).map(|at| &held[at]).collect::<VecDeque<_>>();
    for time in 0..TIMES {
        let (events, began_s) = (measured.events, cpu_s());
        for (number, bundle) in fresh[time * ROUNDS..(time + 1) * ROUNDS].iter().enumerate() {
            // A small store loses what has just come, once its first content is gone.
            let delivered = gone.pop_front().unwrap();
            gone.push_back(bundle);
            measured.round(number, bundle, delivered);
        }
        #[expect(clippy::cast_precision_loss, reason = "a few thousand events")]
        let count = (measured.events - events) as f64;
        best_us = best_us.min((cpu_s() - began_s) * 1e6 / count);
    }
    let mut best_ms = f64::INFINITY;
    for number in 0..SESSIONS {
        measured.now_ms += 60_000;
        let began_s = cpu_s();
        measured.link(1_000 + number);
        best_ms = best_ms.min((cpu_s() - began_s) * 1e3);
    }
    (best_us, best_ms)
}

/// Everybody has written mail; two at a time meet and exchange what they will.
fn thousand_nodes(sealed: &[Sealed]) {
    let mut dice = ChaCha12Rng::from_seed([3; 32]);
    let mut pick = move |below: usize| usize::try_from(dice.next_u64() % below as u64).unwrap();
    let before = resident();
    let mut nodes: Vec<Node> = (0..NODES)
        .map(|number| {
            let mut node = Node::new(0, config());
            node.key = key(number as u64);
            node
        })
        .collect();
    for (number, (bundle, _)) in sealed.iter().enumerate() {
        nodes[number % NODES].put_own(0, bundle);
    }
    let mut events = 0;
    let began_s = cpu_s();
    for node in &mut nodes {
        events += 1;
        node.handle(1_000, Event::Started);
    }
    for number in 0..MEETINGS {
        let (one, two) = (pick(NODES), pick(NODES));
        if one != two {
            events += meet(&mut nodes, [one, two], number + 1, 2_000 + number * 50);
        }
    }
    let passed_s = cpu_s() - began_s;
    let held: u64 = nodes.iter().map(|node| node.catalog.usage().unwrap().bundles()).sum();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (events, held) = (events as f64, held as f64);
    println!(
        "bench: core.events_per_s {:.0} (CPU; {NODES} nodes, {BUNDLES} bundles, {events} events in one process)",
        events / passed_s
    );
    println!(
        "bench: core.bytes_per_bundle {:.0} (memory for each of {held} held bundles, catalog in memory included; the \
         bytes of the {BUNDLES} bundles are shared and were there before)",
        (resident() - before) / held
    );
}

/// One link from its begin to its end; the number of events.
fn meet(nodes: &mut [Node], ends: [usize; 2], link: u64, now_ms: u64) -> u64 {
    let keys = ends.map(|end| nodes[end].key);
    let mut todo: VecDeque<(usize, Event)> = VecDeque::new();
    for (side, role) in [(0, Role::Dialler), (1, Role::Listener)] {
        todo.push_back((side, Event::LinkUp(info(link, keys[1 - side], keys[side], role))));
    }
    let mut events = 0;
    while let Some((side, event)) = todo.pop_front() {
        events += 1;
        let node = &mut nodes[ends[side]];
        for action in node.handle(now_ms, event) {
            match action {
                Action::Send { link, frame } => todo.push_back((1 - side, Event::Frame { link, frame })),
                Action::Commit { token, ops } => {
                    node.catalog.apply(&ops);
                    todo.push_back((side, Event::Committed { token, result: Ok(()) }));
                }
                Action::Open { bundle } => {
                    todo.push_back((side, Event::Opened { bundle, outcome: OpenOutcome::NotOurs }));
                }
                _ => {}
            }
        }
    }
    for side in [0, 1] {
        events += 1;
        let node = &mut nodes[ends[side]];
        node.handle(now_ms, Event::LinkDown { link: LinkId(link) });
    }
    events
}
