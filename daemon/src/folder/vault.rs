//! The data key on the disk, wrapped: `keys/vault`.
//!
//! ```text
//! pigeon-vault 1
//! passphrase argon2id 65536 3 4 9f…   memory in KiB, passes, lanes, salt; or `file -`, or `credential -`
//! 5c…                                 nonce, wrapped key and tag of XChaCha20-Poly1305, over the two lines above
//! ```
//!
//! All that is kept in the folder is under the data key, which never changes while it is encrypted; another passphrase
//! writes this one file anew.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::HEXLOWER;
use pigeon_bundle::SecretRandom;
use pigeon_store::{STORE_KEY_LENGTH, StoreKey};
use zeroize::Zeroizing;

use super::FolderError;
use super::secret::Secret;
use crate::config::KeyMethod;
use crate::keys;
use crate::random::OsRandom;

/// Name of the file, beside the keys.
pub const FILE: &str = "vault";
const HEAD: &str = "pigeon-vault 1";
/// A vault is small; a larger file is none.
const SIZE_MAX: u64 = 1_024;
const SALT: usize = 16;
/// The second recommendation of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes. A Pi takes some two seconds.
const COST: Cost = Cost { memory_kib: 65_536, passes: 3, lanes: 4 };
/// What a vault from elsewhere may ask of this machine.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 64;
const LANES_MAX: u32 = 64;

/// What argon2id costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// How the secret becomes the key that wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stretch {
    /// It is random already.
    None,
    Argon2id(Cost, [u8; SALT]),
}

/// A wrapped data key.
pub struct Vault {
    method: KeyMethod,
    stretch: Stretch,
    wrapped: Vec<u8>,
}

/// A data key for a new folder.
#[must_use]
pub(crate) fn fresh_key() -> StoreKey {
    let mut bytes = Zeroizing::new([0; STORE_KEY_LENGTH]);
    OsRandom.fill(bytes.as_mut());
    StoreKey::new(bytes)
}

impl Vault {
    /// How it is locked.
    #[must_use]
    pub fn method(&self) -> KeyMethod {
        self.method
    }

    /// Wraps a data key.
    ///
    /// # Errors
    /// [`FolderError::Stretch`].
    pub(crate) fn wrap(
        method: KeyMethod,
        secret: &Secret,
        key: &StoreKey,
        rng: &mut dyn SecretRandom,
    ) -> Result<Self, FolderError> {
        let stretch = match method {
            KeyMethod::Passphrase => {
                let mut salt = [0; SALT];
                rng.fill(&mut salt);
                Stretch::Argon2id(COST, salt)
            }
            KeyMethod::File | KeyMethod::Credential | KeyMethod::None => Stretch::None,
        };
        let mut vault = Self { method, stretch, wrapped: Vec::new() };
        vault.wrapped =
            vault.wrapping_key(secret)?.sealer("wrap").seal(vault.head().as_bytes(), key.expose());
        Ok(vault)
    }

    /// Unwraps the data key.
    ///
    /// # Errors
    /// [`FolderError::Wrong`].
    pub(crate) fn unwrap(&self, secret: &Secret, path: &Path) -> Result<StoreKey, FolderError> {
        let opened = self.wrapping_key(secret)?.sealer("wrap").open(self.head().as_bytes(), &self.wrapped);
        let key = opened.and_then(|bytes| bytes.as_slice().try_into().ok());
        let (what, remedy) = match self.method {
            KeyMethod::Passphrase => {
                ("this passphrase", "type it again, or look into encryption.passphrase_file")
            }
            KeyMethod::Credential => ("this credential", "give the unit the credential that it had"),
            KeyMethod::File | KeyMethod::None => {
                ("this key file", "put back the key file that belongs to it")
            }
        };
        let wrong = || FolderError::Wrong { what, vault: path.to_owned(), remedy };
        key.map(|key| StoreKey::new(Zeroizing::new(key))).ok_or_else(wrong)
    }

