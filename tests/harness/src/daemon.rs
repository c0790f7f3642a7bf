//! A program of ours that runs until it is told to stop: `pigeond`, `pigeon-bridge`.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::thread;

use crate::error::{HarnessError, Result};
use crate::place::Place;
use crate::spawn::{Process, tail};
use crate::wait::{Deadline, poll_until};

/// Nothing but the build brings our own programs.
const PACKAGE: &str = "cargo";
/// Lines of a log that go into errors and onto the terminal of a failed test.
const TAIL_LINES: usize = 40;

/// A daemon with its place, command line and log. Dropping it kills it; in a test that is failing it prints
/// the end of its log first.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    place: Place,
    program: PathBuf,
    args: Vec<OsString>,
    log: PathBuf,
    process: Option<Process>,
}

impl Daemon {
    /// Starts `program` in `place`; its output is appended to `log`. It need not be ready yet.
    ///
    /// # Errors
    /// When it cannot be started or the log not be opened.
    pub fn start(
        place: impl Into<Place>,
        name: &str,
        program: PathBuf,
        args: Vec<OsString>,
        log: PathBuf,
    ) -> Result<Self> {
        let mut daemon =
            Self { name: name.to_owned(), place: place.into(), program, args, log, process: None };
        daemon.launch()?;
        Ok(daemon)
    }

    /// Starts it again with the same command line, after it has ended or been killed.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn launch(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.map_err(HarnessError::file("open", &self.log))?;
        let errors = log.try_clone().map_err(HarnessError::file("open", &self.log))?;
        let mut command = self.place.command(&self.program);
        command.args(&self.args).stdin(Stdio::null()).stdout(log).stderr(errors);
        // One that still runs is killed first by the drop.
        self.process = None;
        self.process = Some(Process::spawn(&self.name, PACKAGE, command)?);
        Ok(())
    }

    /// Waits until `ready` yields a value, or the daemon has ended.
    ///
    /// # Errors
    /// At the deadline, or when the daemon has ended, with the end of its log.
    pub fn wait_ready<T>(
        &mut self,
        deadline: impl Into<Deadline>,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        let deadline = deadline.into();
        let outcome = poll_until(deadline, || match self.ended() {
            Some(status) => Some(Err(self.has_ended(&status.to_string()))),
            None => ready().map(Ok),
        });
        outcome.unwrap_or_else(|| {
            Err(HarnessError::Timeout {
                what: format!("{} being ready", self.name),
                waited: deadline.length(),
                context: format!("; its log:\n{}", self.log_tail()),
            })
        })
    }

    /// SIGKILL, as a crash or the kernel's memory killer would.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Errors
    /// When it does not run, or has not ended by the deadline.
    pub fn terminate(&mut self, deadline: impl Into<Deadline>) -> Result<ExitStatus> {
        let Some(process) = &mut self.process else { return Err(self.has_ended("before")) };
        let status = process.terminate(deadline)?;
        self.process = None;
        Ok(status)
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.is_some() && self.ended().is_none()
    }

    /// Its process id, unless it was stopped here.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log, TAIL_LINES)
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(Process::ended)
    }

    fn has_ended(&self, status: &str) -> HarnessError {
        HarnessError::Ended { what: self.name.clone(), status: status.to_owned(), log: self.log_tail() }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if thread::panicking() {
            // Past the test runner's capture: a failed test of several processes is nothing without their logs.
            let _ = writeln!(std::io::stderr(), "--- end of {}'s log\n{}", self.name, self.log_tail());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn shell(script: &str, folder: &Path) -> Daemon {
        let args = vec!["-c".into(), script.into()];
        Daemon::start(Place::Here, "shell", "sh".into(), args, folder.join("log")).unwrap()
    }

    #[test]
    fn one_that_ends_instead_of_getting_ready_is_an_error_with_its_last_words() {
        let dir = crate::files::temp_dir("pigeon-daemon-").unwrap();
        let mut daemon = shell("echo no such key; exit 3", dir.path());
        let error = daemon.wait_ready(Deadline::secs(10), || None::<()>).unwrap_err().to_string();
        assert!(error.contains("no such key") && error.contains('3'), "{error}");
    }

    #[test]
    fn it_is_stopped_killed_and_started_again() {
        let dir = crate::files::temp_dir("pigeon-daemon-").unwrap();
        let log = dir.path().join("log");
        let mut daemon = shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done", dir.path());
        let ups = || std::fs::read_to_string(&log).unwrap().lines().filter(|line| *line == "up").count();
        let reached = |count: usize| move || (ups() == count).then_some(());
        daemon.wait_ready(Deadline::secs(10), reached(1)).unwrap();
        assert_eq!(daemon.terminate(Deadline::secs(10)).unwrap().code(), Some(7));
        assert!(!daemon.is_running());
        assert!(daemon.terminate(Deadline::secs(1)).is_err(), "stopped twice");
        daemon.launch().unwrap();
        daemon.wait_ready(Deadline::secs(10), reached(2)).unwrap();
        daemon.kill9();
        assert!(!daemon.is_running());
    }
}
