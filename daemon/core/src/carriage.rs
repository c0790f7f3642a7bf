//! How much mail is taken from whom: buckets over time, shares of the store.

use std::collections::BTreeMap;

use pigeon_bundle::{BUNDLE_SIZE_MAX, NodeKey};
use pigeon_proto::DeclineReason;

use crate::catalog::{PoolUsage, Usage};
use crate::config::{CarryFor, CoreConfig, Rates};
use crate::counters::Day;
use crate::entry::Pool;
use crate::event::ContactId;

/// Buckets that are remembered, besides contacts'. When none of them is full again, new ones are refused.
pub const BUCKETS_MAX: usize = 1024;
/// Strangers' mail takes at most this part of the store: one in 2.
pub(crate) const STRANGERS_SHARE: u64 = 2;
/// One stranger: one in 50.
pub(crate) const STRANGER_SHARE: u64 = 50;
/// Newcomers together: one in 10.
pub(crate) const NEWCOMERS_SHARE: u64 = 10;
/// One contact: one in 4.
pub(crate) const CONTACT_SHARE: u64 = 4;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const BUNDLE_BYTES_MAX: u64 = BUNDLE_SIZE_MAX as u64;

/// Who hands something over, as far as limits are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Giver {
    pub(crate) node: NodeKey,
    pub(crate) contact: Option<ContactId>,
    pub(crate) address: [u8; 8],
    pub(crate) newcomer: bool,
}

/// What the store and the transfers going on hold already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) usage: Usage,
    pub(crate) giver: PoolUsage,
    /// Bytes accepted and not yet stored.
    pub(crate) in_flight: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Contact(ContactId),
    Node(NodeKey),
    Newcomers,
    Address([u8; 8]),
    Pulls(NodeKey),
}

impl Key {
    /// Bytes an hour, and what a full bucket holds: always the largest bundle, or it would never come.
    fn rate(self, rates: &Rates) -> u64 {
        let rate = match self {
            Self::Contact(_) => rates.contact,
            Self::Node(_) => rates.stranger,
            Self::Newcomers => rates.newcomers,
            Self::Address(_) => rates.address,
            Self::Pulls(_) => rates.pull,
        };
        rate.max(BUNDLE_BYTES_MAX)
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: u64,
    at_ms: u64,
}

impl Bucket {
    fn level(self, now_ms: u64, rate: u64) -> u64 {
        let refilled = rate.saturating_mul(now_ms.saturating_sub(self.at_ms)) / HOUR_MS;
        self.level.saturating_add(refilled).min(rate)
    }
}

/// What an admission took from buckets and the day. Whoever holds it gives it back with [`Carriage::settle`]: a
/// transfer that a broken link cut short must not be paid for twice.
#[derive(Debug)]
#[must_use = "what is not used must be given back"]
pub(crate) struct Charge {
    keys: Vec<Key>,
    size: u64,
    counts: bool,
}

/// Buckets and the day's count.
#[derive(Debug, Default)]
pub(crate) struct Carriage {
    rates: Rates,
    buckets: BTreeMap<Key, Bucket>,
    day_since_ms: u64,
    /// Stored in it.
    day: PoolUsage,
    /// Admitted and still on its way. It keeps others out, but it is not said: a `Hello` that said closed for what then
    /// never came would hold for the life of its link.
    reserved: PoolUsage,
    said_open: Option<bool>,
}

impl Carriage {
    pub(crate) fn new(rates: Rates) -> Self {
        Self { rates, ..Self::default() }
    }

    /// Whether strangers' mail is taken at the moment.
    pub(crate) fn open(&self, now_ms: u64, config: &CoreConfig) -> bool {
        self.has_share(now_ms, config, PoolUsage::default())
    }

    fn has_share(&self, now_ms: u64, config: &CoreConfig, reserved: PoolUsage) -> bool {
        let same_day = now_ms.saturating_sub(self.day_since_ms) < DAY_MS;
        let day = if same_day { self.day } else { PoolUsage::default() };
        let left = day.bytes + reserved.bytes < config.daily_bytes
            && day.bundles + reserved.bundles < config.daily_bundles;
        config.carry == CarryFor::All && left
    }

    /// The day so far.
    pub(crate) fn day(&self, now_ms: u64) -> Day {
        Day { taken: self.day, elapsed_ms: now_ms.saturating_sub(self.day_since_ms), wall_s: 0 }
    }

