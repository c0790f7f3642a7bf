//! Cut and corrupted files: the store opens, says what is missing, and what it still has hangs together.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use pigeon_bundle::BundleId;
use pigeon_core::{Catalog, StoreOp};
use pigeon_store::{RecordOp, RecoveryReport, Store, StoreError, StoreOptions, Table};
use tempfile::TempDir;

use crate::support::{Mint, Numbers, agree, copy_dir, node, open, put, seed};

/// So little memory that much of what was written is in the index already.
fn frugal() -> StoreOptions {
    StoreOptions { cache_bytes: 0, ..StoreOptions::default() }
}

/// The only segment of the log.
fn segment(dir: &Path) -> PathBuf {
    dir.join("log/0000000000000001")
}

/// A store's directory as a crash leaves it, with the ids acknowledged, one transaction each.
fn crashed(mint: &mut Mint, bundles: u64) -> (TempDir, Vec<BundleId>) {
    let (dir, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, _) = Store::open(dir.path(), frugal()).unwrap();
    let mut ids = Vec::new();
    for number in 0..bundles {
        let content = [50, 500, 5_000, 50_000][number as usize % 4];
        let (bundle, reveal) = mint.bundle(number as usize, number as u32 % 3, content);
        let mut transaction = put(&bundle, number);
        transaction.ops.push(StoreOp::AddTaker { id: bundle.id(), taker: node(number) });
        transaction.ops.push(StoreOp::Tombstone { reveal, expires_s: number });
        let record = RecordOp::Put {
            table: Table::Inbox,
            key: number.to_be_bytes().to_vec(),
            value: vec![1; content],
        };
        transaction.records.push(record);
        store.commit_blocking(transaction).unwrap();
        ids.push(bundle.id());
    }
    copy_dir(dir.path(), image.path());
    (image, ids)
}

fn check_opened(store: &Store, report: &RecoveryReport, ids: &[BundleId], what: &str) -> usize {
    let there = agree(store);
    let missing = ids.iter().filter(|id| !there.contains(id)).count();
    assert!(
        missing == 0 || !report.is_healthy(),
        "{what}: {missing} bundles are missing and nothing is said"
    );
    let records = store.records(Table::Inbox, None, usize::MAX).unwrap().len();
    assert!(records == ids.len() || !report.is_healthy(), "{what}: records are missing and nothing is said");
    let bundle = Mint::new(99).small();
    store.commit_blocking(put(&bundle, 1)).unwrap();
    assert!(store.bundle(&bundle.id()).unwrap().is_some());
    missing
}

/// After whatever was repaired, the next opening finds nothing more to do.
fn reopen_healthy(dir: &Path, store: Store, what: &str) {
    store.close().unwrap();
    let (store, report) = open(dir);
    assert!(report.closed_cleanly && report.is_healthy(), "{what}: {report}");
    agree(&store);
}

#[test]
fn a_log_that_lost_its_end_opens_and_says_so() {
    let seed = seed("torn tail");
    let mut mint = Mint::new(seed);
    let (image, ids) = crashed(&mut mint, 60);
    let length = std::fs::metadata(segment(image.path())).unwrap().len();
    let mut lost = 0;
    for round in 0..25 {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(image.path(), dir.path());
        let cut = if round == 0 { 0 } else { mint.numbers.below(length) };
        let log = OpenOptions::new().write(true).open(segment(dir.path())).unwrap();
        log.set_len(cut).unwrap();
        let (store, report) = open(dir.path());
        let what = format!("cut at {cut} of {length}");
        eprintln!("{what}: {report}");
        let missing = check_opened(&store, &report, &ids, &what);
        // One bundle a transaction: the report counts them.
        if report.repairs.is_empty() {
            assert_eq!(report.lost_transactions, missing as u64, "{what}");
        }
        lost += missing;
        reopen_healthy(dir.path(), store, &what);
    }
    assert!(lost > 0, "no cut took anything away: this test tests nothing");
}

