//! The part of a record's key that stays readable in a sealed store.
//!
//! Tables are paged in the order of their keys, and looked through by what keys begin with. What that needs stays as
//! it is, and says nothing about people: the kind of a row, a sequence number, a time, a message's random id. The rest
//! (identity keys, JIDs, names of bridges, ids of bundles and of messages received) becomes a keyed hash, and the whole
//! key is kept inside the sealed value.

use crate::transaction::Table;

/// Bytes of a sequence number or a time.
const NUMBER: usize = 8;
/// Bytes of a message id.
const MESSAGE_ID: usize = 16;
/// Bytes of a digest over a recipient.
const MARK: usize = 16;
/// Bytes of a commitment.
const COMMITMENT: usize = 32;

/// How many leading bytes of `key` stay readable; at most its length.
pub(crate) fn readable(table: Table, key: &[u8]) -> usize {
    let kind = key.first().copied().unwrap_or_default();
    let readable = match table {
        // `kind:name` or a word. The word says nothing.
        Table::Meta => key.iter().position(|byte| *byte == b':').map_or(key.len(), |colon| colon + 1),
        Table::Inbox | Table::Outbox => match kind {
            b'm' | b'u' => 1 + NUMBER,
            b'o' => 1 + 2 * NUMBER,
            b'i' => 1 + MESSAGE_ID,
            _ => 1,
        },
        Table::Attachment => match kind {
            // Of the node's own messages, with the number of a bundle.
            b's' | b'u' => key.len(),
            _ => 1,
        },
        // A time, where rows are paged by it.
        Table::SeenExpiry => NUMBER,
        Table::Bridge => match kind {
            b'c' => 1 + COMMITMENT,
            b'e' | b'r' | b'n' => 1 + NUMBER,
            b'h' => 1 + MARK,
            _ => 1,
        },
        // The kind.
        Table::Uplink => 1,
        Table::Contact
        | Table::SeenMessage
        | Table::Sealed
        | Table::BridgeSeen
        | Table::BridgeRegistration
        | Table::BridgeQueue
        | Table::BridgeHeld
        | Table::Vault => 0,
    };
    readable.min(key.len())
}
