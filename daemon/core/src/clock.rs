//! What day it is, and how old things are, with or without a clock of our own.

use std::collections::VecDeque;

use pigeon_bundle::{DAY_S, NodeKey};

use crate::catalog::BundleMeta;
use crate::entry::{Entry, Pool};
use crate::event::Now;

/// Neighbours' clocks that are kept (PROTOCOL.md section 3: the median of the last five node keys).
pub(crate) const NEIGHBOUR_CLOCKS_MAX: usize = 5;

#[derive(Debug, Clone, Copy)]
struct Told {
    node: NodeKey,
    contact: bool,
    offset_s: i128,
}

/// The node's idea of time. Wall time is the shell's where it has one, else what neighbours say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock {
    told: VecDeque<Told>,
    run_before_s: u64,
    started_mono_ms: Option<u64>,
}

impl Clock {
    /// Starts counting; `run_before_s` is what earlier runs have counted.
    pub(crate) fn start(&mut self, now: Now, run_before_s: u64) {
        self.run_before_s = run_before_s;
        self.started_mono_ms = Some(now.mono_ms);
    }

    /// Seconds this node has been running in its whole life.
    pub(crate) fn run_s(&self, now: Now) -> u64 {
        let started = self.started_mono_ms.unwrap_or(now.mono_ms);
        self.run_before_s + now.mono_ms.saturating_sub(started) / 1000
    }

    /// A neighbour said what time it is.
    pub(crate) fn told(&mut self, now: Now, node: NodeKey, clock_s: u64, contact: bool) {
        self.told.retain(|told| told.node != node);
        if self.told.len() == NEIGHBOUR_CLOCKS_MAX {
            self.told.pop_front();
        }
        let offset_s = i128::from(clock_s) - i128::from(now.mono_ms / 1000);
        self.told.push_back(Told { node, contact, offset_s });
    }

    /// The neighbour proved to be a contact: its clock counts before strangers'.
    pub(crate) fn recognised(&mut self, node: NodeKey) {
        for told in self.told.iter_mut().filter(|told| told.node == node) {
            told.contact = true;
        }
    }

    /// The same instant, with the best wall time there is.
    pub(crate) fn best(&self, now: Now) -> Now {
        let wall_s = now.wall_s.or_else(|| {
            let offset_s = self.median(true).or_else(|| self.median(false))?;
            u64::try_from(i128::from(now.mono_ms / 1000) + offset_s).ok()
        });
        Now { mono_ms: now.mono_ms, wall_s }
    }

    fn median(&self, contacts_only: bool) -> Option<i128> {
        let mut offsets: Vec<i128> = self
            .told
            .iter()
            .filter(|told| told.contact || !contacts_only)
            .map(|told| told.offset_s)
            .collect();
        offsets.sort_unstable();
        offsets.get(offsets.len() / 2).copied()
    }

    /// Seconds since the bundle was made, as far as anyone counted; never below what its epoch implies.
    pub(crate) fn age_s(&self, now: Now, meta: &BundleMeta, entry: &Entry) -> u64 {
        let here_s = match (now.wall_s, entry.received_wall_s) {
            (Some(wall_s), Some(received_s)) => wall_s.saturating_sub(received_s),
            // The mailbox that wrote it counted by the clock, and now there is none.
            _ if entry.pool == Pool::Own => 0,
            _ => self.run_s(now).saturating_sub(entry.received_run_s),
        };
        let epoch_end_s = meta.expires_s.saturating_sub(meta.lifetime_s).saturating_sub(DAY_S);
        let implied_s = now.wall_s.map_or(0, |wall_s| wall_s.saturating_sub(epoch_end_s));
        entry.age_s.saturating_add(here_s).max(implied_s)
    }

    /// Whether nobody may hold the bundle any more. A node with a clock ignores age when the creation time
    /// is set.
    pub(crate) fn expired(&self, now: Now, meta: &BundleMeta, entry: &Entry) -> bool {
        if now.wall_s.is_some_and(|wall_s| wall_s >= meta.expires_s) {
            return true;
        }
        let age_counts = now.wall_s.is_none() || meta.creation_s.is_none();
        age_counts && self.age_s(now, meta, entry) > meta.lifetime_s
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use pigeon_bundle::{Commitment, MessageDigest, Tag};

    fn at(mono_s: u64) -> Now {
        Now { mono_ms: mono_s * 1000, wall_s: None }
    }

    fn meta(creation_s: Option<u64>) -> BundleMeta {
        BundleMeta {
            tag: Tag([0; 16]),
            commitment: Commitment([0; 32]),
            message: MessageDigest([0; 32]),
            size: 1,
            expires_s: 20_000 * DAY_S + 3600 + DAY_S,
            creation_s,
            lifetime_s: 3600,
            has_uplink: false,
        }
    }

    #[test]
    fn the_day_is_the_median_of_neighbours_and_contacts_count_first() {
        let mut clock = Clock::default();
        assert_eq!(clock.best(at(5)).wall_s, None);
        for (node, clock_s) in [(1, 1000), (2, 5000), (3, 1004)] {
            clock.told(at(0), NodeKey([node; 32]), clock_s, false);
        }
        assert_eq!(clock.best(at(10)).wall_s, Some(1014));
        clock.recognised(NodeKey([2; 32]));
        assert_eq!(clock.best(at(10)).wall_s, Some(5010));
        for node in 10..20 {
            clock.told(at(0), NodeKey([node; 32]), 7000, false);
        }
        assert_eq!(clock.told.len(), NEIGHBOUR_CLOCKS_MAX);
        assert_eq!(clock.best(Now { mono_ms: 0, wall_s: Some(3) }).wall_s, Some(3), "an own clock wins");
    }

    #[test]
    fn age_runs_on_over_a_restart_without_a_clock() {
        let mut clock = Clock::default();
        clock.start(at(100), 0);
        let mut entry = Entry { pool: Pool::Stranger, ..Entry::own(0, None) };
        entry.age_s = 3000;
        entry.received_run_s = clock.run_s(at(200));
        assert!(!clock.expired(at(700), &meta(None), &entry));
        assert!(clock.expired(at(801), &meta(None), &entry), "3000 + 601 > 3600");
        let mut later = Clock::default();
        later.start(at(5), 700);
        assert_eq!(later.age_s(at(6), &meta(None), &entry), 3601);
    }

    #[test]
    fn a_clock_beats_age_where_creation_is_set_and_the_epoch_ends_it() {
        let mut clock = Clock::default();
        clock.start(at(0), 0);
        let mut entry = Entry::own(0, Some(1));
        entry.age_s = 1_000_000;
        let meta = meta(Some(19_999 * DAY_S));
        let wall = |wall_s| Now { mono_ms: 0, wall_s: Some(wall_s) };
        assert!(!clock.expired(wall(meta.expires_s - 1), &meta, &entry));
        assert!(clock.expired(wall(meta.expires_s), &meta, &entry));
        entry.age_s = 0;
        entry.received_wall_s = Some(meta.expires_s);
        assert_eq!(clock.age_s(wall(meta.expires_s), &meta, &entry), 3600 + DAY_S);
    }
}
