//! A node: one `pigeond` with its config, its data, its command line and its events.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use serde_json::Value;

use crate::daemon::Daemon;
use crate::error::{HarnessError, Result};
use crate::files::{binary, write_private};
use crate::node_spec::NodeSpec;
use crate::place::Place;
use crate::spawn::{Process, shown, tethered};
use crate::wait::Deadline;
use crate::watch::Watch;

/// From start to an answering socket.
const START_MAX: Duration = Duration::from_secs(30);
/// `sun_path` without its closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A running node. Dropping it kills its daemon; its files belong to the caller's directory.
#[derive(Debug)]
pub struct Node {
    name: String,
    dir: PathBuf,
    socket: PathBuf,
    pigeon: PathBuf,
    daemon: Daemon,
    watch: Watch,
    follower: Option<Process>,
}

impl Node {
    /// Writes the node's files into `dir/<name>`, starts `pigeond` in `place`, and returns once it answers and
    /// its events are being read.
    ///
    /// # Errors
    /// When a binary is missing, the socket's path is too long, or the daemon does not answer in 30 s.
    pub fn start(place: impl Into<Place>, spec: &NodeSpec, dir: &Path) -> Result<Self> {
        let dir = dir.join(&spec.name);
        fs::create_dir_all(&dir).map_err(HarnessError::file("create", &dir))?;
        let socket = socket_in(&dir)?;
        if let Some(account) = &spec.account {
            write_private(&dir.join("password"), &format!("{}\n", account.password))?;
        }
        let config = dir.join("pigeond.toml");
        write_private(&config, &spec.toml(&dir, &socket))?;
        let args = vec!["--config".into(), config.into()];
        let (pigeond, pigeon) = (binary("pigeond")?, binary("pigeon")?);
        let daemon = Daemon::start(place, &spec.name, pigeond, args, dir.join("log"))?;
        let (name, watch) = (spec.name.clone(), Watch::default());
        let mut node = Self { name, dir, socket, pigeon, daemon, watch, follower: None };
        node.wait_ready(START_MAX)?;
        Ok(node)
    }

    /// Waits until the daemon answers, and reads its events from its very first.
    ///
    /// # Errors
    /// At the deadline, or when the daemon has ended.
    pub fn wait_ready(&mut self, deadline: impl Into<Deadline>) -> Result<()> {
        let deadline = deadline.into();
        let (socket, status) = (self.socket.clone(), self.command(&["status"]));
        // The socket alone costs no process, and says nothing before the daemon serves it.
        self.daemon.wait_ready(deadline, || UnixStream::connect(&socket).ok())?;
        let mut status = status;
        self.daemon.wait_ready(deadline, || status.output().ok().filter(|output| output.status.success()))?;
        self.follower = None;
        let follow = self.command(&["--json", "watch", "--replay"]);
        self.follower = Some(self.watch.follow(follow, &self.dir.join("watch.log"))?);
        Ok(())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of its config, data and logs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The local API's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The daemon, to look at.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Its events.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// `pigeon` with this node's socket and these arguments.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        // A Unix socket has a path, whatever the network namespace.
        let mut command = tethered(&self.pigeon);
        command.arg("--socket").arg(&self.socket).args(args);
        command
    }

    /// Runs `pigeon` and returns whatever it says, refusals too.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn cli(&self, args: &[&str]) -> Result<Output> {
        self.command(args).output().map_err(|source| HarnessError::Start {
            program: "pigeon".to_owned(),
            package: "util-linux",
            source,
        })
    }

    /// Runs `pigeon` and returns what it prints.
    ///
    /// # Errors
    /// When it cannot be run or refuses.
    pub fn say(&self, args: &[&str]) -> Result<String> {
        let output = self.cli(args)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(HarnessError::Failed {
            command: format!("[{}] {}", self.name, shown(&self.command(args))),
            status: output.status.to_string(),
            output: format!("{}{}", text(&output.stdout), text(&output.stderr)),
        })
    }

    /// Runs `pigeon --json` and parses the one object it prints.
    ///
    /// # Errors
    /// When it cannot be run, refuses, or prints something else.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let said = self.say(&[&["--json"], args].concat())?;
        serde_json::from_str(&said).map_err(|error| HarnessError::Output {
            what: format!("the JSON of `pigeon {}`", args.join(" ")),
            detail: format!("{error}: {said}"),
        })
    }

    /// The node key by which its neighbours know it now.
    ///
    /// # Errors
    /// As [`Node::json`].
    pub fn node_key(&self) -> Result<String> {
        Ok(text_of(&self.json(&["status"])?, "node_key"))
    }

    /// Gives `other` this node's card, as two people do who meet.
    ///
    /// # Errors
    /// When either daemon refuses.
    pub fn give_card_to(&self, other: &Self) -> Result<()> {
        let card = text_of(&self.json(&["id"])?, "card");
        other.say(&["card", "import", &card]).map(|_said| ())
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        self.daemon.kill9();
        self.follower = None;
    }

    /// SIGTERM, and how the daemon ended.
    ///
    /// # Errors
    /// When it has not ended by the deadline.
    pub fn terminate(&mut self, deadline: impl Into<Deadline>) -> Result<ExitStatus> {
        let status = self.daemon.terminate(deadline)?;
        self.follower = None;
        Ok(status)
    }

    /// Starts the daemon again with the same files, and returns once it answers.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.kill9();
        self.daemon.launch()?;
        self.wait_ready(START_MAX)
    }

    /// Whether the daemon runs.
    pub fn is_running(&mut self) -> bool {
        self.daemon.is_running()
    }
}

/// A string field of a JSON object; empty when it is not there.
#[must_use]
pub fn text_of(object: &Value, field: &str) -> String {
    object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn socket_in(dir: &Path) -> Result<PathBuf> {
    let socket = dir.join("pigeond.sock");
    if socket.as_os_str().as_bytes().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok(socket);
    }
    Err(HarnessError::Output {
        what: format!("the socket's path {}", socket.display()),
        detail: format!("longer than {SOCKET_PATH_BYTES_MAX} bytes; set TMPDIR to a shorter one"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_socket_path_that_the_kernel_would_cut_is_refused() {
        assert!(socket_in(Path::new("/tmp/x")).is_ok());
        let error = socket_in(Path::new(&format!("/tmp/{}", "x".repeat(100)))).unwrap_err();
        assert!(error.to_string().contains("TMPDIR"), "{error}");
    }
}
