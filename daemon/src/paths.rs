//! Where things are when nobody says otherwise: the API socket, the configuration file, the data directory.
//!
//! The daemon and the command line share these rules, so that `pigeond` and `pigeon` without arguments meet.
//! The directories follow the XDG Base Directory specification: a variable that is empty or holds a relative
//! path counts as unset.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Names the socket outright, before any other rule.
pub const SOCKET_VARIABLE: &str = "PIGEON_SOCKET";
/// The socket of a daemon without `XDG_RUNTIME_DIR`, as a system service has it.
pub const SYSTEM_SOCKET: &str = "/run/pigeon/pigeond.sock";
/// The configuration of a daemon that runs as root.
pub const SYSTEM_CONFIG: &str = "/etc/pigeon/pigeond.toml";
/// The data of a daemon that runs as root, or as a service user without a home.
pub const SYSTEM_DATA_DIR: &str = "/var/lib/pigeon";

/// The API socket: `$PIGEON_SOCKET`, else `$XDG_RUNTIME_DIR/pigeon/pigeond.sock`, else
/// `/run/pigeon/pigeond.sock`.
#[must_use]
pub fn default_socket() -> PathBuf {
    Surroundings::of_process().socket()
}

/// The configuration file: `$XDG_CONFIG_HOME/pigeon/pigeond.toml`, else as root
/// `/etc/pigeon/pigeond.toml`, else `~/.config/pigeon/pigeond.toml`.
///
/// The file need not exist: the daemon has defaults.
#[must_use]
pub fn default_config() -> PathBuf {
    Surroundings::of_process().config()
}

/// The data directory: `$XDG_DATA_HOME/pigeon`, else as root `/var/lib/pigeon`, else
/// `~/.local/share/pigeon`.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    Surroundings::of_process().data_dir()
}

/// What the rules depend on, as a value: the rules are tested without touching the process's environment.
struct Surroundings {
    root: bool,
    variable: Lookup,
}

/// Finds an environment variable.
type Lookup = Box<dyn Fn(&str) -> Option<OsString>>;

impl Surroundings {
    fn of_process() -> Self {
        Self { root: rustix::process::geteuid().is_root(), variable: Box::new(|name| std::env::var_os(name)) }
    }

    fn socket(&self) -> PathBuf {
        match (self.variable)(SOCKET_VARIABLE).filter(|path| !path.is_empty()) {
            Some(path) => path.into(),
            None => match self.directory("XDG_RUNTIME_DIR") {
                Some(dir) => dir.join("pigeon/pigeond.sock"),
                None => SYSTEM_SOCKET.into(),
            },
        }
    }

    fn config(&self) -> PathBuf {
        self.user_directory("XDG_CONFIG_HOME", ".config")
            .map_or_else(|| SYSTEM_CONFIG.into(), |dir| dir.join("pigeon/pigeond.toml"))
    }

    fn data_dir(&self) -> PathBuf {
        self.user_directory("XDG_DATA_HOME", ".local/share")
            .map_or_else(|| SYSTEM_DATA_DIR.into(), |dir| dir.join("pigeon"))
    }

    /// The XDG directory that was asked for, or the user's own; none for root, who gets the system's places.
    fn user_directory(&self, variable: &str, in_home: &str) -> Option<PathBuf> {
        self.directory(variable)
            .or_else(|| if self.root { None } else { self.directory("HOME").map(|home| home.join(in_home)) })
    }

    fn directory(&self, variable: &str) -> Option<PathBuf> {
        (self.variable)(variable).map(PathBuf::from).filter(|path| Path::is_absolute(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(root: bool, set: &[(&'static str, &'static str)]) -> Surroundings {
        let set = set.to_vec();
        let find = move |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        Surroundings { root, variable: Box::new(find) }
    }

    #[test]
    fn the_socket_is_named_or_in_the_runtime_directory_or_the_system_s() {
        let named = [("PIGEON_SOCKET", "mine.sock"), ("XDG_RUNTIME_DIR", "/run/user/7")];
        assert_eq!(with(false, &named).socket(), Path::new("mine.sock"));
        let runtime = [("PIGEON_SOCKET", ""), ("XDG_RUNTIME_DIR", "/run/user/7")];
        assert_eq!(
            with(true, &runtime).socket(),
            Path::new("/run/user/7/pigeon/pigeond.sock"),
            "an empty variable counts as unset, and root follows the same rule as everyone"
        );
        let relative = [("XDG_RUNTIME_DIR", "run/user/7")];
        assert_eq!(with(false, &relative).socket(), Path::new(SYSTEM_SOCKET));
    }

    #[test]
    fn a_user_s_files_are_in_the_home_and_root_s_in_the_system() {
        let home = [("HOME", "/home/elaine")];
        assert_eq!(with(false, &home).config(), Path::new("/home/elaine/.config/pigeon/pigeond.toml"));
        assert_eq!(with(false, &home).data_dir(), Path::new("/home/elaine/.local/share/pigeon"));
        assert_eq!(with(true, &home).config(), Path::new(SYSTEM_CONFIG));
        assert_eq!(with(true, &home).data_dir(), Path::new(SYSTEM_DATA_DIR));
        assert_eq!(with(false, &[]).data_dir(), Path::new(SYSTEM_DATA_DIR));
    }

    #[test]
    fn a_variable_that_was_set_counts_for_root_too() {
        let set = [("XDG_CONFIG_HOME", "/c"), ("XDG_DATA_HOME", "/d")];
        for root in [false, true] {
            assert_eq!(with(root, &set).config(), Path::new("/c/pigeon/pigeond.toml"));
            assert_eq!(with(root, &set).data_dir(), Path::new("/d/pigeon"));
        }
    }
}
