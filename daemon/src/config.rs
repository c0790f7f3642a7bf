//! The node's configuration: a TOML file, every key optional, unknown keys refused.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::paths;

/// A name on a card is at most this long, `docs/wire-format.md` section 2.
const NAME_LEN_MAX: usize = 64;
const JID_LEN_MAX: usize = 150;
const ADAPTER_LEN_MAX: usize = 32;
const LIFETIME_H_MAX: u32 = 720;

/// What `pigeond` runs with. Without a file every field has its default.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where keys and the store live. Default: `$XDG_DATA_HOME/pigeon`, `/var/lib/pigeon` for root.
    pub data_dir: PathBuf,
    /// The local API's Unix socket. Default: `$XDG_RUNTIME_DIR/pigeon/pigeond.sock`, else `/run/pigeon/pigeond.sock`.
    pub socket: PathBuf,
    /// The name on the contact card, 1 to 64 bytes. Default: `$USER`, else `pigeon`.
    pub name: String,
    /// Whether this machine's clock can be believed.
    pub clock: ClockMode,
    /// The XMPP account that carries mail up and down. None: this node only meets neighbours.
    pub account: Option<Account>,
    /// Neighbours on local networks.
    pub quic: Quic,
    /// Neighbours over Bluetooth Low Energy.
    pub ble: Ble,
    /// What is carried for others.
    pub carry: Carry,
    /// Who gets how many copies of a message.
    pub routing: RoutingChoice,
    /// What looking for neighbours may cost.
    pub energy: Energy,
    /// Mail fetched from the bridge for each other.
    pub pickup: Pickup,
    /// Sled's memory and the disk quota.
    pub store: StoreLimits,
    /// How long messages are kept.
    pub inbox: Inbox,
    /// Encryption at rest.
    pub encryption: Encryption,
    /// What others may learn from timing.
    pub privacy: Privacy,
    /// The local API.
    pub api: Api,
    /// Logging.
    pub log: Log,
}

/// How the wall clock is judged; see `docs/architecture.md`, "Time".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockMode {
    /// Trusted when a time daemon runs, a hardware clock reads later than this build, or a host gave the time.
    Auto,
    /// Trusted always.
    Trusted,
    /// Never trusted: the day comes from neighbours.
    None,
}

/// An XMPP account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Bare JID, `user@host`.
    pub jid: String,
    /// A file that holds the password on its first line; readable by the daemon only. Default: what `pigeon store
    /// password` has put into the data folder.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// `host:port`; default: SRV records of the JID's domain.
    #[serde(default)]
    pub server: Option<String>,
    /// TLS from the first byte (XEP-0368) in place of STARTTLS.
    #[serde(default)]
    pub direct_tls: bool,
    /// PEM file with further roots of trust, for a private certificate authority.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The bridge's domain, such as `bridge.example.org`.
    pub bridge: String,
    /// The bridge's Ed25519 key in hex. Default: the first one seen is pinned. Set it to accept another one.
    #[serde(default)]
    pub bridge_key: Option<String>,
    /// Send the password itself, inside TLS, where the server knows nothing better (PLAIN).
    #[serde(default)]
    pub allow_plain: bool,
}

impl Account {
    /// Whether the JID can be an account's.
    #[must_use]
    pub fn has_valid_jid(&self) -> bool {
        let bare = self.jid.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
        bare && !self.jid.contains('/') && self.jid.len() <= JID_LEN_MAX
    }

    /// Whether the bridge can be one.
    #[must_use]
    pub fn has_valid_bridge(&self) -> bool {
        !self.bridge.is_empty() && !self.bridge.contains(['@', '/']) && self.bridge.len() <= JID_LEN_MAX
    }
}

/// The QUIC transport and mDNS-SD.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quic {
    /// Whether to look for neighbours on local networks at all.
    pub enabled: bool,
    /// UDP address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Hours until the node key, certificate, port and mDNS names change.
    pub rotate_h: u32,
}

/// The Bluetooth Low Energy transport.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ble {
    /// Whether to use Bluetooth at all.
    pub enabled: BleMode,
    /// Name (`hci0`) or address of the adapter. Default: `hci0`, else the first there is.
    pub adapter: Option<String>,
    /// Which way bytes go.
    pub bearers: BleBearers,
    /// Whether to advertise while scanning.
    pub roles: BleRoles,
}

