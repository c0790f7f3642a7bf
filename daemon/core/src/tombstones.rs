//! What this node remembers of deliveries beside the durable tombstones: a bounded cache of others', reveals
//! that wait, what went to whom, and what the bridge has not confirmed yet.

use std::collections::{BTreeMap, VecDeque};

use pigeon_bundle::{BundleId, Commitment, NodeKey, Reveal};

use crate::reveal::Source;

/// Tombstones kept in memory for commitments this node never held.
pub const CACHE_MAX: usize = 4096;
/// Of those, new ones taken from one node key in an hour.
pub const CACHE_PER_NEIGHBOUR_MAX: u32 = 256;
/// New tombstones remembered to be passed on to the next neighbours.
pub const RECENT_MAX: usize = 128;
/// Neighbours for whom it is remembered which of those they know.
pub(crate) const TOLD_MAX: usize = 256;
/// Ids of killed bundles remembered, so that they are declined without being transferred.
pub const DEAD_MAX: usize = 4096;
/// Own deliveries that the bridge has not confirmed.
pub(crate) const TO_BRIDGE_MAX: usize = 1024;
/// Reveals in one `RevealToBridge` (wire-format section 7).
pub(crate) const REVEALS_PER_REQUEST_MAX: usize = 64;
/// A hidden reveal may wait for this many others.
pub(crate) const HIDDEN_MAX: usize = 4096;
/// Tombstones that the store did not take.
pub(crate) const UNWRITTEN_MAX: usize = 1024;
/// They are tried again after this.
pub(crate) const WRITE_AGAIN_MS: u64 = 5_000;
/// Name of the kept list of reveals for the bridge.
pub(crate) const STATE_KEY: &str = "reveals";

const HOUR_MS: u64 = 3_600_000;
const RECORD_SIZE: usize = 40;

/// A reveal for the bridge and the Unix second after which it is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ForBridge {
    pub(crate) reveal: Reveal,
    pub(crate) expires_s: u64,
}

/// Memory of tombstones.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    cache: BTreeMap<Commitment, Reveal>,
    cache_order: VecDeque<Commitment>,
    taken: BTreeMap<NodeKey, (u64, u32)>,
    hidden: BTreeMap<Commitment, (u64, Reveal)>,
    recent: VecDeque<(u64, Reveal)>,
    recent_next: u64,
    told: BTreeMap<NodeKey, u64>,
    dead: BTreeMap<BundleId, Commitment>,
    dead_order: VecDeque<BundleId>,
    pub(crate) to_bridge: Vec<ForBridge>,
    unwritten: VecDeque<(u64, Reveal, Source)>,
}

impl Tombstones {
    pub(crate) fn cached(&self, commitment: &Commitment) -> Option<Reveal> {
        self.cache.get(commitment).copied()
    }

    pub(crate) fn cache(&self) -> impl Iterator<Item = (&Commitment, &Reveal)> {
        self.cache.iter()
    }

    /// Keeps a tombstone of a bundle never held here. False when the neighbour has given too many.
    pub(crate) fn keep(&mut self, now_ms: u64, from: NodeKey, reveal: Reveal) -> bool {
        if !self.allow(now_ms, from) {
            return false;
        }
        let commitment = reveal.commitment();
        if self.cache.insert(commitment, reveal).is_none() {
            self.cache_order.push_back(commitment);
        }
        if self.cache_order.len() > CACHE_MAX
            && let Some(oldest) = self.cache_order.pop_front()
        {
            self.cache.remove(&oldest);
        }
        true
    }

    fn allow(&mut self, now_ms: u64, from: NodeKey) -> bool {
        self.taken.retain(|_, (since_ms, _)| now_ms.saturating_sub(*since_ms) < HOUR_MS);
        if self.taken.len() >= TOLD_MAX && !self.taken.contains_key(&from) {
            return false;
        }
        let (_, count) = self.taken.entry(from).or_insert((now_ms, 0));
        *count += 1;
        *count <= CACHE_PER_NEIGHBOUR_MAX
    }

    /// Keeps a reveal from the links and the bridge until `due_ms`. When too many wait, it is not hidden.
    pub(crate) fn hide(&mut self, reveal: Reveal, due_ms: u64) -> bool {
        let room = self.hidden.len() < HIDDEN_MAX;
        if room {
            self.hidden.insert(reveal.commitment(), (due_ms, reveal));
        }
        room
    }

