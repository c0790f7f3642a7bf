//! What can be set, and what is limited.

use std::time::Duration;

/// Events that wait for the daemon.
pub const EVENT_QUEUE_MAX: usize = 64;
/// Neighbours in sight that are remembered.
pub const SIGHTINGS_MAX: usize = 256;
/// Links at any time. Controllers of single-board computers hold 7 to 10 connections.
pub const LINKS_MAX: usize = 7;
/// Incoming connections that have not authenticated yet.
pub const HANDSHAKES_MAX: usize = 4;
/// How long connecting may take. A controller waits for the peer's next advertisement: 1.28 s apart by default,
/// and some are missed.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of a link's stream that are under way, at most: what a link that breaks has sent in vain. A second or so of
/// radio; an acknowledgement, which costs as much as a piece, comes for each quarter of it.
pub const WINDOW_BYTES: usize = 64 << 10;

/// Which way bytes go once two nodes are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bearers {
    /// An L2CAP channel where both sides can, else GATT.
    #[default]
    Best,
    /// L2CAP channels only.
    L2cap,
    /// GATT only, as towards a peer whose system has no L2CAP channels.
    Gatt,
}

impl Bearers {
    pub(crate) fn l2cap(self) -> bool {
        self != Self::Gatt
    }

    pub(crate) fn gatt(self) -> bool {
        self != Self::L2cap
    }
}

/// Whether the adapter advertises while it scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Roles {
    /// At once, until BlueZ refuses one beside the other; then in turns.
    #[default]
    Auto,
    /// In turns from the start.
    Alternate,
}

/// Settings of a [`BleTransport`](crate::BleTransport).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BleConfig {
    /// Name (`hci0`) or address (`00:AA:01:00:00:00`) of the adapter. `None`: `hci0`, else the first there is.
    pub adapter: Option<String>,
    /// Switches the adapter on where it is off. Otherwise it is waited for.
    pub power_on: bool,
    /// Ways for bytes.
    pub bearers: Bearers,
    /// Whether to advertise while scanning.
    pub roles: Roles,
    /// Links at any time, dialled and accepted.
    pub links_max: usize,
    /// A link is over when nothing has come for this long.
    pub idle_timeout: Duration,
    /// A quiet link sends a sign of life this often. Below half of `idle_timeout`.
    pub keep_alive: Duration,
    /// The advertised token is replaced after this time, give or take a tenth.
    pub token_lifetime: Duration,
    /// A sighting that is not heard again for this long while scanning is lost.
    pub lost_after: Duration,
}

impl Default for BleConfig {
    fn default() -> Self {
        Self {
            adapter: None,
            power_on: false,
            bearers: Bearers::Best,
            roles: Roles::Auto,
            links_max: LINKS_MAX,
            idle_timeout: Duration::from_secs(12),
            keep_alive: Duration::from_secs(4),
            token_lifetime: Duration::from_secs(15 * 60),
            lost_after: Duration::from_secs(60),
        }
    }
}