/// Whether Bluetooth is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BleMode {
    /// Where there is an adapter that is on. That there is none is no problem.
    #[default]
    Auto,
    /// Yes: the adapter is switched on, and a missing one is a problem.
    On,
    /// No.
    Off,
}

/// Which way bytes go over Bluetooth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BleBearers {
    /// L2CAP channels where both sides can, else GATT.
    #[default]
    Best,
    /// L2CAP channels only.
    L2cap,
    /// GATT only.
    Gatt,
}

/// Whether the adapter advertises while it scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BleRoles {
    /// At once; in turns where BlueZ refuses that.
    #[default]
    Auto,
    /// In turns.
    Alternate,
}

/// Carriage for others.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Carry {
    /// Whose mail is taken.
    pub whose: CarryFor,
    /// Own mail never goes up over this node's own account, only by neighbours.
    pub pigeons_only: bool,
    /// Strangers' mail taken in 24 hours, bytes; after that the node takes none until the next day.
    pub daily_bytes: u64,
    /// The same in bundles.
    pub daily_bundles: u64,
    /// Lifetime of own messages in hours, 1 to 720.
    pub lifetime_h: u32,
}

/// Whose mail a node takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CarryFor {
    /// Everyone's, within the pools' shares.
    All,
    /// Only mail handed over by contacts.
    Contacts,
    /// Nobody's: only mail for this node itself.
    Nobody,
}

/// What looking for neighbours may cost.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Energy {
    /// Below this charge of the battery, while nothing charges it, no neighbours are looked for; 0: always.
    pub battery_min_percent: u8,
}

/// Delegated pick-up: a neighbour that has internet fetches what waits at the bridge for one that has none.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pickup {
    /// Who may fetch our mail. The bridge learns whom we met.
    pub ask: PickupWhom,
    /// For whom we fetch.
    pub fetch_for: PickupWhom,
    /// The way to the bridge must have been gone for this long before neighbours are asked, seconds.
    pub wait_s: u64,
    /// Most bytes that one neighbour may fetch at once.
    pub bytes: u64,
}

/// With whom mail is fetched for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PickupWhom {
    /// Nobody.
    None,
    /// Contacts that are recognised on the link.
    Contacts,
    /// Every neighbour.
    All,
}

/// The store's limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreLimits {
    /// Memory for the index and what is not in it yet, bytes.
    pub cache_bytes: u64,
    /// Bytes of bundles that may be kept.
    pub quota_bytes: u64,
    /// Bytes that the store's files may take on the disk; 0 for no limit of their own.
    pub disk_bytes: u64,
}

impl StoreLimits {
    /// [`StoreLimits::disk_bytes`] as the store wants it.
    pub fn disk_bytes_max(&self) -> u64 {
        if self.disk_bytes == 0 { u64::MAX } else { self.disk_bytes }
    }
}

/// How long messages are kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inbox {
    /// Days after which a message received, or one sent that nobody carries any more, is deleted; 0: never.
    pub keep_days: u32,
}

/// What unlocks the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyMethod {
    /// A file that holds a random key, made where there is none.
    File,
    /// A passphrase, from a file, the terminal or the standard input.
    Passphrase,
    /// A systemd credential that holds a random key.
    Credential,
    /// Nothing is encrypted beside what travels.
    None,
}

impl KeyMethod {
    /// As in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Passphrase => "passphrase",
            Self::Credential => "credential",
            Self::None => "none",
        }
    }
}

/// Encryption at rest of mailbox, contacts, attachments and keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Encryption {
    /// What unlocks the data folder.
    pub key: KeyMethod,
    /// With `file`. Default: `keys/store.key` in the data folder, which protects nothing where both are seized.
    pub key_file: Option<PathBuf>,
    /// With `passphrase`: holds it on the first line. Default: it is asked for.
    pub passphrase_file: Option<PathBuf>,
    /// With `credential`: its name in `$CREDENTIALS_DIRECTORY`.
    pub credential: String,
}

/// Timing that others can see.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Privacy {
    /// A recipient's first reveal of a delivery is delayed by a random time up to this, seconds.
    pub reveal_delay_s_max: u64,
    /// Who may count meetings with this node, so that mail for it finds it: they can follow it by its tags.
    pub reachable: ReachableTo,
}

