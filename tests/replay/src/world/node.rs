//! A core with its catalog in memory, and what its owner has received.

use std::collections::{BTreeSet, VecDeque};

use pigeon_bundle::NodeKey;
use pigeon_core::config::Rates;
use pigeon_core::{Core, CoreConfig, MemoryCatalog, Now, RemovalReason, StoreOp};

use crate::people::{START_S, node_key};
use crate::setting::{Direct, Router, Setting};

/// A reveal that is hidden for so long never shows: what happens without acknowledgements.
const NEVER_MS: u64 = 1 << 60;
/// No limit of the store or of a day's carriage is reached: replays have limits of their own.
const PLENTY: u64 = 1 << 56;

/// One node.
pub(crate) struct Node {
    pub(crate) core: Core,
    pub(crate) catalog: MemoryCatalog,
    pub(crate) key: NodeKey,
    /// Messages its owner has read.
    pub(crate) inbox: BTreeSet<usize>,
    pub(crate) online: bool,
    pub(crate) buffer: Buffer,
}

impl Node {
    pub(crate) fn new(number: u32, setting: &Setting) -> Self {
        let mut config = CoreConfig {
            quota_bytes: PLENTY,
            daily_bytes: PLENTY,
            daily_bundles: PLENTY,
            rates: Rates {
                contact: PLENTY,
                stranger: PLENTY,
                newcomers: PLENTY,
                address: PLENTY,
                pull: PLENTY,
            },
            reveal_delay_ms_max: if setting.ack { 0 } else { NEVER_MS },
            reachable: setting.reachable,
            ..CoreConfig::default()
        };
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        let core = match setting.router {
            Router::Direct => Core::with_policy(config, seed, Box::new(Direct)),
            Router::Configured(routing) => {
                config.routing = routing;
                Core::new(config, seed)
            }
        };
        let key = node_key(number);
        let (catalog, inbox, buffer) = (MemoryCatalog::new(), BTreeSet::new(), Buffer::default());
        Self { core, catalog, key, inbox, online: false, buffer }
    }

    /// Every clock is right.
    pub(crate) fn now(at_ms: u64) -> Now {
        Now { mono_ms: at_ms, wall_s: Some(START_S + at_ms / 1000) }
    }

    /// Takes a bundle out of the store, as if it had never been there.
    pub(crate) fn discard(&mut self, id: pigeon_bundle::BundleId, message: usize) {
        self.catalog.apply(&[StoreOp::Remove { id, reason: RemovalReason::Evicted }]);
        self.buffer.remove(message);
    }
}

/// Messages in the order of their arrival, by the workload's sizes.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    held: VecDeque<(usize, u64)>,
    bytes: u64,
}

impl Buffer {
    pub(crate) fn add(&mut self, message: usize, size: u64) {
        self.bytes += size;
        self.held.push_back((message, size));
    }

    pub(crate) fn remove(&mut self, message: usize) {
        if let Some(at) = self.held.iter().position(|(held, _)| *held == message) {
            let (_, size) = self.held.remove(at).unwrap_or_default();
            self.bytes -= size;
        }
    }

    /// What has to go, oldest first, until no more than `limit` bytes are held; `busy` may not go.
    pub(crate) fn overflow(&self, limit: u64, busy: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut bytes = self.bytes;
        let mut out = Vec::new();
        for (message, size) in &self.held {
            if bytes <= limit {
                break;
            }
            if !busy(*message) {
                bytes -= size;
                out.push(*message);
            }
        }
        out
    }
}
