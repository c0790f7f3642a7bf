//! What the data key is wrapped under: a passphrase, a systemd credential, a key file.

use std::fs::File;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER_PERMISSIVE;
use pigeon_bundle::SecretRandom as _;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::{Zeroize as _, Zeroizing};

use super::FolderError;
use super::vault;
use crate::config::{Encryption, KeyMethod};
use crate::keys;
use crate::random::OsRandom;

/// Default name of the key file, beside the keys.
const KEY_FILE: &str = "store.key";
const KIND: &str = "store";
const KEY: usize = 32;
/// A passphrase on a line of a file, a pipe or a terminal.
const PASSPHRASE_MAX: u64 = 4_096;
/// Where systemd puts credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// What unlocks a vault. Wiped when dropped.
pub enum Secret {
    /// To be stretched.
    Passphrase(Zeroizing<String>),
    /// Random.
    Key(Zeroizing<[u8; KEY]>),
}

/// Passphrases that were given before they are needed: nobody is asked in the middle of work.
#[derive(Default)]
pub struct Passphrases {
    /// Of the vault as it is.
    pub present: Option<Zeroizing<String>>,
    /// For a vault to be made.
    pub new: Option<Zeroizing<String>>,
}

impl Passphrases {
    /// Asks for what opening the folder will need: nothing, unless the method is a passphrase and no file holds it.
    ///
    /// # Errors
    /// [`FolderError::NoPassphrase`], [`FolderError::Differ`], or a terminal that fails.
    pub fn ask(settings: &Encryption, data_dir: &Path) -> Result<Self, FolderError> {
        if settings.key != KeyMethod::Passphrase || settings.passphrase_file.is_some() {
            return Ok(Self::default());
        }
        let path = data_dir.join("keys").join(vault::FILE);
        if path.exists() {
            return Ok(Self {
                present: Some(ask(&format!("Passphrase of {}: ", data_dir.display()))?),
                new: None,
            });
        }
        Ok(Self {
            present: None,
            new: Some(ask_twice(&format!("New passphrase of {}: ", data_dir.display()))?),
        })
    }
}

/// The secret of a vault that is there.
pub(super) fn present(
    settings: &Encryption,
    keys_dir: &Path,
    method: KeyMethod,
    passphrases: &Passphrases,
) -> Result<Secret, FolderError> {
    read(settings, keys_dir, method, passphrases.present.as_ref())
}

/// The secret for a vault that is to be made. A missing key file is made too.
pub(super) fn new(
    settings: &Encryption,
    keys_dir: &Path,
    method: KeyMethod,
    passphrases: &Passphrases,
) -> Result<Secret, FolderError> {
    if matches!(method, KeyMethod::File | KeyMethod::None) {
        make_key_file(&key_file(settings, keys_dir))?;
    }
    read(settings, keys_dir, method, passphrases.new.as_ref())
}

fn read(
    settings: &Encryption,
    keys_dir: &Path,
    method: KeyMethod,
    passphrase: Option<&Zeroizing<String>>,
) -> Result<Secret, FolderError> {
    match method {
        KeyMethod::Passphrase => match passphrase {
            Some(passphrase) => Ok(Secret::Passphrase(passphrase.clone())),
            None => passphrase_in_file(settings),
        },
        KeyMethod::Credential => credential(&settings.credential),
        KeyMethod::File | KeyMethod::None => {
            let path = key_file(settings, keys_dir);
            let key = keys::read::<KEY>(&path, KIND, None)?;
            key.map(Secret::Key).ok_or(FolderError::NoKeyFile { path })
        }
    }
}

fn make_key_file(path: &Path) -> Result<(), FolderError> {
    if keys::read::<KEY>(path, KIND, None)?.is_some() {
        return Ok(());
    }
    let mut key = Zeroizing::new([0; KEY]);
    OsRandom.fill(key.as_mut());
    Ok(keys::write(path, KIND, key.as_ref(), None)?)
}

/// The key file's path.
pub(super) fn key_file(settings: &Encryption, keys_dir: &Path) -> PathBuf {
    settings.key_file.clone().unwrap_or_else(|| keys_dir.join(KEY_FILE))
}

fn passphrase_in_file(settings: &Encryption) -> Result<Secret, FolderError> {
    let path = settings.passphrase_file.as_ref().ok_or(FolderError::NoPassphrase)?;
    read_passphrase(path).map(Secret::Passphrase)
}

