//! dtn7's store on sled under the same workload: `peers accept|open DIR COUNT` prints seconds and the resident memory.
//!
//! Only its store is driven, not its daemon, which writes each bundle's metadata several times more.

use std::path::PathBuf;
use std::time::Instant;

use bp7::bundle::new_std_payload_bundle;
use dtn7::CONFIG;
use dtn7::core::store::{BundleStore, SledBundleStore};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, what, dir, count] = arguments.as_slice() else { panic!("peers accept|open DIR COUNT") };
    let count: u64 = count.parse().unwrap();
    CONFIG.lock().workdir = PathBuf::from(dir);
    let seconds = if what == "accept" { accept(count) } else { open(count) };
    println!("{seconds} {}", resident_kib());
}

/// Payloads with which the sealed bundles of the other side have the same size.
const PAYLOAD: usize = 1_200;

fn accept(count: u64) -> f64 {
    let bundle = || {
        new_std_payload_bundle("dtn://a/in".try_into().unwrap(), "dtn://b/in".try_into().unwrap(), vec![5; PAYLOAD])
    };
    let bundles: Vec<_> = (0..count).map(|_| bundle()).collect();
    let mut store = SledBundleStore::new();
    let start = Instant::now();
    for bundle in &bundles {
        store.push(bundle).unwrap();
    }
    assert_eq!(store.count(), count, "bundles with equal ids");
    start.elapsed().as_secs_f64()
}

fn open(count: u64) -> f64 {
    let start = Instant::now();
    let store = SledBundleStore::new();
    // What its daemon reads when it starts.
    assert_eq!(store.bundles().len() as u64, count);
    start.elapsed().as_secs_f64()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
