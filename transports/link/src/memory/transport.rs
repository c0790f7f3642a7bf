//! A member of the in-memory network, as a transport.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use pigeon_bundle::NodeSecret;

use tokio_util::sync::CancellationToken;

use super::{Connected, HelloSource, MemoryNetwork};
use crate::{
    DialError, DutyCycle, Link, PeerAddress, Transport, TransportEvent, TransportKind, authenticate,
};

const KIND: TransportKind = TransportKind::Memory;

/// A member of a [`MemoryNetwork`].
pub struct MemoryTransport {
    network: MemoryNetwork,
    member: u64,
    node: NodeSecret,
    hello: Arc<HelloSource>,
    shutdown: CancellationToken,
}

impl MemoryTransport {
    pub(super) fn new(
        network: MemoryNetwork,
        member: u64,
        node: NodeSecret,
        hello: Arc<HelloSource>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { network, member, node, hello, shutdown }
    }

    /// The member's number in its network; the token of its sightings.
    #[must_use]
    pub fn member(&self) -> u64 {
        self.member
    }

    async fn dial_token(&self, token: String) -> Result<Link, DialError> {
        if self.shutdown.is_cancelled() {
            return Err(DialError::Shutdown { kind: KIND });
        }
        let connected = token.parse().ok().and_then(|peer| self.network.connect(self.member, peer));
        let Some(Connected { own, theirs, node, hello, events, shutdown }) = connected else {
            return Err(DialError::Unreachable { kind: KIND, token, attempts: "not within reach".into() });
        };
        close_with(&self.shutdown, &own.closed);
        close_with(&shutdown, &theirs.closed);
        tokio::spawn(async move {
            match authenticate(theirs, &node, hello()).await {
                // Nobody listens any more: the link closes as it is dropped.
                Ok(link) => drop(events.send(TransportEvent::Incoming(link)).await),
                Err(error) => tracing::debug!(%error, "incoming link refused"),
            }
        });
        Ok(authenticate(own, &self.node, (self.hello)()).await?)
    }
}

/// Closes a link when its transport shuts down.
fn close_with(shutdown: &CancellationToken, closed: &CancellationToken) {
    let (shutdown, closed) = (shutdown.clone(), closed.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => closed.cancel(),
            () = closed.cancelled() => {}
        }
    });
}

impl Transport for MemoryTransport {
    fn kind(&self) -> TransportKind {
        KIND
    }

    fn dial(&self, peer: &PeerAddress) -> BoxFuture<'_, Result<Link, DialError>> {
        self.dial_token(peer.token.clone()).boxed()
    }

    fn set_carriage_open(&self, open: bool) {
        self.network.set_carriage_open(self.member, open);
    }

    /// Who sees whom is up to [`MemoryNetwork::meet`] alone.
    fn set_discovery(&self, _duty: DutyCycle) {}

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        async move {
            self.network.leave(self.member);
            self.shutdown.cancel();
        }
        .boxed()
    }
}
