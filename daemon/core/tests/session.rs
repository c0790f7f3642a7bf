//! Sessions over cores wired directly: every frame arrives at once and in order, unless a test says otherwise.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use pigeon_bundle::{BundleId, NodeKey, Reveal};
use pigeon_core::{
    Action, Catalog, ContactId, ContactLink, CoreConfig, Entry, Event, LinkId, LinkInfo, Notice, Opened,
    PeerId, Pool, Reachable, RemovalReason, Role, StoreOp,
};
use pigeon_proto::{DeclineReason, Frame, GoodbyeReason, Offer};
use support::node::Node;
use support::pool::{WALL_S, message, pool};

type Hook = Box<dyn FnMut(usize, &mut Frame) -> bool>;

/// Some nodes, links between them, and what happened. Commits are durable at once unless held.
struct World {
    nodes: Vec<Node>,
    now_ms: u64,
    links: BTreeMap<LinkId, (usize, usize)>,
    next_link: u64,
    wire: VecDeque<(usize, LinkId, Frame)>,
    notices: Vec<(usize, Notice)>,
    uploads: Vec<(usize, BundleId)>,
    told_bridge: Vec<(usize, Reveal)>,
    dials: Vec<(usize, PeerId)>,
    frames: Vec<(usize, Frame)>,
    /// Sees every frame (from whom); false loses it.
    hook: Hook,
    hold_commits: bool,
}

fn instant() -> CoreConfig {
    CoreConfig { reveal_delay_ms_max: 0, ..CoreConfig::default() }
}

impl World {
    fn new(count: u8) -> Self {
        Self::with(count, &instant())
    }

    fn with(count: u8, config: &CoreConfig) -> Self {
        let nodes = (0..count).map(|number| Node::new(number + 1, config.clone())).collect();
        let mut world = Self {
            nodes,
            now_ms: 1_000,
            links: BTreeMap::new(),
            next_link: 1,
            wire: VecDeque::new(),
            notices: Vec::new(),
            uploads: Vec::new(),
            told_bridge: Vec::new(),
            dials: Vec::new(),
            frames: Vec::new(),
            hook: Box::new(|_, _| true),
            hold_commits: false,
        };
        for node in 0..usize::from(count) {
            world.event(node, Event::Started);
        }
        world
    }

    fn event(&mut self, node: usize, event: Event) {
        let actions = self.nodes[node].handle(self.now_ms, event);
        self.act(node, actions);
        self.settle();
    }

