//! Data folders: those of older programs, encryption at rest, and what the raw files show.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use carrier_pigeon::clock::Clock;
use carrier_pigeon::config::{ClockMode, Config, KeyMethod};
use carrier_pigeon::folder::rekey::{Rekeyed, rekey};
use carrier_pigeon::folder::secret::Passphrases;
use carrier_pigeon::folder::{Folder, FolderError};
use carrier_pigeon::random::OsRandom;
use pigeon_bundle::NodeKey;
use pigeon_core::Catalog as _;
use pigeon_store::StoreOptions;
use tempfile::TempDir;
use zeroize::Zeroizing;

#[path = "support/person.rs"]
mod person;
#[path = "support/raw.rs"]
mod raw;

use person::Person;
use raw::shows;

/// What the folders of `tests/fixtures` hold: `tests/fixtures/README.md`.
const IDENTITY: &str = "6826c049e1c18a12a7e82f63815935f5a3f5443b49748667a801321f41ae89ab";
const RECEIVED: [&str; 3] = ["no soup for you", "these pretzels are making me thirsty", "a file"];
const SENT: [&str; 2] = ["the sea was angry that day, my friends", "it moved"];
const CONTACT: &str = "elaine-benes";

/// A data folder that a program of that schema wrote.
fn fixture(schema: u32) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let archive =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/data-schema-{schema}.tar.gz"));
    assert!(
        Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(dir.path()).status().unwrap().success()
    );
    dir
}

fn config(dir: &Path, key: KeyMethod) -> Config {
    let mut config = Config { data_dir: dir.to_owned(), name: "jerry".into(), ..Config::default() };
    config.encryption.key = key;
    config
}

fn passphrases(present: Option<&str>, new: Option<&str>) -> Passphrases {
    let secret = |text: &str| Zeroizing::new(text.to_owned());
    Passphrases { present: present.map(secret), new: new.map(secret) }
}

