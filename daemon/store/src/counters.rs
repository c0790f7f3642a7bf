//! What is kept beside the data so that nobody has to count: bytes and bundles by pool, bytes of records, and the
//! number of the last transaction. Written in the same batch as what it counts, so the two never drift apart.

use pigeon_core::{PoolUsage, Usage};

/// Sums over the whole store, and its position in the order of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counters {
    /// Transactions since the store was created.
    pub(crate) transactions: u64,
    /// Bundles by pool.
    pub(crate) usage: Usage,
    /// Bytes of records and of the core's named values, keys included.
    pub(crate) record_bytes: u64,
}

const FIELDS: usize = 10;

impl Counters {
    /// What the quota limits.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.usage.bytes().saturating_add(self.record_bytes)
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let Usage { own, contacts, strangers, newcomers } = self.usage;
        let mut fields = vec![self.transactions, self.record_bytes];
        for pool in [own, contacts, strangers, newcomers] {
            fields.extend([pool.bundles, pool.bytes]);
        }
        fields.iter().flat_map(|field| field.to_be_bytes()).collect()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (fields, rest) = bytes.as_chunks::<8>();
        let fields: [u64; FIELDS] =
            fields.iter().map(|field| u64::from_be_bytes(*field)).collect::<Vec<_>>().try_into().ok()?;
        let [transactions, record_bytes, o0, o1, c0, c1, s0, s1, n0, n1] = fields;
        let pool = |bundles, bytes| PoolUsage { bundles, bytes };
        let usage = Usage {
            own: pool(o0, o1),
            contacts: pool(c0, c1),
            strangers: pool(s0, s1),
            newcomers: pool(n0, n1),
        };
        rest.is_empty().then_some(Self { transactions, usage, record_bytes })
    }
}

/// Bytes of a [`PoolUsage`] of one giver.
pub(crate) fn pool_to_bytes(usage: PoolUsage) -> Vec<u8> {
    [usage.bundles.to_be_bytes(), usage.bytes.to_be_bytes()].concat()
}

/// Reads [`pool_to_bytes`].
pub(crate) fn pool_from_bytes(bytes: &[u8]) -> Option<PoolUsage> {
    let (bundles, rest) = bytes.split_first_chunk::<8>()?;
    let bytes = rest.try_into().ok()?;
    Some(PoolUsage { bundles: u64::from_be_bytes(*bundles), bytes: u64::from_be_bytes(bytes) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_field_comes_back() {
        let pool = |at| PoolUsage { bundles: at, bytes: at * 1000 };
        let usage = Usage { own: pool(1), contacts: pool(2), strangers: pool(3), newcomers: pool(4) };
        let counters = Counters { transactions: 9, usage, record_bytes: 77 };
        assert_eq!(Counters::from_bytes(&counters.to_bytes()), Some(counters));
        assert_eq!(Counters::from_bytes(&counters.to_bytes()[1..]), None);
        assert_eq!(pool_from_bytes(&pool_to_bytes(pool(5))), Some(pool(5)));
        assert_eq!(pool_from_bytes(&[0; 17]), None);
    }
}
