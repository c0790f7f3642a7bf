//! One contact session on one link (PROTOCOL.md section 4).
//!
//! Frames keep their order on a link, so nobody waits for an answer that may be empty except at these points:
//!
//! ```text
//! at once                  Recognise, TombstonesHeld            (recognise, tombstones)
//! peer's TombstonesHeld    TombstonesRevealed, Have             (tombstones, reconcile)
//! peer's Have              Carrying                             (reconcile)
//! peer's Carrying          Pull, always, and be it empty        (reconcile)
//! peer's Pull              Offers: what was pulled, then copies (offers)
//! peer's Offer             Accept or Decline                    (intake)
//! peer's Accept            Segments                             (transfer)
//! all Segments, durable    Stored                               (receive)
//! peer's Stored, spent     Granted                              (transfer)
//! ```
//!
//! Later news is another Carrying list, answered by another Pull, then Offers; new tombstones go out as they
//! come. The session lasts as long as its link.

mod candidates;
mod intake;
mod keys;
mod offers;
mod receive;
mod recognise;
mod reconcile;
mod tombstones;
mod transfer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pigeon_bundle::{BundleId, NodeKey, Tag};
use pigeon_proto::{Frame, GoodbyeReason, Offer};

use crate::action::Action;
use crate::carriage::Giver;
use crate::core::{Context, Core};
use crate::event::{ContactId, LinkId, LinkInfo, Role};
use crate::notice::Notice;
use crate::trouble::{Flow, Trouble};

pub use candidates::{CANDIDATES_MAX, RETRY_MS};
pub use intake::{DEFERRED_MAX, INCOMING_MAX};
pub use offers::{IN_FLIGHT_BYTES_MAX, IN_FLIGHT_MAX, QUALITY_REFUSALS_MAX};
pub use receive::GRANTS_MAX;
pub use reconcile::{HAVE_MAX, LIST_MAX, REACHABLE_MAX};
pub use transfer::SEGMENT_SIZE;

use candidates::Scan;
use intake::Incoming;
use keys::SessionKeys;
use offers::Outgoing;

/// Links at the same time.
pub const LINKS_MAX: usize = 64;
/// A peer that owes an answer and is silent for this long is given up.
pub const SILENCE_MS: u64 = 120_000;

/// Which of the peer's lists is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Held,
    Have,
    Carrying,
    Exchange,
}

/// State of a session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) info: LinkInfo,
    pub(crate) contact: Option<ContactId>,
    keys: SessionKeys,
    phase: Phase,
    heard_ms: u64,
    recognise_seen: usize,
    /// Commitment macs of what the peer holds, until the list is complete.
    peer_held: BTreeSet<[u8; 16]>,
    /// Id macs of what the peer holds or was given.
    peer_has: BTreeSet<[u8; 16]>,
    /// Tag macs of what the peer carries.
    peer_carries: BTreeSet<[u8; 8]>,
    /// Macs of our own tags on this link.
    own_macs: BTreeSet<[u8; 8]>,
    /// Of a Carrying list that is not complete: what we are going to pull.
    to_pull: BTreeSet<[u8; 8]>,
    /// Tag macs we have asked for.
    pulled: BTreeSet<[u8; 8]>,
    /// Tag macs we have listed.
    listed: BTreeMap<[u8; 8], Tag>,
    /// Carrying lists of ours without their Pull.
    pulls_awaited: u32,
    reachable_counted: bool,
    /// Pulled by the peer.
    direct: VecDeque<BundleId>,
    /// May be offered with copies.
    candidates: VecDeque<BundleId>,
    scan: Scan,
    outgoing: BTreeMap<BundleId, Outgoing>,
    spray_closed: bool,
    quality_refusals: u32,
    /// Pulled, and declined for reasons that pass.
    declined_direct: VecDeque<BundleId>,
    /// When what was declined for such reasons is offered again.
    retry_ms: Option<u64>,
    incoming: BTreeMap<BundleId, Incoming>,
    /// Offers of what somebody else is sending at the moment.
    deferred: Vec<Offer>,
    /// Stored for this peer, with the copies it offered.
    grants: BTreeMap<BundleId, u8>,
}