    fn act(&mut self, node: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { link, mut frame } => {
                    frame.check().unwrap();
                    if self.links.contains_key(&link) && (self.hook)(node, &mut frame) {
                        self.frames.push((node, frame.clone()));
                        self.wire.push_back((node, link, frame));
                    }
                }
                Action::Commit { token, ops } => self.nodes[node].commits.push_back((token, ops)),
                Action::Open { bundle } => {
                    let held = self.nodes[node].catalog.bundle(&bundle).unwrap().unwrap();
                    let outcome = self.nodes[node].mailbox.open(&held);
                    let actions = self.nodes[node].handle(self.now_ms, Event::Opened { bundle, outcome });
                    self.act(node, actions);
                }
                Action::Close { link, .. } => self.cut(link),
                Action::Dial { peer } => self.dials.push((node, peer)),
                Action::Upload { bundle } => self.uploads.push((node, bundle)),
                Action::RevealToBridge { reveals } => {
                    self.told_bridge.extend(reveals.into_iter().map(|reveal| (node, reveal)));
                }
                Action::Notice(notice) => self.notices.push((node, notice)),
            }
        }
    }

    /// Until nothing moves any more.
    fn settle(&mut self) {
        loop {
            if !self.hold_commits {
                self.commit_all();
            }
            let Some((from, link, frame)) = self.wire.pop_front() else { break };
            let Some((one, two)) = self.links.get(&link).copied() else { continue };
            let to = if one == from { two } else { one };
            let actions = self.nodes[to].handle(self.now_ms, Event::Frame { link, frame });
            self.act(to, actions);
        }
    }

    fn commit_all(&mut self) {
        for node in 0..self.nodes.len() {
            while let Some((token, ops)) = self.nodes[node].commits.pop_front() {
                self.nodes[node].catalog.apply(&ops);
                let actions =
                    self.nodes[node].handle(self.now_ms, Event::Committed { token, result: Ok(()) });
                self.act(node, actions);
            }
        }
    }

    fn link_with(&mut self, one: usize, two: usize, change: impl Fn(&mut LinkInfo)) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.links.insert(link, (one, two));
        let binding = [u8::try_from(link.0).unwrap(); 32];
        let mut actions = Vec::new();
        for (node, peer, role) in [(one, two, Role::Dialler), (two, one, Role::Listener)] {
            let mut info = LinkInfo {
                link,
                peer: None,
                node: self.nodes[peer].key,
                own: self.nodes[node].key,
                role,
                binding,
                cost: 0,
                address: [0; 8],
                carriage_open: true,
                clock_s: None,
            };
            change(&mut info);
            actions.push((node, self.nodes[node].handle(self.now_ms, Event::LinkUp(info))));
        }
        for (node, actions) in actions {
            self.act(node, actions);
        }
        self.settle();
        link
    }

    fn link(&mut self, one: usize, two: usize) -> LinkId {
        self.link_with(one, two, |_| ())
    }

    fn cut(&mut self, link: LinkId) {
        let Some((one, two)) = self.links.remove(&link) else { return };
        self.wire.retain(|(_, on, _)| *on != link);
        for node in [one, two] {
            let actions = self.nodes[node].handle(self.now_ms, Event::LinkDown { link });
            self.act(node, actions);
        }
    }

    fn submit(&mut self, node: usize, recipient: usize, number: usize) -> BundleId {
        let bundle = &message(recipient, number).bundle;
        self.nodes[node].put_own(self.now_ms, bundle);
        self.event(node, Event::Submitted { bundle: bundle.id() });
        bundle.id()
    }

    fn listens(&mut self, node: usize, recipient: usize) {
        let tags = vec![pool().tags[recipient]];
        self.nodes[node].mailbox.tags.clone_from(&tags);
        self.event(node, Event::OwnTags(tags));
    }

    fn advance(&mut self, ms: u64) {
        self.now_ms += ms;
        for node in 0..self.nodes.len() {
            self.event(node, Event::Timer);
        }
    }

    fn copies(&self, id: &BundleId) -> Vec<Option<u8>> {
        self.nodes.iter().map(|node| node.copies(id)).collect()
    }

    fn said(&self, node: usize, notice: &Notice) -> bool {
        self.notices.iter().any(|(from, said)| *from == node && said == notice)
    }

    fn sent(&self, node: usize, wanted: impl Fn(&Frame) -> bool) -> usize {
        self.frames.iter().filter(|(from, frame)| *from == node && wanted(frame)).count()
    }
}

#[test]
fn a_bundle_is_handed_over_and_the_budget_halved() {
    let mut world = World::new(2);
    let id = world.submit(0, 0, 2);
    world.link(0, 1);
    assert_eq!(world.copies(&id), [Some(3), Some(3)]);
    let taken = world.nodes[1].entry(&id).unwrap();
    assert_eq!((taken.pool, taken.giver, taken.newcomer), (Pool::Stranger, Some(NodeKey([1; 32])), true));
    assert_eq!(taken.hops, 1);
    assert_eq!(world.nodes[0].catalog.takers(&id).unwrap(), [NodeKey([2; 32])]);
    assert!(world.said(0, &Notice::HandedOver { bundle: id, node: NodeKey([2; 32]), copies: 3 }));
    assert!(world.said(1, &Notice::Taken { bundle: id, node: NodeKey([1; 32]), copies: 0, hops: 1 }));
    assert!(world.said(1, &Notice::Taken { bundle: id, node: NodeKey([1; 32]), copies: 3, hops: 1 }));
}

#[test]
fn a_bundle_is_not_given_twice_to_the_same_node() {
    let mut world = World::new(2);
    let id = world.submit(0, 0, 0);
    for _ in 0..3 {
        let link = world.link(0, 1);
        world.cut(link);
    }
    assert_eq!(world.copies(&id), [Some(3), Some(3)]);
    assert_eq!(world.sent(0, |frame| matches!(frame, Frame::Offer(_))), 1);
    assert_eq!(world.sent(1, |frame| matches!(frame, Frame::Offer(_))), 0, "nor back to its giver");
}

#[test]
fn news_is_offered_over_links_that_are_up_and_travels_on() {
    let mut world = World::new(4);
    world.link(0, 1);
    world.link(1, 2);
    world.link(2, 3);
    let id = world.submit(0, 0, 1);
    assert_eq!(
        world.copies(&id),
        [Some(3), Some(2), Some(1), Some(0)].map(|c| if c == Some(0) { None } else { c })
    );
}

