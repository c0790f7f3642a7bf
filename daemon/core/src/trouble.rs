//! What stops the handling of an event.

use pigeon_proto::GoodbyeReason;

use crate::catalog::CatalogError;

/// Not an answer, but the end of what was going on.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The store cannot be read.
    Catalog(CatalogError),
    /// The peer broke a rule: its link is closed.
    Peer {
        /// Which rule.
        rule: &'static str,
        /// What it is told.
        reason: GoodbyeReason,
    },
}

impl Trouble {
    /// A frame that the session does not allow.
    pub(crate) fn protocol(rule: &'static str) -> Self {
        Self::Peer { rule, reason: GoodbyeReason::ProtocolError }
    }

    /// A limit of ours.
    pub(crate) fn limit(rule: &'static str) -> Self {
        Self::Peer { rule, reason: GoodbyeReason::Limit }
    }
}

impl From<CatalogError> for Trouble {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(error)
    }
}

/// Result of handling.
pub(crate) type Flow<T = ()> = Result<T, Trouble>;
