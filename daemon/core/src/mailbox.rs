//! Between the store and the mailbox: what matches our tags is opened, and the answer becomes a tombstone.

use std::collections::{BTreeSet, VecDeque};

use pigeon_bundle::{BundleId, Reveal, Tag};

use crate::action::Action;
use crate::context::Context;
use crate::core::{Core, OWN_TAGS_MAX};
use crate::entry::Opened;
use crate::event::OpenOutcome;
use crate::reveal::Source;
use crate::session::REACHABLE_MAX;
use crate::trouble::Flow;

/// Bundles that the mailbox is asked to open at the same time.
pub const OPENING_MAX: usize = 32;
/// Bundles that wait to be opened. Beyond this they are found again in the store.
pub const OPEN_QUEUE_MAX: usize = 4096;

/// Bundles to open.
#[derive(Debug, Default)]
pub(crate) struct OpenQueue {
    waiting: VecDeque<BundleId>,
    asked: BTreeSet<BundleId>,
    overflowed: bool,
}

impl OpenQueue {
    pub(crate) fn push(&mut self, id: BundleId) {
        if self.asked.contains(&id) || self.waiting.contains(&id) {
            return;
        }
        if self.waiting.len() >= OPEN_QUEUE_MAX {
            self.overflowed = true;
            return;
        }
        self.waiting.push_back(id);
    }
}

impl Core {
    pub(crate) fn set_own_tags(&mut self, cx: &mut Context<'_>, tags: Vec<Tag>) -> Flow {
        self.told_tags = tags.iter().copied().take(REACHABLE_MAX).collect();
        self.own_tags = tags.into_iter().take(OWN_TAGS_MAX).collect();
        self.queue_openings(cx)?;
        self.pull_again(cx);
        Ok(())
    }

    /// Finds what is held for us and was not opened: after a restart, and when the tags change.
    pub(crate) fn queue_openings(&mut self, cx: &mut Context<'_>) -> Flow {
        self.opening.overflowed = false;
        for tag in &self.own_tags {
            for id in cx.catalog.by_tag(tag)? {
                let entry = self.commits.entry(cx.catalog, &id)?;
                if entry.is_some_and(|entry| entry.opened == Opened::No) {
                    self.opening.push(id);
                }
            }
        }
        self.pump_openings(cx)
    }

    pub(crate) fn pump_openings(&mut self, cx: &mut Context<'_>) -> Flow {
        while self.opening.asked.len() < OPENING_MAX {
            let Some(bundle) = self.opening.waiting.pop_front() else { break };
            let (Some(entry), Some(meta)) = (self.entry(cx, &bundle)?, cx.catalog.meta(&bundle)?) else {
                continue;
            };
            if self.expired(cx, &meta, &entry) {
                continue;
            }
            self.opening.asked.insert(bundle);
            cx.out.push(Action::Open { bundle });
        }
        if self.opening.overflowed && self.opening.waiting.is_empty() {
            return self.queue_openings(cx);
        }
        Ok(())
    }

    pub(crate) fn opened(&mut self, cx: &mut Context<'_>, bundle: BundleId, outcome: OpenOutcome) -> Flow {
        self.opening.asked.remove(&bundle);
        match outcome {
            OpenOutcome::Delivered { reveal } | OpenOutcome::Duplicate { reveal } => {
                self.delivered(cx, bundle, reveal)?;
            }
            OpenOutcome::NotOurs => self.mark(cx, bundle, Opened::NotOurs)?,
            OpenOutcome::Refused => self.mark(cx, bundle, Opened::Refused)?,
        }
        self.pump_openings(cx)
    }

    fn delivered(&mut self, cx: &mut Context<'_>, bundle: BundleId, reveal: Reveal) -> Flow {
        let meta = cx.catalog.meta(&bundle)?;
        if meta.as_ref().is_some_and(|meta| meta.commitment != reveal.commitment()) {
            // The mailbox's r does not belong to this bundle: it opened, so it is not opened again.
            return self.mark(cx, bundle, Opened::Delivered);
        }
        self.learn(cx, reveal, Source::Recipient)
    }

    fn mark(&mut self, cx: &mut Context<'_>, bundle: BundleId, opened: Opened) -> Flow {
        if let Some(mut entry) = self.entry(cx, &bundle)? {
            entry.opened = opened;
            self.update(cx, bundle, entry);
        }
        Ok(())
    }
}
