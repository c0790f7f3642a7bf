//! What a node is to be, and the config file that says so.

use std::path::{Path, PathBuf};

use crate::files::{toml_path, toml_string};

/// An XMPP account, and the bridge that it uses.
#[derive(Debug, Clone)]
pub struct Account {
    /// Bare JID.
    pub jid: String,
    /// Its password.
    pub password: String,
    /// `host:port` to connect to.
    pub server: String,
    /// PEM file of the CA to trust.
    pub ca_file: PathBuf,
    /// The bridge's domain.
    pub bridge: String,
}

/// What a node is to be.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// Name on the card, and of its folder.
    pub name: String,
    /// Without one it only meets neighbours.
    pub account: Option<Account>,
    /// "auto", "trusted" or "none".
    pub clock: String,
    /// Whether it looks for neighbours.
    pub quic: bool,
    /// Name of the Bluetooth adapter that it uses; `None`: no Bluetooth.
    pub ble: Option<String>,
    /// More TOML for the table `[ble]`.
    pub ble_more: String,
    /// Where it listens for neighbours on local networks.
    pub listen: String,
    /// Longest random delay before it reveals a delivery, seconds.
    pub reveal_delay_s_max: u64,
    /// A `tracing` filter. `PIGEON_TEST_LOG` in the environment wins.
    pub log_filter: String,
    /// More TOML, for the end of the file: whole tables.
    pub tables: String,
}

impl NodeSpec {
    /// A node with a trusted clock, neighbours, no account and no delays.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            account: None,
            clock: "trusted".to_owned(),
            quic: true,
            ble: None,
            ble_more: String::new(),
            listen: "[::]:0".to_owned(),
            reveal_delay_s_max: 0,
            log_filter: "info".to_owned(),
            tables: String::new(),
        }
    }

    /// With a Bluetooth adapter and no network.
    #[must_use]
    pub fn bluetooth(mut self, adapter: &str) -> Self {
        self.ble = Some(adapter.to_owned());
        self.quic = false;
        self
    }

    /// With an account.
    #[must_use]
    pub fn account(mut self, account: Account) -> Self {
        self.account = Some(account);
        self
    }

    /// The config file for a node whose folder is `dir`.
    pub(crate) fn toml(&self, dir: &Path, socket: &Path) -> String {
        let filter = std::env::var("PIGEON_TEST_LOG").unwrap_or_else(|_unset| self.log_filter.clone());
        let mut text = format!(
            "data_dir = {data}\nsocket = {socket}\nname = {name}\nclock = {clock}\n\n\
             [quic]\nenabled = {quic}\nlisten = {listen}\n\n\
             [ble]\n{ble}\n\n[privacy]\nreveal_delay_s_max = {delay}\n\n[log]\nfilter = {filter}\n",
            data = toml_path(&dir.join("data")),
            socket = toml_path(socket),
            name = toml_string(&self.name),
            clock = toml_string(&self.clock),
            quic = self.quic,
            listen = toml_string(&self.listen),
            ble = match &self.ble {
                Some(adapter) =>
                    format!("enabled = \"on\"\nadapter = {}\n{}", toml_string(adapter), self.ble_more),
                None => "enabled = \"off\"".to_owned(),
            },
            delay = self.reveal_delay_s_max,
            filter = toml_string(&filter),
        );
        if let Some(account) = &self.account {
            text.push_str(&format!(
                "\n[account]\njid = {jid}\npassword_file = {password}\nserver = {server}\nca_file = {ca}\nbridge = {bridge}\n",
                jid = toml_string(&account.jid),
                password = toml_path(&dir.join("password")),
                server = toml_string(&account.server),
                ca = toml_path(&account.ca_file),
                bridge = toml_string(&account.bridge),
            ));
        }
        text.push_str(&self.tables);
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_config_has_its_tables_after_its_keys() {
        let account = Account {
            jid: "elaine@example.org".to_owned(),
            password: "secret".to_owned(),
            server: "10.9.0.1:5222".to_owned(),
            ca_file: "/x/ca.crt".into(),
            bridge: "bridge.example.org".to_owned(),
        };
        let spec = NodeSpec::new("el\"aine").account(account);
        let text = spec.toml(Path::new("/x"), Path::new("/x/s"));
        assert!(text.contains("name = \"el\\\"aine\"\n"), "{text}");
        assert!(text.find("[quic]").unwrap() > text.find("clock = \"trusted\"").unwrap());
        assert!(text.contains("password_file = \"/x/password\"") && !text.contains("secret"), "{text}");
    }
}
