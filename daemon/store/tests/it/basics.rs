//! Opening, closing, committing, reading.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pigeon_core::action::STATE_VALUE_MAX;
use pigeon_core::{Catalog, RemovalReason, StoreOp};
use pigeon_store::{RECORD_VALUE_MAX, RecordOp, Store, StoreError, StoreOptions, Table, Transaction};

use crate::support::{Mint, entry, node, open, put, wait_until};

fn record(key: &[u8], value: &[u8]) -> RecordOp {
    RecordOp::Put { table: Table::Inbox, key: key.to_vec(), value: value.to_vec() }
}

#[test]
fn a_new_store_says_so_and_a_closed_one_opens_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/by/open");
    let (store, report) = open(&path);
    assert!(report.created && report.is_healthy(), "{report}");
    let bundle = Mint::new(1).large();
    store.commit_blocking(put(&bundle, 3)).unwrap();
    store.close().unwrap();
    let (store, report) = open(&path);
    assert!(!report.created && report.closed_cleanly && report.is_healthy(), "{report}");
    assert_eq!(store.bundle(&bundle.id()).unwrap().as_ref(), Some(&bundle));
    assert_eq!(store.entry(&bundle.id()).unwrap(), Some(entry(3)));
}

#[test]
fn dropping_the_last_clone_closes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let bundle = Mint::new(2).small();
    // Nobody waits for the answer: the write is done all the same.
    drop(store.commit(put(&bundle, 1)));
    drop(store.clone());
    drop(store);
    let (store, report) = open(dir.path());
    assert!(report.closed_cleanly && report.is_healthy(), "{report}");
    assert!(store.bundle(&bundle.id()).unwrap().is_some());
}

#[test]
fn a_closed_store_answers_its_other_clones() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let other = store.clone();
    store.close().unwrap();
    assert!(matches!(other.commit_blocking(Transaction::default()), Err(StoreError::Closed)));
    assert!(other.usage().unwrap_err().to_string().contains("closed"));
    // The directory is free although a clone is left.
    let (_store, report) = open(dir.path());
    assert!(report.closed_cleanly);
    assert!(other.clone().close().is_ok());
}

#[test]
fn two_handles_are_refused_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, _) = open(dir.path());
    let error = Store::open(dir.path(), StoreOptions::default()).err().unwrap();
    assert!(matches!(error, StoreError::InUse { .. }));
    let text = error.to_string();
    assert!(text.contains(dir.path().to_str().unwrap()) && text.contains("stop"), "{text}");
    let pid = std::fs::read_to_string(dir.path().join("lock")).unwrap();
    assert_eq!(pid.trim(), std::process::id().to_string());
}

#[test]
fn records_page_in_the_order_of_their_keys() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    // Keys that are prefixes of each other, and values that only the log has.
    let keys: [&[u8]; 6] = [b"", b"a", b"a\0", b"a\0\0", b"a\x01", b"b"];
    let long = vec![5; 20_000];
    store.commit_blocking(Transaction::of_records(keys.map(|key| record(key, &long)).to_vec())).unwrap();
    let neighbours = [Table::Contact, Table::Outbox].map(|table| RecordOp::Put {
        table,
        key: vec![0xff; 8],
        value: vec![1],
    });
    store.commit_blocking(Transaction::of_records(neighbours.to_vec())).unwrap();
    let mut seen = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = store.records(Table::Inbox, after.as_deref(), 2).unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        assert!(page.iter().all(|(_, value)| *value == long));
        seen.extend(page.into_iter().map(|(key, _)| key));
    }
    assert_eq!(seen, keys.map(<[u8]>::to_vec));
    let ops = vec![record(b"a", b"short"), RecordOp::Delete { table: Table::Inbox, key: b"a\0".to_vec() }];
    store.commit_blocking(Transaction::of_records(ops)).unwrap();
    assert_eq!(store.record(Table::Inbox, b"a").unwrap().as_deref(), Some(&b"short"[..]));
    assert_eq!(store.record(Table::Inbox, b"a\0").unwrap(), None);
    assert_eq!(store.record(Table::Inbox, b"a\0\0").unwrap(), Some(long));
}

#[test]
fn a_transaction_is_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let bundle = Mint::new(3).small();
    let too_long = record(b"k", &vec![0; RECORD_VALUE_MAX + 1]);
    let transaction = Transaction {
        ops: vec![StoreOp::Put { bundle: bundle.clone(), entry: entry(1) }],
        records: vec![record(b"fits", b"x"), too_long],
    };
    // Its neighbours in the same group are not concerned.
    let before = store.commit(Transaction::of_records(vec![record(b"before", b"x")]));
    let bad = store.commit(transaction);
    let after = store.commit(Transaction::of_records(vec![record(b"after", b"x")]));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (before, bad, after) = runtime.block_on(async { (before.await, bad.await, after.await) });
    assert!(matches!(bad, Err(StoreError::TooLarge { .. })));
    before.unwrap();
    after.unwrap();
    assert_eq!(store.bundle(&bundle.id()).unwrap(), None);
    assert_eq!(store.by_tag(&bundle.tag()).unwrap(), []);
    assert_eq!(store.usage().unwrap().bundles(), 0);
    let keys: Vec<_> =
        store.records(Table::Inbox, None, 9).unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [b"after".to_vec(), b"before".to_vec()]);
}

