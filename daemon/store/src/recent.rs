//! What was written since the last checkpoint, in memory: newer than the index, and in the log from its position on.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::log::Position;
use crate::log::group::RECORD_HEAD;
use crate::stored::Stored;

/// What an entry costs beside its bytes: the tree's node, two allocations.
const ENTRY_BYTES: usize = 112;
/// Bytes of the log after which a checkpoint is due however little memory is used: opening after a crash reads them.
pub(crate) const LOG_BYTES_MAX: u64 = 64 << 20;

/// The newest values of some keys; `None` where the key is gone.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    map: BTreeMap<Box<[u8]>, Option<Stored>>,
    bytes: usize,
    /// About the bytes in the log since [`Recent::at`].
    log_bytes: u64,
    /// Set when nothing is added any more: bytes alive in each segment at `end`.
    pub(crate) live: BTreeMap<u64, u64>,
    /// Everything in here lies before this place in the log.
    pub(crate) end: Position,
}

impl Recent {
    /// Nothing, up to a place in the log.
    pub(crate) fn at(end: Position) -> Self {
        Self { end, ..Self::default() }
    }

    /// The key's newest value, `Some(None)` where it is gone, `None` where nothing is known here.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<&Stored>> {
        self.map.get(key).map(Option::as_ref)
    }

    pub(crate) fn put(&mut self, key: Vec<u8>, stored: Option<Stored>) {
        let in_log = RECORD_HEAD + key.len() + stored.as_ref().map_or(0, Stored::length);
        self.log_bytes = self.log_bytes.saturating_add(u64::try_from(in_log).unwrap_or(u64::MAX));
        let length = |stored: &Option<Stored>| match stored {
            Some(Stored::Here { bytes, .. }) => bytes.len(),
            _ => 0,
        };
        self.bytes += ENTRY_BYTES + key.len() + length(&stored);
        let key_length = key.len();
        if let Some(former) = self.map.insert(key.into(), stored) {
            self.bytes = self.bytes.saturating_sub(ENTRY_BYTES + key_length + length(&former));
        }
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keys.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// It is time for a checkpoint: it takes `bytes_max` of memory, or opening would have to read much.
    pub(crate) fn is_full(&self, bytes_max: usize) -> bool {
        self.bytes >= bytes_max || self.log_bytes >= LOG_BYTES_MAX
    }

    /// From a key on, in order.
    pub(crate) fn range<'a>(
        &'a self,
        from: &[u8],
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a Stored>)> + use<'a> {
        let range = self.map.range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        range.map(|(key, stored)| (&**key, stored.as_ref()))
    }
}
