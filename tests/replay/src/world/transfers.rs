//! The serial model: a node takes part in one transfer at a time, the rest waits.

use std::collections::{BTreeMap, BTreeSet};

use pigeon_core::LinkId;
use pigeon_proto::Frame;

/// A bundle on its way over one link.
#[derive(Debug)]
pub(crate) struct Transit {
    pub(crate) link: LinkId,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) message: usize,
    pub(crate) to_recipient: bool,
    pub(crate) frames: Vec<Frame>,
}

/// Transfers that wait and those that are going on, by number; earlier ones have lower numbers.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    next: u64,
    waiting: BTreeMap<u64, Transit>,
    running: BTreeMap<u64, Transit>,
    busy: BTreeSet<u32>,
    /// (When, number).
    ends: BTreeSet<(u64, u64)>,
}

impl Transfers {
    /// A bundle, or a further part of one, is to be sent.
    pub(crate) fn enqueue(&mut self, transit: Transit) {
        let same = self.waiting.values_mut().find(|other| {
            (other.link, other.from, other.message) == (transit.link, transit.from, transit.message)
        });
        match same {
            Some(other) => other.frames.extend(transit.frames),
            None => {
                self.waiting.insert(self.next, transit);
                self.next += 1;
            }
        }
    }

    /// Starts whatever can start, mail for its recipient first.
    pub(crate) fn start(&mut self, now_ms: u64, lasts_ms: impl Fn(usize) -> u64) {
        for to_recipient in [true, false] {
            let numbers: Vec<u64> = self.waiting.keys().copied().collect();
            for number in numbers {
                let Some(transit) = self.waiting.get(&number) else { continue };
                let free = !self.busy.contains(&transit.from) && !self.busy.contains(&transit.to);
                if free && transit.to_recipient == to_recipient {
                    self.busy.extend([transit.from, transit.to]);
                    self.ends.insert((now_ms + lasts_ms(transit.message), number));
                    self.running.extend(self.waiting.remove_entry(&number));
                }
            }
        }
    }

    /// The next transfer that ends by `until_ms`, and when.
    pub(crate) fn finish(&mut self, until_ms: u64) -> Option<(u64, Transit)> {
        let (at_ms, number) = self.ends.first().copied().filter(|(at_ms, _)| *at_ms <= until_ms)?;
        let transit = self.end(number)?;
        Some((at_ms, transit))
    }

    /// The link is gone with all its transfers; returns how many were going on.
    pub(crate) fn cut(&mut self, link: LinkId) -> u64 {
        self.waiting.retain(|_, transit| transit.link != link);
        let running = self.running.iter().filter(|(_, transit)| transit.link == link);
        let numbers: Vec<u64> = running.map(|(number, _)| *number).collect();
        numbers.into_iter().filter_map(|number| self.end(number)).map(|_| 1).sum()
    }

    /// The message is gone, or its copy at one node: its transfers there are taken back.
    pub(crate) fn withdraw(&mut self, message: usize, from: Option<u32>) -> Vec<Transit> {
        let gone =
            |transit: &Transit| transit.message == message && from.is_none_or(|from| from == transit.from);
        let waiting: Vec<u64> = self.waiting.iter().filter(|(_, t)| gone(t)).map(|(n, _)| *n).collect();
        let running: Vec<u64> = self.running.iter().filter(|(_, t)| gone(t)).map(|(n, _)| *n).collect();
        let mut out: Vec<Transit> = waiting.iter().filter_map(|number| self.waiting.remove(number)).collect();
        out.extend(running.into_iter().filter_map(|number| self.end(number)));
        out
    }

    /// The message is being sent or received at a node.
    pub(crate) fn is_running(&self, node: u32, message: usize) -> bool {
        let here =
            |transit: &Transit| transit.message == message && (transit.from == node || transit.to == node);
        self.busy.contains(&node) && self.running.values().any(here)
    }

    fn end(&mut self, number: u64) -> Option<Transit> {
        let transit = self.running.remove(&number)?;
        self.busy.remove(&transit.from);
        self.busy.remove(&transit.to);
        self.ends.retain(|(_, other)| *other != number);
        Some(transit)
    }
}
