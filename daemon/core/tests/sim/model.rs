//! The reference model: what must hold after every event, from the outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use pigeon_bundle::{BundleId, MessageDigest, NodeKey};
use pigeon_core::policy::MOVES_MAX;
use pigeon_core::{Catalog, Pool, RemovalReason, StoreOp};

use crate::support::node::Node;
use crate::support::pool::{is_whole, variant};

pub const SUM: &str = "copy numbers sum to at most six";
pub const SPENT_EARLY: &str = "a hand-over is spent only after the taker durably holds it";
pub const STORED_EARLY: &str = "Stored is sent only after the commit";
pub const OWN_LOST: &str = "own undelivered mail never goes";
pub const TWICE: &str = "a message is delivered once";
pub const PROMISED_TWICE: &str = "a copy is never promised to two";
pub const EXPIRED: &str = "nothing is delivered too late";
pub const MOVED: &str = "a last copy moves no more often than it may";
pub const DAMAGED: &str = "only whole bundles are stored";
pub const NOT_DELIVERED: &str = "with plenty of contacts everything is delivered";
pub const NOT_PURGED: &str = "with plenty of contacts tombstones purge";
pub const BUSY: &str = "a network that has nothing to do is quiet";

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub rule: &'static str,
    pub detail: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken: {}: {}", self.rule, self.detail)
    }
}

pub fn ensure(holds: bool, rule: &'static str, detail: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { rule, detail: detail() }) }
}

/// How often things happened: a simulation in which nothing happens proves nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub events: u64,
    pub links: u64,
    pub cuts: u64,
    pub crashes: u64,
    pub hand_overs: u64,
    pub direct: u64,
    pub uploads: u64,
    pub delivered: u64,
    pub refused: u64,
    pub resumed: u64,
    pub evicted: u64,
    pub commit_failures: u64,
    pub uplinks: u64,
    pub moves: u64,
    pub expired: u64,
    pub lies: u64,
    pub looked_s: u64,
}

const COUNTS: usize = 17;

