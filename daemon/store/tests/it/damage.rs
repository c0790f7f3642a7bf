//! Cut and corrupted files: the store opens, says what is missing, and what it still has hangs together.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use pigeon_bundle::BundleId;
use pigeon_core::{Catalog, StoreOp};
use pigeon_store::{RecordOp, RecoveryReport, Store, StoreError, StoreOptions, Table};
use tempfile::TempDir;

use crate::support::{Mint, Numbers, agree, copy_dir, node, open, put, seed, wait_until};

/// A store's directory as a crash leaves it, with the ids acknowledged, one transaction each.
fn crashed(mint: &mut Mint, bundles: u64) -> (TempDir, Vec<BundleId>) {
    let (dir, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, _) = open(dir.path());
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
    let length = std::fs::metadata(image.path().join("sled/db")).unwrap().len();
    let mut lost = 0;
    for round in 0..25 {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(image.path(), dir.path());
        let cut = if round == 0 { 0 } else { mint.numbers.below(length) };
        let log = OpenOptions::new().write(true).open(dir.path().join("sled/db")).unwrap();
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
    for round in 0..40_u64 {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(image.path(), dir.path());
        let what = format!("round {round}: {}", corrupt(dir.path(), round, &mut mint.numbers));
        let (store, report) = open(dir.path());
        eprintln!("{what}: {report}");
        check_opened(&store, &report, &ids, &what);
        repaired += usize::from(!report.is_healthy());
        reopen_healthy(dir.path(), store, &what);
    }
    assert!(repaired > 0, "no corruption was found: this test tests nothing");
}

/// Spoils one file of a copy; says how.
fn corrupt(dir: &Path, round: u64, numbers: &mut Numbers) -> String {
    let sled = dir.join("sled");
    let snapshot = std::fs::read_dir(&sled).unwrap().map(|entry| entry.unwrap().path());
    let snapshot =
        snapshot.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snap")).last();
    let path = match round % 8 {
        0 => sled.join("conf"),
        1 => snapshot.unwrap_or_else(|| sled.join("conf")),
        2 => dir.join("acknowledged"),
        _ => sled.join("db"),
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

/// Changes single entries behind the store's back.
fn tamper(dir: &Path, change: impl FnOnce(&sled::Db)) {
    // sled's threads may hold its lock a moment longer than the store that used it.
    let mut opened = None;
    wait_until(|| {
        opened = sled::Config::new().path(dir.join("sled")).flush_every_ms(None).open().ok();
        opened.is_some()
    });
    let db = opened.unwrap();
    change(&db);
    db.flush().unwrap();
}

fn first_key(db: &sled::Db, kind: u8) -> sled::IVec {
    db.scan_prefix([kind]).keys().next().unwrap().unwrap()
}

type Change = fn(&sled::Db);

#[test]
fn derived_keys_that_disagree_are_made_anew() {
    let mut mint = Mint::new(11);
    let (image, ids) = crashed(&mut mint, 12);
    open(image.path()).0.close().unwrap();
    let lost: [(u8, &str); 5] =
        [(0x10, "giver"), (0x11, "tag"), (0x12, "commitment"), (0x13, "expiry"), (0x14, "tombstone expiry")];
    for (kind, name) in lost {
        let changes: [Change; 2] = [
            |db| drop(db.remove(first_key(db, db.get([0xfe]).unwrap().unwrap()[0])).unwrap()),
            |db| {
                let kind = db.get([0xfe]).unwrap().unwrap()[0];
                let mut key = first_key(db, kind).to_vec();
                let value = db.get(&key).unwrap().unwrap();
                *key.last_mut().unwrap() ^= 1;
                db.insert(key, value).unwrap();
            },
        ];
        for change in changes {
            let dir = tempfile::tempdir().unwrap();
            copy_dir(image.path(), dir.path());
            tamper(dir.path(), |db| {
                db.insert([0xfe], vec![kind]).unwrap();
                change(db);
                db.remove([0xfe]).unwrap();
            });
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
    let flips: [(u8, &str); 6] = [
        (0x20, "1 bundles were dropped: their entry"),
        (0x21, "1 lists of takers"),
        (0x22, "1 damaged tombstones"),
        (0x30, "1 damaged records"),
        (0x40, "1 bundles were dropped: their bytes"),
        (0x50, "bundles were dropped: their bytes"),
    ];
    for (kind, text) in flips {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(image.path(), dir.path());
        tamper(dir.path(), |db| {
            // Of the long values take a body's chunk, not a record's.
            let key = match kind {
                0x50 => db.scan_prefix([0x50, 0, 33, 0x40]).keys().next().unwrap().unwrap(),
                kind => first_key(db, kind),
            };
            let mut value = db.get(&key).unwrap().unwrap().to_vec();
            *value.last_mut().unwrap() ^= 1;
            db.insert(key, value).unwrap();
        });
        let (store, report) = open(dir.path());
        assert!(report.to_string().contains(text), "{kind:#x}: {report}");
        let there = agree(&store).len();
        assert_eq!(there, if matches!(kind, 0x20 | 0x40 | 0x50) { ids.len() - 1 } else { ids.len() });
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
    let (image, ids) = crashed(&mut mint, 12);
    open(image.path()).0.close().unwrap();
    // Closed cleanly: the next opening does not read bodies, so this one is met later.
    tamper(image.path(), |db| {
        let key = [&[0x40], ids[3].0.as_slice()].concat();
        db.insert(key, vec![1, 2, 3]).unwrap();
    });
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
    // What a later program would write: the same value layout with a higher number.
    tamper(dir.path(), |db| {
        let mut value = db.get([0, b'v']).unwrap().unwrap().to_vec();
        let end = value.len();
        value[end - 1] = 9;
        let checksum = {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&2_u32.to_be_bytes());
            hasher.update(&[0, b'v']);
            hasher.update(&4_u32.to_be_bytes());
            hasher.update(&value[9..]);
            hasher.finalize()
        };
        value[1..5].copy_from_slice(&checksum.to_be_bytes());
        db.insert([0, b'v'], value).unwrap();
    });
    let error = Store::open(dir.path(), StoreOptions::default()).err().unwrap();
    assert!(error.to_string().contains("schema 9"), "{error}");
    // Nothing was set aside, and the directory is free again.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    assert!(matches!(Store::open(dir.path(), StoreOptions::default()), Err(StoreError::NewerSchema { .. })));
}
