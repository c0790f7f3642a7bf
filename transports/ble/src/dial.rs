//! From a sighting to a connection, and from a connection to a link.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bluer::Address;
use btleplug::api::Peripheral as _;
use pigeon_link::{
    AUTH_TIMEOUT, AddressClass, CostClass, DialError, FRAME_QUEUE_MAX, Link, LinkMeta, RawLink, Role,
    TransportKind, authenticate,
};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::CONNECT_TIMEOUT;
use crate::bearer::l2cap::{self, At};
use crate::bearer::{Bearer, gatt_client};
use crate::driver::{Driver, Patience};
use crate::noise;
use crate::quality::Meter;
use crate::radio::Station;
use crate::sightings::{Sighting, dials_first};
use crate::transport::Shared;

const KIND: TransportKind = TransportKind::Ble;
/// How long the side with the lower token waits for the other's connection before it dials after all. Connecting
/// takes up to 3 s with BlueZ's own advertising interval, and two that dial each other at once both fail.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a first channel may take, connecting included. What is left of [`CONNECT_TIMEOUT`] is for a second.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(7);
/// What is left to do on a connection that failed must not take for ever.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens and authenticates a link to a neighbour in sight.
pub(crate) async fn dial(shared: &Arc<Shared>, name: String) -> Result<Link, DialError> {
    let unreachable = |attempts: String| DialError::Unreachable { kind: KIND, token: name.clone(), attempts };
    let unknown = || DialError::Unknown { kind: KIND, token: name.clone() };
    if shared.stop.is_cancelled() {
        return Err(DialError::Shutdown { kind: KIND });
    }
    let Some(station) = shared.station() else { return Err(unreachable("no adapter at the moment".into())) };
    let sighting = shared.sightings.get(&name).ok_or_else(unknown)?;
    let first = dials_first(*shared.token.borrow(), &sighting.advert);
    if !first && timeout(PATIENCE, shared.sightings.linked(&name)).await.is_ok() {
        return Err(unreachable("it has dialled meanwhile".into()));
    }
    let turn = station.turns.connect().await;
    // Much may have happened while others connected.
    if shared.sightings.is_linked(&name) {
        return Err(unreachable("it has dialled meanwhile".into()));
    }
    if shared.sightings.links() >= shared.config.links_max {
        return Err(unreachable(format!("{} links are up, as many as allowed", shared.config.links_max)));
    }
    let sighting = shared.sightings.get(&name).ok_or_else(unknown)?;
    let quiet = station.turns.quiet().await;
    let connected = timeout(CONNECT_TIMEOUT, connect(shared, &station, &sighting)).await;
    drop(quiet);
    let address = sighting.at.0;
    let bearer = match connected {
        Ok(Ok(bearer)) => bearer,
        failed => {
            let reason = match failed {
                Ok(Err(reason)) => reason,
                _ => format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
            };
            shared.sightings.doubt(&name);
            leave(shared, &station, address).await;
            drop(turn);
            return Err(unreachable(format!("{address}: {reason}")));
        }
    };
    drop(turn);
    let raw = raw_link(shared, bearer, Role::Dialler, sighting.at).await;
    let raw = raw.map_err(|error| {
        shared.sightings.doubt(&name);
        unreachable(format!("{address}: {error}"))
    })?;
    Ok(authenticate(raw, &shared.node, (shared.hello)()).await?)
}

/// Connects in the best way that both sides have. The reason of a failure is for people.
async fn connect(
    shared: &Arc<Shared>,
    station: &Arc<Station>,
    sighting: &Sighting,
) -> Result<Bearer, String> {
    let bearers = shared.config.bearers;
    let mut reason =
        "no way in common: it offers neither an L2CAP channel nor GATT that this node may use".into();
    if let Some(psm) = sighting.advert.psm.filter(|_| bearers.l2cap()) {
        match connect_l2cap(shared, station, sighting.at, psm).await {
            Ok(bearer) => return Ok(bearer),
            Err(error) => reason = format!("L2CAP: {error}"),
        }
    }
    if sighting.advert.gatt && bearers.gatt() {
        match connect_gatt(shared, station, sighting.at.0).await {
            Ok(bearer) => return Ok(bearer),
            Err(error) => reason = format!("{reason}; GATT: {error}"),
        }
    }
    Err(reason)
}

