//! What leaves the mailbox: by the user's hand, by the time that messages are kept, by the end of their bundles.

use pigeon_bundle::{BundleId, IdentityKey, MessageId};
use pigeon_core::Catalog as _;
use pigeon_store::{RecordOp, Store, StoreError, Table, Transaction};

use super::records::{InboxRecord, MessageTable, OutboxRecord, SeenRecord};
use super::views::{SKEW_S, word};
use super::{INBOX, Mailbox, MailboxError, OUTBOX};

/// Rows looked at in one go, and messages deleted in one transaction.
const PAGE: usize = 64;
const DAY_MS: u64 = 86_400_000;
/// There since every row that the present program looks for is written.
const ROWS: &[u8] = b"rows";
/// Which rows those are.
const ROWS_VERSION: u8 = 1;

/// Where a message was that is deleted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It was received.
    Inbox,
    /// It was sent.
    Outbox,
}

impl Mailbox {
    /// Deletes a message received, with what is attached, or one sent that nobody carries any more.
    ///
    /// # Errors
    /// No such message, one still on its way, or a failing store.
    pub async fn delete(&self, id: &str) -> Result<Deleted, MailboxError> {
        let unknown = || MailboxError::NotKept { id: id.to_owned() };
        let message: MessageId = id.parse().map_err(|_| unknown())?;
        let keeping = self.keeping.lock().await;
        if let Some((sequence, record)) = INBOX.by_message::<InboxRecord>(&self.store, &message)? {
            self.delete_received(vec![(sequence, record)]).await?;
            return Ok(Deleted::Inbox);
        }
        let (sequence, record) =
            OUTBOX.by_message::<OutboxRecord>(&self.store, &message)?.ok_or_else(unknown)?;
        if !self.is_over(&record)? {
            return Err(MailboxError::OnItsWay { id: id.to_owned() });
        }
        self.store.commit(Transaction::of_records(self.without_sent(sequence, &record))).await?;
        drop(keeping);
        Ok(Deleted::Outbox)
    }

    /// Under the `keeping` lock.
    async fn delete_received(&self, messages: Vec<(u64, InboxRecord)>) -> Result<(), MailboxError> {
        let mut records = Vec::new();
        for (sequence, record) in &messages {
            records.extend(INBOX.delete(*sequence, &record.message_id, &record.author, &record.bundle));
            records.push(INBOX.forget_unread(*sequence));
            records.extend(self.without_attachment(record)?);
        }
        self.store.commit(Transaction::of_records(records)).await?;
        self.unread_changed(messages.iter().filter(|(_, record)| !record.read).count());
        for (_, record) in &messages {
            self.remove_file(record);
        }
        Ok(())
    }

    fn without_sent(&self, sequence: u64, record: &OutboxRecord) -> Vec<RecordOp> {
        let mut records = OUTBOX.delete(sequence, &record.message_id, &self.identity().0, &record.bundle);
        records.push(OUTBOX.forget_open(record.expires_s, sequence));
        records
    }

    /// Whether nothing more can become of a message sent.
    fn is_over(&self, record: &OutboxRecord) -> Result<bool, MailboxError> {
        let state = word(record, false, 0, self.clock.trusted_wall_s());
        let held = match BundleId::try_from(record.bundle.as_slice()) {
            Ok(bundle) => self.store.entry(&bundle)?.is_some(),
            Err(_) => false,
        };
        Ok(state != "waiting" && !held)
    }