impl Counts {
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.all_mut().into_iter().zip(other.all()) {
            *sum += more.1;
        }
    }

    fn all(&self) -> [(&'static str, u64); COUNTS] {
        [
            ("events", self.events),
            ("links", self.links),
            ("cuts", self.cuts),
            ("crashes", self.crashes),
            ("hand-overs", self.hand_overs),
            ("direct", self.direct),
            ("uploads", self.uploads),
            ("delivered", self.delivered),
            ("refused", self.refused),
            ("resumed", self.resumed),
            ("evicted", self.evicted),
            ("commit failures", self.commit_failures),
            ("changes of uplinks", self.uplinks),
            ("moves", self.moves),
            ("expired", self.expired),
            ("links with liars", self.lies),
            ("seconds of looking", self.looked_s),
        ]
    }

    fn all_mut(&mut self) -> [&mut u64; COUNTS] {
        [
            &mut self.events,
            &mut self.links,
            &mut self.cuts,
            &mut self.crashes,
            &mut self.hand_overs,
            &mut self.direct,
            &mut self.uploads,
            &mut self.delivered,
            &mut self.refused,
            &mut self.resumed,
            &mut self.evicted,
            &mut self.commit_failures,
            &mut self.uplinks,
            &mut self.moves,
            &mut self.expired,
            &mut self.lies,
            &mut self.looked_s,
        ]
    }

    pub fn assert_everything_happened(&self) {
        for (name, count) in self.all() {
            assert!(count > 0, "no {name} in any seed");
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.all().iter().map(|(name, count)| format!("{count} {name}")).collect();
        f.write_str(&parts.join(", "))
    }
}

/// What the model remembers.
#[derive(Debug, Default)]
pub struct Model {
    copies: BTreeMap<BundleId, BTreeMap<usize, u8>>,
    ever_held: BTreeSet<(NodeKey, BundleId)>,
    /// A hand-over's write failed: a later write may lose its copies for a moment.
    unwritten: BTreeSet<(NodeKey, BundleId)>,
    /// A liar holds it: its numbers mean nothing any more.
    tainted: BTreeSet<BundleId>,
    pub liars: BTreeSet<NodeKey>,
    pub delivered: BTreeSet<MessageDigest>,
    pub counts: Counts,
}

impl Model {
    /// Before a node's commit becomes durable: what it would do.
    pub fn before_commit(&mut self, node: &Node, now_ms: u64, ops: &[StoreOp]) -> Result<(), Broken> {
        for op in ops {
            match op {
                StoreOp::Put { bundle, .. } => self.put(node, bundle)?,
                StoreOp::Update { id, entry } => {
                    let before = node.copies(id).unwrap_or(0);
                    if entry.copies < before && !self.unwritten.contains(&(node.key, *id)) {
                        self.spent(id, ops)?;
                    }
                }
                StoreOp::Remove { id, reason } => self.removed(node, now_ms, id, *reason)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, node: &Node, bundle: &pigeon_bundle::Bundle) -> Result<(), Broken> {
        ensure(is_whole(bundle), DAMAGED, || format!("{}", bundle.id()))?;
        self.ever_held.insert((node.key, bundle.id()));
        Ok(())
    }

    fn spent(&mut self, id: &BundleId, ops: &[StoreOp]) -> Result<(), Broken> {
        let taker = ops.iter().find_map(|op| match op {
            StoreOp::AddTaker { id: taken, taker } if taken == id => Some(*taker),
            _ => None,
        });
        let held = |taker| self.ever_held.contains(&(taker, *id)) || self.liars.contains(&taker);
        let held = taker.is_some_and(held);
        self.counts.hand_overs += 1;
        ensure(held, SPENT_EARLY, || format!("{id} to {taker:?}"))
    }

    fn removed(
        &mut self,
        node: &Node,
        now_ms: u64,
        id: &BundleId,
        reason: RemovalReason,
    ) -> Result<(), Broken> {
        self.counts.evicted += u64::from(reason == RemovalReason::Evicted);
        self.counts.expired += u64::from(reason == RemovalReason::Expired);
        let Some(entry) = node.entry(id).filter(|entry| entry.pool == Pool::Own) else { return Ok(()) };
        let meta = node.catalog.meta(id).unwrap().unwrap();
        let arrived = self.delivered.contains(&meta.message);
        let over = node.now(now_ms).wall_s.is_some_and(|wall_s| wall_s >= meta.expires_s);
        ensure(arrived || over, OWN_LOST, || format!("{id}: {reason:?} with {} copies", entry.copies))
    }

    /// A commit failed.
    pub fn failed(&mut self, node: &Node, ops: &[StoreOp]) {
        self.counts.commit_failures += 1;
        let spent = ops.iter().filter_map(|op| match op {
            StoreOp::AddTaker { id, .. } => Some((node.key, *id)),
            _ => None,
        });
        self.unwritten.extend(spent);
    }

    /// A node's catalog has changed for these bundles.
    pub fn after_commit(&mut self, number: usize, node: &Node, ops: &[StoreOp]) -> Result<(), Broken> {
        for op in ops {
            match op {
                StoreOp::Put { bundle, .. } => self.count(number, node, &bundle.id())?,
                StoreOp::Update { id, .. } | StoreOp::Remove { id, .. } => self.count(number, node, id)?,
                _ => {}
            }
        }
        Ok(())
    }

    pub fn count(&mut self, number: usize, node: &Node, id: &BundleId) -> Result<(), Broken> {
        let held = self.copies.entry(*id).or_default();
        match node.copies(id) {
            Some(copies) => held.insert(number, copies),
            None => held.remove(&number),
        };
        let moves = node.entry(id).map_or(0, |entry| entry.moves);
        self.counts.moves += u64::from(moves > 0);
        ensure(moves <= MOVES_MAX, MOVED, || format!("{id}: {moves} moves"))?;
        if self.tainted.contains(id) {
            return Ok(());
        }
        let sum: u32 = held.values().map(|copies| u32::from(*copies)).sum();
        ensure(sum <= 6, SUM, || format!("{id}: {held:?}"))
    }

    /// A liar is about to hold these.
    pub fn liar_holds(&mut self, ops: &[StoreOp]) {
        for op in ops {
            if let StoreOp::Put { bundle, .. } = op {
                self.tainted.insert(bundle.id());
                self.tainted.extend(variant(&bundle.id()).map(|variant| variant.id()));
            }
        }
    }

    pub fn stored_sent(&self, node: &Node, id: &BundleId) -> Result<(), Broken> {
        ensure(self.ever_held.contains(&(node.key, *id)), STORED_EARLY, || format!("{id} by {:?}", node.key))
    }

    pub fn own_put(&mut self, node: &Node, id: BundleId) {
        self.ever_held.insert((node.key, id));
    }

    /// Promises on links against what the node has, with the writes it has asked for.
    pub fn promises(node: &Node) -> Result<(), Broken> {
        let mut promised: BTreeMap<BundleId, u32> = BTreeMap::new();
        for ((_, id), copies) in node.core.promised() {
            *promised.entry(id).or_default() += u32::from(copies);
        }
        for (id, sum) in promised {
            let mut copies = node.copies(&id);
            for op in node.commits.iter().flat_map(|(_, ops)| ops) {
                match op {
                    StoreOp::Update { id: other, entry } if *other == id => copies = Some(entry.copies),
                    // What is being removed is promised no more, whatever the session still remembers.
                    StoreOp::Remove { id: other, .. } if *other == id => copies = None,
                    _ => {}
                }
            }
            if let Some(copies) = copies {
                let detail = || format!("{id}: {sum} promised of {copies}");
                ensure(sum <= u32::from(copies), PROMISED_TWICE, detail)?;
            }
        }
        Ok(())
    }
}
