//! What a hostile neighbour, or a failing disk, can do to a node: nothing that panics, gives copies away, or
//! makes the core work without end.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests")]

mod support;

use std::cell::Cell;

use bytes::Bytes;
use pigeon_bundle::{Bundle, BundleId, Commitment, NodeKey, Reveal, Tag};
use pigeon_core::{
    Action, BundleMeta, Catalog, CatalogError, CatalogResult, CoreConfig, Entry, Event, LinkId, LinkInfo,
    MemoryCatalog, Notice, PoolUsage, Role, StoreOp, Usage,
};
use pigeon_proto::{Accept, DeclineReason, Frame, GoodbyeReason, Offer, PickupToken};
use proptest::prelude::*;
use support::node::Node;
use support::pool::{message, pool};

const PEER: NodeKey = NodeKey([0xee; 32]);
/// Actions that one frame may cause: a few bundles' segments.
const ACTIONS_MAX: usize = 400;

fn link_up(link: u64) -> Event {
    Event::LinkUp(LinkInfo {
        link: LinkId(link),
        peer: None,
        node: PEER,
        own: NodeKey([1; 32]),
        role: Role::Listener,
        binding: [9; 32],
        cost: 0,
        address: [0; 8],
        carriage_open: true,
        clock_s: Some(u64::MAX),
    })
}

/// A node that holds own mail, carries a bundle, and listens.
fn target() -> Node {
    let mut node = Node::new(1, CoreConfig { reveal_delay_ms_max: 0, ..CoreConfig::default() });
    node.handle(0, Event::Started);
    node.handle(0, Event::OwnTags(vec![pool().tags[1]]));
    for number in 0..3 {
        node.put_own(0, &message(0, number).bundle);
    }
    let entry =
        Entry { giver: Some(NodeKey([5; 32])), pool: pigeon_core::Pool::Stranger, ..Entry::own(0, None) };
    node.catalog.apply(&[StoreOp::Put { bundle: message(2, 0).bundle.clone(), entry }]);
    node
}

fn any_id() -> impl Strategy<Value = BundleId> {
    let known = |(recipient, number): (usize, usize)| message(recipient, number).bundle.id();
    prop_oneof![(0..3_usize, 0..3_usize).prop_map(known), any::<[u8; 32]>().prop_map(BundleId)]
}

fn any_reason() -> impl Strategy<Value = DeclineReason> {
    prop::sample::select(&DeclineReason::ALL[..])
}

fn any_segment() -> impl Strategy<Value = Frame> {
    let real = ((0..3_usize), (0..3_usize), any::<bool>()).prop_map(|(recipient, number, whole)| {
        let bundle = &message(recipient, number).bundle;
        let bytes = bundle.as_bytes();
        let data = bytes.slice(..if whole { bytes.len().min(60_000) } else { bytes.len() / 2 });
        Frame::Segment { bundle: bundle.id(), offset: 0, data }
    });
    let wild = (any_id(), 0..70_000_u32, prop::collection::vec(any::<u8>(), 1..50));
    let wild =
        wild.prop_map(|(bundle, offset, data)| Frame::Segment { bundle, offset, data: Bytes::from(data) });
    prop_oneof![real, wild]
}

