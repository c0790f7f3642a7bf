//! Tokens by which neighbours may fetch this node's mail from the bridge (PROTOCOL.md section 6).

use pigeon_bundle::{NodeKey, PICKUP_LIFETIME_MAX_S, PICKUP_TAGS_MAX, PickupTerms, seal_pickup};
use pigeon_proto::PickupToken;

use super::Mailbox;
use super::send::random;
use crate::random::OsRandom;

impl Mailbox {
    /// A token for the neighbour with this node key; good for a day, or as long as bridges allow. `None` where there is
    /// no account, no bridge whose card is pinned, or no clock to say when the token ends.
    pub fn issue_token(&self, carrier: NodeKey) -> Option<PickupToken> {
        let account = self.config.account.as_ref()?;
        let now_s = self.clock.trusted_wall_s()?;
        let expires_s = now_s + PICKUP_LIFETIME_MAX_S;
        let (bridge, tags) = {
            let state = self.state();
            (state.bridge.clone()?, state.own.newest_tags(now_s, PICKUP_TAGS_MAX))
        };
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
