//! What must hold for any bytes. Each property takes the bytes and panics where it does not hold.
//!
//! The fuzz targets give them bytes without end; `bundle/tests/corpus.rs` and `proto/tests/corpus.rs` include the same
//! files and give them what the targets have found before.

#[path = "../../../bundle/tests/common/mod.rs"]
pub mod common;
pub mod formats;
pub mod messages;
