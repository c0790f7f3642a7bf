//! Up to the bridge, and what it is told.

use pigeon_core::limits::{UPLOAD_WINDOW_BYTES, VERDICT_TIMEOUT_MS};
use pigeon_core::{Catalog, Core, Event};

use crate::support::pool::message;
use crate::world::{World, instant};

#[test]
fn reveals_for_the_bridge_survive_a_restart_until_confirmed() {
    let mut world = World::new(2);
    world.listens(1, 0);
    world.submit(0, 0, 0);
    world.link(0, 1);
    assert!(world.told_bridge.is_empty(), "no uplink yet");
    let reveal = message(0, 0).reveal;
    for _ in 0..2 {
        world.nodes[1].core = Core::new(instant(), [9; 32]);
        world.event(1, Event::Started);
        world.event(1, Event::UplinkUp);
        assert_eq!(world.told_bridge.pop(), Some((1, reveal)));
    }
    world.event(1, Event::RevealConfirmed { reveals: vec![reveal] });
    world.event(1, Event::UplinkDown);
    world.event(1, Event::UplinkUp);
    assert!(world.told_bridge.is_empty());
}

/// What an author cancels goes from every node it meets, and the bridge hears of it until it confirms.
#[test]
fn a_cancelled_message_is_purged_everywhere_and_the_bridge_is_told() {
    let mut world = World::new(3);
    let id = world.submit(0, 0, 0);
    let reveal = message(0, 0).reveal;
    let link = world.link(0, 1);
    world.cut(link);
    assert!(world.copies(&id)[1].is_some());
    world.event(0, Event::Cancelled { reveals: vec![reveal] });
    assert_eq!(world.copies(&id)[0], None);
    world.link(0, 1);
    assert_eq!(world.copies(&id), [None, None, None]);
    // Kept over a restart, told on every uplink until confirmed.
    world.nodes[0].core = Core::new(instant(), [9; 32]);
    world.event(0, Event::Started);
    assert!(world.told_bridge.is_empty());
    world.event(0, Event::UplinkUp);
    assert_eq!(world.told_bridge.pop(), Some((0, reveal)));
    // A node that never held it knows r all the same, and says so to its mailbox.
    world.link(1, 2);
    let commitment = message(0, 0).bundle.commitment();
    let known = world.nodes[2].core.reveal_of(&world.nodes[2].catalog, &commitment).unwrap();
    assert_eq!(known, Some(reveal));
    assert_eq!(world.nodes[2].catalog.tombstone(&commitment).unwrap(), None);
}

/// The author's receipt is no cancellation: the recipient tells the bridge.
#[test]
fn what_a_receipt_reveals_is_not_the_author_s_to_tell_the_bridge() {
    let mut world = World::new(1);
    world.submit(0, 0, 0);
    world.event(0, Event::UplinkUp);
    world.event(0, Event::Revealed { reveals: vec![message(0, 0).reveal] });
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
    world.event(1, Event::Verdict { bundles: vec![own], accepted: true });
    world.event(1, Event::UplinkDown);
    world.event(1, Event::UplinkUp);
    assert_eq!(world.uploads.split_off(2), [(1, other)], "no verdict: it goes up again");
    world.event(1, Event::Verdict { bundles: vec![other], accepted: false });
    world.event(1, Event::UplinkDown);
    world.event(1, Event::UplinkUp);
    assert_eq!(world.uploads.len(), 2, "accepted and refused stay down");
    assert!(world.nodes[1].entry(&own).unwrap().at_bridge);
    assert!(world.nodes[1].entry(&other).unwrap().refused_by_bridge);
}

/// Nobody of ours could take it, then the user adds the account that can.
#[test]
fn what_was_refused_goes_up_again_when_a_bridge_is_added() {
    let mut world = World::new(2);
    let (first, second) = (world.submit(1, 0, 0), world.submit(1, 1, 0));
    world.event(1, Event::UplinkUp);
    world.event(1, Event::Verdict { bundles: vec![first], accepted: true });
    world.event(1, Event::Verdict { bundles: vec![second], accepted: false });
    world.uploads.clear();
    world.event(1, Event::BridgeAdded);
    assert_eq!(world.uploads, [(1, second)], "at once, where another way is up already");
    world.event(1, Event::Verdict { bundles: vec![second], accepted: false });
    world.event(1, Event::UplinkDown);
    world.event(1, Event::BridgeAdded);
    assert!(!world.nodes[1].entry(&second).unwrap().refused_by_bridge);
    assert_eq!(world.uploads.split_off(1), [], "nothing is up");
    world.event(1, Event::UplinkUp);
    assert_eq!(world.uploads.split_off(1), [(1, second)]);
}

#[test]
fn what_is_at_the_bridge_is_delivered_directly_but_not_sprayed() {
    let mut world = World::new(3);
    let id = world.submit(0, 0, 0);
    world.event(0, Event::UplinkUp);
    world.event(0, Event::Verdict { bundles: vec![id], accepted: true });
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
    assert_eq!(world.uploads.len(), 12, "small ones do not wait for each other");
    world.event(0, Event::Verdict { bundles: ids.clone(), accepted: true });
    // 25 kB and more each.
    let large: Vec<_> = (0..6).map(|recipient| world.submit(0, recipient, 3)).collect();
    let size = |recipient| u64::try_from(message(recipient, 3).bundle.as_bytes().len()).unwrap();
    let sizes: Vec<u64> = (0..6).map(size).collect();
    assert!(sizes.iter().sum::<u64>() > UPLOAD_WINDOW_BYTES, "{sizes:?}");
    let before = sizes.iter().scan(0, |sum, size| {
        *sum += size;
        Some(*sum - size)
    });
    let fitting = before.take_while(|sum| *sum < UPLOAD_WINDOW_BYTES).count();
    assert_eq!(world.uploads[12..].len(), fitting);
    assert!(fitting < large.len());
    world.event(0, Event::Verdict { bundles: vec![large[0]], accepted: true });
    assert_eq!(world.uploads[12..].len(), fitting + 1);
    // Without a verdict it goes up again, and so does what waited.
    world.advance(VERDICT_TIMEOUT_MS);
    let again: Vec<_> = world.uploads[12 + fitting + 1..].iter().map(|(_, id)| *id).collect();
    assert!(large.iter().skip(1).all(|id| world.uploads.contains(&(0, *id))), "{again:?}");
    assert_eq!(again.len(), fitting, "{again:?}");
}
