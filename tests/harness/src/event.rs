//! What `pigeon watch --json` prints: one object a line.

use serde::Deserialize;

/// An event of one daemon; `Event` in `pigeon.proto`, kinds in `docs/events.md`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Number since the daemon's start.
    pub seq: u64,
    /// When, Unix milliseconds.
    pub time_ms: u64,
    /// What happened.
    pub kind: String,
    /// The bundle concerned, or empty.
    pub bundle_id: String,
    /// The message concerned, or empty.
    pub message_id: String,
    /// The neighbour's node key, or empty.
    pub peer: String,
    /// Copies moved or left.
    pub copies: u32,
    /// Hops that the bundle has come.
    pub hops: u32,
    /// More, depending on the kind.
    pub detail: String,
    /// The contact's name, where the neighbour is one.
    pub contact: String,
}

impl Event {
    /// Whether this is of `kind` and about the bundle.
    #[must_use]
    pub fn is(&self, kind: &str, bundle_id: &str) -> bool {
        self.kind == kind && self.bundle_id == bundle_id
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn fields_that_are_missing_or_new_do_no_harm() {
        let event: Event =
            serde_json::from_str(r#"{"seq":3,"kind":"taken","bundle_id":"ab","new":[1]}"#).unwrap();
        assert_eq!(event.seq, 3);
        assert!(event.is("taken", "ab") && !event.is("taken", "cd") && event.peer.is_empty());
    }
}
