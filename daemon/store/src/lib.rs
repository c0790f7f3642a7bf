//! The durable bundle store: a log of our own holds everything, sled is the index into it.
//!
//! sled 0.34 is embedded and pure Rust, but its `flush` is no promise against a power cut, and a cut can leave files that it
//! does not open again. So nothing depends on it: what is acknowledged is in the log, and the index can be made anew
//! from that. The private modules say how, each at its top:
//!
//! - `layout`: files and keys
//! - `log`: segments and groups; what is written, and which segment may go
//! - `writer`: group commit, and what an error answer means
//! - `index`, `checkpoint`, `levels`: the index, how it is kept small, and how it is kept from being trusted
//! - `view`, `fronts`: what a look-up sees
//! - `keeper`, `clean`, `compact`: giving back memory and disk
//! - `opening`, `tail`, `check`: what is done after a crash and about damage
//! - `space`: a full disk
//! - `seal`: encryption at rest; `copy`: everything into another store

mod catalog;
mod check;
mod checkpoint;
mod clean;
mod compact;
mod copy;
mod counters;
mod draft;
mod engine;
mod error;
mod fronts;
mod held;
mod index;
mod keeper;
mod layout;
mod levels;
mod live;
mod lock;
mod log;
mod mark;
mod opening;
mod plan;
mod quarantine;
mod recent;
mod report;
mod schema1;
mod seal;
mod space;
mod stats;
mod store;
mod stored;
mod tail;
mod transaction;
mod verify;
mod view;
mod writer;

pub use copy::Copied;
pub use engine::SyncFn;
pub use error::StoreError;
pub use plan::TAKERS_MAX;
pub use report::RecoveryReport;
pub use seal::key::{SEAL_OVERHEAD, STORE_KEY_LENGTH, Sealer, StoreKey};
pub use stats::Stats;
pub use store::{QUEUE_BYTES_MAX, QUEUE_TRANSACTIONS_MAX, Record, SecretRecord, Store, StoreOptions};
pub use transaction::{RECORD_KEY_MAX, RECORD_VALUE_MAX, RecordOp, STATE_KEY_MAX, Table, Transaction};
pub use verify::Verified;
pub use writer::{GROUP_BYTES_MAX, GROUP_TRANSACTIONS_MAX};