#[test]
fn the_recipient_pulls_and_the_delivery_kills_all_copies() {
    let mut world = World::new(3);
    world.listens(2, 0);
    let id = world.submit(0, 0, 3);
    let first = world.link(0, 1);
    world.link(1, 2);
    assert_eq!(world.nodes[2].mailbox.deliveries.len(), 1);
    assert_eq!(world.copies(&id), [None, None, None], "the tombstone ran back over both links");
    assert!(world.said(1, &Notice::DeliveredDirect { bundle: id, node: NodeKey([3; 32]) }));
    assert!(world.said(0, &Notice::Purged { bundle: id, reason: RemovalReason::Tombstoned }));
    assert!(world.said(2, &Notice::Purged { bundle: id, reason: RemovalReason::Delivered }));
    assert_eq!(world.sent(1, |frame| matches!(frame, Frame::Granted { .. })), 0, "a pull gives no copies");
    world.cut(first);
}

#[test]
fn a_pull_gives_zero_copies_and_frees_nothing() {
    let mut world = World::new(2);
    let id = world.submit(0, 0, 0);
    // It pulls, but its mailbox cannot open it: anybody could claim a tag.
    world.event(1, Event::OwnTags(vec![pool().tags[0]]));
    world.link(0, 1);
    assert_eq!(world.copies(&id), [Some(6), Some(0)]);
    assert_eq!(world.nodes[1].entry(&id).unwrap().opened, Opened::NotOurs);
}

#[test]
fn tags_that_come_later_pull_what_was_listed_before() {
    let mut world = World::new(2);
    let id = world.submit(0, 0, 0);
    world.nodes[0]
        .catalog
        .apply(&[StoreOp::Update { id, entry: Entry { copies: 0, ..Entry::own(0, None) } }]);
    world.link(0, 1);
    assert_eq!(world.copies(&id), [Some(0), None]);
    world.listens(1, 0);
    assert_eq!((world.nodes[1].mailbox.deliveries.len(), world.copies(&id)), (1, vec![None, None]));
}

#[test]
fn what_was_taken_for_others_is_opened_when_the_tags_come() {
    let mut world = World::new(2);
    let id = world.submit(0, 0, 0);
    world.link(0, 1);
    world.listens(1, 0);
    assert_eq!((world.nodes[1].mailbox.deliveries.len(), world.copies(&id)), (1, vec![None, None]));
}

#[test]
fn a_link_that_breaks_in_the_middle_of_a_bundle_spends_nothing_and_resumes() {
    let mut world = World::new(2);
    let id = world.submit(0, 0, 5);
    let mut segments = 0;
    world.hook = Box::new(move |_, frame| {
        segments += usize::from(matches!(frame, Frame::Segment { .. }));
        segments <= 2 || !matches!(frame, Frame::Segment { .. })
    });
    let link = world.link(0, 1);
    world.cut(link);
    assert_eq!(world.copies(&id), [Some(6), None]);
    assert!(world.nodes[0].core.promised().is_empty());
    world.frames.clear();
    world.hook = Box::new(|_, _| true);
    world.link(0, 1);
    assert_eq!(world.copies(&id), [Some(3), Some(3)]);
    assert_eq!(world.sent(1, |frame| matches!(frame, Frame::Accept(accept) if accept.offset == 32_768)), 1);
    let resent = world.sent(0, |frame| matches!(frame, Frame::Segment { offset, .. } if *offset < 32_768));
    assert_eq!(resent, 0);
}

#[test]
fn a_partial_belongs_to_one_node_key() {
    let mut world = World::new(3);
    let id = world.submit(0, 0, 5);
    world.nodes[2].put_own(0, &message(0, 5).bundle);
    let mut left = 2;
    world.hook = Box::new(move |_, frame| {
        let segment = matches!(frame, Frame::Segment { .. });
        left -= i32::from(segment);
        left >= 0 || !segment
    });
    let link = world.link(0, 1);
    world.cut(link);
    world.hook = Box::new(|_, _| true);
    world.frames.clear();
    world.link(2, 1);
    assert_eq!(world.sent(1, |frame| matches!(frame, Frame::Accept(accept) if accept.offset == 0)), 1);
    assert_eq!(world.copies(&id), [Some(6), Some(3), Some(3)]);
}

