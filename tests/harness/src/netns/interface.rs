//! A network interface: one end of a veth pair.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::host::{Host, IPROUTE};
use crate::error::Result;
use crate::spawn::run;

/// The kernel's IFNAMSIZ without the closing zero.
const NAME_BYTES_MAX: usize = 15;

/// An interface of a host. It stays when the value is dropped, until [`Interface::remove`] or the host's end.
/// Clones are the same interface.
#[derive(Debug, Clone)]
pub struct Interface {
    host: Host,
    name: String,
    addresses: Vec<String>,
    routes: Arc<Mutex<Vec<String>>>,
    /// The other end: a segment's port, or the other host's interface.
    far_host: Host,
    far_name: String,
}

/// Host, interface name, addresses.
type End<'a> = (&'a Host, &'a str, &'a [&'a str]);

/// Makes a veth pair between two namespaces and takes both ends up. Returns the near one.
pub(super) fn plug(near: End<'_>, far: End<'_>) -> Result<Interface> {
    let (near_name, far_name) = (fit(near.1), fit(far.1));
    far.0.ip(&format!(
        "link add name {far_name} type veth peer name {near_name} netns {pid}",
        pid = near.0.pause_pid()
    ))?;
    let interface = Interface {
        host: near.0.clone(),
        name: near_name,
        addresses: near.2.iter().map(|&address| address.to_owned()).collect(),
        routes: Arc::default(),
        far_host: far.0.clone(),
        far_name,
    };
    interface.far_end(far.2).up()?;
    interface.up()?;
    Ok(interface)
}

/// A veth pair with an address on either end.
pub(super) fn cable(a: (&Host, &str), b: (&Host, &str)) -> Result<(Interface, Interface)> {
    let near = plug((a.0, b.0.name(), &[a.1]), (b.0, a.0.name(), &[b.1]))?;
    let far = near.far_end(&[b.1]);
    Ok((near, far))
}

fn fit(name: &str) -> String {
    name.chars().filter(|char| !char.is_whitespace() && *char != '/').take(NAME_BYTES_MAX).collect()
}

impl Interface {
    /// Its name on its host.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Takes the interface down, as `ip link set down` does: its routes and IPv6 addresses are gone.
    ///
    /// # Errors
    /// When it has been removed.
    pub fn down(&self) -> Result<()> {
        self.host.ip(&format!("link set dev {} down", self.name))
    }

    /// Takes it up with its addresses and routes.
    ///
    /// # Errors
    /// When it has been removed.
    pub fn up(&self) -> Result<()> {
        let name = &self.name;
        let mut commands = format!("link set dev {name} up\n");
        for address in &self.addresses {
            commands.push_str(&format!("addr replace {address} dev {name}{}\n", nodad(address)));
        }
        for route in self.routes.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            commands.push_str(&format!("route replace {route} dev {name}\n"));
        }
        self.host.ip(&commands)
    }

    /// Pulls the cable at the other end: the interface stays up but loses its carrier.
    ///
    /// # Errors
    /// When it has been removed.
    pub fn unplug(&self) -> Result<()> {
        self.far_host.ip(&format!("link set dev {} down", self.far_name))
    }

    /// Puts the cable back.
    ///
    /// # Errors
    /// When it has been removed.
    pub fn plug(&self) -> Result<()> {
        self.far_host.ip(&format!("link set dev {} up", self.far_name))
    }

    /// Removes the interface from the host, as taking out a USB adapter does.
    ///
    /// # Errors
    /// When it has been removed before.
    pub fn remove(self) -> Result<()> {
        self.host.ip(&format!("link del dev {}", self.name))
    }

    /// Adds a default route through this interface, which comes back whenever the interface does.
    ///
    /// # Errors
    /// When the gateway is not reachable through it.
    pub fn add_default_route(&self, gateway: IpAddr) -> Result<()> {
        let route = format!("default via {gateway}");
        self.host.ip(&format!("route replace {route} dev {}", self.name))?;
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).push(route);
        Ok(())
    }

    /// Sets the largest packet, in bytes, on both ends.
    ///
    /// # Errors
    /// When the kernel refuses the size.
    pub fn set_mtu(&self, bytes: u32) -> Result<()> {
        self.host.ip(&format!("link set dev {} mtu {bytes}", self.name))?;
        self.far_host.ip(&format!("link set dev {} mtu {bytes}", self.far_name))
    }

    /// Slows the interface to this rate in both directions, in kilobits per second: a token bucket that holds
    /// up to a second of traffic, so that a transfer lasts long enough to be broken in the middle.
    ///
    /// # Errors
    /// When the kernel has no `tbf` queue.
    pub fn limit_rate(&self, kbit_per_s: u32) -> Result<()> {
        limit(&self.host, &self.name, kbit_per_s)?;
        limit(&self.far_host, &self.far_name, kbit_per_s)
    }

    /// The same cable seen from the other end.
    fn far_end(&self, addresses: &[&str]) -> Self {
        Self {
            host: self.far_host.clone(),
            name: self.far_name.clone(),
            addresses: addresses.iter().map(|&address| address.to_owned()).collect(),
            routes: Arc::default(),
            far_host: self.host.clone(),
            far_name: self.name.clone(),
        }
    }
}

/// Duplicate detection is an IPv6 matter.
fn nodad(address: &str) -> &'static str {
    if address.contains(':') { " nodad" } else { "" }
}

fn limit(host: &Host, name: &str, kbit_per_s: u32) -> Result<()> {
    let mut tc = host.command("tc");
    tc.args(["qdisc", "replace", "dev", name, "root", "tbf", "rate", &format!("{kbit_per_s}kbit")]);
    // The bucket must hold one segmentation-offload packet of 64 KiB, else the kernel drops it whole.
    tc.args(["burst", "70000b", "latency", "1s"]);
    run(IPROUTE, tc).map(|_said| ())
}
