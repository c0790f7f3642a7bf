//! Who is in sight, under which name, and who is linked already.
//!
//! A neighbour keeps its name here while its token or its address changes, as long as one of the two stays or a
//! link told the change. A neighbour with a link is not reported, so that nobody dials it a second time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bluer::{Address, AddressType};
use pigeon_link::{PeerAddress, TransportEvent, TransportKind};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::SIGHTINGS_MAX;
use crate::advert::{Advert, Token};
use crate::bearer::l2cap::At;
use crate::quality::Meter;

/// A neighbour that did not answer a dial is lost after this part of the usual time.
const DOUBT_PART: u32 = 3;

/// A neighbour as it was last heard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sighting {
    pub(crate) at: At,
    pub(crate) advert: Advert,
    pub(crate) rssi: i16,
    heard: Instant,
    doubted: bool,
    told: Option<Told>,
}

/// What the daemon was told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    dial_first: bool,
    carriage_open: bool,
}

/// A link that is up, or on its way up.
#[derive(Debug)]
struct Live {
    address: Address,
    token: Token,
    sighting: Option<String>,
    meter: Arc<Meter>,
}

/// The table, shared by all tasks of a transport.
pub(crate) struct Sightings {
    table: Mutex<Table>,
    /// Changes with every link that comes or goes.
    links: watch::Sender<u64>,
}

#[derive(Default)]
struct Table {
    seen: BTreeMap<String, Sighting>,
    live: BTreeMap<u64, Live>,
    next: u64,
}