#[test]
fn a_flipped_byte_anywhere_is_refused_and_never_stored() {
    let bundle = &message(0, 1).bundle;
    for at in (0..bundle.size()).step_by(7) {
        let mut world = World::new(2);
        let id = world.submit(0, 0, 1);
        world.hook = Box::new(move |_, frame| {
            if let Frame::Segment { data, .. } = frame {
                let mut bytes = data.to_vec();
                bytes[at] ^= 0x10;
                *data = Bytes::from(bytes);
            }
            true
        });
        let link = world.link(0, 1);
        assert_eq!(world.copies(&id), [Some(6), None], "byte {at}");
        let refused = |(node, notice): &(usize, Notice)| {
            *node == 1 && matches!(notice, Notice::BundleRefused { node, .. } if *node == NodeKey([1; 32]))
        };
        assert!(world.notices.iter().any(refused), "byte {at}");
        world.hook = Box::new(|_, _| true);
        world.cut(link);
        world.frames.clear();
        world.link(0, 1);
        assert_eq!(world.copies(&id), [Some(3), Some(3)], "byte {at}: the next time it is whole");
        assert_eq!(world.sent(1, |frame| matches!(frame, Frame::Accept(accept) if accept.offset > 0)), 0);
    }
}

#[test]
fn a_lost_stored_spends_nothing_and_a_lost_granted_loses_budget() {
    let mut world = World::new(2);
    let id = world.submit(0, 0, 0);
    world.hook = Box::new(|_, frame| !matches!(frame, Frame::Stored { .. }));
    let link = world.link(0, 1);
    world.cut(link);
    assert_eq!(world.copies(&id), [Some(6), Some(0)]);
    let other = world.submit(0, 0, 1);
    world.hook = Box::new(|_, frame| !matches!(frame, Frame::Granted { .. }));
    world.link(0, 1);
    assert_eq!(world.copies(&other), [Some(3), Some(0)]);
    assert_eq!(world.copies(&id), [Some(6), Some(0)], "it is not offered to who holds it");
}

#[test]
fn stored_waits_for_the_write_and_granted_for_the_givers() {
    let mut world = World::new(2);
    world.link(0, 1);
    let bundle = &message(0, 0).bundle;
    let id = bundle.id();
    world.hold_commits = true;
    world.nodes[0].put_own(0, bundle);
    world.event(0, Event::Submitted { bundle: id });
    assert_eq!(world.sent(1, |frame| matches!(frame, Frame::Stored { .. })), 0);
    let (token, ops) = world.nodes[1].commits.pop_back().unwrap();
    world.nodes[1].catalog.apply(&ops);
    world.event(1, Event::Committed { token, result: Ok(()) });
    assert_eq!(world.sent(1, |frame| matches!(frame, Frame::Stored { .. })), 1);
    assert_eq!(world.sent(0, |frame| matches!(frame, Frame::Granted { .. })), 0);
    assert_eq!(world.copies(&id), [Some(6), Some(0)]);
    world.hold_commits = false;
    world.settle();
    assert_eq!(world.copies(&id), [Some(3), Some(3)]);
}

#[test]
fn a_failed_write_takes_nothing_and_spends_nothing() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.hold_commits = true;
    let id = world.submit(0, 0, 0);
    let (token, _) = world.nodes[1].commits.pop_back().unwrap();
    let full = Err(pigeon_core::CommitFailure::Full);
    world.event(1, Event::Committed { token, result: full });
    assert_eq!(
        world.sent(1, |frame| matches!(frame, Frame::Decline { reason: DeclineReason::StorageFailed, .. })),
        1
    );
    assert!(world.nodes[0].core.promised().is_empty());
    assert_eq!(world.copies(&id), [Some(6), None]);
}

#[test]
fn a_grant_that_could_not_be_sent_is_taken_back() {
    let mut world = World::new(2);
    let link = world.link(0, 1);
    world.hold_commits = true;
    let id = world.submit(0, 0, 0);
    let (token, ops) = world.nodes[1].commits.pop_back().unwrap();
    world.nodes[1].catalog.apply(&ops);
    world.event(1, Event::Committed { token, result: Ok(()) });
    world.cut(link);
    world.hold_commits = false;
    world.settle();
    assert_eq!(world.copies(&id), [Some(6), Some(0)]);
}

#[test]
fn a_duplicate_from_a_second_neighbour_is_declined() {
    let mut world = World::new(3);
    let id = world.submit(0, 0, 0);
    world.nodes[2].put_own(0, &message(0, 0).bundle);
    world.link(0, 1);
    // Without its Have list (too long, say) node 1 has to decline.
    world.hook = Box::new(|_, frame| {
        if let Frame::Have { macs, .. } = frame {
            macs.clear();
        }
        true
    });
    world.link(2, 1);
    assert_eq!(
        world.sent(1, |frame| *frame == Frame::Decline { bundle: id, reason: DeclineReason::Known }),
        1
    );
    assert_eq!(world.copies(&id), [Some(3), Some(3), Some(6)]);
}

