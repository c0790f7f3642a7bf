//! Pages and open rows of the tables of messages: what is asked often costs what it shows, not what is kept.
//!
//! Beside the records, `Inbox` has a row `u`, sequence, for each unread message; `Outbox` a row `o`, expiry, sequence,
//! for each message of which bundles may be alive. They are written in the transactions of their messages.

use pigeon_store::{RecordOp, Store, StoreError, Table};
use prost::Message;

use super::records::{BY_SEQUENCE, MessageTable};

/// A message that was not read yet.
const UNREAD: u8 = b'u';
/// A message of which bundles may be alive.
const OPEN: u8 = b'o';
/// Rows read in one go.
const PAGE: usize = 64;

impl MessageTable {
    /// At most `limit` records before `before` (all: `u64::MAX`), the newest of them, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn page<R: Message + Default>(
        self,
        store: &Store,
        before: u64,
        limit: usize,
    ) -> Result<Vec<(u64, R)>, StoreError> {
        let rows = newest(store, self.0, BY_SEQUENCE, before.min(self.next(store)?), limit)?;
        Ok(rows.into_iter().filter_map(|(n, value)| Some((n, R::decode(value.as_slice()).ok()?))).collect())
    }

    /// The same of unread messages.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn unread_page<R: Message + Default>(
        self,
        store: &Store,
        before: u64,
        limit: usize,
    ) -> Result<Vec<(u64, R)>, StoreError> {
        let mut page = Vec::new();
        for (sequence, _) in newest(store, self.0, UNREAD, before.min(self.next(store)?), limit)? {
            let record = store.record(self.0, &Self::key(sequence))?;
            let record = record.and_then(|bytes| R::decode(bytes.as_slice()).ok());
            page.extend(record.map(|record| (sequence, record)));
        }
        Ok(page)
    }

    /// At most `limit` records from the first one on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn oldest<R: Message + Default>(
        self,
        store: &Store,
        limit: usize,
    ) -> Result<Vec<(u64, R)>, StoreError> {
        let rows = store.records(self.0, Some(&[BY_SEQUENCE]), limit)?;
        let rows = rows.into_iter().map_while(|(key, value)| Some((number(&key, BY_SEQUENCE)?, value)));
        Ok(rows.filter_map(|(n, value)| Some((n, R::decode(value.as_slice()).ok()?))).collect())
    }

    /// The sequence number after the last one there is: some 64 look-ups at most.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn next(self, store: &Store) -> Result<u64, StoreError> {
        let reaches = |from: u64| -> Result<bool, StoreError> {
            Ok(!rows_from(store, self.0, BY_SEQUENCE, from, 1)?.is_empty())
        };
        if !reaches(0)? {
            return Ok(0);
        }
        // There is one at `low` or later, and none at `high` or later.
        let (mut low, mut high) = (0, 1);
        while reaches(high)? {
            (low, high) = (high, high.saturating_mul(2));
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if reaches(middle)? {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(high)
    }

    /// Counts the unread messages.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn unread(self, store: &Store) -> Result<u64, StoreError> {
        let (mut count, mut from) = (0, 0);
        loop {
            let rows = rows_from(store, self.0, UNREAD, from, PAGE)?;
            let Some((last, _)) = rows.last() else { return Ok(count) };
            from = last.saturating_add(1);
            count += rows.len() as u64;
        }
    }

    /// Notes that a message was not read.
    pub fn put_unread(self, sequence: u64) -> RecordOp {
        RecordOp::Put { table: self.0, key: row(UNREAD, sequence), value: Vec::new() }
    }

    /// Notes that a message was read, or is gone.
    pub fn forget_unread(self, sequence: u64) -> RecordOp {
        RecordOp::Delete { table: self.0, key: row(UNREAD, sequence) }
    }

    /// Notes that bundles of a message may be alive.
    pub fn put_open(self, expires_s: u64, sequence: u64) -> RecordOp {
        RecordOp::Put { table: self.0, key: open_row(expires_s, sequence), value: Vec::new() }
    }

    /// Notes that they are not.
    pub fn forget_open(self, expires_s: u64, sequence: u64) -> RecordOp {
        RecordOp::Delete { table: self.0, key: open_row(expires_s, sequence) }
    }

    /// Expiry and sequence number of at most `limit` messages of which bundles may be alive, those that expire first
    /// first, after `after`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(
        self,
        store: &Store,
        after: Option<(u64, u64)>,
        limit: usize,
    ) -> Result<Vec<(u64, u64)>, StoreError> {
        let after = after.map_or(vec![OPEN], |(expires_s, sequence)| open_row(expires_s, sequence));
        let rows = store.records(self.0, Some(&after), limit)?;
        Ok(rows.iter().map_while(|(key, _)| open_row_of(key)).collect())
    }

    /// The records of all messages of which bundles may be alive.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn all_open<R: Message + Default>(self, store: &Store) -> Result<Vec<(u64, R)>, StoreError> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let rows = self.open(store, after, PAGE)?;
            let Some(last) = rows.last() else { return Ok(found) };
            after = Some(*last);
            for (_, sequence) in rows {
                let record = store.record(self.0, &Self::key(sequence))?;
                let record = record.and_then(|bytes| R::decode(bytes.as_slice()).ok());
                found.extend(record.map(|record| (sequence, record)));
            }
        }
    }
}

fn row(kind: u8, sequence: u64) -> Vec<u8> {
    [&[kind], sequence.to_be_bytes().as_slice()].concat()
}

fn number(key: &[u8], kind: u8) -> Option<u64> {
    key.strip_prefix(&[kind])?.try_into().ok().map(u64::from_be_bytes)
}

fn open_row(expires_s: u64, sequence: u64) -> Vec<u8> {
    [&[OPEN], expires_s.to_be_bytes().as_slice(), &sequence.to_be_bytes()].concat()
}

fn open_row_of(key: &[u8]) -> Option<(u64, u64)> {
    let (expires_s, sequence) = key.strip_prefix(&[OPEN])?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*expires_s), u64::from_be_bytes(sequence.try_into().ok()?)))
}

/// Rows of a kind from a sequence number on.
fn rows_from(
    store: &Store,
    table: Table,
    kind: u8,
    from: u64,
    limit: usize,
) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let after = match from.checked_sub(1) {
        Some(before) => row(kind, before),
        None => vec![kind],
    };
    let rows = store.records(table, Some(&after), limit)?;
    Ok(rows.into_iter().map_while(|(key, value)| Some((number(&key, kind)?, value))).collect())
}

/// At most `limit` rows of a kind before `before`, the newest of them, in their order. The store pages upwards: what lies
/// before is looked through in windows, which grow where much was deleted.
fn newest(
    store: &Store,
    table: Table,
    kind: u8,
    before: u64,
    limit: usize,
) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
    let (mut end, mut span) = (before, limit.max(16) as u64);
    while end > 0 && found.len() < limit {
        let start = end.saturating_sub(span);
        let (mut window, mut from) = (Vec::new(), start);
        loop {
            let rows = rows_from(store, table, kind, from, PAGE)?;
            let Some((last, _)) = rows.last() else { break };
            from = last.saturating_add(1);
            let inside = rows.len();
            window.extend(rows.into_iter().filter(|(sequence, _)| *sequence < end));
            if inside < PAGE || from >= end {
                break;
            }
        }
        window.append(&mut found);
        found = window;
        (end, span) = (start, span.saturating_mul(2));
    }
    Ok(found.split_off(found.len().saturating_sub(limit)))
}
