//! Tests of the store as its users see it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod basics;
mod child;
mod contract;
mod crash;
mod damage;
mod full_disk;
mod load;
mod powercut;
mod schemas;
mod seal;
mod support;
