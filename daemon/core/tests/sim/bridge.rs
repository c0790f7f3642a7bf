//! A bridge that acknowledges, deduplicates on P, delivers to recipients that are online, and answers a
//! tombstoned P with its r.

use std::collections::{BTreeMap, BTreeSet};

use pigeon_bundle::{Bundle, Commitment, MessageDigest, Reveal};

/// What the bridge says to an upload.
pub struct Answer {
    pub accepted: bool,
    /// The message was delivered long ago: its r.
    pub reveal: Option<Reveal>,
}

/// Durable state of the bridge.
#[derive(Debug, Default)]
pub struct Bridge {
    known: BTreeSet<MessageDigest>,
    revealed: BTreeMap<Commitment, Reveal>,
    /// Accepted, and not fetched by their recipients yet.
    pub waiting: Vec<Bundle>,
}

impl Bridge {
    pub fn upload(&mut self, bundle: &Bundle) -> Answer {
        let reveal = self.revealed.get(&bundle.commitment()).copied();
        if self.known.insert(bundle.message_digest()) && reveal.is_none() {
            self.waiting.push(bundle.clone());
        }
        Answer { accepted: true, reveal }
    }

    pub fn reveal(&mut self, reveals: &[Reveal]) {
        for reveal in reveals {
            self.revealed.insert(reveal.commitment(), *reveal);
        }
    }
}
