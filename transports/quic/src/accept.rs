//! Incoming connections, few at a time, until they are links.

use std::sync::Arc;

use pigeon_link::{Role, TransportEvent, authenticate};
use quinn::{Endpoint, Incoming};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::dial::raw_link;
use crate::transport::Shared;
use crate::{CONNECT_TIMEOUT, HANDSHAKES_MAX};

/// Handshakes under way beyond which a peer must first show that it receives at its address.
const HANDSHAKES_UNVALIDATED_MAX: usize = HANDSHAKES_MAX / 4;

/// Accepts until the endpoint or the transport is closed.
pub(crate) async fn accept(shared: Arc<Shared>, endpoint: Endpoint) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = shared.stop.cancelled() => return,
        };
        let Some(incoming) = incoming else { return };
        let under_way = HANDSHAKES_MAX - handshakes.available_permits();
        if under_way >= HANDSHAKES_UNVALIDATED_MAX
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            // Fails only where `may_retry` is false.
            let _retried = incoming.retry();
            continue;
        }
        let permit = Arc::clone(&handshakes).try_acquire_owned();
        let Ok(permit) = permit else {
            incoming.refuse();
            continue;
        };
        if endpoint.open_connections() >= shared.config.links_max {
            tracing::debug!(
                limit = shared.config.links_max,
                "incoming connection refused: links_max reached"
            );
            incoming.refuse();
            continue;
        }
        let shared = Arc::clone(&shared);
        shared.clone().tasks.spawn(async move {
            tokio::select! {
                () = welcome(&shared, incoming) => {}
                () = shared.stop.cancelled() => {}
            }
            drop(permit);
        });
    }
}

/// Takes one connection to an authenticated link and reports it.
async fn welcome(shared: &Arc<Shared>, incoming: Incoming) {
    let remote = incoming.remote_address();
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return tracing::debug!(%remote, %error, "incoming connection failed"),
    };
    let connection = match timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%remote, %error, "incoming connection failed"),
        Err(_) => return tracing::debug!(%remote, "incoming connection timed out"),
    };
    let Some(raw) = raw_link(shared, connection, Role::Listener) else { return };
    match authenticate(raw, &shared.node, (shared.hello)()).await {
        // Nobody listens any more: the link closes as it is dropped.
        Ok(link) => drop(shared.events.send(TransportEvent::Incoming(link)).await),
        Err(error) => tracing::debug!(%remote, %error, "incoming link refused"),
    }
}
