//! Delegated pick-up: who is given a token and when, whose token is kept, and the way of what was fetched.

use pigeon_bundle::Reveal;
use pigeon_core::limits::{TOKEN_AGAIN_MS, TOKENS_PER_LINK_MAX};
use pigeon_core::{ContactId, ContactLink, CoreConfig, Event, LinkId, Notice, Whom};
use pigeon_proto::{Frame, PickupToken};

use crate::support::pool::{WALL_S, message};
use crate::world::{World, instant};

const WAIT_MS: u64 = 10_000;

fn config(whom: Whom) -> CoreConfig {
    CoreConfig { pickup_ask: whom, pickup_fetch: whom, pickup_wait_ms: WAIT_MS, ..instant() }
}

fn token() -> PickupToken {
    PickupToken { domain: "bridge.h".into(), token: b"sealed".as_slice().into(), expires_s: WALL_S + 7_200 }
}

/// Both list each other.
fn befriend(world: &mut World, one: usize, two: usize) {
    let contact = |n: u64| vec![ContactLink { contact: ContactId(n), recognition_key: [7; 32] }];
    world.event(one, Event::Contacts(contact(1)));
    world.event(two, Event::Contacts(contact(2)));
}

#[test]
fn only_contacts_are_asked_only_when_the_bridge_is_away_and_not_again_at_once() {
    let mut world = World::with(3, &config(Whom::Contacts));
    befriend(&mut world, 0, 1);
    world.event(0, Event::UplinkUp);
    for node in [1, 2] {
        world.event(node, Event::UplinkUp);
    }
    let link = world.link(0, 1);
    world.link(0, 2);
    world.advance(2 * WAIT_MS);
    assert!(world.tokens_wanted.is_empty(), "asked though the bridge is there");
    world.event(0, Event::UplinkDown);
    world.advance(WAIT_MS - 1);
    assert!(world.tokens_wanted.is_empty(), "asked too early");
    let now = world.nodes[0].now(world.now_ms);
    assert_eq!(world.nodes[0].core.next_deadline_ms().map(|due| due <= now.mono_ms + 1), Some(true));
    world.advance(1);
    assert_eq!(world.tokens_wanted, [(0, link, world.nodes[1].key)], "node 2 is a stranger");
    world.advance(TOKEN_AGAIN_MS - 1);
    assert_eq!(world.tokens_wanted.len(), 1);
    world.advance(1);
    assert_eq!(world.tokens_wanted.len(), 2);
}

#[test]
fn a_token_reaches_its_carrier_if_that_fetches_for_us() {
    for (whom, kept) in [(Whom::Nobody, 0), (Whom::Contacts, 0), (Whom::Everyone, 1)] {
        let mut world = World::with(2, &config(whom));
        let link = world.link(0, 1);
        world.event(0, Event::TokenIssued { link, token: token() });
        assert_eq!(world.tokens_kept.len(), kept, "{whom:?}");
        assert!(world.said(0, &Notice::TokenGiven { node: world.nodes[1].key }));
    }
    let mut world = World::with(2, &config(Whom::Contacts));
    befriend(&mut world, 0, 1);
    let link = world.link(0, 1);
    world.event(0, Event::TokenIssued { link, token: token() });
    assert_eq!(world.tokens_kept, [(1, token())]);
    world.event(0, Event::TokenIssued { link: LinkId(99), token: token() });
    assert_eq!(world.tokens_kept.len(), 1, "the link is gone");
}

#[test]
fn tokens_of_the_past_of_the_far_future_and_too_many_are_dropped() {
    let mut world = World::with(2, &config(Whom::Everyone));
    let link = world.link(0, 1);
    let now_s = WALL_S + world.now_ms / 1_000;
    for expires_s in [0, now_s - 1, now_s + 26 * 3_600] {
        let bad = PickupToken { expires_s, ..token() };
        world.event(1, Event::Frame { link, frame: Frame::PickupToken(bad) });
    }
    assert!(world.tokens_kept.is_empty(), "{:?}", world.tokens_kept);
    for _ in 0..2 * TOKENS_PER_LINK_MAX {
        world.event(1, Event::Frame { link, frame: Frame::PickupToken(token()) });
    }
    // Three were counted before.
    assert_eq!(world.tokens_kept.len(), usize::try_from(TOKENS_PER_LINK_MAX).unwrap() - 3);
}

#[test]
fn what_was_fetched_goes_to_its_recipient_only_and_neither_up_nor_on() {
    let mut world = World::with(3, &config(Whom::Contacts));
    world.listens(0, 0);
    let bundle = message(0, 0).bundle.clone();
    let id = bundle.id();
    world.event(1, Event::Fetched { bundle: bundle.clone() });
    assert!(world.said(1, &Notice::Fetched { bundle: id }));
    assert_eq!(world.copies(&id), [None, Some(0), None]);
    world.event(1, Event::UplinkUp);
    assert!(world.uploads.is_empty(), "the bridge has it");
    world.link(1, 2);
    assert_eq!(world.copies(&id)[2], None, "a stranger got it");
    world.link(1, 0);
    assert!(world.said(1, &Notice::DeliveredDirect { bundle: id, node: world.nodes[0].key }));
    assert_eq!(world.copies(&id), [None, None, None], "delivered, and purged by its r");
    // And it does not come back.
    world.event(1, Event::Fetched { bundle });
    assert_eq!(world.copies(&id)[1], None);
}

#[test]
fn what_is_dead_or_held_is_not_fetched_and_the_own_is_opened() {
    let mut world = World::with(1, &config(Whom::Contacts));
    let bundle = message(0, 0).bundle.clone();
    world.event(0, Event::Revealed { reveals: vec![message(0, 0).reveal, Reveal([1; 32])] });
    world.event(0, Event::Fetched { bundle: bundle.clone() });
    assert_eq!(world.copies(&bundle.id()), [None]);
    let held = world.submit(0, 0, 1);
    let copies = world.copies(&held);
    world.event(0, Event::Fetched { bundle: message(0, 1).bundle.clone() });
    assert_eq!(world.copies(&held), copies, "an own message lost its copies");
    world.listens(0, 1);
    let own = message(1, 0).bundle.clone();
    world.event(0, Event::Fetched { bundle: own.clone() });
    assert!(world.said(0, &Notice::Fetched { bundle: own.id() }));
    assert_eq!(world.copies(&own.id()), [None], "opened and gone");
}