    pub(crate) fn is_hidden(&self, commitment: &Commitment) -> bool {
        self.hidden.contains_key(commitment)
    }

    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let hidden = self.hidden.values().map(|(due_ms, _)| *due_ms);
        hidden.chain(self.unwritten.iter().map(|(due_ms, ..)| *due_ms)).min()
    }

    /// Hidden reveals whose time has come.
    pub(crate) fn due(&mut self, now_ms: u64) -> Vec<Reveal> {
        let due: Vec<Commitment> =
            self.hidden.iter().filter(|(_, (due_ms, _))| *due_ms <= now_ms).map(|(key, _)| *key).collect();
        due.iter().filter_map(|key| self.hidden.remove(key)).map(|(_, reveal)| reveal).collect()
    }

    /// The store did not take a tombstone: it is tried again a little later.
    pub(crate) fn write_again(&mut self, now_ms: u64, reveal: Reveal, source: Source) {
        if self.unwritten.len() < UNWRITTEN_MAX {
            self.unwritten.push_back((now_ms + WRITE_AGAIN_MS, reveal, source));
        }
    }

    /// Tombstones to write again now.
    pub(crate) fn unwritten_due(&mut self, now_ms: u64) -> Vec<(Reveal, Source)> {
        let (due, later) =
            self.unwritten.drain(..).partition::<VecDeque<_>, _>(|(due_ms, ..)| *due_ms <= now_ms);
        self.unwritten = later;
        due.into_iter().map(|(_, reveal, source)| (reveal, source)).collect()
    }

    /// Notes a reveal that the next neighbours should hear of.
    pub(crate) fn note_recent(&mut self, reveal: Reveal) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((self.recent_next, reveal));
        self.recent_next += 1;
    }

    /// Recent reveals this neighbour has not been told; they count as told now.
    pub(crate) fn news_for(&mut self, node: NodeKey) -> Vec<Reveal> {
        let known = self.told.get(&node).copied().unwrap_or(0);
        self.has_been_told(node);
        self.recent.iter().filter(|(number, _)| *number >= known).map(|(_, reveal)| *reveal).collect()
    }

    /// A neighbour on a live link has heard of everything so far.
    pub(crate) fn has_been_told(&mut self, node: NodeKey) {
        if self.told.len() >= TOLD_MAX && !self.told.contains_key(&node) {
            self.told.pop_first();
        }
        self.told.insert(node, self.recent_next);
    }

    /// Remembers that a bundle is dead.
    pub(crate) fn bury(&mut self, id: BundleId, commitment: Commitment) {
        if self.dead.insert(id, commitment).is_none() {
            self.dead_order.push_back(id);
        }
        if self.dead_order.len() > DEAD_MAX
            && let Some(oldest) = self.dead_order.pop_front()
        {
            self.dead.remove(&oldest);
        }
    }

    pub(crate) fn is_dead(&self, id: &BundleId) -> Option<Commitment> {
        self.dead.get(id).copied()
    }

    /// Adds a reveal for the bridge; the oldest gives way.
    pub(crate) fn owe_bridge(&mut self, owed: ForBridge) {
        if self.to_bridge.iter().any(|known| known.reveal == owed.reveal) {
            return;
        }
        if self.to_bridge.len() == TO_BRIDGE_MAX {
            self.to_bridge.remove(0);
        }
        self.to_bridge.push(owed);
    }

    /// The reveals owed to the bridge that may be told now.
    pub(crate) fn owed(&self) -> Vec<Reveal> {
        let shown = self.to_bridge.iter().map(|owed| owed.reveal);
        shown.filter(|reveal| !self.hidden.contains_key(&reveal.commitment())).collect()
    }

    pub(crate) fn owed_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.to_bridge.len() * RECORD_SIZE);
        for owed in &self.to_bridge {
            out.extend(owed.reveal.0);
            out.extend(owed.expires_s.to_be_bytes());
        }
        out
    }

    pub(crate) fn load_owed(&mut self, bytes: &[u8]) {
        for record in bytes.as_chunks::<RECORD_SIZE>().0.iter().take(TO_BRIDGE_MAX) {
            let Some((reveal, expires)) = record.split_first_chunk::<32>() else { continue };
            let Ok(expires) = expires.try_into() else { continue };
            self.owe_bridge(ForBridge { reveal: Reveal(*reveal), expires_s: u64::from_be_bytes(expires) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reveal(n: u32) -> Reveal {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Reveal(bytes)
    }

    #[test]
    fn one_neighbour_cannot_fill_the_cache() {
        let mut tombstones = Tombstones::default();
        let node = NodeKey([1; 32]);
        let kept = (0..1000).filter(|n| tombstones.keep(0, node, reveal(*n))).count();
        assert_eq!(kept, CACHE_PER_NEIGHBOUR_MAX as usize);
        assert!(tombstones.keep(0, NodeKey([2; 32]), reveal(5000)));
        assert!(tombstones.keep(HOUR_MS, node, reveal(5001)), "an hour later");
    }

    #[test]
    fn the_cache_and_the_dead_are_bounded() {
        let mut tombstones = Tombstones::default();
        for n in 0..10_000_u32 {
            let node = NodeKey([u8::try_from(n / 200).unwrap_or(0); 32]);
            assert!(tombstones.keep(0, node, reveal(n)));
            tombstones.bury(BundleId(reveal(n).0), Commitment([0; 32]));
        }
        assert_eq!((tombstones.cache.len(), tombstones.dead.len()), (CACHE_MAX, DEAD_MAX));
        assert!(tombstones.cached(&reveal(9_999).commitment()).is_some());
        assert!(tombstones.cached(&reveal(0).commitment()).is_none(), "the oldest went");
    }

    #[test]
    fn a_neighbour_hears_of_a_tombstone_once() {
        let mut tombstones = Tombstones::default();
        let (one, two) = (NodeKey([1; 32]), NodeKey([2; 32]));
        tombstones.note_recent(reveal(1));
        assert_eq!(tombstones.news_for(one), vec![reveal(1)]);
        assert_eq!(tombstones.news_for(one), vec![]);
        tombstones.note_recent(reveal(2));
        assert_eq!(tombstones.news_for(one), vec![reveal(2)]);
        assert_eq!(tombstones.news_for(two), vec![reveal(1), reveal(2)]);
    }

    #[test]
    fn hidden_reveals_wait_and_the_bridge_list_survives() {
        let mut tombstones = Tombstones::default();
        assert!(tombstones.hide(reveal(1), 50));
        for n in 1..=2 {
            tombstones.owe_bridge(ForBridge { reveal: reveal(n), expires_s: 9 });
        }
        assert_eq!(tombstones.owed(), vec![reveal(2)]);
        assert_eq!((tombstones.due(49), tombstones.next_due_ms()), (vec![], Some(50)));
        assert_eq!(tombstones.due(50), vec![reveal(1)]);
        let mut later = Tombstones::default();
        later.load_owed(&tombstones.owed_bytes());
        assert_eq!(later.owed(), vec![reveal(1), reveal(2)]);
    }
}