/// Who is told the tags of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReachableTo {
    /// Nobody.
    Nobody,
    /// Contacts that are recognised on the link.
    Contacts,
    /// Every neighbour.
    Everyone,
}

/// Routing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingChoice {
    /// The rule.
    pub policy: RoutingPolicy,
}

/// Rules of routing; see `docs/routing.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoutingPolicy {
    /// Half of the copies to each node met; the last one moves to nodes of higher quality.
    #[default]
    Delegate,
    /// Half of the copies to each node met.
    Spray,
    /// The author hands single copies to the first five nodes it meets.
    SourceSpray,
}

/// The local API's access.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// User ids that may use the socket besides the daemon's own user and root.
    pub allow_uids: Vec<u32>,
}

/// Logging.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A `tracing` filter, such as `info` or `pigeon_quic=debug,info`.
    pub filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: paths::default_data_dir(),
            socket: paths::default_socket(),
            name: std::env::var("USER").ok().filter(|n| !n.is_empty()).unwrap_or_else(|| "pigeon".into()),
            clock: ClockMode::Auto,
            account: None,
            quic: Quic::default(),
            ble: Ble::default(),
            carry: Carry::default(),
            routing: RoutingChoice::default(),
            energy: Energy::default(),
            pickup: Pickup::default(),
            store: StoreLimits::default(),
            inbox: Inbox::default(),
            encryption: Encryption::default(),
            privacy: Privacy::default(),
            api: Api::default(),
            log: Log::default(),
        }
    }
}

impl Default for Quic {
    fn default() -> Self {
        Self { enabled: true, listen: SocketAddr::from(([0u16; 8], 0)), rotate_h: 24 }
    }
}

impl Default for Carry {
    fn default() -> Self {
        Self {
            whose: CarryFor::All,
            pigeons_only: false,
            daily_bytes: 256 << 20,
            daily_bundles: 100_000,
            lifetime_h: 7 * 24,
        }
    }
}

impl Default for Energy {
    fn default() -> Self {
        Self { battery_min_percent: 15 }
    }
}

impl Default for Pickup {
    fn default() -> Self {
        let contacts = PickupWhom::Contacts;
        Self { ask: contacts, fetch_for: contacts, wait_s: 60, bytes: 1 << 20 }
    }
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { cache_bytes: 16 << 20, quota_bytes: 1 << 30, disk_bytes: 0 }
    }
}

impl Default for Encryption {
    fn default() -> Self {
        Self {
            key: KeyMethod::File,
            key_file: None,
            passphrase_file: None,
            credential: "pigeon-store".into(),
        }
    }
}

impl Default for Privacy {
    fn default() -> Self {
        Self { reveal_delay_s_max: 600, reachable: ReachableTo::Nobody }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into() }
    }
}