fn any_offer() -> impl Strategy<Value = Frame> {
    let wild = (any_id(), 1..98_305_u32, 0..4_u8, any::<u16>(), any::<u8>(), any::<u64>(), any::<u8>())
        .prop_map(|(bundle, size, copies, quality, moves, age_s, hops)| Offer {
            bundle,
            size,
            copies,
            quality,
            moves,
            age_s,
            hops,
            tag: None,
        });
    let real = (0..3_usize, 0..3_usize, 0..4_u8).prop_map(|(recipient, number, copies)| {
        let bundle = &message(recipient, number).bundle;
        let size = u32::try_from(bundle.size()).unwrap();
        Offer { bundle: bundle.id(), size, copies, quality: 0, moves: 0, age_s: 0, hops: 0, tag: None }
    });
    prop_oneof![wild, real].prop_map(Frame::Offer)
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let macs16 = || prop::collection::vec(any::<[u8; 16]>(), 0..20);
    let macs8 = || prop::collection::vec(any::<[u8; 8]>(), 0..20);
    let reveals = prop::collection::vec(any::<[u8; 32]>().prop_map(Reveal), 0..20);
    prop_oneof![
        1 => Just(Frame::Goodbye(GoodbyeReason::Done)),
        2 => macs16().prop_map(|macs| Frame::Recognise { macs, last: true }),
        8 => macs16().prop_map(|macs| Frame::TombstonesHeld { macs, last: true }),
        4 => reveals.prop_map(|reveals| Frame::TombstonesRevealed { reveals }),
        8 => macs16().prop_map(|macs| Frame::Have { macs, last: true }),
        8 => macs8().prop_map(|macs| Frame::Carrying { macs, last: true }),
        8 => macs8().prop_map(|macs| Frame::Pull { macs }),
        8 => any_offer(),
        8 => (any_id(), any::<u16>(), 0..98_304_u32)
            .prop_map(|(bundle, quality, offset)| Frame::Accept(Accept { bundle, quality, offset })),
        4 => (any_id(), any_reason()).prop_map(|(bundle, reason)| Frame::Decline { bundle, reason }),
        8 => any_segment(),
        8 => any_id().prop_map(|bundle| Frame::Stored { bundle }),
        8 => (any_id(), 0..4_u8).prop_map(|(bundle, copies)| Frame::Granted { bundle, copies }),
        2 => prop::collection::vec(any::<[u8; 16]>().prop_map(Tag), 0..20)
            .prop_map(|tags| Frame::Reachable { tags, last: true }),
        2 => any::<u64>().prop_map(|expires_s| Frame::PickupToken(PickupToken {
            domain: "b".into(),
            token: b"t".as_slice().into(),
            expires_s,
        })),
    ]
}

/// Hands a frame in, on a link that is opened again when it was closed, and lets commits happen or not.
struct Attack {
    node: Node,
    link: u64,
    up: bool,
}

impl Attack {
    fn step(&mut self, now_ms: u64, frame: Frame, commit: bool) {
        if !self.up {
            self.link += 1;
            self.up = true;
            self.act(now_ms, link_up(self.link));
        }
        self.act(now_ms, Event::Frame { link: LinkId(self.link), frame });
        while commit && let Some((token, ops)) = self.node.commits.pop_front() {
            self.node.catalog.apply(&ops);
            self.act(now_ms, Event::Committed { token, result: Ok(()) });
        }
    }

    fn act(&mut self, now_ms: u64, event: Event) {
        let actions = self.node.handle(now_ms, event);
        assert!(actions.len() <= ACTIONS_MAX, "{} actions", actions.len());
        for action in actions {
            match action {
                Action::Commit { token, ops } => self.node.commits.push_back((token, ops)),
                Action::Close { .. } => self.up = false,
                Action::Send { frame, .. } => frame.check().unwrap(),
                _ => {}
            }
        }
        if let Some(next_ms) = self.node.core.next_deadline_ms() {
            let after = self.node.handle(next_ms.max(now_ms), Event::Timer);
            let again = self.node.core.next_deadline_ms();
            assert!(again.is_none_or(|again_ms| again_ms > next_ms || after.len() > 1), "the timer spins");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Any frames in any order: no panic, no copies out of nothing, own mail stays, and answers are bounded.
    #[test]
    fn no_frames_hurt(steps in prop::collection::vec((any_frame(), any::<bool>()), 1..60)) {
        let mut attack = Attack { node: target(), link: 0, up: false };
        // In order as far as the first lists, so that the rest meets a session that goes on.
        let opening = [
            Frame::TombstonesHeld { macs: vec![], last: true },
            Frame::Have { macs: vec![], last: true },
            Frame::Carrying { macs: vec![], last: true },
            Frame::Pull { macs: vec![] },
        ];
        for frame in opening {
            attack.step(1, frame, true);
        }
        for (number, (frame, commit)) in steps.into_iter().enumerate() {
            attack.step(2 + number as u64 * 10, frame, commit);
        }
        for number in 0..3 {
            let copies = attack.node.copies(&message(0, number).bundle.id());
            prop_assert!(copies.is_some_and(|copies| copies <= 6), "{copies:?}");
        }
        for (id, entry) in attack.node.catalog.page(None, 100).unwrap() {
            prop_assert!(entry.copies <= 6);
            let bundle = attack.node.catalog.bundle(&id).unwrap().unwrap();
            prop_assert!(pool().messages.iter().any(|known| known.bundle.as_bytes() == bundle.as_bytes()));
        }
    }
}

/// A catalog whose n-th look-up fails.
struct Failing<'a> {
    inner: &'a MemoryCatalog,
    left: Cell<usize>,
    failed: Cell<bool>,
}

impl Failing<'_> {
    fn tick(&self) -> CatalogResult<()> {
        match self.left.get() {
            0 => {
                self.failed.set(true);
                Err(CatalogError::new("test data", "the disk is gone"))
            }
            left => {
                self.left.set(left - 1);
                Ok(())
            }
        }
    }
}