#[test]
fn two_neighbours_at_once_give_one_copy_and_the_second_helps_out() {
    let mut world = World::new(3);
    let id = world.submit(0, 0, 0);
    world.nodes[2].put_own(0, &message(0, 0).bundle);
    let stuck = |_: usize, frame: &mut Frame| !matches!(frame, Frame::Segment { .. });
    world.hook = Box::new(stuck);
    let link = world.link(0, 1);
    world.hook = Box::new(|_, _| true);
    world.link(2, 1);
    assert_eq!(world.copies(&id), [Some(6), None, Some(6)], "node 1 waits for node 0");
    world.cut(link);
    world.settle();
    assert_eq!(world.copies(&id), [Some(6), Some(3), Some(3)]);
}

#[test]
fn copies_are_never_promised_to_two() {
    let mut world = World::new(4);
    world.hook = Box::new(|_, frame| !matches!(frame, Frame::Accept(_)));
    for peer in 1..4 {
        world.link(0, peer);
    }
    let id = world.submit(0, 0, 0);
    let mut promised: Vec<u8> = world.nodes[0].core.promised().into_values().collect();
    promised.sort_unstable();
    assert_eq!(promised, [1, 1, 3]);
    world.hook = Box::new(|_, _| true);
    world.cut(LinkId(1));
    world.settle();
    assert_eq!(world.copies(&id), [Some(6), None, None, None]);
}

#[test]
fn a_tombstone_kills_on_links_before_anything_is_offered() {
    let mut world = World::new(2);
    let id = world.submit(0, 0, 0);
    world.nodes[1].put_own(0, &message(0, 0).bundle);
    world.event(1, Event::Revealed { reveals: vec![message(0, 0).reveal] });
    assert_eq!(world.copies(&id), [Some(6), None]);
    world.link(0, 1);
    assert_eq!(world.copies(&id), [None, None]);
    assert_eq!(world.sent(0, |frame| matches!(frame, Frame::Offer(_))), 0);
    assert!(world.nodes[0].catalog.tombstone(&message(0, 0).bundle.commitment()).unwrap().is_some());
}

#[test]
fn a_tombstone_of_what_was_never_held_is_passed_on_and_refuses_the_bundle() {
    let mut world = World::new(3);
    world.event(0, Event::Revealed { reveals: vec![message(0, 0).reveal] });
    let link = world.link(0, 1);
    world.cut(link);
    let id = world.submit(2, 0, 0);
    world.link(1, 2);
    assert_eq!(world.copies(&id), [None, None, None]);
    assert_eq!(world.sent(2, |frame| matches!(frame, Frame::Segment { .. })), 0);
}

#[test]
fn the_first_reveal_waits_a_random_time() {
    let config = CoreConfig { reveal_delay_ms_max: 10_000, ..CoreConfig::default() };
    let mut world = World::with(2, &config);
    world.listens(1, 0);
    let id = world.submit(0, 0, 0);
    world.event(1, Event::UplinkUp);
    world.link(0, 1);
    assert_eq!(world.copies(&id), [Some(6), None], "delivered, and not revealed yet");
    assert!(world.told_bridge.is_empty());
    let due_ms = world.nodes[1].core.next_deadline_ms().unwrap();
    assert!(due_ms <= 11_000);
    world.advance(10_000);
    assert_eq!(world.copies(&id), [None, None]);
    assert_eq!(world.told_bridge, [(1, message(0, 0).reveal)]);
}

#[test]
fn reveals_for_the_bridge_survive_a_restart_until_confirmed() {
    let mut world = World::new(2);
    world.listens(1, 0);
    world.submit(0, 0, 0);
    world.link(0, 1);
    assert!(world.told_bridge.is_empty(), "no uplink yet");
    let reveal = message(0, 0).reveal;
    for _ in 0..2 {
        world.nodes[1].core = pigeon_core::Core::new(instant(), [9; 32]);
        world.event(1, Event::Started);
        world.event(1, Event::UplinkUp);
        assert_eq!(world.told_bridge.pop(), Some((1, reveal)));
    }
    world.event(1, Event::RevealConfirmed { reveals: vec![reveal] });
    world.event(1, Event::UplinkDown);
    world.event(1, Event::UplinkUp);
    assert!(world.told_bridge.is_empty());
}

