//! From one method of locking a data folder to another: what the folder is, to what the configuration says.
//!
//! Another passphrase, key file or credential wraps the data key anew, and nothing else is written. From and to "none"
//! everything is.

use std::fs;

use pigeon_store::{Store, StoreError, StoreOptions};

use super::files::Files;
use super::secret::{self, Passphrases};
use super::vault::{self, Vault};
use super::{Folder, FolderError, swap};
use crate::config::{Config, KeyMethod};
use crate::keys::Keys;
use crate::random::OsRandom;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rekeyed {
    /// There was no key, and there is one: all was encrypted.
    Encrypted,
    /// All was decrypted.
    Decrypted,
    /// The data key is wrapped anew.
    Wrapped,
    /// It was not encrypted, and was not to be.
    Nothing,
}

/// How a folder is locked now; `None`: it is not.
///
/// # Errors
/// A vault that cannot be read.
pub fn method(config: &Config) -> Result<Option<KeyMethod>, FolderError> {
    Ok(Vault::read(&config.data_dir.join("keys").join(vault::FILE))?.map(|vault| vault.method()))
}

/// Makes the folder as the configuration says. Blocks.
///
/// # Errors
/// [`FolderError`]. Until the new vault is written nothing has changed; what a crash interrupts is ended by running it
/// again.
pub fn rekey(config: &Config, passphrases: &Passphrases) -> Result<Rekeyed, FolderError> {
    let wanted = config.encryption.key;
    let folder = Folder::take(config)?;
    let path = folder.keys_dir().join(vault::FILE);
    let Some(vault) = Vault::read(&path)? else {
        drop(folder);
        if wanted == KeyMethod::None {
            return Ok(Rekeyed::Nothing);
        }
        settle(&Folder::open(config, passphrases)?)?;
        return Ok(Rekeyed::Encrypted);
    };
    let key = vault.unwrap(&folder.secret_for(config, &vault, passphrases)?, &path)?;
    if wanted != KeyMethod::None {
        let (settings, keys_dir) = (&config.encryption, folder.keys_dir());
        let secret = secret::new(settings, &keys_dir, wanted, passphrases)?;
        Vault::wrap(wanted, &secret, &key, &mut OsRandom)?.write(&path)?;
        if vault.method() == KeyMethod::File && wanted != KeyMethod::File {
            // It unlocks copies of the former vault.
            forget(&secret::key_file(settings, &keys_dir))?;
        }
        return Ok(Rekeyed::Wrapped);
    }
    match Store::open_sealed(&folder.store_dir(), StoreOptions::default(), key.clone()) {
        Ok((store, _)) => {
            store.close()?;
            swap::copy(folder.dir(), Some(&key), None)?;
        }
        // An earlier run came so far.
        Err(StoreError::Plain { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let failed = |source| FolderError::file("decrypting the files in", folder.dir(), source);
    let (plain, sealed) = (Files::new(folder.dir(), None), Files::new(folder.dir(), Some(&key)));
    plain.open_all(&sealed).map_err(failed)?;
    Keys::new(folder.keys_dir(), Some(&key)).unseal()?;
    forget(&path)?;
    if vault.method() == KeyMethod::File {
        forget(&secret::key_file(&config.encryption, &folder.keys_dir()))?;
    }
    Ok(Rekeyed::Decrypted)
}

/// Encrypts all that is there, as the daemon does at its start.
fn settle(folder: &Folder) -> Result<(), FolderError> {
    if folder.store_dir().exists() {
        folder.store(StoreOptions::default())?.0.close()?;
    }
    Ok(folder.keys().seal()?)
}

fn forget(path: &std::path::Path) -> Result<(), FolderError> {
    fs::remove_file(path).map_err(|source| FolderError::file("removing", path, source))
}
