//! Encryption at rest: what the raw files show, and which key opens them.

use std::path::Path;

use pigeon_core::{Catalog, StoreOp};
use pigeon_store::{
    RECORD_KEY_MAX, RECORD_VALUE_MAX, RecordOp, Store, StoreError, StoreOptions, Table, Transaction,
};

use crate::support::{Mint, key, open, open_sealed, put};

const TEXT: &[u8] = b"these pretzels are making me thirsty";
const NAME: &[u8] = b"elaine@example.org";

/// Whether the bytes are in any file below `dir`.
fn shows(dir: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return shows(&path, bytes);
        }
        std::fs::read(path).unwrap().windows(bytes.len()).any(|window| window == bytes)
    })
}

fn set(table: Table, key: &[u8], value: &[u8]) -> RecordOp {
    RecordOp::Put { table, key: key.to_vec(), value: value.to_vec() }
}

/// Names in keys and values, texts, state values; written, replaced, deleted.
fn write(store: &Store) {
    let records = vec![
        set(Table::Contact, NAME, b"a card"),
        set(Table::Inbox, b"m\0\0\0\0\0\0\0\x01", TEXT),
        set(Table::Meta, b"bridge:elaine@example.org", b"pinned"),
        set(Table::Outbox, b"m\0\0\0\0\0\0\0\x01", &TEXT.repeat(1_000)),
    ];
    let ops = vec![StoreOp::SetState { key: "quality".into(), value: NAME.to_vec() }];
    store.commit_blocking(Transaction { ops, records }).unwrap();
    let delete = RecordOp::Delete { table: Table::Inbox, key: b"m\0\0\0\0\0\0\0\x01".to_vec() };
    store.commit_blocking(Transaction::of_records(vec![delete])).unwrap();
}

fn holds_all(store: &Store) {
    assert_eq!(store.record(Table::Contact, NAME).unwrap().unwrap(), b"a card");
    assert_eq!(store.records(Table::Inbox, None, 9).unwrap(), []);
    let outbox = store.records(Table::Outbox, Some(b"m"), 9).unwrap();
    assert_eq!(outbox, [(b"m\0\0\0\0\0\0\0\x01".to_vec(), TEXT.repeat(1_000))]);
    assert_eq!(store.records(Table::Meta, Some(b"bridge:"), 9).unwrap().len(), 1);
    assert_eq!(store.state("quality").unwrap().unwrap(), NAME);
}

#[test]
fn the_raw_files_of_a_sealed_store_show_nothing_and_those_of_a_plain_one_do() {
    let (plain_dir, sealed_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (plain, _) = open(plain_dir.path());
    let (sealed, _) = open_sealed(sealed_dir.path(), 1);
    for store in [&plain, &sealed] {
        write(store);
        holds_all(store);
    }
    for bytes in [TEXT, NAME] {
        assert!(shows(plain_dir.path(), bytes), "the search finds nothing at all");
        assert!(!shows(sealed_dir.path(), bytes));
    }
    sealed.close().unwrap();
    let (sealed, report) = open_sealed(sealed_dir.path(), 1);
    assert!(report.is_healthy(), "{report}");
    holds_all(&sealed);
}

#[test]
fn a_store_opens_with_its_own_key_only_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_sealed(dir.path(), 1);
    write(&store);
    store.close().unwrap();
    let with = |byte| Store::open_sealed(dir.path(), StoreOptions::default(), key(byte)).err().unwrap();
    let plainly = Store::open(dir.path(), StoreOptions::default()).err().unwrap();
    assert!(matches!(plainly, StoreError::Sealed { .. }), "{plainly}");
    assert!(matches!(with(2), StoreError::WrongKey { .. }));
    holds_all(&open_sealed(dir.path(), 1).0);

    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    write(&store);
    store.close().unwrap();
    let error = Store::open_sealed(dir.path(), StoreOptions::default(), key(1)).err().unwrap();
    assert!(matches!(error, StoreError::Plain { .. }), "{error}");
    holds_all(&open(dir.path()).0);
}

#[test]
fn a_copy_holds_everything_under_its_own_key_and_nothing_else() {
    let dirs: [_; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let (plain, _) = open(dirs[0].path());
    let (sealed, _) = open_sealed(dirs[1].path(), 1);
    let (back, _) = open(dirs[2].path());
    write(&plain);
    let bundle = Mint::new(1).bundle(0, 0, 40_000).0;
    plain.commit_blocking(put(&bundle, 3)).unwrap();
    for (from, to) in [(&plain, &sealed), (&sealed, &back)] {
        let copied = from.copy_into(to).unwrap();
        assert_eq!((copied.bundles, copied.records), (1, 3));
        holds_all(to);
        assert_eq!(to.bundle(&bundle.id()).unwrap(), Some(bundle.clone()));
        assert_eq!(to.stats().unwrap().usage, from.stats().unwrap().usage);
    }
    assert!(!shows(dirs[1].path(), TEXT) && !shows(dirs[1].path(), NAME));
    assert!(shows(dirs[2].path(), NAME));
}

#[test]
fn the_largest_record_fits_and_larger_ones_are_refused() {
    for sealed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = if sealed { open_sealed(dir.path(), 1).0 } else { open(dir.path()).0 };
        let commit = |op| store.commit_blocking(Transaction::of_records(vec![op]));
        let key = [7; RECORD_KEY_MAX];
        commit(set(Table::Contact, &key, &vec![1; RECORD_VALUE_MAX])).unwrap();
        assert_eq!(store.record(Table::Contact, &key).unwrap().unwrap().len(), RECORD_VALUE_MAX);
        let long_value = commit(set(Table::Contact, &key, &vec![1; RECORD_VALUE_MAX + 1]));
        let long_key = commit(set(Table::Contact, &[7; RECORD_KEY_MAX + 1], b""));
        for refused in [long_value, long_key] {
            assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
        }
    }
}
