//! This crate must stay a pure function: what would let it wait, poll or draw its own randomness is not linked.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::process::Command;

const BANNED: [&str; 8] = ["tokio", "mio", "getrandom", "async-std", "smol", "rand", "socket2", "rustix"];

#[test]
fn no_runtime_and_no_random_source_is_linked() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-e", "normal", "-p", "pigeon-bundle", "--target", "all"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    // Control: the list is the right one.
    for expected in ["pigeon-bundle", "hardy-bpv7", "hpke", "ed25519-dalek", "rand_core"] {
        assert!(names.contains(expected), "{expected} is missing from {names:?}");
    }
    for banned in BANNED {
        assert!(
            !names.contains(banned),
            "{banned} has come in; `cargo tree -e normal -i {banned}` shows by whom"
        );
    }
}
