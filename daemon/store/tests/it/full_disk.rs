//! A full disk: a clear answer, nothing acknowledged is lost, and it goes on once there is room.

use std::path::Path;
use std::process::{Command, Output};

use pigeon_bundle::BundleId;
use pigeon_core::{Catalog, RemovalReason, StoreOp};
use pigeon_store::{Store, StoreError, Transaction};

use crate::child;
use crate::support::{Mint, agree, open, put};

/// Commits until the store is full.
fn fill(store: &Store, mint: &mut Mint) -> (Vec<BundleId>, StoreError) {
    let mut held = Vec::new();
    for number in 0..100_000 {
        let bundle = mint.bundle(0, 0, 20_000).0;
        match store.commit_blocking(put(&bundle, number)) {
            Ok(()) => held.push(bundle.id()),
            Err(error) => return (held, error),
        }
    }
    panic!("the disk never got full");
}

fn all_there(store: &Store, held: &[BundleId]) {
    for id in held {
        assert!(store.bundle(id).unwrap().is_some(), "{id} is gone");
    }
}

/// Fills the disk, makes room with `make_room`, goes on, closes, opens again.
fn fill_and_go_on(dir: &Path, make_room: impl FnOnce()) {
    let dir = dir.join("store");
    let (store, _) = open(&dir);
    let mut mint = Mint::new(21);
    let (mut held, error) = fill(&store, &mut mint);
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert!(held.len() > 20, "full after {}", held.len());
    // It stays clear and readable while full.
    for _ in 0..3 {
        let error = store.commit_blocking(put(&mint.bundle(0, 0, 20_000).0, 1)).unwrap_err();
        assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    }
    make_room();
    let late = mint.bundle(0, 0, 20_000).0;
    store.commit_blocking(put(&late, 1)).unwrap();
    held.push(late.id());
    all_there(&store, &held);
    assert_eq!(agree(&store).len(), held.len(), "something refused is there");
    store.close().unwrap();
    let (store, report) = open(&dir);
    assert!(report.closed_cleanly && report.is_healthy(), "{report}");
    all_there(&store, &held);
    println!("went on");
}

/// On a file system of its own with 24 MiB, of which a ballast takes some.
#[test]
#[ignore = "runs as a child of the test below"]
fn on_a_small_disk() {
    let Some(dir) = std::env::var_os(child::DIR) else { return };
    let dir = Path::new(&dir);
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![1; 8 << 20]).unwrap();
    fill_and_go_on(dir, || std::fs::remove_file(&ballast).unwrap());
}

/// As above, and the room is made by the store itself: removals are taken on a full disk.
#[test]
#[ignore = "runs as a child of the test below"]
fn making_its_own_room() {
    let Some(dir) = std::env::var_os(child::DIR) else { return };
    let (store, _) = open(&Path::new(&dir).join("store"));
    let mut mint = Mint::new(22);
    let (held, error) = fill(&store, &mut mint);
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    let (gone, stay) = held.split_at(held.len() * 4 / 5);
    for id in gone {
        let remove = StoreOp::Remove { id: *id, reason: RemovalReason::Evicted };
        store.commit_blocking(Transaction::of_ops(vec![remove])).unwrap();
    }
    all_there(&store, stay);
    assert_eq!(agree(&store).len(), stay.len());
    println!("went on");
}

/// Under a limit on the length of files, which the log's writes meet: sled fails and is opened again inside.
#[test]
#[ignore = "runs as a child of the test below"]
fn under_a_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Some(dir) = std::env::var_os(child::DIR) else { return };
    fill_and_go_on(Path::new(&dir), || {
        let hard = getrlimit(Resource::Fsize).maximum;
        setrlimit(Resource::Fsize, Rlimit { current: hard, maximum: hard }).unwrap();
    });
}

fn went_on(output: &Output) {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("went on"), "{text}");
}

fn in_a_small_disk(test: &str) {
    let dir = tempfile::tempdir().unwrap();
    // In a namespace of its own, which takes the mount with it when it ends.
    let script = r#"mount -t tmpfs -o size=24m none "$0" && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(dir.path());
    command.args(child::arguments(test)).env(child::DIR, dir.path());
    went_on(&command.output().unwrap());
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    in_a_small_disk("full_disk::on_a_small_disk");
}

#[test]
fn removals_go_through_on_a_full_disk() {
    in_a_small_disk("full_disk::making_its_own_room");
}

#[test]
fn a_write_that_fails_does_not_end_the_store() {
    let dir = tempfile::tempdir().unwrap();
    // An ignored SIGXFSZ makes the write return an error. The unit is 512 bytes or 1 KiB, by the shell.
    let script = r#"trap "" XFSZ; ulimit -S -f 12000; exec "$0" "$@""#;
    let mut command = Command::new("sh");
    command.args(["-c", script]).args(child::arguments("full_disk::under_a_file_limit"));
    command.env(child::DIR, dir.path());
    went_on(&command.output().unwrap());
}
