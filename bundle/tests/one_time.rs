//! One-time prekeys: used once, deleted when nothing can need them, and by a simulated clock.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{FixedRandom, NOW_S, Person, draft};
use pigeon_bundle::{
    CONTENT_MAX, DAY_S, Draft, Epoch, IdentityKey, KeyError, LIFETIME_MAX_S, ONE_TIME_KEEP_S,
    ONE_TIME_LIFETIME_S, ONE_TIME_MAX, ONE_TIME_PER_CONTACT_MAX, ONE_TIME_STOCK_MAX, OneTimeError,
    OneTimeKey, OneTimePublic, OneTimeRing, OneTimeStock, OpenError, OpenedWith, PrekeyRing, SealError,
    Sealed, content_room, open, seal, seal_once,
};
use proptest::prelude::*;

/// Jerry gives elaine `count` keys, as a message of his would.
fn give(jerry: &mut Person, elaine: &Person, count: usize, now_s: u64) -> (OneTimeStock, u64) {
    let rng = &mut FixedRandom::new("given");
    let issued = jerry.ring.one_time_mut().issue(elaine.identity.key(), count, now_s, rng);
    let expires_s = issued[0].expires_s();
    let keys: Vec<_> = issued.iter().map(OneTimeKey::public).collect();
    let mut stock = OneTimeStock::default();
    assert!(stock.add(&keys, expires_s));
    (stock, expires_s)
}

fn at<'a>(now_s: u64, draft: Draft<'a>) -> Draft<'a> {
    Draft { created_s: Some(now_s), epoch: Epoch::at(now_s), ..draft }
}

fn seal_one(elaine: &Person, jerry: &Person, stock: &mut OneTimeStock, now_s: u64, life_s: u64) -> Sealed {
    let draft = Draft { lifetime_s: life_s, ..at(now_s, draft(&jerry.card, b"once")) };
    let key = stock.take(Some(now_s)).unwrap();
    seal_once(&elaine.identity, &draft, key, &mut FixedRandom::new("seal once")).unwrap()
}

#[test]
fn a_message_opens_once_and_never_again() {
    let (elaine, mut jerry) = (Person::new("elaine"), Person::new("jerry"));
    let (mut stock, _) = give(&mut jerry, &elaine, 3, NOW_S);
    let bundle = seal_one(&elaine, &jerry, &mut stock, NOW_S, DAY_S).bundle;
    // A copy of all that is left after the message was opened and its key deleted.
    let opened = open(&bundle, &jerry.identity, &jerry.ring, Some(NOW_S)).unwrap();
    assert_eq!((&**opened.content, opened.author), (&b"once"[..], elaine.identity.key()));
    let OpenedWith::OneTime(key) = opened.with else { panic!("sealed to a one-time key: {:?}", opened.with) };
    assert!(jerry.ring.one_time_mut().remove(&key));
    assert!(!jerry.ring.one_time_mut().remove(&key));
    assert_eq!(jerry.ring.one_time().len(), 2, "the others are still there");
    for now_s in [Some(NOW_S), None] {
        assert_eq!(open(&bundle, &jerry.identity, &jerry.ring, now_s).unwrap_err(), OpenError::NoKey);
    }
    // It is a duplicate all the same: P needs no key.
    assert_eq!(bundle.message_digest(), opened.message);
    assert_eq!(opened.reveal.commitment(), bundle.commitment());
}

#[test]
fn what_a_message_was_sealed_to_is_told() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let rng = &mut FixedRandom::new("seal");
    let prekey = seal(&elaine.identity, &draft(&jerry.card, b"x"), rng).unwrap().bundle;
    let no_clock = Draft { created_s: None, ..draft(&jerry.card, b"x") };
    let fixed = seal(&elaine.identity, &no_clock, rng).unwrap().bundle;
    let with = |bundle| open(bundle, &jerry.identity, &jerry.ring, Some(NOW_S)).unwrap().with;
    assert_eq!((with(&prekey), with(&fixed)), (OpenedWith::Prekey, OpenedWith::StaticKey));
}

