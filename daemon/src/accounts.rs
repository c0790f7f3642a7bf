//! The XMPP accounts of this node: the one in the configuration, and those that `pigeon account` has added.
//!
//! All accounts belong to the node's one identity: its card lists their JIDs and bridges. The secrets of added accounts
//! are in one file, `keys/accounts.key`, which [`Keys`] writes and seals.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pigeon_xmpp::Secret;
use prost::Message as _;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::config::Account;
use crate::keys::{KeyError, Keys};

/// As many as a card has room for.
pub const ACCOUNTS_MAX: usize = 4;
/// Longest password, bytes: what SCRAM and every server take.
pub const PASSWORD_LEN_MAX: usize = 1_023;

/// Why an account cannot be used, added or changed. Each text ends with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The password file cannot be read.
    #[error(
        "account.password_file {path}: {source}\nhelp: write the password of {jid} on its first line and chmod 600 it"
    )]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// The account.
        jid: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no password.
    #[error(
        "there is no password for {jid}\nhelp: `pigeon store password` keeps it encrypted in the data folder; or name a file with account.password_file"
    )]
    NoPassword {
        /// The account.
        jid: String,
    },
    /// The file of added accounts.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It holds something else.
    #[error(
        "keys/accounts.key is damaged; restore it from a backup, or move it away and add the accounts again"
    )]
    Damaged,
    /// There is one of that name.
    #[error("the account {jid} is here already; `pigeon account login {jid}` brings it online")]
    Exists {
        /// The account.
        jid: String,
    },
    /// There is none of that name.
    #[error("there is no account {jid} here; `pigeon account list` shows the accounts")]
    Unknown {
        /// The account.
        jid: String,
    },
    /// It is in the configuration.
    #[error("the account {jid} is in the configuration file; change it there and restart the daemon")]
    Configured {
        /// The account.
        jid: String,
    },
    /// Too many.
    #[error(
        "there are {ACCOUNTS_MAX} accounts, a card has no room for more; `pigeon account remove` makes room"
    )]
    TooMany,
    /// Not an account's address.
    #[error("{jid:?} is no account; it must look like elaine@example.org, at most 150 bytes")]
    Jid {
        /// What was given.
        jid: String,
    },
    /// Not a bridge's domain.
    #[error("{bridge:?} is no bridge's domain; it must look like bridge.example.org; --bridge names it")]
    Bridge {
        /// What was given.
        bridge: String,
    },
    /// No password, or one that nobody takes.
    #[error("a password has 1 to {PASSWORD_LEN_MAX} bytes and no line ends")]
    Password,
}

/// One account.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its settings.
    pub account: Account,
    /// Its password.
    pub password: Secret,
    /// Whether the node logs in to it.
    pub is_on: bool,
    /// It is in the configuration file.
    pub is_configured: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct File {
    #[prost(message, repeated, tag = "1")]
    accounts: Vec<Kept>,
    /// JIDs that are logged out.
    #[prost(string, repeated, tag = "2")]
    off: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(string, tag = "1")]
    jid: String,
    #[prost(string, tag = "2")]
    password: String,
    #[prost(string, optional, tag = "3")]
    server: Option<String>,
    #[prost(bool, tag = "4")]
    direct_tls: bool,
    #[prost(string, optional, tag = "5")]
    ca_file: Option<String>,
    #[prost(string, tag = "6")]
    bridge: String,
    #[prost(string, optional, tag = "7")]
    bridge_key: Option<String>,
    #[prost(bool, tag = "8")]
    allow_plain: bool,
}

struct Inner {
    keys: Keys,
    list: Mutex<Vec<Entry>>,
    changes: watch::Sender<u64>,
}

/// The node's accounts. Cloning gives another handle.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

impl Accounts {
    /// The configured account, if any, and those that were added.
    ///
    /// # Errors
    /// A password or the file of accounts that cannot be read.
    pub fn open(configured: Option<&Account>, keys: Keys) -> Result<Self, AccountError> {
        let file = match keys.accounts()? {
            Some(bytes) => File::decode(bytes.as_slice()).map_err(|_| AccountError::Damaged)?,
            None => File::default(),
        };
        let mut list = Vec::new();
        if let Some(account) = configured {
            let password = password_of(account, &keys)?;
            list.push(Entry { account: account.clone(), password, is_on: true, is_configured: true });
        }
        for kept in file.accounts {
            // What the configuration says of an account is newer.
            if !list.iter().any(|entry| entry.account.jid == kept.jid) {
                list.push(entry(kept));
            }
        }
        for entry in &mut list {
            entry.is_on = !file.off.contains(&entry.account.jid);
        }
        Ok(Self(Arc::new(Inner { keys, list: Mutex::new(list), changes: watch::Sender::new(0) })))
    }

