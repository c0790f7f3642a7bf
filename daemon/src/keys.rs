//! Key files of a node: made at first start, readable by the daemon's user only, sealed where the data folder is.
//!
//! `pigeon-KIND-key 1 HEX`: the secret; `pigeon-KIND-key 2 HEX`: the secret sealed under the data key, for this kind.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pigeon_bundle::{Identity, NodeSecret, SecretRandom};
use pigeon_store::{Sealer, StoreKey};
use zeroize::Zeroizing;

const IDENTITY_FILE: &str = "identity.key";
const IDENTITY: &str = "identity";
const NODE_FILE: &str = "node.key";
const NODE: &str = "node";
const ACCOUNTS_FILE: &str = "accounts.key";
const ACCOUNTS: &str = "accounts";
const PASSWORD_FILE: &str = "password.key";
const PASSWORD: &str = "password";
/// What these files are sealed for.
const PURPOSE: &str = "key files";
/// Key files are small; a larger one is not ours.
const KEY_FILE_MAX: u64 = 65_536;

/// Why keys could not be had. Each names the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system refused.
    #[error(
        "{action} {path}: {source}\nhelp: the daemon's user must own this path and have space on the disk"
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others can read a secret.
    #[error(
        "{path} can be read by others (mode {mode:o})\nhelp: chmod 600 {path}; if strangers had access, move it away and announce your new card"
    )]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Sealed, and not under the key at hand.
    #[error(
        "{path} is encrypted, and not under the key of this folder\nhelp: put back the file `vault` that belongs to it, or restore it from a backup"
    )]
    Sealed {
        /// The file.
        path: PathBuf,
    },
    /// Not a key file of this kind.
    #[error(
        "{path} is not a {kind} key file\nhelp: restore it from a backup, or move it away to have a new one made"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The kind expected.
        kind: &'static str,
    },
}

/// Makes `dir` and its missing parents with mode 0700.
///
/// # Errors
/// When the system refuses.
pub fn private_dir(dir: &Path) -> Result<(), KeyError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| KeyError::Io {
        action: "making",
        path: dir.to_owned(),
        source,
    })
}

/// The key files in a folder.
#[derive(Clone)]
pub struct Keys {
    dir: PathBuf,
    sealer: Option<Sealer>,
}

impl Keys {
    /// The keys in `dir`, sealed under `key` if there is one.
    #[must_use]
    pub fn new(dir: PathBuf, key: Option<&StoreKey>) -> Self {
        Self { dir, sealer: key.map(|key| key.sealer(PURPOSE)) }
    }

    /// Reads the identity, or makes it.
    ///
    /// # Errors
    /// When the file is unreadable, damaged or open to others; nothing is overwritten then.
    pub fn identity(&self, rng: &mut dyn SecretRandom) -> Result<Identity, KeyError> {
        let path = self.dir.join(IDENTITY_FILE);
        if let Some(secret) = self.read::<64>(&path, IDENTITY)? {
            return Ok(Identity::from_secret_bytes(&secret));
        }
        let identity = Identity::generate(rng);
        self.write(&path, IDENTITY, identity.to_secret_bytes().as_ref())?;
        Ok(identity)
    }

