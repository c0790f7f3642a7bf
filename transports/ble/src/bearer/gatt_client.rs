//! GATT as a bearer, from the client's side: pieces are written without response, and come as notifications.

use std::time::Duration;

use btleplug::api::{Characteristic, Peripheral as _, WriteType};
use btleplug::platform::Peripheral;
use futures::StreamExt as _;
use tokio::time::timeout;
use tokio_util::sync::DropGuard;

use super::{Backend, Bearer, bearer};
use crate::noise::PIECE_MIN;
use crate::{INFO, RX, TX};

/// BlueZ 5.66 drops written values above 510 bytes without a word, and counts a handle of 2 bytes among them.
pub(crate) const PIECE_MAX: usize = 509;
/// ATT's own bytes in a write or a notification.
const ATT_OVERHEAD: usize = 3;
/// What a service that is there may take to say so.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What is left to do on a link that ends must not take for ever.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The version of this protocol that INFO must list.
pub(crate) const VERSION: u8 = 1;

/// Why GATT does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GattError {
    /// BlueZ or the peer refuse.
    #[error(transparent)]
    Bluetooth(#[from] btleplug::Error),
    /// The service is not there.
    #[error("the peer does not serve our characteristics")]
    Absent,
    /// None in common.
    #[error("the peer speaks none of our versions")]
    Version,
    /// Pieces would be too small.
    #[error("the connection's MTU of {0} is too small")]
    Mtu(u16),
    /// It takes too long.
    #[error("the peer's services did not resolve within {} s", RESOLVE_TIMEOUT.as_secs())]
    Timeout,
}

/// Makes a bearer of a connected peer. `alive` is dropped when the connection is no longer needed by it.
pub(crate) async fn open(peer: Peripheral, alive: DropGuard) -> Result<Bearer, GattError> {
    let (rx, tx) = timeout(RESOLVE_TIMEOUT, resolve(&peer)).await.map_err(|_| GattError::Timeout)??;
    let piece_max = usize::from(peer.mtu()).saturating_sub(ATT_OVERHEAD).min(PIECE_MAX);
    if piece_max < PIECE_MIN {
        return Err(GattError::Mtu(peer.mtu()));
    }
    let mut notifications = peer.notifications().await?;
    peer.subscribe(&tx).await?;
    let (front, Backend { mut from, to, end: _ }) = bearer(piece_max, false);
    let writer = peer.clone();
    let writing = async move {
        while let Some(piece) = from.recv().await {
            if let Err(error) = writer.write(&rx, &piece, WriteType::WithoutResponse).await {
                tracing::debug!(%error, "GATT write failed");
                return;
            }
        }
    };
    let reading = async move {
        while let Some(value) = notifications.next().await {
            if value.uuid == TX && to.send(value.value.into()).await.is_err() {
                // The bearer is dropped: what it had queued is still written.
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            () = writing => {}
            () = reading => {}
            () = disconnected(&peer) => {}
        }
        let _gone = timeout(LEAVE_TIMEOUT, peer.unsubscribe(&tx)).await;
        drop(alive);
    });
    Ok(front)
}

/// Our two channels, once BlueZ knows the peer's services and the peer speaks our version.
async fn resolve(peer: &Peripheral) -> Result<(Characteristic, Characteristic), GattError> {
    /// `connect` returns when services are resolved, and sometimes a little earlier.
    const AGAIN: Duration = Duration::from_millis(100);
    let find = |uuid| {
        let all = peer.services().into_iter().flat_map(|service| service.characteristics);
        all.into_iter().find(|characteristic| characteristic.uuid == uuid)
    };
    loop {
        peer.discover_services().await?;
        if let (Some(info), Some(rx), Some(tx)) = (find(INFO), find(RX), find(TX)) {
            let versions = peer.read(&info).await?;
            return if versions.contains(&VERSION) { Ok((rx, tx)) } else { Err(GattError::Version) };
        }
        if !peer.is_connected().await? {
            return Err(GattError::Absent);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// BlueZ ends no notification stream when the connection goes: it is asked.
async fn disconnected(peer: &Peripheral) {
    const ASK: Duration = Duration::from_secs(1);
    loop {
        tokio::time::sleep(ASK).await;
        if !peer.is_connected().await.unwrap_or(false) {
            return;
        }
    }
}
