//! A million bundles: filling, opening, looking up, deleting.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pigeon_bundle::Bundle;
use pigeon_core::{Catalog, Entry, RemovalReason, StoreOp};
use pigeon_store::{Store, Transaction};

use crate::bundles::Mint;
use crate::process::{child as run_child, cpu_s, peak_mib, resident_mib, task};
use crate::{Arguments, IN_FLIGHT, number, options, put_all, runtime};

/// Puts whose cost is compared, with 10,000 bundles and with all.
const SAMPLE: usize = 20_000;
const SMALL: usize = 10_000;
/// Bundles made at a time, so that those waiting to be put do not count as the store's memory.
const STEP: usize = 1_000;
/// Times each look-up is done.
const LOOKS: usize = 200;
const PAGE: usize = 64;
/// How long the disk may take to be given back.
const GIVE_BACK: Duration = Duration::from_secs(60);

pub(crate) fn run(arguments: &Arguments) {
    let dir = tempfile::tempdir_in(&arguments.dir).unwrap();
    let path = dir.path().join("store");
    for task in ["fill", "open", "delete"] {
        print!("{}", run_child(task, &path, arguments.million));
    }
}

/// What a child of this program does.
pub(crate) fn child() {
    let [task, dir, count] = task().unwrap().try_into().unwrap();
    let (dir, count) = (PathBuf::from(dir), count.parse().unwrap());
    match task.as_str() {
        "fill" => fill(&dir, count),
        "open" => open(&dir, count),
        "delete" => delete(&dir, count),
        "accept" => crate::peers::accept(&dir, count),
        _ => crate::peers::open(&dir, count),
    }
}

fn put(store: &Store, mint: &mut Mint, count: usize) -> (f64, f64) {
    let (mut wall, mut cpu) = (0.0, 0.0);
    for _ in 0..count.div_ceil(STEP) {
        let bundles = mint.take(STEP);
        let (start, before) = (Instant::now(), cpu_s());
        runtime().block_on(put_all(store, bundles.into_iter(), IN_FLIGHT));
        wall += start.elapsed().as_secs_f64();
        cpu += cpu_s() - before;
    }
    (wall, cpu)
}

/// The rest, in transactions of many: each sync takes some more than there are in flight, which saves the disk time that
/// no figure is taken from.
fn put_fast(store: &Store, mint: &mut Mint, count: usize) -> f64 {
    let start = Instant::now();
    for _ in 0..count.div_ceil(STEP) {
        let bundles = mint.take(STEP);
        let put = |bundle: &Bundle| StoreOp::Put { bundle: bundle.clone(), entry: Entry::own(0, None) };
        let puts = bundles
            .chunks(IN_FLIGHT)
            .map(|some| store.commit(Transaction::of_ops(some.iter().map(put).collect())));
        let answers: Vec<_> = puts.collect();
        runtime().block_on(async {
            for answer in answers {
                answer.await.unwrap();
            }
        });
    }
    start.elapsed().as_secs_f64()
}

fn fill(dir: &Path, count: usize) {
    let (store, _) = Store::open(dir, options()).unwrap();
    let mut mint = Mint::new(9);
    put(&store, &mut mint, SMALL);
    let few = put(&store, &mut mint, SAMPLE);
    let middle = put_fast(&store, &mut mint, count - SMALL - 2 * SAMPLE);
    let many = put(&store, &mut mint, SAMPLE);
    let us = |seconds: f64| seconds * 1e6 / number(SAMPLE as u64);
    println!(
        "bench: store.put_1m_vs_10k {:.2} ({:.0} µs for a durable put at {count}, {:.0} at {SMALL}, {IN_FLIGHT} in flight; processor time {:.0} and {:.0} µs)",
        many.0 / few.0,
        us(many.0),
        us(few.0),
        us(many.1),
        us(few.1)
    );
    println!(
        "bench: store.fill_rss_mib {} (most resident memory while filling {count}, {:.0} bundles/s with making them)",
        peak_mib(),
        number(count as u64) / (few.0 + middle + many.0)
    );
    let stats = store.stats().unwrap();
    println!(
        "bench: store.disk_per_live {:.2} (bytes on the disk for each of {} bytes of bundles)",
        number(stats.disk_bytes) / number(stats.live_bytes),
        stats.live_bytes
    );
    store.close().unwrap();
}

