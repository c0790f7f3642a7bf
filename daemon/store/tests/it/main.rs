//! Tests of the store as its users see it.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::cast_possible_truncation, reason = "tests")]

mod basics;
mod contract;
mod support;
