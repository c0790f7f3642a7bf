//! From Bluetooth to a network in the middle of a bundle.

use std::fs;
use std::process::Command;

use pigeon_harness::ble::Air;
use pigeon_harness::files::temp_dir;

use super::attachment::{assert_complete, file, send_file, talk_for};
use super::{Carried, TELL_LINKS, assert_calm, held_bytes, nodes_with};
use crate::support::{messages, until};

/// It travels as one bundle.
const SIZE: usize = 50_000;
/// Some hundred packets are BlueZ's own, the others bring about half of it.
const PACKETS: u64 = 340;
/// What a network costs before the first byte of a bundle: mDNS, QUIC with its probes of the path's size, and the session
/// that finds out what is missing; some 42,000 bytes were seen. With what came by radio again it would be more by
/// a third of the bundle at least.
const SETUP_BYTES: u64 = 48 << 10;

/// The guest gets a network: on `dummy0`, which its kernel has made, both nodes' multicast is heard. What one sends to the other goes
/// through the loopback interface, whose counter says how much.
fn network() {
    for line in ["link set lo up", "addr add 10.3.0.1/24 dev dummy0", "link set dummy0 multicast on up"] {
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
    let (path, mut bytes) = file(dir.path(), SIZE);
    let message = send_file(&elaine, &jerry, &path);
    let whole = held_bytes(&elaine);
    talk_for(&air, PACKETS, [&elaine, &jerry]);
    let by_radio = Carried::by(&jerry).received;
    assert!(
        (whole / 3..whole).contains(&by_radio),
        "{by_radio} of {whole} bytes came by radio: change PACKETS"
    );
    network();
    assert_complete(&jerry, &message, &bytes, dir.path());
    until(&elaine, "the receipt", || messages(&elaine, "outbox").iter().all(|m| m["receipts"] == 1));
    let rest = through_loopback();

    // What a whole one costs there.
    bytes.reverse();
    fs::write(&path, &bytes).unwrap();
    let message = send_file(&elaine, &jerry, &path);
    assert_complete(&jerry, &message, &bytes, dir.path());
    until(&elaine, "the receipt", || messages(&elaine, "outbox").iter().all(|m| m["receipts"] == 1));
    let all = through_loopback() - rest;
    println!(
        "{whole} bytes: {by_radio} by radio, then {rest} both ways over the network; all of another: {all}"
    );
    assert!(by_radio + rest <= all + SETUP_BYTES, "what had come by radio came again");
    assert_calm(&[&elaine, &jerry]);
}
