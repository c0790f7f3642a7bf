//! Sightings, and when to dial them.
//!
//! The side that the tie-break chose dials at once, the other after 800 ms ± 150, in case the first cannot.
//! A sighting that leads to a node with a link up is left alone; a failure is tried again, ever later.

use std::collections::{BTreeMap, BTreeSet};

use pigeon_bundle::NodeKey;

use crate::event::PeerId;
use crate::random::Random;

/// Sightings that are remembered. More are ignored until some are lost.
pub const SIGHTINGS_MAX: usize = 256;
/// Dials at the same time.
pub const DIALS_MAX: usize = 4;
/// The side that should not dial waits this long (± [`WAIT_SPREAD_MS`]).
pub const WAIT_MS: u64 = 800;
/// Spread of the wait.
pub(crate) const WAIT_SPREAD_MS: u64 = 150;
/// First wait after a failure or a lost link; doubled with each failure.
pub const BACKOFF_MS: u64 = 1_000;
/// Longest wait after failures.
pub(crate) const BACKOFF_MS_MAX: u64 = 60_000;
/// A dial without an answer counts as failed after this.
pub(crate) const DIAL_TIMEOUT_MS: u64 = 45_000;
/// Node keys whose first sighting is remembered, for the newcomers' bucket.
pub(crate) const FIRST_SEEN_MAX: usize = 4096;
/// A node key is a newcomer for this long.
pub(crate) const NEWCOMER_MS: u64 = 3_600_000;

/// A node is not dialled again sooner than this after the last session began, unless that one was cut short or there
/// is news since.
pub const SESSION_EVERY_MS: u64 = 10_000;
/// Sessions that one node key may begin in that time, whoever dials; news on its side comes as another dial.
pub const SESSIONS_MAX: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Due { at_ms: u64 },
    Dialling { until_ms: u64 },
}

#[derive(Debug)]
struct Sighting {
    dial_first: bool,
    state: State,
    failures: u32,
    node: Option<NodeKey>,
}

/// Who is around.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    sightings: BTreeMap<PeerId, Sighting>,
    linked: BTreeSet<NodeKey>,
    first_seen: BTreeMap<NodeKey, u64>,
    met: BTreeMap<NodeKey, Met>,
    /// The latest news for anybody.
    news_ms: Option<u64>,
}

/// The last sessions with a node.
#[derive(Debug, Clone, Copy)]
struct Met {
    /// Begin of the window in which sessions are counted.
    since_ms: u64,
    count: u32,
    /// Begin of the last one.
    began_ms: u64,
    /// Its end, if everything was said.
    done_ms: Option<u64>,
}

impl Neighbours {
    /// A transport sees a peer.
    pub(crate) fn seen(&mut self, now_ms: u64, random: &mut Random, peer: PeerId, dial_first: bool) {
        if self.sightings.len() >= SIGHTINGS_MAX && !self.sightings.contains_key(&peer) {
            return;
        }
        let fresh = Sighting { dial_first, state: State::Idle, failures: 0, node: None };
        let sighting = self.sightings.entry(peer).or_insert(fresh);
        sighting.dial_first = dial_first;
        let linked = sighting.node.is_some_and(|node| self.linked.contains(&node));
        if sighting.state == State::Idle && !linked {
            let wait_ms = if dial_first { 0 } else { random.around(WAIT_MS, WAIT_SPREAD_MS) };
            sighting.state = State::Due { at_ms: now_ms + wait_ms };
        }
    }

    /// The sighting is gone.
    pub(crate) fn lost(&mut self, peer: &PeerId) {
        self.sightings.remove(peer);
    }

    /// A dial failed.
    pub(crate) fn failed(&mut self, now_ms: u64, random: &mut Random, peer: &PeerId) {
        let Some(sighting) = self.sightings.get_mut(peer) else { return };
        if sighting.node.is_some_and(|node| self.linked.contains(&node)) {
            // It has dialled meanwhile; `down` will see to the rest.
            sighting.state = State::Idle;
            return;
        }
        let wait_ms = backoff_ms(sighting.failures);
        sighting.failures = sighting.failures.saturating_add(1);
        sighting.state = State::Due { at_ms: now_ms + random.around(wait_ms, wait_ms / 5) };
    }