macro_rules! failing {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $result:ty;)*) => {
        impl Catalog for Failing<'_> {
            $(fn $name(&self, $($arg: $kind),*) -> CatalogResult<$result> {
                self.tick()?;
                self.inner.$name($($arg),*)
            })*
        }
    };
}

failing! {
    entry(id: &BundleId) -> Option<Entry>;
    bundle(id: &BundleId) -> Option<Bundle>;
    meta(id: &BundleId) -> Option<BundleMeta>;
    page(after: Option<BundleId>, limit: usize) -> Vec<(BundleId, Entry)>;
    by_tag(tag: &Tag) -> Vec<BundleId>;
    by_commitment(commitment: &Commitment) -> Vec<BundleId>;
    expiring(until_s: u64, limit: usize) -> Vec<BundleId>;
    takers(id: &BundleId) -> Vec<NodeKey>;
    tombstone(commitment: &Commitment) -> Option<Reveal>;
    tombstones(after: Option<Commitment>, limit: usize) -> Vec<(Commitment, Reveal)>;
    expiring_tombstones(until_s: u64, limit: usize) -> Vec<Commitment>;
    usage() -> Usage;
    giver_usage(giver: &NodeKey) -> PoolUsage;
    state(key: &str) -> Option<Vec<u8>>;
}

/// A storage error is never "not there": nothing is taken, spent or tombstoned on its account, people hear of it,
/// and the node goes on when the disk does.
#[test]
fn a_store_that_cannot_be_read_stops_what_needs_it_and_nothing_else() {
    let mut failures = 0;
    for fail_at in 0..80 {
        let mut node = target();
        let offer = Offer {
            bundle: message(1, 0).bundle.id(),
            size: u32::try_from(message(1, 0).bundle.size()).unwrap(),
            copies: 2,
            quality: 0,
            moves: 0,
            age_s: 0,
            hops: 0,
            tag: None,
        };
        let bytes = message(1, 0).bundle.as_bytes().clone();
        let events = [
            link_up(1),
            frame(Frame::TombstonesHeld { macs: vec![], last: true }),
            frame(Frame::Have { macs: vec![], last: true }),
            frame(Frame::Carrying { macs: vec![], last: true }),
            frame(Frame::Pull { macs: vec![] }),
            frame(Frame::Offer(offer)),
            frame(Frame::Segment { bundle: offer.bundle, offset: 0, data: bytes }),
        ];
        let left = Cell::new(fail_at);
        let mut failed = false;
        for event in events {
            let catalog =
                Failing { inner: &node.catalog, left: Cell::new(left.get()), failed: Cell::new(false) };
            let actions = node.core.handle(node.now(10), event, &catalog);
            left.set(catalog.left.get());
            let told =
                actions.iter().any(|action| matches!(action, Action::Notice(Notice::StorageProblem { .. })));
            assert_eq!(told, catalog.failed.get(), "look-up {fail_at}: a failure is told, and only that");
            failed |= told;
            for action in &actions {
                let stored = matches!(action, Action::Send { frame: Frame::Stored { .. }, .. });
                assert!(!stored, "nothing was committed");
            }
            if told {
                break;
            }
        }
        failures += usize::from(failed);
        // The disk is back: a new link works.
        node.handle(20_000, Event::LinkDown { link: LinkId(1) });
        let actions = node.handle(20_000, link_up(2));
        let hello = actions
            .iter()
            .any(|action| matches!(action, Action::Send { frame: Frame::TombstonesHeld { .. }, .. }));
        assert!(hello, "after a failure at {fail_at}");
    }
    assert!(failures > 20, "only {failures} look-ups failed");
}

fn frame(frame: Frame) -> Event {
    Event::Frame { link: LinkId(1), frame }
}
