//! The one advertisement of a station, kept as it should be.

use std::collections::BTreeMap;
use std::time::Duration;

use bluer::Adapter;
use bluer::adv::{Advertisement, AdvertisementHandle};
use pigeon_link::DutyCycle;
use tokio::sync::watch;

use super::Turns;
use crate::advert::Advert;
use crate::transport::Shared;
use crate::{COMPANY, SERVICE};

/// A refused registration is tried again after this: the former one may still be there.
const AGAIN: Duration = Duration::from_millis(500);
/// Refusals beside a running scan after which the two take turns.
const REFUSALS_MAX: u32 = 4;
/// How often to advertise, where `bluetoothd --experimental` lets us choose. BlueZ's own choice is 1.28 s.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(350));

/// Advertises until dropped. The advertisement changes with the token and the carriage bit; it is made anew after
/// each link that comes or goes, because controllers stop advertising when somebody connects.
pub(super) async fn run(shared: &Shared, adapter: &Adapter, psm: Option<u8>, gatt: bool, turns: &Turns) {
    let (mut token, mut carriage) = (shared.token.subscribe(), shared.carriage_open.subscribe());
    let (mut links, mut duty) = (shared.sightings.subscribe(), shared.duty.subscribe());
    let mut scanning = turns.scanning();
    let mut active: Option<AdvertisementHandle> = None;
    let mut refusals = 0;
    loop {
        let cycle = *duty.borrow_and_update();
        let rest = cycle.is_off() || (turns.is_alternate() && *scanning.borrow_and_update());
        let advert = Advert {
            carriage_open: *carriage.borrow_and_update(),
            gatt,
            looks: looks(cycle),
            psm,
            token: *token.borrow_and_update(),
        };
        links.mark_unchanged();
        // The former one goes first: controllers may hold no second.
        drop(active.take());
        if !rest {
            match adapter.advertise(advertisement(advert)).await {
                Ok(handle) => {
                    active = Some(handle);
                    refusals = 0;
                }
                Err(error) => {
                    tracing::debug!(%error, "advertising refused");
                    refusals += 1;
                    if refusals > REFUSALS_MAX && *scanning.borrow() {
                        turns.set_alternate();
                    }
                }
            }
        }
        let settled = active.is_some() || rest;
        let changed = async {
            tokio::select! {
                Ok(()) = token.changed() => {}
                Ok(()) = carriage.changed() => {}
                Ok(()) = links.changed() => {}
                Ok(()) = differs(&mut duty, cycle) => {}
                Ok(()) = scanning.changed(), if turns.is_alternate() => {}
                () = tokio::time::sleep(AGAIN), if !settled => {}
            }
        };
        changed.await;
    }
}

/// Whether a node that keeps to this listens most of the time: then a neighbour may wait to be dialled by it.
fn looks(duty: DutyCycle) -> bool {
    match duty {
        DutyCycle::Off => false,
        DutyCycle::Windows { window, period } => 2 * window >= period,
    }
}

/// Returns when a change of the duty shows in what is advertised.
async fn differs(
    duty: &mut watch::Receiver<DutyCycle>,
    shown: DutyCycle,
) -> Result<(), watch::error::RecvError> {
    let shown = (shown.is_off(), looks(shown));
    duty.wait_for(|duty| (duty.is_off(), looks(*duty)) != shown).await.map(drop)
}

fn advertisement(advert: Advert) -> Advertisement {
    Advertisement {
        service_uuids: [SERVICE].into_iter().collect(),
        manufacturer_data: BTreeMap::from([(COMPANY, advert.encode())]),
        discoverable: Some(true),
        min_interval: Some(INTERVAL.0),
        max_interval: Some(INTERVAL.1),
        ..Advertisement::default()
    }
}
