//! Who is linked right now, for `pigeon neighbours`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use pigeon_bundle::NodeKey;
use pigeon_core::LinkId;
use pigeon_link::Link;
use pigeon_proto::api::Neighbour;

/// The links that are up. Cloning gives another handle to the same list.
#[derive(Debug, Clone, Default)]
pub struct Neighbours(Arc<Mutex<BTreeMap<LinkId, Neighbour>>>);

impl Neighbours {
    /// A link came up.
    pub fn add(&self, id: LinkId, link: &Link, since_ms: u64) {
        let neighbour = Neighbour {
            node_key: link.peer.to_string(),
            transport: link.meta.transport.as_str().to_owned(),
            address: link.meta.remote.clone(),
            since_ms,
            contact: String::new(),
            rssi_dbm: 0,
            bytes_per_s: 0,
        };
        self.with(|list| list.insert(id, neighbour));
    }

    /// A link is gone.
    pub fn remove(&self, id: LinkId) {
        self.with(|list| list.remove(&id));
    }

    /// A peer proved to be a contact.
    pub fn recognised(&self, node: &NodeKey, name: &str) {
        let node = node.to_string();
        self.with(|list| {
            for neighbour in list.values_mut().filter(|n| n.node_key == node) {
                name.clone_into(&mut neighbour.contact);
            }
        });
    }

    /// All of them, oldest link first.
    pub fn list(&self) -> Vec<Neighbour> {
        self.with(|list| list.values().cloned().collect())
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<LinkId, Neighbour>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