#[test]
fn corrupted_bytes_never_take_the_process_down() {
    let seed = seed("corruption");
    let mut mint = Mint::new(seed);
    let (image, ids) = crashed(&mut mint, 60);
    let mut repaired = 0;
    for round in 0..45_u64 {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(image.path(), dir.path());
        let what = format!("round {round}: {}", corrupt(dir.path(), round, &mut mint.numbers));
        let (mut store, mut report) = open(dir.path());
        eprintln!("{what}: {report}");
        // What is in the index already is read from the log only when it is wanted.
        let damage = store.verify().damage;
        if !damage.is_empty() {
            store.close().unwrap();
            (store, report) = open(dir.path());
            eprintln!("then {damage:?}: {report}");
            assert!(!report.is_healthy(), "{what}: {damage:?} and nothing is said");
        }
        check_opened(&store, &report, &ids, &what);
        repaired += usize::from(!report.is_healthy());
        reopen_healthy(dir.path(), store, &what);
    }
    assert!(repaired > 0, "no corruption was found: this test tests nothing");
}

/// Spoils one file of a copy; says how.
fn corrupt(dir: &Path, round: u64, numbers: &mut Numbers) -> String {
    let index = dir.join("index.1");
    let snapshot = std::fs::read_dir(&index).unwrap().map(|entry| entry.unwrap().path());
    let snapshot =
        snapshot.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snap")).last();
    let mut runs: Vec<_> =
        std::fs::read_dir(dir.join("runs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    runs.retain(|path| path.file_name().unwrap() != "spare");
    runs.sort();
    let path = match round % 9 {
        8 => runs[numbers.below(runs.len() as u64) as usize].clone(),
        0 => index.join("conf"),
        1 => snapshot.unwrap_or_else(|| index.join("conf")),
        2 => dir.join("acknowledged"),
        3 | 4 => index.join("db"),
        _ => segment(dir),
    };
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    let mut text = path.file_name().unwrap().to_str().unwrap().to_owned();
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(length);
        let size = [1, 1, 20, 600, 20_000][numbers.below(5) as usize].min(length - at);
        let bytes: Vec<u8> = match numbers.below(3) {
            0 => vec![0; size as usize],
            1 => vec![0xff; size as usize],
            _ => (0..size).map(|_| numbers.next() as u8).collect(),
        };
        file.write_all_at(&bytes, at).unwrap();
        text += &format!(", {size} bytes at {at}");
    }
    text
}

type Change = (Vec<u8>, Option<Vec<u8>>);

fn with(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[kind], parts.concat().as_slice()].concat()
}

/// The keys that follow from one bundle, one tombstone and one giver of a store, by the names of their indexes.
fn derived(store: &Store, id: &BundleId) -> Vec<(Vec<u8>, &'static str)> {
    let bundle = store.bundle(id).unwrap().unwrap();
    let giver = store.page(None, usize::MAX).unwrap().into_iter().find_map(|(_, entry)| entry.giver).unwrap();
    let dead = store.expiring_tombstones(u64::MAX, 1).unwrap()[0];
    vec![
        (with(0x10, &[&giver.0]), "giver"),
        (with(0x11, &[&bundle.tag().0, &id.0]), "tag"),
        (with(0x12, &[&bundle.commitment().0, &id.0]), "commitment"),
        (with(0x13, &[&bundle.expires_s().to_be_bytes(), &id.0]), "expiry"),
        // The first tombstone of `crashed` expires at 0.
        (with(0x14, &[&[0; 8], &dead.0]), "tombstone expiry"),
    ]
}

#[test]
fn derived_keys_that_disagree_are_made_anew() {
    let mut mint = Mint::new(11);
    let (image, ids) = crashed(&mut mint, 12);
    let (store, _) = open(image.path());
    let keys = derived(&store, &ids[1]);
    store.close().unwrap();
    for (key, name) in keys {
        let mut other = key.clone();
        *other.last_mut().unwrap() ^= 1;
        let changes: [Change; 2] =
            [(key, None), (other, Some(vec![0; if name == "giver" { 16 } else { 0 }]))];
        for change in changes {
            let dir = tempfile::tempdir().unwrap();
            copy_dir(image.path(), dir.path());
            Store::write_raw(dir.path(), vec![change]).unwrap();
            let (store, report) = open(dir.path());
            assert!(report.repairs.iter().any(|repair| repair.contains(name)), "{name}: {report}");
            assert_eq!(agree(&store).len(), ids.len());
            reopen_healthy(dir.path(), store, name);
        }
    }
}