    /// Deletes what was kept for as long as the configuration says, forgets which messages were seen once no bundle of
    /// them can be alive, and which of the node's own may be.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_expired(&self) -> Result<(), MailboxError> {
        let Some(now_s) = self.clock.trusted_wall_s() else { return Ok(()) };
        self.prune_one_time(now_s).await?;
        self.forget_seen(now_s).await?;
        self.close_rows(now_s).await?;
        match self.config.inbox.keep_days {
            0 => Ok(()),
            days => self.forget_old(now_s.saturating_mul(1_000), u64::from(days)).await,
        }
    }

    /// By the index of expiry: what is not due costs nothing.
    async fn forget_seen(&self, now_s: u64) -> Result<(), MailboxError> {
        loop {
            let rows = self.store.records(Table::SeenExpiry, None, PAGE)?;
            let due = rows.iter().filter_map(|(key, _)| due_seen(key, now_s));
            let gone: Vec<RecordOp> = due.flatten().collect();
            if gone.is_empty() {
                return Ok(());
            }
            self.store.commit(Transaction::of_records(gone)).await?;
        }
    }

    async fn close_rows(&self, now_s: u64) -> Result<(), MailboxError> {
        loop {
            let _keeping = self.keeping.lock().await;
            let rows = OUTBOX.open(&self.store, None, PAGE)?;
            let over = rows.into_iter().filter(|(expires_s, _)| now_s > expires_s.saturating_add(SKEW_S));
            let gone: Vec<RecordOp> = over.map(|(at, sequence)| OUTBOX.forget_open(at, sequence)).collect();
            if gone.is_empty() {
                return Ok(());
            }
            self.store.commit(Transaction::of_records(gone)).await?;
        }
    }

    /// Sequence numbers rise with time: the first message that stays ends it.
    async fn forget_old(&self, now_ms: u64, days: u64) -> Result<(), MailboxError> {
        let old = |ms: u64| now_ms.saturating_sub(ms) > days.saturating_mul(DAY_MS);
        loop {
            let _keeping = self.keeping.lock().await;
            let oldest = INBOX.oldest::<InboxRecord>(&self.store, PAGE)?;
            let gone: Vec<_> = oldest.into_iter().take_while(|(_, record)| old(record.received_ms)).collect();
            if gone.is_empty() {
                break;
            }
            self.delete_received(gone).await?;
        }
        loop {
            let _keeping = self.keeping.lock().await;
            let mut gone = Vec::new();
            for (sequence, record) in OUTBOX.oldest::<OutboxRecord>(&self.store, PAGE)? {
                if !old(record.sent_ms) || !self.is_over(&record)? {
                    break;
                }
                gone.extend(self.without_sent(sequence, &record));
            }
            if gone.is_empty() {
                return Ok(());
            }
            self.store.commit(Transaction::of_records(gone)).await?;
        }
    }

    /// Writes the rows that records of older programs lack. Once, at the first start.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn upgrade(&self) -> Result<(), MailboxError> {
        if self.store.record(Table::Meta, ROWS)?.is_some_and(|version| version == [ROWS_VERSION]) {
            return Ok(());
        }
        let mut rows = Vec::new();
        for (sequence, record) in INBOX.all::<InboxRecord>(&self.store)? {
            if !record.read {
                rows.push(INBOX.put_unread(sequence));
            }
        }
        for (sequence, record) in OUTBOX.all::<OutboxRecord>(&self.store)? {
            rows.push(OUTBOX.put_open(record.expires_s, sequence));
        }
        rows.extend(seen_rows(&self.store)?);
        for some in rows.chunks(PAGE) {
            self.store.commit(Transaction::of_records(some.to_vec())).await?;
        }
        let done = RecordOp::Put { table: Table::Meta, key: ROWS.to_vec(), value: vec![ROWS_VERSION] };
        self.store.commit(Transaction::of_records(vec![done])).await?;
        let unread = INBOX.unread(&self.store)?;
        self.state().unread = unread;
        Ok(())
    }

    /// So many unread messages less.
    pub(super) fn unread_changed(&self, fewer: usize) {
        let mut state = self.state();
        state.unread = state.unread.saturating_sub(fewer as u64);
    }
}

impl MessageTable {
    /// Removes a record with its indexes.
    fn delete(self, sequence: u64, id: &[u8], author: &[u8], bundle: &[u8]) -> Vec<RecordOp> {
        let mut gone = vec![RecordOp::Delete { table: self.0, key: Self::key(sequence) }];
        if let (Ok(id), Ok(author)) = (id.try_into().map(MessageId), IdentityKey::try_from(author)) {
            gone.push(self.forget_message(&id, &author));
        }
        if let Ok(bundle) = BundleId::try_from(bundle) {
            gone.push(self.forget_bundle(&bundle));
        }
        gone
    }
}

/// The index row of a message seen.
pub(super) fn seen_row(expires_s: u64, message: &[u8; 32]) -> RecordOp {
    let key = [expires_s.to_be_bytes().as_slice(), message].concat();
    RecordOp::Put { table: Table::SeenExpiry, key, value: Vec::new() }
}

/// The removal of a message seen and of its row, once it is due.
fn due_seen(key: &[u8], now_s: u64) -> Option<[RecordOp; 2]> {
    let (expires_s, message) = key.split_first_chunk::<8>()?;
    let due = now_s > u64::from_be_bytes(*expires_s).saturating_add(SKEW_S);
    due.then(|| {
        [
            RecordOp::Delete { table: Table::SeenMessage, key: message.to_vec() },
            RecordOp::Delete { table: Table::SeenExpiry, key: key.to_vec() },
        ]
    })
}

fn seen_rows(store: &Store) -> Result<Vec<RecordOp>, StoreError> {
    let (mut rows, mut after): (_, Option<Vec<u8>>) = (Vec::new(), None);
    loop {
        let page = store.records(Table::SeenMessage, after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(rows) };
        after = Some(last.clone());
        for (key, value) in page {
            if let (Ok(message), Some(seen)) = (key.as_slice().try_into(), SeenRecord::from_bytes(&value)) {
                rows.push(seen_row(seen.expires_s, message));
            }
        }
    }
}
