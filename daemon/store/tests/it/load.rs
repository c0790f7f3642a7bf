//! What the crash tests write, and what the store must still have of it.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;

use pigeon_bundle::BundleId;
use pigeon_core::{Catalog, RemovalReason, StoreOp};
use pigeon_store::{RecordOp, Store, Table};

use crate::support::{Mint, agree, node, put};

/// Transactions kept on their way.
const IN_FLIGHT: usize = 24;

/// Puts `count` bundles, each with a record of the same name and a taker, and removes some again. Says `held ID` once
/// acknowledged, and `going ID` before a removal is asked for.
pub(crate) async fn commit(store: &Store, mint: &mut Mint, count: u64, mut say: impl Write) {
    let mut waiting = VecDeque::new();
    let mut held = Vec::new();
    for _ in 0..count {
        let content = [40, 40, 40, 3_000, 30_000][mint.numbers.below(5) as usize];
        let (bundle, reveal) = mint.bundle(0, 0, content);
        let id = bundle.id();
        let mut transaction = put(&bundle, mint.numbers.next());
        transaction.ops.push(StoreOp::AddTaker { id, taker: node(4) });
        let record = RecordOp::Put { table: Table::Outbox, key: id.0.to_vec(), value: vec![1; content] };
        transaction.records.push(record);
        if mint.numbers.below(4) == 0 && !held.is_empty() {
            let id: BundleId = held.swap_remove(mint.numbers.below(held.len() as u64) as usize);
            say.write_all(format!("going {id}\n").as_bytes()).unwrap();
            transaction.ops.push(StoreOp::Remove { id, reason: RemovalReason::Tombstoned });
            transaction.ops.push(StoreOp::Tombstone { reveal, expires_s: 9 });
            transaction.records.push(RecordOp::Delete { table: Table::Outbox, key: id.0.to_vec() });
        }
        waiting.push_back((id, store.commit(transaction)));
        if waiting.len() >= IN_FLIGHT
            && let Some((id, answer)) = waiting.pop_front()
        {
            answer.await.unwrap();
            say.write_all(format!("held {id}\n").as_bytes()).unwrap();
            say.flush().unwrap();
            held.push(id);
        }
    }
}

/// What was said: true while a bundle must be there, false once its removal was on its way.
#[derive(Debug, Default, Clone)]
pub(crate) struct Told(BTreeMap<BundleId, bool>);

impl Told {
    /// Takes a line in; true if it says something new. The last line of someone who died may be cut.
    pub(crate) fn note(&mut self, line: &str) -> bool {
        let mut words = line.split(' ');
        let (word, id) = (words.next(), words.next().and_then(|id| id.parse().ok()));
        match (word, id) {
            (Some("held"), Some(id)) => self.0.insert(id, true).is_none(),
            (Some("going"), Some(id)) => self.0.insert(id, false).is_none(),
            _ => false,
        }
    }

    /// Bundles that must be there.
    pub(crate) fn held(&self) -> impl Iterator<Item = &BundleId> {
        self.0.iter().filter(|(_, held)| **held).map(|(id, _)| id)
    }
}

/// All that was acknowledged is there, and what was written together is there together.
pub(crate) fn check(store: &Store, told: &Told, what: &str) {
    agree(store);
    for id in told.held() {
        assert!(store.bundle(id).unwrap().is_some(), "{what}: {id} is gone");
        assert!(store.record(Table::Outbox, &id.0).unwrap().is_some(), "{what}: the record of {id} is gone");
        assert_eq!(store.takers(id).unwrap(), [node(4)], "{what}");
    }
    for (id, _) in store.page(None, usize::MAX).unwrap() {
        assert!(store.record(Table::Outbox, &id.0).unwrap().is_some(), "{what}: half of {id}");
    }
    let records = store.records(Table::Outbox, None, usize::MAX).unwrap().len() as u64;
    assert_eq!(records, store.usage().unwrap().bundles(), "{what}");
}
