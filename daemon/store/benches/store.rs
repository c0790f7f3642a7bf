//! Durable submits against a bare append and `fdatasync` of the same bytes in the same groups, on the same disk, in the
//! same run. Prints `bench: NAME VALUE (…)`.
//!
//! `cargo bench -p pigeon-store -- [DIR] [COUNT]`: DIR (default: the current directory) must be on a real disk.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on should stop")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use pigeon_bundle::{Bundle, Card, CardFields, Draft, Epoch, Identity, MailboxSecret, SecretRandom, seal};
use pigeon_core::{Entry, StoreOp};
use pigeon_store::{Store, StoreOptions, Transaction};

const IN_FLIGHT: usize = 64;
const ALONE: usize = 500;
const BURST: usize = 10_000;
/// Times the store and the bare file take turns.
const TURNS: usize = 10;
/// With the seal's own bytes the padded step of 1 KiB.
const CONTENT: usize = 700;
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

struct Numbers(u64);

impl SecretRandom for Numbers {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = self.0.to_be_bytes()[0];
        }
    }
}

fn bundles(count: usize) -> Vec<Bundle> {
    let mut numbers = Numbers(7);
    let author = Identity::generate(&mut numbers);
    let fields = CardFields {
        name: "bench".into(),
        jids: Vec::new(),
        bridges: Vec::new(),
        mailbox_secret: MailboxSecret([1; 32]),
        prekey: [9; 32],
        prekey_expires_s: 0,
        issued_s: 1,
    };
    let card = Card::issue(&Identity::generate(&mut numbers), &fields).unwrap();
    let epoch = Epoch(20_000);
    let mut one = || {
        let draft = Draft {
            recipient: &card,
            content: &[5; CONTENT],
            created_s: Some(epoch.start_s()),
            epoch,
            lifetime_s: 86_400,
            uplink: None,
        };
        seal(&author, &draft, &mut numbers).unwrap().bundle
    };
    (0..count).map(|_| one()).collect()
}

/// Seconds to put bundles into the store, with at most `in_flight` waiting.
async fn into_store(store: &Store, bundles: &[Bundle], in_flight: usize) -> f64 {
    let start = Instant::now();
    let mut waiting = VecDeque::new();
    for bundle in bundles {
        let put = StoreOp::Put { bundle: bundle.clone(), entry: Entry::own(0, None) };
        waiting.push_back(store.commit(Transaction::of_ops(vec![put])));
        if waiting.len() == in_flight
            && let Some(answer) = waiting.pop_front()
        {
            answer.await.unwrap();
        }
    }
    for answer in waiting {
        answer.await.unwrap();
    }
    start.elapsed().as_secs_f64()
}

/// Seconds to append bundles to a bare file, synced after each `group`.
fn into_file(file: &mut File, bundles: &[Bundle], group: usize) -> f64 {
    let start = Instant::now();
    for group in bundles.chunks(group) {
        let bytes: Vec<u8> = group.iter().flat_map(|bundle| bundle.as_bytes().to_vec()).collect();
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
    }
    start.elapsed().as_secs_f64()
}

/// Seconds of (store, bare file) for the same bundles. The two take turns, for the disk's mood changes.
fn compare(store: &Store, dir: &Path, bundles: &[Bundle], in_flight: usize) -> (f64, f64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut file = File::create(dir.join("bare")).unwrap();
    let (mut ours, mut bare) = (0.0, 0.0);
    for turn in bundles.chunks(bundles.len().div_ceil(TURNS)) {
        bare += into_file(&mut file, turn, in_flight);
        ours += runtime.block_on(into_store(store, turn, in_flight));
    }
    (ours, bare)
}

/// Most memory this process has had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let base = arguments.first().map_or(".", String::as_str);
    let burst = arguments.get(1).map_or(BURST, |count| count.parse().unwrap());
    let dir = tempfile::tempdir_in(base).unwrap();
    let kind = rustix::fs::statfs(dir.path()).unwrap().f_type;
    assert_ne!(
        kind, TMPFS_MAGIC,
        "{base} is a tmpfs, where a sync costs nothing: give a directory on a disk"
    );
    let bundles = bundles(ALONE + burst);
    let (alone, burst) = bundles.split_at(ALONE);
    let size = alone[0].size();
    let (store, _) = Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap();
    let rate = |bundles: &[Bundle], seconds: f64| f64::from(u32::try_from(bundles.len()).unwrap()) / seconds;

    let (ours, bare) = compare(&store, dir.path(), alone, 1);
    let text = format!(
        "{:.0}/s against {:.0}/s, {size} bytes each, file system {kind:#x}",
        rate(alone, ours),
        rate(alone, bare)
    );
    println!("bench: store.alone_vs_fdatasync {:.2} ({text})", bare / ours);

    let before = store.stats().unwrap();
    let (ours, bare) = compare(&store, dir.path(), burst, IN_FLIGHT);
    let after = store.stats().unwrap();
    let syncs = after.syncs - before.syncs;
    let text = format!(
        "{:.0}/s against {:.0}/s, {} bundles, {syncs} syncs",
        rate(burst, ours),
        rate(burst, bare),
        burst.len()
    );
    println!("bench: store.burst_vs_fdatasync {:.2} ({text})", bare / ours);
    println!("bench: store.peak_mib {} (bundles made for the bench included)", peak_mib());
    println!(
        "bench: store.disk_per_live {:.1} ({} bytes live)",
        ratio(after.disk_bytes, after.live_bytes),
        after.live_bytes
    );
    store.close().unwrap();

    let start = Instant::now();
    let (store, report) = Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap();
    println!(
        "bench: store.open_s {:.2} ({} bundles, {report})",
        start.elapsed().as_secs_f64(),
        bundles.len()
    );
    store.close().unwrap();
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to.max(1) as f64
}
