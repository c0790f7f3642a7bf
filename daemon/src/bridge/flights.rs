//! Messages between "in doubt" and the moment at which they are settled, and who waits for their verdict. One message is
//! sent once at a time, however many carriers bring it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pigeon_bundle::{BundleId, MessageDigest, VerdictCode};

use super::judge::Order;
use super::record::LedgerKey;

/// Most carriers that wait for the verdict on one message. Others get it when they upload again.
pub const WAITERS_MAX: usize = 64;
/// Most messages that are remembered after they could not be sent. The ledger has them all; what is forgotten here is
/// only who waits.
pub const STALLED_MAX: usize = 8_192;
/// Most messages remembered after they were settled, to know one that comes back.
pub const LANDED_MAX: usize = 4_096;

/// Somebody who uploaded a bundle and wants its verdict.
#[derive(Clone, PartialEq, Eq)]
pub struct Waiter {
    /// The carrier's full JID.
    pub to: String,
    /// B of what this carrier uploaded.
    pub bundle: BundleId,
    /// P.
    pub message: MessageDigest,
}

/// What became of an attempt to send a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The caller sends it.
    Mine,
    /// It is being sent; the waiter hears of the outcome.
    Joined,
}

/// What the server said about a message that it returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// It will never be delivered.
    Refused(VerdictCode),
    /// The bridge may not send it: not the message's fault.
    NotAllowed,
}

/// Where a returned message was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Not settled yet: that will take it into account.
    Flying,
    /// Settled already.
    Landed(LedgerKey),
}

struct Flight {
    waiters: Vec<Waiter>,
    stalled: bool,
    /// Its acceptance is durable.
    accepted: bool,
    returned: Option<Returned>,
    address: Address,
}

/// By what a returned message is known: message id in hex and recipient.
#[derive(Clone, PartialEq, Eq)]
struct Address(String, String);

#[derive(Default)]
struct Inner {
    flights: BTreeMap<LedgerKey, Flight>,
    /// Those that are neither accepted nor stalled.
    waiting: usize,
    stalled: usize,
    landed: VecDeque<(Address, LedgerKey)>,
}

/// All flights of a bridge.
#[derive(Default)]
pub struct Flights(Mutex<Inner>);

impl Flights {
    /// Takes it on to send a message, unless somebody else does already.
    pub fn claim(&self, order: &Order, waiter: Option<Waiter>) -> Claim {
        let mut inner = self.lock();
        let inner = &mut *inner;
        if let Some(flight) = inner.flights.get_mut(&order.key) {
            add(&mut flight.waiters, waiter);
            if !flight.stalled {
                return Claim::Joined;
            }
            flight.stalled = false;
            flight.returned = None;
            inner.stalled -= 1;
            inner.waiting += usize::from(!flight.accepted);
            return Claim::Mine;
        }
        let address = Address(order.delivery.message_id_hex.clone(), order.delivery.recipient.clone());
        let flight = Flight {
            waiters: waiter.into_iter().collect(),
            stalled: false,
            accepted: false,
            returned: None,
            address,
        };
        inner.flights.insert(order.key, flight);
        inner.waiting += 1;
        Claim::Mine
    }

    /// Waits for the verdict on a message if it is on its way: what the ledger shows of it may not be durable yet.
    pub fn join(&self, key: &LedgerKey, waiter: impl FnOnce() -> Waiter) -> bool {
        match self.lock().flights.get_mut(key) {
            Some(flight) if !flight.accepted => {
                add(&mut flight.waiters, Some(waiter()));
                true
            }
            _ => false,
        }
    }

