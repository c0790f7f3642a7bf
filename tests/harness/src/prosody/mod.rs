//! A real Prosody with its own config, data, accounts and test CA; never the system's service.

mod ca;
mod config;

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::error::{HarnessError, Result};
use crate::place::Place;
use crate::spawn::{Process, run, tail};
use crate::wait::{Deadline, listens, poll_until};

pub use config::ProsodySpec;

/// The usual port for clients.
const C2S_PORT: u16 = 5222;
/// The usual port for components.
const COMPONENT_PORT: u16 = 5347;
const PACKAGE: &str = "prosody prosody-modules openssl";
/// From start to accepting on both ports; seconds on a loaded machine with two cores.
const START_MAX: Duration = Duration::from_secs(30);
/// From SIGTERM to the end, before it is killed.
const STOP_MAX: Duration = Duration::from_secs(15);

/// A running Prosody. Dropping it kills the server and removes its files.
#[derive(Debug)]
pub struct Prosody {
    place: Place,
    spec: ProsodySpec,
    state: State,
    c2s: SocketAddr,
    component: SocketAddr,
    process: Option<Process>,
}

/// The directory with everything of one server; owned when the harness made it.
#[derive(Debug)]
struct State {
    path: PathBuf,
    _owned: Option<TempDir>,
}

impl Prosody {
    /// Makes CA, config and accounts, starts the server in `place`, and returns once both ports listen.
    ///
    /// # Errors
    /// When Prosody, its `privilege` module or openssl is missing, or it does not come up in 30 s.
    pub fn start(place: impl Into<Place>, spec: ProsodySpec) -> Result<Self> {
        let place = place.into();
        let state = State::make(&spec)?;
        let (c2s, component) = addresses(&place, &spec)?;
        ca::make(&state.path, &[&spec.domain, &spec.bridge])?;
        let path = state.path.join("prosody.cfg.lua");
        fs::write(&path, config::lua(&spec, &state.path, c2s, component))
            .map_err(HarnessError::file("write", &path))?;
        let mut prosody = Self { place, spec, state, c2s, component, process: None };
        prosody.register_accounts()?;
        prosody.launch()?;
        Ok(prosody)
    }

    /// [`Prosody::start`] outside any namespace, on a loopback address of its own.
    ///
    /// # Errors
    /// As [`Prosody::start`].
    pub fn start_on_loopback(spec: ProsodySpec) -> Result<Self> {
        Self::start(Place::Here, spec)
    }

