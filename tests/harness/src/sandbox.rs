//! A private world for a whole program, of which nothing remains when it ends, however it ends.
//!
//! The program runs itself again as the first process of its own process and mount namespaces (and of a user
//! namespace, where it is not root): when that process ends, the kernel ends all others with it. The outer
//! process stays behind for what the kernel does not clean up: it answers Ctrl-C, SIGTERM and SIGHUP by ending
//! the inner one, and removes the state directory when nobody can write to it any more.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{HarnessError, Result};
use crate::files::temp_dir;
use crate::privilege::Privilege;
use crate::spawn::{Process, ends_within, tethered};

/// Tells the inner process that it is one, and where its state goes.
const STATE_VARIABLE: &str = "PIGEON_SANDBOX_STATE";
const UTIL_LINUX: &str = "util-linux";
/// What a shell reports for a program that a signal ended, less the signal's number.
const SIGNALLED: i32 = 128;
/// From SIGTERM to SIGKILL for the inner process, which needs next to no time unless it has only just begun.
const END_MAX: Duration = Duration::from_secs(2);
/// A day: nobody watches a demo for longer.
const RUN_MAX: Duration = Duration::from_secs(24 * 3600);

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Sandbox {
    /// Inside: namespaces may be made, and files go into this directory.
    Inside(PathBuf),
    /// Outside, and the inner one has ended; `main` returns this.
    Over(ExitCode),
}

/// Call this first in `main`. It returns in the inner process at once, in the outer one when all is over.
///
/// # Errors
/// When namespaces cannot be made here, or the inner process cannot be started.
pub fn enter(prefix: &str) -> Result<Sandbox> {
    let signals = |which: &[i32]| {
        Signals::new(which).map_err(|source| HarnessError::Start {
            program: "a signal handler".to_owned(),
            package: UTIL_LINUX,
            source,
        })
    };
    if let Some(state) = std::env::var_os(STATE_VARIABLE) {
        exit_on_term(signals(&[SIGTERM])?);
        return Ok(Sandbox::Inside(state.into()));
    }
    let privilege = Privilege::check();
    if privilege == Privilege::None {
        return Err(HarnessError::Privilege {
            reason: "unshare failed, as root and with a user namespace".to_owned(),
        });
    }
    // Before the directory exists: a signal in between would leave it behind.
    let signals = signals(&[SIGINT, SIGTERM, SIGHUP])?;
    let state = temp_dir(prefix)?;
    let mut inner = Process::spawn("sandbox", UTIL_LINUX, inner_command(privilege, state.path().into())?)?;
    let caught = end_on_signal(signals, inner.pid());
    let status = inner.wait(RUN_MAX)?;
    drop(state);
    Ok(Sandbox::Over(exit_code(status, caught.load(Ordering::Acquire))))
}

/// This program again, under `unshare`. In a process group of its own: Ctrl-C in a terminal must reach the
/// outer process only, else `unshare` would die first and take the way to the inner one with it.
fn inner_command(privilege: Privilege, state: PathBuf) -> Result<Command> {
    use std::os::unix::process::CommandExt;
    let exe = std::env::current_exe()
        .map_err(HarnessError::file("find", std::path::Path::new("/proc/self/exe")))?;
    let mut command = tethered("unshare");
    if privilege == Privilege::UserNamespace {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.arg(exe).args(std::env::args_os().skip(1)).env(STATE_VARIABLE, state).process_group(0);
    Ok(command)
}

/// Ends the sandbox at the first signal; remembers which it was.
fn end_on_signal(mut signals: Signals, unshare: u32) -> Arc<AtomicI32> {
    let caught = Arc::new(AtomicI32::new(0));
    let noted = Arc::clone(&caught);
    thread::spawn(move || {
        for signal in signals.forever() {
            noted.store(signal, Ordering::Release);
            end(unshare);
        }
    });
    caught
}

/// The inner process's own answer to SIGTERM. Its end is all that is needed, wherever it is.
fn exit_on_term(mut signals: Signals) {
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            std::process::exit(SIGNALLED + signal);
        }
    });
}

/// Ends the first process of the sandbox. `unshare` then ends by itself, but only after the kernel has ended
/// every other process in there: that is what makes removing the files safe.
fn end(unshare: u32) {
    let first =
        std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap_or_default();
    let target = first.split_ascii_whitespace().next().and_then(|pid| pid.parse().ok()).unwrap_or(unshare);
    let Some(pidfd) = open(target) else { return };
    let _ = pidfd_send_signal(&pidfd, Signal::TERM);
    if !ends_within(&pidfd, END_MAX) {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
}

fn open(pid: u32) -> Option<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

fn exit_code(status: ExitStatus, caught: i32) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = match (caught, status.code(), status.signal()) {
        (0, Some(code), _) => code,
        (0, None, signal) => SIGNALLED + signal.unwrap_or_default(),
        (signal, ..) => SIGNALLED + signal,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