/// Why a configuration cannot be used. Each names the file or the key and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error(
        "cannot read the config {path}: {source}\nhelp: give an existing file with --config, or none to run with the defaults"
    )]
    Read {
        /// The file named.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML of the expected shape.
    #[error("{path}: {message}\nhelp: docs/configuration.md lists every key with its default")]
    Parse {
        /// The file named.
        path: PathBuf,
        /// Line, column and expectation, by the TOML parser.
        message: String,
    },
    /// A value is out of range.
    #[error("{key} = {value}: {rule}")]
    Value {
        /// The key, dotted.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
}

impl Config {
    /// Reads `path`, or the default file if it exists, or falls back to the embedded defaults.
    ///
    /// # Errors
    /// A file that is missing though named, not TOML, or holds an unknown key or a value out of range.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let default = paths::default_config();
        let path = match path {
            Some(path) => path,
            None if default.exists() => &default,
            None => return Self::default().checked(),
        };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str::<Self>(&text)
            .map_err(|e| ConfigError::Parse { path: path.to_owned(), message: e.to_string() })?
            .checked()
    }

    fn checked(self) -> Result<Self, ConfigError> {
        let value = |key, value: &dyn std::fmt::Display, rule| {
            Err(ConfigError::Value { key, value: value.to_string(), rule })
        };
        if self.name.is_empty() || self.name.len() > NAME_LEN_MAX {
            return value("name", &self.name, "must be 1 to 64 bytes long");
        }
        if !(1..=LIFETIME_H_MAX).contains(&self.carry.lifetime_h) {
            return value("carry.lifetime_h", &self.carry.lifetime_h, "must be 1 to 720 hours");
        }
        if !(1..=168).contains(&self.quic.rotate_h) {
            return value("quic.rotate_h", &self.quic.rotate_h, "must be 1 to 168 hours");
        }
        if let Some(adapter) = &self.ble.adapter
            && (adapter.is_empty() || adapter.len() > ADAPTER_LEN_MAX)
        {
            return value("ble.adapter", adapter, "must be a name such as hci0, or an adapter's address");
        }
        if self.energy.battery_min_percent > 100 {
            let percent = self.energy.battery_min_percent;
            return value("energy.battery_min_percent", &percent, "must be 0 to 100 percent");
        }
        if self.store.quota_bytes < 1 << 20 {
            return value("store.quota_bytes", &self.store.quota_bytes, "must be at least 1048576 (1 MiB)");
        }
        let credential = &self.encryption.credential;
        if credential.is_empty() || credential.contains('/') || credential.starts_with('.') {
            let rule = "must be the name of a systemd credential, such as pigeon-store";
            return value("encryption.credential", credential, rule);
        }
        if self.name.chars().any(char::is_control) {
            return value("name", &self.name.escape_debug(), "must not hold control characters");
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.filter) {
            let filter = format!("{:?} ({error})", self.log.filter);
            return value(
                "log.filter",
                &filter,
                "must be a tracing filter such as info or pigeon_quic=debug,info",
            );
        }
        if let Some(account) = &self.account {
            if let Some(path) = &account.password_file
                && let Err(error) = std::fs::File::open(path)
            {
                let file = format!("{path:?} ({error})");
                let rule = "must be a file that the daemon can read, with the password on its first line";
                return value("account.password_file", &file, rule);
            }
            if !account.has_valid_jid() {
                return value(
                    "account.jid",
                    &account.jid,
                    "must be a bare JID such as elaine@example.org, at most 150 bytes",
                );
            }
            if !account.has_valid_bridge() {
                return value(
                    "account.bridge",
                    &account.bridge,
                    "must be the bridge's domain, such as bridge.example.org",
                );
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pigeond.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(Some(&path)).map_err(|e| e.to_string())
    }

    #[test]
    fn empty_file_gives_the_defaults() {
        let config = parse("").unwrap();
        assert!(config.account.is_none() && config.quic.enabled);
        assert_eq!(config.carry.lifetime_h, 168);
        assert_eq!(config.routing.policy, RoutingPolicy::Delegate);
        assert_eq!(config.privacy.reachable, ReachableTo::Nobody);
        let other = parse("[routing]\npolicy = 'source-spray'\n[privacy]\nreachable = 'contacts'").unwrap();
        assert_eq!(other.routing.policy, RoutingPolicy::SourceSpray);
        assert_eq!(other.privacy.reachable, ReachableTo::Contacts);
    }

    #[test]
    fn unknown_keys_and_bad_values_name_themselves() {
        assert!(parse("nmae = 'x'").unwrap_err().contains("nmae"));
        assert!(parse("[carry]\nlifetime_h = 721").unwrap_err().starts_with("carry.lifetime_h = 721"));
        assert!(parse("name = ''").unwrap_err().starts_with("name"));
        let jid = parse("[account]\njid='elaine'\npassword_file='/dev/null'\nbridge='b'").unwrap_err();
        assert!(jid.starts_with("account.jid = elaine"), "{jid}");
        assert!(parse("[log]\nfilter = '=='").unwrap_err().starts_with("log.filter"));
        assert!(
            parse("name = 'a\\nb'").is_ok() && parse("name = \"a\\nb\"").unwrap_err().starts_with("name")
        );
        let file = parse("[account]\njid='e@x.org'\npassword_file='/nonexistent'\nbridge='b'").unwrap_err();
        assert!(file.starts_with("account.password_file"), "{file}");
        let credential = parse("[encryption]\ncredential = '../x'").unwrap_err();
        assert!(credential.starts_with("encryption.credential"), "{credential}");
        assert!(parse("[encryption]\nkey = 'rot13'").unwrap_err().contains("rot13"));
        assert!(parse("clock = 'sometimes'").unwrap_err().contains("line 1"));
    }

    #[test]
    fn a_named_file_must_exist() {
        let error = Config::load(Some(Path::new("/nonexistent/pigeond.toml"))).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/pigeond.toml") && error.contains("help:"), "{error}");
    }
}
