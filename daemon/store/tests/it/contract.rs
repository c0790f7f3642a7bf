//! The store and its twin in memory answer alike, whatever is written, and after reopening too.

use pigeon_bundle::{Bundle, BundleId, Reveal};
use pigeon_core::{Catalog, MemoryCatalog, RemovalReason, StoreOp};
use pigeon_store::Transaction;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::{DAY, Mint, entry, node, open, open_sealed, seed};

/// An operation on one of the prepared bundles, by number.
#[derive(Debug, Clone)]
enum Step {
    Put(usize, u64),
    Update(usize, u64),
    Remove(usize),
    AddTaker(usize, u64),
    Tombstone(usize, u64),
    Forget(usize),
    SetState(u8, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let bundle = 0..1000_usize;
    prop_oneof![
        4 => (bundle.clone(), 0..100_u64).prop_map(|(b, e)| Step::Put(b, e)),
        2 => (bundle.clone(), 0..100_u64).prop_map(|(b, e)| Step::Update(b, e)),
        2 => bundle.clone().prop_map(Step::Remove),
        2 => (bundle.clone(), 0..9_u64).prop_map(|(b, t)| Step::AddTaker(b, t)),
        1 => (bundle.clone(), 0..2_000_000_000_u64).prop_map(|(b, t)| Step::Tombstone(b, t)),
        1 => bundle.prop_map(Step::Forget),
        1 => (0..3_u8, prop_oneof![Just(0_usize), 0..20_000_usize]).prop_map(|(k, l)| Step::SetState(k, l)),
    ]
}

fn op(step: &Step, bundles: &[(Bundle, Reveal)]) -> StoreOp {
    let pick = |number: usize| &bundles[number % bundles.len()];
    match step {
        Step::Put(at, number) => StoreOp::Put { bundle: pick(*at).0.clone(), entry: entry(*number) },
        Step::Update(at, number) => StoreOp::Update { id: pick(*at).0.id(), entry: entry(*number) },
        Step::Remove(at) => StoreOp::Remove { id: pick(*at).0.id(), reason: RemovalReason::Evicted },
        Step::AddTaker(at, taker) => StoreOp::AddTaker { id: pick(*at).0.id(), taker: node(*taker) },
        Step::Tombstone(at, expires_s) => StoreOp::Tombstone { reveal: pick(*at).1, expires_s: *expires_s },
        Step::Forget(at) => StoreOp::ForgetTombstone { commitment: pick(*at).0.commitment() },
        Step::SetState(key, length) => {
            StoreOp::SetState { key: format!("key {key}"), value: vec![*key; *length] }
        }
    }
}

fn bundles(seed: u64) -> Vec<(Bundle, Reveal)> {
    let mut mint = Mint::new(seed);
    let mut bundles = mint.twins().to_vec();
    for number in 0..10 {
        let content = [10, 300, 6_000, 40_000][number % 4];
        bundles.push(mint.bundle(number, u32::try_from(number % 3).unwrap(), content));
    }
    bundles
}

/// Every question a catalog answers, about everything that may be in it.
fn compare(left: &dyn Catalog, right: &dyn Catalog, bundles: &[(Bundle, Reveal)]) {
    for (bundle, _) in bundles {
        let (id, tag, commitment) = (bundle.id(), bundle.tag(), bundle.commitment());
        assert_eq!(left.entry(&id).unwrap(), right.entry(&id).unwrap());
        assert_eq!(left.bundle(&id).unwrap(), right.bundle(&id).unwrap());
        assert_eq!(left.meta(&id).unwrap(), right.meta(&id).unwrap());
        assert_eq!(left.takers(&id).unwrap(), right.takers(&id).unwrap());
        assert_eq!(left.by_tag(&tag).unwrap(), right.by_tag(&tag).unwrap());
        assert_eq!(left.by_commitment(&commitment).unwrap(), right.by_commitment(&commitment).unwrap());
        assert_eq!(left.tombstone(&commitment).unwrap(), right.tombstone(&commitment).unwrap());
    }
    let ids = bundles.iter().map(|(bundle, _)| bundle.id());
    for after in ids.map(Some).chain([None, Some(BundleId([0; 32])), Some(BundleId([0xff; 32]))]) {
        for limit in [0, 1, 3, 100] {
            assert_eq!(left.page(after, limit).unwrap(), right.page(after, limit).unwrap());
        }
    }
    for after in bundles.iter().map(|(bundle, _)| Some(bundle.commitment())).chain([None]) {
        for limit in [1, 100] {
            assert_eq!(left.tombstones(after, limit).unwrap(), right.tombstones(after, limit).unwrap());
        }
    }
    let day_s = |day: u64| (u64::from(DAY) + day) * 86_400;
    for until_s in [0, 1_000_000_000, day_s(2), day_s(3) + 7_200, day_s(9), u64::MAX] {
        for limit in [1, 4, 100] {
            assert_eq!(left.expiring(until_s, limit).unwrap(), right.expiring(until_s, limit).unwrap());
            let dead = |catalog: &dyn Catalog| catalog.expiring_tombstones(until_s, limit).unwrap();
            assert_eq!(dead(left), dead(right));
        }
    }
    assert_eq!(left.usage().unwrap(), right.usage().unwrap());
    for giver in 0..6 {
        assert_eq!(left.giver_usage(&node(giver)).unwrap(), right.giver_usage(&node(giver)).unwrap());
    }
    for key in ["key 0", "key 1", "key 2", ""] {
        assert_eq!(left.state(key).unwrap(), right.state(key).unwrap());
    }
}

#[test]
fn the_store_answers_as_its_twin_in_memory() {
    let seed = seed("contract");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let sequences = prop::collection::vec(prop::collection::vec(step(), 1..12), 1..25);
    let bundles = bundles(seed);
    let run = TestRunner::new_with_rng(config, rng).run(&sequences, |transactions| {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(dir.path());
        let mut twin = MemoryCatalog::new();
        // Several in flight, so that transactions are planned on what others of their group leave behind.
        for group in transactions.chunks(5) {
            let mut last = None;
            for steps in group {
                let ops: Vec<_> = steps.iter().map(|step| op(step, &bundles)).collect();
                twin.apply(&ops);
                last = Some(store.commit(Transaction::of_ops(ops)));
            }
            if let Some(last) = last {
                tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(last).unwrap();
            }
            compare(&store, &twin, &bundles);
        }
        drop(store);
        let (store, report) = open(dir.path());
        assert!(report.closed_cleanly && report.is_healthy(), "{report}");
        compare(&store, &twin, &bundles);
        // Sealed it answers the same.
        let dir = tempfile::tempdir().unwrap();
        let (sealed, _) = open_sealed(dir.path(), 1);
        store.copy_into(&sealed).unwrap();
        compare(&sealed, &twin, &bundles);
        Ok(())
    });
    run.unwrap();
}
