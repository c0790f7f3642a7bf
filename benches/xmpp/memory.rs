//! The bridge's memory with a large ledger.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use carrier_pigeon::bridge::config::PickUp;
use carrier_pigeon::bridge::ledger::Ledger;
use carrier_pigeon::bridge::record::{LedgerKey, Record, State};
use futures::future::join_all;
use pigeon_bundle::{BundleId, Commitment, MessageDigest, SecretRandom, VerdictCode};
use pigeon_harness::Kind;
use pigeon_harness::files::temp_dir;
use pigeon_store::StoreOptions;

use crate::process::memory_mib;
use crate::world::{DAY_S, HOST, Person, System, World, bytes_of, now_s};

/// Messages that are written together, as the bridge does under load.
const GROUP: usize = 64;
/// A message of some words, with its route.
const BUNDLE: usize = 1_400;
/// Accounts that write.
const AUTHORS: usize = 1_000;
/// Messages that the bridge takes with its large ledger before it is asked.
const AFTER: usize = 2_000;
const CHILD: &str = "PIGEON_BENCH_FILL";
/// From start to its ledger being checked.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a child of the bench is to do.
pub(crate) struct Task {
    dir: PathBuf,
    entries: usize,
}

/// The task, if this process is a child.
pub(crate) fn task() -> Option<Task> {
    let text = std::env::var(CHILD).ok()?;
    let (entries, dir) = text.split_once(':').unwrap();
    Some(Task { dir: dir.into(), entries: entries.parse().unwrap() })
}

/// Writes accepted messages into a ledger, by the bridge's own code in the bridge's own order, and says how much memory
/// that took.
pub(crate) fn fill(task: &Task) {
    let options = StoreOptions { cache_bytes: 32 << 20, quota_bytes: 8 << 30, ..StoreOptions::DEFAULT };
    let (ledger, _) = Ledger::open(&task.dir, options, PickUp::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for first in (0..task.entries).step_by(GROUP) {
            accept(&ledger, (first..task.entries.min(first + GROUP)).map(entry).collect()).await;
        }
    });
    println!("{}", memory_mib(std::process::id(), "VmHWM:"));
    ledger.close().unwrap();
}

async fn accept(ledger: &Ledger, entries: Vec<(LedgerKey, Record)>) {
    let bundle = Bytes::from_static(&[7; BUNDLE]);
    join_all(entries.iter().map(|(key, record)| ledger.begin(key, record, &bundle))).await;
    let decided = join_all(entries.iter().map(|(key, record)| {
        let state = State::Decided { code: VerdictCode::Accepted, time_s: now_s() };
        ledger.decide(key, &Record { state, ..record.clone() })
    }));
    for written in decided.await {
        written.unwrap();
    }
}

fn entry(number: usize) -> (LedgerKey, Record) {
    let mut random = [0; 96];
    System.fill(&mut random);
    let (parts, _) = random.as_chunks::<32>();
    let (author, recipient) = (format!("author{}@{HOST}", number % AUTHORS), format!("jerry@{HOST}"));
    let record = Record {
        state: State::InDoubt,
        bundle: BundleId(parts[1]),
        commitment: Commitment(parts[2]),
        author: author.clone(),
        recipient: recipient.clone(),
        expires_s: now_s() + 7 * DAY_S + number as u64 % DAY_S,
    };
    (LedgerKey::new(&MessageDigest(parts[0]), &author, &recipient), record)
}

/// Fills a ledger, starts a bridge on it, gives it some work, and prints.
pub(crate) async fn measure(kind: Kind, entries: usize) {
    let dir = temp_dir("pigeon-bench-").unwrap();
    let data = dir.path().join("bridge/data");
    std::fs::create_dir_all(&data).unwrap();
    let started = Instant::now();
    let peak = tokio::task::spawn_blocking(move || run_child(&data.join("ledger"), entries)).await.unwrap();
    let each = started.elapsed().as_secs_f64() * 1e6 / entries as f64;
    println!(
        "bench: xmpp.ledger_fill_mib {peak:.0} (peak of the process that wrote {entries} entries, {each:.0} µs each)"
    );
    let world = World::in_dir(kind, "", dir).await;
    let pid = world.bridge.daemon().pid().unwrap();
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    tokio::time::timeout(PATIENCE, her.register(&elaine.card())).await.unwrap().unwrap();
    let idle = memory_mib(pid, "VmRSS:");
    for _ in 0..AFTER / GROUP {
        let messages: Vec<_> = (0..GROUP).map(|_| bytes_of(&elaine.writes(&jerry, &world.card))).collect();
        for message in &messages {
            her.upload(message).await;
        }
        for _ in &messages {
            assert!(her.verdict(&world.card).await.0.code.is_accepted());
        }
    }
    let (now, peak) = (memory_mib(pid, "VmRSS:"), memory_mib(pid, "VmHWM:"));
    println!(
        "bench: xmpp.bridge_rss_mib {now:.0} (with {entries} entries, after {AFTER} more messages; {idle:.0} after its start, peak {peak:.0})"
    );
}

fn run_child(dir: &Path, entries: usize) -> f64 {
    let exe = std::env::current_exe().unwrap();
    let task = format!("{entries}:{}", dir.display());
    let output = Command::new(exe).env(CHILD, task).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "filling the ledger ended with {}", output.status);
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}
