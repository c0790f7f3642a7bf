//! From a name to a TCP connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::limits::ADDRESSES_MAX;
use crate::reason::OfflineReason;

const PORT_STARTTLS: u16 = 5222;
const PORT_DIRECT_TLS: u16 = 5223;

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// At this host or address.
    Host(Host),
    /// Where the domain's SRV records say (RFC 6120 section 3.2.1, XEP-0368).
    Domain { domain: String, direct_tls: bool },
}

/// A host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    name: String,
    port: u16,
}

impl Target {
    /// Parses `host:port` or `[v6 address]:port`.
    pub(crate) fn given(text: &str) -> Option<Self> {
        let (name, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|&port| port != 0)?;
        let name = match name.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|name| name.parse::<IpAddr>().is_ok())?,
            None => Some(name).filter(|name| !name.is_empty() && !name.contains(':'))?,
        };
        Some(Self::Host(Host { name: name.to_owned(), port }))
    }
}

/// Connects; each address gets `each` at most.
pub(crate) async fn connect(target: &Target, each: Duration) -> Result<TcpStream, OfflineReason> {
    let (hosts, fallback) = match target {
        Target::Host(host) => (Vec::new(), host.clone()),
        Target::Domain { domain, direct_tls } => {
            let (service, port) = if *direct_tls {
                ("_xmpps-client._tcp", PORT_DIRECT_TLS)
            } else {
                ("_xmpp-client._tcp", PORT_STARTTLS)
            };
            (services(service, domain).await, Host { name: domain.clone(), port })
        }
    };
    let mut hosts = hosts.into_iter();
    let mut result = connect_host(&hosts.next().unwrap_or(fallback), each).await;
    for host in hosts {
        if result.is_ok() {
            break;
        }
        result = connect_host(&host, each).await;
    }
    result
}

/// The hosts in the domain's SRV records, best first. None when there are none or no answer comes: then the domain
/// itself is tried, and its failure is the one that is reported. The resolver is made anew each time, because
/// which name servers to ask changes with the network.
async fn services(service: &str, domain: &str) -> Vec<Host> {
    if domain.parse::<IpAddr>().is_ok() {
        return Vec::new();
    }
    let Ok(resolver) = TokioResolver::builder_tokio().and_then(|builder| builder.build()) else {
        return Vec::new();
    };
    let Ok(lookup) = resolver.srv_lookup(format!("{service}.{domain}.")).await else { return Vec::new() };
    let mut records: Vec<_> = lookup
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) if !srv.target.is_root() => Some(srv),
            _ => None,
        })
        .collect();
    records.sort_by_key(|srv| (srv.priority, std::cmp::Reverse(srv.weight)));
    records.truncate(ADDRESSES_MAX);
    records.into_iter().map(|srv| Host { name: srv.target.to_ascii(), port: srv.port }).collect()
}

async fn connect_host(host: &Host, each: Duration) -> Result<TcpStream, OfflineReason> {
    let found = timeout(each, lookup_host((host.name.as_str(), host.port))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.take(ADDRESSES_MAX).collect(),
        Ok(Err(error)) => {
            return Err(OfflineReason::Dns { host: host.name.clone(), detail: error.to_string() });
        }
        Err(_elapsed) => return Err(OfflineReason::Timeout { doing: "resolving the server's name" }),
    };
    if addresses.is_empty() {
        return Err(OfflineReason::Dns { host: host.name.clone(), detail: "no address".to_owned() });
    }
    race(&addresses, each).await
}

/// Tries all addresses at once; the first connection wins. One family may be broken while the other works.
async fn race(addresses: &[SocketAddr], each: Duration) -> Result<TcpStream, OfflineReason> {
    let mut attempts: FuturesUnordered<_> = addresses
        .iter()
        .map(|&addr| async move {
            match timeout(each, TcpStream::connect(addr)).await {
                Ok(result) => result.map_err(|error| OfflineReason::connecting(&addr.to_string(), &error)),
                Err(_elapsed) => Err(OfflineReason::Timeout { doing: "connecting" }),
            }
        })
        .collect();
    let mut worst = OfflineReason::NoNetwork { detail: io::ErrorKind::AddrNotAvailable.to_string() };
    while let Some(result) = attempts.next().await {
        match result {
            Ok(stream) => {
                // Stanzas are small and answers are waited for: never wait for a full packet.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            // A refusal says more than a missing route of the other family.
            Err(OfflineReason::NoNetwork { detail }) => {
                if matches!(worst, OfflineReason::NoNetwork { .. }) {
                    worst = OfflineReason::NoNetwork { detail };
                }
            }
            Err(reason) => worst = reason,
        }
    }
    Err(worst)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn host(name: &str, port: u16) -> Option<Target> {
        Some(Target::Host(Host { name: name.to_owned(), port }))
    }

    #[test]
    fn addresses_parse() {
        assert_eq!(Target::given("example.org:5222"), host("example.org", 5222));
        assert_eq!(Target::given("127.0.0.1:1"), host("127.0.0.1", 1));
        assert_eq!(Target::given("[::1]:5222"), host("::1", 5222));
        for bad in
            ["", "example.org", ":5222", "example.org:", "example.org:0", "h:65536", "::1:5222", "[x]:1"]
        {
            assert_eq!(Target::given(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_a_refused_connection() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        let target = Target::given(&addr.to_string()).unwrap();
        let error = connect(&target, Duration::from_secs(5)).await.unwrap_err();
        assert!(
            matches!(&error, OfflineReason::Connect { addr: at, .. } if *at == addr.to_string()),
            "{error:?}"
        );
    }
}
