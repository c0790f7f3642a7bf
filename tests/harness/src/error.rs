//! What can go wrong while real programs are run.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A failure of the harness or of a program it runs: what, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HarnessError {
    /// A file or directory could not be used.
    #[error("{action} {path}: {source}", path = path.display())]
    File {
        /// What was tried, as a verb: "write", "create".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A program could not be started at all.
    #[error("start {program}: {source}; on Debian: apt-get install {package}")]
    Start {
        /// The program's name.
        program: String,
        /// The Debian package that brings it.
        package: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A program ran and said no.
    #[error("{command}: {status}: {output}")]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// What it printed.
        output: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {} s{context}", waited.as_secs_f32())]
    Timeout {
        /// What was waited for.
        what: String,
        /// The deadline's length.
        waited: Duration,
        /// What is known instead, beginning with a separator, or empty.
        context: String,
    },
    /// A program ended while it was still needed.
    #[error("{what} ended ({status}); its last words:\n{log}")]
    Ended {
        /// The program.
        what: String,
        /// How it ended.
        status: String,
        /// The tail of its log.
        log: String,
    },
    /// A program's output is not what its documentation says.
    #[error("{what} is not as documented: {detail}")]
    Output {
        /// Which output.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A binary of this workspace is missing.
    #[error("no binary {name} in {}; build it first: cargo build --bin {name}", searched.display())]
    NoBinary {
        /// Its name.
        name: String,
        /// Where it was looked for.
        searched: PathBuf,
    },
    /// The namespace of a host is gone or cannot be entered.
    #[error("host {host}: {action}: {source}")]
    Namespace {
        /// The host's name.
        host: String,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Namespaces cannot be made here.
    #[error("no network namespaces here: {reason}; run as root, or allow unprivileged user namespaces")]
    Privilege {
        /// What the system said.
        reason: String,
    },
}

/// The result of anything in this crate.
pub type Result<T, E = HarnessError> = std::result::Result<T, E>;

impl HarnessError {
    /// A [`HarnessError::File`] maker for `map_err`.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { action, path, source }
    }
}
