//! A broadcast network: a bridge in a namespace of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::host::Host;
use super::interface::{self, Interface};
use crate::error::Result;

const BRIDGE: &str = "bridge";

/// A network that every attached host hears. Clones are the same segment.
#[derive(Debug, Clone)]
pub struct Segment {
    name: String,
    host: Host,
    ports: Arc<AtomicU32>,
}

impl Segment {
    /// Makes the bridge on `host`, or finds it. Without spanning tree and snooping, a new port forwards at
    /// once and multicast goes everywhere, as on a plain switch.
    pub(super) fn on(host: Host, name: &str) -> Result<Self> {
        let exists =
            host.run(|| std::path::Path::new("/proc/thread-self/net/dev_snmp6").join(BRIDGE).exists())?;
        if !exists {
            host.ip(&format!("link add name {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set dev {BRIDGE} up"))?;
        }
        Ok(Self { name: name.to_owned(), host, ports: Arc::default() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Plugs `host` in with this address and prefix length.
    pub(super) fn attach(&self, host: &Host, address: &str) -> Result<Interface> {
        let port = format!("{}p{}", short(host.name()), self.ports.fetch_add(1, Ordering::Relaxed));
        let interface = interface::plug((host, &self.name, &[address]), (&self.host, &port, &[]))?;
        self.host.ip(&format!("link set dev {port} master {BRIDGE}"))?;
        Ok(interface)
    }
}

/// Leaves room for a number within the kernel's 15 bytes.
fn short(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).take(8).collect()
}

impl Host {
    /// Plugs this host into a segment with this address and prefix length ("10.1.0.2/24"). The interface is
    /// named after the segment.
    ///
    /// # Errors
    /// When the address is not one, or an interface of that name exists.
    pub fn attach(&self, segment: &Segment, address: &str) -> Result<Interface> {
        segment.attach(self, address)
    }
}
