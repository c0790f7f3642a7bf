//! Key files of a node: made at first start, readable by the daemon's user only.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pigeon_bundle::{Identity, NodeSecret, SecretRandom};
use zeroize::Zeroizing;

const IDENTITY_FILE: &str = "identity.key";
const NODE_FILE: &str = "node.key";
/// Key files are small; a larger one is not ours.
const KEY_FILE_MAX: u64 = 1_024;

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
    /// Not a key file of this kind.
    #[error(
        "{path} is not a {kind} key file of version 1\nhelp: restore it from a backup, or move it away to have a new one made"
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

/// Reads the identity in `dir`, or makes it.
///
/// # Errors
/// When the file is unreadable, damaged or open to others; nothing is overwritten then.
pub fn identity(dir: &Path, rng: &mut dyn SecretRandom) -> Result<Identity, KeyError> {
    let path = dir.join(IDENTITY_FILE);
    if let Some(secret) = read::<64>(&path, "identity")? {
        return Ok(Identity::from_secret_bytes(&secret));
    }
    let identity = Identity::generate(rng);
    write(&path, "identity", identity.to_secret_bytes().as_ref())?;
    Ok(identity)
}

/// Reads the node key in `dir` if it is younger than `lifetime_s`, or makes a new one. Gives its age too.
///
/// # Errors
/// As [`identity`].
pub fn node_secret(
    dir: &Path,
    lifetime_s: u64,
    rng: &mut dyn SecretRandom,
) -> Result<(NodeSecret, Duration), KeyError> {
    let path = dir.join(NODE_FILE);
    let made = std::fs::metadata(&path).and_then(|meta| meta.modified()).ok();
    let age = made.and_then(|made| made.elapsed().ok()).filter(|age| age.as_secs() < lifetime_s);
    if let Some(age) = age
        && let Some(secret) = read::<32>(&path, "node")?
    {
        return Ok((NodeSecret::from_secret_bytes(&secret), age));
    }
    let secret = NodeSecret::generate(rng);
    write(&path, "node", secret.to_secret_bytes().as_ref())?;
    Ok((secret, Duration::ZERO))
}

/// `pigeon-KIND-key 1 HEX\n`
pub(crate) fn read<const N: usize>(
    path: &Path,
    kind: &'static str,
) -> Result<Option<Zeroizing<[u8; N]>>, KeyError> {
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
    let hex = text.strip_prefix(&format!("pigeon-{kind}-key 1 ")).ok_or_else(format)?;
    let bytes =
        Zeroizing::new(data_encoding::HEXLOWER.decode(hex.trim_end().as_bytes()).map_err(|_| format())?);
    let key: [u8; N] = bytes.as_slice().try_into().map_err(|_| format())?;
    Ok(Some(Zeroizing::new(key)))
}

/// Written aside, synced, then renamed: a crash leaves the old key or the new one.
pub(crate) fn write(path: &Path, kind: &'static str, secret: &[u8]) -> Result<(), KeyError> {
    let aside = path.with_extension("new");
    let text = Zeroizing::new(format!("pigeon-{kind}-key 1 {}\n", data_encoding::HEXLOWER.encode(secret)));
    let io = |action| move |source| KeyError::Io { action, path: path.to_owned(), source };
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)
        .map_err(io("writing"))?;
    file.write_all(text.as_bytes()).map_err(io("writing"))?;
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

    #[test]
    fn keys_survive_a_restart_and_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = identity(dir.path(), &mut OsRandom).unwrap().key();
        assert_eq!(identity(dir.path(), &mut OsRandom).unwrap().key(), first);
        let mode = std::fs::metadata(dir.path().join(IDENTITY_FILE)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn a_readable_or_damaged_key_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        identity(dir.path(), &mut OsRandom).unwrap();
        let path = dir.path().join(IDENTITY_FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(identity(dir.path(), &mut OsRandom), Err(KeyError::Readable { mode: 0o644, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "pigeon-identity-key 1 00").unwrap();
        assert!(matches!(identity(dir.path(), &mut OsRandom), Err(KeyError::Format { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"pigeon-identity-key 1 00");
    }

    #[test]
    fn a_node_key_older_than_its_lifetime_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let first = node_secret(dir.path(), 3600, &mut OsRandom).unwrap().0.key();
        assert_eq!(node_secret(dir.path(), 3600, &mut OsRandom).unwrap().0.key(), first);
        assert_ne!(node_secret(dir.path(), 0, &mut OsRandom).unwrap().0.key(), first);
    }
}
