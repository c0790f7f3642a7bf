//! The bridge: it takes every upload, keeps it until the recipient is online, and answers uploads of what the
//! recipient has with the r that the recipient told it.

use std::collections::BTreeSet;

/// What the bridge knows of each message.
#[derive(Debug, Default)]
pub(crate) struct Bridge {
    /// Uploaded, and not fetched yet.
    pub(crate) waiting: BTreeSet<usize>,
    /// Messages whose r it was told.
    pub(crate) revealed: BTreeSet<usize>,
}