    /// There is something that neighbours have not heard of yet.
    pub(crate) fn news(&mut self, now_ms: u64) {
        self.news_ms = Some(now_ms);
    }

    /// A session begins; false where this node key has begun too many lately.
    pub(crate) fn may_begin(&mut self, now_ms: u64, node: NodeKey) -> bool {
        if self.met.len() >= FIRST_SEEN_MAX && !self.met.contains_key(&node) {
            self.met.retain(|_, met| now_ms.saturating_sub(met.began_ms) < SESSION_EVERY_MS);
        }
        if self.met.len() >= FIRST_SEEN_MAX && !self.met.contains_key(&node) {
            return false;
        }
        let fresh = Met { since_ms: now_ms, count: 0, began_ms: now_ms, done_ms: None };
        let met = self.met.entry(node).or_insert(fresh);
        if now_ms.saturating_sub(met.since_ms) >= SESSION_EVERY_MS {
            (met.since_ms, met.count) = (now_ms, 0);
        }
        met.count = met.count.saturating_add(1);
        let allowed = met.count <= SESSIONS_MAX;
        if allowed {
            (met.began_ms, met.done_ms) = (now_ms, None);
        }
        allowed
    }

    /// A session has ended with everything said.
    pub(crate) fn all_said(&mut self, now_ms: u64, node: NodeKey) {
        if let Some(met) = self.met.get_mut(&node) {
            met.done_ms = Some(now_ms);
        }
    }

    /// When a node may be dialled that asked for `at_ms`.
    fn dial_ms(&self, node: Option<NodeKey>, at_ms: u64) -> u64 {
        let Some(met) = node.and_then(|node| self.met.get(&node)) else { return at_ms };
        match met.done_ms {
            Some(done_ms) if self.news_ms.is_none_or(|news_ms| news_ms < done_ms) => {
                at_ms.max(met.began_ms + SESSION_EVERY_MS)
            }
            _ => at_ms,
        }
    }

    /// A link is up; `peer` is the sighting it belongs to, where that is known.
    pub(crate) fn up(&mut self, now_ms: u64, peer: Option<&PeerId>, node: NodeKey) {
        self.linked.insert(node);
        self.note_first_seen(now_ms, node);
        if let Some(sighting) = peer.and_then(|peer| self.sightings.get_mut(peer)) {
            sighting.node = Some(node);
            sighting.state = State::Idle;
        }
        for sighting in self.sightings.values_mut().filter(|sighting| sighting.node == Some(node)) {
            if matches!(sighting.state, State::Due { .. }) {
                sighting.state = State::Idle;
            }
        }
    }

    /// The last link to a node is gone: what still shows it is dialled again. `useful`: the session got as far
    /// as an exchange; one that did not counts as a failure, or two nodes could link and part for ever.
    pub(crate) fn down(&mut self, now_ms: u64, random: &mut Random, node: NodeKey, useful: bool) {
        self.linked.remove(&node);
        for sighting in self.sightings.values_mut() {
            if sighting.node == Some(node) && sighting.state == State::Idle {
                sighting.failures = if useful { 0 } else { sighting.failures.saturating_add(1) };
                let head_start_ms = if sighting.dial_first { 0 } else { WAIT_MS };
                let wait_ms = random.around(backoff_ms(sighting.failures) + head_start_ms, WAIT_SPREAD_MS);
                sighting.state = State::Due { at_ms: now_ms + wait_ms };
            }
        }
    }

    /// Sightings to dial now.
    pub(crate) fn due(&mut self, now_ms: u64, random: &mut Random) -> Vec<PeerId> {
        self.give_up(now_ms, random);
        let free = DIALS_MAX.saturating_sub(self.dialling());
        let is_due = |sighting: &Sighting| match sighting.state {
            State::Due { at_ms } => self.dial_ms(sighting.node, at_ms) <= now_ms,
            _ => false,
        };
        let due = self.sightings.iter().filter(|(_, sighting)| is_due(sighting));
        let dials: Vec<PeerId> = due.take(free).map(|(peer, _)| peer.clone()).collect();
        for peer in &dials {
            if let Some(sighting) = self.sightings.get_mut(peer) {
                sighting.state = State::Dialling { until_ms: now_ms + DIAL_TIMEOUT_MS };
            }
        }
        dials
    }

