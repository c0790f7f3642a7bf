//! The cryptography that a bridge cannot do without: opening a route and checking its author's signature.

use std::time::Instant;

use pigeon_bundle::{BridgeCardFields, BridgeIdentity, Bundle, open_route};

use crate::sample::median;
use crate::world::{DAY_S, Person, System, now_s};

/// Routes whose times are put in order.
const ROUTES: usize = 400;

/// Routes to a bridge of its own, to be opened again and again.
pub(crate) struct Cryptography {
    bridge: BridgeIdentity,
    author: Person,
    bundles: Vec<Bundle>,
}

impl Cryptography {
    pub(crate) fn new() -> Self {
        let bridge = BridgeIdentity::generate(&mut System);
        let (domain, issued_s, shards) = ("bridge.example.org".to_owned(), now_s(), Vec::new());
        let card = bridge.card(&BridgeCardFields { domain, issued_s, expires_s: issued_s + DAY_S, shards });
        let (author, recipient) = (Person::new("elaine"), Person::new("jerry"));
        let write = |_| author.writes(&recipient, card.as_ref().unwrap()).bundle;
        let bundles = (0..ROUTES).map(write).collect();
        Self { bridge, author, bundles }
    }

    /// Milliseconds for one route on this machine just now, the median of some hundred.
    pub(crate) fn ms(&self) -> f64 {
        let times: Vec<f64> = self.bundles.iter().map(|bundle| self.one(bundle)).collect();
        median(&times)
    }

    fn one(&self, bundle: &Bundle) -> f64 {
        let begun = Instant::now();
        let route = open_route(bundle, &self.bridge).unwrap();
        route.verify(bundle, &self.author.identity.key()).unwrap();
        begun.elapsed().as_secs_f64() * 1_000.0
    }
}
