//! How much is taken from whom, and that nothing is refused for ever that is refused for now.

use pigeon_bundle::BundleId;
use pigeon_core::limits::{SESSION_EVERY_MS, SESSIONS_MAX, SILENCE_MS};
use pigeon_core::{
    CarryFor, ContactId, ContactLink, Core, CoreConfig, Entry, Event, LinkInfo, Notice, PeerId, Rates, Role,
    StoreOp,
};
use pigeon_proto::{DeclineReason, Frame};

use crate::support::pool::{MESSAGES, RECIPIENTS, WALL_S};
use crate::world::{World, instant};

/// Rounds of waiting after which everything must have been taken.
const ROUNDS: u32 = 1_000;

fn held(world: &World, node: usize, ids: &[BundleId]) -> usize {
    ids.iter().filter(|id| world.nodes[node].copies(id).is_some()).count()
}

fn declined(world: &World, node: usize, wanted: DeclineReason) -> usize {
    world.sent(node, |frame| matches!(frame, Frame::Decline { reason, .. } if *reason == wanted))
}

/// A carrier whose first link breaks in the middle of transfers, by itself or for a second link, still takes its
/// day's share.
#[test]
fn what_did_not_arrive_is_no_part_of_the_days_share() {
    for cut in [true, false] {
        let mut world = World::with(2, &CoreConfig { daily_bundles: 5, ..instant() });
        let ids: Vec<BundleId> = (0..6).map(|number| world.submit(0, number, 3)).collect();
        let mut segments = 0;
        world.hook = Box::new(move |_, frame| {
            segments += usize::from(matches!(frame, Frame::Segment { .. }));
            segments < 6 || !matches!(frame, Frame::Segment { .. })
        });
        let link = world.link(1, 0);
        assert_eq!(held(&world, 1, &ids), 1, "the rest is on its way");
        if cut {
            world.cut(link);
        }
        world.hook = Box::new(|_, _| true);
        world.link(0, 1);
        assert_eq!(held(&world, 1, &ids), 5, "cut: {cut}");
        assert!(declined(&world, 1, DeclineReason::CarriageClosed) > 0);
    }
}

/// Everything refused for want of tokens is offered again on the same link, until all of it was taken.
#[test]
fn a_link_that_stays_up_brings_everything_as_tokens_return() {
    let size = 200_000;
    let rates = Rates { newcomers: size, address: size, stranger: size, pull: size, ..Rates::default() };
    let mut world = World::with(2, &CoreConfig { rates, ..instant() });
    let ids: Vec<BundleId> = (0..RECIPIENTS * MESSAGES)
        .map(|number| world.submit(0, number / MESSAGES, number % MESSAGES))
        .collect();
    world.link(0, 1);
    assert!(held(&world, 1, &ids) < ids.len(), "the buckets are too large for this test");
    let mut rounds = 0;
    while held(&world, 1, &ids) < ids.len() {
        rounds += 1;
        assert!(rounds < ROUNDS, "{} of {} after {} ms", held(&world, 1, &ids), ids.len(), world.now_ms);
        let due_ms = (0..2).filter_map(|node| world.nodes[node].core.next_deadline_ms()).min().unwrap();
        world.advance(due_ms.saturating_sub(world.now_ms).max(1));
    }
    assert_eq!(world.links.len(), 1, "over one link");
}

#[test]
fn pulls_beyond_the_bucket_are_served_when_it_is_full_again() {
    let rates = Rates { pull: 1, ..Rates::default() };
    // Nothing comes with copies.
    let mut world = World::with(2, &CoreConfig { rates, carry: CarryFor::Contacts, ..instant() });
    world.listens(1, 0);
    for number in 0..MESSAGES {
        world.submit(0, 0, number);
    }
    world.link_with(0, 1, |info| info.carriage_open = false);
    assert!(world.nodes[1].mailbox.deliveries.len() < MESSAGES, "the bucket is too large for this test");
    for _ in 0..ROUNDS {
        world.advance(60_000);
    }
    assert_eq!(world.nodes[1].mailbox.deliveries.len(), MESSAGES);
}

