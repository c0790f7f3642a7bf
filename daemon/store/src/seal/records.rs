//! A record of a sealed store, as the engine sees it: a row of [`Table::Vault`].
//!
//! Key: number of the table (u8), the readable part of the record's key ([`readable`]), and unless that is all of it
//! HMAC-SHA256 of table and key, cut to 16 bytes. Value, sealed with the row's key as its context: length of the
//! record's key (u16), that key, the record's value. So a value opens at its own key and nowhere else.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::key::{SEAL_OVERHEAD, Sealer, StoreKey};
use super::names::readable;
use crate::error::StoreError;
use crate::transaction::{RECORD_KEY_MAX, RecordOp, Table, Transaction};
use pigeon_core::StoreOp;

/// Bytes of the keyed hash in a row's key.
const HASH: usize = 16;
/// What a row's key may be longer than the key of its record.
pub(crate) const ROW_KEY_ROOM: usize = 1 + HASH;
/// What a row's value may be longer than the value of its record.
pub(crate) const ROW_VALUE_ROOM: usize = SEAL_OVERHEAD + 2 + RECORD_KEY_MAX;
/// A row that every sealed store has, to try a key on. There is no table 0.
pub(crate) const PROOF: &[u8] = &[0];

/// Seals and opens records and state values.
pub(crate) struct RecordSealer {
    key: StoreKey,
    values: Sealer,
    states: Sealer,
    names: Hmac<Sha256>,
}

