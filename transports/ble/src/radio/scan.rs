//! Scanning, through btleplug: who advertises our service, and how loud.

use std::pin::Pin;
use std::time::Duration;

use bluer::{Address, AddressType};
use btleplug::api::{Central as _, CentralEvent, Manager as _, Peripheral as _, ScanFilter};
use btleplug::platform::{Adapter, Manager, Peripheral, PeripheralId};
use futures::{Stream, StreamExt as _};
use pigeon_link::DutyCycle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use super::{Trouble, Turns};
use crate::advert::Advert;
use crate::bearer::l2cap::At;
use crate::transport::Shared;
use crate::{COMPANY, SERVICE};

/// A service that every device has and none advertises (Bluetooth Core, volume 3, part G, section 7).
const GENERIC_ATTRIBUTE: Uuid = Uuid::from_u128(0x0000_1801_0000_1000_8000_0080_5f9b_34fb);
/// BlueZ answers within this time, or not at all.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A refused scan is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// Refusals in a row after which the station is given up and opened anew.
const REFUSALS_MAX: u32 = 10;
/// Where scanning and advertising take turns: each lasts this long, plus up to as much again at random, so that two
/// nodes do not stay in step.
const TURN: Duration = Duration::from_millis(1_500);
/// Lost neighbours are looked for this often.
const EXPIRE_EVERY: Duration = Duration::from_secs(5);

/// btleplug's view of one adapter. It is kept for as long as the bus lives: see `radio::on_bus`.
pub(super) struct Central {
    pub(super) name: String,
    pub(super) adapter: Adapter,
    events: Pin<Box<dyn Stream<Item = CentralEvent> + Send>>,
}

impl Central {
    pub(super) async fn open(name: &str) -> Result<Self, Trouble> {
        let refused = |error: btleplug::Error| Trouble::Refused {
            adapter: name.to_owned(),
            what: "the central role",
            error: error.to_string(),
        };
        let manager = Manager::new().await.map_err(refused)?;
        for adapter in manager.adapters().await.map_err(refused)? {
            let info = adapter.adapter_info().await.map_err(refused)?;
            // The order of adapters varies; the description begins with the name.
            if info.split_whitespace().next() == Some(name) {
                let events = adapter.events().await.map_err(refused)?;
                return Ok(Self { name: name.to_owned(), adapter, events });
            }
        }
        Err(Trouble::NoAdapter(Some(name.to_owned())))
    }

    /// Scans and reports until the adapter refuses for good.
    pub(super) async fn run(&mut self, shared: &Shared, turns: &Turns) -> Trouble {
        let Self { name, adapter, events } = self;
        tokio::select! {
            error = windows(adapter, shared, turns) => {
                Trouble::Refused { adapter: name.clone(), what: "scanning", error }
            }
            () = reports(adapter, events, shared) => Trouble::Gone(name.clone()),
            () = expire(shared) => Trouble::Gone(name.clone()),
        }
    }

    /// Leaves no scan behind.
    pub(super) async fn stop(&mut self) {
        let _gone = timeout(ANSWER_MAX, self.adapter.stop_scan()).await;
    }
}

/// Scans in windows. Returns what BlueZ says when it refuses for good.
async fn windows(adapter: &Adapter, shared: &Shared, turns: &Turns) -> String {
    let mut refusals = 0;
    loop {
        turns.may_scan().await;
        if shared.duty.borrow().is_off() {
            pause(shared, turns, Instant::now()).await;
            continue;
        }
        match timeout(ANSWER_MAX, start(adapter)).await {
            Ok(Ok(())) => refusals = 0,
            failed => {
                let error =
                    failed.map_or("no answer".into(), |r| r.err().map_or(String::new(), |e| e.to_string()));
                tracing::debug!(error, "scanning refused");
                refusals += 1;
                if refusals > REFUSALS_MAX {
                    return error;
                }
                sleep(AGAIN).await;
                continue;
            }
        }
        turns.set_scanning(true);
        let began = Instant::now();
        let interrupted = tokio::select! {
            () = turns.must_rest() => true,
            () = window_end(shared, turns) => false,
        };
        let _stopped = timeout(ANSWER_MAX, adapter.stop_scan()).await;
        turns.set_scanning(false);
        // A window that somebody's connecting cut short goes on after it.
        if !interrupted {
            pause(shared, turns, began).await;
        }
    }
}

async fn start(adapter: &Adapter) -> btleplug::Result<()> {
    match adapter.start_scan(ScanFilter { services: vec![SERVICE] }).await {
        // A former life of this station was cut off in the middle of its scan.
        Err(error) if error.to_string().contains("InProgress") => Ok(()),
        started => started,
    }
}

