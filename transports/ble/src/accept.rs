//! Incoming connections, few at a time, until they are links.

use std::sync::Arc;
use std::time::Duration;

use bluer::{Address, AddressType};
use pigeon_link::{RawLink, Role, TransportEvent, authenticate};

use crate::bearer::Bearer;
use crate::bearer::gatt_server::Server;
use crate::bearer::l2cap::{At, Listener};
use crate::dial::raw_link;
use crate::transport::Shared;

/// An accept that fails is tried again after this: files may have run out for a moment.
const AGAIN: Duration = Duration::from_millis(500);

/// Accepts L2CAP channels; never returns where there is no listener.
pub(crate) async fn channels(shared: &Arc<Shared>, listener: Option<Listener>) {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((bearer, at)) => begin(shared, bearer, at),
            Err(error) => {
                tracing::debug!(%error, "accepting failed");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Serves GATT clients, one after the other; never returns where there is no server.
pub(crate) async fn clients(shared: &Arc<Shared>, server: Option<Server>) {
    let Some(mut server) = server else { return std::future::pending().await };
    while let Some((bearer, address)) = server.accept().await {
        // BlueZ says no more of a client than its address; it knows the type, we need it only to name the peer.
        begin(shared, bearer, (address, address_type(address)));
    }
}

/// Private addresses have their two highest bits set to 01 (resolvable) or 00; a public one may look the same.
fn address_type(address: Address) -> AddressType {
    if address.0[0] & 0xc0 == 0x40 { AddressType::LeRandom } else { AddressType::LePublic }
}

fn begin(shared: &Arc<Shared>, bearer: Bearer, at: At) {
    let full = shared.sightings.links() >= shared.config.links_max;
    let Some(handshake) = shared.handshakes.clone().try_acquire_owned().ok().filter(|_| !full) else {
        tracing::debug!(address = %at.0, "incoming connection refused: too many");
        return;
    };
    let shared = Arc::clone(shared);
    shared.clone().tasks.spawn(async move {
        tokio::select! {
            () = welcome(&shared, bearer, at) => {}
            () = shared.stop.cancelled() => {}
        }
        drop(handshake);
    });
}

/// Takes one connection to an authenticated link and reports it.
async fn welcome(shared: &Arc<Shared>, bearer: Bearer, at: At) {
    let raw: RawLink = match raw_link(shared, bearer, Role::Listener, at).await {
        Ok(raw) => raw,
        Err(error) => return tracing::debug!(address = %at.0, %error, "incoming connection failed"),
    };
    match authenticate(raw, &shared.node, (shared.hello)()).await {
        // Nobody listens any more: the link closes as it is dropped.
        Ok(link) => shared.tell(TransportEvent::Incoming(link)).await,
        Err(error) => tracing::debug!(address = %at.0, %error, "incoming link refused"),
    }
}
