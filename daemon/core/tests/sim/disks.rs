//! What is durable: catalogs, inboxes and the bridge; and crashes, which take the rest.

use std::collections::VecDeque;

use pigeon_bundle::{Bundle, BundleId};
use pigeon_core::{
    Catalog, CommitFailure, Core, CoreConfig, Entry, Event, Fault, OpenOutcome, Pool, StoreOp,
};

use crate::model::{self, Broken, ensure};
use crate::plan::Written;
use crate::support::pool::{WALL_S, by_digest, pool, variant};
use crate::world::{EARLY_S, Happening, Mistake, World, peer};

impl World {
    pub fn commit_ends(&mut self, node: usize) -> Result<(), Broken> {
        let Some((token, ops)) = self.nodes[node].commits.pop_front() else { return Ok(()) };
        let liar = self.lies(node).is_some();
        let mut result = Ok(());
        if self.rough && self.dice.below(1000) < self.plan.commit_failure_per_mille {
            self.model.failed(&self.nodes[node], &ops);
            result = Err(CommitFailure::Storage("simulated".into()));
        } else {
            self.apply(node, &ops)?;
        }
        let written = result.is_ok();
        self.event(node, Event::Committed { token, result })?;
        if liar && written { self.after_liars_write(node, &ops) } else { Ok(()) }
    }

    pub fn apply(&mut self, node: usize, ops: &[StoreOp]) -> Result<(), Broken> {
        let honest = self.lies(node).is_none();
        if honest {
            self.model.before_commit(&self.nodes[node], self.now_ms, ops)?;
        } else {
            self.model.liar_holds(ops);
        }
        self.nodes[node].catalog.apply(ops);
        if honest { self.model.after_commit(node, &self.nodes[node], ops) } else { Ok(()) }
    }

    pub fn open_ends(&mut self, node: usize, bundle: BundleId) -> Result<(), Broken> {
        let Some(held) = self.nodes[node].catalog.bundle(&bundle).unwrap() else { return Ok(()) };
        let outcome = self.deliver(node, &held)?;
        self.event(node, Event::Opened { bundle, outcome })
    }

    pub fn deliver(&mut self, node: usize, bundle: &Bundle) -> Result<OpenOutcome, Broken> {
        let wall_s = self.nodes[node].now(self.now_ms).wall_s;
        let outcome = self.nodes[node].mailbox.open_at(bundle, wall_s);
        if matches!(outcome, OpenOutcome::Delivered { .. }) {
            self.model.counts.delivered += 1;
            let new = self.model.delivered.insert(bundle.message_digest());
            ensure(new, model::TWICE, || format!("{}", bundle.id()))?;
            let late = wall_s.is_some_and(|wall_s| wall_s >= bundle.expires_s());
            ensure(!late, model::EXPIRED, || format!("{} at {wall_s:?}", bundle.id()))?;
        }
        Ok(outcome)
    }

    pub fn write(&mut self, written: Written) -> Result<(), Broken> {
        if !self.alive[written.author] {
            // People write when the daemon runs.
            self.at(5_000, Happening::Write(written));
            return Ok(());
        }
        let bundle = &written.message().bundle;
        let node = &mut self.nodes[written.author];
        node.put_own(self.now_ms, bundle);
        self.model.own_put(node, bundle.id());
        if let Some(copies) = written.copies {
            let entry = Entry { copies, ..node.entry(&bundle.id()).unwrap() };
            node.catalog.apply(&[StoreOp::Update { id: bundle.id(), entry }]);
        }
        self.model.count(written.author, &self.nodes[written.author], &bundle.id())?;
        self.mint(&bundle.id(), written.author)?;
        self.event(written.author, Event::Submitted { bundle: bundle.id() })
    }

    /// A message and a variant of it wait to be opened when their recipient starts: a crash came before.
    pub fn hold_twins(&mut self, written: &Written) -> Result<(), Broken> {
        let original = written.message().bundle.clone();
        let twin = variant(&original.id()).unwrap();
        for bundle in [original, twin] {
            let wall_s = self.nodes[written.recipient].now(self.now_ms).wall_s;
            let entry = Entry { copies: 0, pool: Pool::Contact, ..Entry::own(0, wall_s) };
            self.apply(written.recipient, &[StoreOp::Put { bundle, entry }])?;
        }
        Ok(())
    }

    /// Now and then somebody honest holds a variant of the message that a liar has made.
    fn mint(&mut self, id: &BundleId, author: usize) -> Result<(), Broken> {
        let holder = self.dice.index(self.plan.nodes);
        let minted =
            self.dice.percent(60) && holder != author && self.alive[holder] && self.lies(holder).is_none();
        let Some(bundle) = variant(id).filter(|_| minted) else { return Ok(()) };
        let wall_s = self.nodes[holder].now(self.now_ms).wall_s;
        let entry = Entry { copies: 0, pool: Pool::Stranger, ..Entry::own(0, wall_s) };
        self.apply(holder, &[StoreOp::Put { bundle, entry }])
    }

