//! Why a data folder cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use pigeon_store::StoreError;

use crate::keys::KeyError;

/// Why a data folder cannot be used. Each names the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process works on it.
    #[error(
        "{dir} is in use by another pigeon process (its pid is in {dir}/lock)\nhelp: stop that one first: `systemctl stop pigeond`, or end the `pigeond` or `pigeon store` that runs"
    )]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// Nothing there to work on.
    #[error(
        "{dir} holds no store\nhelp: name the folder of a node with `data_dir` in the config, or --data-dir"
    )]
    NoStore {
        /// The folder.
        dir: PathBuf,
    },
    /// The configuration wants another method.
    #[error(
        "{dir} is locked by method \"{is}\", and the config says encryption.key = \"{wanted}\"\nhelp: `pigeon store rekey` goes from the one to the other; or correct the config"
    )]
    Method {
        /// The folder.
        dir: PathBuf,
        /// How it is.
        is: &'static str,
        /// How it should be.
        wanted: &'static str,
    },
    /// The secret does not fit.
    #[error(
        "{what} does not unlock {vault}; nothing was changed\nhelp: {remedy}; without it what is in the folder cannot be read by anyone"
    )]
    Wrong {
        /// Which secret.
        what: &'static str,
        /// The vault.
        vault: PathBuf,
        /// What to try.
        remedy: &'static str,
    },
    /// No passphrase was given.
    #[error(
        "no passphrase was given\nhelp: start it in a terminal, write it to the standard input, or name a file with encryption.passphrase_file"
    )]
    NoPassphrase,
    /// A passphrase typed twice was not the same.
    #[error("the two passphrases differ\nhelp: type the same one twice")]
    Differ,
    /// The credential is not there.
    #[error(
        "the systemd credential {name} is not there ({detail})\nhelp: LoadCredentialEncrypted={name}:FILE in the unit of pigeond, see docs/configuration.md; for `pigeon store` use `systemd-run -P --property=LoadCredentialEncrypted=…`"
    )]
    NoCredential {
        /// Its name.
        name: String,
        /// Why.
        detail: String,
    },
    /// A credential or key that is no key.
    #[error("{what} is no key of 32 bytes or 64 hex digits\nhelp: make one with `head -c 32 /dev/urandom`")]
    NoKey {
        /// Which.
        what: String,
    },
    /// The vault is damaged.
    #[error(
        "{vault} is no vault of version 1 ({what})\nhelp: restore it from a backup; without it the folder cannot be read"
    )]
    Vault {
        /// The file.
        vault: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The key file that the vault needs.
    #[error(
        "the key file {path} is missing\nhelp: put it back from a backup, or correct encryption.key_file"
    )]
    NoKeyFile {
        /// The file.
        path: PathBuf,
    },
    /// The vault is gone, what it locks is there.
    #[error(
        "{vault} is missing, but what is in the folder is encrypted\nhelp: restore it from a backup; without it the folder cannot be read"
    )]
    VaultGone {
        /// The file.
        vault: PathBuf,
    },
    /// The passphrase cannot be stretched.
    #[error("the passphrase cannot be stretched: {detail}\nhelp: argon2id needs {memory_mib} MiB of memory")]
    Stretch {
        /// What argon2 said.
        detail: String,
        /// What it takes.
        memory_mib: u32,
    },
    /// A folder that a backup cannot go into.
    #[error(
        "{dir} is a node's folder already\nhelp: move it away, or name another with --data-dir: a backup goes into an empty one"
    )]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
    },
    /// A file that is no backup.
    #[error(
        "{path} is no whole backup of version 1 ({what}); nothing was restored\nhelp: take another copy of it"
    )]
    Backup {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// Nothing of others is taken.
    #[error(
        "carry.whose is \"contacts\", and nobody says whose these bundles are\nhelp: import them with carry.whose = \"all\""
    )]
    CarriageClosed,
    /// Key files.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused.
    #[error("{action} {}: {source}\nhelp: the daemon's user must own this path and have space on the disk", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FolderError {
    pub(crate) fn file(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::File { action, path: path.as_ref().to_owned(), source }
    }
}
