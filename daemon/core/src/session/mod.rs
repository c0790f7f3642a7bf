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
//! come. The session lasts as long as its link, which may give way to another one to the same node (retire).

mod candidates;
mod deferral;
mod intake;
mod keys;
mod lifecycle;
mod lists;
mod offers;
mod receive;
mod recognise;
mod reconcile;
mod retire;
mod tombstones;
mod transfer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pigeon_bundle::{BundleId, NodeKey, Tag};
use pigeon_proto::{Frame, GoodbyeReason};

use crate::action::Action;
use crate::carriage::Giver;
use crate::context::Context;
use crate::core::Core;
use crate::event::{ContactId, LinkId, LinkInfo, Role};
use crate::ledger::Party;
use crate::trouble::{Flow, Trouble};

pub use candidates::{CANDIDATES_MAX, RETRY_MS};
pub use deferral::{DEFER_MS, DEFERRED_MAX};
pub use intake::INCOMING_MAX;
pub use lists::{HAVE_MAX, LIST_MAX};
pub use offers::{IN_FLIGHT_BYTES_MAX, IN_FLIGHT_MAX, QUALITY_REFUSALS_MAX};
pub use receive::GRANTS_MAX;
pub use reconcile::REACHABLE_MAX;
pub use retire::RETIRE_MS;
pub use transfer::{SEGMENT_SIZE, SEGMENT_SIZE_SCARCE};

use candidates::Scan;
use deferral::Deferred;
use intake::Incoming;
use keys::SessionKeys;
use offers::Outgoing;
pub(crate) use retire::Retired;

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
    /// When the peer was heard last, or when it began to owe an answer.
    heard_ms: u64,
    /// The peer's last list, for contacts that come later.
    peer_recognise: Vec<[u8; 16]>,
    recognise_ended: bool,
    recognise_lists: u32,
    /// Lists of ours that the peer was sent.
    recognise_sent: u32,
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
    /// Of a Reachable list that is not complete.
    peer_reachable: Vec<Tag>,
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
    /// Offered with copies, and declined for such reasons.
    refused: BTreeSet<BundleId>,
    /// When what was declined for such reasons is offered again.
    retry_ms: Option<u64>,
    retries: u32,
    incoming: BTreeMap<BundleId, Incoming>,
    /// Offers of what somebody else is sending at the moment.
    deferred: Vec<Deferred>,
    /// Stored for this peer, with the copies it offered.
    grants: BTreeMap<BundleId, u8>,
    /// Tokens of delegated pick-up that the peer has given on this link.
    pub(crate) tokens_taken: u32,
    /// Granted on this link; kept for a known mistake only.
    refunds: Vec<(BundleId, u8)>,
}

impl Session {
    fn new(info: LinkInfo, now_ms: u64) -> Self {
        Self {
            keys: SessionKeys::new(info.binding),
            info,
            contact: None,
            phase: Phase::Held,
            heard_ms: now_ms,
            peer_recognise: Vec::new(),
            recognise_ended: false,
            recognise_lists: 0,
            recognise_sent: 0,
            peer_held: BTreeSet::new(),
            peer_has: BTreeSet::new(),
            peer_carries: BTreeSet::new(),
            own_macs: BTreeSet::new(),
            to_pull: BTreeSet::new(),
            pulled: BTreeSet::new(),
            listed: BTreeMap::new(),
            pulls_awaited: 0,
            reachable_counted: false,
            peer_reachable: Vec::new(),
            direct: VecDeque::new(),
            candidates: VecDeque::new(),
            scan: Scan::From(None),
            outgoing: BTreeMap::new(),
            spray_closed: false,
            quality_refusals: 0,
            declined_direct: VecDeque::new(),
            refused: BTreeSet::new(),
            retry_ms: None,
            retries: 0,
            incoming: BTreeMap::new(),
            deferred: Vec::new(),
            grants: BTreeMap::new(),
            tokens_taken: 0,
            refunds: Vec::new(),
        }
    }

    /// The node key that dialled, which decides between two links to the same node.
    fn dialler(&self) -> NodeKey {
        match self.info.role {
            Role::Dialler => self.info.own,
            Role::Listener => self.info.node,
        }
    }

    /// Both ends compute the same order, and keep the least: the cheaper link, then the one that the smaller node key
    /// has dialled. Between equals the newer link stays: the older one may lead to a process that is gone.
    fn precedence(&self) -> (u8, NodeKey) {
        (self.info.cost, self.dialler())
    }

    /// The peer owes an answer.
    fn waits(&self) -> bool {
        self.phase < Phase::Exchange
            || self.pulls_awaited > 0
            || !self.outgoing.is_empty()
            || self.incoming.values().any(Incoming::is_receiving)
    }

    /// Nothing was left to offer or to take.
    fn all_said(&self) -> bool {
        self.phase == Phase::Exchange
            && self.direct.is_empty()
            && self.candidates.is_empty()
            && self.outgoing.is_empty()
            && self.incoming.is_empty()
    }

    /// Before the peer is asked for something: a link may have been silent for hours, since there was nothing to say.
    fn asks(&mut self, now_ms: u64) {
        if !self.waits() {
            self.heard_ms = now_ms;
        }
    }

    /// When the timer is needed.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        let silence = self.waits().then_some(self.heard_ms + SILENCE_MS);
        let deferred = self.deferred.iter().map(|deferred| deferred.until_ms);
        silence.into_iter().chain(self.scan_due_ms()).chain(self.retry_ms).chain(deferred).min()
    }
}

impl Core {
    pub(crate) fn frame(&mut self, cx: &mut Context<'_>, link: LinkId, frame: Frame) -> Flow {
        let Some(session) = self.sessions.get_mut(&link) else { return self.retired_frame(cx, link, &frame) };
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
            Frame::Reachable { tags, last } => {
                self.on_reachable(cx, link, &tags, last);
                Ok(())
            }
            Frame::PickupToken(token) => {
                self.on_pickup_token(cx, link, token);
                Ok(())
            }
            // Persons, not bundles: the shell takes these before they come here.
            Frame::Introduction(_) => Ok(()),
            Frame::Offer(offer) => self.on_offer(cx, link, offer),
            Frame::Accept(accept) => self.on_accept(cx, link, &accept),
            Frame::Decline { bundle, reason } => self.on_decline(cx, link, bundle, reason),
            Frame::Segment { bundle, offset, data } => self.on_segment(cx, link, bundle, offset, &data),
            Frame::Stored { bundle } => self.on_stored(cx, link, bundle),
            Frame::Granted { bundle, copies } => self.on_granted(cx, link, bundle, copies),
        }
    }

    /// Whose account in the ledger a neighbour's is.
    pub(crate) fn party(&self, node: NodeKey) -> Party {
        let session = self.sessions.values().find(|session| session.info.node == node);
        session.and_then(|session| session.contact).map_or(Party::Node(node), Party::Contact)
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
