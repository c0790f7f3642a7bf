//! Power cuts: what a process under load writes is recorded, and the disk as a cut may leave it is built for many
//! moments. The store opens on each, has all that was acknowledged by then, and needs no repair.

mod disk;
mod index;
mod recording;

use std::fs::{File, OpenOptions};
use std::path::Path;

use self::disk::Disk;
use self::recording::{Event, Recorder, What};
use pigeon_store::{Store, StoreOptions};

use crate::child;
use crate::load::{self, Told};
use crate::support::{Mint, Numbers, seed};

/// Cuts of `make test`; `PIGEON_POWER_CUTS` names more.
const CUTS: usize = 100;
/// Transactions of each recorded child.
const TRANSACTIONS: u64 = 200;
/// Where the children say what was acknowledged, beside the store.
const TOLD: &str = "told";
const STORE: &str = "store";

fn cuts() -> usize {
    std::env::var("PIGEON_POWER_CUTS").map_or(CUTS, |cuts| cuts.parse().unwrap())
}

fn told_file(root: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(root.join(TOLD)).unwrap()
}

/// So little of everything that index and log are worked over all the time.
fn frugal() -> StoreOptions {
    StoreOptions { cache_bytes: 0, segment_bytes: 256 << 10, ..StoreOptions::default() }
}

/// Opens, works, and closes if the seed is even; else it ends as if it had been killed.
#[test]
#[ignore = "runs as a recorded child of the test below"]
fn store_under_load() {
    let Some(root) = std::env::var_os(child::DIR) else { return };
    let root = Path::new(&root);
    let seed: u64 = std::env::var("PIGEON_TEST_SEED").unwrap().parse().unwrap();
    let (store, report) = Store::open(&root.join(STORE), frugal()).unwrap();
    assert!(report.is_healthy(), "{report}");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(load::commit(&store, &mut Mint::new(seed), TRANSACTIONS, told_file(root)));
    match seed % 2 {
        0 => store.close().unwrap(),
        _ => std::process::exit(0),
    }
}

/// sled as its manual says: an insert, `flush`, then the answer.
#[test]
#[ignore = "runs as a recorded child of the test below"]
fn plain_sled_under_load() {
    use std::io::Write;
    let Some(root) = std::env::var_os(child::DIR) else { return };
    let root = Path::new(&root);
    let mut numbers = Numbers(std::env::var("PIGEON_TEST_SEED").unwrap().parse().unwrap());
    let db = sled::Config::new().path(root.join(STORE)).flush_every_ms(None).open().unwrap();
    let mut told = told_file(root);
    for _ in 0..TRANSACTIONS {
        let key = numbers.next();
        db.insert(key.to_be_bytes(), vec![1; 1_000]).unwrap();
        db.flush().unwrap();
        told.write_all(format!("{key}\n").as_bytes()).unwrap();
    }
}

/// Plays events up to moments spread at random, and gives each disk with the lines told by then to `check`.
fn at_cuts(events: &[Event], count: usize, numbers: &mut Numbers, check: impl FnMut(usize, &Disk, &str)) {
    let mut moments: Vec<_> = (0..count).map(|_| numbers.below(events.len() as u64 + 1) as usize).collect();
    moments.sort_unstable();
    at_moments(events, &moments, check);
}

/// Plays events up to moments in their order, and gives each disk with the lines told by then to `check`.
fn at_moments(events: &[Event], moments: &[usize], mut check: impl FnMut(usize, &Disk, &str)) {
    let (mut disk, mut told, mut at) = (Disk::new(), Vec::new(), 0);
    for &moment in moments {
        for event in &events[at..moment] {
            disk.apply(event);
            if let (TOLD, What::Write { data, .. }) = (event.path.as_str(), &event.what) {
                told.extend_from_slice(data);
            }
        }
        at = moment;
        check(moment, &disk, std::str::from_utf8(&told).unwrap());
    }
}

/// What was recorded is all that happened: played to its end it gives the directory as it is.
fn check_complete(recorder: &Recorder, events: &[Event]) {
    let mut disk = Disk::new();
    events.iter().for_each(|event| disk.apply(event));
    let image = tempfile::tempdir().unwrap();
    disk.write_whole(image.path());
    same(&recorder.root(), image.path());
}

fn same(left: &Path, right: &Path) {
    let names = |dir: &Path| {
        let mut names: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(left), names(right), "in {}", left.display());
    for name in names(left) {
        let (left, right) = (left.join(&name), right.join(&name));
        if left.is_dir() {
            same(&left, &right);
        } else {
            let equal = std::fs::read(&left).unwrap() == std::fs::read(right).unwrap();
            assert!(equal, "{} was changed by a call that is not recorded", left.display());
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_is_cut() {
    let seed = seed("power cut");
    let mut numbers = Numbers(seed);
    let recorder = Recorder::new();
    // Killed, opened after that, killed, opened and closed: recovery itself is recorded too.
    for odd in [1, 1, 0] {
        recorder.run("powercut::store_under_load", numbers.next() & !1 | odd);
    }
    let events = recorder.events();
    check_complete(&recorder, &events);
    let (mut most, mut rebuilt, mut fates) = (0, 0, numbers.clone());
    at_cuts(&events, cuts(), &mut numbers, |moment, disk, lines| {
        let image = tempfile::tempdir().unwrap();
        disk.write_cut(image.path(), &mut fates);
        let what = format!("cut at event {moment} of {}, seed {seed}", events.len());
        let (store, report) = Store::open(&image.path().join(STORE), frugal()).unwrap();
        assert!(report.is_healthy(), "{what}: {report}");
        rebuilt += usize::from(report.index_rebuilt.is_some());
        let mut told = Told::default();
        for line in lines.lines() {
            told.note(line);
        }
        load::check(&store, &told, &what);
        most = most.max(told.held().count());
    });
    assert!(most > 100, "at no cut was much acknowledged: this test tests nothing");
    eprintln!(
        "{} cuts in {} events, up to {most} bundles acknowledged; sled was not right after {rebuilt}",
        cuts(),
        events.len()
    );
}

/// The same harness finds that `flush` of sled 0.34 promises nothing.
#[test]
fn plain_sled_loses_what_it_acknowledged() {
    let mut numbers = Numbers(seed("power cut of plain sled"));
    let recorder = Recorder::new();
    recorder.run("powercut::plain_sled_under_load", numbers.next());
    let events = recorder.events();
    check_complete(&recorder, &events);
    let mut failed = 0;
    let mut fates = numbers.clone();
    at_cuts(&events, CUTS, &mut numbers, |_, disk, lines| {
        let image = tempfile::tempdir().unwrap();
        disk.write_cut(image.path(), &mut fates);
        let store = image.path().join(STORE);
        // It may panic on what it finds.
        let all = std::thread::spawn(move || {
            let Ok(db) = sled::Config::new().path(store).flush_every_ms(None).open() else { return None };
            Some(db.iter().keys().map_while(Result::ok).collect::<Vec<_>>())
        });
        let there = all.join().ok().flatten();
        let missing = |key: u64| !there.iter().flatten().any(|there| **there == key.to_be_bytes());
        failed += usize::from(lines.lines().any(|line| missing(line.parse().unwrap())));
    });
    eprintln!("{failed} of {CUTS} cuts lost something that plain sled had flushed");
    assert!(failed > CUTS / 4, "only {failed} of {CUTS} cuts lost something: this harness finds nothing");
}