impl Session {
    fn new(info: LinkInfo, now_ms: u64) -> Self {
        Self {
            keys: SessionKeys::new(info.binding),
            info,
            contact: None,
            phase: Phase::Held,
            heard_ms: now_ms,
            recognise_seen: 0,
            peer_held: BTreeSet::new(),
            peer_has: BTreeSet::new(),
            peer_carries: BTreeSet::new(),
            own_macs: BTreeSet::new(),
            to_pull: BTreeSet::new(),
            pulled: BTreeSet::new(),
            listed: BTreeMap::new(),
            pulls_awaited: 0,
            reachable_counted: false,
            direct: VecDeque::new(),
            candidates: VecDeque::new(),
            scan: Scan::From(None),
            outgoing: BTreeMap::new(),
            spray_closed: false,
            quality_refusals: 0,
            declined_direct: VecDeque::new(),
            retry_ms: None,
            incoming: BTreeMap::new(),
            deferred: Vec::new(),
            grants: BTreeMap::new(),
        }
    }

    /// The node key that dialled, which decides between two links to the same node.
    fn dialler(&self) -> NodeKey {
        match self.info.role {
            Role::Dialler => self.info.own,
            Role::Listener => self.info.node,
        }
    }

    /// Both ends compute the same order, and keep the least. Between equals the newer link stays: the older
    /// one may lead to a process that is gone.
    fn precedence(&self) -> (NodeKey, u8) {
        (self.dialler(), self.info.cost)
    }

    /// The peer owes an answer.
    fn waits(&self) -> bool {
        self.phase < Phase::Exchange
            || self.pulls_awaited > 0
            || !self.outgoing.is_empty()
            || self.incoming.values().any(Incoming::is_receiving)
    }

    /// When the timer is needed.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        let silence = self.waits().then_some(self.heard_ms + SILENCE_MS);
        silence.into_iter().chain(self.scan_due_ms()).chain(self.retry_ms).min()
    }
}

impl Core {
    pub(crate) fn link_up(&mut self, cx: &mut Context<'_>, info: LinkInfo) -> Flow {
        let (link, node, now_ms) = (info.link, info.node, cx.now.mono_ms);
        self.neighbours.up(now_ms, info.peer.as_ref(), node);
        if let Some(clock_s) = info.clock_s {
            self.clock.told(cx.now, node, clock_s, false);
            cx.now = self.clock.best(cx.now);
        }
        let mut session = Session::new(info, now_ms);
        session.set_own_tags(&self.own_tags);
        let twin = self.sessions.iter().find(|(_, other)| other.info.node == node);
        let twin = twin.map(|(link, other)| (*link, other.precedence()));
        if let Some((other, precedence)) = twin {
            if precedence < session.precedence() {
                cx.out.push(Action::Close { link, reason: GoodbyeReason::DuplicateLink });
                return Ok(());
            }
            self.sessions.insert(link, session);
            self.close(cx, other, GoodbyeReason::DuplicateLink);
        } else {
            if self.sessions.len() >= LINKS_MAX {
                cx.out.push(Action::Close { link, reason: GoodbyeReason::Limit });
                self.neighbours.down(now_ms, &mut self.random, node, false);
                return Ok(());
            }
            self.sessions.insert(link, session);
            cx.notice(Notice::NeighbourUp { node, contact: None });
        }
        self.send_recognise(cx, link);
        self.send_held(cx, link)
    }

    /// Says goodbye on a link; its session ends at once.
    pub(crate) fn close(&mut self, cx: &mut Context<'_>, link: LinkId, reason: GoodbyeReason) {
        if !self.sessions.contains_key(&link) {
            return;
        }
        cx.out.push(Action::Close { link, reason });
        if let Err(Trouble::Catalog(error)) = self.end_session(cx, link) {
            cx.notice(Notice::StorageProblem { reason: error.to_string() });
        }
    }