#[test]
fn everything_with_an_uplink_goes_up_once_and_own_first() {
    let mut world = World::new(2);
    let other = world.submit(0, 0, 0);
    world.link(0, 1);
    let own = world.submit(1, 1, 0);
    let local = world.submit(1, 1, 2);
    world.event(1, Event::UplinkUp);
    assert_eq!(world.uploads, [(1, own), (1, other)], "{local} has no uplink block");
    world.event(1, Event::Verdict { bundle: own, accepted: true });
    world.event(1, Event::UplinkDown);
    world.event(1, Event::UplinkUp);
    assert_eq!(world.uploads.split_off(2), [(1, other)], "no verdict: it goes up again");
    world.event(1, Event::Verdict { bundle: other, accepted: false });
    world.event(1, Event::UplinkDown);
    world.event(1, Event::UplinkUp);
    assert_eq!(world.uploads.len(), 2, "accepted and refused stay down");
    assert!(world.nodes[1].entry(&own).unwrap().at_bridge);
    assert!(world.nodes[1].entry(&other).unwrap().refused_by_bridge);
}

#[test]
fn what_is_at_the_bridge_is_delivered_directly_but_not_sprayed() {
    let mut world = World::new(3);
    let id = world.submit(0, 0, 0);
    world.event(0, Event::UplinkUp);
    world.event(0, Event::Verdict { bundle: id, accepted: true });
    world.link(0, 1);
    assert_eq!(world.copies(&id), [Some(6), None, None]);
    world.listens(2, 0);
    world.link(0, 2);
    assert_eq!(world.nodes[2].mailbox.deliveries.len(), 1);
}

#[test]
fn news_goes_up_while_the_uplink_is_up_and_windows_are_kept() {
    let mut world = World::new(1);
    world.event(0, Event::UplinkUp);
    let mut ids = Vec::new();
    for recipient in 0..6 {
        ids.extend([0, 1].map(|number| world.submit(0, recipient, number)));
    }
    assert_eq!(world.uploads.len(), pigeon_core::limits::UPLOADS_MAX);
    for id in ids {
        world.event(0, Event::Verdict { bundle: id, accepted: true });
    }
    assert_eq!(world.uploads.len(), 12);
}

#[test]
fn the_last_copy_moves_to_better_nodes_only_and_three_times() {
    let mut world = World::new(6);
    let id = world.submit(0, 0, 0);
    let last = Entry { copies: 1, ..Entry::own(0, Some(WALL_S)) };
    world.nodes[0].catalog.apply(&[StoreOp::Update { id, entry: last }]);
    world.link(0, 1);
    assert_eq!(world.copies(&id)[..2], [Some(1), None], "no better than we are");
    assert_eq!(
        world.sent(0, |frame| matches!(frame, Frame::Decline { reason: DeclineReason::QualityTooLow, .. })),
        1
    );
    for node in 2..6 {
        for _ in 0..node {
            world.event(node, Event::UplinkUp);
            world.event(node, Event::UplinkDown);
        }
    }
    for node in 2..6 {
        let from = if node == 2 { 0 } else { node - 1 };
        world.link(from, node);
    }
    assert_eq!(world.copies(&id), [Some(0), None, Some(0), Some(0), Some(1), None]);
    assert_eq!(world.nodes[4].entry(&id).unwrap().moves, 3);
}

#[test]
fn contacts_are_recognised_and_strangers_are_not() {
    let mut world = World::new(3);
    for node in [0, 1] {
        let contact = ContactLink { contact: ContactId(7), recognition_key: [5; 32] };
        world.event(node, Event::Contacts(vec![contact]));
    }
    world.event(2, Event::Contacts(vec![ContactLink { contact: ContactId(8), recognition_key: [6; 32] }]));
    let id = world.submit(0, 0, 0);
    world.link(0, 1);
    world.link(0, 2);
    assert_eq!(world.nodes[1].entry(&id).unwrap().pool, Pool::Contact);
    assert_eq!(world.nodes[2].entry(&id).unwrap().pool, Pool::Stranger);
    assert!(world.said(1, &Notice::NeighbourRecognised { node: NodeKey([1; 32]), contact: ContactId(7) }));
    let recognised =
        world.notices.iter().filter(|(_, notice)| matches!(notice, Notice::NeighbourRecognised { .. }));
    assert_eq!(recognised.count(), 2);
    for (_, frame) in &world.frames {
        if let Frame::Recognise { macs, .. } = frame {
            assert_eq!(macs.len(), 16, "padded");
        }
    }
}

