//! Tokens by which neighbours may fetch this node's mail from the bridge (PROTOCOL.md section 6).

use pigeon_bundle::{
    NodeKey, NodeSecret, PICKUP_LIFETIME_MAX_S, PICKUP_TAGS_MAX, PickupRequest, PickupTerms, Tag, seal_pickup,
};
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
        let tags = self.state().own.newest_tags(now_s, PICKUP_TAGS_MAX);
        let tokens =
            entries.iter().map(|entry| self.issue_token(carrier, &entry.account, now_s, tags.clone()));
        tokens.flatten().collect()
    }

    /// A request by which the account itself fetches what waits for it: made out to a key that nobody has had before and
    /// nobody will have again, for a tag that is nobody's. The bridge learns neither key nor tag of this node. `None` as
    /// for [`Mailbox::issue_tokens`].
    pub fn own_request(&self, account: &Account) -> Option<Vec<u8>> {
        let now_s = self.clock.trusted_wall_s()?;
        let bridge = self.bridge(&account.bridge)?;
        let carrier = NodeSecret::generate(&mut OsRandom);
        let token = self.issue_token(carrier.key(), account, now_s, vec![Tag(random())])?.token.to_vec();
        let request = PickupRequest::sign(&carrier, token, bridge.domain(), bridge.key(), &account.jid);
        request.map(|request| request.to_bytes()).ok()
    }

    fn issue_token(
        &self,
        carrier: NodeKey,
        account: &Account,
        now_s: u64,
        tags: Vec<Tag>,
    ) -> Option<PickupToken> {
        let expires_s = now_s + PICKUP_LIFETIME_MAX_S;
        let bridge = self.bridge(&account.bridge)?;
        let terms = PickupTerms {
            recipient: account.jid.clone(),
            tags,
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
