//! The XMPP bridge: takes what carriers bring, checks who wrote it, and delivers it as the author's own
//! (PROTOCOL.md section 6).
//!
//! Three tasks, in the order in which an upload meets them:
//!
//! 1. [`reader`] takes it from the server's stream and leaves it to the worker. It never waits.
//! 2. [`worker`] has it [judged](judge), writes it into the [`ledger`] as "in doubt", and sends it.
//! 3. [`settle`] waits until the server has taken it, writes "accepted", and then tells the carrier.
//!
//! So nothing is accepted that is not durable and with the server; and what is in doubt after a crash is sent again with
//! the same ids. [`flights`] holds what is between 2 and 3.

pub mod accounts;
mod allocator;
pub mod answers;
pub mod cli;
pub mod config;
pub mod control;
pub mod desk;
pub mod doubt;
pub mod flights;
pub mod held;
pub mod jobs;
pub mod journal;
pub mod judge;
pub mod keys;
pub mod ledger;
pub mod metrics;
pub mod pickup;
pub mod rate;
pub mod reader;
pub mod record;
pub mod refusal;
pub mod registration;
pub mod requests;
pub mod run;
pub mod settle;
pub mod shards;
pub mod told;
pub mod worker;

pub use cli::main;
