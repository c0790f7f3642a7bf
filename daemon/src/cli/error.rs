//! What can go wrong for a user of the command line, with the remedy and the exit code.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use super::access::Barrier;
use super::text;
use crate::paths::{SOCKET_VARIABLE, SYSTEM_SOCKET};

/// Why a command did not succeed. Displayed as one line; [`CliError::help`] is the second.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error("no daemon answers at {}: {why}", .socket.display())]
    NotRunning { socket: PathBuf, why: String },
    #[error("permission denied at {}: {barrier}", .socket.display())]
    Forbidden { socket: PathBuf, barrier: Barrier },
    #[error("the daemon at {} did not answer within {seconds} s", .socket.display())]
    NoAnswer { socket: PathBuf, seconds: u64 },
    #[error("the daemon at {} ended the connection ({reason})", .socket.display())]
    CutOff { socket: PathBuf, reason: String },
    /// The daemon's own words.
    #[error("{message}")]
    Refused { code: ExitStatus, message: String, help: Option<String> },
    #[error("{what}")]
    Usage { what: String, help: String },
    #[error("{what}")]
    NotFound { what: String, help: &'static str },
    #[error("{refused} of {lines} lines were not taken")]
    LinesRefused { refused: u64, lines: u64 },
    #[error("{source}; acknowledged lines: {acknowledged}, the last one was line {last}")]
    LinesCut { source: Box<CliError>, acknowledged: u64, last: u64 },
    /// The data folder.
    #[error("{what}")]
    Folder { what: String, help: Option<String> },
    /// A check found damage; it has been shown.
    #[error("the store is damaged")]
    Damaged,
    #[error("cannot write to the standard output: {0}")]
    Output(io::Error),
    /// Whoever read our output has seen enough: no error to anyone.
    #[error("the reader of the standard output has closed it")]
    OutputClosed,
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
}

/// The exit codes, as `docs/cli.md` documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExitStatus {
    Done = 0,
    Refused = 1,
    Usage = 2,
    Unreachable = 3,
    Forbidden = 4,
    NotFound = 5,
}

impl CliError {
    /// An `io::Error` of the standard output.
    pub(super) fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Output(error),
        }
    }

    /// An error of ours that may carry its help behind a line of its own.
    pub(super) fn folder(error: &dyn std::error::Error) -> Self {
        let text = error.to_string();
        match text.split_once("\nhelp: ") {
            Some((what, help)) => Self::Folder { what: what.to_owned(), help: Some(help.to_owned()) },
            None => Self::Folder { what: text, help: None },
        }
    }

    pub(super) fn status(&self) -> ExitStatus {
        match self {
            Self::OutputClosed => ExitStatus::Done,
            Self::LinesRefused { .. }
            | Self::Output(_)
            | Self::Runtime(_)
            | Self::Folder { .. }
            | Self::Damaged => ExitStatus::Refused,
            Self::Usage { .. } => ExitStatus::Usage,
            Self::NotRunning { .. } | Self::NoAnswer { .. } | Self::CutOff { .. } => ExitStatus::Unreachable,
            Self::Forbidden { .. } => ExitStatus::Forbidden,
            Self::NotFound { .. } => ExitStatus::NotFound,
            Self::Refused { code, .. } => *code,
            Self::LinesCut { source, .. } => source.status(),
        }
    }

    /// The remedy, if there is one to give.
    pub(super) fn help(&self) -> Option<String> {
        match self {
            Self::NotRunning { socket, .. } => Some(how_to_start(socket)),
            Self::Forbidden { barrier, .. } => Some(barrier.remedy()),
            Self::NoAnswer { .. } => Some("look at the daemon's log; its disk may be slow or full".into()),
            Self::CutOff { .. } => {
                Some("look at the daemon's log; it may be stopping, or your user may not be allowed".into())
            }
            Self::Refused { help, .. } | Self::Folder { help, .. } => help.clone(),
            Self::Damaged => {
                Some("`pigeon store repair` sets aside what is damaged, and keeps the rest".into())
            }
            Self::Usage { help, .. } => Some(help.clone()),
            Self::NotFound { help, .. } => Some((*help).into()),
            Self::LinesRefused { .. } => Some("the lines named above say why; send them again".into()),
            Self::LinesCut { .. } => {
                Some("lines after that may or may not be kept: `pigeon outbox` shows which".into())
            }
            Self::Output(_) | Self::OutputClosed | Self::Runtime(_) => None,
        }
    }

    /// Tells the user on the standard error, and says with which code to exit.
    pub(super) fn report(&self) -> ExitCode {
        if !matches!(self, Self::OutputClosed) {
            complain("error", "31", &self.to_string());
            if let Some(help) = self.help() {
                complain("help", "36", &help);
            }
        }
        ExitCode::from(self.status() as u8)
    }
}

/// Writes `label: line` to the standard error. When even that fails there is nobody left to tell.
pub(super) fn complain(label: &str, colour: &str, line: &str) {
    let mut stderr = io::stderr().lock();
    let line = text::one_line(line);
    let _ = if stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        writeln!(stderr, "\x1b[1;{colour}m{label}:\x1b[0m {line}")
    } else {
        writeln!(stderr, "{label}: {line}")
    };
}

fn how_to_start(socket: &std::path::Path) -> String {
    let mut help =
        String::from("start it with `pigeond`, or `systemctl start pigeond` where it is a service");
    let system = std::path::Path::new(SYSTEM_SOCKET);
    if socket != system && system.exists() {
        let _ = write!(help, "; a system daemon has its socket at {SYSTEM_SOCKET}: name it with --socket");
    } else {
        let _ = write!(help, "; another socket is named with --socket or {SOCKET_VARIABLE}");
    }
    help
}