    /// The link is gone. What it promised is free again, what it left unfinished is kept.
    pub(crate) fn end_session(&mut self, cx: &mut Context<'_>, link: LinkId) -> Flow {
        let Some(session) = self.sessions.remove(&link) else { return Ok(()) };
        let node = session.info.node;
        if !self.sessions.values().any(|other| other.info.node == node) {
            let useful = session.phase == Phase::Exchange;
            self.neighbours.down(cx.now.mono_ms, &mut self.random, node, useful);
            cx.notice(Notice::NeighbourDown { node });
        }
        for (id, outgoing) in session.outgoing {
            if outgoing.copies > 0 {
                self.renew(id, None);
            }
        }
        let received: Vec<BundleId> = session.incoming.keys().copied().collect();
        for (id, incoming) in session.incoming {
            if incoming.is_receiving() {
                self.partials.keep(node, id, incoming.offer.size, incoming.bytes);
            }
        }
        received.into_iter().try_for_each(|id| self.reconsider(cx, id))
    }

    pub(crate) fn frame(&mut self, cx: &mut Context<'_>, link: LinkId, frame: Frame) -> Flow {
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        session.heard_ms = cx.now.mono_ms;
        self.dirty.insert(link);
        match frame {
            Frame::Hello(_) | Frame::Auth(_) => Err(Trouble::protocol("handshake frame in a session")),
            Frame::Goodbye(_) => {
                cx.out.push(Action::Close { link, reason: GoodbyeReason::Done });
                self.end_session(cx, link)
            }
            Frame::Recognise { macs, last } => self.on_recognise(cx, link, &macs, last),
            Frame::TombstonesHeld { macs, last } => self.on_held(cx, link, macs, last),
            Frame::TombstonesRevealed { reveals } => self.on_revealed(cx, link, &reveals),
            Frame::Have { macs, last } => self.on_have(cx, link, macs, last),
            Frame::Carrying { macs, last } => self.on_carrying(cx, link, &macs, last),
            Frame::Pull { macs } => self.on_pull(cx, link, &macs),
            Frame::Reachable { tags, .. } => {
                self.on_reachable(cx, link, &tags);
                Ok(())
            }
            Frame::Offer(offer) => self.on_offer(cx, link, offer),
            Frame::Accept(accept) => self.on_accept(cx, link, &accept),
            Frame::Decline { bundle, reason } => self.on_decline(cx, link, bundle, reason),
            Frame::Segment { bundle, offset, data } => self.on_segment(cx, link, bundle, offset, &data),
            Frame::Stored { bundle } => self.on_stored(cx, link, bundle),
            Frame::Granted { bundle, copies } => self.on_granted(cx, link, bundle, copies),
        }
    }

    /// Gives up peers that owe an answer, and goes on with long searches.
    pub(crate) fn silent_sessions(&mut self, cx: &mut Context<'_>) -> Flow {
        let now_ms = cx.now.mono_ms;
        let silent = |session: &Session| session.waits() && session.heard_ms + SILENCE_MS <= now_ms;
        let links: Vec<LinkId> =
            self.sessions.iter().filter(|(_, session)| silent(session)).map(|(link, _)| *link).collect();
        for link in links {
            self.close(cx, link, GoodbyeReason::Limit);
        }
        let due = self.sessions.iter().filter(|(_, session)| session.scan_due_ms() <= Some(now_ms));
        let due: Vec<LinkId> =
            due.filter(|(_, s)| s.scan_due_ms().is_some()).map(|(link, _)| *link).collect();
        self.dirty.extend(due);
        self.retry_declined(now_ms);
        Ok(())
    }

    pub(crate) fn giver(&self, cx: &Context<'_>, session: &Session) -> Giver {
        Giver {
            node: session.info.node,
            contact: session.contact,
            address: session.info.address,
            newcomer: self.neighbours.is_newcomer(cx.now.mono_ms, &session.info.node),
        }
    }
}
