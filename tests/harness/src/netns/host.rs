//! A host: a network namespace and the small process that holds it open.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{HarnessError, Result};
use crate::spawn::{Process, run_with_input, tethered};

pub(super) const IPROUTE: &str = "iproute2 util-linux";

/// Loopback up; addresses usable at once; nothing forwarded, even where the machine does (a new namespace copies
/// that from it). Then it waits for its standard input to close, which it does when the
/// harness ends, should the death signal ever miss it. Sysctls may be read-only in a container: addresses then
/// take the kernel's second of duplicate detection, nothing else changes.
const PAUSE: &str = r"
for scope in all default; do
  for knob in accept_dad dad_transmits; do
    echo 0 2>/dev/null >/proc/sys/net/ipv6/conf/$scope/$knob
  done
done
echo 0 2>/dev/null >/proc/sys/net/ipv4/ip_forward
ip link set lo up && echo up && exec cat >/dev/null";

/// A network namespace and what runs in it. Clones are the same host. Dropping the last one, or its world,
/// kills every process in the namespace.
#[derive(Debug, Clone)]
pub struct Host {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    /// How `/proc` shows the namespace: `net:[4026532321]`.
    identity: PathBuf,
    namespace: File,
    pause_pid: u32,
    pause: Mutex<Option<Process>>,
}

impl Host {
    pub(super) fn start(name: &str) -> Result<Self> {
        let mut command = tethered("unshare");
        command.args(["--net", "--", "sh", "-c", PAUSE]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut pause = Process::spawn(&format!("namespace of {name}"), IPROUTE, command)?;
        wait_up(&mut pause)?;
        let link = format!("/proc/{}/ns/net", pause.pid());
        let entered = |action| {
            let host = name.to_owned();
            move |source| HarnessError::Namespace { host, action, source }
        };
        let shared = Shared {
            name: name.to_owned(),
            identity: fs::read_link(&link).map_err(entered("read its namespace"))?,
            namespace: File::open(&link).map_err(entered("open its namespace"))?,
            pause_pid: pause.pid(),
            pause: Mutex::new(Some(pause)),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// How `/proc/<pid>/ns/net` shows its namespace.
    #[must_use]
    pub fn namespace(&self) -> &std::path::Path {
        &self.shared.identity
    }

    /// A command on this host, killed by the kernel when the thread that spawns it dies: use
    /// [`Process::spawn`] for what should live longer than the calling thread.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.shared.pause_pid));
        command.args(["--", "setpriv", "--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// Does some work on a thread inside the namespace: sockets made there belong to this host for ever.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace = &self.shared.namespace;
        let entered = thread::scope(|scope| {
            let inside = scope.spawn(move || -> io::Result<T> {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        entered.map_err(|source| HarnessError::Namespace {
            host: self.name().to_owned(),
            action: "enter its namespace",
            source,
        })
    }

    /// Runs a list of `ip` commands on this host, one per line.
    ///
    /// # Errors
    /// When one of them fails.
    pub fn ip(&self, commands: &str) -> Result<()> {
        let mut command = self.command("ip");
        command.args(["-batch", "-"]);
        run_with_input(IPROUTE, command, commands).map(|_said| ())
    }

    /// The ids of all processes in the namespace, its holder among them.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.shared.processes()
    }

    pub(super) fn pause_pid(&self) -> u32 {
        self.shared.pause_pid
    }

    /// Kills everything in the namespace and gives it up.
    pub(super) fn destroy(&self) {
        self.shared.destroy();
    }
}

impl Shared {
    fn processes(&self) -> Vec<u32> {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| self.holds(*pid))
            .collect()
    }

    fn holds(&self, pid: u32) -> bool {
        fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|link| link == self.identity)
    }

    /// Kills `pid` if it is still one of ours once it can be addressed for sure: ids are used again, a pidfd
    /// is not.
    fn kill(&self, pid: u32) {
        let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
        if let Ok(pidfd) = pidfd_open(id, PidfdFlags::empty())
            && self.holds(pid)
        {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }

    fn destroy(&self) {
        /// A process may fork while its siblings are being killed; nothing of ours does so for ever.
        const ROUNDS_MAX: usize = 20;
        let Some(pause) = self.pause.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        for _round in 0..ROUNDS_MAX {
            let mut others = self.processes();
            others.retain(|pid| *pid != pause.pid());
            if others.is_empty() {
                break;
            }
            others.into_iter().for_each(|pid| self.kill(pid));
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.destroy();
    }
}

/// Reads the holder's one line.
fn wait_up(pause: &mut Process) -> Result<()> {
    let mut line = String::new();
    if let Some(stdout) = pause.child().stdout.take() {
        let _ = BufReader::new(stdout).read_line(&mut line);
    }
    if line == "up\n" {
        return Ok(());
    }
    let mut reason = String::new();
    if let Some(mut stderr) = pause.child().stderr.take() {
        let _ = io::Read::read_to_string(&mut stderr, &mut reason);
    }
    Err(HarnessError::Privilege { reason: reason.trim().to_owned() })
}
