//! What the model says, on scenarios small enough to count by hand; and what is wrong with a file.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests")]

use std::path::PathBuf;

use pigeon_core::Routing;
use pigeon_replay::{Metrics, Replay, Router, Scenario, Setting, Transfer};

/// Three files in a folder of their own.
struct Files(tempfile::TempDir);

impl Files {
    fn with(trace: &str, workload: &str, uplink: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("trace", trace), ("workload", workload), ("uplink", uplink)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, uplink: bool) -> Result<Scenario, String> {
        let windows = uplink.then(|| self.path("uplink"));
        Scenario::read(&self.path("trace"), &self.path("workload"), windows.as_deref())
            .map_err(|e| e.to_string())
    }

    fn run(&self, uplink: bool, setting: Setting) -> Metrics {
        let scenario = self.read(uplink).unwrap();
        Replay::of(&scenario).unwrap().run(setting)
    }
}

fn spray() -> Setting {
    Setting { router: Router::Configured(Routing::Spray), ..Setting::default() }
}

#[test]
fn a_message_crosses_a_connected_group_in_no_time_and_ends_at_its_ttl() {
    let trace = "# comment\n1 CONN 0 1 up\n1 CONN 1 2 up\n9 CONN 0 1 down\n9 CONN 1 2 down\n20 CONN 2 3 up\n30 CONN 2 3 down\n";
    let files = Files::with(trace, "5 a 0 2 100 60\n5 b 0 3 100 15\n5 c 0 3 100 15.001\n", "");
    let metrics = files.run(false, spray());
    // a: 0 to 1, 1 to 2. b and c: 0 to 1, 1 to 2; b ends when 2 meets 3.
    assert_eq!((metrics.delivered, metrics.tx_per_msg), (2, 7.0 / 3.0));
    assert_eq!(metrics.delays_s, vec![0.0, 15.0]);
    assert_eq!(metrics.copies, (2.0 + 3.0 + 3.0) / 3.0);
}

#[test]
fn a_holder_with_the_internet_delivers() {
    let trace = "1 CONN 0 1 up\n9 CONN 0 1 down\n99 CONN 0 1 up\n";
    let files = Files::with(trace, "0 a 0 2 100 90\n", "50 60 1\n");
    assert_eq!(files.run(false, spray()).delivered, 0);
    let metrics = files.run(true, spray());
    assert_eq!((metrics.ratio, metrics.uplink, metrics.delay_avg), (1.0, 1.0, Some(50.0)));
}

#[test]
fn transfers_take_time_one_after_the_other_and_are_cut_off() {
    let trace = "1 CONN 0 1 up\n26 CONN 0 1 down\n";
    let files = Files::with(trace, "0 a 0 1 1000 90\n0 b 0 1 1000 90\n0 c 0 1 1000 90\n", "");
    let serial = |buffer| Setting { transfer: Transfer::Serial { rate: 100, buffer }, ..spray() };
    let metrics = files.run(false, serial(None));
    assert_eq!((metrics.delivered, metrics.aborted), (2, 1));
    assert_eq!(metrics.delays_s, vec![11.0, 21.0]);
    let metrics = files.run(false, serial(Some(1_000)));
    assert_eq!((metrics.delivered, metrics.dropped), (1, 2), "the newest is left");
}

#[test]
fn a_wrong_line_is_named() {
    let good = "1 CONN 0 1 up\n";
    let table = [
        ("1 CONN 0 1 up\n2 CONN 0 x down\n", "0 a 0 1 10 60\n", "line 2: node `x` is no number"),
        ("1 CONN 3 3 up\n", "0 a 0 1 10 60\n", "node 3 meets itself"),
        ("1 CONN 0 1 sideways\n", "0 a 0 1 10 60\n", "neither up nor down"),
        ("1 CONN 0 99999999 up\n", "0 a 0 1 10 60\n", "above the limit"),
        ("# nothing\n\n", "0 a 0 1 10 60\n", "no line but comments"),
        (good, "0 a 0 1 10\n", "it has 5 words, not 6"),
        (good, "-1 a 0 1 10 60\n", "time `-1` is not between 0 and 1e9"),
        (good, "nan a 0 1 10 60\n", "time `nan`"),
        (good, "0 a 0 1 0 60\n", "above 0"),
    ];
    for (trace, workload, expected) in table {
        let error = Files::with(trace, workload, "").read(false).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let error = Files::with(good, "0 a 0 1 10 60\n", "9 3 0\n").read(true).unwrap_err();
    assert!(error.contains("uplink, line 1: the window ends before it starts"), "{error}");
}