#[test]
fn closed_carriage_takes_contacts_mail_and_own_mail_only() {
    let mut world = World::with(2, &CoreConfig { carriage_open: false, ..instant() });
    let stranger = world.submit(0, 0, 0);
    let link = world.link(0, 1);
    assert_eq!(world.copies(&stranger), [Some(6), None]);
    world.cut(link);
    world.listens(1, 0);
    world.link(0, 1);
    assert_eq!(world.nodes[1].mailbox.deliveries.len(), 1);
    world.cut(LinkId(2));
    let told = world.submit(0, 1, 0);
    world.frames.clear();
    world.link_with(0, 1, |info| info.carriage_open = false);
    assert_eq!(world.copies(&told), [Some(6), None]);
    assert_eq!(world.sent(0, |frame| matches!(frame, Frame::Offer(_))), 0, "it said so: nothing is offered");
}

#[test]
fn two_links_between_two_nodes_collapse_to_the_smaller_diallers() {
    for first_dials in [true, false] {
        let mut world = World::new(2);
        let (one, two) = if first_dials { (0, 1) } else { (1, 0) };
        let old = world.link(one, two);
        let new = world.link(two, one);
        let (kept, closed) = if first_dials { (old, new) } else { (new, old) };
        assert!(world.links.contains_key(&kept) && !world.links.contains_key(&closed));
        let ups = world.notices.iter().filter(|(_, notice)| matches!(notice, Notice::NeighbourUp { .. }));
        assert_eq!(ups.count(), 2);
        assert!(!world.notices.iter().any(|(_, notice)| matches!(notice, Notice::NeighbourDown { .. })));
        let id = world.submit(1, 0, 0);
        assert_eq!(world.copies(&id), [Some(3), Some(3)]);
    }
}

#[test]
fn a_peer_that_breaks_the_order_loses_its_link() {
    let mut world = World::new(2);
    let offer =
        Offer { bundle: BundleId([1; 32]), size: 10, copies: 1, quality: 0, moves: 0, age_s: 0, hops: 0 };
    let wrong = [
        Frame::Have { macs: vec![], last: true },
        Frame::TombstonesHeld { macs: vec![], last: true },
        Frame::Goodbye(GoodbyeReason::Done),
    ];
    for frame in wrong {
        let link = world.link(0, 1);
        world.event(1, Event::Frame { link, frame });
        assert!(!world.links.contains_key(&link));
    }
    let link = world.link(0, 1);
    world.event(1, Event::Frame { link, frame: Frame::Offer(offer) });
    world.event(1, Event::Frame { link, frame: Frame::Offer(offer) });
    assert!(!world.links.contains_key(&link));
    // Out of place, but harmless: it may be an answer to what was taken back.
    let link = world.link(0, 1);
    for frame in [
        Frame::Stored { bundle: BundleId([1; 32]) },
        Frame::Granted { bundle: BundleId([1; 32]), copies: 3 },
        Frame::Segment { bundle: BundleId([1; 32]), offset: 0, data: Bytes::from_static(b"x") },
        Frame::Decline { bundle: BundleId([1; 32]), reason: DeclineReason::Known },
    ] {
        world.event(1, Event::Frame { link, frame });
    }
    assert!(world.links.contains_key(&link));
    assert_eq!(world.nodes[1].copies(&BundleId([1; 32])), None);
}

#[test]
fn a_grant_counts_once_and_never_more_than_offered() {
    let mut world = World::new(2);
    let id = world.submit(0, 0, 0);
    let other = world.submit(0, 0, 1);
    let half = Entry { copies: 2, ..Entry::own(0, Some(WALL_S)) };
    world.nodes[0].catalog.apply(&[StoreOp::Update { id: other, entry: half }]);
    world.hook = Box::new(|_, frame| {
        if let Frame::Granted { copies, .. } = frame {
            *copies = 3;
        }
        true
    });
    let link = world.link(0, 1);
    assert_eq!(world.nodes[1].copies(&other), Some(1), "one was offered");
    world.event(1, Event::Frame { link, frame: Frame::Granted { bundle: id, copies: 3 } });
    assert_eq!(world.nodes[1].copies(&id), Some(3));
}

#[test]
fn expired_bundles_and_old_tombstones_go() {
    let mut world = World::new(1);
    let id = world.submit(0, 0, 0);
    let expires_s = message(0, 0).bundle.expires_s();
    world.event(0, Event::Revealed { reveals: vec![message(1, 0).reveal] });
    world.advance((expires_s - WALL_S) * 1000 - 2_000);
    assert_eq!(world.copies(&id), [Some(6)]);
    world.advance(61_000);
    assert_eq!(world.copies(&id), [None]);
    assert!(world.said(0, &Notice::Purged { bundle: id, reason: RemovalReason::Expired }));
    assert_eq!(world.nodes[0].catalog.tombstones(None, 10).unwrap().len(), 1);
    world.advance(40 * 86_400_000);
    assert_eq!(world.nodes[0].catalog.tombstones(None, 10).unwrap().len(), 0);
}

