//! `kill -9` under load, again and again on one directory: nothing acknowledged is missing.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use pigeon_bundle::BundleId;
use pigeon_core::{Catalog, RemovalReason, StoreOp};
use pigeon_store::{RecordOp, Store, Table};

use crate::child;
use crate::support::{Mint, Numbers, agree, node, open, put, seed};

/// Rounds of `make test`; `PIGEON_KILL_ROUNDS` names more.
const ROUNDS: u64 = 20;
/// Transactions the child keeps on their way.
const IN_FLIGHT: usize = 24;

/// Puts bundles, each with a record of the same name and a taker, and removes some again. Prints `held ID` once
/// acknowledged, and `going ID` before a removal is asked for.
#[test]
#[ignore = "runs as a child of the test below"]
fn commits_until_killed() {
    let Some(dir) = std::env::var_os(child::DIR) else { return };
    let seed = std::env::var("PIGEON_TEST_SEED").unwrap().parse().unwrap();
    let (store, _) = open(Path::new(&dir));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(commit_for_ever(&store, seed));
}

async fn commit_for_ever(store: &Store, seed: u64) {
    let mut mint = Mint::new(seed);
    let mut waiting = VecDeque::new();
    let mut held = Vec::new();
    println!("ready");
    loop {
        let content = [40, 40, 40, 3_000, 30_000][mint.numbers.below(5) as usize];
        let (bundle, reveal) = mint.bundle(0, 0, content);
        let id = bundle.id();
        let mut transaction = put(&bundle, mint.numbers.next());
        transaction.ops.push(StoreOp::AddTaker { id, taker: node(4) });
        let record = RecordOp::Put { table: Table::Outbox, key: id.0.to_vec(), value: vec![1; content] };
        transaction.records.push(record);
        if mint.numbers.below(4) == 0 && !held.is_empty() {
            let id: BundleId = held.swap_remove(mint.numbers.below(held.len() as u64) as usize);
            println!("going {id}");
            transaction.ops.push(StoreOp::Remove { id, reason: RemovalReason::Tombstoned });
            transaction.ops.push(StoreOp::Tombstone { reveal, expires_s: 9 });
            transaction.records.push(RecordOp::Delete { table: Table::Outbox, key: id.0.to_vec() });
        }
        waiting.push_back((id, store.commit(transaction)));
        if waiting.len() >= IN_FLIGHT
            && let Some((id, answer)) = waiting.pop_front()
        {
            answer.await.unwrap();
            println!("held {id}");
            std::io::stdout().flush().unwrap();
            held.push(id);
        }
    }
}

/// What the children said: true while a bundle must be there, false once its removal was on its way.
type Told = BTreeMap<BundleId, bool>;

fn run_and_kill(dir: &Path, seed: u64, lines: u64, told: &mut Told) {
    let mut child = child::start("crash::commits_until_killed", dir, seed);
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut left = lines;
    while left > 0 {
        let line = output.next().expect("the child ended by itself").unwrap();
        left -= u64::from(note(&line, told));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it still said before it died counts too; its last line may be cut.
    for line in output.map_while(Result::ok) {
        note(&line, told);
    }
}

fn note(line: &str, told: &mut Told) -> bool {
    let mut words = line.split(' ');
    let (word, id) = (words.next(), words.next().and_then(|id| id.parse().ok()));
    match (word, id) {
        (Some("held"), Some(id)) => told.insert(id, true).is_none(),
        (Some("going"), Some(id)) => told.insert(id, false).is_none(),
        _ => false,
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let seed = seed("crash");
    let mut numbers = Numbers(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut told = Told::new();
    let rounds = std::env::var("PIGEON_KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let lines = 1 + numbers.below(120);
        run_and_kill(dir.path(), numbers.next(), lines, &mut told);
        let (store, report) = open(dir.path());
        assert!(!report.closed_cleanly, "round {round}");
        assert!(report.is_healthy(), "round {round}: {report}");
        agree(&store);
        for (id, _) in told.iter().filter(|(_, held)| **held) {
            assert!(store.bundle(id).unwrap().is_some(), "round {round}: {id} is gone");
            assert!(store.record(Table::Outbox, &id.0).unwrap().is_some(), "round {round}: record of {id}");
            assert_eq!(store.takers(id).unwrap(), [node(4)]);
        }
        // Bundle and record were written together: they are there together, acknowledged or not.
        for (id, _) in store.page(None, usize::MAX).unwrap() {
            assert!(store.record(Table::Outbox, &id.0).unwrap().is_some(), "round {round}: half of {id}");
        }
        let records = store.records(Table::Outbox, None, usize::MAX).unwrap().len() as u64;
        assert_eq!(records, store.usage().unwrap().bundles(), "round {round}");
    }
}
