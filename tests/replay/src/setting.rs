//! What a replay is told besides the files.

use pigeon_core::policy::{Give, Policy};
use pigeon_core::{Entry, Reachable, Routing};

/// How messages cross a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transfer {
    /// In no time, into unlimited buffers.
    #[default]
    Instant,
    /// One transfer at a time and node.
    Serial {
        /// Bytes a second.
        rate: u64,
        /// Bytes a node holds; above that, the copy received longest ago is dropped.
        buffer: Option<u64>,
    },
}

/// Whose rule decides who gets copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Router {
    /// One that a node can be configured to.
    Configured(Routing),
    /// Only the recipient gets anything: the least that any rule costs.
    Direct,
}

impl Router {
    /// Every rule, the costly ones last.
    pub const ALL: [Self; 4] = [
        Self::Direct,
        Self::Configured(Routing::SourceSpray),
        Self::Configured(Routing::Spray),
        Self::Configured(Routing::Delegate),
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Configured(routing) => routing.name(),
        }
    }

    /// By its own name, or by the one the reference evaluator has for the same rule.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "sprays" => Some(Self::Configured(Routing::SourceSpray)),
            "sprayb" => Some(Self::Configured(Routing::Spray)),
            "deleg" => Some(Self::Configured(Routing::Delegate)),
            _ => Self::ALL.into_iter().find(|router| router.name() == name),
        }
    }
}

/// One replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Who gets copies.
    pub router: Router,
    /// How long transfers take.
    pub transfer: Transfer,
    /// Deliveries become known: tombstones spread, bridges' acceptances demote.
    pub ack: bool,
    /// Who is told a recipient's tags.
    pub reachable: Reachable,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            router: Router::Configured(Routing::Delegate),
            transfer: Transfer::Instant,
            ack: false,
            reachable: Reachable::Everyone,
        }
    }
}

/// The rule behind [`Router::Direct`].
#[derive(Debug)]
pub(crate) struct Direct;

impl Policy for Direct {
    fn give(&self, _entry: &Entry, _reserved: u8) -> Give {
        Give::Nothing
    }

    fn moves_to(&self, _seen: u16, _theirs: u16) -> bool {
        false
    }
}
