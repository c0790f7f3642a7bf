//! What can be wrong with the input.

use std::path::PathBuf;

/// Why a replay cannot start. Names the file and the line.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file cannot be read.
    #[error("{}: {source}; the path must lead to a text file, plain or gzip-compressed", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A line is not in the format.
    #[error("{}, line {line}: {what}; a line must be `{form}`", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
        /// What lines look like there.
        form: &'static str,
    },
    /// A file has nothing to replay.
    #[error("{}: no line but comments; lines must be `{form}`", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
        /// What lines look like there.
        form: &'static str,
    },
    /// A message could not be sealed.
    #[error("message {id}: {reason}")]
    Seal {
        /// Its id in the workload.
        id: String,
        /// Why.
        reason: String,
    },
    /// A picture cannot be written.
    #[error("{}: {source}; the folder must exist and be writable", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}