    fn give_up(&mut self, now_ms: u64, random: &mut Random) {
        let over = |sighting: &Sighting| matches!(sighting.state, State::Dialling { until_ms } if until_ms <= now_ms);
        let late: Vec<PeerId> = self
            .sightings
            .iter()
            .filter(|(_, sighting)| over(sighting))
            .map(|(peer, _)| peer.clone())
            .collect();
        for peer in late {
            self.failed(now_ms, random, &peer);
        }
    }

    fn dialling(&self) -> usize {
        self.sightings.values().filter(|sighting| matches!(sighting.state, State::Dialling { .. })).count()
    }

    /// When `due` may have something to say.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        let full = self.dialling() >= DIALS_MAX;
        let times = self.sightings.values().filter_map(|sighting| match sighting.state {
            State::Idle => None,
            State::Due { at_ms } => (!full).then_some(self.dial_ms(sighting.node, at_ms)),
            State::Dialling { until_ms } => Some(until_ms),
        });
        times.min()
    }

    /// Whether the node key was first seen within the hour.
    pub(crate) fn is_newcomer(&self, now_ms: u64, node: &NodeKey) -> bool {
        self.first_seen.get(node).is_none_or(|seen_ms| now_ms.saturating_sub(*seen_ms) < NEWCOMER_MS)
    }

    fn note_first_seen(&mut self, now_ms: u64, node: NodeKey) {
        if self.first_seen.len() >= FIRST_SEEN_MAX && !self.first_seen.contains_key(&node) {
            let oldest = self.first_seen.iter().min_by_key(|(_, seen_ms)| **seen_ms).map(|(node, _)| *node);
            if let Some(oldest) = oldest {
                self.first_seen.remove(&oldest);
            }
        }
        self.first_seen.entry(node).or_insert(now_ms);
    }
}

