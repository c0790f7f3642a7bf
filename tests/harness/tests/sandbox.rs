//! A sandboxed program leaves no process, namespace or file behind: after a normal end, a failure, Ctrl-C.
//!
//! Without libtest (`harness = false`), since this program must be able to run itself again in the sandbox.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use pigeon_harness::netns::World;
use pigeon_harness::sandbox::{self, Sandbox};
use pigeon_harness::{Deadline, Privilege, Process, privilege, wait};
use rustix::process::{Pid, Signal, kill_process};

/// What the sandboxed program is to do; not set in the test itself.
const ROLE: &str = "PIGEON_TEST_ROLE";

fn main() -> ExitCode {
    if let Some(role) = std::env::var_os(ROLE) {
        return act(role.to_str().unwrap());
    }
    if Privilege::check() == Privilege::None && !privilege::may_run("sandbox") {
        return ExitCode::SUCCESS;
    }
    a_normal_end_and_a_failure_pass_their_exit_code_on();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        a_signal_ends_everything(signal);
    }
    println!("sandbox: ok");
    ExitCode::SUCCESS
}

/// The sandboxed program: a host with a process in it, and a file.
fn act(role: &str) -> ExitCode {
    let state = match sandbox::enter("pigeon-sandbox-test-").unwrap() {
        Sandbox::Inside(state) => state,
        Sandbox::Over(code) => return code,
    };
    let world = World::new();
    let host = world.host("kramer").unwrap();
    let mut sleep = host.command("sleep");
    sleep.arg("600").current_dir(&state);
    let _sleep = Process::spawn("sleep", "coreutils", sleep).unwrap();
    std::fs::write(state.join("file"), "x").unwrap();
    println!("{}", state.display());
    match role {
        "succeed" => ExitCode::SUCCESS,
        "fail" => ExitCode::from(3),
        _ => loop {
            thread::park();
        },
    }
}

fn start(role: &str) -> (Child, PathBuf) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(ROLE, role).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let state = PathBuf::from(line.trim());
    assert!(state.is_absolute(), "{state:?}");
    (child, state)
}

/// Everything in the sandbox has the state directory in its environment.
fn remains(state: &Path) -> Vec<PathBuf> {
    let needle = format!("PIGEON_SANDBOX_STATE={}", state.display()).into_bytes();
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes
        .filter(|path| {
            let environment = std::fs::read(path.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == needle)
        })
        .collect()
}

fn expect_nothing_left(state: &Path) {
    assert!(!state.exists(), "{} is still there", state.display());
    let gone =
        wait::poll_until(Deadline::after(Duration::from_secs(5)), || remains(state).is_empty().then_some(()));
    assert!(gone.is_some(), "still running: {:?}", remains(state));
}

fn a_normal_end_and_a_failure_pass_their_exit_code_on() {
    for (role, code) in [("succeed", 0), ("fail", 3)] {
        let (mut child, state) = start(role);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{role}");
        expect_nothing_left(&state);
    }
}

fn a_signal_ends_everything(signal: Signal) {
    let (mut child, state) = start("stay");
    assert!(state.join("file").exists());
    assert!(remains(&state).len() >= 3, "the test would not see what remains: {:?}", remains(&state));
    kill_process(Pid::from_child(&child), signal).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(128 + signal.as_raw()), None));
    expect_nothing_left(&state);
}