impl Sightings {
    pub(crate) fn new() -> Self {
        Self { table: Mutex::default(), links: watch::Sender::new(0) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An advertisement was heard. What the daemon is to be told of it, if anything is new.
    pub(crate) fn heard(&self, at: At, advert: Advert, rssi: i16, own: Token) -> Option<TransportEvent> {
        let mut table = self.table();
        let name = table.name_of(at.0, advert.token).or_else(|| table.new_name(advert.token))?;
        let told = table.seen.get(&name).and_then(|sighting| sighting.told);
        let sighting = Sighting { at, advert, rssi, heard: Instant::now(), doubted: false, told };
        table.seen.insert(name.clone(), sighting);
        table.adopt(&name, at.0, advert.token);
        for live in table.live.values().filter(|live| live.sighting.as_ref() == Some(&name)) {
            live.meter.heard(rssi);
        }
        table.report(&name, own)
    }

    /// How to reach a neighbour, if it is still in sight.
    pub(crate) fn get(&self, name: &str) -> Option<Sighting> {
        self.table().seen.get(name).cloned()
    }

    /// It did not answer: unless it is heard again soon, it is gone.
    pub(crate) fn doubt(&self, name: &str) {
        if let Some(sighting) = self.table().seen.get_mut(name) {
            sighting.doubted = true;
        }
    }

    /// Forgets who was not heard for long. What the daemon is to be told.
    pub(crate) fn expire(&self, lost_after: Duration) -> Vec<TransportEvent> {
        self.lose(|sighting| {
            let patience = if sighting.doubted { lost_after / DOUBT_PART } else { lost_after };
            sighting.heard.elapsed() > patience
        })
    }

    /// The adapter is gone, and everybody with it.
    pub(crate) fn clear(&self) -> Vec<TransportEvent> {
        self.lose(|_| true)
    }

    fn lose(&self, is_lost: impl Fn(&Sighting) -> bool) -> Vec<TransportEvent> {
        let mut table = self.table();
        let linked: Vec<String> = table.live.values().filter_map(|live| live.sighting.clone()).collect();
        let mut events = Vec::new();
        table.seen.retain(|name, sighting| {
            let lost = is_lost(sighting) && !linked.contains(name);
            if lost && sighting.told.is_some() {
                events.push(TransportEvent::Lost { peer: peer(name) });
            }
            !lost
        });
        events
    }

    /// A link is there. Its number, and the sighting it belongs to.
    pub(crate) fn link_up(&self, at: At, token: Token, meter: Arc<Meter>) -> (u64, Option<PeerAddress>) {
        let mut table = self.table();
        let sighting = table.name_by(at, token);
        let number = table.next;
        table.next += 1;
        let found = sighting.as_deref().map(peer);
        if let Some(sighting) = sighting.as_ref().and_then(|name| table.seen.get(name)) {
            meter.heard(sighting.rssi);
        }
        table.live.insert(number, Live { address: at.0, token, sighting, meter });
        drop(table);
        self.links.send_modify(|changes| *changes += 1);
        (number, found)
    }

    /// The peer of a link advertises under another token now.
    pub(crate) fn renamed(&self, link: u64, token: Token) {
        if let Some(live) = self.table().live.get_mut(&link) {
            live.token = token;
        }
    }

    /// A link is gone. What the daemon is to be told, if its peer can still be heard but was never reported.
    pub(crate) fn link_down(&self, link: u64, own: Token) -> Option<TransportEvent> {
        let mut table = self.table();
        let name = table.live.remove(&link).and_then(|live| live.sighting);
        let event = name.and_then(|name| table.report(&name, own));
        drop(table);
        self.links.send_modify(|changes| *changes += 1);
        event
    }

    /// Links that are up, or on their way up.
    pub(crate) fn links(&self) -> usize {
        self.table().live.len()
    }

    /// Whether a neighbour has a link.
    pub(crate) fn is_linked(&self, name: &str) -> bool {
        self.table().live.values().any(|live| live.sighting.as_deref() == Some(name))
    }

    /// Whether any link leads to this address.
    pub(crate) fn has_link_to(&self, address: Address) -> bool {
        self.table().live.values().any(|live| live.address == address)
    }

    /// The meter of a link to this address.
    pub(crate) fn meter(&self, address: Address) -> Option<Arc<Meter>> {
        self.table().live.values().find(|live| live.address == address).map(|live| Arc::clone(&live.meter))
    }

    /// Changes with every link that comes or goes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.links.subscribe()
    }

    /// Returns when the neighbour has a link.
    pub(crate) async fn linked(&self, name: &str) {
        let mut changes = self.links.subscribe();
        while !self.is_linked(name) {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

impl Table {
    /// The name of who has this address or this token.
    fn name_of(&self, address: Address, token: Token) -> Option<String> {
        let by_address = self.seen.iter().find(|(_, sighting)| sighting.at.0 == address);
        let found = by_address.or_else(|| self.seen.iter().find(|(_, s)| s.advert.token == token));
        let live = || self.live.values().find(|live| live.address == address || live.token == token);
        found.map(|(name, _)| name.clone()).or_else(|| live().and_then(|live| live.sighting.clone()))
    }

    /// The sighting that a link belongs to. A token alone is no proof where addresses do not change.
    fn name_by(&self, at: At, token: Token) -> Option<String> {
        let private = |at: At| at.1 == AddressType::LeRandom;
        let same = |sighting: &Sighting| {
            sighting.at.0 == at.0 || (sighting.advert.token == token && (private(at) || private(sighting.at)))
        };
        self.seen.iter().find(|(_, sighting)| same(sighting)).map(|(name, _)| name.clone())
    }

    /// A name for a newcomer, where there is room for one.
    fn new_name(&self, token: Token) -> Option<String> {
        let name = token.to_string();
        (self.seen.len() < SIGHTINGS_MAX && !self.seen.contains_key(&name)).then_some(name)
    }

    /// A link that came before its peer's first advertisement.
    fn adopt(&mut self, name: &str, address: Address, token: Token) {
        let live = self
            .live
            .values_mut()
            .find(|live| live.sighting.is_none() && (live.address == address || live.token == token));
        if let Some(live) = live {
            live.sighting = Some(name.to_owned());
        }
    }

    /// What the daemon is to be told of a sighting: nothing while it is linked, and nothing twice.
    fn report(&mut self, name: &str, own: Token) -> Option<TransportEvent> {
        if self.live.values().any(|live| live.sighting.as_deref() == Some(name)) {
            return None;
        }
        let sighting = self.seen.get_mut(name)?;
        let advert = sighting.advert;
        let told = Told { dial_first: dials_first(own, &advert), carriage_open: advert.carriage_open };
        if sighting.told.replace(told) == Some(told) {
            return None;
        }
        Some(TransportEvent::Seen {
            peer: peer(name),
            dial_first: told.dial_first,
            carriage_open: told.carriage_open,
            rssi: Some(sighting.rssi),
        })
    }
}

/// Of two that hear each other the one with the higher token dials. Who hardly listens may not have heard us.
pub(crate) fn dials_first(own: Token, theirs: &Advert) -> bool {
    own > theirs.token || !theirs.looks
}

fn peer(name: &str) -> PeerAddress {
    PeerAddress { transport: TransportKind::Ble, token: name.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const OWN: Token = Token([5; 4]);

    fn at(last: u8) -> At {
        (Address([0, 0, 0, 0, 0, last]), AddressType::LePublic)
    }

    fn private(last: u8) -> At {
        (at(last).0, AddressType::LeRandom)
    }

    fn advert(token: u8) -> Advert {
        Advert { carriage_open: true, gatt: true, looks: true, psm: Some(0x80), token: Token([token; 4]) }
    }

    fn seen(event: Option<TransportEvent>) -> Option<(String, bool)> {
        match event {
            Some(TransportEvent::Seen { peer, dial_first, .. }) => Some((peer.token, dial_first)),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    fn meter() -> Arc<Meter> {
        Arc::new(Meter::new())
    }

    #[tokio::test]
    async fn a_neighbour_is_reported_once_and_the_higher_token_dials() {
        let table = Sightings::new();
        assert_eq!(seen(table.heard(at(1), advert(1), -50, OWN)), Some(("01010101".into(), true)));
        assert_eq!(seen(table.heard(at(1), advert(1), -51, OWN)), None);
        assert_eq!(seen(table.heard(at(2), advert(9), -50, OWN)), Some(("09090909".into(), false)));
        let deaf = Advert { looks: false, ..advert(9) };
        assert_eq!(seen(table.heard(at(2), deaf, -50, OWN)), Some(("09090909".into(), true)));
        let closed = Advert { carriage_open: false, ..advert(1) };
        assert!(table.heard(at(1), closed, -50, OWN).is_some(), "news are told");
    }

    #[tokio::test]
    async fn a_name_outlives_a_change_of_token_or_address() {
        let table = Sightings::new();
        table.heard(private(1), advert(1), -50, OWN);
        assert_eq!(seen(table.heard(private(1), advert(2), -50, OWN)), None, "same address");
        assert_eq!(seen(table.heard(private(3), advert(2), -50, OWN)), None, "same token");
        assert_eq!(table.get("01010101").unwrap().at, private(3));
        assert!(table.get("02020202").is_none());
    }

    #[tokio::test]
    async fn a_linked_neighbour_is_not_reported_under_any_name() {
        let table = Sightings::new();
        table.heard(private(1), advert(1), -50, OWN);
        let meter = meter();
        let (link, sighting) = table.link_up(private(1), Token([1; 4]), Arc::clone(&meter));
        assert_eq!(sighting.unwrap().token, "01010101");
        assert_eq!(meter.read().rssi_dbm, Some(-50), "whoever dialled");
        // Token and address rotate together; the link told the new token.
        table.renamed(link, Token([2; 4]));
        assert_eq!(seen(table.heard(private(2), advert(2), -40, OWN)), None);
        assert_eq!(meter.read().rssi_dbm, Some(-40));
        assert!(table.is_linked("01010101"));
        assert_eq!(seen(table.link_down(link, OWN)), None, "told before, and still the same");
    }

    #[tokio::test]
    async fn a_link_that_came_before_the_sighting_is_recognised() {
        let table = Sightings::new();
        let meter = meter();
        let (link, sighting) = table.link_up(at(1), Token([1; 4]), Arc::clone(&meter));
        assert!(sighting.is_none());
        assert_eq!(meter.read().rssi_dbm, None, "nobody heard it yet");
        assert_eq!(seen(table.heard(at(1), advert(1), -50, OWN)), None);
        assert_eq!(meter.read().rssi_dbm, Some(-50));
        assert_eq!(seen(table.link_down(link, OWN)), Some(("01010101".into(), true)), "it is still there");
    }

    #[tokio::test]
    async fn a_token_is_no_proof_where_addresses_stay() {
        let table = Sightings::new();
        table.heard(at(1), advert(1), -50, OWN);
        let (_, sighting) = table.link_up(at(66), Token([1; 4]), meter());
        assert!(sighting.is_none(), "a liar's link does not keep others from dialling its victim");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_heard_is_lost_unless_linked() {
        let table = Sightings::new();
        let minute = Duration::from_secs(60);
        for last in 1..=3 {
            table.heard(at(last), advert(last), -50, OWN);
        }
        table.link_up(at(2), Token([2; 4]), meter());
        table.doubt("03030303");
        tokio::time::advance(Duration::from_secs(30)).await;
        let lost = |events: Vec<TransportEvent>| -> Vec<String> {
            let name = |event| match event {
                TransportEvent::Lost { peer } => peer.token,
                other => panic!("{other:?}"),
            };
            events.into_iter().map(name).collect()
        };
        assert_eq!(lost(table.expire(minute)), ["03030303"], "it did not answer a dial");
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(lost(table.expire(minute)), ["01010101"]);
        assert!(table.get("02020202").is_some());
    }

    #[tokio::test]
    async fn the_table_is_bounded() {
        let table = Sightings::new();
        for number in 0..2_000_u32 {
            let [a, b, c, d] = number.to_be_bytes();
            let at = (Address([1, 1, a, b, c, d]), AddressType::LeRandom);
            table.heard(at, Advert { token: Token([a, b, c, d]), ..advert(0) }, -50, OWN);
        }
        assert_eq!(table.table().seen.len(), SIGHTINGS_MAX);
    }

    #[tokio::test]
    async fn waiting_for_a_link_ends_with_it() {
        let table = Sightings::new();
        table.heard(at(1), advert(1), -50, OWN);
        let (linked, _) =
            tokio::join!(table.linked("01010101"), async { table.link_up(at(1), Token([1; 4]), meter()) });
        assert_eq!(linked, ());
    }
}
