//! What a test may choose about its XMPP server.

use std::net::IpAddr;
use std::path::PathBuf;

/// Which program serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Debian's `prosody` with `prosody-modules`.
    Prosody,
    /// Debian's `ejabberd` with `erlang-p1-sqlite3`.
    Ejabberd,
}

impl Kind {
    /// The name of the program, and of tests that run on it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prosody => "prosody",
            Self::Ejabberd => "ejabberd",
        }
    }
}

/// What to start. [`ServerSpec::default`] is Prosody for `example.org` with the component `bridge.example.org`.
#[derive(Debug, Clone)]
pub struct ServerSpec {
    /// Which program serves.
    pub kind: Kind,
    /// The virtual host, which is also the domain of every account.
    pub domain: String,
    /// The component's domain.
    pub bridge: String,
    /// How many instances share the bridge's work. The first has the bridge's name; the others are components of their
    /// own named `b1.<bridge>` and so on.
    pub bridges: usize,
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
    /// Whether clients may register accounts (XEP-0077). Off by default.
    pub register: bool,
    /// Whether messages for users who are not there are stored. On by default.
    pub offline_store: bool,
    /// Most messages that are stored for somebody who is not there; `None`: more than any test sends.
    pub offline_max: Option<u32>,
    /// Whether the server tells push services (XEP-0357). Off by default.
    pub push: bool,
    /// How fast it reads what a client sends, kilobytes a second; `None`: as fast as it can. As packaged Prosody reads 10
    /// and ejabberd 3.
    pub client_kb_per_s: Option<u32>,
    /// Where config, data, CA and logs go; without one, a temporary directory that goes with the value.
    pub state_dir: Option<PathBuf>,
}

impl Default for ServerSpec {
    fn default() -> Self {
        Self::new("example.org")
    }
}

impl ServerSpec {
    /// A Prosody for `domain` with the component `bridge.<domain>` and no accounts yet.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        Self {
            kind: Kind::Prosody,
            domain: domain.to_owned(),
            bridge: format!("bridge.{domain}"),
            bridges: 1,
            component_secret: "component-secret".to_owned(),
            users: Vec::new(),
            listen: None,
            require_tls: true,
            validate_from: true,
            privilege: true,
            register: false,
            offline_store: true,
            offline_max: None,
            push: false,
            client_kb_per_s: None,
            state_dir: None,
        }
    }

    /// The same on another program.
    #[must_use]
    pub fn on(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
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

    /// The names under which bridges log in, beside the bridge's own.
    #[must_use]
    pub fn shard_names(&self) -> Vec<String> {
        (1..self.bridges).map(|n| format!("b{n}.{}", self.bridge)).collect()
    }
}
