//! From a neighbour's addresses to a connection, and from a connection to a link.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use pigeon_link::{AddressClass, CostClass, FRAME_QUEUE_MAX, LinkMeta, RawLink, Role, TransportKind};
use quinn::{Connection, Endpoint};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::driver::Driver;
use crate::transport::Shared;
use crate::{CONNECT_TIMEOUT, addresses, tls};

/// How long an address has before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(400);

/// Connects to the first address that answers. They are tried in order, each with a head start.
///
/// # Errors
/// What became of each address, for people.
pub(crate) async fn connect(endpoint: &Endpoint, candidates: Vec<SocketAddr>) -> Result<Connection, String> {
    let mut attempts = FuturesUnordered::new();
    let mut failures = Vec::new();
    let mut rest = candidates.into_iter();
    loop {
        if let Some(address) = rest.next() {
            attempts.push(attempt(endpoint, address));
        } else if attempts.is_empty() {
            return Err(if failures.is_empty() {
                "no address on this link".into()
            } else {
                failures.join("; ")
            });
        }
        tokio::select! {
            Some(outcome) = attempts.next() => match outcome {
                Ok(connection) => return Ok(connection),
                Err(failure) => failures.push(failure),
            },
            () = sleep(HEAD_START), if rest.len() > 0 => {}
        }
    }
}

async fn attempt(endpoint: &Endpoint, address: SocketAddr) -> Result<Connection, String> {
    let connecting =
        endpoint.connect(address, tls::SERVER_NAME).map_err(|error| format!("{address}: {error}"))?;
    match timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(format!("{address}: {error}")),
        Err(_) => Err(format!("{address}: no answer within {} s", CONNECT_TIMEOUT.as_secs())),
    }
}

/// A connection as a raw link, carried by a task of its own. `None` if TLS has proved nothing, which a
/// completed handshake excludes.
pub(crate) fn raw_link(shared: &Arc<Shared>, connection: Connection, role: Role) -> Option<RawLink> {
    let proved = tls::proved(&connection)?;
    let remote = connection.remote_address();
    let meta = LinkMeta {
        transport: TransportKind::Quic,
        role,
        binding: proved.binding,
        cost: CostClass::Lan,
        remote: readable(remote),
        address_class: AddressClass::of_ip(remote.ip()),
        peer_raw_key: Some(proved.peer),
        sighting: None,
    };
    let (tx, from) = mpsc::channel(FRAME_QUEUE_MAX);
    let (to, rx) = mpsc::channel(FRAME_QUEUE_MAX);
    let closed = shared.stop_links.child_token();
    let local = connection.local_ip().or_else(|| addresses::local_towards(remote));
    shared.live.insert(&connection, local);
    let driver = Driver { connection: connection.clone(), role, from, to, closed: closed.clone() };
    let shared = Arc::clone(shared);
    shared.clone().tasks.spawn(async move {
        let lost = driver.run().await;
        shared.live.remove(&connection);
        if lost == Some(quinn::ConnectionError::TimedOut) {
            shared.doubt(remote.ip());
        }
    });
    Some(RawLink { meta, tx, rx, closed })
}

/// IPv4 as such, also where the socket speaks IPv6.
fn readable(remote: SocketAddr) -> String {
    match remote.ip().to_canonical() {
        ip if ip == remote.ip() => remote.to_string(),
        ip => SocketAddr::new(ip, remote.port()).to_string(),
    }
}
