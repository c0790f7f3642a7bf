//! The bridge's configuration: one TOML file, unknown keys refused.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::shards::SHARDS;
use jid::BareJid;
use pigeon_xmpp::Secret;
use serde::Deserialize;

/// Largest config or secret file that is read, bytes.
const FILE_SIZE_MAX: u64 = 65_536;
/// Longest domain on a card, bytes (docs/wire-format.md section 2).
const DOMAIN_LEN_MAX: usize = 150;
/// Most hosts that one bridge serves.
const HOSTS_MAX: usize = 64;
/// Registrations last at most this long, days: ten years.
const REGISTRATION_DAYS_MAX: u32 = 3_650;
/// Another key waits at most this long, days.
const NOTICE_DAYS_MAX: u32 = 365;

/// What `pigeon-bridge` runs with.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where keys, card and ledger live. A relative path is taken from the config file's folder, here and below.
    pub data_dir: PathBuf,
    /// The component's domain, as in its XMPP server's config: `bridge.example.org`.
    pub domain: String,
    /// The component that this instance logs in as; without one, `domain`. Where several instances share a domain on
    /// Prosody each has its own, such as `b1.bridge.example.org`.
    pub component: Option<String>,
    /// Empty, or the addresses of the 16 shards by the first hexadecimal digit of the message digest.
    #[serde(default)]
    pub shards: Vec<String>,
    /// What several instances share.
    pub shared: Option<Shared>,
    /// `host:port` of the XMPP server's component listener.
    pub server: String,
    /// A file whose first line is the component secret.
    pub secret_file: PathBuf,
    /// The XMPP hosts whose users may write and be written to through this bridge.
    pub hosts: Vec<String>,
    /// Days until a registered key lapses unless its owner's session renews it.
    #[serde(default = "registration_days")]
    pub registration_days: u32,
    /// Days that another key waits before it may speak for an account.
    #[serde(default = "notice_days")]
    pub notice_days: u32,
    /// Whether mail for people without a card is read and sent on as plain text.
    #[serde(default = "yes")]
    pub plain_recipients: bool,
    /// Whether messages are sent with their authors' addresses on the component's own stream (XEP-0114) where the server
    /// gives no right to send as its users (XEP-0356). The server must then check no senders of this component: whoever
    /// has its secret can speak as anybody.
    #[serde(default)]
    pub unchecked_senders: bool,
    /// How accounts are looked after.
    #[serde(default)]
    pub accounts: AccountChecks,
    /// What one account may ask of the bridge.
    #[serde(default)]
    pub limits: Limits,
    /// Mail that recipients may have fetched by their neighbours.
    #[serde(default)]
    pub pick_up: PickUp,
    /// Figures for Prometheus.
    #[serde(default)]
    pub metrics: MetricsDoor,
    /// The ledger's memory and disk.
    #[serde(default)]
    pub store: StoreLimits,
    /// Logging.
    #[serde(default)]
    pub log: Log,
}

/// What several instances share.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// A folder that every instance can write: keys, card, acceptance log, locks.
    pub dir: PathBuf,
    /// This instance's name, different from all others'.
    pub instance: String,
}

/// Limits on what comes in.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Uploads and requests of one account in a minute, on average over ten. What is over it gets no answer and is
    /// to be sent again later: a refusal would be for ever.
    pub account_per_minute: u32,
    /// New messages of one author in a minute, whoever carries them, on average over ten.
    pub author_per_minute: u32,
}

/// Figures for Prometheus.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsDoor {
    /// A TCP address that serves `/metrics`; without one they are only on the Unix socket in `data_dir`.
    pub listen: Option<SocketAddr>,
}

/// Limits of delegated pick-up. A limit of 0 switches it off.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PickUp {
    /// Bundles that wait for one recipient. What is over it waits at the recipient's server only.
    pub recipient_bundles: u32,
    /// Their bytes.
    pub recipient_bytes: u64,
    /// Bytes that wait for all recipients together.
    pub total_bytes: u64,
    /// Bytes that are handed out for one token.
    pub token_bytes: u64,
}

/// How accounts are looked after.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountChecks {
    /// Seconds for which the server's word that an account exists is believed. A name that is given to somebody else
    /// within this time could be spoken for by its former owner until then.
    pub check_s: u64,
}

/// The ledger's limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreLimits {
    /// Memory for the database's page cache, bytes.
    pub cache_bytes: u64,
    /// Disk for records, bytes. When it is full nothing is accepted until records expire.
    pub quota_bytes: u64,
}

