//! Checks on the project itself: licences of what we link, and that the documents name files that exist.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Licences that go together with ours (MIT OR Apache-2.0) in a binary we give away.
/// MPL-2.0 asks only for the changed files of its own packages; we change none.
const ALLOWED: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unlicense",
    "0BSD",
    "CC0-1.0",
    "MPL-2.0",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "CDLA-Permissive-2.0",
    "MIT-0",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn metadata() -> Value {
    // What is linked here: packages for other systems are not even fetched.
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", host])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether one alternative of an SPDX expression consists of allowed licences. Parentheses and `/` as in the wild.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], " ").replace('/', " OR ");
    // "A AND B OR C" without precedence: each AND group must have an allowed alternative.
    expression
        .split(" AND ")
        .all(|group| group.split(" OR ").any(|licence| ALLOWED.contains(&licence.trim())))
}

#[test]
fn licence_expressions_are_read_right() {
    assert!(allowed("MIT OR Apache-2.0") && allowed("MIT/Apache-2.0") && allowed("Apache-2.0 AND ISC"));
    assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0") && allowed("GPL-3.0 OR MIT"));
    assert!(!allowed("GPL-3.0-only") && !allowed("MIT AND AGPL-3.0") && !allowed(""));
}

#[test]
fn every_dependency_has_a_licence_that_goes_with_ours() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "cargo metadata lists only {} packages", packages.len());
    let bad: Vec<String> = packages
        .iter()
        .filter(|p| !p["license"].as_str().is_some_and(allowed))
        .map(|p| format!("{} {}: {}", p["name"], p["version"], p["license"]))
        .collect();
    assert!(bad.is_empty(), "licences to look at:\n{}", bad.join("\n"));
}

#[test]
fn our_own_packages_carry_our_licence_and_lints() {
    for package in metadata()["packages"].as_array().unwrap() {
        if !package["source"].is_null() {
            continue;
        }
        assert_eq!(package["license"], "MIT OR Apache-2.0", "{}", package["name"]);
        assert_eq!(package["rust_version"], "1.95", "{}", package["name"]);
        let manifest = std::fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} takes no workspace lints",
            package["name"]
        );
    }
}

/// The arrows of `docs/architecture.md`: what each crate may import of ours. Nothing points back.
#[test]
fn crates_import_only_along_the_arrows() {
    let arrows: &[(&str, &[&str])] = &[
        ("pigeon-bundle", &[]),
        ("pigeon-proto", &["pigeon-bundle"]),
        ("pigeon-core", &["pigeon-bundle", "pigeon-proto"]),
        ("pigeon-store", &["pigeon-bundle", "pigeon-core"]),
        ("pigeon-link", &["pigeon-bundle", "pigeon-proto"]),
        ("pigeon-quic", &["pigeon-bundle", "pigeon-proto", "pigeon-link"]),
        ("pigeon-ble", &["pigeon-bundle", "pigeon-proto", "pigeon-link"]),
        ("pigeon-xmpp", &["pigeon-bundle"]),
        ("pigeon-harness", &[]),
    ];
    let metadata = metadata();
    for (name, allowed) in arrows {
        let package = metadata["packages"].as_array().unwrap().iter().find(|p| p["name"] == *name).unwrap();
        let imported: BTreeSet<&str> = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|d| d["kind"].is_null())
            .map(|d| d["name"].as_str().unwrap())
            .filter(|d| d.starts_with("pigeon-"))
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(imported.is_subset(&allowed), "{name} imports {imported:?}, may import {allowed:?}");
    }
}

/// Paths in backquotes with a slash or a known ending, in the documents that describe the code.
#[test]
fn documents_name_only_files_that_exist() {
    let mut checked = 0;
    for document in ["README.md", "docs/architecture.md"] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        for word in text.split('`').skip(1).step_by(2) {
            let top = word.split('/').next().unwrap_or_default();
            let ours = ["bundle", "proto", "transports", "daemon", "examples", "tests", "docs", ".ci"]
                .contains(&top);
            if ours && word.contains('/') && !word.contains([' ', '*', '{']) {
                checked += 1;
                assert!(root().join(word).exists(), "{document} names {word}, which does not exist");
            }
        }
    }
    assert!(checked > 10, "only {checked} paths found: does this test still read the documents?");
}
