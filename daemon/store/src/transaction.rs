//! What is written together: all of it or nothing.

use std::fmt;

use pigeon_core::StoreOp;

use crate::error::StoreError;
use crate::layout::VALUE_MAX;
use crate::seal::records::{ROW_KEY_ROOM, ROW_VALUE_ROOM};

/// Longest key of a record in bytes.
pub const RECORD_KEY_MAX: usize = 512;
/// Longest value of a record in bytes; in a sealed store its row is longer.
pub const RECORD_VALUE_MAX: usize = VALUE_MAX - ROW_VALUE_ROOM;
/// Longest name of a `SetState` value in bytes.
pub const STATE_KEY_MAX: usize = 128;

/// Writes that happen together, durably, or not at all.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    /// Operations of the core, in their order.
    pub ops: Vec<StoreOp>,
    /// Records of the mailbox or the bridge, in their order, after `ops`.
    pub records: Vec<RecordOp>,
}

impl Transaction {
    /// Operations of the core alone.
    pub fn of_ops(ops: Vec<StoreOp>) -> Self {
        Self { ops, records: Vec::new() }
    }

    /// Records alone.
    pub fn of_records(records: Vec<RecordOp>) -> Self {
        Self { ops: Vec::new(), records }
    }

    /// About how many bytes it writes, for the limits of queue and group.
    pub(crate) fn bytes(&self) -> u64 {
        let ops: usize = self.ops.iter().map(op_bytes).sum();
        let records: usize = self.records.iter().map(RecordOp::bytes).sum();
        // usize is at most 64 bits on every target.
        u64::try_from(ops + records).unwrap_or(u64::MAX)
    }
}

/// What one operation of the core costs beside its data: entry, indexes, counters.
const OP_BYTES: usize = 256;

fn op_bytes(op: &StoreOp) -> usize {
    match op {
        StoreOp::Put { bundle, .. } => OP_BYTES + bundle.as_bytes().len(),
        StoreOp::SetState { key, value } => OP_BYTES + key.len() + value.len(),
        _ => OP_BYTES,
    }
}

/// One write to a table of records.
#[derive(Clone, PartialEq, Eq)]
pub enum RecordOp {
    /// Sets a record, over the one there.
    Put {
        /// Where.
        table: Table,
        /// At most [`RECORD_KEY_MAX`] bytes.
        key: Vec<u8>,
        /// At most [`RECORD_VALUE_MAX`] bytes.
        value: Vec<u8>,
    },
    /// Removes a record; nothing where there is none.
    Delete {
        /// Where.
        table: Table,
        /// Which.
        key: Vec<u8>,
    },
}

impl RecordOp {
    fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            Self::Delete { key, .. } => key.len(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let (Self::Put { table, .. } | Self::Delete { table, .. }) = self;
        let (key_max, value_max) = match table {
            // A row of a sealed record, whose own limits have been checked.
            Table::Vault => (RECORD_KEY_MAX + ROW_KEY_ROOM, VALUE_MAX),
            _ => (RECORD_KEY_MAX, RECORD_VALUE_MAX),
        };
        match self {
            Self::Put { key, value, .. } => {
                limit("the key of a record", key.len(), key_max)?;
                limit("a record", value.len(), value_max)
            }
            Self::Delete { key, .. } => limit("the key of a record", key.len(), key_max),
        }
    }
}

/// Refuses what is longer than its limit.
pub(crate) fn limit(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit { Err(StoreError::TooLarge { what, size, limit }) } else { Ok(()) }
}

/// Keys and values are people's: only their place and size are shown.
impl fmt::Debug for RecordOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { table, value, .. } => write!(f, "Put({table:?}, {} bytes)", value.len()),
            Self::Delete { table, .. } => write!(f, "Delete({table:?})"),
        }
    }
}

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// The kinds of records kept for the mailbox and the bridge. The numbers are on disk: never reuse one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Table {
            $($(#[$doc])* $name = $number,)*
        }

        impl Table {
            /// Every table.
            pub const ALL: &[Table] = &[$(Table::$name,)*];
        }
    };
}

tables! {
    /// Single values of the node: keys' names, format versions, clocks.
    Meta = 1,
    /// Contacts and their cards.
    Contact = 2,
    /// Messages received.
    Inbox = 3,
    /// Messages written here and what became of them.
    Outbox = 4,
    /// P of messages already delivered, until expiry plus skew.
    SeenMessage = 5,
    /// Sealed bundles' names by message, to re-send identical bytes.
    Sealed = 6,
    /// Attachments on their way in and out, and what became of them.
    Attachment = 8,
    /// Uplink: what has been sent up and what was answered.
    Uplink = 7,
    /// Rows of a sealed store: every other table's records. Written by the store itself, for callers always empty.
    Vault = 9,
    /// Index: messages already delivered by the time at which they can be forgotten.
    SeenExpiry = 10,
    /// Single values of the bridge.
    Bridge = 32,
    /// The bridge's log of messages it has handled, by P.
    BridgeSeen = 33,
    /// Keys registered with the bridge, by JID.
    BridgeRegistration = 34,
    /// What the bridge still has to deliver or answer.
    BridgeQueue = 35,
    /// Bundles that a neighbour of their recipient may fetch from the bridge.
    BridgeHeld = 40,
}

impl Table {
    /// Number on disk.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}
