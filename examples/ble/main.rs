//! Two nodes with nothing but Bluetooth between them: a message goes over, and its receipt comes back.
//!
//! Real `pigeond`s on a real BlueZ, in the guest of `tests/rig/ble`; run it by `make demo-ble`. `BREAK=range` puts the
//! two out of each other's range: the demo then fails, and shows that nothing arrived.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use pigeon_harness::ble::{Air, is_guest};
use pigeon_harness::files::temp_dir;
use pigeon_harness::node::text_of;
use pigeon_harness::{Node, NodeSpec, Place, Result};
use serde_json::Value;

/// How long the receipt may be in coming.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same where it cannot come.
const PATIENCE_BROKEN: Duration = Duration::from_secs(15);

/// What the daemons themselves know at the end.
#[derive(Debug, PartialEq, Eq)]
struct Tally {
    sent: usize,
    delivered: usize,
    receipts: u64,
    duplicates: u64,
}

fn main() -> ExitCode {
    if !is_guest() {
        eprintln!("demo-ble: this program runs in the Bluetooth guest; `make demo-ble` boots it");
        return ExitCode::FAILURE;
    }
    match play() {
        Ok(tally) => {
            let Tally { sent, delivered, receipts, duplicates } = tally;
            println!(
                "demo-ble: {sent} sent, {delivered} delivered, {receipts} receipts, {duplicates} duplicates"
            );
            let good = Tally { sent: 1, delivered: 1, receipts: 1, duplicates: 0 };
            if tally == good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("demo-ble: {error}");
            ExitCode::FAILURE
        }
    }
}

fn play() -> Result<Tally> {
    let broken = std::env::var("BREAK").is_ok_and(|piece| piece == "range");
    let air = Air::clear()?;
    if broken {
        air.set_apart(&[(0, 1)])?;
    }
    let dir = temp_dir("pigeon-demo-ble-")?;
    let begin = Instant::now();
    let say = |text: &str| println!("{:>5.1} s  {text}", begin.elapsed().as_secs_f32());
    let start =
        |name: &str, adapter| Node::start(Place::Here, &NodeSpec::new(name).bluetooth(adapter), dir.path());
    let (elaine, jerry) = (start("elaine", "hci0")?, start("jerry", "hci1")?);
    say("elaine and jerry run, one Bluetooth adapter each, and no network");
    elaine.give_card_to(&jerry)?;
    jerry.give_card_to(&elaine)?;
    let sent = elaine.json(&["send", "jerry", "There is no network down here."])?;
    let bundle = text_of(&sent, "bundle_id");
    say("elaine sends jerry a message; it is sealed, and waits on her disk");
    let patience = if broken { PATIENCE_BROKEN } else { PATIENCE };
    let told = tell(&elaine, &jerry, &bundle, patience, &say);
    match told {
        Err(error) if broken => eprintln!("demo-ble: {error}"),
        told => told?,
    }
    tally(&elaine, &jerry)
}

fn tell(elaine: &Node, jerry: &Node, bundle: &str, patience: Duration, say: &dyn Fn(&str)) -> Result<()> {
    elaine.watch().wait_for(patience, "a neighbour", |event| event.kind == "neighbour_up")?;
    say("they have found each other by Bluetooth, and proved their node keys");
    jerry.watch().wait_for(patience, "the message", |event| event.kind == "message_received")?;
    say("jerry holds the bundle, and has opened it");
    elaine.watch().wait_for(patience, "the receipt", |event| event.kind == "receipt_received")?;
    say("the receipt is back with elaine");
    elaine.watch().wait_for(patience, "the tombstone", |event| event.is("purged", bundle))?;
    say("nobody carries the bundle any more");
    let inbox = jerry.json(&["inbox"])?;
    say(&format!("jerry reads: {}", text_of(&inbox["messages"][0], "text")));
    let neighbours = elaine.json(&["neighbours"])?;
    let link = &neighbours["neighbours"][0];
    say(&format!("the link: {} dBm, {} bytes/s", link["rssi_dbm"], link["bytes_per_s"]));
    Ok(())
}

fn tally(elaine: &Node, jerry: &Node) -> Result<Tally> {
    let list = |reply: &Value| reply["messages"].as_array().cloned().unwrap_or_default();
    let (outbox, inbox) = (list(&elaine.json(&["outbox"])?), jerry.json(&["inbox"])?);
    Ok(Tally {
        sent: outbox.len(),
        delivered: list(&inbox).len(),
        receipts: outbox.iter().filter_map(|message| message["receipts"].as_u64()).sum(),
        duplicates: inbox["duplicates"].as_u64().unwrap_or_default(),
    })
}
