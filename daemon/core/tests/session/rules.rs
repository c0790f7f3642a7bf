//! Recognition, limits, time, and peers that break the order.

use bytes::Bytes;
use pigeon_bundle::{BundleId, NodeKey};
use pigeon_core::limits::{RETIRE_MS, RETRY_MS};
use pigeon_core::{
    CarryFor, Catalog, ContactId, ContactLink, CoreConfig, Entry, Event, LinkId, Notice, Pool, RemovalReason,
    StoreOp,
};
use pigeon_proto::{DeclineReason, Frame, GoodbyeReason, Offer};

use crate::support::node::Node;
use crate::support::pool::{WALL_S, message};
use crate::world::{World, instant};

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
    let mut world = World::with(2, &CoreConfig { carry: CarryFor::Contacts, ..instant() });
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
fn a_hand_over_under_way_ends_on_the_link_that_gives_way() {
    // Both orders: once the new link gives way, once the old one.
    for (one, two) in [(0, 1), (1, 0)] {
        let mut world = World::new(2);
        let old = world.link(one, two);
        world.hold_commits = true;
        let id = world.submit(0, 0, 0);
        let new = world.link(two, one);
        world.hold_commits = false;
        world.settle();
        assert_eq!(world.copies(&id), [Some(3), Some(3)]);
        assert_eq!(world.sent(1, |frame| matches!(frame, Frame::Accept(_))), 1, "its bytes went once");
        assert_ne!(world.links.contains_key(&old), world.links.contains_key(&new), "one link stays");
        assert!(!world.notices.iter().any(|(_, notice)| matches!(notice, Notice::NeighbourDown { .. })));
    }
}

#[test]
fn a_link_that_gives_way_is_not_waited_for_without_end() {
    let mut world = World::new(2);
    world.link(1, 0);
    let id = world.submit(0, 0, 0);
    assert_eq!(world.copies(&id), [Some(3), Some(3)]);
    world.hook = Box::new(|_, frame| !matches!(frame, Frame::Stored { .. }));
    let lost = world.submit(0, 0, 1);
    assert_eq!(world.nodes[0].core.promised().len(), 1);
    let new = world.link(0, 1);
    assert_eq!(world.links.len(), 2, "the giver waits for Stored on the old one");
    world.advance(RETIRE_MS);
    assert_eq!(world.links.keys().collect::<Vec<_>>(), [&new]);
    assert_eq!(world.nodes[0].core.promised().len(), 0);
    assert_eq!(world.copies(&lost), [Some(6), Some(0)]);
}

#[test]
fn a_peer_that_breaks_the_order_loses_its_link() {
    let mut world = World::new(2);
    let offer = Offer {
        bundle: BundleId([1; 32]),
        size: 10,
        copies: 1,
        quality: 0,
        moves: 0,
        age_s: 0,
        hops: 0,
        tag: None,
    };
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
fn a_silent_peer_is_given_up() {
    let mut world = World::new(2);
    world.hook = Box::new(|node, _| node == 0);
    let link = world.link(0, 1);
    world.advance(pigeon_core::limits::SILENCE_MS - 1);
    assert!(world.links.contains_key(&link));
    world.advance(1);
    assert!(!world.links.contains_key(&link));
}

#[test]
fn room_is_made_in_order() {
    let config = CoreConfig { quota_bytes: 160_000, ..instant() };
    let mut world = World::new(1);
    world.nodes[0] = Node::new(1, config);
    world.event(0, Event::Started);
    let entry = |pool, at_bridge, copies| Entry { pool, at_bridge, copies, ..Entry::own(0, Some(WALL_S)) };
    // 32 KiB each: one at the bridge, two of strangers, one of a contact.
    let held = [
        (0, entry(Pool::Contact, true, 0)),
        (1, entry(Pool::Stranger, false, 1)),
        (2, entry(Pool::Stranger, false, 1)),
        (3, entry(Pool::Contact, false, 1)),
    ];
    for (recipient, entry) in held {
        let bundle = message(recipient, 3).bundle.clone();
        world.nodes[0].catalog.apply(&[StoreOp::Put { bundle, entry }]);
    }
    let mut gone = Vec::new();
    for (recipient, number) in [(4, 2), (4, 3), (5, 2), (5, 3), (0, 2)] {
        world.submit(0, recipient, number);
        let left = |recipient: &usize| world.nodes[0].copies(&message(*recipient, 3).bundle.id()).is_some();
        let missing: Vec<usize> = (0..4).filter(|recipient| !left(recipient)).collect();
        gone.push(missing);
    }
    assert_eq!(gone[0], [0], "the bridge has it");
    assert!(gone[1] == [0, 1] || gone[1] == [0, 2], "then strangers' mail: {gone:?}");
    assert_eq!(gone[2], [0, 1, 2]);
    assert_eq!(gone[3], [0, 1, 2, 3], "contacts' mail last");
    assert_eq!(
        world.nodes[0].catalog.usage().unwrap().own.bundles,
        5,
        "and own mail never, even above the quota"
    );
}

#[test]
fn what_did_not_fit_is_offered_again_on_the_same_link() {
    let mut world = World::new(2);
    world.nodes[1] = Node::new(2, CoreConfig { quota_bytes: 140_000, ..instant() });
    world.event(1, Event::Started);
    let own = [(1, 5), (2, 3), (3, 3)].map(|(recipient, number)| world.submit(1, recipient, number));
    let id = world.submit(0, 0, 3);
    world.link(0, 1);
    assert_eq!(world.copies(&id), [Some(6), None]);
    for (recipient, number) in [(1, 5), (2, 3)] {
        world.event(1, Event::Revealed { reveals: vec![message(recipient, number).reveal] });
    }
    assert!(world.nodes[1].copies(&own[0]).is_none());
    assert_eq!(world.copies(&id), [Some(6), None]);
    world.advance(RETRY_MS);
    assert_eq!(world.copies(&id)[1], Some(3));
}
