//! The demo is the whole story on real binaries, so it is a test as well: it must hold, and it must fail when a
//! piece is missing.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::process::{Command, Output};

use pigeon_harness::require_root;

fn demo(broken: &str, server: &str) -> Output {
    let subway = PathBuf::from(env!("CARGO_BIN_EXE_pigeond")).with_file_name("examples").join("subway");
    Command::new(subway).env("BREAK", broken).env("SERVER", server).output().unwrap()
}

fn last_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned()
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_story_holds() {
    require_root!();
    let output = demo("", "prosody");
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(last_line(&output), "demo: 5 sent, 5 delivered, 5 receipts, 0 duplicates");
}

#[test]
fn the_story_holds_on_ejabberd() {
    require_root!();
    let output = demo("", "ejabberd");
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(last_line(&output), "demo: 5 sent, 5 delivered, 5 receipts, 0 duplicates");
}

#[test]
fn without_the_bridge_it_fails_and_shows_where() {
    require_root!();
    let output = demo("bridge", "prosody");
    assert!(!output.status.success(), "{}", shown(&output));
    assert_eq!(
        last_line(&output),
        "demo: 3 sent, 0 delivered, 0 receipts, 0 duplicates",
        "{}",
        shown(&output)
    );
}

#[test]
fn without_the_carriers_it_fails_and_shows_where() {
    require_root!();
    let output = demo("carrier", "prosody");
    assert!(!output.status.success(), "{}", shown(&output));
    assert_eq!(
        last_line(&output),
        "demo: 3 sent, 0 delivered, 0 receipts, 0 duplicates",
        "{}",
        shown(&output)
    );
}
