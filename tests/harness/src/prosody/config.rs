//! What a test may choose about its Prosody, and the Lua that says so.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// What to start. [`ProsodySpec::default`] is `example.org` with the component `bridge.example.org`.
#[derive(Debug, Clone)]
pub struct ProsodySpec {
    /// The virtual host, which is also the domain of every account.
    pub domain: String,
    /// The component's domain.
    pub bridge: String,
    /// What the component proves itself with.
    pub component_secret: String,
    /// Name and password of each account.
    pub users: Vec<(String, String)>,
    /// The address to listen on; without one, every address of a host, or a private loopback address.
    pub listen: Option<IpAddr>,
    /// Whether clients must use STARTTLS before they authenticate. On by default.
    pub require_tls: bool,
    /// Whether the server checks the `from` of the component's stanzas. On by default: the bridge must use
    /// XEP-0356.
    pub validate_from: bool,
    /// Whether the component may send as the host's users (XEP-0356, outgoing messages). On by default.
    pub privilege: bool,
    /// Where config, data, CA and logs go; without one, a temporary directory that goes with the value.
    pub state_dir: Option<PathBuf>,
}

impl Default for ProsodySpec {
    fn default() -> Self {
        Self::new("example.org")
    }
}

impl ProsodySpec {
    /// A server for `domain` with the component `bridge.<domain>` and no accounts yet.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        Self {
            domain: domain.to_owned(),
            bridge: format!("bridge.{domain}"),
            component_secret: "component-secret".to_owned(),
            users: Vec::new(),
            listen: None,
            require_tls: true,
            validate_from: true,
            privilege: true,
            state_dir: None,
        }
    }

    /// Adds an account.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// Listens on this address.
    #[must_use]
    pub fn listen(mut self, ip: IpAddr) -> Self {
        self.listen = Some(ip);
        self
    }

    /// Keeps everything in this directory.
    #[must_use]
    pub fn state_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(path.into());
        self
    }
}

/// A Lua string literal of anything.
fn quoted(text: &str) -> String {
    let mut literal = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => literal.extend(['\\', char::from(byte)]),
            0x20..=0x7e => literal.push(char::from(byte)),
            other => literal.push_str(&format!("\\{other:03}")),
        }
    }
    literal.push('"');
    literal
}

/// The whole configuration.
pub(super) fn lua(spec: &ProsodySpec, state: &Path, c2s: SocketAddr, component: SocketAddr) -> String {
    let file = |name: &str| quoted(&state.join(name).to_string_lossy());
    let privilege = if spec.privilege {
        format!("  privileged_entities = {{ [{}] = {{ message = \"outgoing\" }} }}\n", quoted(&spec.bridge))
    } else {
        String::new()
    };
    format!(
        r#"run_as_root = true -- read only when root starts it
daemonize = false
pidfile = {pidfile}
data_path = {data}
plugin_paths = {{ "/usr/lib/prosody/modules" }}
interfaces = {{ {c2s_ip} }}
c2s_ports = {{ {c2s_port} }}
c2s_direct_tls_ports = {{}}
legacy_ssl_ports = {{}}
component_interfaces = {{ {component_ip} }}
component_ports = {{ {component_port} }}
http_ports = {{}}
https_ports = {{}}
ssl = {{ certificate = {cert}, key = {key} }}
modules_enabled = {{
  "roster", "saslauth", "tls", "disco", "ping", "pep", "smacks", "carbons",
  "mam", "offline", "blocklist", "time", "version", "privilege"
}}
modules_disabled = {{ "s2s" }}
storage = "internal"
authentication = "internal_hashed"
c2s_require_encryption = {require_tls}
allow_unencrypted_plain_auth = false
allow_registration = false
smacks_hibernation_time = 600
smacks_max_queue_size = 5000
archive_expires_after = "1w"
default_archive_policy = true
limits = {{}} -- the packaged 10 kB/s for clients would throttle bundles
log = {{ {{ levels = {{ min = "info" }}, to = "file", filename = {log} }} }}

VirtualHost {domain}
{privilege}
Component {bridge}
  component_secret = {secret}
  modules_enabled = {{ "privilege" }}
  validate_from_addresses = {validate_from}
"#,
        pidfile = file("prosody.pid"),
        data = file("data"),
        c2s_ip = quoted(&c2s.ip().to_string()),
        c2s_port = c2s.port(),
        component_ip = quoted(&component.ip().to_string()),
        component_port = component.port(),
        cert = file("server.crt"),
        key = file("server.key"),
        require_tls = spec.require_tls,
        log = file("prosody.log"),
        domain = quoted(&spec.domain),
        bridge = quoted(&spec.bridge),
        secret = quoted(&spec.component_secret),
        validate_from = spec.validate_from,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_cannot_leave_their_quotes() {
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c\010""#);
    }

    #[test]
    fn sender_checks_are_on_unless_a_test_says_otherwise() {
        let address: SocketAddr = ([127, 0, 0, 1], 1).into();
        let text = lua(&ProsodySpec::default(), Path::new("/x"), address, address);
        assert!(text.contains("validate_from_addresses = true"));
        assert!(text.contains(r#"["bridge.example.org"] = { message = "outgoing" }"#));
    }
}
