//! The core does what the policy says: through it, the plain policies come out as in the reference evaluator, whose
//! figures are in `tests/traces/BASELINES.txt`.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests")]

mod common;

use common::{file, scenario};
use pigeon_core::Routing;
use pigeon_replay::{Metrics, Replay, Router, Setting};

/// Ties (several neighbours at one instant) may come out otherwise.
const RATIO_OFF_MAX: f64 = 0.005;
const TX_OFF_MAX: f64 = 0.02;

/// Ratio and transmissions by message of the first line for a trace, a case (`unif` or `uplink`) and a policy.
fn reference(trace: &str, case: &str, policy: &str) -> (f64, f64) {
    let text = std::fs::read_to_string(file("BASELINES.txt")).unwrap();
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<&str>>());
    let line = words.into_iter().find(|words| words.starts_with(&[trace, case, policy])).unwrap();
    let after = |name: &str| -> f64 {
        let at = line.iter().position(|word| *word == name).unwrap();
        line[at + 1].parse().unwrap()
    };
    (after("ratio"), after("tx"))
}

fn compare(trace: &str, case: &str, policy: &str, metrics: &Metrics) {
    let (ratio, tx) = reference(trace, case, policy);
    let seen = format!(
        "{trace} {case} {policy}: ratio {:.4} against {ratio}, tx {:.3} against {tx}",
        metrics.ratio, metrics.tx_per_msg
    );
    assert!((metrics.ratio - ratio).abs() <= RATIO_OFF_MAX, "{seen}");
    assert!((metrics.tx_per_msg / tx - 1.0).abs() <= TX_OFF_MAX, "{seen}");
}

fn check(trace: &str) {
    for (case, uplink) in [("unif", false), ("uplink", true)] {
        let scenario = scenario(trace, uplink);
        let replay = Replay::of(&scenario).unwrap();
        for (policy, routing) in [("sprays", Routing::SourceSpray), ("sprayb", Routing::Spray)] {
            let router = Router::Configured(routing);
            compare(trace, case, policy, &replay.run(Setting { router, ..Setting::default() }));
        }
    }
}

#[test]
fn the_office_comes_out_as_in_the_reference() {
    check("invs13");
}

#[test]
fn the_conference_comes_out_as_in_the_reference() {
    check("sfhh");
}

/// Thirty thousand contacts: `make soak` has the time.
#[test]
#[ignore = "long without optimisation: `make soak` runs it"]
fn the_city_comes_out_as_in_the_reference() {
    check("helsinki1");
}