    /// All of them, the configured one first.
    #[must_use]
    pub fn all(&self) -> Vec<Entry> {
        self.list().clone()
    }

    /// One of them.
    ///
    /// # Errors
    /// [`AccountError::Unknown`].
    pub fn get(&self, jid: &str) -> Result<Entry, AccountError> {
        let found = self.list().iter().find(|entry| entry.account.jid == jid).cloned();
        found.ok_or_else(|| AccountError::Unknown { jid: jid.to_owned() })
    }

    /// Says when the accounts have changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Adds an account. Durable on return.
    ///
    /// # Errors
    /// [`AccountError`]; then nothing has changed.
    pub fn add(&self, account: Account, password: Secret) -> Result<(), AccountError> {
        check(&account, &password)?;
        self.change(|list| {
            if list.iter().any(|entry| entry.account.jid == account.jid) {
                return Err(AccountError::Exists { jid: account.jid.clone() });
            }
            if list.len() >= ACCOUNTS_MAX {
                return Err(AccountError::TooMany);
            }
            list.push(Entry { account, password, is_on: true, is_configured: false });
            Ok(())
        })
    }

    /// Logs in or out from now on, with another password if one is given. Durable on return.
    ///
    /// # Errors
    /// [`AccountError`]; then nothing has changed.
    pub fn set(&self, jid: &str, is_on: bool, password: Option<Secret>) -> Result<(), AccountError> {
        self.change(|list| {
            let entry = find(list, jid)?;
            entry.is_on = is_on;
            let Some(password) = password else { return Ok(()) };
            if entry.is_configured {
                return Err(AccountError::Configured { jid: jid.to_owned() });
            }
            check(&entry.account, &password)?;
            entry.password = password;
            Ok(())
        })
    }

    /// Forgets an account that was added. Durable on return.
    ///
    /// # Errors
    /// [`AccountError`]; then nothing has changed.
    pub fn remove(&self, jid: &str) -> Result<(), AccountError> {
        self.change(|list| {
            if find(list, jid)?.is_configured {
                return Err(AccountError::Configured { jid: jid.to_owned() });
            }
            list.retain(|entry| entry.account.jid != jid);
            Ok(())
        })
    }

    /// JIDs and bridges for the card, each once.
    #[must_use]
    pub fn addresses(&self) -> (Vec<String>, Vec<String>) {
        let (mut jids, mut bridges) = (Vec::new(), Vec::<String>::new());
        for Entry { account, .. } in self.list().iter() {
            jids.push(account.jid.clone());
            if !bridges.contains(&account.bridge) {
                bridges.push(account.bridge.clone());
            }
        }
        (jids, bridges)
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Vec<Entry>) -> Result<(), AccountError>,
    ) -> Result<(), AccountError> {
        let mut list = self.list();
        let mut next = list.clone();
        change(&mut next)?;
        let file = File {
            accounts: next.iter().filter(|entry| !entry.is_configured).map(kept).collect(),
            off: next.iter().filter(|e| !e.is_on).map(|e| e.account.jid.clone()).collect(),
        };
        self.0.keys.set_accounts(&Zeroizing::new(file.encode_to_vec()))?;
        *list = next;
        drop(list);
        self.0.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    fn list(&self) -> MutexGuard<'_, Vec<Entry>> {
        // Replaced as a whole, and only by what is durable.
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The configured account's password: from its file, or kept in the data folder.
fn password_of(account: &Account, keys: &Keys) -> Result<Secret, AccountError> {
    let Some(path) = &account.password_file else {
        let kept = keys.password()?.ok_or_else(|| AccountError::NoPassword { jid: account.jid.clone() })?;
        return Ok(Secret::from(kept.as_str().to_owned()));
    };
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|source| {
        AccountError::PasswordFile { path: path.clone(), jid: account.jid.clone(), source }
    })?;
    Ok(Secret::from(text.lines().next().unwrap_or_default().to_owned()))
}

fn find<'a>(list: &'a mut [Entry], jid: &str) -> Result<&'a mut Entry, AccountError> {
    let found = list.iter_mut().find(|entry| entry.account.jid == jid);
    found.ok_or_else(|| AccountError::Unknown { jid: jid.to_owned() })
}

/// Whether an account can be used at all.
///
/// # Errors
/// [`AccountError`] naming what is wrong.
pub fn check(account: &Account, password: &Secret) -> Result<(), AccountError> {
    if !account.has_valid_jid() {
        return Err(AccountError::Jid { jid: account.jid.clone() });
    }
    if !account.has_valid_bridge() {
        return Err(AccountError::Bridge { bridge: account.bridge.clone() });
    }
    let password = password.expose();
    if password.is_empty() || password.len() > PASSWORD_LEN_MAX || password.contains(['\n', '\r']) {
        return Err(AccountError::Password);
    }
    Ok(())
}