#[test]
fn an_unused_key_is_deleted_exactly_when_the_last_bundle_sealed_to_it_has_ended() {
    let (elaine, mut jerry) = (Person::new("elaine"), Person::new("jerry"));
    let (mut stock, expires_s) = give(&mut jerry, &elaine, 2, NOW_S);
    assert_eq!(expires_s % DAY_S, 0);
    assert!(expires_s - NOW_S >= ONE_TIME_LIFETIME_S && expires_s - NOW_S <= ONE_TIME_LIFETIME_S + DAY_S);
    let last = seal_one(&elaine, &jerry, &mut stock, expires_s - 1, LIFETIME_MAX_S).bundle;
    let end_s = last.expires_s();
    let first = seal_one(&elaine, &jerry, &mut stock, NOW_S, LIFETIME_MAX_S).bundle;
    assert!(first.expires_s() < end_s);

    // Hour by hour, and at the very second: while the bundle lives the key is there, from its end on it is not.
    assert_eq!(end_s % 3_600, 0);
    for now_s in (NOW_S / 3_600 * 3_600..end_s + 2 * DAY_S).step_by(3_600) {
        let gone = jerry.ring.one_time_mut().prune(now_s);
        assert_eq!(gone.len(), if now_s == end_s { 2 } else { 0 }, "at {now_s}, the end is {end_s}");
        let opened = open(&last, &jerry.identity, &jerry.ring, None);
        assert_eq!(opened.is_ok(), jerry.ring.one_time().len() == 2);
    }
    assert_eq!(end_s, expires_s + ONE_TIME_KEEP_S);
}

#[test]
fn a_key_past_its_end_is_not_tried_though_nobody_pruned() {
    let (elaine, mut jerry) = (Person::new("elaine"), Person::new("jerry"));
    let (_, expires_s) = give(&mut jerry, &elaine, 2, NOW_S);
    let ring = jerry.ring.one_time();
    assert_eq!(ring.live(Some(expires_s + ONE_TIME_KEEP_S - 1)).count(), 2);
    assert_eq!(ring.live(Some(expires_s + ONE_TIME_KEEP_S)).count(), 0);
    assert_eq!(ring.live(None).count(), 2);
}

#[test]
fn an_author_without_a_clock_or_too_late_has_no_one_time_key() {
    let (elaine, mut jerry) = (Person::new("elaine"), Person::new("jerry"));
    let (mut stock, expires_s) = give(&mut jerry, &elaine, 3, NOW_S);
    assert!(stock.take(None).is_none());
    assert_eq!(stock.len(), 3, "a clock may come back");
    let rng = &mut FixedRandom::new("seal");
    for created_s in [None, Some(expires_s)] {
        let key = stock.take(Some(NOW_S)).unwrap();
        let late =
            Draft { created_s, epoch: Epoch::at(created_s.unwrap_or(NOW_S)), ..draft(&jerry.card, b"x") };
        let refused = seal_once(&elaine.identity, &late, key, rng);
        assert!(matches!(refused, Err(SealError::OneTimeExpired)), "{created_s:?}");
    }
    assert!(stock.take(Some(expires_s)).is_none());
    assert!(stock.is_empty(), "what has expired is dropped");
}

#[test]
fn a_ring_gives_few_keys_to_each_and_few_in_all() {
    let rng = &mut FixedRandom::new("ring");
    let mut ring = OneTimeRing::default();
    let contact = |number: u8| IdentityKey([number; 32]);
    assert_eq!(ring.issue(contact(0), 3, NOW_S, rng).len(), 3);
    assert_eq!(ring.issue(contact(0), 99, NOW_S, rng).len(), ONE_TIME_PER_CONTACT_MAX - 3);
    assert_eq!(ring.issue(contact(0), 1, NOW_S, rng).len(), 0);
    // The first sixteen have eight each, then half is gone, and the next have two each.
    for number in 1..=255 {
        let count = ring.issue(contact(number), 99, NOW_S, rng).len();
        assert_eq!(
            count,
            if number < 16 {
                8
            } else if number < 80 {
                2
            } else {
                0
            },
            "contact {number}"
        );
    }
    assert_eq!(ring.len(), ONE_TIME_MAX);
    assert_eq!(ring.room(&contact(255)), 0);
    let publics: std::collections::BTreeSet<_> = ring.live(None).map(OneTimeKey::public).collect();
    assert_eq!(publics.len(), ONE_TIME_MAX, "all different");
    // None of them goes before its time, and room comes back when they do.
    assert_eq!(ring.prune(NOW_S + ONE_TIME_LIFETIME_S).len(), 0);
    assert_eq!(ring.prune(NOW_S + ONE_TIME_LIFETIME_S + ONE_TIME_KEEP_S + DAY_S).len(), ONE_TIME_MAX);
    assert_eq!(ring.issue(contact(255), 1, NOW_S, rng).len(), 1);
}