#[test]
fn own_mail_stays_when_the_store_is_full_and_strangers_mail_makes_room() {
    let config = CoreConfig { quota_bytes: 120_000, ..instant() };
    let mut world = World::new(2);
    world.nodes[1] = Node::new(2, config);
    world.event(1, Event::Started);
    let foreign: Vec<BundleId> = [0, 1, 3].map(|number| world.submit(0, 0, number)).into();
    world.link(0, 1);
    assert!(foreign.iter().all(|id| world.nodes[1].copies(id).is_some()));
    let own: Vec<BundleId> = [5, 2, 3].map(|number| world.submit(1, 1, number)).into();
    let more = world.submit(1, 2, 5);
    assert!(own.iter().chain([&more]).all(|id| world.nodes[1].copies(id).is_some()));
    assert!(foreign.iter().all(|id| world.nodes[1].copies(id).is_none()), "strangers' mail went");
    let refused = world.submit(0, 3, 0);
    assert_eq!(world.nodes[1].copies(&refused), None);
}

#[test]
fn after_a_restart_what_is_ours_is_opened_again() {
    let mut world = World::new(1);
    let bundle = &message(0, 0).bundle;
    let entry = Entry { copies: 0, pool: Pool::Contact, ..Entry::own(0, None) };
    world.nodes[0].catalog.apply(&[StoreOp::Put { bundle: bundle.clone(), entry }]);
    world.listens(0, 0);
    assert_eq!(world.nodes[0].mailbox.deliveries.len(), 1);
    assert_eq!(world.copies(&bundle.id()), [None]);
}

#[test]
fn a_message_from_the_uplink_kills_carried_copies_too() {
    let mut world = World::new(2);
    world.listens(1, 0);
    let id = message(0, 0).bundle.id();
    let outcome = world.nodes[1].mailbox.open(&message(0, 0).bundle);
    world.event(1, Event::UplinkUp);
    world.event(1, Event::Opened { bundle: id, outcome });
    assert_eq!(world.told_bridge, [(1, message(0, 0).reveal)]);
    world.submit(0, 0, 0);
    world.link(0, 1);
    assert_eq!(world.copies(&id), [None, None]);
    assert_eq!(world.nodes[1].mailbox.deliveries[&message(0, 0).bundle.message_digest()], 1);
}

#[test]
fn a_node_without_a_clock_believes_its_neighbours() {
    let mut world = World::new(2);
    world.nodes[1].clock = false;
    let now = world.nodes[1].now(world.now_ms);
    assert_eq!(world.nodes[1].core.wall_s(now), None);
    world.link_with(0, 1, |info| {
        info.clock_s = Some(WALL_S + 77);
    });
    assert_eq!(world.nodes[1].core.wall_s(now), Some(WALL_S + 77));
    let id = world.submit(0, 0, 0);
    assert_eq!(world.nodes[1].entry(&id).unwrap().received_wall_s, Some(WALL_S + 77));
}

#[test]
fn reachable_tags_raise_the_quality_that_keeps_a_last_copy() {
    let mut world = World::with(2, &CoreConfig { reachable: Reachable::Everyone, ..instant() });
    world.listens(1, 0);
    world.link(0, 1);
    assert_eq!(world.sent(1, |frame| matches!(frame, Frame::Reachable { .. })), 1);
    world.nodes.push(Node::new(3, instant()));
    world.event(2, Event::Started);
    world.event(2, Event::UplinkUp);
    world.cut(LinkId(1));
    let id = world.submit(0, 0, 0);
    let last = Entry { copies: 1, ..Entry::own(0, Some(WALL_S)) };
    world.nodes[0].catalog.apply(&[StoreOp::Update { id, entry: last }]);
    world.link(0, 2);
    assert_eq!(world.copies(&id), [Some(1), None, None], "one meeting against one uplink window");
}

#[test]
fn a_silent_peer_is_given_up() {
    let mut world = World::new(2);
    world.hook = Box::new(|node, _| node == 0);
    let link = world.link(0, 1);
    world.advance(pigeon_core::limits::SILENCE_MS - 1);
    assert!(world.links.contains_key(&link));
    world.advance(1);
    assert!(!world.links.contains_key(&link));
}
