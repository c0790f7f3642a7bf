//! The durable bundle store on sled.
//!
//! sled 0.34 is embedded, pure Rust and atomic, but its `flush` is no promise against a power cut, it opens a log
//! that lost its end without a word, it panics on some damaged files and is unusable after a full disk. [`Store`] is
//! where that is put right: real syncs, checked records, derived indexes that are compared at every opening, damage set
//! aside and reported, room on the disk taken before it is needed. The private modules say how, each at its top:
//!
//! - `layout`: files and keys, and why nothing of ours ends up in sled's unsynced `blobs`
//! - `engine`: what has to be synced, and what sled does after errors
//! - `writer`: group commit, and what an error answer means
//! - `check`, `opening`, `salvage`: what is done about damage
//! - `space`: a full disk
//! - `seal`: encryption at rest; `copy`: everything into another store

mod bulk;
mod catalog;
mod check;
mod copy;
mod counters;
mod draft;
mod engine;
mod error;
mod held;
mod layout;
mod live;
mod lock;
mod mark;
mod opening;
mod plan;
mod quarantine;
mod report;
mod salvage;
mod seal;
mod space;
mod stats;
mod store;
mod transaction;
mod value;
mod writer;

pub use copy::Copied;
pub use engine::SyncFn;
pub use error::StoreError;
pub use plan::TAKERS_MAX;
pub use report::RecoveryReport;
pub use seal::key::{SEAL_OVERHEAD, STORE_KEY_LENGTH, Sealer, StoreKey};
pub use stats::Stats;
pub use store::{QUEUE_BYTES_MAX, QUEUE_TRANSACTIONS_MAX, Record, Store, StoreOptions};
pub use transaction::{RECORD_KEY_MAX, RECORD_VALUE_MAX, RecordOp, STATE_KEY_MAX, Table, Transaction};
pub use writer::{GROUP_BYTES_MAX, GROUP_TRANSACTIONS_MAX};
