//! Where one server keeps its files, and on which ports it listens.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::spec::ServerSpec;
use crate::error::{HarnessError, Result};
use crate::files::temp_dir_in;
use crate::place::Place;

/// A file system in memory.
const MEMORY: &str = "/dev/shm";
/// The usual port for clients.
const C2S_PORT: u16 = 5222;
/// The usual port for components.
const COMPONENT_PORT: u16 = 5347;
/// The usual port for an operator's requests.
const CONTROL_PORT: u16 = 5280;

/// The directory with everything of one server; owned when the harness made it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) path: PathBuf,
    _owned: Option<TempDir>,
}

impl State {
    pub(super) fn make(spec: &ServerSpec) -> Result<Self> {
        if let Some(path) = &spec.state_dir {
            return Self { path: path.clone(), _owned: None }.with_folders();
        }
        // In memory where there is such a place: what a server syncs is not what these tests are about.
        let memory = Path::new(MEMORY);
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let prefix = format!("pigeon-{}-", spec.kind.name());
        let dir = temp_dir_in(&parent, &prefix)?;
        let path = dir.path().to_path_buf();
        Self { path, _owned: Some(dir) }.with_folders()
    }

    /// Prosody logs an error when its own folder for certificates is missing, even if it needs none of them.
    fn with_folders(self) -> Result<Self> {
        for folder in ["data", "certs", "home"] {
            let path = self.path.join(folder);
            fs::create_dir_all(&path).map_err(HarnessError::file("create", &path))?;
        }
        Ok(self)
    }
}

/// Where one server listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) c2s: SocketAddr,
    pub(super) component: SocketAddr,
    /// For an operator's requests; only ejabberd uses it.
    pub(super) control: SocketAddr,
}

impl Ports {
    /// Inside a namespace the usual ports are free; on the machine itself, free ones on an address of our own.
    pub(super) fn choose(place: &Place, spec: &ServerSpec) -> Result<Self> {
        match place {
            Place::Host(_) => {
                let at =
                    |port| SocketAddr::new(spec.listen.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port);
                Ok(Self {
                    c2s: at(C2S_PORT),
                    component: at(COMPONENT_PORT),
                    control: (Ipv4Addr::LOCALHOST, CONTROL_PORT).into(),
                })
            }
            Place::Here => {
                let ip = spec.listen.unwrap_or_else(private_loopback);
                let taken = |source| HarnessError::Start {
                    program: format!("a listener on {ip}"),
                    package: spec.kind.name(),
                    source,
                };
                // All are held until all are known, so that they differ.
                let held = [(); 3].map(|()| TcpListener::bind((ip, 0)));
                let [c2s, component, control] = held.map(|listener| listener?.local_addr());
                Ok(Self {
                    c2s: c2s.map_err(taken)?,
                    component: component.map_err(taken)?,
                    control: control.map_err(taken)?,
                })
            }
        }
    }
}

/// A random address in 127.0.0.0/8: tests that run side by side cannot take each other's ports between
/// choosing one and the server's binding it.
fn private_loopback() -> IpAddr {
    use std::hash::{BuildHasher, RandomState};
    let [a, b, c, ..] = RandomState::new().hash_one(std::process::id()).to_le_bytes();
    // 127.0.0.x belongs to people; .0 and .255 stay out of the way of anything that thinks in broadcasts.
    IpAddr::from([127, 1 + a % 254, b, 1 + c % 254])
}
