//! What the operator of a node may choose.

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

/// Configuration of a [`crate::Core`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreConfig {
    /// Bytes of bundles (fixed form) this node keeps.
    pub quota_bytes: u64,
    /// Takes strangers' mail at all.
    pub carriage_open: bool,
    /// Bytes of strangers' mail taken in 24 hours; after that carriage is closed until the next day.
    pub daily_bytes: u64,
    /// The same in bundles.
    pub daily_bundles: u64,
    /// The recipient's first reveal of a delivery waits a random time up to this, in milliseconds.
    pub reveal_delay_ms_max: u64,
    /// Who may be told our tags.
    pub reachable: Reachable,
}

impl Default for CoreConfig {
    fn default() -> Self {
        Self {
            quota_bytes: 1 << 30,
            carriage_open: true,
            daily_bytes: 256 << 20,
            daily_bundles: 100_000,
            reveal_delay_ms_max: 30_000,
            reachable: Reachable::Nobody,
        }
    }
}
