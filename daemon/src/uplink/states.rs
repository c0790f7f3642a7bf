//! What `pigeon status` says of the accounts.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pigeon_proto::api::Uplink as UplinkStatus;

use crate::accounts::Entry;

/// Requests for presence that are remembered.
const REQUESTS_MAX: usize = 256;

/// The uplinks' states for `pigeon status`. Cloning gives another handle.
#[derive(Debug, Clone, Default)]
pub struct UplinkStates {
    states: Arc<Mutex<Vec<UplinkStatus>>>,
    /// Who asks to see an account's presence. The server tells again what has no answer.
    requests: Arc<Mutex<BTreeSet<String>>>,
}

impl UplinkStates {
    /// Copies for the API, in the accounts' order.
    pub fn all(&self) -> Vec<UplinkStatus> {
        self.lock().clone()
    }

    /// There are these accounts now.
    pub(super) fn keep(&self, entries: &[Entry]) {
        let mut states = self.lock();
        let state_of = |entry: &Entry| {
            let held = states.iter().find(|state| state.jid == entry.account.jid).cloned();
            let state = if entry.is_on { "connecting" } else { "logged out" };
            held.unwrap_or_else(|| UplinkStatus {
                jid: entry.account.jid.clone(),
                state: state.to_owned(),
                ..UplinkStatus::default()
            })
        };
        let next = entries.iter().map(state_of).collect();
        *states = next;
    }

    pub(super) fn get(&self, jid: &str) -> UplinkStatus {
        self.lock().iter().find(|state| state.jid == jid).cloned().unwrap_or_default()
    }

    pub(super) fn set(&self, jid: &str, change: impl FnOnce(&mut UplinkStatus)) {
        if let Some(state) = self.lock().iter_mut().find(|state| state.jid == jid) {
            change(state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<UplinkStatus>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who asks to see an account's presence and has no answer.
    pub fn requests(&self) -> Vec<String> {
        self.asking().iter().cloned().collect()
    }

    pub(super) fn request(&self, from: &str) {
        let mut asking = self.asking();
        if asking.len() < REQUESTS_MAX {
            asking.insert(from.to_owned());
        }
    }

    /// It has been answered, or taken back.
    pub fn no_request(&self, from: &str) {
        self.asking().remove(from);
    }

    fn asking(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
