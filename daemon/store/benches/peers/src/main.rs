//! dtn7 with its store on sled under the same workload: `peers accept|push|open DIR COUNT` prints seconds and the resident
//! memory. `accept` hands each bundle to what its node calls for one that has come in; `push` drives its store alone.

use std::path::PathBuf;
use std::time::Instant;

use bp7::bundle::new_std_payload_bundle;
use bp7::Bundle;
use dtn7::core::processing::receive;
use dtn7::core::store::{BundleStore, SledBundleStore};
use dtn7::{CONFIG, STORE};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, what, dir, count] = arguments.as_slice() else { panic!("peers accept|push|open DIR COUNT") };
    let count: u64 = count.parse().unwrap();
    CONFIG.lock().workdir = PathBuf::from(dir);
    let seconds = match what.as_str() {
        "accept" => accept(count),
        "push" => push(count),
        _ => open(count),
    };
    println!("{seconds} {}", resident_kib());
}

/// Payloads with which the sealed bundles of the other side have the same size.
const PAYLOAD: usize = 1_200;

fn bundles(count: u64) -> Vec<Bundle> {
    let bundle = || {
        new_std_payload_bundle("dtn://a/in".try_into().unwrap(), "dtn://b/in".try_into().unwrap(), vec![5; PAYLOAD])
    };
    (0..count).map(|_| bundle()).collect()
}

fn accept(count: u64) -> f64 {
    let bundles = bundles(count);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        *STORE.lock() = dtn7::core::store::new("sled");
        let start = Instant::now();
        for bundle in bundles {
            receive(bundle).await.unwrap();
        }
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!(STORE.lock().count(), count, "bundles with equal ids");
        seconds
    })
}

fn push(count: u64) -> f64 {
    let bundles = bundles(count);
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
