//! The committed inputs of `tests/fuzz/corpus`, for the ordinary tests that include this file.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "tests, of files")]

use std::path::Path;

/// Runs a property on each file of a target's corpus.
pub(crate) fn replay(target: &str, property: fn(&[u8])) {
    // Of the crate whose test this is, one level below the top.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        println!("{}", file.display());
        property(&std::fs::read(&file).unwrap());
    }
}
