//! The default policy delivers more than the reference's delegation does, at a bounded cost.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests")]

mod common;

use common::scenario;
use pigeon_replay::{Replay, Setting};

/// With acknowledgements; `tx_max` bounds transmissions by message.
fn check(trace: &str, uplink: bool, ratio_min: f64, tx_max: f64) {
    let scenario = scenario(trace, uplink);
    let metrics = Replay::of(&scenario).unwrap().run(Setting { ack: true, ..Setting::default() });
    let seen = format!("{trace}, uplink {uplink}: ratio {:.4}, tx {:.2}", metrics.ratio, metrics.tx_per_msg);
    assert!(metrics.ratio >= ratio_min && metrics.tx_per_msg <= tx_max, "{seen}");
}

#[test]
fn in_the_office() {
    check("invs13", true, 0.68, 8.0);
    check("invs13", false, 0.36, 8.0);
}

#[test]
#[ignore = "long without optimisation: `make soak` runs it"]
fn at_the_conference() {
    check("sfhh", true, 0.74, 10.5);
    check("sfhh", false, 0.32, 10.5);
}

#[test]
#[ignore = "long without optimisation: `make soak` runs it"]
fn in_the_city() {
    check("helsinki1", true, 0.965, 14.0);
    check("helsinki1", false, 0.952, 15.0);
}
