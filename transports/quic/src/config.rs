//! What can be set, what is limited, and what can go wrong at the start.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Events that wait for the daemon.
pub const EVENT_QUEUE_MAX: usize = 64;
/// Incoming connections that have not authenticated yet.
pub const HANDSHAKES_MAX: usize = 32;
/// The same from one address.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 4;
/// Neighbours in sight that are remembered.
pub const SIGHTINGS_MAX: usize = 256;
/// How long one address may take to complete a TLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Settings of a [`QuicTransport`](crate::QuicTransport).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuicConfig {
    /// Address of the one UDP socket. `[::]:0`, the default, serves IPv4 too, on a port of the system's choice;
    /// where IPv6 is switched off it falls back to `0.0.0.0`.
    pub listen: SocketAddr,
    /// Names of the interfaces to announce and browse on, present or not. Empty: all.
    pub interfaces: Vec<String>,
    /// Announce and browse by mDNS-SD.
    pub mdns: bool,
    /// A link is over when nothing has come for this long.
    pub idle_timeout: Duration,
    /// A quiet link sends a sign of life this often. Below half of `idle_timeout`.
    pub keep_alive: Duration,
    /// Connections at any time, dialled and accepted.
    pub links_max: usize,
}

impl Default for QuicConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            interfaces: Vec::new(),
            mdns: true,
            idle_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(3),
            links_max: 128,
        }
    }
}

/// Why the transport did not start.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// The socket cannot be opened.
    #[error("cannot listen on UDP {listen}: {source}; set another address or port")]
    Bind {
        /// As configured.
        listen: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// QUIC does not take a setting.
    #[error("quic.{setting} is out of range: at most {max_s} s")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// Greatest value, in seconds.
        max_s: u64,
    },
    /// TLS does not take the node key, which no key should cause.
    #[error("TLS does not take the node key: {0}")]
    Tls(#[from] rustls::Error),
    /// TLS lacks the cipher suite that QUIC begins with, which no build should cause.
    #[error("TLS is built without AES-128-GCM, which QUIC needs: {0}")]
    Suite(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// No randomness for names.
    #[error("the system gives no randomness: {0}")]
    Random(#[from] getrandom::Error),
}