#[test]
fn names_and_values_of_the_state_have_limits() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let set = |key: &str, length| {
        let op = StoreOp::SetState { key: key.into(), value: vec![1; length] };
        store.commit_blocking(Transaction::of_ops(vec![op]))
    };
    set("k", STATE_VALUE_MAX).unwrap();
    assert!(matches!(set("k", STATE_VALUE_MAX + 1), Err(StoreError::TooLarge { .. })));
    assert!(matches!(set(&"k".repeat(129), 1), Err(StoreError::TooLarge { .. })));
    assert_eq!(store.state("k").unwrap().unwrap().len(), STATE_VALUE_MAX);
}

#[test]
fn the_quota_refuses_growth_and_lets_removals_through() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { quota_bytes: 150_000, ..StoreOptions::default() };
    let (store, _) = Store::open(dir.path(), options).unwrap();
    let mut mint = Mint::new(4);
    let (first, second) = (mint.large(), mint.large());
    store.commit_blocking(put(&first, 1)).unwrap();
    let refused = store.commit_blocking(put(&second, 1)).unwrap_err();
    assert!(matches!(refused, StoreError::QuotaExceeded { quota: 150_000, .. }), "{refused}");
    assert!(refused.is_full());
    assert_eq!(store.bundle(&second.id()).unwrap(), None);
    // Room made in the same transaction counts.
    let swap = vec![
        StoreOp::Remove { id: first.id(), reason: RemovalReason::Evicted },
        StoreOp::Put { bundle: second.clone(), entry: entry(1) },
    ];
    store.commit_blocking(Transaction::of_ops(swap)).unwrap();
    assert!(store.bundle(&second.id()).unwrap().is_some());
    let stats = store.stats().unwrap();
    assert_eq!(stats.live_bytes, u64::try_from(second.size()).unwrap());
    assert!(stats.disk_bytes > stats.live_bytes);
}

#[test]
fn the_disk_has_a_quota_of_its_own_and_dead_bytes_are_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let disk_bytes_max = 4 << 20;
    let options =
        StoreOptions { disk_bytes_max, segment_bytes: 256 << 10, cache_bytes: 0, ..StoreOptions::default() };
    let (store, _) = Store::open(dir.path(), options).unwrap();
    let mut mint = Mint::new(15);
    let bundles: Vec<_> = (0..70).map(|_| mint.large()).collect();
    let (mut held, mut full) = (Vec::new(), 0);
    // About twice what the disk may hold, the oldest making room. Those that went come again.
    for (bundle, number) in bundles.iter().chain(&bundles).zip(0..) {
        match store.commit_blocking(put(bundle, number)) {
            Ok(()) => held.push(bundle.id()),
            Err(error) => {
                assert!(matches!(error, StoreError::QuotaExceeded { .. }), "{error}");
                full = store.stats().unwrap().disk_bytes;
                let half = held.drain(..held.len() / 2);
                let remove = half.map(|id| StoreOp::Remove { id, reason: RemovalReason::Evicted }).collect();
                store.commit_blocking(Transaction::of_ops(remove)).unwrap();
                let state = || StoreOp::SetState { key: "room".into(), value: vec![1; number as usize] };
                wait_until(|| store.commit_blocking(Transaction::of_ops(vec![state()])).is_ok());
                store.commit_blocking(put(bundle, number)).unwrap();
                held.push(bundle.id());
            }
        }
    }
    assert!(full > 0, "the disk was never full: this test tests nothing");
    for id in &held {
        assert!(store.bundle(id).unwrap().is_some());
    }
    // With everything gone the disk is given back, without a restart. Room taken ahead is in both figures.
    let remove = held.iter().map(|id| StoreOp::Remove { id: *id, reason: RemovalReason::Evicted }).collect();
    store.commit_blocking(Transaction::of_ops(remove)).unwrap();
    wait_until(|| store.stats().unwrap().disk_bytes < full - disk_bytes_max / 2);
    store.close().unwrap();
    let (store, report) = open(dir.path());
    assert!(report.closed_cleanly && report.is_healthy(), "{report}");
    assert_eq!(store.usage().unwrap().bundles(), 0);
}

#[test]
fn over_its_quota_a_store_still_shrinks() {
    let dir = tempfile::tempdir().unwrap();
    let mut mint = Mint::new(5);
    let bundles = [mint.large(), mint.large()];
    let (store, _) = open(dir.path());
    for bundle in &bundles {
        store.commit_blocking(put(bundle, 1)).unwrap();
    }
    store.close().unwrap();
    let options = StoreOptions { quota_bytes: 1_000, ..StoreOptions::default() };
    let (store, _) = Store::open(dir.path(), options).unwrap();
    let remove = StoreOp::Remove { id: bundles[0].id(), reason: RemovalReason::Evicted };
    store.commit_blocking(Transaction::of_ops(vec![remove])).unwrap();
    let update = StoreOp::Update { id: bundles[1].id(), entry: entry(2) };
    store.commit_blocking(Transaction::of_ops(vec![update])).unwrap();
    assert!(store.commit_blocking(put(&bundles[0], 1)).unwrap_err().is_full());
}

