//! A core with its catalog and the commits on their way.

use std::collections::VecDeque;

use pigeon_bundle::{Bundle, BundleId, NodeKey};
use pigeon_core::{Action, Catalog, Core, CoreConfig, Entry, Event, MemoryCatalog, Now, StoreOp, Token};

use super::mailbox::Mailbox;
use super::pool::WALL_S;

/// One node of a test.
pub struct Node {
    pub core: Core,
    pub catalog: MemoryCatalog,
    pub mailbox: Mailbox,
    pub key: NodeKey,
    pub commits: VecDeque<(Token, Vec<StoreOp>)>,
    pub clock: bool,
    /// Seconds that the clock is fast; slow if negative.
    pub clock_error_s: i64,
}

impl Node {
    pub fn new(number: u8, config: CoreConfig) -> Self {
        Self {
            core: Core::new(config, [number; 32]),
            catalog: MemoryCatalog::new(),
            mailbox: Mailbox::default(),
            key: NodeKey([number; 32]),
            commits: VecDeque::new(),
            clock: true,
            clock_error_s: 0,
        }
    }

    /// Virtual time as this node sees it.
    pub fn now(&self, now_ms: u64) -> Now {
        let wall_s = WALL_S + now_ms / 1000;
        Now {
            mono_ms: now_ms,
            wall_s: self.clock.then_some(wall_s.saturating_add_signed(self.clock_error_s)),
        }
    }

    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
        self.core.handle(self.now(now_ms), event, &self.catalog)
    }

    /// The mailbox's own transaction: an own message becomes durable.
    pub fn put_own(&mut self, now_ms: u64, bundle: &Bundle) {
        let entry = Entry::own(0, self.now(now_ms).wall_s);
        self.catalog.apply(&[StoreOp::Put { bundle: bundle.clone(), entry }]);
    }

    pub fn entry(&self, id: &BundleId) -> Option<Entry> {
        self.catalog.entry(id).unwrap()
    }

    pub fn copies(&self, id: &BundleId) -> Option<u8> {
        self.entry(id).map(|entry| entry.copies)
    }
}
