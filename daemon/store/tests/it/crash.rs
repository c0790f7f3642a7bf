//! `kill -9` under load, again and again on one directory: nothing acknowledged is missing.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::child;
use crate::load::{self, Told};
use crate::support::{Mint, Numbers, open, seed};

/// Rounds of `make test`; `PIGEON_KILL_ROUNDS` names more.
const ROUNDS: u64 = 20;

#[test]
#[ignore = "runs as a child of the test below"]
fn commits_until_killed() {
    let Some(dir) = std::env::var_os(child::DIR) else { return };
    let seed = std::env::var("PIGEON_TEST_SEED").unwrap().parse().unwrap();
    let (store, _) = open(Path::new(&dir));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    println!("ready");
    runtime.block_on(load::commit(&store, &mut Mint::new(seed), u64::MAX, std::io::stdout()));
}

fn run_and_kill(dir: &Path, seed: u64, lines: u64, told: &mut Told) {
    let mut child = child::start("crash::commits_until_killed", dir, seed);
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut left = lines;
    while left > 0 {
        let line = output.next().expect("the child ended by itself").unwrap();
        left -= u64::from(told.note(&line));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it still said before it died counts too.
    for line in output.map_while(Result::ok) {
        told.note(&line);
    }
}

/// Bytes on the disk beyond a file's end.
fn beyond_end(path: &Path) -> u64 {
    let metadata = std::fs::metadata(path).unwrap();
    (metadata.blocks() * 512).saturating_sub(metadata.len())
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let seed = seed("crash");
    let mut numbers = Numbers(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let rounds = std::env::var("PIGEON_KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let lines = 1 + numbers.below(120);
        run_and_kill(dir.path(), numbers.next(), lines, &mut told);
        let (store, report) = open(dir.path());
        assert!(!report.closed_cleanly, "round {round}");
        assert!(report.is_healthy(), "round {round}: {report}");
        load::check(&store, &told, &format!("round {round}"));
    }
    // Only the last one may have left the room that it had taken for what was to come.
    let taken: Vec<u64> = std::fs::read_dir(dir.path().join("log"))
        .unwrap()
        .map(|entry| beyond_end(&entry.unwrap().path()))
        .collect();
    let much = taken.iter().filter(|bytes| **bytes > 1 << 20).count();
    assert!(much <= 2, "{much} of {} segments hold room that nobody uses", taken.len());
    let runs = std::fs::read_dir(dir.path().join("runs")).unwrap().count();
    assert!(runs <= 16, "{runs} runs were never merged");
}
