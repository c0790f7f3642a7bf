//! A mailbox that deduplicates on P and remembers r, durable like the catalog beside it.

use std::collections::{BTreeMap, BTreeSet};

use pigeon_bundle::{Bundle, BundleId, MessageDigest, Reveal, Tag};
use pigeon_core::OpenOutcome;

use super::pool::by_digest;

/// The inbox of a node.
#[derive(Debug, Clone, Default)]
pub struct Mailbox {
    pub tags: Vec<Tag>,
    pub inbox: BTreeMap<MessageDigest, Reveal>,
    /// A known mistake: variants of one message count as different ones.
    pub dedup_on_bundle_id: bool,
    /// Another one: what is too late is taken.
    pub takes_expired: bool,
    bundles: BTreeSet<BundleId>,
    /// How often a message was given to the application.
    pub deliveries: BTreeMap<MessageDigest, u32>,
}

impl Mailbox {
    /// Opens a bundle, as `Action::Open` asks, unless by the node's clock it is too late.
    pub fn open_at(&mut self, bundle: &Bundle, wall_s: Option<u64>) -> OpenOutcome {
        let late = wall_s.is_some_and(|wall_s| wall_s >= bundle.expires_s());
        if late && !self.takes_expired { OpenOutcome::Refused } else { self.open(bundle) }
    }

    /// The same whenever it is.
    pub fn open(&mut self, bundle: &Bundle) -> OpenOutcome {
        if !self.tags.contains(&bundle.tag()) {
            return OpenOutcome::NotOurs;
        }
        let message = bundle.message_digest();
        let duplicate = if self.dedup_on_bundle_id {
            !self.bundles.insert(bundle.id())
        } else {
            self.inbox.contains_key(&message)
        };
        if let Some(reveal) = self.inbox.get(&message).filter(|_| duplicate) {
            return OpenOutcome::Duplicate { reveal: *reveal };
        }
        let Some(known) = by_digest(&message) else { return OpenOutcome::Refused };
        self.inbox.insert(message, known.reveal);
        *self.deliveries.entry(message).or_default() += 1;
        OpenOutcome::Delivered { reveal: known.reveal }
    }
}
