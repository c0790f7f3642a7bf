//! Which addresses are neighbours.
//!
//! Whoever is on the link can announce any address under any name. Only addresses on a network that this host
//! is on are dialled: an announcement cannot make all nodes on the link knock at somebody far away.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};

use if_addrs::{IfAddr, Interface, get_if_addrs};
use mdns_sd::{ResolvedService, ScopedIp};

/// Addresses of one neighbour that are tried.
pub(crate) const CANDIDATES_MAX: usize = 8;

/// This host's addresses on interfaces that are up and have a carrier. Empty when the system does not say.
pub(crate) fn local() -> Vec<Interface> {
    let all = get_if_addrs().unwrap_or_default();
    all.into_iter().filter(Interface::is_oper_up).collect()
}

/// The same, without their networks.
pub(crate) fn local_ips() -> BTreeSet<IpAddr> {
    local().iter().map(Interface::ip).collect()
}

/// The address that this host would use towards `remote`.
pub(crate) fn local_towards(remote: SocketAddr) -> Option<IpAddr> {
    let any = match remote {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    // Connecting a UDP socket sends nothing: it asks the routing table.
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(remote).ok()?;
    socket.local_addr().ok().map(|local| local.ip().to_canonical())
}

/// A neighbour's addresses in the order in which they are tried.
pub(crate) fn candidates(service: &ResolvedService) -> Vec<SocketAddr> {
    let port = service.get_port();
    ordered(service.get_addresses().iter().filter_map(|address| with_port(address, port)))
}

/// Sorts and cuts: link-local IPv6 first, which needs no configuration and names its interface, then IPv4,
/// then other IPv6, and last what only works on one host.
pub(crate) fn ordered(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let sorted: BTreeSet<_> = addresses.map(|address| (rank(address.ip()), address)).collect();
    sorted.into_iter().map(|(_, address)| address).take(CANDIDATES_MAX).collect()
}

fn rank(ip: IpAddr) -> u8 {
    match ip {
        ip if ip.is_loopback() => 3,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => 0,
        IpAddr::V4(_) => 1,
        IpAddr::V6(_) => 2,
    }
}

fn with_port(address: &ScopedIp, port: u16) -> Option<SocketAddr> {
    if port == 0 {
        return None;
    }
    match address {
        ScopedIp::V4(v4) => Some(SocketAddrV4::new(*v4.addr(), port).into()),
        ScopedIp::V6(v6) => {
            let scope = if v6.addr().is_unicast_link_local() { v6.scope_id().index } else { 0 };
            Some(SocketAddrV6::new(*v6.addr(), port, 0, scope).into())
        }
        _ => None,
    }
}

/// Whether `address` is on a network of one of these interfaces.
pub(crate) fn is_on_link(address: SocketAddr, interfaces: &[Interface]) -> bool {
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
            v6.scope_id() != 0 && interfaces.iter().any(|interface| interface.index == Some(v6.scope_id()))
        }
        _ => interfaces.iter().any(|interface| same_network(address.ip(), &interface.addr)),
    }
}

fn same_network(ip: IpAddr, interface: &IfAddr) -> bool {
    match (ip, interface) {
        (IpAddr::V4(ip), IfAddr::V4(own)) => {
            let mask = u32::from(own.netmask);
            mask != 0 && u32::from(ip) & mask == u32::from(own.ip) & mask
        }
        (IpAddr::V6(ip), IfAddr::V6(own)) => {
            let mask = u128::from(own.netmask);
            mask != 0 && u128::from(ip) & mask == u128::from(own.ip) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use if_addrs::{IfOperStatus, Ifv4Addr, Ifv6Addr};

    use super::*;

    fn interface(index: u32, addr: IfAddr) -> Interface {
        let name = format!("if{index}");
        Interface { name, addr, index: Some(index), oper_status: IfOperStatus::Up, is_p2p: false }
    }

    fn v4(index: u32, ip: [u8; 4], prefixlen: u8) -> Interface {
        let netmask = u32::MAX.checked_shl(32 - u32::from(prefixlen)).unwrap_or(0).into();
        interface(index, IfAddr::V4(Ifv4Addr { ip: ip.into(), netmask, prefixlen, broadcast: None }))
    }

    fn v6(index: u32, ip: &str) -> Interface {
        let netmask = "ffff:ffff:ffff:ffff::".parse().unwrap();
        let address = Ifv6Addr { ip: ip.parse().unwrap(), netmask, prefixlen: 64, broadcast: None };
        interface(index, IfAddr::V6(address))
    }

    fn parse(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn neighbours_are_those_of_the_same_network() {
        let interfaces = [v4(2, [10, 1, 0, 2], 24), v6(3, "2001:db8:0:1::2"), v6(3, "fe80::2")];
        let on_link = |address: &str| is_on_link(address.parse().unwrap(), &interfaces);
        assert!(on_link("10.1.0.9:1"));
        assert!(!on_link("10.1.1.9:1"));
        assert!(on_link("[2001:db8:0:1::9]:1"));
        assert!(!on_link("[2001:db8:0:2::9]:1"));
        assert!(!on_link("8.8.8.8:53"));
        assert!(!on_link("224.0.0.251:5353"), "multicast");
    }

    #[test]
    fn link_local_addresses_need_an_interface_that_is_there() {
        let interfaces = [v6(3, "fe80::2")];
        assert!(is_on_link("[fe80::9%3]:1".parse().unwrap(), &interfaces));
        assert!(!is_on_link("[fe80::9%4]:1".parse().unwrap(), &interfaces));
        assert!(!is_on_link("[fe80::9]:1".parse().unwrap(), &interfaces), "no scope");
    }

    #[test]
    fn an_interface_without_a_network_has_no_neighbours() {
        assert!(!is_on_link("8.8.8.8:53".parse().unwrap(), &[v4(2, [10, 1, 0, 2], 0)]));
    }

    #[test]
    fn candidates_are_ordered_and_few() {
        let given =
            ["127.0.0.1:1", "[2001:db8::1]:1", "10.1.0.2:1", "[fe80::1%3]:1", "10.1.0.1:1", "10.1.0.1:1"];
        let expected = ["[fe80::1%3]:1", "10.1.0.1:1", "10.1.0.2:1", "[2001:db8::1]:1", "127.0.0.1:1"];
        assert_eq!(ordered(parse(&given).into_iter()), parse(&expected));
        let many = (0..100).map(|host| SocketAddr::from(([10, 1, 0, host], 1)));
        assert_eq!(ordered(many).len(), CANDIDATES_MAX);
    }
}