#[test]
fn who_carries_nothing_takes_its_own_mail_only() {
    let mut world = World::with(2, &CoreConfig { carry: CarryFor::Nobody, ..instant() });
    let contact = ContactLink { contact: ContactId(7), recognition_key: [5; 32] };
    for node in 0..2 {
        world.event(node, Event::Contacts(vec![contact.clone()]));
    }
    world.listens(1, 1);
    let theirs = world.submit(0, 0, 0);
    world.submit(0, 1, 0);
    world.link(0, 1);
    assert_eq!(world.nodes[1].mailbox.deliveries.len(), 1);
    assert_eq!(world.copies(&theirs), [Some(6), None], "not even a contact's");
    assert!(!world.nodes[1].core.carriage_open(world.nodes[1].now(world.now_ms)));
}

#[test]
fn pigeons_only_keeps_own_mail_from_the_uplink_and_lets_others_up() {
    let mut world = World::with(2, &CoreConfig { pigeons_only: true, ..instant() });
    let own = world.submit(1, 0, 0);
    let others = world.submit(0, 1, 0);
    world.link(0, 1);
    world.event(1, Event::UplinkUp);
    assert_eq!(world.uploads, [(1, others)]);
    world.event(0, Event::UplinkUp);
    assert_eq!(world.uploads, [(1, others), (0, own)], "a pigeon takes it up");
}

#[test]
fn hello_says_when_the_days_share_is_used_up() {
    let mut world = World::with(2, &CoreConfig { daily_bundles: 1, ..instant() });
    let open = |world: &World| world.nodes[1].core.carriage_open(world.nodes[1].now(world.now_ms));
    world.submit(0, 0, 0);
    assert_eq!((open(&world), world.carriage.last()), (true, Some(&(1, true))));
    world.link(0, 1);
    assert_eq!((open(&world), world.carriage.last()), (false, Some(&(1, false))));
    world.advance(24 * 3_600_000);
    assert_eq!((open(&world), world.carriage.last()), (true, Some(&(1, true))));
}

#[test]
fn who_has_carried_for_us_is_served_first() {
    for helper in [1, 2] {
        let mut world = World::new(4);
        // One of the two has carried something for node 0.
        let first = world.submit(0, 0, 0);
        let link = world.link(0, helper);
        world.cut(link);
        let spent = Entry { copies: 0, ..Entry::own(0, Some(WALL_S)) };
        world.nodes[0].catalog.apply(&[StoreOp::Update { id: first, entry: spent }]);
        for node in [1, 2] {
            world.link(0, node);
        }
        // Node 0 is granted two copies: one is to be given on.
        let id = world.submit(3, 1, 0);
        let entry = Entry { copies: 4, ..Entry::own(0, Some(WALL_S)) };
        world.nodes[3].catalog.apply(&[StoreOp::Update { id, entry }]);
        // Its lists are answered before the grant is written, so that both links wait for the same thing.
        world.hold_commits = true;
        world.link(3, 0);
        for node in [0, 3, 0] {
            let (token, ops) = world.nodes[node].commits.pop_front().unwrap();
            world.nodes[node].catalog.apply(&ops);
            world.event(node, Event::Committed { token, result: Ok(()) });
        }
        world.hold_commits = false;
        world.settle();
        let expected = if helper == 1 { [Some(1), Some(1), None] } else { [Some(1), None, Some(1)] };
        assert_eq!(world.copies(&id)[..3], expected);
    }
}