#[test]
fn damaged_records_are_dropped_and_counted_and_kept_aside() {
    let mut mint = Mint::new(12);
    let (image, ids) = crashed(&mut mint, 12);
    let (store, _) = open(image.path());
    let dead = store.tombstones(None, 1).unwrap()[0].0;
    store.close().unwrap();
    let changes: [(Vec<u8>, &str); 4] = [
        (with(0x20, &[&ids[2].0]), "1 bundles were dropped: their entry"),
        (with(0x21, &[&ids[2].0]), "1 lists of takers"),
        (with(0x22, &[&dead.0]), "1 damaged tombstones"),
        (with(0x40, &[&ids[2].0]), "1 bundles were dropped: their bytes"),
    ];
    for (key, text) in changes {
        let (dir, kind) = (tempfile::tempdir().unwrap(), key[0]);
        copy_dir(image.path(), dir.path());
        Store::write_raw(dir.path(), vec![(key, Some(vec![9; 700]))]).unwrap();
        let (store, report) = open(dir.path());
        assert!(report.to_string().contains(text), "{kind:#x}: {report}");
        let there = agree(&store).len();
        assert_eq!(there, if matches!(kind, 0x20 | 0x40) { ids.len() - 1 } else { ids.len() });
        let aside = std::fs::read_dir(dir.path()).unwrap().filter(|entry| {
            entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("records.damaged-")
        });
        assert_eq!(aside.count(), 1);
        reopen_healthy(dir.path(), store, text);
    }
}

#[test]
fn damage_met_while_running_is_an_error_and_the_next_opening_repairs_it() {
    let mut mint = Mint::new(13);
    let (image, ids) = crashed(&mut mint, 80);
    let (store, _) = open(image.path());
    let bundle = store.bundle(&ids[3]).unwrap().unwrap();
    store.close().unwrap();
    // The index has the first ones already: a clean opening does not read their bytes, so this is met later.
    let log = std::fs::read(segment(image.path())).unwrap();
    let at = log.windows(64).position(|window| window == &bundle.as_bytes()[100..164]).unwrap();
    let file = OpenOptions::new().write(true).open(segment(image.path())).unwrap();
    file.write_all_at(&[log[at] ^ 1], at as u64).unwrap();
    let (store, report) = open(image.path());
    assert!(report.is_healthy(), "{report}");
    assert!(store.bundle(&ids[3]).unwrap_err().to_string().contains("restart"));
    assert!(store.entry(&ids[3]).unwrap().is_some());
    store.close().unwrap();
    let (store, report) = open(image.path());
    assert!(!report.closed_cleanly && !report.is_healthy(), "{report}");
    assert_eq!(store.bundle(&ids[3]).unwrap(), None);
    assert_eq!(agree(&store).len(), ids.len() - 1);
}

#[test]
fn a_newer_schema_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).0.close().unwrap();
    // What a later program would begin its segments with.
    std::fs::write(dir.path().join("log/0000000000000009"), b"CPseg009\0\0\0\0\0\0\0\x09and more").unwrap();
    for _ in 0..2 {
        let error = Store::open(dir.path(), StoreOptions::default()).err().unwrap();
        assert!(matches!(error, StoreError::NewerSchema { .. }), "{error}");
        assert!(error.to_string().contains("schema 9"), "{error}");
    }
    // Nothing was set aside or made.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 5);
    assert_eq!(std::fs::read_dir(dir.path().join("log")).unwrap().count(), 2);
}

type Spoil = fn(&Path);

/// The index is thrown away, spoilt or too old: the log has everything.
#[test]
fn a_lost_or_spoilt_index_is_made_anew_from_the_log() {
    let mut mint = Mint::new(14);
    let (image, ids) = crashed(&mut mint, 80);
    let ways: [(&str, Spoil); 3] = [
        ("missing", |dir| std::fs::remove_dir_all(dir.join("index.1")).unwrap()),
        ("open", |dir| {
            let db = OpenOptions::new().write(true).open(dir.join("index.1/db")).unwrap();
            let length = db.metadata().unwrap().len() as usize;
            db.write_all_at(&vec![0x55; length], 0).unwrap();
        }),
        ("older", |dir| {
            let db = OpenOptions::new().write(true).open(dir.join("index.1/db")).unwrap();
            db.set_len(0).unwrap();
        }),
    ];
    for (what, spoil) in ways {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(image.path(), dir.path());
        spoil(dir.path());
        let (store, report) = open(dir.path());
        eprintln!("{what}: {report}");
        assert!(report.is_healthy(), "{what}: {report}");
        assert_eq!(agree(&store).len(), ids.len(), "{what}");
        reopen_healthy(dir.path(), store, what);
    }
}
