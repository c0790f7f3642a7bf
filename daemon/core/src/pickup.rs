//! Delegated pick-up (PROTOCOL.md section 6): whom we let fetch our mail, for whom we fetch, and what we fetched.
//!
//! A node whose way to the bridge has been gone for a while gives each suitable neighbour a token. A neighbour keeps it,
//! and what the bridge hands out for it enters here, as a bundle with no copies that goes to its recipient by its tag.

use std::collections::BTreeMap;

use pigeon_bundle::{Bundle, BundleId, NodeKey, PICKUP_LIFETIME_MAX_S};
use pigeon_proto::PickupToken;

use crate::action::{Action, StoreOp};
use crate::catalog::BundleMeta;
use crate::commits::Then;
use crate::context::Context;
use crate::core::Core;
use crate::entry::{Entry, HOPS_AT_BIRTH_MAX, Opened, Pool};
use crate::event::{ContactId, LinkId};
use crate::notice::Notice;
use crate::reveal::Source;
use crate::trouble::Flow;

/// The same neighbour gets another token after this: mail may have come to the bridge since.
pub const TOKEN_AGAIN_MS: u64 = 3_600_000;
/// Neighbours that are remembered to have a token.
pub const TOKENS_GIVEN_MAX: usize = 1_024;
/// Tokens taken on one link.
pub const TOKENS_PER_LINK_MAX: u32 = 4;
/// A token may end this much later than a day from now: clocks differ.
const SKEW_S: u64 = 3_600;

/// With whom mail is fetched for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Whom {
    /// Nobody.
    #[default]
    Nobody,
    /// Recognised contacts.
    Contacts,
    /// Whoever links with us.
    Everyone,
}

impl Whom {
    fn includes(self, contact: Option<ContactId>) -> bool {
        match self {
            Self::Nobody => false,
            Self::Contacts => contact.is_some(),
            Self::Everyone => true,
        }
    }
}

/// What this node has asked for.
#[derive(Debug, Default)]
pub(crate) struct Pickups {
    /// When the way to the bridge was lost; `None` while it is there.
    away_since_ms: Option<u64>,
    /// Who has a token, and when that neighbour may have another one.
    given: BTreeMap<NodeKey, u64>,
}

impl Pickups {
    /// The way to the bridge is not there.
    pub(crate) fn away(&mut self, now_ms: u64) {
        self.away_since_ms.get_or_insert(now_ms);
    }

    /// It is there (again): tokens are not needed.
    pub(crate) fn back(&mut self) {
        self.away_since_ms = None;
    }

    fn give(&mut self, node: NodeKey, now_ms: u64) {
        if self.given.len() >= TOKENS_GIVEN_MAX
            && let Some(first) =
                self.given.iter().min_by_key(|(_, again_ms)| **again_ms).map(|(node, _)| *node)
        {
            self.given.remove(&first);
        }
        self.given.insert(node, now_ms + TOKEN_AGAIN_MS);
    }
}

impl Core {
    /// When the next neighbour is due for a token.
    pub(crate) fn pickup_next_ms(&self) -> Option<u64> {
        let from_ms = self.pickups.away_since_ms? + self.config.pickup_wait_ms;
        let due =
            |node: &NodeKey| self.pickups.given.get(node).map_or(from_ms, |again_ms| from_ms.max(*again_ms));
        self.may_fetch_for_us().map(|(_, node)| due(&node)).min()
    }

    fn may_fetch_for_us(&self) -> impl Iterator<Item = (LinkId, NodeKey)> {
        let ask = self.config.pickup_ask;
        let suits = self.sessions.iter().filter(move |(_, session)| ask.includes(session.contact));
        suits.map(|(link, session)| (*link, session.info.node))
    }

    /// Asks the mailbox for a token for each neighbour that is due for one.
    pub(crate) fn pump_pickups(&mut self, cx: &mut Context<'_>) {
        let now_ms = cx.now.mono_ms;
        if self.pickup_next_ms().is_none_or(|due_ms| due_ms > now_ms) {
            return;
        }
        let given = &self.pickups.given;
        let due = |node: &NodeKey| given.get(node).is_none_or(|again_ms| *again_ms <= now_ms);
        let due: Vec<_> = self.may_fetch_for_us().filter(|(_, node)| due(node)).collect();
        for (link, carrier) in due {
            self.pickups.give(carrier, now_ms);
            cx.out.push(Action::IssueToken { link, carrier });
        }
    }

    /// A neighbour lets us fetch its mail. Whoever is not meant by the configuration is not answered.
    pub(crate) fn on_pickup_token(&mut self, cx: &mut Context<'_>, link: LinkId, token: PickupToken) {
        let fetch = self.config.pickup_fetch;
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.tokens_taken += 1;
        let wanted = fetch.includes(session.contact) && session.tokens_taken <= TOKENS_PER_LINK_MAX;
        let last_s = |now_s: u64| now_s + PICKUP_LIFETIME_MAX_S + SKEW_S;
        let alive = cx.now.wall_s.is_none_or(|now_s| (now_s..=last_s(now_s)).contains(&token.expires_s));
        if wanted && alive {
            let (node, own) = (session.info.node, session.info.own);
            cx.notice(Notice::TokenTaken { node });
            cx.out.push(Action::KeepToken { own, token });
        }
    }

    /// The bridge has handed this out for a token. It goes through the checks that a neighbour's bundle goes through.
    pub(crate) fn fetched(&mut self, cx: &mut Context<'_>, bundle: Bundle) -> Flow {
        let (id, meta) = (bundle.id(), BundleMeta::of(&bundle));
        if self.tombstones.is_dead(&id).is_some()
            || self.tombstone(cx, &meta.commitment)?.is_some()
            || self.entry(cx, &id)?.is_some()
            || self.is_receiving(&id)
        {
            return Ok(());
        }
        let entry = Entry {
            copies: 0,
            pool: Pool::Contact,
            giver: None,
            newcomer: false,
            hops: HOPS_AT_BIRTH_MAX,
            age_s: 0,
            received_wall_s: cx.now.wall_s,
            received_run_s: self.clock.run_s(cx.now),
            best_quality: 0,
            moves: 0,
            // The bridge has it: no upload, no spray, and first to go where room is needed.
            at_bridge: true,
            refused_by_bridge: false,
            opened: Opened::No,
            brought: false,
        };
        if self.clock.expired(cx.now, &meta, &entry) {
            return Ok(());
        }
        let ours = self.own_tags.contains(&meta.tag);
        let Some(mut ops) = self.room_for(cx, Pool::Contact, u64::from(meta.size), ours)? else {
            return Ok(());
        };
        ops.push(StoreOp::Put { bundle, entry });
        self.evict(cx, ops, Then::Fetched { bundle: id });
        Ok(())
    }

    /// What was fetched is durable: neighbours may hear of it.
    pub(crate) fn fetched_durably(&mut self, cx: &mut Context<'_>, id: BundleId) -> Flow {
        let Some(meta) = cx.catalog.meta(&id)? else { return Ok(()) };
        cx.notice(Notice::Fetched { bundle: id });
        if let Some(reveal) = self.tombstone(cx, &meta.commitment)? {
            return self.learn(cx, reveal, Source::Mailbox);
        }
        if self.own_tags.contains(&meta.tag) {
            self.opening.push(id);
            self.pump_openings(cx)?;
        }
        self.announce(cx, id, &meta, None);
        Ok(())
    }
}
