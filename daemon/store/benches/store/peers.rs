//! Side by side with dtn7-rs on its sled store, each in a process of its own.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use pigeon_store::Store;

use crate::bundles::Mint;
use crate::process::{child, resident_mib};
use crate::{Arguments, IN_FLIGHT, number, options, put_all, runtime};

const BUNDLES: usize = 10_000;
/// Turns of each; the best counts on both sides.
const TURNS: usize = 3;

/// Seconds and MiB.
type Used = (f64, f64);

fn used(text: &str) -> Used {
    let mut words = text.split_whitespace().map(|word| word.parse::<f64>().unwrap());
    (words.next().unwrap(), words.next().unwrap() / 1024.0)
}

fn theirs(program: &Path, what: &str, dir: &Path) -> Used {
    std::fs::create_dir_all(dir).unwrap();
    let mut command = Command::new(program);
    let output = command.arg(what).arg(dir).arg(BUNDLES.to_string()).output().unwrap();
    assert!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    used(&String::from_utf8(output.stdout).unwrap())
}

pub(crate) fn compare(arguments: &Arguments) {
    let Some(program) = &arguments.peers else {
        println!("SKIPPED: the comparison with dtn7 wants --peers PROGRAM, see `make bench-store`");
        return;
    };
    let (mut ours, mut dtn7, mut pushed_s) = (Vec::new(), Vec::new(), f64::MAX);
    for _ in 0..TURNS {
        let dir = tempfile::tempdir_in(&arguments.dir).unwrap();
        let (here, there) = (dir.path().join("ours"), dir.path().join("dtn7"));
        ours.push((used(&child("accept", &here, BUNDLES)), used(&child("reopen", &here, BUNDLES))));
        dtn7.push((theirs(program, "accept", &there), theirs(program, "open", &there)));
        pushed_s = pushed_s.min(theirs(program, "push", &dir.path().join("pushed")).0);
    }
    let best =
        |all: &[(Used, Used)], of: fn(&(Used, Used)) -> f64| all.iter().map(of).fold(f64::MAX, f64::min);
    let pair = |of: fn(&(Used, Used)) -> f64| (best(&ours, of), best(&dtn7, of));
    let (our_s, their_s) = pair(|used| used.0.0);
    let rate = |seconds: f64| number(BUNDLES as u64) / seconds;
    println!(
        "bench: store.vs_dtn7_accept {:.1} ({:.0}/s durably against {:.0}/s that dtn7-rs 0.21 accepts, whose flush promises nothing; its store alone takes {:.0}/s, {:.1} times; {BUNDLES} bundles, {IN_FLIGHT} in flight)",
        their_s / our_s,
        rate(our_s),
        rate(their_s),
        rate(pushed_s),
        pushed_s / our_s
    );
    let (our_s, their_s) = pair(|used| used.1.0);
    println!(
        "bench: store.vs_dtn7_open {:.2} ({our_s:.3} s with the check of the index against {their_s:.3} s)",
        their_s / our_s
    );
    let (our_mib, their_mib) = pair(|used| used.1.1);
    println!(
        "bench: store.vs_dtn7_rss {:.2} ({our_mib:.1} MiB against {their_mib:.1} after opening {BUNDLES})",
        our_mib / their_mib
    );
}

/// Our side, in a child.
pub(crate) fn accept(dir: &Path, count: usize) {
    let bundles = Mint::new(11).take(count);
    let (store, _) = Store::open(dir, options()).unwrap();
    let start = Instant::now();
    runtime().block_on(put_all(&store, bundles.into_iter(), IN_FLIGHT));
    println!("{} {}", start.elapsed().as_secs_f64(), resident_mib() * 1024);
    store.close().unwrap();
}

/// Our side, in a child: opening includes the check of the index.
pub(crate) fn open(dir: &Path, count: usize) {
    let start = Instant::now();
    let (store, report) = Store::open(dir, options()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    assert!(report.is_healthy() && store.stats().unwrap().usage.bundles() == count as u64, "{report}");
    println!("{seconds} {}", resident_mib() * 1024);
    store.close().unwrap();
}