#[test]
fn what_is_not_there_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let bundle = Mint::new(6).small();
    let id = bundle.id();
    let ops = vec![
        StoreOp::Update { id, entry: entry(1) },
        StoreOp::AddTaker { id, taker: node(1) },
        StoreOp::Remove { id, reason: RemovalReason::Expired },
        StoreOp::ForgetTombstone { commitment: bundle.commitment() },
        StoreOp::SetState { key: "none".into(), value: Vec::new() },
    ];
    store.commit_blocking(Transaction::of_ops(ops)).unwrap();
    assert_eq!(store.entry(&id).unwrap(), None);
    assert_eq!(store.takers(&id).unwrap(), []);
    assert_eq!(store.stats().unwrap().transactions, 0);
}

#[test]
fn a_group_shares_one_sync_and_every_answer_comes_after_one() {
    let dir = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let (gate, entered) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let sync = {
        let (syncs, gate, entered) = (Arc::clone(&syncs), Arc::clone(&gate), Arc::clone(&entered));
        move |file: &File| {
            syncs.fetch_add(1, Ordering::SeqCst);
            entered.store(true, Ordering::SeqCst);
            wait_until(|| gate.load(Ordering::SeqCst));
            file.sync_data()
        }
    };
    let (store, _) = Store::open_with(dir.path(), StoreOptions::default(), Arc::new(sync)).unwrap();
    let at_open = syncs.load(Ordering::SeqCst);
    // The first transaction is held in its sync; 63 more arrive meanwhile and share the next one.
    gate.store(false, Ordering::SeqCst);
    entered.store(false, Ordering::SeqCst);
    let mut mint = Mint::new(7);
    let mut answers = vec![by_hand::Answer::new(store.commit(put(&mint.small(), 0)))];
    wait_until(|| entered.load(Ordering::SeqCst));
    answers.extend((1..64).map(|number| by_hand::Answer::new(store.commit(put(&mint.small(), number)))));
    assert!(answers.iter_mut().all(|answer| !answer.is_ready()), "acknowledged before the sync");
    gate.store(true, Ordering::SeqCst);
    for answer in answers {
        answer.wait().unwrap();
    }
    assert_eq!(syncs.load(Ordering::SeqCst) - at_open, 2);
    assert_eq!(store.stats().unwrap().syncs, 2);
    assert_eq!(store.usage().unwrap().bundles(), 64);
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_until_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let fail = Arc::new(AtomicBool::new(false));
    let sync = {
        let fail = Arc::clone(&fail);
        move |file: &File| match fail.load(Ordering::SeqCst) {
            true => Err(io::Error::other("injected")),
            false => file.sync_data(),
        }
    };
    let (store, _) = Store::open_with(dir.path(), StoreOptions::default(), Arc::new(sync)).unwrap();
    let mut mint = Mint::new(8);
    let first = mint.small();
    store.commit_blocking(put(&first, 1)).unwrap();
    fail.store(true, Ordering::SeqCst);
    let refused = store.commit_blocking(put(&mint.small(), 2)).unwrap_err();
    assert!(matches!(&refused, StoreError::SyncFailed { detail, .. } if detail == "injected"), "{refused}");
    // The kernel may report a lost write only once: a later success proves nothing.
    fail.store(false, Ordering::SeqCst);
    let refused = store.commit_blocking(put(&mint.small(), 3)).unwrap_err();
    assert!(matches!(refused, StoreError::SyncFailed { .. }));
    assert!(store.bundle(&first.id()).unwrap().is_some());
    store.close().unwrap();
    let (store, report) = open(dir.path());
    assert!(!report.closed_cleanly && report.lost_transactions == 0, "{report}");
    assert!(store.bundle(&first.id()).unwrap().is_some());
    store.commit_blocking(put(&mint.small(), 4)).unwrap();
}

/// Polling an answer by hand, without a runtime.
mod by_hand {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use pigeon_store::StoreError;

    type Output = Result<(), StoreError>;

    pub(super) struct Answer {
        future: Pin<Box<dyn Future<Output = Output>>>,
        done: Option<Output>,
    }

    impl Answer {
        pub(super) fn new(future: impl Future<Output = Output> + 'static) -> Self {
            Self { future: Box::pin(future), done: None }
        }

        pub(super) fn is_ready(&mut self) -> bool {
            if self.done.is_none()
                && let Poll::Ready(output) =
                    self.future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                self.done = Some(output);
            }
            self.done.is_some()
        }

        pub(super) fn wait(mut self) -> Output {
            crate::support::wait_until(|| self.is_ready());
            self.done.unwrap()
        }
    }
}
