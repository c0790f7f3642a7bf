//! Where a program runs.

use std::ffi::OsStr;
use std::process::Command;

use crate::netns::Host;
use crate::spawn::tethered;

/// Where a program runs: the machine itself or one of a world's hosts.
#[derive(Debug, Clone, Default)]
pub enum Place {
    /// This process's own network: loopback and whatever the machine has.
    #[default]
    Here,
    /// A host of a world.
    Host(Host),
}

impl From<Host> for Place {
    fn from(host: Host) -> Self {
        Self::Host(host)
    }
}

impl From<&Host> for Place {
    fn from(host: &Host) -> Self {
        Self::Host(host.clone())
    }
}

impl Place {
    /// A command in this place, killed by the kernel when the thread that spawns it dies.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Here => tethered(program),
            Self::Host(host) => host.command(program),
        }
    }
}
