//! What is known of a link besides its frames.

use std::fmt;
use std::net::IpAddr;

use pigeon_bundle::NodeKey;

use crate::PeerAddress;

/// The kinds of transport there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransportKind {
    /// QUIC over UDP on a local network, found by mDNS.
    Quic,
    /// Bluetooth Low Energy.
    Ble,
    /// Within the process, for simulations and tests.
    Memory,
}

impl TransportKind {
    /// The name that `Auth` signs (docs/wire-format.md section 6).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Ble => "ble",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who opened a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// This side.
    Dialler,
    /// The other side.
    Listener,
}

impl Role {
    /// The number that `Auth` signs (docs/wire-format.md section 6).
    #[must_use]
    pub fn as_u8(self) -> u8 {
        match self {
            Self::Dialler => 0,
            Self::Listener => 1,
        }
    }

    /// The role of the other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Listener,
            Self::Listener => Self::Dialler,
        }
    }
}

/// What a byte costs on a link, cheaper first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CostClass {
    /// A local network.
    Lan,
    /// Scarce airtime.
    Ble,
}

impl CostClass {
    /// The class as a number, cheaper first.
    #[must_use]
    pub fn as_u8(self) -> u8 {
        match self {
            Self::Lan => 0,
            Self::Ble => 1,
        }
    }
}

/// Where a link comes from, coarse enough that a peer cannot cheaply be many: limits count by it, because
/// node keys cost nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressClass {
    /// An IPv4 address.
    Ipv4([u8; 4]),
    /// The first 64 bits of an IPv6 address; of a link-local one the last 64, since all neighbours share the
    /// first.
    Ipv6Net([u8; 8]),
    /// A BLE device address.
    Ble([u8; 6]),
    /// A member of an in-memory network.
    Memory(u64),
}

impl AddressClass {
    /// The class of an IP address; an IPv4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub fn of_ip(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::Ipv4(v4.octets()),
            IpAddr::V6(v6) => {
                let octets = v6.octets();
                let (network, host) = octets.split_at(8);
                let half = if v6.is_unicast_link_local() { host } else { network };
                Self::Ipv6Net(half.try_into().unwrap_or_default())
            }
        }
    }

    /// Eight bytes that differ where the class differs. IPv4 and BLE use prefixes that no IPv6 network has.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        match self {
            Self::Ipv4([a, b, c, d]) => [0, 0, 0, 4, a, b, c, d],
            Self::Ipv6Net(net) => net,
            Self::Ble([a, b, c, d, e, f]) => [0, 1, a, b, c, d, e, f],
            Self::Memory(member) => member.to_be_bytes(),
        }
    }
}

/// What is known of a link besides its frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkMeta {
    /// The transport that carries it.
    pub transport: TransportKind,
    /// This side's role.
    pub role: Role,
    /// Channel binding, the same on both sides and on no other link (docs/wire-format.md section 6).
    pub binding: [u8; 32],
    /// What a byte costs.
    pub cost: CostClass,
    /// The peer's address, for people.
    pub remote: String,
    /// The peer's address, for limits.
    pub address_class: AddressClass,
    /// The key that the transport itself has proved (QUIC's raw public key). `Auth` must name the same one.
    pub peer_raw_key: Option<NodeKey>,
    /// The sighting that an incoming link belongs to, where the transport can tell: it need not be dialled then.
    pub sighting: Option<Box<PeerAddress>>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_class() {
        let class = |text: &str| AddressClass::of_ip(text.parse().unwrap());
        assert_eq!(class("2001:db8:0:1::1"), class("2001:db8:0:1::2:3"));
        assert_ne!(class("fe80::1"), class("fe80::2"), "neighbours on one link are not one");
        assert_ne!(class("2001:db8:0:1::1"), class("2001:db8:0:2::1"));
        assert_eq!(class("::ffff:192.0.2.7"), AddressClass::Ipv4([192, 0, 2, 7]));
        assert_ne!(class("192.0.2.7").to_bytes(), class("192.0.2.8").to_bytes());
        assert_ne!(class("192.0.2.7").to_bytes(), AddressClass::Ble([0, 4, 192, 0, 2, 7]).to_bytes());
    }

    #[test]
    fn a_local_network_is_cheaper_than_airtime() {
        assert!(CostClass::Lan < CostClass::Ble);
        assert!(CostClass::Lan.as_u8() < CostClass::Ble.as_u8());
    }
}
