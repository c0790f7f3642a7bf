//! Whole networks of cores in virtual time, from a seed: contacts at random or of real people, links cut at any
//! moment, frames delayed, lost and damaged, slow commits, crashes that lose what was not committed, clocks that are
//! wrong or missing, empty batteries, neighbours that lie, a bridge. After every event a reference model checks the
//! invariants of docs/architecture.md; at the end everybody meets, and what was written must have arrived and be
//! forgotten.
//!
//! Every run tries new seeds and says which broke: `PIGEON_SIM_SEED=n` replays one with its story. It is then added to
//! `regressions.txt`. `PIGEON_SIM_SEEDS=n` tries so many, `PIGEON_SIM_FROM=n` from there on, and
//! `PIGEON_SIM_WORLD=town` (`few`, `ladder`, `twins`) in worlds of one kind.

#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "tests")]

mod bridge;
mod disks;
mod liars;
mod links;
mod model;
mod plan;
#[path = "../support/mod.rs"]
mod support;
mod world;

use pigeon_core::Fault;
use plan::{Plan, TOWN};
use world::{Mistake, World};

/// Seeds tried without being asked for more, within which a known mistake must be found.
const SEEDS: u64 = 200;
const REGRESSIONS: &str = include_str!("regressions.txt");
/// Towns in which people lie.
const TOWNS_WITH_LIARS: u64 = 4;
/// 30 % of a town.
const LIARS: usize = TOWN * 30 / 100;

fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "a test's own switch, not the core's")]
    std::env::var(name).ok()
}

fn number(name: &str) -> Option<u64> {
    variable(name).map(|value| value.parse().unwrap())
}

fn plan(world: &str, seed: u64) -> Plan {
    match world {
        "any" => Plan::of(seed),
        "few" => Plan::few(seed),
        "town" => Plan::town(seed),
        "ladder" => Plan::ladder(seed),
        "twins" => Plan::twins(seed),
        other => panic!("no such world: {other}"),
    }
}

/// A number that no earlier run had.
#[expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "new seeds, which the test prints")]
fn new_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

fn run(world: &str, seed: u64, total: &mut model::Counts) {
    let mut network = World::new(plan(world, seed), None);
    if let Err(broken) = network.run() {
        panic!(
            "{broken}\nreplay with PIGEON_SIM_WORLD={world} PIGEON_SIM_SEED={seed} cargo test -p pigeon-core --test \
             sim -- --nocapture any, then add it to regressions.txt"
        );
    }
    total.add(&network.model.counts);
}

#[test]
fn any_network_keeps_its_promises() {
    let world = variable("PIGEON_SIM_WORLD").unwrap_or_else(|| "any".into());
    if let Some(seed) = number("PIGEON_SIM_SEED") {
        let mut network = World::new(plan(&world, seed), None);
        network.tell = true;
        let outcome = network.run();
        println!("{world} {seed}: {outcome:?}, {}", network.model.counts);
        assert_eq!(outcome, Ok(()));
        return;
    }
    let (from, seeds) =
        (number("PIGEON_SIM_FROM").unwrap_or_else(new_seed), number("PIGEON_SIM_SEEDS").unwrap_or(SEEDS));
    println!("{seeds} worlds ({world}) from seed {from}");
    let mut total = model::Counts::default();
    for seed in from..from + seeds {
        run(&world, seed, &mut total);
        if (seed - from + 1).is_multiple_of(500) {
            println!("{} worlds without a broken promise", seed - from + 1);
        }
    }
    println!("{total}");
    if matches!(world.as_str(), "any" | "town") && seeds >= SEEDS {
        total.assert_everything_happened();
    }
}

#[test]
fn seeds_that_once_broke_a_promise_keep_it() {
    let mut total = model::Counts::default();
    for line in REGRESSIONS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (world, seed) = (words.next().unwrap(), words.next().unwrap().parse().unwrap());
        run(world, seed, &mut total);
    }
}

#[test]
fn the_same_seed_gives_the_same_actions() {
    for seed in [0, 1, 2, 7] {
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

/// Thirty in a hundred lie in every way there is. The measure is the same town without them; deliveries count until
/// everybody meets.
#[test]
fn honest_nodes_deliver_among_liars() {
    let (mut among_liars, mut without) = (0, 0);
    for seed in 0..TOWNS_WITH_LIARS {
        for absent in [false, true] {
            let plan = Plan::town_with_liars(seed, LIARS);
            let mut town = World::new(plan, None);
            town.stop_at_everybody = true;
            for node in (0..TOWN).filter(|node| absent && town.lies(*node).is_some()).collect::<Vec<_>>() {
                town.absent[node] = true;
            }
            // Own mail that is evicted, by a lie or for one, breaks a promise.
            town.run().unwrap();
            *(if absent { &mut without } else { &mut among_liars }) += town.model.delivered.len();
        }
    }
    println!("{among_liars} messages delivered among liars, {without} without them");
    assert!(without > 20, "too few for a comparison: {without}");
    assert!(among_liars * 100 >= without * 80, "{among_liars} among liars, {without} without them");
}

/// A check that cannot fail checks nothing.
fn finds_in_core(fault: Fault, expected: &[&str]) {
    finds(Mistake::Core(fault), expected);
}

fn finds(fault: Mistake, expected: &[&str]) {
    let from = number("PIGEON_SIM_FROM").unwrap_or_else(new_seed);
    let mut found = Vec::new();
    for seed in from..from + SEEDS {
        let Err(broken) = World::new(Plan::of(seed), Some(fault)).run() else { continue };
        if expected.contains(&broken.rule) {
            println!("{fault:?} is found in seed {seed}, the {}th", seed - from + 1);
            return;
        }
        found.push(broken.rule);
    }
    panic!("{fault:?} was not found by {expected:?} in {SEEDS} seeds from {from}, only by {found:?}");
}

#[test]
fn a_budget_that_is_not_halved_is_found() {
    finds_in_core(Fault::BudgetNotHalved, &[model::SUM]);
}

#[test]
fn a_hand_over_spent_before_stored_is_found() {
    finds_in_core(Fault::SpentBeforeStored, &[model::SPENT_EARLY]);
}

#[test]
fn copies_before_granted_are_found() {
    finds_in_core(Fault::CopiesBeforeGranted, &[model::SUM]);
}

#[test]
fn stored_before_the_commit_is_found() {
    finds_in_core(Fault::StoredBeforeCommit, &[model::STORED_EARLY]);
}

#[test]
fn an_ignored_tombstone_is_found() {
    finds_in_core(Fault::TombstoneIgnored, &[model::NOT_PURGED]);
}

#[test]
fn own_mail_that_was_evicted_is_found() {
    finds_in_core(Fault::OwnMailEvicted, &[model::OWN_LOST]);
}

#[test]
fn a_copy_promised_to_two_is_found() {
    finds_in_core(Fault::NothingReserved, &[model::PROMISED_TWICE]);
}

#[test]
fn a_refund_after_a_lost_granted_is_found() {
    finds_in_core(Fault::RefundAfterLostGranted, &[model::SUM]);
}

#[test]
fn an_expired_bundle_that_is_delivered_is_found() {
    finds_in_core(Fault::ExpiredDelivered, &[model::EXPIRED]);
}

#[test]
fn moves_without_a_cap_are_found() {
    finds_in_core(Fault::MovesUncapped, &[model::MOVED]);
}

#[test]
fn messages_told_apart_by_their_bundles_are_found() {
    finds(Mistake::DedupOnBundleId, &[model::TWICE]);
}
