//! The store's figures, all in one run on one disk. Prints `bench: NAME VALUE (…)`.
//!
//! `cargo bench -p pigeon-store -- [--dir DIR] [--million COUNT] [--peers PROGRAM]`: DIR (default: the current directory)
//! must be on a real disk; COUNT (default 1,000,000) is how many bundles the large store gets; PROGRAM is the one in
//! `peers/`, without which the comparison with dtn7 is left out.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on should stop")]

mod bare;
mod bodies;
mod bundles;
mod million;
mod peers;
mod process;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use pigeon_bundle::Bundle;
use pigeon_core::{Entry, StoreOp};
use pigeon_store::{Store, StoreOptions, Transaction};

use crate::bundles::Mint;
use crate::process::{cpu_s, written_bytes};

/// Transactions on their way at a time.
const IN_FLIGHT: usize = 64;
const ALONE: usize = 300;
const BURST: usize = 10_000;
const SUSTAINED: usize = 100_000;
/// Times the store and the bare file take turns; the figure is the median of their ratios.
const TURNS: usize = 10;

/// What the command line says.
pub(crate) struct Arguments {
    dir: PathBuf,
    million: usize,
    peers: Option<PathBuf>,
}

fn arguments() -> Arguments {
    let mut arguments = Arguments { dir: ".".into(), million: 1_000_000, peers: None };
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{word} wants a value"));
        match word.as_str() {
            "--dir" => arguments.dir = value.into(),
            "--million" => arguments.million = value.parse().unwrap(),
            "--peers" => arguments.peers = Some(value.into()),
            _ => panic!("what is {word}?"),
        }
    }
    arguments
}

pub(crate) fn options() -> StoreOptions {
    StoreOptions { quota_bytes: u64::MAX / 2, ..StoreOptions::default() }
}

/// Puts bundles into the store, with at most `in_flight` waiting.
pub(crate) async fn put_all(store: &Store, bundles: impl Iterator<Item = Bundle>, in_flight: usize) {
    let mut waiting = VecDeque::new();
    for bundle in bundles {
        let put = StoreOp::Put { bundle, entry: Entry::own(0, None) };
        waiting.push_back(store.commit(Transaction::of_ops(vec![put])));
        if waiting.len() == in_flight
            && let Some(answer) = waiting.pop_front()
        {
            answer.await.unwrap();
        }
    }
    for answer in waiting {
        answer.await.unwrap();
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Store and bare file take turns, for the disk's mood changes: the median ratio of their times, and the rates of all.
fn against_bare(store: &Store, dir: &Path, bundles: &[Bundle], in_flight: usize) -> (f64, f64, f64) {
    let mut bare = bare::Bare::new(dir);
    let (mut ratios, mut ours, mut theirs) = (Vec::new(), 0.0, 0.0);
    for turn in bundles.chunks(bundles.len().div_ceil(TURNS)) {
        let bare_s = bare.append(turn, in_flight);
        let start = Instant::now();
        runtime().block_on(put_all(store, turn.iter().cloned(), in_flight));
        let store_s = start.elapsed().as_secs_f64();
        ratios.push(bare_s / store_s);
        ours += store_s;
        theirs += bare_s;
    }
    ratios.sort_by(f64::total_cmp);
    let count = number(bundles.len() as u64);
    (ratios[ratios.len() / 2], count / ours, count / theirs)
}

/// A count as a number to divide.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

fn small(arguments: &Arguments, disk: &str) {
    let dir = tempfile::tempdir_in(&arguments.dir).unwrap();
    let mut mint = Mint::new(7);
    let alone = mint.take(ALONE);
    let size = alone[0].size();
    let (store, _) = Store::open(&dir.path().join("store"), options()).unwrap();
    let (ratio, ours, bare) = against_bare(&store, dir.path(), &alone, 1);
    println!(
        "bench: store.alone_vs_fdatasync {ratio:.2} ({ours:.0}/s against {bare:.0}/s, {size} bytes each, {disk})"
    );
    let burst = mint.take(BURST);
    let before = store.stats().unwrap();
    let (ratio, ours, bare) = against_bare(&store, dir.path(), &burst, IN_FLIGHT);
    let syncs = store.stats().unwrap().syncs - before.syncs;
    println!(
        "bench: store.burst_vs_fdatasync {ratio:.2} ({ours:.0}/s against {bare:.0}/s, {BURST} bundles, {IN_FLIGHT} in flight, {syncs} syncs)"
    );
    drop(burst);
    sustained(&store, &dir.path().join("store/log"), &mut mint);
    store.close().unwrap();
}

/// Processor time and bytes written for many, without what making the bundles costs.
fn sustained(store: &Store, log: &Path, mint: &mut Mint) {
    let (mut cpu, mut bytes, mut wall) = (0.0, 0, 0.0);
    let mut size = 0;
    let log_before = length(log);
    for _ in 0..10 {
        let bundles = mint.take(SUSTAINED / 10);
        size = bundles[0].size();
        let (cpu_before, bytes_before, start) = (cpu_s(), written_bytes(), Instant::now());
        runtime().block_on(put_all(store, bundles.into_iter(), IN_FLIGHT));
        cpu += cpu_s() - cpu_before;
        bytes += written_bytes() - bytes_before;
        wall += start.elapsed().as_secs_f64();
    }
    let count = number(SUSTAINED as u64);
    println!(
        "bench: store.cpu_us {:.0} (of all threads for each of {SUSTAINED} durable puts, {:.0}/s)",
        cpu * 1e6 / count,
        count / wall
    );
    let kib = |bytes: u64| number(bytes) / count / 1024.0;
    println!(
        "bench: store.bytes_per_kib {:.2} (KiB given to the disk for each bundle of {size} bytes, {IN_FLIGHT} in flight; the log grew by {:.2}; for each KiB of bundles {:.2})",
        kib(bytes),
        kib(length(log) - log_before),
        kib(bytes) / (number(size as u64) / 1024.0)
    );
}

/// Bytes of the files in a directory.
fn length(dir: &Path) -> u64 {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

fn main() {
    if process::is_child() {
        return million::child();
    }
    let arguments = arguments();
    std::fs::create_dir_all(&arguments.dir).unwrap();
    let disk = bare::describe(&arguments.dir);
    println!("store bench on {disk}");
    small(&arguments, &disk);
    bodies::compare(&arguments.dir);
    peers::compare(&arguments);
    million::run(&arguments);
}
