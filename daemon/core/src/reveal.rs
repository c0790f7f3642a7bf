//! A delivery becomes known: the tombstone is stored, the bundles go, neighbours and the bridge hear of it.

use pigeon_bundle::{BundleId, Commitment, DAY_S, LIFETIME_MAX_S, Reveal};
use pigeon_proto::{Frame, REVEAL_LIST_MAX};

use crate::action::{Action, RemovalReason, StoreOp};
use crate::commits::Then;
use crate::context::Context;
use crate::core::Core;
use crate::event::LinkId;
use crate::fault::Fault;
use crate::notice::Notice;
use crate::tombstones::{self, ForBridge, REVEALS_PER_REQUEST_MAX};
use crate::trouble::Flow;

/// A tombstone outlives its bundles by this much, for clocks that differ.
pub(crate) const SKEW_S: u64 = DAY_S;

/// Where an r comes from, which decides how much it is trusted and who hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// This node is the recipient: links and the bridge hear of it after a random delay.
    Recipient,
    /// The bridge, or a receipt of ours.
    Mailbox,
    /// This node wrote the message and cancels it: links hear of it at once, the bridge is told like by a recipient.
    Author,
    /// A neighbour.
    Link(LinkId),
}

impl Core {
    pub(crate) fn revealed(&mut self, cx: &mut Context<'_>, reveals: &[Reveal], source: Source) -> Flow {
        reveals.iter().try_for_each(|reveal| self.learn(cx, *reveal, source))
    }

    /// The r of a commitment, if it is known in any way.
    pub(crate) fn tombstone(&self, cx: &Context<'_>, commitment: &Commitment) -> Flow<Option<Reveal>> {
        Ok(self.reveal_of(cx.catalog, commitment)?)
    }

    pub(crate) fn learn(&mut self, cx: &mut Context<'_>, reveal: Reveal, source: Source) -> Flow {
        if self.has_fault(Fault::TombstoneIgnored) && source != Source::Recipient {
            return Ok(());
        }
        let commitment = reveal.commitment();
        let known = self.tombstone(cx, &commitment)?.is_some();
        let killed = self.killed(cx, &commitment)?;
        if known && killed.is_empty() {
            return Ok(());
        }
        let durable = !killed.is_empty() || !matches!(source, Source::Link(_));
        if !durable && !self.keep_others(cx, reveal, source) {
            return Ok(());
        }
        if durable {
            self.kill(cx, reveal, &killed, source)?;
        }
        if known {
            return Ok(());
        }
        cx.notice(Notice::Tombstone { commitment });
        let except = if let Source::Link(link) = source { Some(link) } else { None };
        if source != Source::Recipient || !self.hide(cx, reveal) {
            self.publish(cx, reveal, except);
        }
        Ok(())
    }

    fn killed(&self, cx: &Context<'_>, commitment: &Commitment) -> Flow<Vec<BundleId>> {
        let mut held = Vec::new();
        for id in cx.catalog.by_commitment(commitment)? {
            if self.entry(cx, &id)?.is_some() {
                held.push(id);
            }
        }
        Ok(held)
    }

    fn keep_others(&mut self, cx: &Context<'_>, reveal: Reveal, source: Source) -> bool {
        let Source::Link(link) = source else { return false };
        let Some(node) = self.sessions.get(&link).map(|session| session.info.node) else { return false };
        self.tombstones.keep(cx.now.mono_ms, node, reveal)
    }

    fn kill(&mut self, cx: &mut Context<'_>, reveal: Reveal, killed: &[BundleId], source: Source) -> Flow {
        let commitment = reveal.commitment();
        let mut expires_s = 0;
        let mut uplink = killed.is_empty();
        for id in killed {
            if let Some(meta) = cx.catalog.meta(id)? {
                expires_s = expires_s.max(meta.expires_s + SKEW_S);
                uplink |= meta.has_uplink;
                if source != Source::Author
                    && let Some(entry) = self.entry(cx, id)?
                {
                    self.counters.arrived(&entry, meta.size);
                }
            }
        }
        if expires_s == 0 {
            // Never held here: it may have been made today and live as long as any.
            expires_s = cx.now.wall_s.unwrap_or(0) + LIFETIME_MAX_S + DAY_S + SKEW_S;
        }
        let reason =
            if source == Source::Recipient { RemovalReason::Delivered } else { RemovalReason::Tombstoned };
        let mut ops = vec![StoreOp::Tombstone { reveal, expires_s }];
        for id in killed {
            self.tombstones.bury(*id, commitment);
            ops.push(self.removal(*id, reason));
        }
        if matches!(source, Source::Recipient | Source::Author) && uplink {
            self.tombstones.owe_bridge(ForBridge { reveal, expires_s });
            ops.push(self.owed_op());
        }
        self.commits.submit(cx.out, ops, Then::Killed { reveal, source });
        Ok(())
    }

    fn owed_op(&self) -> StoreOp {
        StoreOp::SetState { key: tombstones::STATE_KEY.into(), value: self.tombstones.owed_bytes() }
    }

    fn hide(&mut self, cx: &Context<'_>, reveal: Reveal) -> bool {
        if self.config.reveal_delay_ms_max == 0 {
            return false;
        }
        let delay_ms = self.random.up_to(self.config.reveal_delay_ms_max);
        self.tombstones.hide(reveal, cx.now.mono_ms + delay_ms)
    }

    /// Tells everybody on a link, later neighbours, and the bridge if we owe it.
    pub(crate) fn publish(&mut self, cx: &mut Context<'_>, reveal: Reveal, except: Option<LinkId>) {
        self.tombstones.note_recent(reveal);
        self.neighbours.news(cx.now.mono_ms);
        for (link, session) in &self.sessions {
            self.tombstones.has_been_told(session.info.node);
            if Some(*link) != except {
                cx.send(*link, Frame::TombstonesRevealed { reveals: vec![reveal] });
            }
        }
        if self.uplink.is_up() && self.tombstones.owed().contains(&reveal) {
            cx.out.push(Action::RevealToBridge { reveals: vec![reveal] });
        }
    }

    /// Tells the bridge everything it has not confirmed.
    pub(crate) fn reveal_to_bridge(&mut self, cx: &mut Context<'_>) {
        for reveals in self.tombstones.owed().chunks(REVEALS_PER_REQUEST_MAX) {
            cx.out.push(Action::RevealToBridge { reveals: reveals.to_vec() });
        }
    }

    pub(crate) fn reveal_confirmed(&mut self, cx: &mut Context<'_>, reveals: &[Reveal]) {
        let before = self.tombstones.to_bridge.len();
        self.tombstones.to_bridge.retain(|owed| !reveals.contains(&owed.reveal));
        if self.tombstones.to_bridge.len() != before {
            let op = self.owed_op();
            self.commits.submit(cx.out, vec![op], Then::Nothing);
        }
    }

    /// Sends reveals over one link, in frames of the allowed length.
    pub(crate) fn send_reveals(cx: &mut Context<'_>, link: LinkId, reveals: &[Reveal]) {
        for part in reveals.chunks(REVEAL_LIST_MAX) {
            cx.send(link, Frame::TombstonesRevealed { reveals: part.to_vec() });
        }
    }
}
