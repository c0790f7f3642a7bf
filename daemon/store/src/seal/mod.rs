//! Encryption at rest: what of a store is sealed, and under what.
//!
//! Records and state values are sealed before they reach the engine, and opened when they leave it; the engine keeps
//! bytes. Bundles are sealed by their authors anyway. A store is sealed as a whole or not at all:
//! [`crate::Store::open_sealed`] refuses one with plain records, [`crate::Store::open`] one with sealed ones, and
//! [`crate::Store::copy_into`] makes the one from the other.
//!
//! - [`key`]: the data key, and what is derived from it
//! - [`names`]: which part of a record's key stays readable, and why
//! - [`records`]: a record as the engine sees it

pub(crate) mod key;
pub(crate) mod names;
pub(crate) mod records;