/// Logging.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A `tracing` filter, such as `info` or `pigeon_xmpp=debug,info`.
    pub filter: String,
}

impl Default for Limits {
    fn default() -> Self {
        Self { account_per_minute: 6_000, author_per_minute: 6_000 }
    }
}

impl Default for PickUp {
    fn default() -> Self {
        Self { recipient_bundles: 256, recipient_bytes: 8 << 20, total_bytes: 2 << 30, token_bytes: 2 << 20 }
    }
}

impl Default for AccountChecks {
    fn default() -> Self {
        Self { check_s: 3_600 }
    }
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { cache_bytes: 32 << 20, quota_bytes: 8 << 30 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned() }
    }
}

fn yes() -> bool {
    true
}

fn notice_days() -> u32 {
    7
}

fn registration_days() -> u32 {
    90
}

/// Why a configuration cannot be used: which key of which file, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read the {what} {}: {source}\nhelp: the file must exist and be readable by the bridge's user", .path.display())]
    Read {
        /// Which file.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML of the expected shape, or an unknown key.
    #[error("{}: {message}\nhelp: correct or remove this key; docs/operators/bridge.md lists every key", .path.display())]
    Parse {
        /// The config file.
        path: PathBuf,
        /// Line, key and expectation, by the TOML parser.
        message: String,
    },
    /// A value that cannot be used.
    #[error("{}: {key} = {value:?}: {rule}\nhelp: docs/operators/bridge.md has an example of every key", .path.display())]
    Value {
        /// The config file.
        path: PathBuf,
        /// The key, dotted.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError`]: no such file, not TOML, an unknown key, a value out of range.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read("config", path)?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() })?;
        if let Some(folder) = path.parent() {
            config.data_dir = folder.join(&config.data_dir);
            config.secret_file = folder.join(&config.secret_file);
            if let Some(shared) = &mut config.shared {
                shared.dir = folder.join(&shared.dir);
            }
        }
        match config.normalise() {
            Ok(()) => Ok(config),
            Err((key, value, rule)) => Err(ConfigError::Value { path: path.to_owned(), key, value, rule }),
        }
    }

    /// The component secret: the first line of [`Config::secret_file`].
    ///
    /// # Errors
    /// [`ConfigError`] when the file cannot be read or its first line is empty.
    pub fn secret(&self) -> Result<Secret, ConfigError> {
        let text = read("secret file", &self.secret_file)?;
        match text.lines().next().map(str::trim) {
            Some(secret) if !secret.is_empty() => Ok(Secret::new(secret)),
            _ => Err(ConfigError::Value {
                path: self.secret_file.clone(),
                key: "secret_file",
                value: self.secret_file.display().to_string(),
                rule: "its first line must be the component secret of the XMPP server's config",
            }),
        }
    }

    /// Where keys and card live: with several instances, in the folder that they share.
    #[must_use]
    pub fn key_dir(&self) -> &Path {
        self.shared.as_ref().map_or(&self.data_dir, |shared| &shared.dir)
    }

    /// The hosts as a set, in normal form.
    #[must_use]
    pub fn host_set(&self) -> BTreeSet<String> {
        self.hosts.iter().cloned().collect()
    }

    /// How long a registration lasts, in seconds.
    #[must_use]
    pub fn registration_s(&self) -> u64 {
        u64::from(self.registration_days) * 86_400
    }

    /// How long another key waits, in seconds.
    #[must_use]
    pub fn notice_s(&self) -> u64 {
        u64::from(self.notice_days) * 86_400
    }

    /// Checks every value, and brings domains to the form in which the server stamps them.
    fn normalise(&mut self) -> Result<(), (&'static str, String, &'static str)> {
        self.domain = host(&self.domain).map_err(|rule| ("domain", self.domain.clone(), rule))?;
        if let Some(component) = &mut self.component {
            *component = host(component).map_err(|rule| ("component", component.clone(), rule))?;
        }
        if !self.shards.is_empty() && self.shards.len() != SHARDS {
            return Err(("shards", self.shards.join(", "), "must be empty or 16 addresses"));
        }
        if let Some(shared) = &self.shared {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if shared.instance.is_empty() || shared.instance.len() > 32 || !shared.instance.chars().all(fits)
            {
                let rule = "must be 1 to 32 letters, digits, - or _";
                return Err(("shared.instance", shared.instance.clone(), rule));
            }
        }
        if self.hosts.is_empty() || self.hosts.len() > HOSTS_MAX {
            return Err((
                "hosts",
                self.hosts.join(", "),
                "must name 1 to 64 XMPP hosts, such as [\"example.org\"]",
            ));
        }
        for name in &mut self.hosts {
            *name = host(name).map_err(|rule| ("hosts", name.clone(), rule))?;
        }
        let port = self.server.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if !port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port != 0)) {
            return Err(("server", self.server.clone(), "must be host:port, such as localhost:5347"));
        }
        let days = self.registration_days;
        if !(1..=REGISTRATION_DAYS_MAX).contains(&days) {
            return Err(("registration_days", days.to_string(), "must be 1 to 3650"));
        }
        if self.notice_days > NOTICE_DAYS_MAX {
            return Err(("notice_days", self.notice_days.to_string(), "must be 0 to 365"));
        }
        if self.limits.account_per_minute == 0 {
            return Err(("limits.account_per_minute", "0".to_owned(), "must be at least 1"));
        }
        if self.limits.author_per_minute == 0 {
            return Err(("limits.author_per_minute", "0".to_owned(), "must be at least 1"));
        }
        if self.store.quota_bytes < 1 << 20 {
            return Err((
                "store.quota_bytes",
                self.store.quota_bytes.to_string(),
                "must be at least 1048576 (1 MiB)",
            ));
        }
        Ok(())
    }
}