    /// Keeps an identity from a backup, where there is none.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn set_identity(&self, identity: &Identity) -> Result<(), KeyError> {
        self.write(&self.dir.join(IDENTITY_FILE), IDENTITY, identity.to_secret_bytes().as_ref())
    }

    /// Reads the node key if it is younger than `lifetime_s`, or makes a new one. Gives its age too.
    ///
    /// # Errors
    /// As [`Keys::identity`].
    pub fn node_secret(
        &self,
        lifetime_s: u64,
        rng: &mut dyn SecretRandom,
    ) -> Result<(NodeSecret, Duration), KeyError> {
        let path = self.dir.join(NODE_FILE);
        let made = std::fs::metadata(&path).and_then(|meta| meta.modified()).ok();
        let age = made.and_then(|made| made.elapsed().ok()).filter(|age| age.as_secs() < lifetime_s);
        if let Some(age) = age
            && let Some(secret) = self.read::<32>(&path, NODE)?
        {
            return Ok((NodeSecret::from_secret_bytes(&secret), age));
        }
        let secret = NodeSecret::generate(rng);
        self.write(&path, NODE, secret.to_secret_bytes().as_ref())?;
        Ok((secret, Duration::ZERO))
    }

    /// The account's password, if it was given to [`Keys::set_password`].
    ///
    /// # Errors
    /// As [`Keys::identity`].
    pub fn password(&self) -> Result<Option<Zeroizing<String>>, KeyError> {
        let path = self.dir.join(PASSWORD_FILE);
        let Some(found) = read_any(&path, PASSWORD, self.sealer.as_ref())? else { return Ok(None) };
        let text =
            std::str::from_utf8(&found.secret).map_err(|_| KeyError::Format { path, kind: PASSWORD })?;
        Ok(Some(Zeroizing::new(text.to_owned())))
    }

    /// Keeps the account's password.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn set_password(&self, password: &str) -> Result<(), KeyError> {
        self.write(&self.dir.join(PASSWORD_FILE), PASSWORD, password.as_bytes())
    }

    /// The accounts that were added, with their passwords, as [`Keys::set_accounts`] was given them.
    ///
    /// # Errors
    /// As [`Keys::identity`].
    pub fn accounts(&self) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
        let found = read_any(&self.dir.join(ACCOUNTS_FILE), ACCOUNTS, self.sealer.as_ref())?;
        Ok(found.map(|found| found.secret))
    }

    /// Keeps the accounts that were added.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn set_accounts(&self, accounts: &[u8]) -> Result<(), KeyError> {
        self.write(&self.dir.join(ACCOUNTS_FILE), ACCOUNTS, accounts)
    }

    /// Whether the identity is sealed.
    ///
    /// # Errors
    /// As [`Keys::identity`].
    pub(crate) fn is_sealed(&self) -> Result<bool, KeyError> {
        match read_any(&self.dir.join(IDENTITY_FILE), IDENTITY, self.sealer.as_ref()) {
            Ok(found) => Ok(found.is_some_and(|found| found.sealed)),
            Err(KeyError::Sealed { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Seals the files that are plain.
    ///
    /// # Errors
    /// As [`Keys::identity`].
    pub fn seal(&self) -> Result<(), KeyError> {
        self.rewrite(self.sealer.as_ref())
    }

    /// Writes all files plain.
    ///
    /// # Errors
    /// As [`Keys::identity`].
    pub fn unseal(&self) -> Result<(), KeyError> {
        self.rewrite(None)
    }

    fn rewrite(&self, sealer: Option<&Sealer>) -> Result<(), KeyError> {
        let files = [
            (IDENTITY_FILE, IDENTITY),
            (NODE_FILE, NODE),
            (PASSWORD_FILE, PASSWORD),
            (ACCOUNTS_FILE, ACCOUNTS),
        ];
        for (file, kind) in files {
            let path = self.dir.join(file);
            if let Some(Found { secret, sealed }) = read_any(&path, kind, self.sealer.as_ref())?
                && sealed != sealer.is_some()
            {
                write(&path, kind, &secret, sealer)?;
            }
        }
        Ok(())
    }

    fn read<const N: usize>(
        &self,
        path: &Path,
        kind: &'static str,
    ) -> Result<Option<Zeroizing<[u8; N]>>, KeyError> {
        read(path, kind, self.sealer.as_ref())
    }

    fn write(&self, path: &Path, kind: &'static str, secret: &[u8]) -> Result<(), KeyError> {
        write(path, kind, secret, self.sealer.as_ref())
    }
}

/// A key of `N` bytes; `None` where there is no file.
pub(crate) fn read<const N: usize>(
    path: &Path,
    kind: &'static str,
    sealer: Option<&Sealer>,
) -> Result<Option<Zeroizing<[u8; N]>>, KeyError> {
    let Some(Found { secret: bytes, .. }) = read_any(path, kind, sealer)? else { return Ok(None) };
    let key = bytes.as_slice().try_into().map_err(|_| KeyError::Format { path: path.to_owned(), kind })?;
    Ok(Some(Zeroizing::new(key)))
}

/// A secret of any length.
struct Found {
    secret: Zeroizing<Vec<u8>>,
    sealed: bool,
}

fn read_any(path: &Path, kind: &'static str, sealer: Option<&Sealer>) -> Result<Option<Found>, KeyError> {
    let io = |source| KeyError::Io { action: "reading", path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mode = file.metadata().map_err(io)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Readable { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    let format = || KeyError::Format { path: path.to_owned(), kind };
    file.take(KEY_FILE_MAX).read_to_string(&mut text).map_err(|_| format())?;
    let rest = text.strip_prefix(&format!("pigeon-{kind}-key ")).ok_or_else(format)?;
    let (version, hex) = rest.split_once(' ').ok_or_else(format)?;
    let bytes =
        Zeroizing::new(data_encoding::HEXLOWER.decode(hex.trim_end().as_bytes()).map_err(|_| format())?);
    match version {
        "1" => Ok(Some(Found { secret: bytes, sealed: false })),
        "2" => {
            let sealed = || KeyError::Sealed { path: path.to_owned() };
            let opened = sealer.and_then(|sealer| sealer.open(kind.as_bytes(), &bytes));
            opened.map(|secret| Some(Found { secret, sealed: true })).ok_or_else(sealed)
        }
        _ => Err(format()),
    }
}

/// Writes a secret, sealed if there is a sealer.
pub(crate) fn write(
    path: &Path,
    kind: &'static str,
    secret: &[u8],
    sealer: Option<&Sealer>,
) -> Result<(), KeyError> {
    let hex = |bytes: &[u8]| Zeroizing::new(data_encoding::HEXLOWER.encode(bytes));
    let (version, hex) = match sealer {
        Some(sealer) => (2, hex(&sealer.seal(kind.as_bytes(), secret))),
        None => (1, hex(secret)),
    };
    replace(path, Zeroizing::new(format!("pigeon-{kind}-key {version} {}\n", *hex)).as_bytes())
}

/// Written aside, synced, then renamed: a crash leaves the old file or the new one.
pub(crate) fn replace(path: &Path, text: &[u8]) -> Result<(), KeyError> {
    let aside = path.with_extension("new");
    let io = |action| move |source| KeyError::Io { action, path: path.to_owned(), source };
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)
        .map_err(io("writing"))?;
    file.write_all(text).map_err(io("writing"))?;
    file.sync_all().map_err(io("syncing"))?;
    std::fs::rename(&aside, path).map_err(io("renaming to"))?;
    if let Some(dir) = path.parent() {
        std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("syncing the folder of"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::random::OsRandom;

    fn plain(dir: &Path) -> Keys {
        Keys::new(dir.to_owned(), None)
    }

    fn sealed(dir: &Path, byte: u8) -> Keys {
        Keys::new(dir.to_owned(), Some(&StoreKey::new(Zeroizing::new([byte; 32]))))
    }

    #[test]
    fn keys_survive_a_restart_and_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = plain(dir.path()).identity(&mut OsRandom).unwrap().key();
        assert_eq!(plain(dir.path()).identity(&mut OsRandom).unwrap().key(), first);
        let mode = std::fs::metadata(dir.path().join(IDENTITY_FILE)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn a_readable_or_damaged_key_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        plain(dir.path()).identity(&mut OsRandom).unwrap();
        let refusal = || plain(dir.path()).identity(&mut OsRandom).err().unwrap();
        let path = dir.path().join(IDENTITY_FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(refusal(), KeyError::Readable { mode: 0o644, .. }));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "pigeon-identity-key 1 00").unwrap();
        assert!(matches!(refusal(), KeyError::Format { .. }));
        assert_eq!(std::fs::read(&path).unwrap(), b"pigeon-identity-key 1 00");
    }

    #[test]
    fn a_node_key_older_than_its_lifetime_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let key = |lifetime_s| plain(dir.path()).node_secret(lifetime_s, &mut OsRandom).unwrap().0.key();
        let first = key(3600);
        assert_eq!(key(3600), first);
        assert_ne!(key(0), first);
    }

    #[test]
    fn sealed_keys_open_under_their_key_and_for_their_kind_only() {
        let dir = tempfile::tempdir().unwrap();
        let identity = plain(dir.path()).identity(&mut OsRandom).unwrap();
        let secret = data_encoding::HEXLOWER.encode(identity.to_secret_bytes().as_ref());
        let file = || std::fs::read_to_string(dir.path().join(IDENTITY_FILE)).unwrap();
        assert!(file().contains(&secret));
        sealed(dir.path(), 1).seal().unwrap();
        assert!(!file().contains(&secret) && file().starts_with("pigeon-identity-key 2 "));
        assert_eq!(sealed(dir.path(), 1).identity(&mut OsRandom).unwrap().key(), identity.key());
        for wrong in [plain(dir.path()), sealed(dir.path(), 2)] {
            assert!(matches!(wrong.identity(&mut OsRandom), Err(KeyError::Sealed { .. })));
        }
        sealed(dir.path(), 1).set_password("no soup").unwrap();
        std::fs::write(dir.path().join(PASSWORD_FILE), file().replace("identity", "password")).unwrap();
        assert!(matches!(sealed(dir.path(), 1).password(), Err(KeyError::Sealed { .. })));
        std::fs::remove_file(dir.path().join(PASSWORD_FILE)).unwrap();
        sealed(dir.path(), 1).unseal().unwrap();
        assert!(file().contains(&secret));
    }
}
