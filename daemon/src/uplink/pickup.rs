//! Tokens that neighbours have given us: kept until they are handed in to their bridge, or expire.

use pigeon_bundle::{BridgeCard, NodeSecret, PickupError, PickupRequest, context};
use pigeon_proto::PickupToken;
use pigeon_store::{RecordOp, Store, StoreError, Table, Transaction};
use prost::Message as _;

/// Most tokens that wait. They are for a day: more would mean a neighbour that does not keep to the rules.
pub(super) const TOKENS_MAX: usize = 256;

const PREFIX: u8 = b'p';

/// The name of one token in the store.
pub(super) type TokenKey = Vec<u8>;

/// A request that is ready to be handed in.
#[derive(Clone, PartialEq, prost::Message)]
struct KeptToken {
    #[prost(bytes = "vec", tag = "1")]
    request: Vec<u8>,
    /// The account that it was signed for.
    #[prost(string, tag = "2")]
    jid: String,
    #[prost(uint64, tag = "3")]
    expires_s: u64,
}

/// Why a token is not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    /// The token is none.
    #[error(transparent)]
    Token(#[from] PickupError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store cannot be read.
    #[error(transparent)]
    Catalog(#[from] pigeon_core::CatalogError),
    /// There are too many.
    #[error("{TOKENS_MAX} tokens of neighbours wait already")]
    TooMany,
}

/// The tokens in the store that one account can hand in.
#[derive(Clone)]
pub(super) struct Tokens {
    store: Store,
    jid: String,
}

impl Tokens {
    pub(super) fn new(store: Store, jid: String) -> Self {
        Self { store, jid }
    }

    /// Signs a request for the token, now: the node key may have changed before the bridge can be reached. Durable on
    /// return.
    pub(super) async fn keep(
        &self,
        carrier: &NodeSecret,
        token: PickupToken,
        bridge: &BridgeCard,
    ) -> Result<(), KeepError> {
        let PickupToken { token, expires_s, .. } = token;
        let key = key(&token);
        let request = PickupRequest::sign(carrier, token.to_vec(), bridge.domain(), bridge.key(), &self.jid)?;
        if self.store.records(Table::Uplink, Some(&[PREFIX]), TOKENS_MAX)?.len() >= TOKENS_MAX {
            return Err(KeepError::TooMany);
        }
        let kept = KeptToken { request: request.to_bytes(), jid: self.jid.clone(), expires_s };
        let put = RecordOp::Put { table: Table::Uplink, key, value: kept.encode_to_vec() };
        Ok(self.store.commit(Transaction::of_records(vec![put])).await?)
    }

    /// Requests that this account can hand in; what has expired or cannot be read is removed.
    pub(super) async fn waiting(&self, now_s: Option<u64>) -> Result<Vec<(TokenKey, Vec<u8>)>, KeepError> {
        let (mut waiting, mut over) = (Vec::new(), Vec::new());
        for (key, value) in self.store.records(Table::Uplink, Some(&[PREFIX]), TOKENS_MAX)? {
            match KeptToken::decode(value.as_slice()) {
                Ok(kept) if now_s.is_none_or(|now_s| kept.expires_s > now_s) => {
                    if kept.jid == self.jid {
                        waiting.push((key, kept.request));
                    }
                }
                _ => over.push(RecordOp::Delete { table: Table::Uplink, key }),
            }
        }
        if !over.is_empty() {
            self.store.commit(Transaction::of_records(over)).await?;
        }
        Ok(waiting)
    }

    /// It was handed in.
    pub(super) async fn remove(&self, key: TokenKey) -> Result<(), KeepError> {
        let delete = RecordOp::Delete { table: Table::Uplink, key };
        Ok(self.store.commit(Transaction::of_records(vec![delete])).await?)
    }
}

fn key(token: &[u8]) -> TokenKey {
    let digest = context::sha256("pickup-kept", &[token]);
    [&[PREFIX], &digest[..16]].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use pigeon_bundle::{BridgeCardFields, BridgeIdentity};
    use pigeon_store::StoreOptions;

    use super::*;
    use crate::random::OsRandom;

    fn token(n: u8, expires_s: u64) -> PickupToken {
        PickupToken { domain: "bridge.h".to_owned(), token: vec![n; 100].into(), expires_s }
    }

    #[tokio::test]
    async fn tokens_wait_for_their_account_until_they_are_handed_in_or_over() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let bridge = BridgeIdentity::generate(&mut OsRandom);
        let fields =
            BridgeCardFields { domain: "bridge.h".to_owned(), issued_s: 1, expires_s: 2, shards: Vec::new() };
        let card = BridgeCard::issue(&bridge, &fields).unwrap();
        let node = NodeSecret::generate(&mut OsRandom);
        let kramer = Tokens::new(store.clone(), "kramer@h".to_owned());
        let newman = Tokens::new(store, "newman@h".to_owned());
        kramer.keep(&node, token(1, 100), &card).await.unwrap();
        kramer.keep(&node, token(1, 100), &card).await.unwrap();
        newman.keep(&node, token(2, 200), &card).await.unwrap();
        let waiting = kramer.waiting(Some(50)).await.unwrap();
        assert_eq!(waiting.len(), 1);
        let request = PickupRequest::parse(&waiting[0].1).unwrap();
        assert_eq!(request.verify("bridge.h", card.key(), "kramer@h", &node.key()), Ok(()));
        assert_eq!(kramer.waiting(Some(100)).await.unwrap(), [], "over");
        assert_eq!(kramer.waiting(None).await.unwrap(), [], "and removed");
        let (key, _) = newman.waiting(Some(100)).await.unwrap().remove(0);
        newman.remove(key).await.unwrap();
        assert_eq!(newman.waiting(None).await.unwrap(), []);
    }

    #[tokio::test]
    async fn their_number_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let puts = (0..TOKENS_MAX).map(|n| RecordOp::Put {
            table: Table::Uplink,
            key: key(&n.to_be_bytes()),
            value: KeptToken { request: vec![1], jid: "kramer@h".to_owned(), expires_s: 9 }.encode_to_vec(),
        });
        store.commit(Transaction::of_records(puts.collect())).await.unwrap();
        let bridge = BridgeIdentity::generate(&mut OsRandom);
        let fields =
            BridgeCardFields { domain: "bridge.h".to_owned(), issued_s: 1, expires_s: 2, shards: Vec::new() };
        let card = BridgeCard::issue(&bridge, &fields).unwrap();
        let kramer = Tokens::new(store, "kramer@h".to_owned());
        let node = NodeSecret::generate(&mut OsRandom);
        assert!(matches!(kramer.keep(&node, token(1, 9), &card).await, Err(KeepError::TooMany)));
        assert_eq!(kramer.waiting(Some(1)).await.unwrap().len(), TOKENS_MAX);
    }
}
