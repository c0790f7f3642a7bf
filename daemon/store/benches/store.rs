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
/// With the seal's own bytes the padded step of 1 KiB.
const CONTENT: usize = 700;
const TMPFS_MAGIC: i64 = 0x0102_1994;

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

/// Bundles a second into the store, with at most `in_flight` waiting.
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
    rate(bundles.len(), start)
}

/// Bundles a second into a bare file, synced after each `group`.
fn into_file(path: &Path, bundles: &[Bundle], group: usize) -> f64 {
    let mut file = File::create(path).unwrap();
    let start = Instant::now();
    for group in bundles.chunks(group) {
        let bytes: Vec<u8> = group.iter().flat_map(|bundle| bundle.as_bytes().to_vec()).collect();
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
    }
    rate(bundles.len(), start)
}

fn rate(count: usize, start: Instant) -> f64 {
    let count = f64::from(u32::try_from(count).unwrap());
    count / start.elapsed().as_secs_f64()
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let base = arguments.first().map_or(".", String::as_str);
    let burst = arguments.get(1).map_or(BURST, |count| count.parse().unwrap());
    let dir = tempfile::tempdir_in(base).unwrap();
    let kind = rustix::fs::statfs(dir.path()).unwrap().f_type;
    assert_ne!(
        i64::from(kind),
        TMPFS_MAGIC,
        "{base} is a tmpfs, where a sync costs nothing: give a directory on a disk"
    );
    let bundles = bundles(ALONE + burst);
    let (alone, burst) = bundles.split_at(ALONE);
    let size = alone[0].size();
    let (store, _) = Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();

    let bare = into_file(&dir.path().join("bare"), alone, 1);
    let ours = runtime.block_on(into_store(&store, alone, 1));
    let text = format!("{ours:.0}/s against {bare:.0}/s, {size} bytes each, file system {kind:#x}");
    println!("bench: store.alone_vs_fdatasync {:.2} ({text})", ours / bare);

    let bare = into_file(&dir.path().join("bare"), burst, IN_FLIGHT);
    let before = store.stats().unwrap();
    let ours = runtime.block_on(into_store(&store, burst, IN_FLIGHT));
    let after = store.stats().unwrap();
    let syncs = after.syncs - before.syncs;
    let text = format!("{ours:.0}/s against {bare:.0}/s, {} bundles, {syncs} syncs", burst.len());
    println!("bench: store.burst_vs_fdatasync {:.2} ({text})", ours / bare);
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
