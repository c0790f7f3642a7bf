//! Who has carried how much for us, and we for them: the balance orders service, and nothing else. It is never told
//! to anybody, and it fades, so that nobody lives off old merits or is shut out for old debts.

use std::collections::BTreeMap;

use pigeon_bundle::NodeKey;

use crate::event::ContactId;

/// Half of a balance is gone after so many seconds.
pub(crate) const HALF_LIFE_S: u64 = 86_400;
/// Neighbours whose balance is kept; the one nearest to zero gives way.
pub const LEDGER_MAX: usize = 512;
/// Name of the kept state.
pub(crate) const STATE_KEY: &str = "ledger";

const VERSION: u8 = 1;
const RECORD_SIZE: usize = 1 + 32 + 8 + 8;

/// Whose account: a contact's under all its node keys, a stranger's under the one it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Party {
    Contact(ContactId),
    Node(NodeKey),
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Account {
    /// Bytes carried for us less bytes carried for them.
    balance: f64,
    at_s: u64,
}

impl Account {
    #[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^52")]
    fn at(self, time_s: u64) -> f64 {
        let passed_s = time_s.saturating_sub(self.at_s);
        self.balance * (-(passed_s as f64) / HALF_LIFE_S as f64).exp2()
    }
}

/// The accounts.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    accounts: BTreeMap<Party, Account>,
    changed: bool,
}

impl Ledger {
    /// They hold something of ours now.
    pub(crate) fn credit(&mut self, time_s: u64, party: Party, bytes: u32) {
        self.add(time_s, party, f64::from(bytes));
    }

    /// We hold something of theirs now.
    pub(crate) fn debit(&mut self, time_s: u64, party: Party, bytes: u32) {
        self.add(time_s, party, -f64::from(bytes));
    }

    fn add(&mut self, time_s: u64, party: Party, bytes: f64) {
        if self.accounts.len() >= LEDGER_MAX && !self.accounts.contains_key(&party) {
            self.forget_least(time_s);
        }
        let balance = self.balance(time_s, party) + bytes;
        self.accounts.insert(party, Account { balance, at_s: time_s });
        self.changed = true;
    }

    fn forget_least(&mut self, time_s: u64) {
        let size = |account: &Account| account.at(time_s).abs();
        let least = self.accounts.iter().min_by(|a, b| size(a.1).total_cmp(&size(b.1)));
        if let Some(party) = least.map(|(party, _)| *party) {
            self.accounts.remove(&party);
        }
    }

    /// Bytes; positive: they have carried more for us.
    pub(crate) fn balance(&self, time_s: u64, party: Party) -> f64 {
        self.accounts.get(&party).map_or(0.0, |account| account.at(time_s))
    }

    /// Whether there is something new to keep; it counts as kept then.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Bytes to keep.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for (party, account) in &self.accounts {
            let mut name = [0; 32];
            match party {
                Party::Contact(contact) => name[..8].copy_from_slice(&contact.0.to_be_bytes()),
                Party::Node(node) => name = node.0,
            }
            out.push(u8::from(matches!(party, Party::Node(_))));
            out.extend(name);
            out.extend(account.balance.to_bits().to_be_bytes());
            out.extend(account.at_s.to_be_bytes());
        }
        out
    }

    /// What was kept; nothing where it does not read (it only orders service).
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let Some((&[VERSION], rest)) = bytes.split_first_chunk::<1>() else { return Self::default() };
        let accounts = rest.as_chunks::<RECORD_SIZE>().0.iter().take(LEDGER_MAX).filter_map(account);
        Self { accounts: accounts.collect(), changed: false }
    }
}

fn account(record: &[u8; RECORD_SIZE]) -> Option<(Party, Account)> {
    let (kind, rest) = record.split_first()?;
    let (name, rest) = rest.split_first_chunk::<32>()?;
    let (bits, at) = rest.split_first_chunk::<8>()?;
    let party = match kind {
        0 => Party::Contact(ContactId(u64::from_be_bytes(*name.first_chunk()?))),
        _ => Party::Node(NodeKey(*name)),
    };
    let balance = f64::from_bits(u64::from_be_bytes(*bits));
    let at_s = u64::from_be_bytes(at.try_into().ok()?);
    balance.is_finite().then_some((party, Account { balance, at_s }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::STATE_VALUE_MAX;

    fn node(n: u16) -> Party {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&n.to_be_bytes());
        Party::Node(NodeKey(key))
    }

    #[test]
    fn balances_fade_and_survive() {
        let mut ledger = Ledger::default();
        ledger.credit(0, node(1), 1000);
        ledger.debit(0, Party::Contact(ContactId(7)), 300);
        assert!((ledger.balance(HALF_LIFE_S, node(1)) - 500.0).abs() < 1e-6);
        let kept = Ledger::from_bytes(&ledger.to_bytes());
        assert_eq!(kept.accounts, ledger.accounts);
        assert!(Ledger::from_bytes(&[7; 60]).accounts.is_empty());
    }

    #[test]
    fn the_ledger_is_bounded_and_keeps_who_matters() {
        let mut ledger = Ledger::default();
        ledger.credit(0, node(9999), 1_000_000);
        for n in 0..2000 {
            ledger.debit(0, node(n), 10);
        }
        assert_eq!(ledger.accounts.len(), LEDGER_MAX);
        assert!(ledger.balance(0, node(9999)) > 0.0);
        assert!(ledger.to_bytes().len() <= STATE_VALUE_MAX);
    }
}
