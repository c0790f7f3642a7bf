//! A file system that turns read-only under a running daemon, as ext4 does after an error, and is made writable again:
//! a clear answer, nothing lost, no restart.
//!
//! A mount cannot be made read-only while a file on it is open for writing, so the real daemon runs with a library
//! (`tests/read_only.c`) that answers its writes below the data folder as such a mount does.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pigeon_harness::Deadline;
use pigeon_harness::files::temp_dir;
use pigeon_harness::spawn::{Process, tail, tethered};
use pigeon_harness::wait::poll_until;
use serde_json::Value;

const PIGEON: &str = env!("CARGO_BIN_EXE_pigeon");
const PIGEOND: &str = env!("CARGO_BIN_EXE_pigeond");
const PATIENCE: Duration = Duration::from_secs(60);

/// `None` where there is no C compiler.
fn library(dir: &Path) -> Option<std::path::PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_only.c");
    let library = dir.join("read_only.so");
    let mut compiler = Command::new("cc");
    let built =
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    match built {
        Ok(status) => assert!(status.success(), "tests/read_only.c does not compile"),
        Err(error) => {
            eprintln!("SKIPPED: no C compiler ({error}); tests/setup.sh installs one");
            return None;
        }
    }
    Some(library)
}

#[test]
fn a_read_only_file_system_is_said_and_survived() {
    let dir = temp_dir("pigeon-ro-").unwrap();
    let Some(library) = library(dir.path()) else { return };
    let (socket, flag, log) = (dir.path().join("s"), dir.path().join("flag"), dir.path().join("log"));
    let config = dir.path().join("pigeond.toml");
    let data = dir.path().join("data");
    fs::write(
        &config,
        format!(
            "data_dir = {data:?}\nsocket = {socket:?}\nname = \"elaine\"\nclock = \"trusted\"\n\n[quic]\nenabled = false\n"
        ),
    )
    .unwrap();
    let output = fs::File::create(&log).unwrap();
    let mut command = tethered(PIGEOND);
    command
        .arg("--config")
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(output.try_clone().unwrap())
        .stdout(output);
    command.env("LD_PRELOAD", &library).env("READ_ONLY_DIR", &data).env("READ_ONLY_FLAG", &flag);
    let mut daemon = Process::spawn("pigeond", "util-linux", command).unwrap();
    let pigeon =
        |args: &[&str]| Command::new(PIGEON).arg("--socket").arg(&socket).args(args).output().unwrap();
    let shown = || tail(&log, 40);
    poll_until(Deadline::after(PATIENCE), || pigeon(&["status"]).status.success().then_some(()))
        .unwrap_or_else(|| panic!("no daemon: {}", shown()));

    // Somebody to write to.
    let other = carrier_pigeon_card(dir.path());
    assert!(pigeon(&["card", "import", &other]).status.success());
    let send = |text: &str| pigeon(&["send", "jerry", text]);
    for number in 0..20 {
        assert!(send(&format!("before {number}")).status.success());
    }
    fs::write(&flag, "").unwrap();
    for number in 0..3 {
        let refused = send(&format!("meanwhile {number}"));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "acknowledged what cannot be kept");
        assert!(said.contains("read-only") && said.contains("nothing needs to be restarted"), "{said}");
    }
    // The engine cannot be opened without writing: whoever reads gets the messages, or the same answer.
    let reads = pigeon(&["--json", "outbox"]);
    let said = String::from_utf8_lossy(&reads.stderr).into_owned();
    assert!(reads.status.success() || said.contains("read-only"), "{said}\n{}", shown());
    fs::remove_file(&flag).unwrap();
    let late = send("after");
    assert!(late.status.success(), "{}\n{}", String::from_utf8_lossy(&late.stderr), shown());

    let texts = || {
        let reply: Value = serde_json::from_slice(&pigeon(&["--json", "outbox"]).stdout).unwrap();
        let messages = reply["messages"].as_array().unwrap().clone();
        messages.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut wanted: Vec<String> = (0..20).map(|number| format!("before {number}")).collect();
    wanted.push("after".to_owned());
    assert_eq!(texts(), wanted);
    assert!(daemon.terminate(Deadline::after(PATIENCE)).unwrap().success(), "{}", shown());
}

/// The card of another node, made without one.
fn carrier_pigeon_card(dir: &Path) -> String {
    let (socket, config, data) = (dir.join("t"), dir.join("other.toml"), dir.join("other"));
    fs::write(
        &config,
        format!("data_dir = {data:?}\nsocket = {socket:?}\nname = \"jerry\"\nclock = \"trusted\"\n\n[quic]\nenabled = false\n"),
    )
    .unwrap();
    let mut command = tethered(PIGEOND);
    command.arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _daemon = Process::spawn("pigeond", "util-linux", command).unwrap();
    let card = || {
        let output =
            Command::new(PIGEON).arg("--socket").arg(&socket).args(["--json", "id"]).output().unwrap();
        let reply: Value = serde_json::from_slice(&output.stdout).ok()?;
        Some(reply["card"].as_str()?.to_owned()).filter(|card| !card.is_empty())
    };
    poll_until(Deadline::after(PATIENCE), card).expect("a card")
}