    pub fn set_uplink(&mut self, node: usize, up: bool) -> Result<(), Broken> {
        if !self.alive[node] {
            return Ok(());
        }
        self.online[node] = up;
        self.model.counts.uplinks += 1;
        self.event(node, if up { Event::UplinkUp } else { Event::UplinkDown })?;
        self.fetch()
    }

    pub fn upload(&mut self, node: usize, bundle: BundleId) {
        self.model.counts.uploads += 1;
        let life = self.lives[node];
        let held = self.nodes[node].catalog.bundle(&bundle).unwrap();
        let Some(held) = held.filter(|_| self.online[node] && !(self.rough && self.dice.percent(10))) else {
            return;
        };
        let answer = self.bridge.upload(&held);
        let in_ms = 20 + self.dice.below(500);
        let event = Box::new(Event::Verdict { bundles: vec![bundle], accepted: answer.accepted });
        self.at(in_ms, Happening::Answer { node, life, event });
        if let Some(reveal) = answer.reveal {
            let event = Box::new(Event::Revealed { reveals: vec![reveal] });
            self.at(in_ms, Happening::Answer { node, life, event });
        }
    }

    /// Recipients that are online get what the bridge has for them.
    pub fn fetch(&mut self) -> Result<(), Broken> {
        let waiting = VecDeque::from(std::mem::take(&mut self.bridge.waiting));
        for bundle in waiting {
            let recipient = by_digest(&bundle.message_digest()).unwrap().recipient;
            if bundle.expires_s() <= (WALL_S + self.now_ms / 1000).saturating_add_signed(-EARLY_S) {
                continue;
            }
            if !self.online[recipient] || !self.alive[recipient] {
                self.bridge.waiting.push(bundle);
                continue;
            }
            let outcome = self.deliver(recipient, &bundle)?;
            self.event(recipient, Event::Opened { bundle: bundle.id(), outcome })?;
        }
        Ok(())
    }

    /// Everything not committed is gone; a commit on its way may have become durable without anybody hearing.
    pub fn crash(&mut self, node: usize) -> Result<(), Broken> {
        if !self.alive[node] {
            return Ok(());
        }
        self.model.counts.crashes += 1;
        let commits = std::mem::take(&mut self.nodes[node].commits);
        let durable = self.dice.index(commits.len() + 1);
        for (_, ops) in commits.into_iter().take(durable) {
            self.apply(node, &ops)?;
        }
        self.alive[node] = false;
        self.online[node] = false;
        let links: Vec<u64> =
            self.links.iter().filter(|(_, link)| link.ends.contains(&node)).map(|(link, _)| *link).collect();
        for link in links {
            self.cut(link);
        }
        let in_ms = 100 + self.dice.below(20_000);
        self.at(in_ms, Happening::Restart { node });
        Ok(())
    }

    pub fn restart(&mut self, node: usize) -> Result<(), Broken> {
        if self.alive[node] || self.absent[node] {
            return Ok(());
        }
        self.alive[node] = true;
        self.lives[node] += 1;
        self.timers[node] = None;
        let config = CoreConfig {
            reveal_delay_ms_max: self.plan.reveal_delay_ms_max,
            quota_bytes: if self.plan.small[node] { 140_000 } else { 1 << 30 },
            ..CoreConfig::default()
        };
        let seed = self.dice.bytes();
        self.nodes[node].core = match self.fault.and_then(Mistake::of_core) {
            Some(fault) => Core::with_fault(config, seed, fault),
            None => Core::new(config, seed),
        };
        self.nodes[node].mailbox.takes_expired = self.fault == Some(Mistake::Core(Fault::ExpiredDelivered));
        self.nodes[node].mailbox.dedup_on_bundle_id = self.fault == Some(Mistake::DedupOnBundleId);
        self.event(node, Event::Started)?;
        let tags = match pool().tags.get(node) {
            Some(tag) => vec![*tag, pool().tags_of_dying[node]],
            None => Vec::new(),
        };
        self.nodes[node].mailbox.tags.clone_from(&tags);
        self.event(node, Event::OwnTags(tags))?;
        let around: Vec<u64> = self
            .contacts
            .iter()
            .filter(|(_, contact)| contact.ends.contains(&node))
            .map(|(contact, _)| *contact)
            .collect();
        for contact in around {
            self.event(node, Event::Seen { peer: peer(contact), dial_first: true })?;
        }
        Ok(())
    }
}
