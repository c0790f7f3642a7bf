//! What the operator of a node may choose.

use crate::pickup::Whom;
use crate::policy::Routing;

/// Who may be told our tags in clear, so that carriers can count how often they meet us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reachable {
    /// Nobody.
    #[default]
    Nobody,
    /// Recognised contacts.
    Contacts,
    /// Whoever links with us: strangers can follow this node by its tags.
    Everyone,
}

/// Whose mail is taken for carriage. Mail for this node itself always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CarryFor {
    /// Everyone's, within the limits.
    #[default]
    All,
    /// Recognised contacts'.
    Contacts,
    /// Nobody's.
    Nobody,
}

/// How much may be handed over in an hour, in bytes; a full bucket holds as much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// By one contact.
    pub contact: u64,
    /// By one stranger's node key.
    pub stranger: u64,
    /// By all node keys first seen within the hour, together.
    pub newcomers: u64,
    /// By strangers at one address class, whatever their node keys.
    pub address: u64,
    /// To one neighbour that pulls.
    pub pull: u64,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            contact: 256 << 20,
            stranger: 32 << 20,
            newcomers: 64 << 20,
            address: 64 << 20,
            pull: 256 << 20,
        }
    }
}

/// Configuration of a [`crate::Core`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreConfig {
    /// Bytes of bundles (fixed form) this node keeps.
    pub quota_bytes: u64,
    /// Whose mail is taken for carriage.
    pub carry: CarryFor,
    /// Own mail never goes up over the own uplink: pigeons carry it or nobody does. Others' mail goes up as ever.
    pub pigeons_only: bool,
    /// Bytes of strangers' mail taken in 24 hours; after that carriage is closed until the next day.
    pub daily_bytes: u64,
    /// The same in bundles.
    pub daily_bundles: u64,
    /// The recipient's first reveal of a delivery waits a random time up to this, in milliseconds.
    pub reveal_delay_ms_max: u64,
    /// Below this charge of the battery no neighbours are looked for; 0: always.
    pub battery_min_percent: u8,
    /// Token buckets.
    pub rates: Rates,
    /// Who gets how many copies.
    pub routing: Routing,
    /// Who may be told our tags.
    pub reachable: Reachable,
    /// Which neighbours may fetch our mail from the bridge while we cannot.
    pub pickup_ask: Whom,
    /// For which neighbours we fetch.
    pub pickup_fetch: Whom,
    /// The way to the bridge must have been gone for this long before neighbours are asked, in milliseconds.
    pub pickup_wait_ms: u64,
}

impl Default for CoreConfig {
    fn default() -> Self {
        Self {
            quota_bytes: 1 << 30,
            carry: CarryFor::All,
            pigeons_only: false,
            daily_bytes: 256 << 20,
            daily_bundles: 100_000,
            reveal_delay_ms_max: 30_000,
            battery_min_percent: 15,
            rates: Rates::default(),
            routing: Routing::default(),
            reachable: Reachable::Nobody,
            pickup_ask: Whom::Nobody,
            pickup_fetch: Whom::Nobody,
            pickup_wait_ms: 60_000,
        }
    }
}
