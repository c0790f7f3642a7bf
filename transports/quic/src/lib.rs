//! Neighbours on a local network: found by mDNS-SD, linked by QUIC (docs/wire-format.md section 6).
//!
//! [`QuicTransport::start`] opens one UDP socket for all links, announces it on every interface and browses
//! for others. Each side's certificate is the raw public key of its node key (RFC 7250); the channel binding
//! is a TLS exporter. Nothing on a link outlives its node key: to rotate, shut the transport down and start
//! another.
//!
//! | module | concern |
//! | --- | --- |
//! | `tls` | who may complete a TLS handshake |
//! | `endpoint` | the socket and QUIC's limits |
//! | `driver` | one connection as a stream of frames |
//! | `dial`, `accept` | getting to an authenticated link |
//! | `addresses` | which addresses are neighbours |
//! | `discovery` | mDNS-SD |

mod accept;
mod addresses;
mod config;
mod dial;
mod discovery;
mod driver;
mod endpoint;
mod live;
#[cfg(test)]
mod tests;
mod tls;
mod transport;

pub use config::{
    CONNECT_TIMEOUT, EVENT_QUEUE_MAX, HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX, QuicConfig, QuicError,
    SIGHTINGS_MAX,
};
pub use transport::QuicTransport;
