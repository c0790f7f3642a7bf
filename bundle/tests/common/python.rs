//! Programs of `tests/vectors` on the other side of a pipe.

#![allow(clippy::print_stdout, reason = "what is skipped is said")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The interpreter that `make test-vectors` sets up; `None`, loudly, on machines without Python. CI must have it.
pub fn python() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python");
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing: run make test-vectors", path.display());
    println!("SKIPPED: what needs Python: there is no {}: run make test-vectors", path.display());
    None
}

pub fn run(python: &Path, script: &str, args: &[&str], input: String) -> Vec<String> {
    let mut child = Command::new(python)
        .arg(format!("{}/../tests/vectors/{script}", env!("CARGO_MANIFEST_DIR")))
        .args(args)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Of its own, since both pipes are shorter than what goes through them.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{script} {args:?} failed");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
