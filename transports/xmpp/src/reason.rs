//! Why a session is not online, and what to do about it.

use std::io;

use crate::ns;
use crate::stanza::{error, short};
use crate::wire::WireError;
use minidom::Element;

/// Why a session is not online. Its text ends with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfflineReason {
    /// No route to the server.
    #[error("no network ({detail}); waiting for a connection")]
    NoNetwork {
        /// What the system said.
        detail: String,
    },
    /// The server's name does not resolve.
    #[error(
        "the name {host:?} does not resolve ({detail}); check the domain in the JID, or set the server's address"
    )]
    Dns {
        /// The name.
        host: String,
        /// What the resolver said.
        detail: String,
    },
    /// The server refuses connections.
    #[error("cannot connect to {addr} ({detail}); check that the server runs and that the port is right")]
    Connect {
        /// Address and port.
        addr: String,
        /// What the system said.
        detail: String,
    },
    /// The server's certificate is not acceptable, or it cannot do TLS.
    #[error("no TLS with the server: {detail}; {remedy}")]
    Tls {
        /// What is wrong.
        detail: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The server does not accept the password, the account or the component's secret.
    #[error(
        "the server refused the login ({detail}); check the account's name and password in the configuration"
    )]
    Auth {
        /// The server's condition.
        detail: String,
    },
    /// The component's secret is wrong.
    #[error(
        "the server refused the component {domain:?} ({detail}); the secret must be the component_secret of the server's configuration"
    )]
    ComponentAuth {
        /// The component's domain.
        domain: String,
        /// The server's text.
        detail: String,
    },
    /// Something is wrong so soon after the server let the component in that it may still take leave of an earlier
    /// connection.
    #[error("{what} on a connection that the server has just accepted; another one is tried")]
    Doubted {
        /// What is wrong.
        what: String,
    },
    /// The server does not know the domain.
    #[error(
        "the server does not serve {domain:?} ({detail}); check the domain, and that the server's configuration names it"
    )]
    HostUnknown {
        /// The domain.
        domain: String,
        /// The server's text.
        detail: String,
    },
    /// The server offers no way to authenticate that keeps the password from it.
    #[error(
        "the server offers only {offered:?}, and the password is never sent in clear; enable SCRAM-SHA-1 or SCRAM-SHA-256 on the server"
    )]
    NoMechanism {
        /// The mechanisms that it offers.
        offered: Vec<String>,
    },
    /// Another session took this one's place.
    #[error(
        "another session uses the same address ({detail}); give each node a resource, and each component a domain, of its own"
    )]
    Conflict {
        /// The server's text.
        detail: String,
    },
    /// The server ended the stream.
    #[error("the server ended the stream ({detail}); reconnecting")]
    StreamEnded {
        /// The stream error's condition and text, or how the connection ended.
        detail: String,
    },
    /// The server does not do what XMPP requires.
    #[error(
        "the server does not follow the protocol: {detail}; check that the address is an XMPP server's, and whether this \
         network shows a login page first"
    )]
    Protocol {
        /// What it did.
        detail: String,
    },
    /// The server did not answer in time.
    #[error("no answer from the server while {doing}; reconnecting")]
    Timeout {
        /// What was being waited for.
        doing: &'static str,
    },
    /// This side closed the session.
    #[error("closed on request")]
    Shutdown,
}

impl OfflineReason {
    /// Whether trying again soon is of no use, because somebody has to change something first.
    #[must_use]
    pub fn needs_operator(&self) -> bool {
        matches!(
            self,
            Self::Auth { .. }
                | Self::ComponentAuth { .. }
                | Self::HostUnknown { .. }
                | Self::NoMechanism { .. }
                | Self::Conflict { .. }
        )
    }

    /// Whether it looks like somebody in between, such as a captive portal, or like a server that has to be mended: it may
    /// pass without a word, so it is tried again, but not often.
    #[must_use]
    pub fn may_be_in_between(&self) -> bool {
        matches!(self, Self::Tls { .. })
    }

    /// Of a failed connection to `addr`.
    pub(crate) fn connecting(addr: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable => Self::NoNetwork { detail: error.to_string() },
            io::ErrorKind::TimedOut => Self::Timeout { doing: "connecting" },
            _ => Self::Connect { addr: addr.to_owned(), detail: error.to_string() },
        }
    }

    /// Of a stream that broke.
    pub(crate) fn broken(error: WireError) -> Self {
        match error {
            WireError::Io(error) => Self::StreamEnded { detail: error.to_string() },
            WireError::Xml(error) => Self::Protocol { detail: short(error.to_string()) },
            WireError::Eof => Self::StreamEnded { detail: "the connection was closed".to_owned() },
        }
    }

    /// Of a stream error (RFC 6120 section 4.9) on a stream to `domain`.
    pub(crate) fn stream_error(element: &Element, domain: &str) -> Self {
        let (condition, text) = error::read(element, ns::STREAM_ERRORS);
        let detail = match text {
            Some(text) => format!("{condition}: {text}"),
            None => condition.clone(),
        };
        match condition.as_str() {
            "conflict" => Self::Conflict { detail },
            "host-unknown" | "host-gone" => Self::HostUnknown { domain: domain.to_owned(), detail },
            _ => Self::StreamEnded { detail },
        }
    }

    /// Of an element where another was expected: a stream error, or a server that does not follow the protocol.
    pub(crate) fn unexpected(element: &Element, domain: &str, expected: &str) -> Self {
        if element.is("error", ns::STREAM) {
            return Self::stream_error(element, domain);
        }
        Self::Protocol { detail: short(format!("<{}> where {expected} was expected", element.name())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse_element;

    #[test]
    fn stream_errors_become_reasons() {
        let reason = |condition: &str| {
            let error = parse_element(&format!(
                "<stream:error xmlns:stream='{}'><{condition} xmlns='{}'/><text xmlns='{}'>why</text></stream:error>",
                ns::STREAM,
                ns::STREAM_ERRORS,
                ns::STREAM_ERRORS
            ));
            OfflineReason::unexpected(&error, "h", "x")
        };
        assert_eq!(reason("conflict"), OfflineReason::Conflict { detail: "conflict: why".to_owned() });
        assert!(matches!(reason("host-unknown"), OfflineReason::HostUnknown { .. }));
        assert!(matches!(reason("system-shutdown"), OfflineReason::StreamEnded { .. }));
        assert!(matches!(reason("text"), OfflineReason::StreamEnded { .. }));
    }

    #[test]
    fn no_route_is_no_network() {
        let reason = |errno| OfflineReason::connecting("h:1", &io::Error::from_raw_os_error(errno));
        assert!(matches!(reason(101), OfflineReason::NoNetwork { .. })); // ENETUNREACH
        assert!(matches!(reason(113), OfflineReason::NoNetwork { .. })); // EHOSTUNREACH
        assert!(matches!(reason(111), OfflineReason::Connect { .. })); // ECONNREFUSED
    }
}
