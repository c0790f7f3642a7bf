//! To the recipient: pulls, opening, and the tombstone that follows.

use pigeon_bundle::NodeKey;
use pigeon_core::{Catalog, CoreConfig, Entry, Event, Notice, Opened, Pool, RemovalReason, StoreOp};
use pigeon_proto::Frame;

use crate::support::pool::{message, pool};
use crate::world::World;

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
