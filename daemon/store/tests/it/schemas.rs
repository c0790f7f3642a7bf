//! Stores written by earlier programs.

use std::path::Path;

use pigeon_core::Catalog;
use pigeon_store::{Store, StoreOptions, Table};

use crate::support::{Mint, agree, copy_dir, node, open};

/// The entries of a sled database: lengths of key and value (u32), key, value.
fn make_sled(path: &Path, mut entries: &[u8]) {
    let db = sled::Config::new().path(path).flush_every_ms(None).open().unwrap();
    while let Some((head, rest)) = entries.split_first_chunk::<8>() {
        let length = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap()) as usize;
        let (key, rest) = rest.split_at(length(0));
        let (value, rest) = rest.split_at(length(4));
        db.insert(key, value).unwrap();
        entries = rest;
    }
    db.flush().unwrap();
}

/// Written by the last program that had schema 1: nine bundles of seed 1001 with takers, tombstones, records, state.
const SCHEMA_1: &[u8] = include_bytes!("../fixtures/schema-1.entries");

/// What both fixtures hold: bundles of seed 1001 with takers, tombstones and records, and one long state.
fn check_contents(store: &Store, count: u64, state: usize) {
    let mut mint = Mint::new(1001);
    assert_eq!(agree(store).len() as u64, count);
    for number in 0..count {
        let content = if number < 9 { [50, 500, 9_000][number as usize % 3] } else { 50 };
        let (bundle, reveal) = mint.bundle(number as usize, number as u32 % 3, content);
        assert_eq!(store.bundle(&bundle.id()).unwrap().as_ref(), Some(&bundle));
        assert_eq!(store.takers(&bundle.id()).unwrap(), [node(number)]);
        assert_eq!(store.tombstone(&reveal.commitment()).unwrap(), Some(reveal));
        let record = store.record(Table::Inbox, &number.to_be_bytes()).unwrap();
        assert_eq!(record, Some(vec![1; content]));
    }
    assert_eq!(store.state("key 2").unwrap(), Some(vec![7; state]));
    assert_eq!(store.stats().unwrap().transactions, count);
}

fn check_schema_1(store: &Store) {
    check_contents(store, 9, 32_000 % 9_000);
}

#[test]
fn schema_1_is_moved_into_a_log() {
    let dir = tempfile::tempdir().unwrap();
    make_sled(&dir.path().join("sled"), SCHEMA_1);
    // A crash in the middle of an earlier attempt left these.
    std::fs::create_dir(dir.path().join("log")).unwrap();
    std::fs::write(dir.path().join("log/0000000000000001"), b"half").unwrap();
    std::fs::create_dir(dir.path().join("index.1")).unwrap();
    let (store, report) = open(dir.path());
    assert!(report.is_healthy() && report.migrated_from == Some(1), "{report}");
    check_schema_1(&store);
    store.close().unwrap();
    assert!(!dir.path().join("sled").exists());
    let (store, report) = open(dir.path());
    assert!(report.is_healthy() && report.closed_cleanly && report.migrated_from.is_none(), "{report}");
    check_schema_1(&store);
}

#[test]
fn a_later_schema_in_the_old_place_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sled");
    make_sled(&path, SCHEMA_1);
    let key = [0, b'v'];
    let mut hasher = crc32fast::Hasher::new();
    for part in [&2_u32.to_be_bytes()[..], &key, &4_u32.to_be_bytes(), &9_u32.to_be_bytes()] {
        hasher.update(part);
    }
    let head =
        [&[1], &hasher.finalize().to_be_bytes()[..], &4_u32.to_be_bytes(), &9_u32.to_be_bytes()].concat();
    let entry = [&2_u32.to_be_bytes()[..], &13_u32.to_be_bytes(), &key, &head].concat();
    crate::support::wait_until(|| std::panic::catch_unwind(|| make_sled(&path, &entry)).is_ok());
    let error = Store::open(dir.path(), StoreOptions::default()).err().unwrap();
    assert!(error.to_string().contains("schema 9"), "{error}");
    assert!(path.join("db").exists());
}

/// A store of schema 2 whose index has all blocks in sled: sixty bundles of seed 1001, closed. Written by the last program
/// that had such an index.
#[test]
fn an_index_of_the_former_form_is_made_anew_without_a_loss() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schema-2");
    copy_dir(&fixture, dir.path());
    let (store, report) = open(dir.path());
    assert!(report.is_healthy() && report.lost_transactions == 0, "{report}");
    assert_eq!(report.index_rebuilt, Some("it had an earlier form"), "{report}");
    let check = |store: &Store| check_contents(store, 60, 300);
    check(&store);
    store.close().unwrap();
    let (store, report) = open(dir.path());
    assert!(report.is_healthy() && report.closed_cleanly && report.index_rebuilt.is_none(), "{report}");
    check(&store);
}