    /// Goes on with a day that was counted before a restart, and after which `off_ms` have passed as far as is known.
    pub(crate) fn continue_day(&mut self, now_ms: u64, day: Day, off_ms: u64) {
        let elapsed_ms = day.elapsed_ms.saturating_add(off_ms);
        if elapsed_ms < DAY_MS {
            self.day = day.taken;
            // Before this machine started, as a rule: what cannot be said lengthens the day.
            self.day_since_ms = now_ms.saturating_sub(elapsed_ms);
        }
    }

    /// Whether carriage is open, if that was not said yet.
    pub(crate) fn news(&mut self, now_ms: u64, config: &CoreConfig) -> Option<bool> {
        let open = self.open(now_ms, config);
        (self.said_open.replace(open) != Some(open)).then_some(open)
    }

    /// Bucket, then pool share; what is admitted is charged to the bucket. `pulled`: we asked for it.
    pub(crate) fn admit(
        &mut self,
        now_ms: u64,
        config: &CoreConfig,
        giver: &Giver,
        size: u32,
        pulled: bool,
        load: &Load,
    ) -> Result<Charge, DeclineReason> {
        let stranger = giver.contact.is_none() && !pulled;
        let refused = config.carry == CarryFor::Nobody && !pulled;
        if refused || (stranger && !self.has_share(now_ms, config, self.reserved)) {
            return Err(DeclineReason::CarriageClosed);
        }
        let size = u64::from(size);
        let keys = keys(giver, pulled);
        if !keys.iter().all(|key| self.has(now_ms, *key, size)) {
            return Err(DeclineReason::Bucket);
        }
        share(config.quota_bytes, giver, size, pulled, load)?;
        for key in &keys {
            self.charge(now_ms, *key, size);
        }
        if stranger {
            self.reserved.bundles += 1;
            self.reserved.bytes += size;
        }
        Ok(Charge { keys, size, counts: stranger })
    }

    /// The end of what was admitted: bytes that never came go back to the buckets, and what is not `stored` was no
    /// part of the day's share.
    pub(crate) fn settle(&mut self, now_ms: u64, charge: &Charge, received: u64, stored: bool) {
        for key in &charge.keys {
            self.give_back(now_ms, *key, charge.size.saturating_sub(received));
        }
        if charge.counts {
            self.reserved.bundles = self.reserved.bundles.saturating_sub(1);
            self.reserved.bytes = self.reserved.bytes.saturating_sub(charge.size);
        }
        if charge.counts && stored {
            self.count_day(now_ms, charge.size);
        }
    }

    /// A neighbour pulls so many bytes: whether its bucket allows it.
    pub(crate) fn serve_pull(&mut self, now_ms: u64, node: NodeKey, size: u32) -> bool {
        let key = Key::Pulls(node);
        let allowed = self.has(now_ms, key, u64::from(size));
        if allowed {
            self.charge(now_ms, key, u64::from(size));
        }
        allowed
    }

    /// A neighbour did not take what it had pulled.
    pub(crate) fn pull_declined(&mut self, now_ms: u64, node: NodeKey, size: u32) {
        self.give_back(now_ms, Key::Pulls(node), u64::from(size));
    }

    fn has(&mut self, now_ms: u64, key: Key, size: u64) -> bool {
        let rates = self.rates;
        if let Some(bucket) = self.buckets.get(&key) {
            return bucket.level(now_ms, key.rate(&rates)) >= size;
        }
        if self.buckets.len() >= BUCKETS_MAX {
            self.buckets.retain(|key, bucket| bucket.level(now_ms, key.rate(&rates)) < key.rate(&rates));
        }
        // Contacts are few, and strangers with many addresses must not crowd them out.
        self.buckets.len() < BUCKETS_MAX || matches!(key, Key::Contact(_))
    }

    fn give_back(&mut self, now_ms: u64, key: Key, size: u64) {
        let rate = key.rate(&self.rates);
        if let Some(bucket) = self.buckets.get_mut(&key) {
            let level = bucket.level(now_ms, rate).saturating_add(size).min(rate);
            *bucket = Bucket { level, at_ms: now_ms };
        }
    }

    fn charge(&mut self, now_ms: u64, key: Key, size: u64) {
        let rate = key.rate(&self.rates);
        let bucket = self.buckets.entry(key).or_insert(Bucket { level: rate, at_ms: now_ms });
        *bucket = Bucket { level: bucket.level(now_ms, rate).saturating_sub(size), at_ms: now_ms };
    }

