//! Prekeys: what is kept of them, and what sequences of events may do to them.

use std::collections::{BTreeMap, BTreeSet};

use pigeon_bundle::{
    IdentityKey, ONE_TIME_MAX, ONE_TIME_PER_CONTACT_MAX, ONE_TIME_STOCK_MAX, OneTimeKey, OneTimeRing,
    OneTimeStock, PREKEY_LIFETIME_S, PREKEYS_MAX, PrekeyRing,
};

use super::input::Input;
use crate::common::FixedRandom;

/// Steps of one sequence: keys cost a multiplication on the curve each.
const STEPS_MAX: usize = 24;

/// A ring that is read is written as it was; whatever the clock does, a key is held as long as a bundle sealed to it
/// may live, and no longer.
///
/// An even first byte: the rest as it stands. Odd: the rest are times at which a ring is rotated and pruned.
pub fn prekey_ring(data: &[u8]) {
    let mut input = Input(data);
    if input.byte() & 1 == 0 {
        let Ok(ring) = PrekeyRing::from_bytes(input.0) else { return };
        assert_eq!(**ring.to_bytes(), *input.0);
        assert!(ring.live(None).count() <= PREKEYS_MAX);
        assert_eq!(ring.current().map(|key| key.public()), ring.live(None).next().map(|key| key.public()));
        assert!(ring.one_time().is_empty());
        live_and_prune(ring, input.0.len() as u64);
        return;
    }
    let mut rng = FixedRandom::new("ring");
    let mut ring = PrekeyRing::generate(input.any_number(), &mut rng);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        let prunes = input.byte() & 1 == 0;
        let now_s = input.any_number();
        if prunes {
            ring = live_and_prune(ring, now_s);
        } else {
            rotate(&mut ring, now_s, &mut rng);
        }
        ring = PrekeyRing::from_bytes(&ring.to_bytes()).unwrap();
    }
}

fn rotate(ring: &mut PrekeyRing, now_s: u64, rng: &mut FixedRandom) {
    let before: Vec<_> = ring.live(None).map(|key| (key.public(), key.expires_s())).collect();
    let rotated = ring.rotate(now_s, rng);
    let after: BTreeSet<_> = ring.live(None).map(pigeon_bundle::Prekey::public).collect();
    let lost: Vec<_> = before.iter().filter(|(public, _)| !after.contains(public)).collect();
    let current = ring.current().unwrap();
    if rotated {
        assert_eq!(current.created_s(), now_s);
        assert_eq!(current.expires_s(), now_s.saturating_add(PREKEY_LIFETIME_S));
    } else {
        assert_eq!(before.len(), after.len());
    }
    assert!(after.len() <= PREKEYS_MAX);
    // Where there is no room, the first to expire goes, alone.
    assert_eq!(lost.len(), (before.len() + usize::from(rotated)).saturating_sub(PREKEYS_MAX));
    for (_, expires_s) in lost {
        assert!(before.iter().all(|(_, other)| other >= expires_s));
    }
}

/// Live is what pruning leaves.
fn live_and_prune(mut ring: PrekeyRing, now_s: u64) -> PrekeyRing {
    let live: Vec<_> = ring.live(Some(now_s)).map(pigeon_bundle::Prekey::public).collect();
    let before = ring.live(None).count();
    assert_eq!(ring.prune(now_s), before - live.len());
    assert_eq!(ring.live(None).map(pigeon_bundle::Prekey::public).collect::<Vec<_>>(), live);
    assert!(ring.live(None).all(|key| now_s < key.delete_s()));
    ring
}

/// What is kept of one-time keys is read as it was written; no key is handed out twice, no limit is passed, and a
/// private half goes when it is used or too old, not before.
///
/// The first byte: 0: the rest is a private half; 1: the rest is a stock; 2: events of a stock; else: of a ring.
pub fn one_time(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 4 {
        0 => private_half(input.0),
        1 => stock_bytes(&mut input),
        2 => stock(&mut input),
        _ => ring(&mut input),
    }
}

fn private_half(bytes: &[u8]) {
    let Ok(key) = OneTimeKey::from_bytes(bytes) else { return };
    assert_eq!(key.to_bytes()[..], *bytes);
    assert!(key.delete_s() >= key.expires_s());
    assert_eq!(OneTimeKey::from_bytes(&key.to_bytes()[..]).unwrap().public(), key.public());
    let mut ring = OneTimeRing::default();
    let public = key.public();
    ring.insert(key).unwrap();
    assert!(ring.remove(&public) && ring.is_empty());
}

