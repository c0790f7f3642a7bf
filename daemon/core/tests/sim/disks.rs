//! What is durable: catalogs, inboxes and the bridge; and crashes, which take the rest.

use std::collections::VecDeque;

use pigeon_bundle::{Bundle, BundleId};
use pigeon_core::{Catalog, CommitFailure, Core, CoreConfig, Event, OpenOutcome, StoreOp};

use crate::model::{self, Broken, ensure};
use crate::plan::Written;
use crate::support::pool::{message, pool};
use crate::world::{Happening, World, peer};

impl World {
    pub fn commit_ends(&mut self, node: usize) -> Result<(), Broken> {
        let Some((token, ops)) = self.nodes[node].commits.pop_front() else { return Ok(()) };
        let mut result = Ok(());
        if self.rough && self.dice.below(1000) < self.plan.commit_failure_per_mille {
            self.model.failed(&self.nodes[node], &ops);
            result = Err(CommitFailure::Storage("simulated".into()));
        } else {
            self.apply(node, &ops)?;
        }
        self.event(node, Event::Committed { token, result })
    }

    pub fn apply(&mut self, node: usize, ops: &[StoreOp]) -> Result<(), Broken> {
        self.model.before_commit(&self.nodes[node], self.now_ms, ops)?;
        self.nodes[node].catalog.apply(ops);
        self.model.after_commit(node, &self.nodes[node], ops)
    }

    pub fn open_ends(&mut self, node: usize, bundle: BundleId) -> Result<(), Broken> {
        let Some(held) = self.nodes[node].catalog.bundle(&bundle).unwrap() else { return Ok(()) };
        let outcome = self.deliver(node, &held)?;
        self.event(node, Event::Opened { bundle, outcome })
    }

    pub fn deliver(&mut self, node: usize, bundle: &Bundle) -> Result<OpenOutcome, Broken> {
        let outcome = self.nodes[node].mailbox.open(bundle);
        if matches!(outcome, OpenOutcome::Delivered { .. }) {
            self.model.counts.delivered += 1;
            let new = self.model.delivered.insert(bundle.message_digest());
            ensure(new, model::TWICE, || format!("{}", bundle.id()))?;
        }
        Ok(outcome)
    }

    pub fn write(&mut self, written: Written) -> Result<(), Broken> {
        if !self.alive[written.author] {
            // People write when the daemon runs.
            self.at(5_000, Happening::Write(written));
            return Ok(());
        }
        let bundle = &message(written.recipient, written.number).bundle;
        let node = &mut self.nodes[written.author];
        node.put_own(self.now_ms, bundle);
        self.model.own_put(node, bundle.id());
        self.model.count(written.author, &self.nodes[written.author], &bundle.id())?;
        self.event(written.author, Event::Submitted { bundle: bundle.id() })
    }

    pub fn set_uplink(&mut self, node: usize, up: bool) -> Result<(), Broken> {
        if !self.alive[node] {
            return Ok(());
        }
        self.online[node] = up;
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
        let event = Box::new(Event::Verdict { bundle, accepted: answer.accepted });
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
            let recipient = pool().tags.iter().position(|tag| *tag == bundle.tag()).unwrap();
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
        if self.alive[node] {
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
        self.nodes[node].core = match self.fault {
            Some(fault) => Core::with_fault(config, seed, fault),
            None => Core::new(config, seed),
        };
        self.event(node, Event::Started)?;
        let tags = vec![pool().tags[node]];
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