/// The first line of a file.
///
/// # Errors
/// A file that cannot be read or begins with an empty line.
pub fn read_passphrase(path: &Path) -> Result<Zeroizing<String>, FolderError> {
    let failed = |source| FolderError::file("reading the passphrase in", path, source);
    let mut text = Zeroizing::new(String::new());
    File::open(path).and_then(|file| file.take(PASSPHRASE_MAX).read_to_string(&mut text)).map_err(failed)?;
    first_line(&text)
}

fn first_line(text: &str) -> Result<Zeroizing<String>, FolderError> {
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Zeroizing::new(line.to_owned())),
        _ => Err(FolderError::NoPassphrase),
    }
}

/// A key in `$CREDENTIALS_DIRECTORY`.
fn credential(name: &str) -> Result<Secret, FolderError> {
    let missing = |detail: String| FolderError::NoCredential { name: name.to_owned(), detail };
    let folder =
        std::env::var_os(CREDENTIALS).ok_or_else(|| missing(format!("${CREDENTIALS} is not set")))?;
    let file = File::open(Path::new(&folder).join(name)).map_err(|error| missing(error.to_string()))?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(PASSPHRASE_MAX).read_to_end(&mut bytes).map_err(|error| missing(error.to_string()))?;
    random_key(&bytes).ok_or_else(|| FolderError::NoKey { what: format!("the credential {name}") })
}

/// 32 bytes as they are, or 64 hex digits.
fn random_key(bytes: &[u8]) -> Option<Secret> {
    if let Ok(key) = <[u8; KEY]>::try_from(bytes) {
        return Some(Secret::Key(Zeroizing::new(key)));
    }
    let decoded = Zeroizing::new(HEXLOWER_PERMISSIVE.decode(bytes.trim_ascii()).ok()?);
    Some(Secret::Key(Zeroizing::new(decoded.as_slice().try_into().ok()?)))
}

/// A passphrase from the terminal, without showing it, or the next line of the standard input.
///
/// # Errors
/// [`FolderError::NoPassphrase`] at the end of the input.
pub fn ask(prompt: &str) -> Result<Zeroizing<String>, FolderError> {
    let stdin = io::stdin();
    let failed = |source| FolderError::file("reading the passphrase from", "the standard input", source);
    let mut line = Zeroizing::new(String::new());
    if stdin.is_terminal() {
        let _ = write!(io::stderr(), "{prompt}");
        let hidden = Hidden::new().map_err(failed)?;
        let read = stdin.lock().take(PASSPHRASE_MAX).read_line(&mut line);
        drop(hidden);
        let _ = writeln!(io::stderr());
        read.map_err(failed)?;
    } else {
        stdin.lock().take(PASSPHRASE_MAX).read_line(&mut line).map_err(failed)?;
    }
    first_line(&line)
}

/// [`ask`]; in a terminal a second time, for whoever cannot see what is typed.
///
/// # Errors
/// [`FolderError::Differ`], and those of [`ask`].
pub fn ask_twice(prompt: &str) -> Result<Zeroizing<String>, FolderError> {
    let first = ask(prompt)?;
    if io::stdin().is_terminal() && *ask("Again: ")? != *first {
        return Err(FolderError::Differ);
    }
    Ok(first)
}

/// The terminal does not show what is typed, until this is dropped.
struct Hidden(rustix::termios::Termios);

impl Hidden {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

impl Drop for Passphrases {
    fn drop(&mut self) {
        self.present.zeroize();
        self.new.zeroize();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn keys_come_raw_or_in_hex() {
        let is_key = |bytes: &[u8]| matches!(random_key(bytes), Some(Secret::Key(key)) if *key == [0xab; 32]);
        assert!(is_key(&[0xab; 32]));
        assert!(is_key(format!("{}\n", "aB".repeat(32)).as_bytes()));
        assert!(random_key(b"vandelay").is_none() && random_key(&[0; 31]).is_none());
    }

    #[test]
    fn a_passphrase_is_the_first_line() {
        assert_eq!(*first_line("these pretzels \nmore").unwrap(), "these pretzels ");
        assert!(first_line("").is_err() && first_line("\nlater").is_err());
    }
}
