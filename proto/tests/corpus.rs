//! What the fuzz targets have found (`tests/fuzz/corpus`), given to the same properties again.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "../../tests/fuzz/src/messages.rs"]
mod messages;

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
fn content() {
    replay("content", messages::content);
}

#[test]
fn frame() {
    replay("frame", messages::frame);
}
