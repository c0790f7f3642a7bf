//! Whole networks of cores in virtual time, from a seed: random contacts, links cut at any moment, frames
//! delayed and damaged, slow commits, crashes that lose what was not committed, a bridge. After every event
//! a reference model checks the invariants of PROTOCOL.md; at the end everybody meets, and everything must
//! have arrived and be forgotten.
//!
//! `PIGEON_SIM_SEED=n` replays one seed with its story, `PIGEON_SIM_SEEDS=n` tries so many.

#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "tests")]

mod bridge;
mod disks;
mod links;
mod model;
mod plan;
#[path = "../support/mod.rs"]
mod support;
mod world;

use pigeon_core::Fault;
use plan::Plan;
use world::World;

/// Seeds tried without being asked for more.
const SEEDS: u64 = 250;
/// Seeds within which a known mistake must be found.
const FAULT_SEEDS: u64 = 60;

fn number(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test's own switch, not the core's")]
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap())
}

#[test]
fn any_network_keeps_its_promises() {
    if let Some(seed) = number("PIGEON_SIM_SEED") {
        let mut world = World::new(Plan::of(seed), None);
        world.tell = true;
        let outcome = world.run();
        println!("seed {seed}: {outcome:?}, {}", world.model.counts);
        assert_eq!(outcome, Ok(()));
        return;
    }
    let mut total = model::Counts::default();
    for seed in 0..number("PIGEON_SIM_SEEDS").unwrap_or(SEEDS) {
        let mut world = World::new(Plan::of(seed), None);
        if let Err(broken) = world.run() {
            panic!(
                "{broken}\nreplay with PIGEON_SIM_SEED={seed} cargo test -p pigeon-core --test sim -- --nocapture any"
            );
        }
        total.add(&world.model.counts);
    }
    println!("{total}");
    total.assert_everything_happened();
}

#[test]
fn the_same_seed_gives_the_same_actions() {
    for seed in 0..8 {
        let mut worlds = [World::new(Plan::of(seed), None), World::new(Plan::of(seed), None)];
        for world in &mut worlds {
            world.trace = Some(0);
            world.run().unwrap();
        }
        assert_eq!(worlds[0].trace, worlds[1].trace, "seed {seed}");
    }
    let mut one = World::new(Plan::of(1), None);
    let mut two = World::new(Plan::of(2), None);
    for world in [&mut one, &mut two] {
        world.trace = Some(0);
        world.run().unwrap();
    }
    assert_ne!(one.trace, two.trace);
}

/// A check that cannot fail checks nothing.
fn finds(fault: Fault, expected: &[&str]) {
    let mut found = Vec::new();
    for seed in 0..FAULT_SEEDS {
        let Err(broken) = World::new(Plan::of(seed), Some(fault)).run() else { continue };
        if expected.contains(&broken.rule) {
            return;
        }
        found.push(broken.rule);
    }
    panic!("{fault:?} was not found by {expected:?} in {FAULT_SEEDS} seeds, only by {found:?}");
}

#[test]
fn a_budget_that_is_not_halved_is_found() {
    finds(Fault::BudgetNotHalved, &[model::SUM]);
}

#[test]
fn a_hand_over_spent_before_stored_is_found() {
    finds(Fault::SpentBeforeStored, &[model::SPENT_EARLY]);
}

#[test]
fn copies_before_granted_are_found() {
    finds(Fault::CopiesBeforeGranted, &[model::SUM]);
}

#[test]
fn stored_before_the_commit_is_found() {
    finds(Fault::StoredBeforeCommit, &[model::STORED_EARLY]);
}

#[test]
fn an_ignored_tombstone_is_found() {
    finds(Fault::TombstoneIgnored, &[model::NOT_PURGED]);
}

#[test]
fn own_mail_that_was_evicted_is_found() {
    finds(Fault::OwnMailEvicted, &[model::OWN_LOST]);
}

#[test]
fn a_copy_promised_to_two_is_found() {
    finds(Fault::NothingReserved, &[model::PROMISED_TWICE]);
}