    fn count_day(&mut self, now_ms: u64, size: u64) {
        if now_ms.saturating_sub(self.day_since_ms) >= DAY_MS {
            self.day_since_ms = now_ms;
            self.day = PoolUsage::default();
        }
        self.day.bundles += 1;
        self.day.bytes += size;
    }
}

fn keys(giver: &Giver, pulled: bool) -> Vec<Key> {
    match giver.contact {
        Some(contact) => vec![Key::Contact(contact)],
        None if pulled => vec![Key::Node(giver.node)],
        None if giver.newcomer => vec![Key::Newcomers, Key::Address(giver.address)],
        None => vec![Key::Node(giver.node), Key::Address(giver.address)],
    }
}

/// Bytes that one giver may have in the store.
pub(crate) fn giver_share(quota_bytes: u64, pool: Pool) -> u64 {
    let part = match pool {
        Pool::Own => return quota_bytes,
        Pool::Contact => quota_bytes / CONTACT_SHARE,
        Pool::Stranger => quota_bytes / STRANGER_SHARE,
    };
    part.max(BUNDLE_BYTES_MAX)
}

/// Whether a bundle of `size` bytes from somebody unknown fits into the shares of a store: what comes on a stick has no
/// more room than what comes over a link. `giver`: what that stick has in the store already.
#[must_use]
pub fn stranger_fits(quota_bytes: u64, size: u32, usage: &Usage, giver: &PoolUsage) -> bool {
    let load = Load { usage: *usage, giver: *giver, in_flight: 0 };
    let stick = Giver { node: NodeKey([0; 32]), contact: None, address: [0; 8], newcomer: true };
    let fits = usage.bytes().saturating_add(u64::from(size)) <= quota_bytes;
    fits && share(quota_bytes, &stick, u64::from(size), false, &load).is_ok()
}

fn share(quota_bytes: u64, giver: &Giver, size: u64, pulled: bool, load: &Load) -> Result<(), DeclineReason> {
    let added = size + load.in_flight;
    let pool = if pulled || giver.contact.is_some() { Pool::Contact } else { Pool::Stranger };
    // What is addressed to us passes through: its bucket is its limit.
    let mut fits = pulled || load.giver.bytes + size <= giver_share(quota_bytes, pool);
    if pool == Pool::Stranger {
        fits &= load.usage.strangers.bytes + added <= quota_bytes / STRANGERS_SHARE;
    }
    if pool == Pool::Stranger && giver.newcomer {
        let newcomers = (quota_bytes / NEWCOMERS_SHARE).max(BUNDLE_BYTES_MAX);
        fits &= load.usage.newcomers.bytes + added <= newcomers;
    }
    if fits { Ok(()) } else { Err(DeclineReason::PoolFull) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const SIZE: u32 = 64 << 10;

    fn giver(node: u8) -> Giver {
        Giver { node: NodeKey([node; 32]), contact: None, address: [node; 8], newcomer: false }
    }

    fn empty() -> Load {
        Load { usage: Usage::default(), giver: PoolUsage::default(), in_flight: 0 }
    }

    fn taken(carriage: &mut Carriage, now_ms: u64, giver: &Giver) -> u64 {
        let config = CoreConfig { daily_bytes: u64::MAX, daily_bundles: u64::MAX, ..CoreConfig::default() };
        let mut bytes = 0;
        while carriage.admit(now_ms, &config, giver, SIZE, false, &empty()).is_ok() {
            bytes += u64::from(SIZE);
        }
        bytes
    }

    #[test]
    fn a_bucket_empties_and_refills() {
        let mut carriage = Carriage::default();
        let rate = Rates::default().stranger;
        assert_eq!(taken(&mut carriage, 0, &giver(1)), rate);
        assert_eq!(taken(&mut carriage, HOUR_MS / 2, &giver(1)), rate / 2);
        assert_eq!(taken(&mut carriage, HOUR_MS / 2, &giver(2)), rate);
    }

    #[test]
    fn new_node_keys_share_one_bucket_and_addresses_count() {
        let mut carriage = Carriage::default();
        let newcomers = (1..100).map(|n| Giver { newcomer: true, ..giver(n) });
        let bytes: u64 = newcomers.map(|giver| taken(&mut carriage, 0, &giver)).sum();
        assert_eq!(bytes, Rates::default().newcomers);
        let mut carriage = Carriage::default();
        let neighbours = (1..100).map(|n| Giver { address: [9; 8], ..giver(n) });
        let bytes: u64 = neighbours.map(|giver| taken(&mut carriage, 0, &giver)).sum();
        assert_eq!(bytes, Rates::default().address);
    }

    #[test]
    fn the_day_closes_carriage_for_strangers_only() {
        let mut carriage = Carriage::default();
        let config = CoreConfig { daily_bundles: 2, ..CoreConfig::default() };
        let mut admit = |now_ms, giver: &Giver, pulled| {
            let charge = carriage.admit(now_ms, &config, giver, SIZE, pulled, &empty())?;
            carriage.settle(now_ms, &charge, u64::from(SIZE), true);
            Ok(())
        };
        assert_eq!([admit(0, &giver(1), false), admit(0, &giver(2), false)], [Ok(()), Ok(())]);
        assert_eq!(admit(0, &giver(1), false), Err(DeclineReason::CarriageClosed));
        assert_eq!(admit(0, &giver(1), true), Ok(()), "our own mail is always taken");
        let contact = Giver { contact: Some(ContactId(1)), ..giver(1) };
        assert_eq!(admit(0, &contact, false), Ok(()));
        assert_eq!(admit(DAY_MS, &giver(1), false), Ok(()));
        assert!(!carriage.open(DAY_MS, &CoreConfig { carry: CarryFor::Contacts, ..config }));
    }

    #[test]
    fn what_never_came_is_given_back() {
        let mut carriage = Carriage::default();
        let config = CoreConfig { daily_bundles: 1, ..CoreConfig::default() };
        let size = u64::from(SIZE);
        for (received, stored) in [(0, false), (size / 2, false), (size, true)] {
            let charge = carriage.admit(0, &config, &giver(1), SIZE, false, &empty()).unwrap();
            assert!(carriage.open(0, &config), "what may not come is not said");
            let second = carriage.admit(0, &config, &giver(2), SIZE, false, &empty());
            assert_eq!(second.map(drop), Err(DeclineReason::CarriageClosed), "one is the day's share");
            carriage.settle(0, &charge, received, stored);
            assert_eq!(carriage.open(0, &config), !stored);
        }
        let level = carriage.buckets[&Key::Node(giver(1).node)].level;
        assert_eq!(level, Rates::default().stranger - size / 2 - size, "what came was paid for");
    }

    #[test]
    fn nobody_gets_more_than_a_share() {
        let config = CoreConfig { quota_bytes: 100 << 20, ..CoreConfig::default() };
        let try_with = |giver: &Giver, load: Load| {
            Carriage::default().admit(0, &config, giver, SIZE, false, &load).map(drop)
        };
        let full = |bytes| PoolUsage { bundles: 1, bytes };
        let mut load = empty();
        load.giver = full((2 << 20) - u64::from(SIZE));
        assert_eq!(try_with(&giver(1), load), Ok(()));
        load.giver = full((2 << 20) - u64::from(SIZE) + 1);
        assert_eq!(try_with(&giver(1), load), Err(DeclineReason::PoolFull));
        let contact = Giver { contact: Some(ContactId(1)), ..giver(1) };
        assert_eq!(try_with(&contact, load), Ok(()));
        let mut load = empty();
        load.usage.newcomers = full(10 << 20);
        assert_eq!(try_with(&giver(1), load), Ok(()));
        assert_eq!(try_with(&Giver { newcomer: true, ..giver(1) }, load), Err(DeclineReason::PoolFull));
        let mut load = empty();
        load.usage.strangers = full(49 << 20);
        load.in_flight = 1 << 20;
        assert_eq!(try_with(&giver(1), load), Err(DeclineReason::PoolFull), "transfers going on count");
    }

    #[test]
    fn buckets_are_bounded() {
        let mut carriage = Carriage::default();
        for n in 0..5000_u32 {
            let mut node = [0; 32];
            node[..4].copy_from_slice(&n.to_be_bytes());
            carriage.serve_pull(0, NodeKey(node), 1000);
        }
        assert_eq!(carriage.buckets.len(), BUCKETS_MAX);
        assert!(!carriage.serve_pull(0, NodeKey([9; 32]), 1000));
        let contact = Giver { contact: Some(ContactId(1)), ..giver(1) };
        let admitted = carriage.admit(0, &CoreConfig::default(), &contact, SIZE, false, &empty());
        assert!(admitted.is_ok(), "contacts are not crowded out");
        assert!(carriage.serve_pull(HOUR_MS, NodeKey([9; 32]), 1000));
    }
}
