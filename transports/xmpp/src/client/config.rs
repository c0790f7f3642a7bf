//! What a session needs to know.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jid::BareJid;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::dial::Target;
use super::tls;
use crate::secret::Secret;
use crate::stanza::jid as parse_jid;

/// An account and how to reach it. [`ClientConfig::new`] fills in everything but the first three.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The account: a bare JID with a local part.
    pub jid: String,
    /// Its password. Only SCRAM proofs of it are sent, unless `allow_plain`.
    pub password: Secret,
    /// The bridge's JID or domain.
    pub bridge: String,
    /// The server as `host:port`; without one, the domain's SRV records, then the domain itself on 5222 or 5223.
    pub server: Option<String>,
    /// TLS from the first byte (XEP-0368) instead of STARTTLS.
    pub direct_tls: bool,
    /// More certificate authorities to trust (PEM), beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Send the password itself (PLAIN, inside TLS) where the server knows no SCRAM.
    pub allow_plain: bool,
    /// The session's resource; `None` lets the server choose. A fixed one, different on each node of the account,
    /// lets the server end a crashed session at once and hand over what that session had not acknowledged.
    pub resource: Option<String>,
    /// For each TCP connection attempt.
    pub connect_timeout: Duration,
    /// From the first packet to being online, everything included.
    pub online_timeout: Duration,
    /// The first wait after a failure; doubles to `retry_max`.
    pub retry_min: Duration,
    /// The longest wait after a failure.
    pub retry_max: Duration,
    /// The wait after a failure that only a person can mend, such as a wrong password. `poke` does not shorten it.
    pub retry_operator: Duration,
    /// The least wait after a certificate that is not acceptable: a captive portal's, or a server's that has to be mended.
    pub retry_tls: Duration,
    /// Silence after which the server is asked for a sign of life.
    pub ping_after: Duration,
    /// How long that may take on an idle connection.
    pub ping_timeout: Duration,
    /// The same after [`poke`](super::ClientHandle::poke), when the connection is in doubt already.
    pub poke_timeout: Duration,
}

impl ClientConfig {
    /// An account with the usual times.
    pub fn new(jid: impl Into<String>, password: impl Into<Secret>, bridge: impl Into<String>) -> Self {
        Self {
            jid: jid.into(),
            password: password.into(),
            bridge: bridge.into(),
            server: None,
            direct_tls: false,
            ca_file: None,
            allow_plain: false,
            resource: None,
            connect_timeout: Duration::from_secs(15),
            online_timeout: Duration::from_secs(45),
            retry_min: Duration::from_secs(2),
            retry_max: Duration::from_secs(120),
            retry_operator: Duration::from_secs(15 * 60),
            retry_tls: Duration::from_secs(60),
            ping_after: Duration::from_secs(90),
            ping_timeout: Duration::from_secs(20),
            poke_timeout: Duration::from_secs(4),
        }
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not an account's address.
    #[error("{0:?} is not an account's JID; it must look like name@example.org")]
    Account(String),
    /// Not a bridge's address.
    #[error("{0:?} is not a bridge's JID; it must be a domain such as bridge.example.org")]
    Bridge(String),
    /// Not a resource.
    #[error("{0:?} cannot be an XMPP resource; use letters and digits")]
    Resource(String),
    /// Not an address.
    #[error("{0:?} is not a server's address; it must look like xmpp.example.org:5222 or [2001:db8::1]:5222")]
    Server(String),
    /// The file cannot be read or holds no certificate.
    #[error(
        "the CA file {path:?} cannot be used: {detail}; it must be a PEM file with at least one certificate"
    )]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Nobody to trust.
    #[error(
        "there are no trusted certificates; install the system's (package ca-certificates) or set a CA file"
    )]
    NoRoots,
    /// Not a component's domain.
    #[error("{0:?} is not a component's domain; it must look like bridge.example.org")]
    Domain(String),
}

/// A checked configuration.
pub(super) struct Account {
    pub(super) config: ClientConfig,
    pub(super) jid: BareJid,
    pub(super) bridge: BareJid,
    pub(super) target: Target,
    pub(super) server_name: ServerName<'static>,
    pub(super) tls: TlsConnector,
}

impl Account {
    pub(super) fn check(config: ClientConfig) -> Result<Self, ConfigError> {
        let jid = bare(&config.jid).filter(|jid| jid.node().is_some());
        let jid = jid.ok_or_else(|| ConfigError::Account(config.jid.clone()))?;
        let bridge = bare(&config.bridge).ok_or_else(|| ConfigError::Bridge(config.bridge.clone()))?;
        if let Some(resource) = &config.resource
            && jid.with_resource_str(resource).is_err()
        {
            return Err(ConfigError::Resource(resource.clone()));
        }
        let domain = jid.domain().to_string();
        let server_name = ServerName::try_from(domain.clone());
        let server_name = server_name.map_err(|_| ConfigError::Account(config.jid.clone()))?;
        let target = match &config.server {
            Some(server) => Target::given(server).ok_or_else(|| ConfigError::Server(server.clone()))?,
            None => Target::Domain { domain, direct_tls: config.direct_tls },
        };
        let tls = TlsConnector::from(Arc::new(tls::config(config.ca_file.as_deref().map(Path::new))?));
        Ok(Self { jid, bridge, target, server_name, tls, config })
    }

    pub(super) fn domain(&self) -> String {
        self.jid.domain().to_string()
    }
}

fn bare(text: &str) -> Option<BareJid> {
    parse_jid(text)?.try_into_full().err()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn check(change: impl FnOnce(&mut ClientConfig)) -> Result<Account, ConfigError> {
        let mut config = ClientConfig::new("jerry@example.org", Secret::new("x"), "bridge.example.org");
        change(&mut config);
        Account::check(config)
    }

    #[test]
    fn wrong_settings_are_named() {
        for jid in ["", "example.org", "jerry@", "jerry@example.org/x", "jerry@exa mple", "jerry@-"] {
            assert!(matches!(check(|c| c.jid = jid.to_owned()), Err(ConfigError::Account(_))), "{jid}");
        }
        assert!(matches!(check(|c| c.bridge = "b/x".to_owned()), Err(ConfigError::Bridge(_))));
        assert!(matches!(check(|c| c.resource = Some(String::new())), Err(ConfigError::Resource(_))));
        assert!(matches!(check(|c| c.server = Some("host".to_owned())), Err(ConfigError::Server(_))));
        assert!(matches!(
            check(|c| c.ca_file = Some("/nonexistent".into())),
            Err(ConfigError::CaFile { .. })
        ));
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "not a certificate\n").unwrap();
        assert!(matches!(
            check(|c| c.ca_file = Some(file.path().to_owned())),
            Err(ConfigError::CaFile { .. })
        ));
    }
}
