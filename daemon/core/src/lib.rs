//! The node as a deterministic state machine without IO.

pub mod action;
pub mod catalog;
pub mod entry;
pub mod event;
pub mod memory;
pub mod notice;

pub use action::{Action, RemovalReason, StoreOp};
pub use catalog::{BundleMeta, Catalog, CatalogError, CatalogResult, PoolUsage, Usage};
pub use entry::{Entry, Opened, Pool};
pub use event::{
    CommitFailure, ContactId, ContactLink, Event, LinkId, LinkInfo, Now, OpenOutcome, PeerId, Role, Token,
};
pub use memory::MemoryCatalog;
pub use notice::Notice;
