//! Catching up from the account's archive (XEP-0313) after having been away: what neither stream management nor the
//! offline store has handed over. It enters by the same door as what comes live, which knows each message by P.

use pigeon_bundle::context;
use pigeon_store::{RecordOp, Store, StoreError, Table, Transaction};
use pigeon_xmpp::ArchiveStart;

/// Pages read in one session; the next session goes on from there.
pub(super) const PAGES_MAX: u32 = 512;
/// No bundle lives longer: without a place to go on from, the archive is read from so long ago, milliseconds.
const PAST_MS: u64 = 31 * 86_400_000;
/// Live messages whose place in the archive is kept together.
const LIVE_STEP: u32 = 16;
/// Longest name of a place that is kept, bytes.
const ID_BYTES_MAX: usize = 1_024;

const PREFIX: u8 = b'a';

/// Where in one account's archive everything up to there has been taken.
pub(super) struct Archive {
    store: Store,
    key: Vec<u8>,
    at: Option<String>,
    /// Nothing older is missing: live messages may move the place.
    caught_up: bool,
    live: u32,
    pages: u32,
}

impl Archive {
    /// Reads the place that is kept for the account `jid`.
    pub(super) fn new(store: Store, jid: &str) -> Self {
        let digest = context::sha256("archive-place", &[jid.as_bytes()]);
        let key = [&[PREFIX], &digest[..16]].concat();
        let kept = store.record(Table::Uplink, &key).unwrap_or_else(|error| {
            tracing::warn!(%error, "the place in the archive cannot be read; it is read from the start");
            None
        });
        let at = kept.and_then(|bytes| String::from_utf8(bytes).ok());
        Self { store, key, at, caught_up: false, live: 0, pages: 0 }
    }

    /// A session begins: the archive may have grown.
    pub(super) fn begin(&mut self) {
        (self.caught_up, self.pages) = (false, 0);
    }

    /// Where the next page begins.
    pub(super) fn start(&self, now_ms: u64) -> ArchiveStart {
        match &self.at {
            Some(id) => ArchiveStart::After(id.clone()),
            None => ArchiveStart::Time(now_ms.saturating_sub(PAST_MS)),
        }
    }

    /// A page was taken, all of it durable. Says whether there is another one to ask for.
    pub(super) async fn taken(&mut self, last: Option<String>, complete: bool) -> Result<bool, StoreError> {
        self.pages += 1;
        let moved = last.is_some();
        if let Some(last) = last {
            self.keep(last).await?;
        }
        // A server that never says that it is complete, and never moves on, would be asked for ever.
        self.caught_up = complete || !moved;
        Ok(!self.caught_up && self.pages < PAGES_MAX)
    }

    /// The server does not know the place any more.
    pub(super) fn lost(&mut self) -> bool {
        self.at.take().is_some()
    }

    /// A live message was taken, and is durable.
    pub(super) async fn live(&mut self, id: String) -> Result<(), StoreError> {
        if !self.caught_up {
            return Ok(());
        }
        self.live += 1;
        if self.live >= LIVE_STEP {
            return self.keep(id).await;
        }
        self.at = Some(id);
        Ok(())
    }

    /// The session ends: the place of the last live message is kept.
    pub(super) async fn end(&mut self) -> Result<(), StoreError> {
        match self.at.clone() {
            Some(at) if self.live > 0 => self.keep(at).await,
            _ => Ok(()),
        }
    }

    async fn keep(&mut self, id: String) -> Result<(), StoreError> {
        if id.len() > ID_BYTES_MAX {
            return Ok(());
        }
        self.live = 0;
        let put =
            RecordOp::Put { table: Table::Uplink, key: self.key.clone(), value: id.clone().into_bytes() };
        self.at = Some(id);
        self.store.commit(Transaction::of_records(vec![put])).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use pigeon_store::StoreOptions;

    use super::*;

    #[tokio::test]
    async fn the_place_moves_with_pages_then_with_live_messages_and_survives() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let mut archive = Archive::new(store.clone(), "jerry@h");
        assert_eq!(archive.start(PAST_MS + 5), ArchiveStart::Time(5));
        assert!(archive.taken(Some("a1".to_owned()), false).await.unwrap());
        // Live messages before that do not hide what is still missing.
        archive.live("z9".to_owned()).await.unwrap();
        assert_eq!(archive.start(0), ArchiveStart::After("a1".to_owned()));
        assert!(!archive.taken(Some("a2".to_owned()), true).await.unwrap());
        archive.live("a3".to_owned()).await.unwrap();
        archive.end().await.unwrap();
        let mut again = Archive::new(store.clone(), "jerry@h");
        assert_eq!(again.start(0), ArchiveStart::After("a3".to_owned()));
        assert!(again.lost() && !again.lost());
        assert_eq!(Archive::new(store, "newman@h").start(0), ArchiveStart::Time(0));
    }

    #[tokio::test]
    async fn a_server_without_end_is_not_asked_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let mut archive = Archive::new(store, "jerry@h");
        assert!(!archive.taken(None, false).await.unwrap(), "an empty page that is not the last");
        archive.begin();
        let mut pages = 1;
        while archive.taken(Some(format!("a{pages}")), false).await.unwrap() {
            pages += 1;
        }
        assert_eq!(pages, PAGES_MAX);
    }
}