impl RecordSealer {
    pub(crate) fn new(key: StoreKey) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let names = Hmac::new_from_slice(key.derive("record names").as_ref()).expect("any length");
        Self { values: key.sealer("record values"), states: key.sealer("state values"), names, key }
    }

    pub(crate) fn key(&self) -> &StoreKey {
        &self.key
    }

    /// The row's key of a record.
    pub(crate) fn row(&self, table: Table, key: &[u8]) -> Vec<u8> {
        let shown = readable(table, key);
        let mut row = Vec::with_capacity(ROW_KEY_ROOM + shown);
        row.push(table.number());
        row.extend_from_slice(key.get(..shown).unwrap_or_default());
        if shown < key.len() {
            let hash = self.names.clone().chain_update([table.number()]).chain_update(key).finalize();
            row.extend(hash.into_bytes().iter().take(HASH));
        }
        row
    }

    /// The row's value of a record.
    fn value(&self, row: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut plain = Zeroizing::new(Vec::with_capacity(2 + key.len() + value.len()));
        // At most RECORD_KEY_MAX, which has been checked.
        plain.extend(u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes());
        plain.extend_from_slice(key);
        plain.extend_from_slice(value);
        self.values.seal(row, &plain)
    }

    /// Key and value of the record in a row; `None` where the row is not what this key sealed there.
    pub(crate) fn open(&self, row: &[u8], sealed: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let plain = self.values.open(row, sealed)?;
        let (length, rest) = plain.split_first_chunk()?;
        let (key, value) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        Some((key.to_vec(), value.to_vec()))
    }

    /// The proof that a store is under this key.
    pub(crate) fn proof(&self) -> RecordOp {
        RecordOp::Put { table: Table::Vault, key: PROOF.to_vec(), value: self.value(PROOF, &[], &[]) }
    }

    pub(crate) fn seal_state(&self, name: &str, value: &[u8]) -> Vec<u8> {
        self.states.seal(name.as_bytes(), value)
    }

    pub(crate) fn open_state(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        self.states.open(name.as_bytes(), sealed).map(|plain| plain.to_vec())
    }

    /// The same transaction for the engine.
    pub(crate) fn seal(&self, transaction: Transaction) -> Result<Transaction, StoreError> {
        let records = transaction.records.into_iter().map(|op| self.seal_record(op));
        let ops = transaction.ops.into_iter().map(|op| match op {
            StoreOp::SetState { key, value } if !value.is_empty() => {
                let value = self.seal_state(&key, &value);
                StoreOp::SetState { key, value }
            }
            op => op,
        });
        Ok(Transaction { ops: ops.collect(), records: records.collect::<Result<_, _>>()? })
    }

    fn seal_record(&self, op: RecordOp) -> Result<RecordOp, StoreError> {
        op.check()?;
        Ok(match op {
            RecordOp::Put { table, key, value } => {
                let row = self.row(table, &key);
                let (value, _plain) = (self.value(&row, &key, &value), Zeroizing::new(value));
                RecordOp::Put { table: Table::Vault, key: row, value }
            }
            RecordOp::Delete { table, key } => {
                RecordOp::Delete { table: Table::Vault, key: self.row(table, &key) }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn sealer(byte: u8) -> RecordSealer {
        RecordSealer::new(StoreKey::new(Zeroizing::new([byte; 32])))
    }

    fn put(table: Table, key: &[u8]) -> RecordOp {
        RecordOp::Put { table, key: key.to_vec(), value: b"no soup for you".to_vec() }
    }

    fn row_of(op: RecordOp) -> (Vec<u8>, Vec<u8>) {
        match op {
            RecordOp::Put { table: Table::Vault, key, value } => (key, value),
            op => panic!("{op:?}"),
        }
    }

    #[test]
    fn a_value_opens_at_its_own_key_only() {
        let (row, value) = row_of(sealer(1).seal_record(put(Table::Contact, &[7; 32])).unwrap());
        let (other, _) = row_of(sealer(1).seal_record(put(Table::Contact, &[8; 32])).unwrap());
        let (elsewhere, _) = row_of(sealer(1).seal_record(put(Table::SeenMessage, &[7; 32])).unwrap());
        assert_eq!(sealer(1).open(&row, &value).unwrap(), (vec![7; 32], b"no soup for you".to_vec()));
        for wrong in [&other, &elsewhere, &PROOF.to_vec()] {
            assert_ne!(wrong, &row);
            assert!(sealer(1).open(wrong, &value).is_none());
        }
        assert!(sealer(2).open(&row, &value).is_none());
    }

    #[test]
    fn rows_show_kinds_numbers_and_times_but_nobody() {
        let sealer = sealer(1);
        let author = [0xaa; 32];
        let identifying: [(Table, Vec<u8>); 6] = [
            (Table::Contact, author.to_vec()),
            (Table::SeenMessage, author.to_vec()),
            (Table::Inbox, [b"i".as_slice(), &[0x11; 16], &author].concat()),
            (Table::Attachment, [b"h".as_slice(), &author, &[0x11; 16]].concat()),
            (Table::Meta, b"bridge:aaaaaaaa.example.org".to_vec()),
            (Table::BridgeRegistration, b"aaaaaaaa@example.org".to_vec()),
        ];
        for (table, key) in identifying {
            let row = sealer.row(table, &key);
            let shows = row.windows(4).any(|window| window == [0xaa; 4] || window == b"aaaa");
            assert!(!shows, "{table:?}: {row:?}");
            assert!(row.len() <= key.len() + ROW_KEY_ROOM);
        }
        let sequence = [b"m".as_slice(), &7_u64.to_be_bytes()].concat();
        assert_eq!(sealer.row(Table::Inbox, &sequence), [&[3], sequence.as_slice()].concat());
    }

    #[test]
    fn what_keys_begin_with_still_leads_to_them() {
        let sealer = sealer(1);
        for (table, prefix, rest) in [
            (Table::Meta, b"one-time:".to_vec(), vec![1; 32]),
            (Table::Inbox, [b"i".as_slice(), &[2; 16]].concat(), vec![3; 32]),
            (Table::Attachment, b"h".to_vec(), vec![4; 48]),
            (Table::Bridge, [b"c".as_slice(), &[5; 32]].concat(), vec![6; 32]),
        ] {
            let row = sealer.row(table, &[prefix.clone(), rest].concat());
            assert!(row.starts_with(&sealer.row(table, &prefix)), "{table:?}");
        }
    }
}
