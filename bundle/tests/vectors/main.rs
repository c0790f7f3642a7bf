//! `tests/vectors/*.json`: what version 1 is, in hex. If a test here fails, either a bug came in or the format
//! changed; a changed format needs another version. `PIGEON_BLESS=1` writes the files anew.
//!
//! `tests/vectors/check.py` reads them without a line of this crate, and seals `python.json`, which is opened here.
//! Content and links have theirs in `tests/vectors.rs` of the root package.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests; vectors are files")]

#[path = "../common/mod.rs"]
mod common;

mod attachments;
mod bundles;
mod cards;
mod contexts;
mod hpke_rfc9180;
mod introductions;
mod pickups;
mod python;
mod sealing;
mod verdicts;

use common::FixedRandom;
use data_encoding::HEXLOWER;
use pigeon_bundle::SecretRandom;
use serde_json::Value;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

fn unhex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn path(file: &str) -> String {
    format!("{}/../tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn stored(file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path(file)).unwrap()).unwrap()
}

/// Compares what this program makes now with what is committed, entry by entry.
fn compare(file: &str, made: &Value) {
    if std::env::var("PIGEON_BLESS").is_ok_and(|value| value == "1") {
        std::fs::write(path(file), format!("{made:#}\n")).unwrap();
    }
    let stored = stored(file);
    for (name, value) in made.as_object().unwrap() {
        assert_eq!(&stored[name], value, "{file}: {name}");
    }
    assert_eq!(stored.as_object().unwrap().len(), made.as_object().unwrap().len(), "{file}: entries");
}

/// Keeps what was drawn, so that another implementation can seal the same bytes.
struct Recorded {
    random: FixedRandom,
    drawn: Vec<u8>,
}

impl Recorded {
    fn new(label: &'static str) -> Self {
        Self { random: FixedRandom::new(label), drawn: Vec::new() }
    }
}

impl SecretRandom for Recorded {
    fn fill(&mut self, out: &mut [u8]) {
        self.random.fill(out);
        self.drawn.extend_from_slice(out);
    }
}
