//! The subway: a message leaves an offline node, is carried by strangers, and arrives as its author's own.
//!
//! Real processes in network namespaces of their own: an XMPP server, `pigeon-bridge` and four `pigeond`. Run it by
//! `make demo`, or after `cargo build` by `cargo run --example subway`. `BREAK=bridge` and `BREAK=carrier` kill
//! that piece for good on the way: the demo then fails, and its table shows where the messages stopped.
//! `SERVER=ejabberd` takes that one instead of Prosody.
//! It leaves no process, namespace or file behind.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

mod report;
mod story;

use std::process::ExitCode;
use std::time::Duration;

use pigeon_harness::Result;
use pigeon_harness::sandbox::{self, Sandbox};

use pigeon_harness::{Cast, Kind};
use report::Tally;
use story::Story;

/// What the whole demo must come to.
const EXPECTED: Tally = Tally { sent: 5, delivered: 5, receipts: 5, duplicates: 0 };
/// How long an event may be in coming.
const PATIENCE: Duration = Duration::from_secs(40);
/// The same after a piece has been killed: it is not coming, and nobody wants to watch that.
const PATIENCE_BROKEN: Duration = Duration::from_secs(12);
const USAGE: u8 = 2;

/// The piece that is killed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// None: all goes well.
    Nothing,
    /// The bridge, before anybody surfaces.
    Bridge,
    /// Both carriers, once they have taken their copies.
    Carrier,
}

impl Break {
    fn from_environment() -> std::result::Result<Self, String> {
        match std::env::var("BREAK").unwrap_or_default().as_str() {
            "" => Ok(Self::Nothing),
            "bridge" => Ok(Self::Bridge),
            "carrier" => Ok(Self::Carrier),
            other => Err(format!("BREAK={other}: there is BREAK=bridge and BREAK=carrier")),
        }
    }
}

/// Which XMPP server plays.
fn server_from_environment() -> std::result::Result<Kind, String> {
    match std::env::var("SERVER").unwrap_or_default().as_str() {
        "" | "prosody" => Ok(Kind::Prosody),
        "ejabberd" => Ok(Kind::Ejabberd),
        other => Err(format!("SERVER={other}: there is SERVER=prosody and SERVER=ejabberd")),
    }
}

fn main() -> ExitCode {
    let wishes = Break::from_environment().and_then(|broken| Ok((broken, server_from_environment()?)));
    let (broken, server) = match wishes {
        Ok(wishes) => wishes,
        Err(usage) => {
            eprintln!("demo: {usage}");
            return ExitCode::from(USAGE);
        }
    };
    let outcome = sandbox::enter("pigeon-demo-").and_then(|sandbox| match sandbox {
        Sandbox::Over(code) => Ok(code),
        Sandbox::Inside(state) => play(&state, broken, server),
    });
    outcome.unwrap_or_else(|error| {
        eprintln!("demo: {error}");
        ExitCode::FAILURE
    })
}

/// Tells the story, then says how it went, from what the daemons themselves know.
fn play(state: &std::path::Path, broken: Break, server: Kind) -> Result<ExitCode> {
    let mut cast = Cast::assemble_on(server, state)?;
    let mut story = Story::new(broken);
    let told = story.tell(&mut cast);
    if let Err(error) = &told {
        eprintln!("demo: stopped in step {}: {error}", story.step());
        if broken == Break::Nothing {
            eprint!("{}", cast.log_tails());
        }
    }
    let tally = report::tally(&cast);
    println!("\n{}", report::table(&cast, story.messages()));
    println!("{tally}");
    let good = told.is_ok() && tally == EXPECTED;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
