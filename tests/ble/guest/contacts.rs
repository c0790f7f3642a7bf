//! Many short contacts: what each costs, and that none leaves anything behind.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use pigeon_harness::ble::Air;
use pigeon_harness::files::temp_dir;
use pigeon_harness::{Event, Node};

use super::nodes;
use crate::support::{PATIENCE, assert_inbox, messages, send, until};

/// What a daemon holds: resident memory in KiB, open files, threads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) memory_kib: u64,
    pub(crate) files: usize,
    pub(crate) threads: usize,
}

impl Held {
    pub(crate) fn by(node: &Node) -> Self {
        let process = Path::new("/proc").join(node.daemon().pid().unwrap().to_string());
        let count = |folder: &str| fs::read_dir(process.join(folder)).unwrap().count();
        let status = fs::read_to_string(process.join("status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let memory_kib = memory.trim().trim_end_matches(" kB").trim().parse().unwrap();
        Self { memory_kib, files: count("fd"), threads: count("task") }
    }
}

/// Contacts, each with one message, each ended by going out of range.
pub(crate) fn contacts(count: usize) {
    let (dir, air) = (temp_dir("pigeon-ble-").unwrap(), Air::clear().unwrap());
    air.set_apart(&[(0, 1)]).unwrap();
    let [elaine, jerry] = nodes(dir.path(), ["elaine", "jerry"]);
    elaine.give_card_to(&jerry).unwrap();
    jerry.give_card_to(&elaine).unwrap();
    let (mut times, mut sent) = (Vec::new(), Vec::new());
    let mut before = None;
    for number in 0..count {
        let (message, _) = send(&elaine, "jerry", &format!("contact {number}"));
        let stored = |event: &Event| event.kind == "message_received" && event.message_id == message;
        let begin = Instant::now();
        air.set_apart(&[]).unwrap();
        jerry.watch().wait_for(PATIENCE, &format!("message {number}"), stored).unwrap();
        times.push(begin.elapsed());
        sent.push(message);
        let marks = [elaine.watch().mark(), jerry.watch().mark()];
        air.set_apart(&[(0, 1)]).unwrap();
        for (node, mark) in [&elaine, &jerry].into_iter().zip(marks) {
            node.watch()
                .wait_after(mark, PATIENCE, "the end of the contact", |e| e.kind == "neighbour_down")
                .unwrap();
        }
        if number % 100 == 99 {
            println!("{} contacts: {:?}", number + 1, Held::by(&elaine));
        }
        // What is made once is made by now.
        if number == count / 3 {
            before = Some([Held::by(&elaine), Held::by(&jerry)]);
        }
    }
    let after = [Held::by(&elaine), Held::by(&jerry)];
    report(&mut times);
    for (before, after) in before.unwrap().into_iter().zip(after) {
        println!("held after a third of the contacts: {before:?}, at the end: {after:?}");
        assert!(after.files <= before.files + 4, "files leak: {before:?} {after:?}");
        assert!(after.threads <= before.threads + 2, "threads leak: {before:?} {after:?}");
        assert!(after.memory_kib <= before.memory_kib + 16_384, "memory leaks: {before:?} {after:?}");
    }
    air.set_apart(&[]).unwrap();
    until(&elaine, "all receipts", || messages(&elaine, "outbox").iter().all(|m| m["receipts"] == 1));
    assert_inbox(&jerry, &sent);
}

fn report(times: &mut [Duration]) {
    times.sort();
    let ms = |at: usize| times[at.min(times.len() - 1)].as_millis();
    println!(
        "bench: ble-first-stored-ms {} (median of {} contacts, from in range to stored; p95 {})",
        ms(times.len() / 2),
        times.len(),
        ms(times.len() * 95 / 100)
    );
}

#[test]
#[ignore = "runs in the Bluetooth guest"]
fn thirty_contacts_deliver_and_leave_nothing_behind() {
    contacts(30);
}
