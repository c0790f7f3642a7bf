//! Why a socket may not be opened, and what would change that.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What stands between the user and the socket.
#[derive(Debug)]
pub(super) enum Barrier {
    /// The socket's or a directory's mode.
    Mode { path: PathBuf, directory: bool, mode: u32, owner: String, group: String },
    /// The daemon itself, or something that cannot be looked at.
    Unknown(String),
}

const MODE_BITS: u32 = 0o7777;
/// Connecting to a socket takes write permission, passing a directory takes execute permission.
const GROUP_WRITE: u32 = 0o020;
const GROUP_EXECUTE: u32 = 0o010;

impl Barrier {
    /// Finds what denies access: the socket, or the deepest directory above it that can still be looked at.
    pub(super) fn find(socket: &Path) -> Self {
        for (depth, path) in socket.ancestors().enumerate() {
            if let Ok(data) = std::fs::metadata(path) {
                return Self::Mode {
                    path: path.to_owned(),
                    directory: depth > 0,
                    mode: data.mode() & MODE_BITS,
                    owner: name_of("/etc/passwd", data.uid())
                        .unwrap_or_else(|| format!("uid {}", data.uid())),
                    group: name_of("/etc/group", data.gid()).unwrap_or_else(|| format!("gid {}", data.gid())),
                };
            }
        }
        Self::Unknown("it cannot be looked at".into())
    }

    /// What the user can do.
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Mode { directory, mode, owner, group, .. } => {
                let needed = if *directory { GROUP_EXECUTE } else { GROUP_WRITE };
                let run_as = format!("run it as {owner}, for example `sudo -u {owner} pigeon …`");
                if mode & needed == needed && group != "root" {
                    format!(
                        "join group {group} (`sudo usermod -aG {group} \"$USER\"`, then log in again) and add your \
                         user id to api.allow_uids in the daemon's config; or {run_as}"
                    )
                } else {
                    format!("{run_as}, or start a daemon of your own with `pigeond`")
                }
            }
            Self::Unknown(_) => "run it as the user that runs the daemon, or join the socket's group".into(),
        }
    }
}

impl fmt::Display for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode { path, directory, mode, owner, group } => {
                if *directory {
                    write!(f, "directory {} is", path.display())?;
                } else {
                    write!(f, "the socket is")?;
                }
                write!(f, " mode {mode:04o}, owner {owner}, group {group}")
            }
            Self::Unknown(why) => f.write_str(why),
        }
    }
}

/// The name of a user or group id in a file with the format of passwd(5) or group(5).
fn name_of(file: &str, id: u32) -> Option<String> {
    let lines = std::fs::read_to_string(file).ok()?;
    lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == id).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn barrier(mode: u32, directory: bool, group: &str) -> Barrier {
        Barrier::Mode {
            path: "/run/pigeon".into(),
            directory,
            mode,
            owner: "pigeon".into(),
            group: group.into(),
        }
    }

    #[test]
    fn the_group_is_offered_only_where_it_would_help() {
        assert!(barrier(0o660, false, "mail").remedy().contains("usermod -aG mail"));
        assert!(!barrier(0o640, false, "mail").remedy().contains("usermod"), "reading is not enough");
        assert!(barrier(0o750, true, "mail").remedy().contains("usermod -aG mail"));
        assert!(!barrier(0o700, true, "mail").remedy().contains("usermod"));
        assert!(!barrier(0o660, false, "root").remedy().contains("usermod"), "nobody joins group root");
    }

    #[test]
    fn ids_have_the_names_of_the_system() {
        assert_eq!(name_of("/etc/passwd", 0).as_deref(), Some("root"));
        assert_eq!(name_of("/etc/group", 0).as_deref(), Some("root"));
        assert_eq!(name_of("/etc/passwd", u32::MAX), None);
        assert_eq!(name_of("/nonexistent", 0), None);
    }

    #[test]
    fn what_is_named_is_the_deepest_thing_there_is() {
        let Barrier::Mode { path, directory, .. } = Barrier::find(Path::new("/etc/no/such/thing")) else {
            unreachable!("/ can be looked at")
        };
        assert_eq!((path.as_path(), directory), (Path::new("/etc"), true));
    }
}
