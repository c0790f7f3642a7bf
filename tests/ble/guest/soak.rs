//! Long runs, for `make soak-ble`: not part of `make test`.

use std::time::{Duration, Instant};

use pigeon_harness::ble::Air;
use pigeon_harness::files::temp_dir;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::attachment::five_cuts;
use super::contacts::{Held, contacts};
use super::nodes;
use super::phases::cuts;
use crate::support::{messages, send, until};

const SEED: u64 = 0xB1E_50A;

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
#[ignore = "runs in the Bluetooth guest, for long"]
fn contacts_by_the_thousand() {
    contacts(usize::try_from(setting("PIGEON_BLE_CONTACTS", 1_000)).unwrap());
}

#[test]
#[ignore = "runs in the Bluetooth guest, for long"]
fn ten_megabytes_and_five_cuts() {
    five_cuts(usize::try_from(setting("PIGEON_BLE_ATTACHMENT", 10 << 20)).unwrap());
}

#[test]
#[ignore = "runs in the Bluetooth guest, for long"]
fn a_cut_after_every_packet() {
    cuts(u32::try_from(setting("PIGEON_BLE_STEP", 1)).unwrap());
}

/// Four nodes that come and go at random, each sending to a random other one.
#[test]
#[ignore = "runs in the Bluetooth guest, for long"]
fn arrivals_and_departures() {
    let length = Duration::from_secs(60 * setting("PIGEON_BLE_MINUTES", 30));
    let seed = setting("PIGEON_BLE_SEED", SEED);
    println!("seed {seed:#x}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (dir, air) = (temp_dir("pigeon-ble-").unwrap(), Air::clear().unwrap());
    let nodes = nodes(dir.path(), ["elaine", "jerry", "kramer", "newman"]);
    for giver in &nodes {
        for other in nodes.iter().filter(|other| other.name() != giver.name()) {
            giver.give_card_to(other).unwrap();
        }
    }
    let pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
    let begin = Instant::now();
    let (mut changes, mut sent) = (0_u32, 0_usize);
    let first: Vec<Held> = nodes.iter().map(Held::by).collect();
    while begin.elapsed() < length {
        // Each pair is in range or not, by a coin; then one more message is on its way.
        let apart: Vec<(u8, u8)> = pairs.into_iter().filter(|_| rng.next_u32() & 1 == 1).collect();
        air.set_apart(&apart).unwrap();
        changes += 1;
        let draw = |rng: &mut ChaCha8Rng, below: u32| usize::try_from(rng.next_u32() % below).unwrap();
        let from = draw(&mut rng, 4);
        let to = (from + 1 + draw(&mut rng, 3)) % 4;
        let mark = nodes[from].watch().mark();
        send(&nodes[from], nodes[to].name(), &format!("number {sent}"));
        sent += 1;
        // Whatever happens next at its author, or nothing for a while: then the range changes again.
        let next = |event: &pigeon_harness::Event| event.kind.starts_with("neighbour");
        let _nothing = nodes[from].watch().wait_after(mark, Duration::from_secs(10), "any change", next);
    }
    air.set_apart(&[]).unwrap();
    for node in &nodes {
        until(node, "all receipts", || messages(node, "outbox").iter().all(|m| m["receipts"] == 1));
    }
    let received: usize = nodes.iter().map(|node| messages(node, "inbox").len()).sum();
    assert_eq!(received, sent, "each message once");
    for (node, first) in nodes.iter().zip(first) {
        let now = Held::by(node);
        println!("soak-ble: {} held {first:?} at first, {now:?} at the end", node.name());
        assert!(now.threads <= first.threads + 2 && now.files <= first.files + 16, "{first:?} {now:?}");
        let log = std::fs::read_to_string(node.daemon().log()).unwrap();
        assert!(!log.contains("panicked"), "{}", node.name());
    }
    let minutes = begin.elapsed().as_secs() / 60;
    println!(
        "soak-ble: {minutes} minutes, {changes} changes of range, {sent} sent, {received} delivered, 0 lost"
    );
}
