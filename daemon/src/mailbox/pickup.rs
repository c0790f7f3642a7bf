//! Tokens by which neighbours may fetch this node's mail from the bridge (PROTOCOL.md section 6).

use pigeon_bundle::{NodeKey, PICKUP_LIFETIME_MAX_S, PICKUP_TAGS_MAX, PickupTerms, seal_pickup};
use pigeon_proto::PickupToken;

use super::Mailbox;
use super::send::random;
use crate::config::Account;
use crate::random::OsRandom;

impl Mailbox {
    /// Tokens for the neighbour with this node key, one for each bridge that mail may wait at; good for a day. None where
    /// there is no account, no bridge whose card is pinned, or no clock to say when a token ends.
    pub fn issue_tokens(&self, carrier: NodeKey) -> Vec<PickupToken> {
        let Some(now_s) = self.clock.trusted_wall_s() else { return Vec::new() };
        let entries = self.accounts.all();
        entries.iter().filter_map(|entry| self.issue_token(carrier, &entry.account, now_s)).collect()
    }

    fn issue_token(&self, carrier: NodeKey, account: &Account, now_s: u64) -> Option<PickupToken> {
        let expires_s = now_s + PICKUP_LIFETIME_MAX_S;
        let bridge = self.bridge(&account.bridge)?;
        let terms = PickupTerms {
            recipient: account.jid.clone(),
            tags: self.state().own.newest_tags(now_s, PICKUP_TAGS_MAX),
            carrier,
            nonce: random(),
            expires_s,
            byte_limit: self.config.pickup.bytes,
        };
        match seal_pickup(&self.identity, &terms, &bridge, &mut OsRandom) {
            Ok(token) => {
                Some(PickupToken { domain: bridge.domain().to_owned(), token: token.into(), expires_s })
            }
            Err(error) => {
                tracing::warn!(%error, "no token can be made for a neighbour");
                None
            }
        }
    }
}
