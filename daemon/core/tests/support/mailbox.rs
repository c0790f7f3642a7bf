//! A mailbox that deduplicates on P and remembers r, durable like the catalog beside it.

use std::collections::BTreeMap;

use pigeon_bundle::{Bundle, MessageDigest, Reveal, Tag};
use pigeon_core::OpenOutcome;

use super::pool::pool;

/// The inbox of a node.
#[derive(Debug, Clone, Default)]
pub struct Mailbox {
    pub tags: Vec<Tag>,
    pub inbox: BTreeMap<MessageDigest, Reveal>,
    /// How often a message was given to the application.
    pub deliveries: BTreeMap<MessageDigest, u32>,
}

impl Mailbox {
    /// Opens a bundle, as `Action::Open` asks.
    pub fn open(&mut self, bundle: &Bundle) -> OpenOutcome {
        if !self.tags.contains(&bundle.tag()) {
            return OpenOutcome::NotOurs;
        }
        let message = bundle.message_digest();
        if let Some(reveal) = self.inbox.get(&message) {
            return OpenOutcome::Duplicate { reveal: *reveal };
        }
        let known = pool().messages.iter().find(|known| known.bundle.message_digest() == message);
        let Some(known) = known else { return OpenOutcome::Refused };
        self.inbox.insert(message, known.reveal);
        *self.deliveries.entry(message).or_default() += 1;
        OpenOutcome::Delivered { reveal: known.reveal }
    }
}