#[test]
fn what_was_done_is_counted_and_survives_a_restart() {
    let traffic = |world: &World, node: usize| {
        let counters = world.nodes[node].core.counters();
        [
            counters.carried_own,
            counters.carried_for_others,
            counters.sent_direct,
            counters.sent_via_pigeons,
            counters.delivered_by_pigeons,
        ]
        .map(|traffic| traffic.messages)
    };
    let mut world = World::new(4);
    world.listens(2, 2);
    world.submit(0, 2, 0);
    let to_pigeon = world.link(0, 1);
    assert_eq!((traffic(&world, 0), traffic(&world, 1)), ([1, 0, 0, 1, 0], [0, 1, 0, 0, 0]));
    world.link(1, 2);
    assert_eq!(traffic(&world, 0), [1, 0, 0, 1, 1], "its tombstone came back over the pigeon");
    assert_eq!(traffic(&world, 2), [0; 5], "what is for us is not carried");
    world.cut(to_pigeon);
    world.submit(0, 2, 1);
    world.submit(0, 1, 1);
    world.link(0, 2);
    assert_eq!(traffic(&world, 0)[2..], [1, 2, 1], "brought by itself, and the other handed over");
    world.event(0, Event::UplinkUp);
    let (_, last) = world.uploads.pop().unwrap_or_else(|| panic!("nothing is uploaded"));
    for _ in 0..2 {
        world.event(0, Event::Verdict { bundles: vec![last], accepted: true });
    }
    let counted = world.nodes[0].core.counters();
    world.event(0, Event::Stopping);
    world.nodes[0].core = Core::new(instant(), [9; 32]);
    world.event(0, Event::Started);
    assert_eq!(world.nodes[0].core.counters(), counted);
}

#[test]
fn the_days_share_is_counted_over_a_restart() {
    let config = CoreConfig { daily_bundles: 1, ..instant() };
    let mut world = World::with(2, &config);
    world.submit(0, 0, 0);
    world.link(0, 1);
    world.event(1, Event::Stopping);
    world.nodes[1].core = Core::new(config, [9; 32]);
    world.event(1, Event::Started);
    assert_eq!(world.carriage.last(), Some(&(1, false)), "a restart is no new day");
    world.advance(24 * 3_600_000);
    assert_eq!(world.carriage.last(), Some(&(1, true)));
}

#[test]
fn a_node_is_not_met_again_for_nothing() {
    let mut world = World::new(2);
    let peer = PeerId("a".into());
    let meet = |world: &mut World| {
        let named = |info: &mut LinkInfo| info.peer = (info.role == Role::Dialler).then(|| peer.clone());
        let link = world.link_with(0, 1, named);
        world.cut(link);
    };
    world.event(0, Event::Seen { peer: peer.clone(), dial_first: true });
    meet(&mut world);
    world.advance(SESSION_EVERY_MS / 2);
    assert_eq!(world.dials.len(), 1, "all is said");
    world.advance(SESSION_EVERY_MS / 2);
    assert_eq!(world.dials.len(), 2);
    meet(&mut world);
    world.submit(0, 0, 0);
    world.advance(SESSION_EVERY_MS / 4);
    assert_eq!(world.dials.len(), 3, "there is news");
    for _ in 0..2 * SESSIONS_MAX {
        meet(&mut world);
    }
    let ups = world.notices.iter().filter(|(_, notice)| matches!(notice, Notice::NeighbourUp { .. })).count();
    assert!(ups <= 4 + 2 * SESSIONS_MAX as usize, "{ups} sessions at both nodes");
}

/// Each refusal frees the copies for the other link; neither is asked again at once.
#[test]
fn two_that_refuse_are_not_asked_in_turn_for_ever() {
    for reason in [DeclineReason::Expired, DeclineReason::SizeOrLifetime, DeclineReason::StorageFailed] {
        let mut world = World::new(3);
        world.hook = Box::new(move |_, frame| {
            if let Frame::Accept(accept) = frame {
                *frame = Frame::Decline { bundle: accept.bundle, reason };
            }
            true
        });
        world.link(0, 1);
        world.link(0, 2);
        world.submit(0, 0, 0);
        assert!(world.sent(0, |frame| matches!(frame, Frame::Offer(_))) <= 4, "{reason:?}");
    }
}

/// Silence counts from the question, not from the last word of a talk that had ended.
#[test]
fn an_old_link_is_not_given_up_for_a_new_question() {
    let mut world = World::new(2);
    world.link(0, 1);
    world.advance(SILENCE_MS * 3);
    world.hook = Box::new(|_, frame| !matches!(frame, Frame::Pull { .. } | Frame::Accept(_)));
    world.submit(0, 0, 0);
    world.advance(SILENCE_MS - 1);
    assert_eq!(world.links.len(), 1, "the peer has time to answer");
    world.advance(1);
    assert_eq!(world.links.len(), 0);
}
