//! What this process may do about namespaces.

use std::io::Write;
use std::process::{Command, Stdio};

/// By which right network namespaces can be made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// We are root, of the machine or of a user namespace, and may make them.
    Root,
    /// Not root, but a user namespace in which we would be can be made.
    UserNamespace,
    /// Neither.
    None,
}

impl Privilege {
    /// Tries it out: whether a container forbids namespaces cannot be told otherwise.
    #[must_use]
    pub fn check() -> Self {
        if works(&["--net"]) {
            Self::Root
        } else if works(&["--user", "--map-root-user", "--net"]) {
            Self::UserNamespace
        } else {
            Self::None
        }
    }
}

fn works(unshare: &[&str]) -> bool {
    let mut command = Command::new("unshare");
    command.args(unshare).args(["--", "ip", "link", "set", "lo", "up"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether a test that needs root may run; says on the terminal that it is skipped, past the test runner's
/// capture, and panics where `CI` is set, since a test that never runs guards nothing.
///
/// # Panics
/// When namespaces cannot be made and `CI` is set.
#[must_use]
pub fn may_run(test: &str) -> bool {
    if Privilege::check() == Privilege::Root {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{test} needs root (or `unshare --user --map-root-user`) to make network namespaces, and CI is set"
    );
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED {test}: network namespaces need root; run it as root or under `unshare --user --map-root-user`"
    );
    false
}

/// Returns from the test, loudly, where network namespaces cannot be made.
#[macro_export]
macro_rules! require_root {
    () => {
        if !$crate::privilege::may_run(concat!(module_path!(), ", line ", line!())) {
            return;
        }
    };
}
