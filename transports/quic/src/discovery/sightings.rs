//! Neighbours in sight.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mdns_sd::ResolvedService;
use pigeon_link::{PeerAddress, TransportEvent, TransportKind};

use super::SERVICE;
use crate::{SIGHTINGS_MAX, addresses};

/// RFC 1035 section 2.3.4.
const LABEL_BYTES_MAX: usize = 63;

/// Neighbours in sight, by instance name.
pub(crate) struct Sightings {
    own: String,
    table: Mutex<BTreeMap<String, Sighting>>,
}

/// What is known of a neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) candidates: Vec<SocketAddr>,
    pub(crate) carriage_open: bool,
}

impl Sightings {
    /// Nobody in sight of the node that announces itself as `own`.
    pub(crate) fn new(own: &str) -> Self {
        Self { own: own.to_owned(), table: Mutex::default() }
    }

    /// Takes in what was resolved. An event if that is news.
    pub(crate) fn resolved(&self, service: &ResolvedService) -> Option<TransportEvent> {
        let token = token(service.get_fullname())?;
        if service.get_property_val_str("v") != Some("1") {
            return None;
        }
        let sighting = Sighting {
            candidates: addresses::candidates(service),
            carriage_open: service.get_property_val_str("c") == Some("1"),
        };
        self.seen(token, sighting)
    }

    /// Takes in a sighting. An event if it is news: not of this node itself, not known, not one too many.
    pub(crate) fn seen(&self, token: &str, sighting: Sighting) -> Option<TransportEvent> {
        if token == self.own || sighting.candidates.is_empty() {
            return None;
        }
        let mut table = self.table();
        let known = table.get(token);
        if known == Some(&sighting) {
            return None;
        }
        if known.is_none() && table.len() >= SIGHTINGS_MAX {
            tracing::debug!(limit = SIGHTINGS_MAX, "neighbour ignored: too many in sight");
            return None;
        }
        let carriage_open = sighting.carriage_open;
        table.insert(token.to_owned(), sighting);
        let dial_first = self.own.as_bytes() > token.as_bytes();
        Some(TransportEvent::Seen { peer: address(token.to_owned()), dial_first, carriage_open, rssi: None })
    }

    /// A neighbour is gone. An event if it was in sight.
    pub(crate) fn removed(&self, full_name: &str) -> Option<TransportEvent> {
        let token = token(full_name)?;
        self.table().remove(token)?;
        Some(TransportEvent::Lost { peer: address(token.to_owned()) })
    }

    /// Everybody is gone.
    pub(crate) fn clear(&self) -> Vec<PeerAddress> {
        std::mem::take(&mut *self.table()).into_keys().map(address).collect()
    }

    /// Where to dial a neighbour, if it is in sight.
    pub(crate) fn candidates(&self, token: &str) -> Option<Vec<SocketAddr>> {
        self.table().get(token).map(|sighting| sighting.candidates.clone())
    }

    /// The neighbours that have this address.
    pub(crate) fn at(&self, ip: IpAddr) -> Vec<String> {
        let ip = ip.to_canonical();
        let has = |sighting: &Sighting| sighting.candidates.iter().any(|candidate| candidate.ip() == ip);
        let table = self.table();
        table.iter().filter(|(_, sighting)| has(sighting)).map(|(token, _)| token.clone()).collect()
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Sighting>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn address(token: String) -> PeerAddress {
    PeerAddress { transport: TransportKind::Quic, token }
}

/// The instance of a full name, if it is one that can be shown to people.
fn token(full_name: &str) -> Option<&str> {
    let token = full_name.strip_suffix(SERVICE)?.strip_suffix('.')?;
    let shown =
        (1..=LABEL_BYTES_MAX).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
    shown.then_some(token)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn sighting(address: &str, carriage_open: bool) -> Sighting {
        Sighting { candidates: vec![address.parse().unwrap()], carriage_open }
    }

    fn dial_first(event: Option<TransportEvent>) -> Option<bool> {
        match event? {
            TransportEvent::Seen { dial_first, .. } => Some(dial_first),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn news_is_told_once() {
        let sightings = Sightings::new("m");
        let at = "192.0.2.1:9";
        assert!(sightings.seen("a", sighting(at, true)).is_some());
        assert!(sightings.seen("a", sighting(at, true)).is_none(), "known");
        assert!(sightings.seen("a", sighting(at, false)).is_some(), "carriage closed");
        assert!(sightings.seen("a", sighting("192.0.2.2:9", false)).is_some(), "moved");
        assert!(sightings.removed("a._pigeon._udp.local.").is_some());
        assert!(sightings.removed("a._pigeon._udp.local.").is_none(), "gone already");
        assert!(sightings.seen("a", sighting(at, true)).is_some(), "back again");
    }

    #[test]
    fn own_announcement_is_ignored() {
        assert!(Sightings::new("m").seen("m", sighting("192.0.2.1:9", true)).is_none());
    }

    /// "The side whose instance name is greater (bytes) dials at once"
    #[test]
    fn the_greater_name_dials_first() {
        let sightings = Sightings::new("m");
        assert_eq!(dial_first(sightings.seen("l", sighting("192.0.2.1:9", true))), Some(true));
        assert_eq!(dial_first(sightings.seen("n", sighting("192.0.2.1:9", true))), Some(false));
    }

    #[test]
    fn the_table_is_bounded_and_room_is_used_again() {
        let sightings = Sightings::new("own");
        for number in 0..SIGHTINGS_MAX {
            assert!(sightings.seen(&number.to_string(), sighting("192.0.2.1:9", true)).is_some());
        }
        assert!(sightings.seen("x", sighting("192.0.2.1:9", true)).is_none());
        assert!(sightings.seen("0", sighting("192.0.2.1:9", false)).is_some(), "known ones still change");
        assert!(sightings.removed("0._pigeon._udp.local.").is_some());
        assert!(sightings.seen("x", sighting("192.0.2.1:9", true)).is_some());
    }

    #[test]
    fn names_that_cannot_be_shown_are_no_tokens() {
        assert_eq!(token("ab._pigeon._udp.local."), Some("ab"));
        for name in [
            "._pigeon._udp.local.",
            "a b._pigeon._udp.local.",
            "ab._other._udp.local.",
            "\u{1b}[2J._pigeon._udp.local.",
        ] {
            assert_eq!(token(name), None, "{name:?}");
        }
        assert_eq!(token(&format!("{}.{SERVICE}", "a".repeat(64))), None);
    }

    #[test]
    fn a_neighbour_is_found_by_its_address() {
        let sightings = Sightings::new("m");
        sightings.seen("a", sighting("192.0.2.1:9", true));
        sightings.seen("b", sighting("192.0.2.2:9", true));
        assert_eq!(sightings.at("::ffff:192.0.2.2".parse().unwrap()), ["b"]);
    }
}
