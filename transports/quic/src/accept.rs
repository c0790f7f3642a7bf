//! Incoming connections, few at a time, until they are links.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use pigeon_link::{AddressClass, Role, TransportEvent, authenticate};
use quinn::{Endpoint, Incoming};
use tokio::time::timeout;

use crate::dial::raw_link;
use crate::transport::Shared;
use crate::{CONNECT_TIMEOUT, HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX};

/// Handshakes under way beyond which a peer must first show that it receives at its address.
const HANDSHAKES_UNVALIDATED_MAX: usize = HANDSHAKES_MAX / 4;

/// Accepts until the endpoint or the transport is closed.
pub(crate) async fn accept(shared: Arc<Shared>, endpoint: Endpoint) {
    let handshakes = Arc::new(Handshakes::default());
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = shared.stop.cancelled() => return,
        };
        let Some(incoming) = incoming else { return };
        if handshakes.count() >= HANDSHAKES_UNVALIDATED_MAX
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            // Fails only where `may_retry` is false.
            let _retried = incoming.retry();
            continue;
        }
        let full = endpoint.open_connections() >= shared.config.links_max;
        let begun = Handshakes::begin(&handshakes, AddressClass::of_ip(incoming.remote_address().ip()));
        let Some(handshake) = begun.filter(|_| !full) else {
            tracing::debug!(remote = %incoming.remote_address(), "incoming connection refused: too many");
            incoming.refuse();
            continue;
        };
        let shared = Arc::clone(&shared);
        shared.clone().tasks.spawn(async move {
            tokio::select! {
                () = welcome(&shared, incoming, handshake) => {}
                () = shared.stop.cancelled() => {}
            }
        });
    }
}

/// Takes one connection to an authenticated link and reports it.
async fn welcome(shared: &Arc<Shared>, incoming: Incoming, handshake: Handshake) {
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
    let link = authenticate(raw, &shared.node, (shared.hello)()).await;
    drop(handshake);
    match link {
        // Nobody listens any more: the link closes as it is dropped.
        Ok(link) => drop(shared.events.send(TransportEvent::Incoming(link)).await),
        Err(error) => tracing::debug!(%remote, %error, "incoming link refused"),
    }
}

/// Handshakes under way, by address: whoever stalls them keeps out only who shares its address.
#[derive(Default)]
struct Handshakes(Mutex<BTreeMap<AddressClass, usize>>);

impl Handshakes {
    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// Counts one more, or `None` where there are too many.
    fn begin(this: &Arc<Self>, address: AddressClass) -> Option<Handshake> {
        let mut table = this.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = table.values().sum();
        let here = table.get(&address).copied().unwrap_or(0);
        if total >= HANDSHAKES_MAX || here >= HANDSHAKES_PER_ADDRESS_MAX {
            return None;
        }
        table.insert(address, here + 1);
        Some(Handshake { table: Arc::clone(this), address })
    }
}

/// One handshake under way; dropped when it is over.
struct Handshake {
    table: Arc<Handshakes>,
    address: AddressClass,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut table = self.table.0.lock().unwrap_or_else(PoisonError::into_inner);
        match table.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(table.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn handshakes_are_limited_by_address_and_in_all() {
        let table = Arc::new(Handshakes::default());
        let host = |number: usize| AddressClass::Memory(number as u64);
        let mut begun: Vec<_> =
            (0..HANDSHAKES_PER_ADDRESS_MAX).map(|_| Handshakes::begin(&table, host(0)).unwrap()).collect();
        assert!(Handshakes::begin(&table, host(0)).is_none(), "one address");
        for number in begun.len()..HANDSHAKES_MAX {
            begun.push(Handshakes::begin(&table, host(number)).unwrap());
        }
        assert!(Handshakes::begin(&table, host(HANDSHAKES_MAX)).is_none(), "in all");
        drop(begun.pop());
        assert!(Handshakes::begin(&table, host(0)).is_none(), "still one address");
        assert!(Handshakes::begin(&table, host(HANDSHAKES_MAX)).is_some(), "room again");
        begun.clear();
        assert_eq!(table.count(), 0);
        assert!(table.0.lock().unwrap().is_empty(), "nothing is kept of who has gone");
    }
}
