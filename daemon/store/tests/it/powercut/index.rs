//! Power cuts while the index is written: at every step of checkpoints, merges and the copy that leaves out what is gone.

use std::path::Path;

use pigeon_store::{RecordOp, Store, Table, Transaction};

use super::recording::{Event, Recorder, What};
use super::{STORE, at_moments, check_complete, cuts, frugal, told_file};
use crate::child;
use crate::support::{Numbers, seed};

/// Transactions of the recorded child, and records of each: some forty checkpoints.
const TRANSACTIONS: u64 = 120;
const RECORDS: u64 = 40;
/// The last transactions take away what was written first, so that much is gone.
const REMOVALS: u64 = 100;
/// Of so many cuts elsewhere, how many here: at least the steps of one merge with the checkpoints around it.
const SHARE: (usize, usize) = (3, 5);

fn key(number: u64) -> Vec<u8> {
    // All over the index.
    Numbers(number).next().to_be_bytes().to_vec()
}

fn value(number: u64) -> Vec<u8> {
    vec![number as u8; 200 + number as usize % 100]
}

/// Writes and removes records, one after the other; says how many transactions are acknowledged.
#[test]
#[ignore = "runs as a recorded child of the test below"]
fn index_under_load() {
    use std::io::Write;
    let Some(root) = std::env::var_os(child::DIR) else { return };
    let root = Path::new(&root);
    let (store, _) = Store::open(&root.join(STORE), frugal()).unwrap();
    let mut told = told_file(root);
    for number in 0..TRANSACTIONS + REMOVALS {
        store.commit_blocking(Transaction::of_records(transaction(number))).unwrap();
        told.write_all(format!("{}\n", number + 1).as_bytes()).unwrap();
    }
    store.close().unwrap();
}

fn transaction(number: u64) -> Vec<RecordOp> {
    let table = Table::Outbox;
    let names = |number: u64| number * RECORDS..(number + 1) * RECORDS;
    match number.checked_sub(TRANSACTIONS) {
        None => {
            names(number).map(|name| RecordOp::Put { table, key: key(name), value: value(name) }).collect()
        }
        Some(number) => names(number).map(|name| RecordOp::Delete { table, key: key(name) }).collect(),
    }
}

/// The store has what so many transactions leave, and perhaps one more, which was on its way.
fn check(store: &Store, acknowledged: u64, what: &str) {
    let records = store.records(Table::Outbox, None, usize::MAX).unwrap();
    let left = |transactions: u64| {
        let written = transactions.min(TRANSACTIONS) * RECORDS;
        let removed = transactions.saturating_sub(TRANSACTIONS) * RECORDS;
        let mut left: Vec<_> = (removed..written).map(|name| (key(name), value(name))).collect();
        left.sort();
        left
    };
    let is_right =
        [acknowledged, acknowledged + 1].into_iter().any(|transactions| left(transactions) == records);
    assert!(is_right, "{what}: {} records after {acknowledged} transactions", records.len());
}

/// What happens to the index: not the log, whose cuts another test makes.
fn is_step(event: &Event) -> bool {
    let path = event.path.as_str();
    let big = matches!(&event.what, What::Write { .. }) && path.ends_with("/db");
    (path.contains("/runs") || path.contains("/index.")) && !big
}

#[test]
fn every_step_of_writing_the_index_may_be_the_last() {
    let seed = seed("cuts in the index");
    let mut fates = Numbers(seed);
    let recorder = Recorder::new();
    recorder.run("powercut::index::index_under_load", 0);
    let events = recorder.events();
    check_complete(&recorder, &events);
    let renamed = |name: &str| {
        let ends = |event: &&Event| matches!(event.what, What::Rename { .. }) && event.path.ends_with(name);
        events.iter().filter(ends).count()
    };
    assert!(
        renamed("/spare") > 12 && renamed("/merging") > 2,
        "{} {}",
        renamed("/spare"),
        renamed("/merging")
    );
    // Around some merge, before and after each thing that is done; in the long run around all.
    let steps: Vec<usize> =
        (0..events.len()).filter(|at| is_step(&events[*at])).flat_map(|at| [at, at + 1]).collect();
    let merges: Vec<usize> = (0..steps.len())
        .filter(|at| events[steps[*at].min(events.len() - 1)].path.ends_with("/merging"))
        .collect();
    let middle = merges[fates.below(merges.len() as u64) as usize];
    let count = cuts() * SHARE.0 / SHARE.1;
    let from = middle.saturating_sub(count / 2);
    let mut moments = steps[from..steps.len().min(from + count)].to_vec();
    moments.dedup();
    let mut rebuilt = 0;
    at_moments(&events, &moments, |moment, disk, lines| {
        let image = tempfile::tempdir().unwrap();
        disk.write_cut(image.path(), &mut fates);
        let what = format!("cut at event {moment} of {}, seed {seed}", events.len());
        let (store, report) = Store::open(&image.path().join(STORE), frugal()).unwrap();
        assert!(report.is_healthy(), "{what}: {report}");
        rebuilt += usize::from(report.index_rebuilt.is_some());
        let acknowledged = lines.lines().last().map_or(0, |line| line.parse().unwrap());
        check(&store, acknowledged, &what);
    });
    eprintln!(
        "{} cuts in {} steps of {} checkpoints and {} merges; sled was not right after {rebuilt}",
        moments.len(),
        steps.len(),
        renamed("/spare"),
        renamed("/merging")
    );
}