/// A time, then the bytes.
fn stock_bytes(input: &mut Input<'_>) {
    let made_s = input.any_number();
    let Ok(mut stock) = OneTimeStock::from_bytes(input.0) else { return };
    assert!(stock.len() <= ONE_TIME_STOCK_MAX);
    // A stock that says nothing but its version is empty too.
    assert_eq!(stock.to_bytes(), if stock.is_empty() { &[][..] } else { input.0 });
    let held = stock.len();
    let mut taken = 0;
    while let Some(key) = stock.take(Some(made_s)) {
        assert!(key.usable_at(Some(made_s)) && !key.usable_at(None));
        taken += 1;
    }
    assert!(taken <= held && stock.is_empty());
}

fn stock(input: &mut Input<'_>) {
    let mut stock = OneTimeStock::default();
    // The keys are points with these first bytes; expiry by the key, since each is told apart by it.
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        let before = stock.len();
        match input.byte() % 5 {
            0 | 1 => {
                let expires_s = input.any_number();
                let keys: Vec<_> = input.piece().iter().take(20).map(|&byte| [byte; 32]).collect();
                let distinct = keys.iter().collect::<BTreeSet<_>>().len();
                let changed = stock.add(&keys, expires_s);
                assert!(stock.len() >= before && stock.len() <= (before + distinct).min(ONE_TIME_STOCK_MAX));
                assert!(changed || stock.len() == before);
                let bytes = stock.to_bytes();
                assert!(!stock.add(&keys, expires_s) || stock.len() == ONE_TIME_STOCK_MAX);
                assert!(stock.len() == ONE_TIME_STOCK_MAX || stock.to_bytes() == bytes);
            }
            2 => {
                assert!(stock.take(None).is_none() && stock.len() == before);
            }
            3 => {
                let made_s = input.any_number();
                let first = stock.to_bytes();
                match stock.take(Some(made_s)) {
                    Some(key) => assert!(key.usable_at(Some(made_s)) && stock.len() < before),
                    None => assert!(stock.is_empty()),
                }
                // What was taken is in no later record.
                assert!(stock.is_empty() || first.ends_with(&stock.to_bytes()[1..]));
            }
            _ => stock.clear(),
        }
        let bytes = stock.to_bytes();
        stock = OneTimeStock::from_bytes(&bytes).unwrap();
        assert_eq!(stock.to_bytes(), bytes);
        assert_distinct(&bytes);
    }
}

/// No key is in the record twice, and none that expires earlier stands behind one that expires later.
fn assert_distinct(stock: &[u8]) {
    let entries: Vec<_> = stock.get(1..).unwrap_or_default().chunks(40).collect();
    let keys: BTreeSet<_> = entries.iter().map(|entry| &entry[..32]).collect();
    assert_eq!(keys.len(), entries.len());
    assert!(entries.is_sorted_by_key(|entry| u64::from_be_bytes(entry[32..].try_into().unwrap())));
}

fn ring(input: &mut Input<'_>) {
    let mut rng = FixedRandom::new("one-time");
    let mut ring = OneTimeRing::default();
    // Public half → when the private one may go.
    let mut model: BTreeMap<[u8; 32], u64> = BTreeMap::new();
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        match input.byte() % 4 {
            0 | 1 => {
                let contact = IdentityKey([input.byte() % 8; 32]);
                let (wanted, now_s) = (usize::from(input.byte() % 12), input.any_number());
                let room = ring.room(&contact);
                let issued = ring.issue(contact, wanted, now_s, &mut rng);
                assert_eq!(issued.len(), wanted.min(room));
                for key in issued {
                    assert_eq!(key.contact(), contact);
                    assert!(key.expires_s() >= now_s || key.expires_s() > u64::from(u32::MAX));
                    assert!(model.insert(key.public(), key.delete_s()).is_none());
                }
            }
            2 => {
                let public = model.keys().nth(input.below(model.len().max(1))).copied().unwrap_or([7; 32]);
                assert_eq!(ring.remove(&public), model.remove(&public).is_some());
            }
            _ => {
                let now_s = input.any_number();
                let mut gone = ring.prune(now_s);
                gone.sort_unstable();
                let too_old = model.extract_if(.., |_, delete_s| *delete_s <= now_s);
                assert_eq!(gone, too_old.map(|(public, _)| public).collect::<Vec<_>>());
            }
        }
        assert_eq!(ring.len(), model.len());
        assert!(ring.len() <= ONE_TIME_MAX);
        let live: Vec<_> = ring.live(None).collect();
        assert!(live.is_sorted_by_key(|key| key.expires_s()));
        assert!(live.iter().all(|key| model.contains_key(&key.public())));
        for contact in 0..8 {
            let theirs = live.iter().filter(|key| key.contact() == IdentityKey([contact; 32])).count();
            assert!(theirs <= ONE_TIME_PER_CONTACT_MAX);
        }
    }
}
