//! Copies: who gets how many, and what a loss at each step costs.

use pigeon_bundle::NodeKey;
use pigeon_core::limits::DEFER_MS;
use pigeon_core::{
    Catalog, CommitFailure, CoreConfig, Entry, Event, LinkId, Notice, Pool, Reachable, StoreOp,
};
use pigeon_proto::{DeclineReason, Frame};

use crate::support::pool::{WALL_S, message};
use crate::world::{World, instant};

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
    let full = Err(CommitFailure::Full);
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
fn nobody_keeps_a_bundle_from_us_by_beginning_to_send_it() {
    let mut world = World::new(3);
    let id = world.submit(0, 0, 0);
    world.nodes[2].put_own(0, &message(0, 0).bundle);
    world.hook = Box::new(|node, frame| node != 0 || !matches!(frame, Frame::Segment { .. }));
    world.link(0, 1);
    world.link(2, 1);
    world.advance(DEFER_MS - 1);
    assert_eq!(world.copies(&id), [Some(6), None, Some(6)]);
    world.advance(1);
    assert_eq!(world.copies(&id), [Some(6), Some(3), Some(3)]);
    // What the first one brings in the end is known.
    world.hook = Box::new(|_, _| true);
    let bytes = message(0, 0).bundle.as_bytes().clone();
    let segment = Frame::Segment { bundle: id, offset: 0, data: bytes };
    let link = LinkId(1);
    world.event(1, Event::Frame { link, frame: segment });
    let known = Frame::Decline { bundle: id, reason: DeclineReason::Known };
    assert_eq!(world.sent(1, |frame| *frame == known), 1);
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
fn the_last_copy_moves_only_where_it_gains() {
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
    assert_eq!(world.copies(&id), [Some(0), None, Some(0), Some(0), Some(1), None], "the fifth adds nothing");
    assert_eq!(world.nodes[4].entry(&id).unwrap().moves, 3);
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
fn a_last_copy_goes_to_who_has_met_its_recipient() {
    let mut world = World::with(4, &CoreConfig { reachable: Reachable::Everyone, ..instant() });
    world.listens(1, 0);
    world.link(1, 2);
    assert_eq!(world.sent(1, |frame| matches!(frame, Frame::Reachable { .. })), 1);
    world.cut(LinkId(1));
    let id = world.submit(0, 0, 0);
    let last = Entry { copies: 1, ..Entry::own(0, Some(WALL_S)) };
    world.nodes[0].catalog.apply(&[StoreOp::Update { id, entry: last }]);
    world.link(0, 3);
    world.link(0, 2);
    assert_eq!(world.copies(&id), [Some(0), None, Some(1), None], "node 3 has never met it");
}

#[test]
fn a_hand_over_whose_write_fails_is_not_lost_in_a_later_write() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.hold_commits = true;
    let id = world.submit(0, 0, 0);
    let (token, ops) = world.nodes[1].commits.pop_back().unwrap();
    world.nodes[1].catalog.apply(&ops);
    world.event(1, Event::Committed { token, result: Ok(()) });
    world.event(0, Event::Verdict { bundles: vec![id], accepted: false });
    let (token, _) = world.nodes[0].commits.pop_front().unwrap();
    world.event(0, Event::Committed { token, result: Err(CommitFailure::Full) });
    world.hold_commits = false;
    world.settle();
    assert_eq!(world.copies(&id), [Some(6), Some(0)]);
    assert!(world.nodes[0].entry(&id).unwrap().refused_by_bridge);
}

#[test]
fn granted_copies_are_not_given_on_before_they_are_written() {
    for written in [true, false] {
        let mut world = World::new(3);
        world.link(0, 1);
        let onward = world.link(1, 2);
        world.hook = Box::new(|node, frame| node != 2 || !matches!(frame, Frame::Pull { .. }));
        world.hold_commits = true;
        let id = world.submit(0, 0, 0);
        // The taker's write, the giver's, and then the taker's copies, on their way.
        for node in [1, 0] {
            let (token, ops) = world.nodes[node].commits.pop_front().unwrap();
            world.nodes[node].catalog.apply(&ops);
            world.event(node, Event::Committed { token, result: Ok(()) });
        }
        assert_eq!(world.nodes[1].commits.len(), 1);
        // Node 2 wants nothing directly, so node 1 may offer copies now, if it has any.
        world.event(1, Event::Frame { link: onward, frame: Frame::Pull { macs: vec![] } });
        assert!(world.nodes[1].core.promised().is_empty());
        let (token, ops) = world.nodes[1].commits.pop_front().unwrap();
        if written {
            world.nodes[1].catalog.apply(&ops);
        }
        let result = if written { Ok(()) } else { Err(CommitFailure::Full) };
        world.event(1, Event::Committed { token, result });
        world.hold_commits = false;
        world.settle();
        let expected = if written { [Some(3), Some(2), Some(1)] } else { [Some(3), Some(0), None] };
        assert_eq!(world.copies(&id), expected);
    }
}