    /// The test CA's certificate (PEM), which clients must trust.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.state.path.join("ca.crt")
    }

    /// Where clients connect (STARTTLS).
    #[must_use]
    pub fn c2s_addr(&self) -> SocketAddr {
        self.c2s
    }

    /// The port of [`Prosody::c2s_addr`].
    #[must_use]
    pub fn c2s_port(&self) -> u16 {
        self.c2s.port()
    }

    /// Where components connect.
    #[must_use]
    pub fn component_addr(&self) -> SocketAddr {
        self.component
    }

    /// The port of [`Prosody::component_addr`].
    #[must_use]
    pub fn component_port(&self) -> u16 {
        self.component.port()
    }

    /// What it was started with: domain, bridge, component secret, accounts.
    #[must_use]
    pub fn spec(&self) -> &ProsodySpec {
        &self.spec
    }

    /// The server's log.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.state.path.join("prosody.log")
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// How often a component has logged in so far, by the server's own log.
    #[must_use]
    pub fn component_logins(&self) -> usize {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).matches("External component successfully authenticated").count()
    }

    /// What the server archived for `user`, as it is on disk: stanzas as Lua tables, one after the other.
    #[must_use]
    pub fn archive(&self, user: &str) -> String {
        let encoded = |text: &str| text.replace('.', "%2e").replace('-', "%2d");
        let folder = self.state.path.join("data").join(encoded(&self.spec.domain)).join("archive");
        let file = folder.join(format!("{}.list", encoded(user)));
        String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
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
    /// When it does not come up again in 30 s.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        self.launch()
    }

    fn config_file(&self) -> PathBuf {
        self.state.path.join("prosody.cfg.lua")
    }

    /// prosodyctl writes the data files itself, no running server needed. Each call loads Lua anew: side by side.
    fn register_accounts(&self) -> Result<()> {
        thread::scope(|scope| {
            let jobs: Vec<_> = self
                .spec
                .users
                .iter()
                .map(|(name, password)| scope.spawn(move || self.register(name, password)))
                .collect();
            jobs.into_iter().try_for_each(|job| match job.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    fn register(&self, name: &str, password: &str) -> Result<()> {
        let mut command = self.place.command("prosodyctl");
        command.arg("--root").arg("--config").arg(self.config_file());
        command.args(["register", name, &self.spec.domain, password]);
        run(PACKAGE, command).map(|_said| ())
    }

    fn launch(&mut self) -> Result<()> {
        let path = self.state.path.join("stdout.log");
        let stdout = File::create(&path).map_err(HarnessError::file("create", &path))?;
        let stderr = stdout.try_clone().map_err(HarnessError::file("open", &path))?;
        let mut command = self.place.command("prosody");
        command.args(["--root", "-F", "--config"]).arg(self.config_file());
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let process = self.process.insert(Process::spawn("prosody", PACKAGE, command)?);
        wait_ready(process, &self.state.path, [self.c2s, self.component])
    }
}

fn wait_ready(process: &mut Process, state: &Path, ports: [SocketAddr; 2]) -> Result<()> {
    let words =
        || format!("{}\n{}", tail(&state.join("stdout.log"), 20), tail(&state.join("prosody.log"), 20));
    let deadline = Deadline::after(START_MAX);
    let outcome = poll_until(deadline, || match process.ended() {
        Some(status) => Some(Err(HarnessError::Ended {
            what: "prosody".to_owned(),
            status: status.to_string(),
            log: words(),
        })),
        None => {
            let pid = process.pid();
            ports.iter().all(|port| listens(pid, port.ip(), port.port())).then_some(Ok(()))
        }
    });
    outcome.unwrap_or_else(|| {
        Err(HarnessError::Timeout {
            what: "prosody listening on both ports".to_owned(),
            waited: deadline.length(),
            context: format!("; its log:\n{}", words()),
        })
    })
}

/// Inside a namespace the usual ports are free; on the machine itself, free ones on an address of our own.
fn addresses(place: &Place, spec: &ProsodySpec) -> Result<(SocketAddr, SocketAddr)> {
    match place {
        Place::Host(_) => {
            let ip = spec.listen.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            Ok((SocketAddr::new(ip, C2S_PORT), SocketAddr::new(ip, COMPONENT_PORT)))
        }
        Place::Here => {
            let ip = spec.listen.unwrap_or_else(private_loopback);
            let taken = |source| HarnessError::Start {
                program: format!("a listener on {ip}"),
                package: PACKAGE,
                source,
            };
            // Both are held until both are known, so that they differ.
            let c2s = TcpListener::bind((ip, 0)).map_err(taken)?;
            let component = TcpListener::bind((ip, 0)).map_err(taken)?;
            Ok((c2s.local_addr().map_err(taken)?, component.local_addr().map_err(taken)?))
        }
    }
}

/// A random address in 127.0.0.0/8: tests that run side by side cannot take each other's ports between
/// choosing one and Prosody's binding it.
fn private_loopback() -> IpAddr {
    use std::hash::{BuildHasher, RandomState};
    let [a, b, c, ..] = RandomState::new().hash_one(std::process::id()).to_le_bytes();
    // 127.0.0.x belongs to people; .0 and .255 stay out of the way of anything that thinks in broadcasts.
    IpAddr::from([127, 1 + a % 254, b, 1 + c % 254])
}

impl State {
    fn make(spec: &ProsodySpec) -> Result<Self> {
        if let Some(path) = &spec.state_dir {
            return Self { path: path.clone(), _owned: None }.with_folders();
        }
        let dir = tempfile::Builder::new().prefix("pigeon-prosody-").tempdir();
        let dir = dir.map_err(HarnessError::file("create", &std::env::temp_dir()))?;
        let path = dir.path().to_path_buf();
        Self { path, _owned: Some(dir) }.with_folders()
    }

    /// Prosody logs an error when its own folder for certificates is missing, even if it needs none of them.
    fn with_folders(self) -> Result<Self> {
        for folder in ["data", "certs"] {
            let path = self.path.join(folder);
            fs::create_dir_all(&path).map_err(HarnessError::file("create", &path))?;
        }
        Ok(self)
    }
}
