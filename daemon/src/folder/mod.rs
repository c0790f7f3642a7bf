//! The data folder as a whole: who may use it, how it is unlocked, and what it holds.
//!
//! ```text
//! <data_dir>/lock             held while a pigeond or a `pigeon store` command works on the folder
//! <data_dir>/keys/vault       the data key, wrapped: see `vault`
//! <data_dir>/keys/store.key   what it is wrapped under, unless there is a passphrase or a credential
//! <data_dir>/keys/*.key       identity, node key, account password: sealed under the data key
//! <data_dir>/store            the store, its records sealed under the data key
//! <data_dir>/store.new, .old  a copy on its way into the place of the store: see `swap`
//! <data_dir>/attachments      files that arrived, sealed under the data key
//! ```
//!
//! [`Folder::open`] is the one way in. It leaves the folder as the configuration wants it, or touches nothing.
//!
//! - [`vault`]: the wrapped data key, and the methods of wrapping it
//! - [`secret`]: passphrases, credentials and key files
//! - [`swap`]: replacing the store as a whole, whenever the machine stops
//! - [`files`]: attachments that arrived
//! - [`inspect`]: looking for damage in a folder at rest, and repairing it
//! - [`stick`], [`backup`]: bundles and the mailbox as files elsewhere
//! - [`rekey`]: from one method to another

pub mod backup;
mod error;
pub mod files;
pub mod inspect;
pub mod rekey;
pub mod secret;
pub mod stick;
mod swap;
pub mod vault;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use pigeon_store::{RecoveryReport, Store, StoreError, StoreKey, StoreOptions};

pub use self::error::FolderError;
use self::files::Files;
use self::secret::Passphrases;
use self::vault::Vault;
use crate::config::{Config, KeyMethod};
use crate::keys::{self, Keys};
use crate::random::OsRandom;

/// The store's folder.
pub(crate) const STORE: &str = "store";
const KEYS: &str = "keys";
const LOCK: &str = "lock";

/// A data folder that this process alone works on, unlocked.
pub struct Folder {
    dir: PathBuf,
    key: Option<StoreKey>,
    lock: File,
}

impl Folder {
    /// Takes the folder for this process, makes what is missing, and unlocks it. Blocks, for about a second with a
    /// passphrase.
    ///
    /// # Errors
    /// [`FolderError`]; a wrong passphrase, a missing key or a folder in use leave everything as it is.
    pub fn open(config: &Config, passphrases: &Passphrases) -> Result<Self, FolderError> {
        let mut folder = Self::take(config)?;
        let path = folder.keys_dir().join(vault::FILE);
        let wanted = config.encryption.key;
        folder.key = match Vault::read(&path)? {
            None if wanted == KeyMethod::None => None,
            None => Some(folder.first_key(config, wanted, passphrases, &path)?),
            Some(vault) if vault.method() != wanted => {
                let (is, wanted) = (vault.method().as_str(), wanted.as_str());
                return Err(FolderError::Method { dir: folder.dir.clone(), is, wanted });
            }
            Some(vault) => Some(vault.unwrap(&folder.secret_for(config, &vault, passphrases)?, &path)?),
        };
        Ok(folder)
    }

    /// [`Folder::open`] for a folder that must be a node's already.
    ///
    /// # Errors
    /// [`FolderError::NoStore`], and those of [`Folder::open`].
    pub fn open_existing(config: &Config, passphrases: &Passphrases) -> Result<Self, FolderError> {
        must_exist(&config.data_dir)?;
        Self::open(config, passphrases)
    }

    /// Whether the folder is a node's and free. Whoever drops the answer lets go of it.
    ///
    /// # Errors
    /// [`FolderError::NoStore`], [`FolderError::InUse`], and what the system refuses.
    pub(crate) fn take_existing(config: &Config) -> Result<Self, FolderError> {
        must_exist(&config.data_dir)?;
        Self::take(config)
    }

    /// Takes the folder for this process, without a key.
    ///
    /// # Errors
    /// [`FolderError::InUse`], and what the system refuses.
    pub(crate) fn take(config: &Config) -> Result<Self, FolderError> {
        let dir = config.data_dir.clone();
        keys::private_dir(&dir.join(KEYS))?;
        let path = dir.join(LOCK);
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut lock = opened.map_err(|source| FolderError::file("opening", &path, source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse { dir }),
            Err(TryLockError::Error(source)) => return Err(FolderError::file("locking", &path, source)),
        }
        // The pid is for people; on a full disk the lock counts without it.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        swap::settle(&dir)?;
        Ok(Self { dir, key: None, lock })
    }

    /// What the data key is wrapped under, of an existing vault.
    fn secret_for(
        &self,
        config: &Config,
        vault: &Vault,
        passphrases: &Passphrases,
    ) -> Result<secret::Secret, FolderError> {
        secret::present(&config.encryption, &self.keys_dir(), vault.method(), passphrases)
    }

    /// Makes a data key for a folder that has none.
    fn first_key(
        &self,
        config: &Config,
        method: KeyMethod,
        passphrases: &Passphrases,
        path: &Path,
    ) -> Result<StoreKey, FolderError> {
        if self.keys().is_sealed()? {
            return Err(FolderError::VaultGone { vault: path.to_owned() });
        }
        let secret = secret::new(&config.encryption, &self.keys_dir(), method, passphrases)?;
        let key = vault::fresh_key();
        Vault::wrap(method, &secret, &key, &mut OsRandom)?.write(path)?;
        Ok(key)
    }

    /// Opens the store, with what is next to it in the folder. What was not encrypted yet is encrypted now.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn store(&self, options: StoreOptions) -> Result<(Store, RecoveryReport), FolderError> {
        let opened = self.open_store(options)?;
        if let Some(key) = &self.key {
            let failed = |source| FolderError::file("encrypting the files in", &self.dir, source);
            Files::new(&self.dir, Some(key)).seal_all().map_err(failed)?;
        }
        Ok(opened)
    }

    fn open_store(&self, options: StoreOptions) -> Result<(Store, RecoveryReport), FolderError> {
        let dir = self.store_dir();
        let Some(key) = &self.key else { return Ok(Store::open(&dir, options)?) };
        match Store::open_sealed(&dir, options, key.clone()) {
            Err(StoreError::Plain { .. }) => {
                tracing::info!("encrypting what is in the store");
                swap::copy(&self.dir, None, Some(key))?;
                Ok(Store::open_sealed(&dir, options, key.clone())?)
            }
            opened => Ok(opened?),
        }
    }

    /// The folder's key files.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys::new(self.keys_dir(), self.key.as_ref())
    }

    /// Writes the store anew: what is deleted leaves the disk. Blocks.
    ///
    /// # Errors
    /// [`FolderError`]; the store is then as it was.
    pub fn compact(&self) -> Result<pigeon_store::Copied, FolderError> {
        swap::copy(&self.dir, self.key.as_ref(), self.key.as_ref())
    }

    /// Whether what is in it is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.key.is_some()
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The store's folder.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        self.dir.join(STORE)
    }

    fn keys_dir(&self) -> PathBuf {
        self.dir.join(KEYS)
    }
}

fn must_exist(dir: &Path) -> Result<(), FolderError> {
    if dir.join(STORE).exists() || dir.join(swap::OLD).exists() {
        return Ok(());
    }
    Err(FolderError::NoStore { dir: dir.to_owned() })
}

/// Closing is not enough: a process that this one is just starting holds the descriptor until its `exec`.
impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::debug!(%error, "unlocking the data folder");
        }
    }
}
