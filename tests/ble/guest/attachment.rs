//! A large attachment over a radio that fails again and again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pigeon_ble::WINDOW_BYTES;
use pigeon_harness::ble::Air;
use pigeon_harness::files::temp_dir;
use pigeon_harness::node::text_of;
use pigeon_harness::wait::poll_until;
use pigeon_harness::{Deadline, Node};

use super::{Carried, TELL_LINKS, assert_calm, held_bytes, nodes_with};
use crate::support::{assert_inbox, assert_receipts, messages, soon};

const CUTS: u64 = 5;
/// Bytes of an ACL packet that the emulated controllers take, but for the headers of one piece.
const PACKET_BYTES: u64 = 240;
/// What a session says beside bundles (lists, offers, acknowledgements of the store), at most.
const TALK_BYTES: u64 = 12 << 10;
/// What the whole may take; the guest has one processor, shared with all else on this machine.
const WHOLE: Duration = Duration::from_secs(1_200);

/// Bytes without repetitions, the same in every run.
pub(crate) fn file(dir: &Path, size: usize) -> (PathBuf, Vec<u8>) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    let bytes: Vec<u8> = std::iter::repeat_with(next).take(size).collect();
    let path = dir.join("the marble rye.jpg");
    fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

/// Sends a file; its message.
pub(crate) fn send_file(from: &Node, to: &Node, file: &Path) -> String {
    let reply = from.json(&["send", to.name(), "look", "--attach", file.to_str().unwrap()]).unwrap();
    text_of(&reply, "message_id")
}

/// Waits for the whole attachment, and compares it.
pub(crate) fn assert_complete(node: &Node, message: &str, bytes: &[u8], dir: &Path) {
    let whole =
        |event: &pigeon_harness::Event| event.kind == "attachment_complete" && event.message_id == message;
    node.watch().wait_for(WHOLE, "the whole attachment", whole).unwrap();
    let saved = dir.join(format!("saved-{message}"));
    node.say(&["attachment", "save", message, saved.to_str().unwrap()]).unwrap();
    assert!(fs::read(saved).unwrap() == bytes, "the attachment is another");
}

/// Lets the two talk for so many packets, and waits until both know that the link is gone.
pub(crate) fn talk_for(air: &Air, packets: u64, nodes: [&Node; 2]) {
    let marks = nodes.map(|node| node.watch().mark());
    air.cut_after(u32::try_from(packets).unwrap()).unwrap();
    assert!(poll_until(Deadline::after(WHOLE), || air.is_cut().then_some(())).is_some(), "{packets} packets");
    for (node, mark) in nodes.into_iter().zip(marks) {
        let down = |event: &pigeon_harness::Event| event.kind == "neighbour_down";
        node.watch().wait_after(mark, WHOLE, "the end of the contact", down).unwrap();
    }
}

/// Each contact ends in the middle of a bundle; the next one goes on there.
pub(crate) fn five_cuts(size: usize) {
    let (dir, air) = (temp_dir("pigeon-ble-").unwrap(), Air::clear().unwrap());
    air.set_apart(&[(0, 1)]).unwrap();
    let [mut elaine, mut jerry] = nodes_with(dir.path(), ["elaine", "jerry"], |mut spec| {
        spec.log_filter = TELL_LINKS.to_owned();
        spec
    });
    elaine.give_card_to(&jerry).unwrap();
    jerry.give_card_to(&elaine).unwrap();
    let (path, bytes) = file(dir.path(), size);
    let message = send_file(&elaine, &jerry, &path);
    let whole = held_bytes(&elaine);
    for _ in 0..CUTS {
        talk_for(&air, whole / (CUTS + 1) / PACKET_BYTES, [&elaine, &jerry]);
    }
    air.set_apart(&[]).unwrap();
    assert_complete(&jerry, &message, &bytes, dir.path());
    assert_inbox(&jerry, &[message]);
    let delivered = || messages(&elaine, "outbox").iter().all(|m| m["receipts"] == 1).then_some(());
    elaine.watch().wait_until(WHOLE, "the receipt", delivered).unwrap();
    assert_receipts(&elaine, 1);
    assert_calm(&[&elaine, &jerry]);

    for node in [&mut elaine, &mut jerry] {
        assert!(node.terminate(soon()).unwrap().success());
    }
    let (giver, taker) = (Carried::by(&elaine), Carried::by(&jerry));
    println!("attachment of {size} bytes in bundles of {whole}, {CUTS} cuts: sent {giver:?}, came {taker:?}");
    assert!(giver.links > CUTS, "{giver:?}");
    let in_vain = giver.sent - taker.received;
    assert!(in_vain <= CUTS * WINDOW_BYTES as u64, "{in_vain} bytes were sent in vain");
    let twice = taker.received.saturating_sub(whole);
    // Frames have heads, and each bundle is offered: a hundredth.
    assert!(twice <= giver.links * TALK_BYTES + whole / 100, "{twice} bytes came beside the bundles");
}

#[test]
#[ignore = "runs in the Bluetooth guest"]
fn an_attachment_survives_five_cuts_and_nothing_is_sent_twice() {
    five_cuts(1 << 20);
}
