//! The adapter: found, watched, and used as long as it is there.

mod advertise;
mod daemon;
mod scan;
mod station;
mod trouble;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use pigeon_link::TransportEvent;

use crate::transport::Shared;
use daemon::{Daemon, Owner};
use scan::Central;

pub(crate) use station::Station;
pub use trouble::Trouble;
pub(crate) use turns::Turns;

/// What has changed without a word is found out after this, times the number of failures in a row.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Keeps a station on the air until the transport stops. Each life of a station ends with its reason, which the
/// daemon is told; then the next one is tried for.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut failures = 0;
    while !shared.stop.is_cancelled() {
        let trouble = match Daemon::watch().await {
            Err(trouble) => trouble,
            Ok(daemon) => on_bus(&shared, &daemon, &mut failures).await,
        };
        report(&shared, &trouble).await;
        pause(&shared, &mut failures).await;
    }
}

/// Runs stations for as long as the bus is there. btleplug's connection and its event stream live as long: they
/// leave a task behind when they are dropped.
async fn on_bus(shared: &Arc<Shared>, daemon: &Daemon, failures: &mut u32) -> Trouble {
    let mut owner = daemon.owner();
    let mut central = None;
    loop {
        let current = owner.borrow_and_update().clone();
        let trouble = match &current {
            Owner::BusLost => return Trouble::NoBus("the connection was lost".into()),
            Owner::Nobody => Trouble::NoDaemon,
            Owner::Here(_) => on_air(shared, &mut owner, &mut central, failures).await,
        };
        if shared.stop.is_cancelled() {
            return trouble;
        }
        report(shared, &trouble).await;
        let again = pause(shared, failures);
        tokio::select! {
            () = again => {}
            // A daemon that has just appeared still looks for its adapters; opening the station waits for them.
            _ = owner.changed() => *failures = 0,
        }
    }
}

/// One life of a station, from opening to its end.
async fn on_air(
    shared: &Arc<Shared>,
    owner: &mut tokio::sync::watch::Receiver<Owner>,
    central: &mut Option<Central>,
    failures: &mut u32,
) -> Trouble {
    let (station, parts) = match Station::open(shared, central).await {
        Ok(opened) => opened,
        Err(trouble) => return trouble,
    };
    *failures = 0;
    let name = station.name().to_owned();
    shared.set_station(Some(Arc::clone(&station)));
    shared.tell(TransportEvent::Ready).await;
    let Some(central) = central.as_mut() else { return Trouble::Gone(name) };
    let trouble = tokio::select! {
        trouble = station.run(shared, parts, central) => trouble,
        _ = owner.changed() => Trouble::NoDaemon,
        () = shared.stop.cancelled() => Trouble::Gone(name),
    };
    shared.set_station(None);
    for event in shared.sightings.clear() {
        shared.tell(event).await;
    }
    trouble
}

async fn report(shared: &Arc<Shared>, trouble: &Trouble) {
    if !shared.stop.is_cancelled() && shared.new_trouble(trouble) {
        tracing::info!(%trouble, "no Bluetooth at the moment");
        shared.tell(TransportEvent::Problem(trouble.to_string())).await;
    }
}

async fn pause(shared: &Arc<Shared>, failures: &mut u32) {
    let wait = (RETRY * (1 << (*failures).min(4))).min(RETRY_MAX);
    *failures = failures.saturating_add(1);
    tokio::select! { () = tokio::time::sleep(wait) => {}, () = shared.stop.cancelled() => {} }
}