fn open(dir: &Path, count: usize) {
    let before = resident_mib();
    let start = Instant::now();
    let (store, report) = Store::open(dir, options()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    println!("bench: store.open_1m_s {seconds:.2} ({count} bundles, {report})");
    println!(
        "bench: store.rss_1m_mib {} (resident after opening, {before} before; at most {} while opening)",
        resident_mib(),
        peak_mib()
    );
    look_ups(&store);
    store.close().unwrap();
}

/// Median microseconds of a look-up.
fn median_us(mut look: impl FnMut(usize)) -> f64 {
    let mut times: Vec<_> = (0..LOOKS)
        .map(|turn| {
            let start = Instant::now();
            look(turn);
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn look_ups(store: &Store) {
    // Every so many: they lie all over the index.
    let mut samples: Vec<Bundle> = Vec::new();
    for turn in 0..LOOKS {
        let mut after = [0; 32];
        after[0] = u8::try_from(turn % 256).unwrap();
        let page = store.page(Some(pigeon_bundle::BundleId(after)), 1).unwrap();
        samples.extend(page.first().and_then(|(id, _)| store.bundle(id).unwrap()));
    }
    let at = |turn: usize| &samples[turn % samples.len()];
    let page = median_us(|_| assert_eq!(store.page(None, PAGE).unwrap().len(), PAGE));
    let id = median_us(|turn| assert!(store.bundle(&at(turn).id()).unwrap().is_some()));
    let tag = median_us(|turn| assert!(!store.by_commitment(&at(turn).commitment()).unwrap().is_empty()));
    let by_tag = median_us(|turn| assert!(!store.by_tag(&at(turn).tag()).unwrap().is_empty()));
    let tagged = store.by_tag(&at(0).tag()).unwrap().len();
    let expiry = median_us(|_| assert_eq!(store.expiring(u64::MAX, PAGE).unwrap().len(), PAGE));
    println!(
        "bench: store.look_up_us {:.0} (slowest median: first page of {PAGE} {page:.0}, bundle by id {id:.0}, by commitment {tag:.0}, {PAGE} by expiry {expiry:.0})",
        page.max(id).max(tag).max(expiry)
    );
    println!("bench: store.by_tag_us {by_tag:.0} (all {tagged} bundles of one tag)");
}

fn delete(dir: &Path, count: usize) {
    let (store, _) = Store::open(dir, options()).unwrap();
    let full = store.stats().unwrap().disk_bytes;
    let start = Instant::now();
    runtime().block_on(delete_all(&store));
    let took = start.elapsed().as_secs_f64();
    assert_eq!(store.usage().unwrap().bundles(), 0);
    let start = Instant::now();
    let mut left = store.stats().unwrap().disk_bytes;
    while left * 20 > full && start.elapsed() < GIVE_BACK {
        std::thread::sleep(Duration::from_millis(200));
        left = store.stats().unwrap().disk_bytes;
    }
    println!(
        "bench: store.left_after_delete {:.3} ({left} of {full} bytes on the disk {:.0} s after the last of {count} removals, which took {took:.0} s)",
        number(left) / number(full),
        start.elapsed().as_secs_f64()
    );
    store.close().unwrap();
}

async fn delete_all(store: &Store) {
    loop {
        let page = store.page(None, 8 * IN_FLIGHT).unwrap();
        if page.is_empty() {
            return;
        }
        let remove = |(id, _): &(pigeon_bundle::BundleId, Entry)| StoreOp::Remove {
            id: *id,
            reason: RemovalReason::Expired,
        };
        let answers: Vec<_> = page
            .chunks(IN_FLIGHT)
            .map(|some| store.commit(Transaction::of_ops(some.iter().map(remove).collect())))
            .collect();
        for answer in answers {
            answer.await.unwrap();
        }
    }
}