/// Returns when the window is over, or another duty begins.
async fn window_end(shared: &Shared, turns: &Turns) {
    let mut duty = shared.duty.subscribe();
    let current = *duty.borrow_and_update();
    let changed = async { while duty.changed().await.is_ok_and(|()| *duty.borrow() == current) {} };
    match current {
        DutyCycle::Off => {}
        DutyCycle::Windows { .. } if turns.is_alternate() => {
            tokio::select! { () = sleep(turn()) => {}, () = changed => {} }
        }
        DutyCycle::Windows { window, period } if window >= period => changed.await,
        DutyCycle::Windows { window, .. } => tokio::select! { () = sleep(window) => {}, () = changed => {} },
    }
}

/// Rests until the next window. A new duty begins with a window; none begins while discovery is off.
async fn pause(shared: &Shared, turns: &Turns, window_began: Instant) {
    let mut duty = shared.duty.subscribe();
    let current = *duty.borrow_and_update();
    let again = match current {
        DutyCycle::Off => {
            let _open = duty.wait_for(|duty| !duty.is_off()).await;
            return;
        }
        DutyCycle::Windows { .. } if turns.is_alternate() => Instant::now() + turn(),
        DutyCycle::Windows { window, period } if window >= period => return,
        DutyCycle::Windows { period, .. } => window_began + period,
    };
    tokio::select! { () = sleep_until(again) => {}, _ = duty.changed() => {} }
}

/// Between one and two turns.
fn turn() -> Duration {
    let mut random = [0];
    // Without randomness two nodes may stay in step for a while, no worse.
    let _fixed = getrandom::fill(&mut random);
    TURN + TURN * u32::from(random[0]) / 256
}

async fn reports(
    adapter: &Adapter,
    events: &mut Pin<Box<dyn Stream<Item = CentralEvent> + Send>>,
    shared: &Shared,
) {
    while let Some(event) = events.next().await {
        let id = match event {
            CentralEvent::DeviceDiscovered(id)
            | CentralEvent::DeviceUpdated(id)
            | CentralEvent::ServicesAdvertisement { id, .. }
            | CentralEvent::ManufacturerDataAdvertisement { id, .. }
            | CentralEvent::RssiUpdate { id, .. } => id,
            _ => continue,
        };
        let Some((at, advert, rssi)) = sighting(adapter, &id).await else { continue };
        let own = *shared.token.borrow();
        if let Some(event) = shared.sightings.heard(at, advert, rssi, own) {
            shared.tell(event).await;
        }
    }
}

/// What a device advertises, if it is one of us and can be heard now.
async fn sighting(adapter: &Adapter, id: &PeripheralId) -> Option<(At, Advert, i16)> {
    let properties = adapter.peripheral(id).await.ok()?.properties().await.ok()??;
    // BlueZ replays devices that it remembers; those have no signal strength.
    let rssi = properties.rssi?;
    if !may_be_ours(&properties.services) {
        return None;
    }
    let advert = Advert::decode(properties.manufacturer_data.get(&COMPANY)?)?;
    let address_type = match properties.address_type? {
        btleplug::api::AddressType::Public => AddressType::LePublic,
        btleplug::api::AddressType::Random => AddressType::LeRandom,
    };
    Some(((Address(properties.address.into_inner()), address_type), advert, rssi))
}

/// Whether a device with these services may be one of us. Once BlueZ has been connected to a device, it shows the services
/// that it found there in place of those that the device advertises, and goes on with that for as long as it remembers the
/// device. Where it looked while the peer's daemon was about to stop, ours is not among them: what the advertisement
/// itself says has to do then.
fn may_be_ours(services: &[Uuid]) -> bool {
    services.contains(&SERVICE) || services.contains(&GENERIC_ATTRIBUTE)
}

/// The device with this address, as BlueZ knows it now.
pub(super) async fn find(adapter: &Adapter, address: Address) -> Option<Peripheral> {
    let all = adapter.peripherals().await.ok()?;
    all.into_iter().find(|peripheral| peripheral.address().into_inner() == address.0)
}

async fn expire(shared: &Shared) {
    loop {
        sleep(EXPIRE_EVERY).await;
        // Who cannot be heard while nobody listens is not gone.
        let patience = match *shared.duty.borrow() {
            DutyCycle::Off => continue,
            DutyCycle::Windows { period, .. } => shared.config.lost_after.max(3 * period),
        };
        for event in shared.sightings.expire(patience) {
            shared.tell(event).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The long form of an assigned number.
    fn assigned(number: u128) -> Uuid {
        Uuid::from_u128(0x0000_0000_0000_1000_8000_0080_5f9b_34fb | number << 96)
    }

    #[test]
    fn services_of_an_earlier_connection_hide_nobody() {
        assert!(may_be_ours(&[SERVICE]));
        assert!(may_be_ours(&[assigned(0x1800), assigned(0x1801)]), "remembered from before it served ours");
        assert!(
            !may_be_ours(&[]) && !may_be_ours(&[assigned(0x180f)]),
            "no node, and none that was connected"
        );
    }
}
