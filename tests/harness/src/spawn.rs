//! Child processes that cannot outlive the harness.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{HarnessError, Result};
use crate::wait::Deadline;

/// A command that the kernel kills when the thread that spawned it dies.
///
/// The signal follows the *thread*, so spawn it with [`Process::spawn`], whose thread lives as long as this
/// process; with `output()` the calling thread waits anyway.
#[must_use]
pub fn tethered(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

type Job = (Command, Sender<io::Result<Child>>);

/// The one thread that spawns: `PR_SET_PDEATHSIG` fires when it ends, which is when this process does.
fn spawner() -> &'static Mutex<Sender<Job>> {
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (jobs, queue) = channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in queue {
                // The asker may have gone (a test that panicked): then the child is not wanted either.
                if let Err(unwanted) = answer.send(command.spawn())
                    && let Ok(mut child) = unwanted.0
                {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        });
        Mutex::new(jobs)
    })
}

fn spawn_on_spawner(command: Command) -> io::Result<Child> {
    let (answer, result) = channel();
    let gone = || io::Error::other("the spawner thread has ended");
    spawner()
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer))
        .map_err(|_closed| gone())?;
    result.recv().map_err(|_closed| gone())?
}

/// A running child. Dropping it kills it with `SIGKILL` and reaps it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pidfd: OwnedFd,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`, which should come from [`tethered`] or `Host::command`.
    ///
    /// # Errors
    /// When it cannot be started; `package` names the Debian package that brings the program.
    pub fn spawn(name: &str, package: &'static str, command: Command) -> Result<Self> {
        let start = |source| HarnessError::Start { program: name.to_owned(), package, source };
        let child = spawn_on_spawner(command).map_err(start)?;
        let pidfd = pidfd_open(pid_of(&child), PidfdFlags::empty()).map_err(|source| {
            HarnessError::Start { program: name.to_owned(), package, source: source.into() }
        })?;
        Ok(Self { name: name.to_owned(), child, pidfd, status: None })
    }

    /// The process id. It stays ours until the process is reaped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The name given at the start.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The child, to take its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal. A process that has ended already is no error.
    pub fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When it still runs at the deadline.
    pub fn wait(&mut self, deadline: impl Into<Deadline>) -> Result<ExitStatus> {
        let deadline = deadline.into();
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if deadline.passed() {
                return Err(HarnessError::Timeout {
                    what: format!("the end of {} (pid {})", self.name, self.pid()),
                    waited: deadline.length(),
                    context: String::new(),
                });
            }
            ends_within(&self.pidfd, deadline.left());
        }
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When it still runs at the deadline.
    pub fn terminate(&mut self, deadline: impl Into<Deadline>) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        self.wait(deadline)
    }

    /// Sends SIGKILL and reaps.
    pub fn kill9(&mut self) {
        self.signal(Signal::KILL);
        if self.status.is_none() {
            self.status = self.child.wait().ok();
        }
    }
}

/// Waits until the process has ended (a pidfd is readable from then on) or the time is over; whether it has.
pub(crate) fn ends_within(pidfd: &OwnedFd, most: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: most.subsec_nanos().into(),
    };
    poll(&mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)], Some(&timeout)) == Ok(1)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started, or ends with anything but 0.
pub fn run(package: &'static str, command: Command) -> Result<String> {
    run_with_input(package, command, "")
}

/// [`run`], with a standard input small enough for a pipe's buffer.
///
/// # Errors
/// As [`run`].
pub fn run_with_input(package: &'static str, mut command: Command, input: &str) -> Result<String> {
    let (shown, program) = (shown(&command), command.get_program().to_string_lossy().into_owned());
    let failed = |source| HarnessError::Start { program: program.clone(), package, source };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading says why on its standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(HarnessError::Failed {
        command: shown,
        status: output.status.to_string(),
        output: format!("{} {}", text(&output.stdout), text(&output.stderr)),
    })
}

/// The command line as a person would type it.
#[must_use]
pub fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// The last `lines` lines of a log file; empty when there is none.
#[must_use]
pub fn tail(path: &std::path::Path, lines: usize) -> String {
    /// Enough for any tail that a person reads.
    const TAIL_BYTES: usize = 64 * 1024;
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn sleeper() -> Process {
        let mut command = tethered("sleep");
        command.arg("600");
        Process::spawn("sleep", "coreutils", command).unwrap()
    }

    #[test]
    fn terminate_gives_the_status() {
        let status = sleeper().terminate(Deadline::secs(10)).unwrap();
        assert!(!status.success());
    }

    #[test]
    fn a_process_that_goes_on_is_a_timeout() {
        let error = sleeper().wait(Duration::from_millis(30)).unwrap_err();
        assert!(error.to_string().contains("the end of sleep"), "{error}");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = sleeper();
        let pid = process.pid();
        drop(process);
        assert!(!std::path::Path::new(&format!("/proc/{pid}/exe")).exists());
    }

    #[test]
    fn children_survive_the_thread_that_asked_for_them() {
        let mut process = thread::spawn(sleeper).join().unwrap();
        assert!(process.ended().is_none());
        // Were the death signal tied to the asking thread, SIGKILL would have come before SIGTERM.
        let status = process.terminate(Deadline::secs(10)).unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    }

    #[test]
    fn an_unknown_program_is_an_error_that_names_it() {
        let mut command = Command::new("pigeon-no-such-program");
        command.stdout(Stdio::null());
        let error = Process::spawn("pigeon-no-such-program", "nothing", command).unwrap_err();
        assert!(error.to_string().contains("pigeon-no-such-program"), "{error}");
    }
}
