//! Contact traces and message workloads through the real core: what does its routing deliver, and what does it cost?
//!
//! 1. [`Scenario::read`] reads the files of `tests/traces` or others of the format described there.
//! 2. [`Replay::of`] makes every node's keys and seals every message, once.
//! 3. [`Replay::run`] replays them in a [`Setting`] and gives [`Metrics`].
//!
//! The nodes are `pigeon_core::Core` with the catalog in memory; they talk in real frames on links between them. Only
//! what the model defines stands between them: transfers take no time or are served one by one ([`Transfer`]), a
//! message ends at its ttl, and a bridge takes what comes up.

mod cli;
mod error;
mod lines;
mod metrics;
mod people;
mod picture;
mod scenario;
mod setting;
mod world;

pub use cli::main;
pub use error::ReplayError;
pub use metrics::Metrics;
pub use scenario::{Happening, Message, NODES_MAX, Scenario};
pub use setting::{Router, Setting, Transfer};

use people::People;
use world::World;

/// A scenario with its keys and sealed messages.
#[derive(Debug)]
pub struct Replay<'a> {
    scenario: &'a Scenario,
    people: People,
}

impl<'a> Replay<'a> {
    /// Makes keys and seals the messages.
    ///
    /// # Errors
    /// When a message cannot be sealed.
    pub fn of(scenario: &'a Scenario) -> Result<Self, ReplayError> {
        Ok(Self { scenario, people: People::of(scenario)? })
    }

    /// One replay. The same setting gives the same metrics.
    pub fn run(&self, setting: Setting) -> Metrics {
        World::new(self.scenario, &self.people, setting).run()
    }
}
