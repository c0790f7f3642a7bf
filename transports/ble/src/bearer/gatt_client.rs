//! GATT as a bearer, from the client's side: pieces are written without response, and come as notifications.
//!
//! Notifications are read from the descriptor that BlueZ gives for them (bluer): of those that btleplug takes from D-Bus
//! signals, BlueZ tells only the last one where several come at once.

use std::time::Duration;

use bluer::gatt::CharacteristicReader;
use btleplug::api::{Characteristic, Peripheral as _, WriteType};
use btleplug::platform::Peripheral;
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
/// The version of this protocol that INFO must list.
pub(crate) const VERSION: u8 = 1;

/// Why GATT does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GattError {
    /// BlueZ or the peer refuse.
    #[error(transparent)]
    Bluetooth(#[from] btleplug::Error),
    /// The same, said by another way.
    #[error(transparent)]
    Notifications(#[from] bluer::Error),
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

/// Makes a bearer of a connected peer; `remote` is the same device. `alive` is dropped when the connection is no longer
/// needed by it.
pub(crate) async fn open(
    peer: Peripheral,
    remote: bluer::Device,
    alive: DropGuard,
) -> Result<Bearer, GattError> {
    let rx = timeout(RESOLVE_TIMEOUT, resolve(&peer)).await.map_err(|_| GattError::Timeout)??;
    let piece_max = usize::from(peer.mtu()).saturating_sub(ATT_OVERHEAD).min(PIECE_MAX);
    if piece_max < PIECE_MIN {
        return Err(GattError::Mtu(peer.mtu()));
    }
    let notifications = notifications(&remote).await?;
    let (front, Backend { mut from, to, end: _ }) = bearer(piece_max, true);
    let writing = async move {
        while let Some(piece) = from.recv().await {
            if let Err(error) = peer.write(&rx, &piece, WriteType::WithoutResponse).await {
                tracing::debug!(%error, "GATT write failed");
                return;
            }
        }
    };
    let reading = async move {
        while let Ok(piece) = notifications.recv().await {
            // BlueZ ends the stream with an empty value when the connection is gone.
            if piece.is_empty() {
                return;
            }
            if to.send(piece.into()).await.is_err() {
                // The bearer is dropped: what it had queued is still written.
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
        drop(alive);
    });
    Ok(front)
}

/// Subscribes to the peer's pieces.
async fn notifications(remote: &bluer::Device) -> Result<CharacteristicReader, GattError> {
    for service in remote.services().await? {
        for characteristic in service.characteristics().await? {
            if characteristic.uuid().await? == TX {
                return Ok(characteristic.notify_io().await?);
            }
        }
    }
    Err(GattError::Absent)
}

/// Where to write, once BlueZ knows the peer's services and the peer speaks our version.
async fn resolve(peer: &Peripheral) -> Result<Characteristic, GattError> {
    /// `connect` returns when services are resolved, and sometimes a little earlier.
    const AGAIN: Duration = Duration::from_millis(100);
    let find = |uuid| {
        let all = peer.services().into_iter().flat_map(|service| service.characteristics);
        all.into_iter().find(|characteristic| characteristic.uuid == uuid)
    };
    loop {
        peer.discover_services().await?;
        if let (Some(info), Some(rx)) = (find(INFO), find(RX)) {
            let versions = peer.read(&info).await?;
            return if versions.contains(&VERSION) { Ok(rx) } else { Err(GattError::Version) };
        }
        if !peer.is_connected().await? {
            return Err(GattError::Absent);
        }
        tokio::time::sleep(AGAIN).await;
    }
}
