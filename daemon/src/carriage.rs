//! What the node has carried, for `pigeon status`.

use std::sync::{Arc, Mutex, PoisonError};

use pigeon_core::{Counters, Traffic};
use pigeon_proto::api;

/// What the shell has heard from the core last. Cloning gives another handle to the same.
#[derive(Debug, Clone, Default)]
pub struct Carriage(Arc<Mutex<State>>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    counters: Counters,
    open: bool,
    looked_ms: u64,
}

impl Carriage {
    /// After an event: what the core has counted, and for how long it has looked for neighbours.
    pub fn set(&self, counters: Counters, open: bool, looked_ms: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State { counters, open, looked_ms };
    }

    /// For the API.
    pub fn get(&self) -> api::Carriage {
        let State { counters, open, looked_ms } = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let traffic =
            |traffic: Traffic| Some(api::Traffic { messages: traffic.messages, bytes: traffic.bytes });
        api::Carriage {
            open,
            own: traffic(counters.carried_own),
            others: traffic(counters.carried_for_others),
            sent_direct: traffic(counters.sent_direct),
            sent_via_pigeons: traffic(counters.sent_via_pigeons),
            delivered_by_pigeons: traffic(counters.delivered_by_pigeons),
            looked_s: looked_ms / 1000,
        }
    }
}
