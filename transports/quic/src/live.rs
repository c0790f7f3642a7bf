//! The connections there are, by the local address that they use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quinn::{Connection, VarInt};

/// Connections and their local addresses.
#[derive(Default)]
pub(crate) struct Live(Mutex<BTreeMap<usize, (Connection, IpAddr)>>);

impl Live {
    /// Remembers a connection, where its local address is known.
    pub(crate) fn insert(&self, connection: &Connection, local: Option<IpAddr>) {
        if let Some(local) = local {
            self.table().insert(connection.stable_id(), (connection.clone(), local.to_canonical()));
        }
    }

    pub(crate) fn remove(&self, connection: &Connection) {
        self.table().remove(&connection.stable_id());
    }

    /// Ends all connections whose local address this host no longer has. Their peers cannot be told: the path
    /// to them is gone with the address.
    pub(crate) fn drop_all_but(&self, addresses: &BTreeSet<IpAddr>) {
        for (connection, local) in self.table().values() {
            if !addresses.contains(local) {
                connection.close(VarInt::from_u32(0), b"");
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<usize, (Connection, IpAddr)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