    /// Its acceptance is durable, and it is not settled yet. Who waited for it, and whether this is the first time.
    pub fn accepted(&self, key: &LedgerKey) -> (Vec<Waiter>, bool) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(flight) = inner.flights.get_mut(key) else { return (Vec::new(), true) };
        let is_first = !std::mem::replace(&mut flight.accepted, true);
        let waiters = std::mem::take(&mut flight.waiters);
        inner.waiting -= usize::from(is_first && !flight.stalled);
        (waiters, is_first)
    }

    /// It could not be sent, or it is not certain that the server keeps it. The next [`Flights::claim`] gets it.
    pub fn stall(&self, key: &LedgerKey) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let is_full = inner.stalled >= STALLED_MAX;
        match inner.flights.get_mut(key) {
            Some(flight) if flight.stalled => {}
            // An accepted one is remembered in any case: only a second's worth of them can be.
            Some(flight) if flight.accepted || !is_full => {
                flight.stalled = true;
                inner.stalled += 1;
                inner.waiting -= usize::from(!flight.accepted);
            }
            Some(_) => {
                inner.waiting -= 1;
                drop(inner.flights.remove(key));
            }
            None => {}
        }
    }

    /// It is over. Who waited, and what the server has said about it.
    pub fn land(&self, key: &LedgerKey) -> (Vec<Waiter>, Option<Returned>) {
        let mut inner = self.lock();
        let Some(flight) = inner.flights.remove(key) else { return (Vec::new(), None) };
        if flight.stalled {
            inner.stalled -= 1;
        }
        inner.waiting -= usize::from(!flight.accepted && !flight.stalled);
        if inner.landed.len() >= LANDED_MAX {
            inner.landed.pop_front();
        }
        inner.landed.push_back((flight.address, *key));
        (flight.waiters, flight.returned)
    }

    /// What the server has said about a message on its way.
    pub fn returned(&self, key: &LedgerKey) -> Option<Returned> {
        self.lock().flights.get(key)?.returned
    }

    /// A message to `recipient` came back.
    pub fn bounce(&self, recipient: &str, message_id_hex: &str, what: Returned) -> Option<Found> {
        let mut inner = self.lock();
        let fits = |address: &Address| address.0 == message_id_hex && address.1 == recipient;
        if let Some(flight) = inner.flights.values_mut().find(|flight| fits(&flight.address)) {
            flight.returned = Some(what);
            return Some(Found::Flying);
        }
        inner.landed.iter().rev().find(|(address, _)| fits(address)).map(|(_, key)| Found::Landed(*key))
    }

    /// Accepted messages of which it is not certain that the server keeps them, and which nobody sends.
    pub fn lost(&self) -> Vec<LedgerKey> {
        let inner = self.lock();
        let lost = inner.flights.iter().filter(|(_, flight)| flight.accepted && flight.stalled);
        lost.map(|(key, _)| *key).collect()
    }

    /// Takes it on to send one of these.
    pub fn claim_lost(&self, key: &LedgerKey) -> Claim {
        let mut inner = self.lock();
        match inner.flights.get_mut(key) {
            Some(flight) if flight.accepted && flight.stalled => {
                flight.stalled = false;
                flight.returned = None;
                inner.stalled -= 1;
                Claim::Mine
            }
            _ => Claim::Joined,
        }
    }

    /// Whether this bridge has sent a message, or tried, and not settled it.
    pub fn contains(&self, key: &LedgerKey) -> bool {
        self.lock().flights.contains_key(key)
    }

    /// Whether a message of this shard is not settled.
    pub fn has_of_shard(&self, shard: usize) -> bool {
        self.lock().flights.keys().any(|key| key.message().shard() == shard)
    }

    /// Messages that are not settled, stalled ones included.
    pub fn len(&self) -> usize {
        self.lock().flights.len()
    }

    /// Messages on their way to an acceptance: those that could not be sent do not count.
    pub fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every method leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(waiters: &mut Vec<Waiter>, waiter: Option<Waiter>) {
    let Some(waiter) = waiter else { return };
    if waiters.len() < WAITERS_MAX && !waiters.contains(&waiter) {
        waiters.push(waiter);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use bytes::Bytes;
    use pigeon_xmpp::Delivery;

    use super::*;
    use crate::bridge::record::tests::record;
    use crate::samples::bundle;

    fn order(n: u8) -> Order {
        let delivery = Delivery {
            author: "a@h".to_owned(),
            recipient: "b@h".to_owned(),
            message_id_hex: format!("{n:02x}"),
            origin_id_hex: String::new(),
            sent_ms: 0,
            body: Some(String::new()),
            bundle: Some(Bytes::new()),
        };
        Order {
            key: LedgerKey([n; LedgerKey::SIZE]),
            record: record(n),
            bundle: bundle(),
            delivery,
            is_new: true,
        }
    }

    fn waiter(n: u8) -> Waiter {
        Waiter { to: format!("c{n}@h/r"), bundle: BundleId([n; 32]), message: MessageDigest([9; 32]) }
    }

    #[test]
    fn many_carriers_wait_for_one_delivery() {
        let flights = Flights::default();
        let order = order(1);
        assert_eq!(flights.waiting(), 0);
        assert_eq!(flights.claim(&order, Some(waiter(1))), Claim::Mine);
        assert_eq!(flights.waiting(), 1);
        for n in [2, 3, 2] {
            assert_eq!(flights.claim(&order, Some(waiter(n))), Claim::Joined);
        }
        assert!(flights.land(&order.key).0 == [waiter(1), waiter(2), waiter(3)]);
        assert!(!flights.join(&order.key, || waiter(4)));
        assert_eq!(flights.claim(&order, None), Claim::Mine);
    }

    #[test]
    fn after_the_acceptance_nobody_waits_and_the_message_is_still_sent_once_at_a_time() {
        let flights = Flights::default();
        let order = order(1);
        flights.claim(&order, Some(waiter(1)));
        assert!(flights.accepted(&order.key) == (vec![waiter(1)], true));
        assert!(flights.accepted(&order.key) == (Vec::new(), false));
        assert_eq!((flights.len(), flights.waiting()), (1, 0));
        assert!(!flights.join(&order.key, || waiter(2)), "the ledger has the answer");
        assert_eq!(flights.claim(&order, None), Claim::Joined);
        assert_eq!((flights.lost(), flights.claim_lost(&order.key)), (Vec::new(), Claim::Joined));
        flights.stall(&order.key);
        assert_eq!((flights.lost(), flights.claim_lost(&order.key)), (vec![order.key], Claim::Mine));
        assert_eq!((flights.lost(), flights.claim_lost(&order.key)), (Vec::new(), Claim::Joined));
        assert!(flights.contains(&order.key));
        assert!(flights.land(&order.key).0.is_empty());
        assert_eq!((flights.len(), flights.waiting()), (0, 0));
    }

    #[test]
    fn the_number_of_waiters_is_bounded() {
        let flights = Flights::default();
        let order = order(1);
        for n in 0..=u8::try_from(WAITERS_MAX).unwrap() {
            flights.claim(&order, Some(waiter(n)));
        }
        assert_eq!(flights.land(&order.key).0.len(), WAITERS_MAX);
    }

    #[test]
    fn what_stalled_is_sent_by_the_next_who_asks_and_its_waiters_stay() {
        let flights = Flights::default();
        let order = order(1);
        flights.claim(&order, Some(waiter(1)));
        flights.bounce("b@h", "01", Returned::NotAllowed).unwrap();
        flights.stall(&order.key);
        flights.stall(&order.key);
        assert!(flights.join(&order.key, || waiter(2)));
        assert_eq!((flights.len(), flights.waiting()), (1, 0), "it waits for the server");
        assert_eq!(flights.claim(&order, None), Claim::Mine);
        assert_eq!(flights.waiting(), 1);
        assert_eq!(flights.returned(&order.key), None);
        assert_eq!(flights.claim(&order, None), Claim::Joined);
        assert_eq!(flights.land(&order.key).0.len(), 2);
    }

    #[test]
    fn a_returned_message_is_found_by_id_and_recipient() {
        let flights = Flights::default();
        let order = order(1);
        let refused = Returned::Refused(VerdictCode::RecipientUnknown);
        assert_eq!(flights.bounce("b@h", "01", refused), None);
        flights.claim(&order, None);
        assert_eq!(flights.bounce("x@h", "01", refused), None);
        assert_eq!(flights.bounce("b@h", "01", refused), Some(Found::Flying));
        assert_eq!(flights.returned(&order.key), Some(refused));
        assert_eq!(flights.land(&order.key).1, Some(refused));
        assert_eq!(flights.bounce("b@h", "01", refused), Some(Found::Landed(order.key)));
    }
}