/// A domain in its normal form (RFC 7622).
fn host(text: &str) -> Result<String, &'static str> {
    const RULE: &str = "must be an XMPP domain of at most 150 bytes, such as example.org";
    match BareJid::new(text) {
        Ok(jid) if jid.node().is_none() && jid.as_str().len() <= DOMAIN_LEN_MAX => {
            Ok(jid.as_str().to_owned())
        }
        _ => Err(RULE),
    }
}

fn read(what: &'static str, path: &Path) -> Result<String, ConfigError> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_SIZE_MAX).read_to_string(&mut text))
        .map_err(|source| ConfigError::Read { what, path: path.to_owned(), source })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const GOOD: &str = "data_dir = 'data'\ndomain = 'Bridge.example.org'\nserver = 'localhost:5347'\n\
                        secret_file = 'secret'\nhosts = ['Example.org']\n";

    fn parse(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bridge.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::write(dir.path().join("secret"), "hunter2\n").unwrap();
        let config = Config::load(&path).map_err(|error| error.to_string())?;
        assert!(config.secret().is_ok());
        assert!(config.data_dir.starts_with(dir.path()));
        Ok(config)
    }

    #[test]
    fn the_least_config_has_defaults_and_normal_names() {
        let config = parse(GOOD).unwrap();
        assert_eq!(config.registration_s(), 90 * 86_400);
        assert_eq!(config.domain, "bridge.example.org");
        assert!(config.host_set().contains("example.org"));
        assert_eq!(config.log.filter, "info");
    }

    #[test]
    fn unknown_keys_are_errors_with_key_file_and_remedy() {
        for (extra, key) in [("secert = 1\n", "secert"), ("[limits]\nper_day = 3\n", "per_day")] {
            let error = parse(&format!("{GOOD}{extra}")).unwrap_err();
            assert!(
                error.contains(key) && error.contains("bridge.toml") && error.contains("help:"),
                "{error}"
            );
        }
    }

    #[test]
    fn missing_keys_and_bad_values_name_themselves() {
        assert!(parse(&GOOD.replace("domain", "# domain")).unwrap_err().contains("domain"));
        for (from, to, key) in [
            ("'Bridge.example.org'", "'user@host'", "domain = "),
            ("['Example.org']", "[]", "hosts = "),
            ("['Example.org']", "['a', 'b@c']", "hosts = \"b@c\""),
            ("'localhost:5347'", "'localhost'", "server = \"localhost\""),
            ("'localhost:5347'", "'localhost:0'", "server = "),
            ("hosts", "registration_days = 0\nhosts", "registration_days = \"0\""),
        ] {
            let error = parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(key) && error.contains("bridge.toml"), "{error}");
        }
    }

    #[test]
    fn an_empty_secret_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bridge.toml");
        std::fs::write(&path, GOOD).unwrap();
        let config = Config::load(&path).unwrap();
        assert!(config.secret().unwrap_err().to_string().contains("secret file"));
        std::fs::write(dir.path().join("secret"), "\nhunter2\n").unwrap();
        assert!(config.secret().unwrap_err().to_string().contains("first line"));
    }
}