/// A channel; where it is refused or nobody answers, once more on a new connection.
///
/// Linux names its channels upwards from 0x40. While `bluetoothd` on either side opens its own (EATT) on a new
/// connection, a name may be taken on one side only; from then on every channel that this side proposes under it is
/// refused ("source CID already allocated"), for as long as the connection stands. Or the answer goes astray.
async fn connect_l2cap(shared: &Shared, station: &Station, at: At, psm: u8) -> io::Result<Bearer> {
    match timeout(CHANNEL_TIMEOUT, l2cap::connect(station.own(), at, psm)).await {
        Ok(Err(error)) if error.kind() != io::ErrorKind::ConnectionRefused => Err(error),
        Ok(Ok(bearer)) => Ok(bearer),
        _ => {
            tracing::debug!(address = %at.0, psm, "no channel on this connection; connecting anew");
            leave(shared, station, at.0).await;
            l2cap::connect(station.own(), at, psm).await
        }
    }
}

async fn connect_gatt(
    shared: &Arc<Shared>,
    station: &Arc<Station>,
    address: Address,
) -> Result<Bearer, gatt_client::GattError> {
    let peer = station.device(address).await.ok_or(gatt_client::GattError::Absent)?;
    peer.connect().await?;
    let needed = CancellationToken::new();
    let alive = needed.clone().drop_guard();
    let (shared_too, station_too, peer_too) = (Arc::clone(shared), Arc::clone(station), peer.clone());
    shared.tasks.spawn(async move {
        needed.cancelled().await;
        // Disconnecting is for the whole device: another link to it may be there.
        if !shared_too.sightings.has_link_to(address) {
            let _gone = timeout(LEAVE_TIMEOUT, peer_too.disconnect()).await;
            // BlueZ would use the handles it remembers, and a peer that was started again has others.
            leave(&shared_too, &station_too, address).await;
        }
    });
    gatt_client::open(peer, station.remote(address)?, alive).await
}

/// After a failure: no half-open connection, and nothing remembered of it.
async fn leave(shared: &Shared, station: &Station, address: Address) {
    if !shared.sightings.has_link_to(address) {
        let _gone = timeout(LEAVE_TIMEOUT, station.forget(address)).await;
    }
}

/// Why a connection is no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RawError {
    /// No common key.
    #[error(transparent)]
    Noise(#[from] noise::NoiseError),
    /// The peer says nothing.
    #[error("no key agreement within {} s", AUTH_TIMEOUT.as_secs())]
    Timeout,
}

/// A bearer as a raw link, carried by a task of its own.
pub(crate) async fn raw_link(
    shared: &Arc<Shared>,
    mut bearer: Bearer,
    role: Role,
    at: At,
) -> Result<RawLink, RawError> {
    let own_token = shared.token.subscribe();
    let own = *own_token.borrow();
    let keyed = timeout(AUTH_TIMEOUT, noise::handshake(&mut bearer, role, own)).await;
    let keyed = keyed.map_err(|_| RawError::Timeout)??;
    let meter = Arc::new(Meter::new());
    let (number, sighting) = shared.sightings.link_up(at, keyed.peer, Arc::clone(&meter));
    let address = at.0;
    let meta = LinkMeta {
        transport: KIND,
        role,
        binding: keyed.binding,
        cost: CostClass::Ble,
        remote: address.to_string(),
        address_class: AddressClass::Ble(address.0),
        peer_raw_key: None,
        sighting: sighting.map(Box::new),
    };
    let (tx, from) = mpsc::channel(FRAME_QUEUE_MAX);
    let (to, rx) = mpsc::channel(FRAME_QUEUE_MAX);
    let closed = shared.stop_links.child_token();
    let (peer_token, mut renamed) = watch::channel(keyed.peer);
    let patience = Patience { idle: shared.config.idle_timeout, keep_alive: shared.config.keep_alive };
    let driver = Driver {
        bearer,
        seal: keyed.seal,
        from,
        to,
        closed: closed.clone(),
        patience,
        meter,
        own_token,
        peer_token,
    };
    let (shared, meter) = (Arc::clone(shared), Arc::clone(&driver.meter));
    shared.clone().tasks.spawn(async move {
        let renames = async {
            while renamed.changed().await.is_ok() {
                shared.sightings.renamed(number, *renamed.borrow_and_update());
            }
            std::future::pending::<()>().await;
        };
        let broken = tokio::select! { broken = driver.run() => broken, () = renames => None };
        let (quality, sent) = (meter.read(), meter.sent());
        let why = broken.map_or_else(|| "closed".to_owned(), |broken| broken.to_string());
        tracing::debug!(%address, why, sent, received = quality.bytes_in, "link over");
        let own = *shared.token.borrow();
        if let Some(event) = shared.sightings.link_down(number, own) {
            shared.tell(event).await;
        }
    });
    Ok(RawLink { meta, tx, rx, closed })
}