#[test]
fn a_stock_is_bounded_and_gives_each_key_once_first_to_expire_first() {
    let mut stock = OneTimeStock::default();
    let key = |number: u8| {
        let secret = x25519_dalek::StaticSecret::from([number; 32]);
        x25519_dalek::PublicKey::from(&secret).to_bytes()
    };
    assert!(stock.add(&[key(1), key(2)], 20 * DAY_S));
    assert!(!stock.add(&[key(1), key(2)], 30 * DAY_S), "known ones are not news");
    assert!(stock.add(&[key(3)], 10 * DAY_S));
    let mut ends = Vec::new();
    while let Some(key) = stock.take(Some(DAY_S)) {
        ends.push((key.usable_at(Some(10 * DAY_S - 1)), key.usable_at(Some(10 * DAY_S))));
    }
    assert_eq!(ends, [(true, false), (true, true), (true, true)]);
    for number in 0..40 {
        stock.add(&[key(number)], (u64::from(number) + 1) * DAY_S);
    }
    assert_eq!(stock.len(), ONE_TIME_STOCK_MAX);
    let first = stock.take(Some(0)).unwrap();
    assert!(first.usable_at(Some(24 * DAY_S)) && !first.usable_at(Some(25 * DAY_S)), "the first to end went");
}

#[test]
fn keys_that_nothing_can_be_sealed_to_are_ignored() {
    let mut one = [0; 32];
    one[0] = 1;
    let mut stock = OneTimeStock::default();
    assert!(!stock.add(&[[0; 32], one], NOW_S));
    assert!(stock.is_empty());
    assert_eq!(OneTimePublic::new([0; 32], NOW_S).unwrap_err(), KeyError::SmallOrder);
}

#[test]
fn what_is_kept_comes_back_and_damage_is_refused() {
    let (elaine, mut jerry) = (Person::new("elaine"), Person::new("jerry"));
    let (mut stock, _) = give(&mut jerry, &elaine, 2, NOW_S);
    let mut again = OneTimeRing::default();
    for key in jerry.ring.one_time().live(None) {
        let bytes = key.to_bytes();
        let read = OneTimeKey::from_bytes(&*bytes).unwrap();
        assert_eq!(read.to_bytes(), bytes);
        assert_eq!(
            (read.public(), read.contact(), read.expires_s()),
            (key.public(), elaine.identity.key(), key.expires_s())
        );
        for length in 0..bytes.len() {
            assert_eq!(OneTimeKey::from_bytes(&bytes[..length]).unwrap_err(), OneTimeError::Damaged(length));
        }
        let long = [&bytes[..], &[0]].concat();
        assert_eq!(OneTimeKey::from_bytes(&long).unwrap_err(), OneTimeError::Damaged(74));
        let newer = [&[2], &bytes[1..]].concat();
        assert_eq!(OneTimeKey::from_bytes(&newer).unwrap_err(), OneTimeError::Version(2));
        again.insert(read).unwrap();
    }
    // A node that restarted opens what was sealed before.
    let bytes = stock.to_bytes();
    let mut kept = OneTimeStock::from_bytes(&bytes).unwrap();
    assert_eq!(kept.to_bytes(), bytes);
    let bundle = seal_one(&elaine, &jerry, &mut stock, NOW_S, DAY_S).bundle;
    let mut restarted = PrekeyRing::from_bytes(&jerry.ring.to_bytes()).unwrap();
    assert_eq!(open(&bundle, &jerry.identity, &restarted, None).unwrap_err(), OpenError::NoKey);
    *restarted.one_time_mut() = again;
    assert!(open(&bundle, &jerry.identity, &restarted, None).is_ok());
    // The author's side.
    kept.clear();
    assert_eq!(kept.to_bytes(), Vec::<u8>::new());
    assert!(OneTimeStock::from_bytes(&[]).unwrap().is_empty(), "what older programs kept");
    assert_eq!(OneTimeStock::from_bytes(&[2]).unwrap_err(), OneTimeError::Version(2));
    assert_eq!(OneTimeStock::from_bytes(&bytes[..50]).unwrap_err(), OneTimeError::Damaged(50));
    let many = [vec![1], vec![7; 17 * 40]].concat();
    assert_eq!(OneTimeStock::from_bytes(&many).unwrap_err(), OneTimeError::Damaged(681));
}

#[test]
fn a_kept_ring_takes_no_more_than_its_limit() {
    let mut ring = OneTimeRing::default();
    let mut rng = FixedRandom::new("limit");
    for number in 0..80 {
        ring.issue(IdentityKey([number; 32]), 8, NOW_S, &mut rng);
    }
    let one_more = OneTimeKey::from_bytes(&*ring.live(None).next().unwrap().to_bytes()).unwrap();
    assert_eq!(ring.insert(one_more), Err(OneTimeError::TooMany));
}

