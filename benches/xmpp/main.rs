//! What the way through the bridge costs beyond the XMPP server's own, all in one run on one disk. Prints
//! `bench: NAME VALUE (what against what)`.
//!
//! `make bench-xmpp`, or `target/release/pigeon-bench-xmpp [WORD VALUE …]` with `pigeon-bridge` beside it: `--samples` messages of each kind in the comparison of latencies
//! (default 400), `--burst` bundles at once (10,000), `--rounds` of bursts (3), `--entries` of the ledger whose memory is
//! asked (1,000,000; 0 leaves it out), `--picture FILE` for the box plot. Real servers, and the disk of `TMPDIR`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on should stop")]
#![allow(unreachable_pub, dead_code, reason = "what the tests of the bridge need is more than is used here")]

#[path = "../../tests/bridge/gate.rs"]
mod gate;
#[path = "../../tests/bridge/session.rs"]
mod session;
#[path = "../../tests/bridge/world.rs"]
mod world;

mod burst;
mod crypto;
mod echo;
mod latency;
mod memory;
mod picture;
mod process;
mod sample;

use std::path::PathBuf;

use pigeon_harness::Kind;

/// What the command line says.
struct Arguments {
    samples: usize,
    burst: usize,
    rounds: usize,
    entries: usize,
    picture: Option<PathBuf>,
}

fn arguments() -> Arguments {
    let mut arguments =
        Arguments { samples: 400, burst: 10_000, rounds: 3, entries: 1_000_000, picture: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{word} wants a value"));
        match word.as_str() {
            "--samples" => arguments.samples = value.parse().unwrap(),
            "--burst" => arguments.burst = value.parse().unwrap(),
            "--rounds" => arguments.rounds = value.parse().unwrap(),
            "--entries" => arguments.entries = value.parse().unwrap(),
            "--picture" => arguments.picture = Some(value.into()),
            _ => panic!("what is {word}?"),
        }
    }
    arguments
}

fn main() {
    if let Some(task) = memory::task() {
        return memory::fill(&task);
    }
    let arguments = arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(&arguments));
}

async fn run(arguments: &Arguments) {
    let mut boxes = Vec::new();
    if arguments.samples > 0 {
        for kind in [Kind::Prosody, Kind::Ejabberd] {
            let latencies = latency::measure(kind, arguments.samples).await;
            latencies.print(kind);
            boxes.push((kind, latencies));
        }
    }
    if let Some(file) = &arguments.picture {
        std::fs::write(file, picture::draw(&boxes)).unwrap();
    }
    if arguments.rounds > 0 {
        burst::measure(Kind::Prosody, arguments.burst, arguments.rounds).await;
    }
    if arguments.entries > 0 {
        memory::measure(Kind::Prosody, arguments.entries).await;
    }
}