fn attachment() -> Vec<u8> {
    (0..70_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

/// Opens the folder as the daemon does, and finds everything in it.
async fn holds_all(dir: &TempDir, key: KeyMethod, passphrase: Option<&str>) {
    let (folder, store, report) = tokio::task::block_in_place(|| {
        let folder = Folder::open(&config(dir.path(), key), &passphrases(passphrase, passphrase)).unwrap();
        let (store, report) = folder.store(StoreOptions::default()).unwrap();
        (folder, store, report)
    });
    assert!(report.is_healthy(), "{report}");
    let keys = folder.keys();
    let identity = keys.identity(&mut OsRandom).unwrap();
    keys.seal().unwrap();
    assert_eq!(identity.key().to_string(), IDENTITY);

    // A second folder for what `Person` writes beside the store: the daemon's is checked below.
    let clock = Clock::new(ClockMode::Trusted);
    let elsewhere = tempfile::tempdir().unwrap();
    let person = Person::on_store("jerry", clock, elsewhere, store.clone(), identity).await;
    person.mailbox.upgrade().await.unwrap();
    assert_eq!((person.mailbox.unread(), person.mailbox.waiting().unwrap()), (3, 0));
    let inbox: Vec<String> =
        person.mailbox.inbox(false).unwrap().into_iter().map(|m| m.record.text).collect();
    assert_eq!(inbox, RECEIVED);
    let outbox: Vec<String> = person.outbox().into_iter().map(|m| m.record.text).collect();
    assert_eq!(outbox, SENT);
    assert!(person.mailbox.contacts().iter().any(|contact| contact.card.name() == CONTACT));
    let message = person.mailbox.inbox(false).unwrap().pop().unwrap();
    let file =
        person.mailbox.attachment(&data_encoding::HEXLOWER.encode(&message.record.message_id)).unwrap();
    let files = carrier_pigeon::folder::files::Files::new(dir.path(), store.key());
    let (mut reader, mut content) = (files.open(&file.owner).await.unwrap(), Vec::new());
    while let Some(chunk) = reader.chunk().await.unwrap() {
        content.extend(chunk);
    }
    assert!(content == attachment());

    let usage = store.usage().unwrap();
    assert_eq!((usage.strangers.bundles, store.giver_usage(&NodeKey([9; 32])).unwrap().bundles), (1, 1));
    let carried =
        store.page(None, 64).unwrap().into_iter().find(|(_, entry)| entry.giver.is_some()).unwrap().0;
    assert_eq!(store.takers(&carried).unwrap(), [NodeKey([8; 32])]);
    let tombstone = pigeon_bundle::Reveal([5; 32]).commitment();
    assert!(store.tombstone(&tombstone).unwrap().is_some());
    assert_eq!(store.expiring_tombstones(4_000_000_000, 64).unwrap().last(), Some(&tombstone));
    assert_eq!(store.state("run").unwrap().unwrap(), 77_u64.to_be_bytes());
    drop(person);
    let _ = store.close();
}

/// Whether texts, names or keys are in the folder.
fn tells(dir: &Path) -> Vec<String> {
    let mut secrets: Vec<Vec<u8>> =
        [RECEIVED.as_slice(), &SENT, &[CONTACT]].concat().iter().map(|s| s.as_bytes().to_vec()).collect();
    secrets.push(attachment()[1_000..1_032].to_vec());
    secrets.retain(|secret| secret.len() > 7 && shows(dir, secret));
    secrets.into_iter().map(|secret| String::from_utf8_lossy(&secret).into_owned()).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = raw::files(dir);
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_schema_1_opens_with_everything_in_it() {
    let dir = fixture(1);
    assert_eq!(tells(dir.path()).len(), 6, "the search finds what is in a plain folder");
    holds_all(&dir, KeyMethod::None, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_folder_is_encrypted_and_decrypted_again_and_the_passphrase_changes() {
    let dir = fixture(1);
    let with = |key, present, new| {
        tokio::task::block_in_place(|| rekey(&config(dir.path(), key), &passphrases(present, new)))
    };
    // The daemon's first start with the default.
    holds_all(&dir, KeyMethod::File, None).await;
    assert_eq!(tells(dir.path()), Vec::<String>::new());
    let before = std::fs::read(dir.path().join("keys/identity.key")).unwrap();

    assert_eq!(with(KeyMethod::Passphrase, None, Some("vandelay industries")).unwrap(), Rekeyed::Wrapped);
    assert!(!dir.path().join("keys/store.key").exists());
    holds_all(&dir, KeyMethod::Passphrase, Some("vandelay industries")).await;
    let changed = with(KeyMethod::Passphrase, Some("vandelay industries"), Some("art vandelay"));
    assert_eq!(changed.unwrap(), Rekeyed::Wrapped);
    holds_all(&dir, KeyMethod::Passphrase, Some("art vandelay")).await;
    let after = std::fs::read(dir.path().join("keys/identity.key")).unwrap();
    assert!(before == after, "another passphrase rewrites nothing but the vault");
    assert_eq!(tells(dir.path()), Vec::<String>::new());

    assert_eq!(with(KeyMethod::None, Some("art vandelay"), None).unwrap(), Rekeyed::Decrypted);
    assert_eq!(tells(dir.path()).len(), 6);
    holds_all(&dir, KeyMethod::None, None).await;
    assert_eq!(with(KeyMethod::None, None, None).unwrap(), Rekeyed::Nothing);
}

#[test]
fn a_wrong_passphrase_touches_nothing_and_says_what_to_do() {
    let dir = fixture(1);
    let locked = config(dir.path(), KeyMethod::Passphrase);
    let open = |config: &Config, passphrase: &str| {
        Folder::open(config, &passphrases(Some(passphrase), None)).err().unwrap()
    };
    let made = rekey(&locked, &passphrases(None, Some("vandelay industries"))).unwrap();
    assert_eq!(made, Rekeyed::Encrypted);
    assert_eq!(tells(dir.path()), Vec::<String>::new());
    let contents = |dir: &Path| {
        files(dir).into_iter().map(|f| (f.clone(), std::fs::read(f).unwrap())).collect::<Vec<_>>()
    };
    let before = contents(dir.path());
    let wrong = open(&locked, "vandelay industry");
    assert!(matches!(wrong, FolderError::Wrong { .. }), "{wrong}");
    assert!(wrong.to_string().contains("help: type it again"), "{wrong}");
    let wrong =
        rekey(&config(dir.path(), KeyMethod::None), &passphrases(Some("kramerica"), None)).unwrap_err();
    assert!(matches!(wrong, FolderError::Wrong { .. }), "{wrong}");
    let method = open(&config(dir.path(), KeyMethod::File), "");
    assert!(method.to_string().contains("`pigeon store rekey`"), "{method}");
    assert!(before == contents(dir.path()), "something was written");

    // Without the vault nothing is begun anew over what is there.
    std::fs::rename(dir.path().join("keys/vault"), dir.path().join("keys/elsewhere")).unwrap();
    let gone = open(&locked, "vandelay industries");
    assert!(matches!(gone, FolderError::VaultGone { .. }), "{gone}");
}

#[test]
fn a_folder_has_one_user_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), KeyMethod::File);
    let first = Folder::open(&config, &Passphrases::default()).unwrap();
    let error = Folder::open(&config, &Passphrases::default()).err().unwrap();
    assert!(matches!(error, FolderError::InUse { .. }), "{error}");
    drop(first);
    Folder::open(&config, &Passphrases::default()).unwrap();
}
