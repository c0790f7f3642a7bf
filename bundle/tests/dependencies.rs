//! This crate must stay a pure function: what would let it wait, poll or draw its own randomness is not linked and not
//! named; and only one module seals.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests, of files")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

const BANNED: [&str; 8] = ["tokio", "mio", "getrandom", "async-std", "smol", "rand", "socket2", "rustix"];

#[test]
fn no_runtime_and_no_random_source_is_linked() {
    // Not offline: a machine that has only built for itself lacks the crates of other targets.
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "-e", "normal", "-p", "pigeon-bundle", "--target", "all"])
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

/// What `clippy.toml` can only ban one by one.
const UNNAMED: [&str; 10] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "Instant",
    "SystemTime",
    "getrandom",
    "unsafe ",
];

/// Every file of the crate, without its tests.
fn sources() -> BTreeMap<String, String> {
    fn read(folder: &Path, out: &mut BTreeMap<String, String>) {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, out);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
                out.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), code);
            }
        }
    }
    let mut out = BTreeMap::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut out);
    out
}

#[test]
fn no_file_socket_clock_or_thread_is_named() {
    let sources = sources();
    assert!(sources.len() > 20, "{:?}", sources.keys());
    for (file, code) in &sources {
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for unnamed in UNNAMED {
                assert!(!line.contains(unnamed), "{file}: {line}");
            }
        }
    }
}

/// Encapsulation, nonce and associated data are chosen in one private module, whose two functions seal and open one
/// message each; each of its callers gives the associated data that its construction names.
#[test]
fn nobody_outside_chooses_a_nonce_or_associated_data() {
    let sources = sources();
    let using = |what: &str| -> Vec<&str> {
        let users = sources.iter().filter(|(_, code)| code.contains(what));
        users.map(|(file, _)| file.as_str()).collect()
    };
    assert_eq!(using("hpke::"), ["hybrid.rs"]);
    assert_eq!(using("hybrid::seal_to("), ["pickup.rs", "route.rs", "seal.rs"]);
    assert_eq!(using("hybrid::open_with("), ["pickup.rs", "route.rs", "seal.rs"]);
    assert!(sources["lib.rs"].contains("\nmod hybrid;") && !sources["lib.rs"].contains("hybrid::"));
    assert!(!sources["hybrid.rs"].contains("pub fn") && !sources["hybrid.rs"].contains("setup_"));
    for (file, code) in &sources {
        for line in code.lines().filter(|line| line.contains("pub fn")) {
            for word in ["nonce", "associated", "aad", "encapsulat"] {
                assert!(!line.contains(word), "{file}: {line}");
            }
        }
    }
}
