//! What this node has done for its owner and for others, counted for life. A message is a bundle here: a text is one,
//! an attachment many.

use crate::action::StoreOp;
use crate::catalog::PoolUsage;
use crate::context::Context;
use crate::core::Core;
use crate::entry::{COPIES_AT_BIRTH, Entry, Pool};
use crate::ledger;
use crate::trouble::Flow;

/// Messages and bytes of their bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bundles.
    pub messages: u64,
    /// Bytes of their fixed form.
    pub bytes: u64,
}

impl Traffic {
    fn add(&mut self, size: u32) {
        self.messages += 1;
        self.bytes += u64::from(size);
    }
}

/// Everything counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Own mail taken into the store, to be sent.
    pub carried_own: Traffic,
    /// Others' mail taken into the store, to be carried.
    pub carried_for_others: Traffic,
    /// Own mail that this node itself brought to its recipient or to the bridge.
    pub sent_direct: Traffic,
    /// Own mail that was handed over to at least one pigeon.
    pub sent_via_pigeons: Traffic,
    /// Own mail that is known to have arrived and that only pigeons can have brought.
    pub delivered_by_pigeons: Traffic,
}

/// Name of the kept state: the counters, then the day's share.
pub(crate) const STATE_KEY: &str = "counters";
const VERSION: u8 = 1;
const COUNTERS: usize = 5;

impl Counters {
    fn all(&mut self) -> [&mut Traffic; COUNTERS] {
        [
            &mut self.carried_own,
            &mut self.carried_for_others,
            &mut self.sent_direct,
            &mut self.sent_via_pigeons,
            &mut self.delivered_by_pigeons,
        ]
    }

    /// Own mail was brought by this node itself, for the first time.
    pub(crate) fn brought(&mut self, size: u32) {
        self.sent_direct.add(size);
    }

    /// A hand-over is spent; `entry` is as it was before.
    pub(crate) fn handed_over(&mut self, entry: &Entry, size: u32) {
        if entry.pool == Pool::Own && entry.copies == COPIES_AT_BIRTH {
            self.sent_via_pigeons.add(size);
        }
    }

    /// A bundle has arrived at its recipient, as far as anyone says.
    pub(crate) fn arrived(&mut self, entry: &Entry, size: u32) {
        let pigeons = entry.copies < COPIES_AT_BIRTH && !entry.brought && !entry.at_bridge;
        if entry.pool == Pool::Own && pigeons {
            self.delivered_by_pigeons.add(size);
        }
    }

    /// A bundle was taken into the store.
    pub(crate) fn took(&mut self, pool: Pool, size: u32) {
        match pool {
            Pool::Own => self.carried_own.add(size),
            Pool::Contact | Pool::Stranger => self.carried_for_others.add(size),
        }
    }
}

/// The part of the day that a node's share was counted in, as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Day {
    pub(crate) taken: PoolUsage,
    pub(crate) elapsed_ms: u64,
    /// When this was written, if a clock was trusted; 0: none was.
    pub(crate) wall_s: u64,
}

fn to_bytes(mut counters: Counters, day: Day) -> Vec<u8> {
    let mut out = vec![VERSION];
    for traffic in counters.all() {
        out.extend(traffic.messages.to_be_bytes());
        out.extend(traffic.bytes.to_be_bytes());
    }
    for value in [day.taken.bundles, day.taken.bytes, day.elapsed_ms, day.wall_s] {
        out.extend(value.to_be_bytes());
    }
    out
}

fn from_bytes(bytes: &[u8]) -> Option<(Counters, Day)> {
    let (&[VERSION], rest) = bytes.split_first_chunk::<1>()? else { return None };
    let mut numbers = rest.as_chunks::<8>().0.iter().map(|number| u64::from_be_bytes(*number));
    let mut counters = Counters::default();
    for traffic in counters.all() {
        *traffic = Traffic { messages: numbers.next()?, bytes: numbers.next()? };
    }
    let taken = PoolUsage { bundles: numbers.next()?, bytes: numbers.next()? };
    Some((counters, Day { taken, elapsed_ms: numbers.next()?, wall_s: numbers.next()? }))
}

impl Core {
    /// What this node has done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub(crate) fn load_counters(&mut self, cx: &Context<'_>) -> Flow {
        if let Some((counters, day)) = cx.catalog.state(STATE_KEY)?.as_deref().and_then(from_bytes) {
            self.counters = counters;
            self.counters_kept = counters;
            let own_wall_s = cx.now.wall_s.filter(|_| cx.own_clock && day.wall_s > 0);
            let off_s = own_wall_s.map_or(0, |wall_s| wall_s.saturating_sub(day.wall_s));
            self.carriage.continue_day(cx.now.mono_ms, day, off_s.saturating_mul(1000));
        }
        if let Some(bytes) = cx.catalog.state(ledger::STATE_KEY)? {
            self.ledger = ledger::Ledger::from_bytes(&bytes);
        }
        Ok(())
    }

    /// What is to be written of counters, where they have changed. They are written now and then, not with every
    /// bundle: a crash may take a minute of them.
    pub(crate) fn keep_counters(&mut self, cx: &Context<'_>, ops: &mut Vec<StoreOp>) {
        if self.counters != self.counters_kept {
            self.counters_kept = self.counters;
            let wall_s = cx.now.wall_s.filter(|_| cx.own_clock).unwrap_or(0);
            let day = Day { wall_s, ..self.carriage.day(cx.now.mono_ms) };
            ops.push(StoreOp::SetState { key: STATE_KEY.into(), value: to_bytes(self.counters, day) });
        }
    }

    /// The same for the ledger, which is larger and matters less.
    pub(crate) fn keep_ledger(&mut self, ops: &mut Vec<StoreOp>) {
        if self.ledger.take_changed() {
            ops.push(StoreOp::SetState { key: ledger::STATE_KEY.into(), value: self.ledger.to_bytes() });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn counters_and_the_day_survive() {
        let mut counters = Counters::default();
        for (number, traffic) in counters.all().into_iter().enumerate() {
            *traffic = Traffic { messages: number as u64, bytes: 1 << number };
        }
        let day = Day { taken: PoolUsage { bundles: 5, bytes: 6 }, elapsed_ms: 7, wall_s: 8 };
        let bytes = to_bytes(counters, day);
        assert_eq!(from_bytes(&bytes), Some((counters, day)));
        assert_eq!(from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(from_bytes(&[]), None);
    }

    #[test]
    fn only_own_mail_that_pigeons_brought_counts_as_brought_by_them() {
        let mut counters = Counters::default();
        let own = Entry { copies: 3, ..Entry::own(0, None) };
        let brought = Entry { brought: true, ..own.clone() };
        let theirs = Entry { pool: Pool::Contact, ..own.clone() };
        for entry in [&brought, &theirs, &Entry::own(0, None), &Entry { at_bridge: true, ..own.clone() }] {
            counters.arrived(entry, 10);
        }
        assert_eq!(counters, Counters::default());
        counters.arrived(&own, 10);
        assert_eq!(counters.delivered_by_pigeons, Traffic { messages: 1, bytes: 10 });
    }
}