#[test]
fn no_debug_output_shows_a_key_or_a_content() {
    let (elaine, mut jerry) = (Person::new("elaine"), Person::new("jerry"));
    let (mut stock, _) = give(&mut jerry, &elaine, 2, NOW_S);
    let sealed = seal_one(&elaine, &jerry, &mut stock, NOW_S, DAY_S);
    let opened = open(&sealed.bundle, &jerry.identity, &jerry.ring, Some(NOW_S)).unwrap();
    let drafted = draft(&jerry.card, b"once");
    let shown = format!(
        "{:?} {:?} {:?} {sealed:?} {opened:?} {drafted:?} {:?} {:?} {:?}",
        jerry.ring,
        stock,
        elaine.identity,
        jerry.card,
        jerry.card.mailbox_secret(),
        opened.reveal,
    );
    // Secrets as a derived Debug would print them: their first bytes in decimal or hex, or the text itself.
    let list = |bytes: &[u8]| format!("{}, {}, {}", bytes[0], bytes[1], bytes[2]);
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(&bytes[..4]);
    let key = jerry.ring.one_time().live(None).next().unwrap().to_bytes();
    let ring = jerry.ring.to_bytes();
    let identity = elaine.identity.to_secret_bytes();
    let secrets: [&[u8]; 7] = [
        &key[1..33],
        &ring[2..34],
        &identity[..32],
        &identity[32..],
        jerry.card.mailbox_secret().as_bytes(),
        &opened.reveal.0,
        b"once",
    ];
    for secret in secrets {
        assert!(!shown.contains(&list(secret)) && !shown.contains(&hex(secret)), "{shown}");
    }
    assert!(!shown.contains("once") && !shown.contains("jerry"), "{shown}");
    assert!(shown.contains("OneTimeKey(expires "), "{shown}");
}

#[test]
fn room_is_what_the_padding_leaves() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let step = |size: usize| {
        let content = vec![7; size];
        let rng = &mut FixedRandom::new("room");
        seal(&elaine.identity, &draft(&jerry.card, &content), rng).unwrap().bundle.payload_step()
    };
    for size in [0, 1, 116, 117, 118, 372, 373, 1_000, 16_243, 16_244, 16_245, 65_000, CONTENT_MAX] {
        let room = content_room(size);
        assert!(room >= size);
        assert_eq!(step(room), step(size), "{size} bytes have room for {room}");
        assert!(
            room == CONTENT_MAX || step(room + 1) > step(size),
            "{size} bytes have more room than {room}"
        );
    }
    assert_eq!(content_room(CONTENT_MAX + 1), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However keys are given, used, lost, pruned and kept: a living message opens, and only once.
    #[test]
    fn a_living_message_always_finds_its_key(
        steps in prop::collection::vec((0_u64..40, 0_u8..4, 1_usize..5, 1_u64..=30), 1..40)
    ) {
        let (elaine, mut jerry) = (Person::new("elaine"), Person::new("jerry"));
        let mut stock = OneTimeStock::default();
        let mut flying: Vec<Sealed> = Vec::new();
        let mut now_s = NOW_S;
        let mut rng = FixedRandom::new("steps");
        for (days, what, count, life) in steps {
            match what {
                0 => {
                    let ring = jerry.ring.one_time_mut();
                    let issued = ring.issue(elaine.identity.key(), count, now_s, &mut rng);
                    let expires_s = issued.first().map_or(0, OneTimeKey::expires_s);
                    let keys: Vec<_> = issued.iter().map(OneTimeKey::public).collect();
                    stock.add(&keys, expires_s);
                }
                1 => {
                    if let Some(key) = stock.take(Some(now_s)) {
                        let draft = Draft { lifetime_s: life * DAY_S, ..at(now_s, draft(&jerry.card, b"m")) };
                        flying.push(seal_once(&elaine.identity, &draft, key, &mut rng).unwrap());
                    }
                }
                2 if !flying.is_empty() => {
                    let sealed = flying.remove(count % flying.len());
                    let opened = open(&sealed.bundle, &jerry.identity, &jerry.ring, Some(now_s));
                    if now_s < sealed.bundle.expires_s() {
                        let OpenedWith::OneTime(key) = opened.unwrap().with else { panic!("no one-time key") };
                        jerry.ring.one_time_mut().remove(&key);
                    }
                    prop_assert!(open(&sealed.bundle, &jerry.identity, &jerry.ring, None).is_err()
                        || now_s >= sealed.bundle.expires_s());
                }
                _ => {
                    now_s += days * DAY_S + 1_234;
                    jerry.ring.one_time_mut().prune(now_s);
                }
            }
            prop_assert!(jerry.ring.one_time().len() <= ONE_TIME_PER_CONTACT_MAX);
        }
        for sealed in flying {
            let alive = now_s < sealed.bundle.expires_s();
            prop_assert_eq!(open(&sealed.bundle, &jerry.identity, &jerry.ring, Some(now_s)).is_ok(), alive);
        }
    }
}