fn entry(kept: Kept) -> Entry {
    let account = Account {
        jid: kept.jid,
        password_file: None,
        server: kept.server,
        direct_tls: kept.direct_tls,
        ca_file: kept.ca_file.map(PathBuf::from),
        bridge: kept.bridge,
        bridge_key: kept.bridge_key,
        allow_plain: kept.allow_plain,
    };
    Entry { account, password: Secret::from(kept.password), is_on: true, is_configured: false }
}

fn kept(entry: &Entry) -> Kept {
    let account = &entry.account;
    Kept {
        jid: account.jid.clone(),
        password: entry.password.expose().to_owned(),
        server: account.server.clone(),
        direct_tls: account.direct_tls,
        ca_file: account.ca_file.as_ref().map(|path| path.to_string_lossy().into_owned()),
        bridge: account.bridge.clone(),
        bridge_key: account.bridge_key.clone(),
        allow_plain: account.allow_plain,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use pigeon_store::StoreKey;

    use super::*;

    fn account(jid: &str) -> Account {
        Account {
            jid: jid.to_owned(),
            password_file: None,
            server: Some("192.0.2.1:5222".to_owned()),
            direct_tls: true,
            ca_file: Some("/ca.pem".into()),
            bridge: "bridge.example.org".to_owned(),
            bridge_key: None,
            allow_plain: false,
        }
    }

    fn keys(dir: &std::path::Path) -> Keys {
        Keys::new(dir.to_owned(), Some(&StoreKey::new(Zeroizing::new([7; 32]))))
    }

    #[test]
    fn accounts_survive_a_restart_and_their_passwords_are_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(None, keys(dir.path())).unwrap();
        let changes = accounts.changes();
        accounts.add(account("elaine@example.org"), Secret::new("hunter2")).unwrap();
        accounts.add(account("benes@example.org"), Secret::new("hunter3")).unwrap();
        accounts.set("benes@example.org", false, None).unwrap();
        assert!(changes.has_changed().unwrap());
        let file = std::fs::read_to_string(dir.path().join("accounts.key")).unwrap();
        assert!(!file.contains(&data_encoding::HEXLOWER.encode(b"hunter2")), "{file}");
        let again = Accounts::open(None, keys(dir.path())).unwrap().all();
        assert_eq!(again.len(), 2);
        assert_eq!((again[0].password.expose(), again[0].is_on, again[1].is_on), ("hunter2", true, false));
        assert_eq!(again[0].account.server.as_deref(), Some("192.0.2.1:5222"));
        assert!(!format!("{again:?}").contains("hunter"));
        accounts.remove("benes@example.org").unwrap();
        assert_eq!(Accounts::open(None, keys(dir.path())).unwrap().all().len(), 1);
    }

    #[test]
    fn the_configured_account_is_first_and_is_changed_in_its_file_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "soup\nmore\n").unwrap();
        let configured = Account { password_file: Some(file), ..account("elaine@example.org") };
        let open = || Accounts::open(Some(&configured), keys(dir.path())).unwrap();
        let accounts = open();
        accounts.add(account("benes@example.org"), Secret::new("x")).unwrap();
        let jid = "elaine@example.org";
        assert_eq!(accounts.get(jid).unwrap().password.expose(), "soup");
        assert!(matches!(accounts.remove(jid), Err(AccountError::Configured { .. })));
        let changed = accounts.set(jid, true, Some(Secret::new("y")));
        assert!(matches!(changed, Err(AccountError::Configured { .. })));
        accounts.set(jid, false, None).unwrap();
        assert!(!open().get(jid).unwrap().is_on);
        let (jids, bridges) = accounts.addresses();
        assert_eq!((jids.len(), bridges.len()), (2, 1));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Accounts::open(None, keys(dir.path())).unwrap();
        let add = |account: Account, password: &str| accounts.add(account, Secret::new(password));
        assert!(matches!(add(account("elaine"), "x"), Err(AccountError::Jid { .. })));
        let bridge = Account { bridge: "a@b".to_owned(), ..account("elaine@example.org") };
        assert!(matches!(add(bridge, "x"), Err(AccountError::Bridge { .. })));
        for password in ["", "a\nb", &"x".repeat(PASSWORD_LEN_MAX + 1)] {
            assert!(matches!(add(account("elaine@example.org"), password), Err(AccountError::Password)));
        }
        for n in 0..ACCOUNTS_MAX {
            add(account(&format!("e{n}@example.org")), "x").unwrap();
        }
        assert!(matches!(add(account("e0@example.org"), "x"), Err(AccountError::Exists { .. })));
        assert!(matches!(add(account("more@example.org"), "x"), Err(AccountError::TooMany)));
        assert!(matches!(accounts.remove("nobody@example.org"), Err(AccountError::Unknown { .. })));
    }
}