    fn wrapping_key(&self, secret: &Secret) -> Result<StoreKey, FolderError> {
        let mut key = Zeroizing::new([0; STORE_KEY_LENGTH]);
        match (&self.stretch, secret) {
            (Stretch::Argon2id(cost, salt), Secret::Passphrase(passphrase)) => {
                let failed = |error: argon2::Error| FolderError::Stretch {
                    detail: error.to_string(),
                    memory_mib: cost.memory_kib / 1024,
                };
                let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(key.len()));
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(failed)?);
                argon2.hash_password_into(passphrase.as_bytes(), salt, key.as_mut()).map_err(failed)?;
            }
            (Stretch::None, Secret::Key(bytes)) => key.copy_from_slice(bytes.as_ref()),
            // The two are made for the same method; a wrong key does not unwrap.
            _ => {}
        }
        Ok(StoreKey::new(key))
    }

    /// The two first lines, which the wrapped key is bound to.
    fn head(&self) -> String {
        let stretch = match &self.stretch {
            Stretch::None => "-".to_owned(),
            Stretch::Argon2id(Cost { memory_kib, passes, lanes }, salt) => {
                format!("argon2id {memory_kib} {passes} {lanes} {}", HEXLOWER.encode(salt))
            }
        };
        format!("{HEAD}\n{} {stretch}\n", self.method.as_str())
    }

    /// The whole file.
    pub(crate) fn to_text(&self) -> String {
        format!("{}{}\n", self.head(), HEXLOWER.encode(&self.wrapped))
    }

    /// Writes it durably, in place of the one there.
    ///
    /// # Errors
    /// What the system refuses; the former one then stands.
    pub(crate) fn write(&self, path: &Path) -> Result<(), FolderError> {
        Ok(keys::replace(path, self.to_text().as_bytes())?)
    }

    /// Reads it; `None` where there is none.
    ///
    /// # Errors
    /// A file that cannot be read or is no vault.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, FolderError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FolderError::file("reading", path, source)),
        };
        let mut text = String::new();
        let read = file.take(SIZE_MAX).read_to_string(&mut text);
        read.map_err(|source| FolderError::file("reading", path, source))?;
        let vault = |what| FolderError::Vault { vault: path.to_owned(), what };
        Self::parse(&text).map(Some).map_err(vault)
    }

    /// Reads the text of a vault; the error says what of it is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err("its first line");
        }
        let words: Vec<&str> = lines.next().ok_or("its second line")?.split(' ').collect();
        let (method, stretch) = match words.as_slice() {
            ["passphrase", "argon2id", memory_kib, passes, lanes, salt] => {
                let number = |text: &str, max| text.parse().ok().filter(|n| (1..=max).contains(n));
                let cost = number(memory_kib, MEMORY_KIB_MAX)
                    .zip(number(passes, PASSES_MAX))
                    .zip(number(lanes, LANES_MAX));
                let ((memory_kib, passes), lanes) = cost.ok_or("the cost of argon2id")?;
                let salt = HEXLOWER.decode(salt.as_bytes()).ok().and_then(|salt| salt.try_into().ok());
                let cost = Cost { memory_kib, passes, lanes };
                (KeyMethod::Passphrase, Stretch::Argon2id(cost, salt.ok_or("the salt")?))
            }
            ["file", "-"] => (KeyMethod::File, Stretch::None),
            ["credential", "-"] => (KeyMethod::Credential, Stretch::None),
            _ => return Err("its method"),
        };
        let wrapped = lines.next().and_then(|hex| HEXLOWER.decode(hex.as_bytes()).ok());
        let wrapped = wrapped.filter(|_| lines.next().is_none()).ok_or("the wrapped key")?;
        Ok(Self { method, stretch, wrapped })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn passphrase(text: &str) -> Secret {
        Secret::Passphrase(Zeroizing::new(text.to_owned()))
    }

    fn refusal<T>(result: Result<T, FolderError>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn a_passphrase_opens_what_it_locked_and_no_other_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let key = fresh_key();
        let made = Vault::wrap(KeyMethod::Passphrase, &passphrase("vandelay"), &key, &mut OsRandom).unwrap();
        made.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("passphrase argon2id 65536 3 4 "), "{text}");
        let vault = Vault::read(&path).unwrap().unwrap();
        assert_eq!(vault.unwrap(&passphrase("vandelay"), &path).unwrap().expose(), key.expose());
        let error = refusal(vault.unwrap(&passphrase("Vandelay"), &path));
        assert!(error.contains("this passphrase does not unlock") && error.contains("help:"), "{error}");
    }

    /// The lines in the clear are bound to the key: nobody makes stretching cheaper.
    #[test]
    fn a_changed_vault_does_not_open() {
        let secret = Secret::Key(Zeroizing::new([7; 32]));
        let made = Vault::wrap(KeyMethod::File, &secret, &fresh_key(), &mut OsRandom).unwrap();
        let text = made.to_text();
        let path = Path::new("vault");
        assert!(Vault::parse(&text).unwrap().unwrap(&secret, path).is_ok());
        assert!(Vault::parse(&text.replace("file", "credential")).unwrap().unwrap(&secret, path).is_err());
        for cut in 0..text.len() - 1 {
            let opened = Vault::parse(&text[..cut]).map(|vault| vault.unwrap(&secret, path).is_ok());
            assert!(!opened.unwrap_or(false), "cut at {cut}");
        }
        for line in ["passphrase argon2id 4294967295 3 4 00", "passphrase argon2id 1 0 1 00", "rot13 -"] {
            assert!(Vault::parse(&format!("{HEAD}\n{line}\n00\n")).is_err(), "{line}");
        }
    }
}
