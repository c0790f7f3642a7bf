//! The node as a deterministic state machine without IO: [`Core::handle`] takes one [`Event`] at a [`Now`],
//! looks things up in a [`Catalog`], and answers with [`Action`]s.
//!
//! Who uses whom (arrows point at what is used; nothing points back):
//!
//! ```text
//!  core ─► session ─► recognise · tombstones · reconcile · candidates · offers · transfer · intake · receive ─► keys · lists
//!    │        │
//!    ├────────┴─► reveal · mailbox · uplink · expiry · eviction · energy · writes   handlers: `impl Core`
//!    │                 │
//!    ├─► commits (writes on their way, seen before the catalog)
//!    ├─► neighbours · carriage · ledger · tombstones · partials · quality · policy · clock · random · context
//!    │                 memories with limits of their own, none knows the core
//!    └─► event · action · notice · entry · catalog · memory · config  the vocabulary
//! ```
//!
//! A session's state is in memory only; everything that decides behaviour after a restart is in the catalog:
//! the [`Entry`] of each bundle, takers, tombstones, and five small states (`quality`, `reveals`, `run`, `counters`,
//! `ledger`).
//!
//! Copies. A hand-over is promised (reserved in the session), sent, `Stored` by the taker with zero copies,
//! spent durably, and only then granted. At each step a lost frame or a crash loses copies at worst, so the
//! copy numbers of all nodes never sum to more than six.

mod carriage;
mod clock;
mod commits;
mod context;
mod core;
mod counters;
mod energy;
mod eviction;
mod expiry;
mod fault;
mod ledger;
mod mailbox;
mod neighbours;
mod partials;
mod pickup;
mod quality;
mod random;
mod reveal;
mod session;
mod tombstones;
mod trouble;
mod uplink;
mod writes;

pub mod action;
pub mod catalog;
pub mod config;
pub mod entry;
pub mod event;
pub mod memory;
pub mod notice;
pub mod policy;

pub use action::{Action, RemovalReason, StoreOp};
pub use carriage::stranger_fits;
pub use catalog::{BundleMeta, Catalog, CatalogError, CatalogResult, PoolUsage, Usage};
pub use config::{CarryFor, CoreConfig, Rates, Reachable};
pub use core::Core;
pub use counters::{Counters, Traffic};
pub use energy::{Battery, Windows};
pub use entry::{Entry, Opened, Pool};
pub use event::{
    CommitFailure, ContactId, ContactLink, Event, LinkId, LinkInfo, Now, OpenOutcome, PeerId, Role, Token,
};
#[cfg(feature = "faults")]
pub use fault::Fault;
pub use memory::MemoryCatalog;
pub use notice::Notice;
pub use pickup::Whom;
pub use policy::Routing;

/// Named limits, for status pages and tests.
pub mod limits {
    pub use crate::action::STATE_VALUE_MAX;
    pub use crate::carriage::BUCKETS_MAX;
    pub use crate::core::{CONTACTS_MAX, OWN_TAGS_MAX};
    pub use crate::energy::{MET_MS, NEWS_MS};
    pub use crate::entry::{COPIES_AT_BIRTH, HOPS_MAX};
    pub use crate::eviction::{EVICT_MAX, RECIPIENT_RESERVE_BYTES, SCAN_MAX};
    pub use crate::expiry::{BATCH_MAX, CHECK_MS};
    pub use crate::ledger::LEDGER_MAX;
    pub use crate::mailbox::{OPEN_QUEUE_MAX, OPENING_MAX};
    pub use crate::neighbours::{
        BACKOFF_MS, DIALS_MAX, SESSION_EVERY_MS, SESSIONS_MAX, SIGHTINGS_MAX, WAIT_MS,
    };
    pub use crate::partials::{PARTIAL_BYTES_MAX, PARTIALS_MAX};
    pub use crate::pickup::{TOKEN_AGAIN_MS, TOKENS_GIVEN_MAX, TOKENS_PER_LINK_MAX};
    pub use crate::session::{
        CANDIDATES_MAX, DEFER_MS, DEFERRED_MAX, GRANTS_MAX, HAVE_MAX, IN_FLIGHT_BYTES_MAX, IN_FLIGHT_MAX,
        INCOMING_MAX, LINKS_MAX, LIST_MAX, QUALITY_REFUSALS_MAX, REACHABLE_MAX, RETIRE_MS, RETRY_MS,
        SEGMENT_SIZE, SEGMENT_SIZE_SCARCE, SILENCE_MS,
    };
    pub use crate::tombstones::{CACHE_MAX, CACHE_PER_NEIGHBOUR_MAX, DEAD_MAX, RECENT_MAX};
    pub use crate::uplink::{UPLOAD_QUEUE_MAX, UPLOAD_WINDOW_BYTES, UPLOADS_MAX, VERDICT_TIMEOUT_MS};
}
