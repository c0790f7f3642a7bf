//! A real XMPP server with its own config, data, accounts and test CA; never the system's service.

mod both;
mod ca;
mod ejabberd;
mod prosody;
mod spec;
mod state;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::{HarnessError, Result};
use crate::place::Place;
use crate::spawn::{Process, tail};
use crate::wait::{Deadline, listens, poll_until};

pub use spec::{Kind, ServerSpec};
use state::{Ports, State};

/// From start to accepting on all ports; seconds on a loaded machine with two cores.
const START_MAX: Duration = Duration::from_secs(240);
/// From SIGTERM to the end, before it is killed.
const STOP_MAX: Duration = Duration::from_secs(15);

/// A running server. Dropping it kills the server and removes its files.
#[derive(Debug)]
pub struct Server {
    // Dropped in this order: what still runs could write into a folder that is being removed.
    process: Option<Process>,
    place: Place,
    spec: ServerSpec,
    ports: Ports,
    state: State,
}

impl Server {
    /// Makes CA, config and accounts, starts the server in `place`, and returns once its ports listen.
    ///
    /// # Errors
    /// When the server, one of its modules or openssl is missing, or it does not come up in two minutes.
    pub fn start(place: impl Into<Place>, spec: ServerSpec) -> Result<Self> {
        let place = place.into();
        let state = State::make(&spec)?;
        let ports = Ports::choose(&place, &spec)?;
        let shards = spec.shard_names();
        let mut names = vec![spec.domain.as_str(), spec.bridge.as_str()];
        names.extend(shards.iter().map(String::as_str));
        ca::make(&state.path, &names)?;
        let mut server = Self { process: None, place, spec, ports, state };
        match server.spec.kind {
            Kind::Prosody => prosody::prepare(&server)?,
            Kind::Ejabberd => ejabberd::prepare(&server)?,
        }
        server.launch()?;
        Ok(server)
    }

    /// [`Server::start`] outside any namespace, on a loopback address of its own.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_on_loopback(spec: ServerSpec) -> Result<Self> {
        Self::start(Place::Here, spec)
    }

    /// Which program it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.spec.kind
    }

    /// The test CA's certificate (PEM), which clients must trust.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.state.path.join("ca.crt")
    }

    /// Where clients connect (STARTTLS).
    #[must_use]
    pub fn c2s_addr(&self) -> SocketAddr {
        self.ports.c2s
    }

    /// The port of [`Server::c2s_addr`].
    #[must_use]
    pub fn c2s_port(&self) -> u16 {
        self.ports.c2s.port()
    }

    /// Where components connect.
    #[must_use]
    pub fn component_addr(&self) -> SocketAddr {
        self.ports.component
    }

    /// The port of [`Server::component_addr`].
    #[must_use]
    pub fn component_port(&self) -> u16 {
        self.ports.component.port()
    }

    /// What it was started with: domain, bridge, component secret, accounts.
    #[must_use]
    pub fn spec(&self) -> &ServerSpec {
        &self.spec
    }

    /// The server's log.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.state.path.join("server.log")
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// How often a component has logged in so far, by the server's own log.
    #[must_use]
    pub fn component_logins(&self) -> usize {
        let marker = match self.spec.kind {
            Kind::Prosody => "External component successfully authenticated",
            Kind::Ejabberd => "Accepted external component handshake authentication",
        };
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).matches(marker).count()
    }

    /// What the server archived for `user`, as it is on disk.
    #[must_use]
    pub fn archive(&self, user: &str) -> String {
        match self.spec.kind {
            Kind::Prosody => prosody::archive(self, user),
            Kind::Ejabberd => ejabberd::archive(self),
        }
    }

    /// Adds an account while the server runs.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn add_account(&self, name: &str, password: &str) -> Result<()> {
        match self.spec.kind {
            Kind::Prosody => prosody::register(self, name, password),
            Kind::Ejabberd => ejabberd::register(self, name, password),
        }
    }

    /// Removes an account and all that the server keeps for it.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn remove_account(&self, name: &str) -> Result<()> {
        match self.spec.kind {
            Kind::Prosody => prosody::unregister(self, name),
            Kind::Ejabberd => ejabberd::unregister(self, name),
        }
    }

    /// Clean stop: SIGTERM, and SIGKILL if it has not ended after 15 s.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // A server that does not stop is killed by the drop.
            let _ = process.terminate(STOP_MAX);
        }
    }

    /// SIGKILL, as a crash would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it if it runs, and starts it again on the same ports with the same data.
    ///
    /// # Errors
    /// When it does not come up again in a minute.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        self.launch()
    }

    fn package(&self) -> &'static str {
        match self.spec.kind {
            Kind::Prosody => prosody::PACKAGE,
            Kind::Ejabberd => ejabberd::PACKAGE,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.state.path.join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.file(name);
        fs::write(&path, text).map_err(HarnessError::file("write", &path))
    }

    fn launch(&mut self) -> Result<()> {
        let command = match self.spec.kind {
            Kind::Prosody => prosody::command(self),
            Kind::Ejabberd => ejabberd::command(self)?,
        };
        let name = self.spec.kind.name();
        let process = Process::spawn(name, self.package(), self.logged(command)?)?;
        self.process = Some(process);
        self.wait_ready()
    }

    /// What the program says beside its log goes into a file, too.
    fn logged(&self, mut command: Command) -> Result<Command> {
        let path = self.file("stdout.log");
        let stdout = File::create(&path).map_err(HarnessError::file("create", &path))?;
        let stderr = stdout.try_clone().map_err(HarnessError::file("open", &path))?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        Ok(command)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let (ports, kind) = (self.ports, self.spec.kind);
        let (stdout, log, ready) = (self.file("stdout.log"), self.log_file(), self.file(ejabberd::READY));
        let Some(process) = &mut self.process else { return Ok(()) };
        let deadline = Deadline::after(START_MAX);
        let outcome = poll_until(deadline, || match process.ended() {
            Some(status) => Some(Err(HarnessError::Ended {
                what: kind.name().to_owned(),
                status: status.to_string(),
                log: words(&stdout, &log),
            })),
            None => {
                let pid = process.pid();
                let up = [ports.c2s, ports.component].iter().all(|at| listens(pid, at.ip(), at.port()));
                (up && (kind != Kind::Ejabberd || ready.exists())).then_some(Ok(()))
            }
        });
        outcome.unwrap_or_else(|| {
            Err(HarnessError::Timeout {
                what: format!("{} listening on all ports", kind.name()),
                waited: deadline.length(),
                context: format!("; its log:\n{}", words(&stdout, &log)),
            })
        })
    }
}

fn words(stdout: &Path, log: &Path) -> String {
    format!("{}\n{}", tail(stdout, 20), tail(log, 20))
}