fn backoff_ms(failures: u32) -> u64 {
    (BACKOFF_MS << failures.min(6)).min(BACKOFF_MS_MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn peer(name: &str) -> PeerId {
        PeerId(name.into())
    }

    fn seeded() -> (Neighbours, Random) {
        (Neighbours::default(), Random::new([3; 32]))
    }

    #[test]
    fn the_chosen_side_dials_at_once_and_the_other_waits() {
        let (mut neighbours, mut random) = seeded();
        neighbours.seen(1000, &mut random, peer("a"), true);
        neighbours.seen(1000, &mut random, peer("b"), false);
        assert_eq!(neighbours.due(1000, &mut random), vec![peer("a")]);
        let next_ms = neighbours.next_ms().unwrap();
        assert!((1650..=1950).contains(&next_ms), "{next_ms}");
        assert_eq!(neighbours.due(next_ms - 1, &mut random), vec![]);
        assert_eq!(neighbours.due(next_ms, &mut random), vec![peer("b")]);
    }

    #[test]
    fn a_second_sighting_of_a_linked_node_is_not_dialled() {
        let (mut neighbours, mut random) = seeded();
        let node = NodeKey([1; 32]);
        for name in ["lan", "ble"] {
            neighbours.seen(0, &mut random, peer(name), true);
            assert_eq!(neighbours.due(0, &mut random), vec![peer(name)]);
            neighbours.up(0, Some(&peer(name)), node);
        }
        neighbours.seen(1, &mut random, peer("ble"), true);
        assert_eq!((neighbours.due(10_000, &mut random), neighbours.next_ms()), (vec![], None));
        neighbours.down(20_000, &mut random, node, true);
        let mut again = neighbours.due(30_000, &mut random);
        again.sort();
        assert_eq!(again, vec![peer("ble"), peer("lan")]);
    }

    #[test]
    fn a_dial_that_lost_against_the_peers_own_is_not_repeated() {
        let (mut neighbours, mut random) = seeded();
        let node = NodeKey([1; 32]);
        neighbours.seen(0, &mut random, peer("a"), true);
        assert_eq!(neighbours.due(0, &mut random), vec![peer("a")]);
        neighbours.up(10, Some(&peer("a")), node);
        neighbours.failed(20, &mut random, &peer("a"));
        assert_eq!((neighbours.due(100_000, &mut random), neighbours.next_ms()), (vec![], None));
        neighbours.down(100_000, &mut random, node, true);
        assert_eq!(neighbours.due(110_000, &mut random), vec![peer("a")]);
    }

    #[test]
    fn failures_wait_longer_and_a_success_forgives() {
        let (mut neighbours, mut random) = seeded();
        neighbours.seen(0, &mut random, peer("a"), true);
        let mut now_ms = 0;
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert_eq!(neighbours.due(now_ms, &mut random), vec![peer("a")]);
            neighbours.failed(now_ms, &mut random, &peer("a"));
            let next_ms = neighbours.next_ms().unwrap();
            waits.push(next_ms - now_ms);
            now_ms = next_ms;
        }
        assert!(waits[0] <= 1200 && waits[4] >= 12_000, "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= BACKOFF_MS_MAX * 6 / 5), "{waits:?}");
        neighbours.up(now_ms, Some(&peer("a")), NodeKey([1; 32]));
        neighbours.down(now_ms, &mut random, NodeKey([1; 32]), false);
        assert!(neighbours.next_ms().unwrap() >= now_ms + 30_000, "a link that leads nowhere is a failure");
        neighbours.up(now_ms, Some(&peer("a")), NodeKey([1; 32]));
        neighbours.down(now_ms, &mut random, NodeKey([1; 32]), true);
        assert!(neighbours.next_ms().unwrap() <= now_ms + 1200);
    }

    #[test]
    fn a_node_is_met_again_after_a_while_or_with_news() {
        let (mut neighbours, mut random) = seeded();
        let node = NodeKey([1; 32]);
        let meet = |neighbours: &mut Neighbours, random: &mut Random, now_ms| {
            neighbours.seen(now_ms, random, peer("a"), true);
            assert!(neighbours.may_begin(now_ms, node));
            neighbours.up(now_ms, Some(&peer("a")), node);
            neighbours.all_said(now_ms + 1, node);
            neighbours.down(now_ms + 1, random, node, true);
            neighbours.next_ms().unwrap()
        };
        assert_eq!(meet(&mut neighbours, &mut random, 0), SESSION_EVERY_MS);
        neighbours.news(500);
        assert!(neighbours.next_ms().unwrap() < 2_000);
        assert!(meet(&mut neighbours, &mut random, 20_000) >= 20_000 + SESSION_EVERY_MS);
        let count = (0..100).filter(|_| neighbours.may_begin(60_000, node)).count();
        assert_eq!(count, SESSIONS_MAX as usize, "whoever dials");
    }

    #[test]
    fn dials_and_sightings_are_limited() {
        let (mut neighbours, mut random) = seeded();
        for n in 0..1000 {
            neighbours.seen(0, &mut random, peer(&format!("{n:04}")), true);
        }
        assert_eq!(neighbours.sightings.len(), SIGHTINGS_MAX);
        assert_eq!(neighbours.due(0, &mut random).len(), DIALS_MAX);
        assert_eq!(neighbours.due(0, &mut random), vec![]);
        assert_eq!(neighbours.due(DIAL_TIMEOUT_MS, &mut random).len(), DIALS_MAX, "lost dials are given up");
    }

    #[test]
    fn newcomers_are_so_for_an_hour() {
        let (mut neighbours, _) = seeded();
        let node = NodeKey([1; 32]);
        assert!(neighbours.is_newcomer(0, &node));
        neighbours.up(5, None, node);
        assert!(neighbours.is_newcomer(NEWCOMER_MS + 4, &node));
        assert!(!neighbours.is_newcomer(NEWCOMER_MS + 5, &node));
    }
}
