//! From Bluetooth to a network in the middle of a bundle.

use std::fs;
use std::process::Command;

use pigeon_harness::ble::Air;
use pigeon_harness::files::temp_dir;

use super::attachment::{assert_complete, file, send_file, talk_for};
use super::{Carried, TELL_LINKS, assert_calm, held_bytes, nodes_with};
use crate::support::{messages, until};

/// In some three bundles.
const SIZE: usize = 150_000;
const PACKET_BYTES: u64 = 240;
/// Key agreement, session and headers of QUIC, and acknowledgements, in bytes; less than half a bundle.
const TALK_BYTES: u64 = 28 << 10;

/// The guest gets a network: on `dummy0`, which its kernel has made, both nodes' multicast is heard. What one sends to the other goes
/// through the loopback interface, whose counter says how much.
fn network() {
    for line in [
        "link set lo up",
        "addr add 10.3.0.1/24 dev dummy0",
        "link set dummy0 multicast on up",
    ] {
        let done = Command::new("ip").args(line.split(' ')).output().unwrap();
        assert!(done.status.success(), "ip {line}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

fn through_loopback() -> u64 {
    fs::read_to_string("/sys/class/net/lo/statistics/rx_bytes").unwrap().trim().parse().unwrap()
}

#[test]
#[ignore = "runs in the Bluetooth guest"]
fn what_bluetooth_began_a_network_finishes_from_the_same_offset() {
    let (dir, air) = (temp_dir("pigeon-ble-").unwrap(), Air::clear().unwrap());
    air.set_apart(&[(0, 1)]).unwrap();
    let [elaine, jerry] = nodes_with(dir.path(), ["elaine", "jerry"], |mut spec| {
        (spec.quic, spec.listen) = (true, "0.0.0.0:0".to_owned());
        spec.log_filter = TELL_LINKS.to_owned();
        spec
    });
    elaine.give_card_to(&jerry).unwrap();
    jerry.give_card_to(&elaine).unwrap();
    let (path, bytes) = file(dir.path(), SIZE);
    let message = send_file(&elaine, &jerry, &path);
    let whole = held_bytes(&elaine);
    // Three quarters of it, so that the bundle under way is one of the last.
    talk_for(&air, whole * 3 / 4 / PACKET_BYTES, [&elaine, &jerry]);
    let by_radio = Carried::by(&jerry).received;
    network();
    assert_complete(&jerry, &message, &bytes, dir.path());
    until(&elaine, "the receipt", || messages(&elaine, "outbox").iter().all(|m| m["receipts"] == 1));
    let by_network = through_loopback();
    println!(
        "{whole} bytes of bundles: {by_radio} came by radio, {by_network} crossed the network both ways"
    );
    assert!(by_radio > whole / 2, "too little came by radio to tell: {by_radio} of {whole}");
    assert!(by_radio + by_network <= whole + TALK_BYTES, "what had come by radio came again");
    assert_calm(&[&elaine, &jerry]);
}
