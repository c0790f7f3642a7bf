//! What the fuzz targets have found (`tests/fuzz/corpus`), given to the same properties again.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "tests, of files")]

mod common;
#[path = "../../tests/fuzz/src/formats/mod.rs"]
mod formats;

use std::path::Path;

/// Runs a property on each file of a target's corpus.
fn replay(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        println!("{}", file.display());
        property(&std::fs::read(&file).unwrap());
    }
}

#[test]
fn bundle() {
    replay("bundle", formats::bundle);
}

#[test]
fn foreign() {
    replay("foreign", formats::foreign);
}

#[test]
fn carriage() {
    replay("carriage", formats::carriage);
}

#[test]
fn uplink() {
    replay("uplink", formats::uplink);
}

#[test]
fn card() {
    replay("card", formats::card);
}

#[test]
fn bridge_card() {
    replay("bridge_card", formats::bridge_card);
}

#[test]
fn verdict() {
    replay("verdict", formats::verdict);
}

#[test]
fn sealed() {
    replay("sealed", formats::sealed);
}

#[test]
fn manifest() {
    replay("manifest", formats::manifest);
}

#[test]
fn introduction() {
    replay("introduction", formats::introduction);
}

#[test]
fn one_time() {
    replay("one_time", formats::one_time);
}

#[test]
fn prekey_ring() {
    replay("prekey_ring", formats::prekey_ring);
}

#[test]
fn pickup() {
    replay("pickup", formats::pickup);
}
