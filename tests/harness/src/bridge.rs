//! A running `pigeon-bridge`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::daemon::Daemon;
use crate::error::{HarnessError, Result};
use crate::files::{binary, toml_path, toml_string, write_private};
use crate::place::Place;
use crate::server::Server;
use crate::wait::Deadline;

/// From start to the component being logged in.
const START_MAX: Duration = Duration::from_secs(30);

/// What a bridge is to be.
#[derive(Debug, Clone)]
pub struct BridgeSpec {
    /// Its domain, which is the component's.
    pub domain: String,
    /// `host:port` of the component listener.
    pub server: String,
    /// The component's secret.
    pub secret: String,
    /// The hosts whose users it serves.
    pub hosts: Vec<String>,
    /// More TOML, for the end of the file.
    pub more: String,
}

impl BridgeSpec {
    /// The bridge that `prosody` expects, reaching it at `server`.
    #[must_use]
    pub fn of(prosody: &Server, server: &str) -> Self {
        let spec = prosody.spec();
        Self {
            domain: spec.bridge.clone(),
            server: server.to_owned(),
            secret: spec.component_secret.clone(),
            hosts: vec![spec.domain.clone()],
            more: String::new(),
        }
    }

    fn toml(&self, dir: &Path) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(|host| toml_string(host)).collect();
        format!(
            "data_dir = {data}\ndomain = {domain}\nserver = {server}\nsecret_file = {secret}\nhosts = [{hosts}]\n{more}\n",
            data = toml_path(&dir.join("data")),
            domain = toml_string(&self.domain),
            server = toml_string(&self.server),
            secret = toml_path(&dir.join("secret")),
            hosts = hosts.join(", "),
            more = self.more,
        )
    }
}

/// A running bridge. Dropping it kills it.
#[derive(Debug)]
pub struct Bridge {
    daemon: Daemon,
    config: PathBuf,
}

impl Bridge {
    /// Writes the bridge's files into `dir/bridge`, starts it in `place`, and returns once `prosody` has let it
    /// in.
    ///
    /// # Errors
    /// When the binary is missing, or it is not logged in after 30 s.
    pub fn start(place: impl Into<Place>, spec: &BridgeSpec, prosody: &Server, dir: &Path) -> Result<Self> {
        let dir = dir.join("bridge");
        fs::create_dir_all(&dir).map_err(HarnessError::file("create", &dir))?;
        write_private(&dir.join("secret"), &format!("{}\n", spec.secret))?;
        let config = dir.join("pigeon-bridge.toml");
        write_private(&config, &spec.toml(&dir))?;
        let before = prosody.component_logins();
        let args = vec!["--config".into(), config.clone().into()];
        let daemon = Daemon::start(place, "pigeon-bridge", binary("pigeon-bridge")?, args, dir.join("log"))?;
        let mut bridge = Self { daemon, config };
        bridge.wait_online(prosody, before)?;
        Ok(bridge)
    }

    /// Starts it again with the same files, and returns once `prosody` has let it in.
    ///
    /// # Errors
    /// As [`Bridge::start`].
    pub fn restart(&mut self, prosody: &Server) -> Result<()> {
        let before = prosody.component_logins();
        self.daemon.launch()?;
        self.wait_online(prosody, before)
    }

    fn wait_online(&mut self, prosody: &Server, before: usize) -> Result<()> {
        self.daemon.wait_ready(START_MAX, || (prosody.component_logins() > before).then_some(()))
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        self.daemon.kill9();
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Errors
    /// When it has not ended by the deadline.
    pub fn terminate(&mut self, deadline: impl Into<Deadline>) -> Result<ExitStatus> {
        self.daemon.terminate(deadline)
    }

    /// Runs `pigeon-bridge` beside it with its config file: whether that went well, and what it said.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn ask(&self, args: &[&str]) -> Result<(bool, String)> {
        let program = binary("pigeon-bridge")?;
        let mut command = Command::new(&program);
        let output = command.arg("--config").arg(&self.config).args(args).output();
        let output = output.map_err(HarnessError::file("run", &program))?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }

    /// Its config file.
    #[must_use]
    pub fn config_file(&self) -> &Path {
        &self.config
    }

    /// The daemon, to look at.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }
}
