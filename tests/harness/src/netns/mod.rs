//! Hosts and networks of real network namespaces.
//!
//! A host is a namespace held open by one small process of ours: no name under `/run/netns`, so nothing is
//! left when processes die, however they die. Worlds know nothing of each other; tests run side by side, each
//! in its own. IPv6 addresses are usable at once (no duplicate address detection), multicast crosses a segment
//! without snooping.

mod host;
mod interface;
mod segment;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

pub use host::Host;
pub use interface::Interface;
pub use segment::Segment;

use crate::error::Result;

/// Some hosts and the networks between them. Dropping it kills every process in every one of its namespaces.
#[derive(Debug, Default)]
pub struct World {
    hosts: Mutex<BTreeMap<String, Host>>,
}

impl World {
    /// A world with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The host of this name, made on first use.
    ///
    /// # Errors
    /// When namespaces cannot be made here.
    pub fn host(&self, name: &str) -> Result<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(name) {
            return Ok(host.clone());
        }
        let host = Host::start(name)?;
        hosts.insert(name.to_owned(), host.clone());
        Ok(host)
    }

    /// The broadcast network of this name: a bridge in a namespace of its own.
    ///
    /// # Errors
    /// When namespaces or bridges cannot be made here.
    pub fn segment(&self, name: &str) -> Result<Segment> {
        // A host may have the same name as a segment.
        Segment::on(self.host(&format!("segment {name}"))?, name)
    }

    /// Connects two hosts with a cable of their own: no third host hears them. Addresses with prefix length.
    /// Each end is named after the host at the other.
    ///
    /// # Errors
    /// When the cable cannot be made, or an address is not one.
    pub fn cable(&self, a: (&Host, &str), b: (&Host, &str)) -> Result<(Interface, Interface)> {
        interface::cable(a, b)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let hosts = self.hosts.get_mut().unwrap_or_else(PoisonError::into_inner);
        for host in hosts.values() {
            host.destroy();
        }
    }
}
