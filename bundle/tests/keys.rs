//! Identities, node keys and prekeys.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Bridge, FixedRandom, NOW_S, Person, draft, uplink};
use pigeon_bundle::{
    CONTENT_MAX, Card, DAY_S, Draft, Epoch, Identity, KeyError, LIFETIME_MAX_S, NodeKey, NodeSecret,
    OneTimeKey, OneTimeRing, OpenError, PREKEY_KEEP_S, PREKEY_LIFETIME_S, PREKEYS_MAX, PrekeyError,
    PrekeyRing, SignatureError, open, open_route, seal, verify,
};

#[test]
fn secrets_round_trip() {
    let identity = Identity::generate(&mut FixedRandom::new("a"));
    let again = Identity::from_secret_bytes(&identity.to_secret_bytes());
    assert_eq!((again.key(), again.x25519_public()), (identity.key(), identity.x25519_public()));
    let node = NodeSecret::generate(&mut FixedRandom::new("a"));
    assert_eq!(NodeSecret::from_secret_bytes(&node.to_secret_bytes()).key(), node.key());
    assert_eq!(format!("{identity:?} {node:?}"), "Identity(…) NodeSecret(…)");
}

#[test]
fn both_contacts_compute_one_recognition_key() {
    let a = Identity::generate(&mut FixedRandom::new("a"));
    let b = Identity::generate(&mut FixedRandom::new("b"));
    let c = Identity::generate(&mut FixedRandom::new("c"));
    let key = a.recognition_key(&b.x25519_public()).unwrap();
    assert_eq!(key, b.recognition_key(&a.x25519_public()).unwrap());
    assert_ne!(key, c.recognition_key(&a.x25519_public()).unwrap());
    assert_eq!(a.recognition_key(&[0; 32]), Err(KeyError::SmallOrder));
    let mut one = [0; 32];
    one[0] = 1;
    assert_eq!(a.recognition_key(&one), Err(KeyError::SmallOrder));
}

#[test]
fn signatures_are_bound_to_context_parts_and_key() {
    let node = NodeSecret::generate(&mut FixedRandom::new("a"));
    let key = node.key().0;
    let signature = node.sign("link-auth", &[b"one", b"two"]);
    assert_eq!(verify(&key, "link-auth", &[b"one", b"two"], &signature), Ok(()));
    let wrong = Err(SignatureError::Mismatch("link-auth"));
    assert_eq!(verify(&key, "link-auth", &[b"one", b"twO"], &signature), wrong);
    assert_eq!(verify(&key, "link-auth", &[b"one", b"two"], &signature[..63]), wrong);
    assert_eq!(verify(&key, "card", &[b"one", b"two"], &signature), Err(SignatureError::Mismatch("card")));
    let other = NodeSecret::generate(&mut FixedRandom::new("b")).key().0;
    assert_eq!(verify(&other, "link-auth", &[b"one", b"two"], &signature), wrong);
    // The identity point: a lenient check takes R = identity, s = 0 for any text.
    let mut weak = [0; 32];
    weak[0] = 1;
    let forged = [&weak[..], &[0; 32]].concat();
    assert_eq!(verify(&weak, "link-auth", &[b"x"], &forged), Err(SignatureError::Key("link-auth")));
    // No point of the curve at all.
    let mut none = [0; 32];
    none[0] = 2;
    assert_eq!(verify(&none, "link-auth", &[b"x"], &forged), Err(SignatureError::Key("link-auth")));
}

#[test]
fn der_forms_are_those_of_rfc_8410() {
    // The example key of RFC 8410 section 10.3.
    let seed = data_encoding::HEXLOWER
        .decode(b"d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842")
        .unwrap();
    let node = NodeSecret::from_secret_bytes(&seed.try_into().unwrap());
    let private = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";
    let public = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
    assert_eq!(data_encoding::BASE64.encode(&*node.pkcs8_der()), private);
    assert_eq!(data_encoding::BASE64.encode(&node.spki_der()), public);
    assert_eq!(NodeKey::from_spki_der(&node.spki_der()), Some(node.key()));
    for bad in [&node.spki_der()[..43], &node.pkcs8_der()[..], &[0; 44]] {
        assert_eq!(NodeKey::from_spki_der(bad), None);
    }
}

#[test]
fn prekeys_rotate_weekly_and_are_deleted_when_no_bundle_can_need_them() {
    let mut rng = FixedRandom::new("ring");
    let mut ring = PrekeyRing::generate(NOW_S, &mut rng);
    let mut made = vec![ring.current().unwrap().clone()];
    for day in 1..=120 {
        let now_s = NOW_S + day * DAY_S;
        assert_eq!(ring.rotate(now_s, &mut rng), day % 7 == 0, "day {day}");
        if day % 7 == 0 {
            made.push(ring.current().unwrap().clone());
        }
        ring.prune(now_s);
        let held: Vec<_> = ring.live(Some(now_s)).map(|key| key.public()).collect();
        // 14 days of use and 32 of keeping.
        let expected = made.iter().rev().filter(|key| now_s < key.created_s() + 46 * DAY_S);
        assert_eq!(held, expected.map(|key| key.public()).collect::<Vec<_>>(), "day {day}");
        assert!(held.len() <= 7);
        let current = ring.current().unwrap();
        assert!(now_s < current.expires_s(), "a usable prekey on every day");
    }
    assert!(made[0].public() != made[1].public());
    assert_eq!(PREKEY_LIFETIME_S + PREKEY_KEEP_S, 46 * DAY_S);
}

#[test]
fn a_bundle_sealed_in_the_last_second_opens_until_it_expires_and_never_after() {
    let (elaine, mut jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut rng = FixedRandom::new("ring");
    let sealed_s = jerry.card.prekey_expires_s() - 1;
    let draft = Draft {
        created_s: Some(sealed_s),
        epoch: Epoch::at(sealed_s),
        lifetime_s: LIFETIME_MAX_S,
        ..draft(&jerry.card, b"late")
    };
    let bundle = seal(&elaine.identity, &draft, &mut rng).unwrap().bundle;
    let first = jerry.ring.current().unwrap().clone();
    let mut now_s = NOW_S;
    while now_s < bundle.expires_s() {
        jerry.ring.rotate(now_s, &mut rng);
        jerry.ring.prune(now_s);
        if now_s >= sealed_s {
            assert!(open(&bundle, &jerry.identity, &jerry.ring, Some(now_s)).is_ok(), "at {now_s}");
        }
        now_s += 6 * 3_600;
    }
    jerry.ring.prune(bundle.expires_s() - 1);
    assert!(open(&bundle, &jerry.identity, &jerry.ring, Some(bundle.expires_s() - 1)).is_ok());
    // Deletion: even with the clock turned back, and even with a copy of the ring from then, it is gone.
    jerry.ring.prune(first.delete_s());
    assert_eq!(open(&bundle, &jerry.identity, &jerry.ring, Some(sealed_s)).unwrap_err(), OpenError::NoKey);
    assert_eq!(open(&bundle, &jerry.identity, &jerry.ring, None).unwrap_err(), OpenError::NoKey);
    let stored = jerry.ring.to_bytes();
    let secret = first.public();
    assert!(PrekeyRing::from_bytes(&stored).unwrap().live(None).all(|key| key.public() != secret));
}

#[test]
fn a_key_past_its_deletion_is_not_live_though_nobody_pruned() {
    let ring = PrekeyRing::generate(NOW_S, &mut FixedRandom::new("ring"));
    let delete_s = ring.current().unwrap().delete_s();
    assert_eq!(ring.live(Some(delete_s - 1)).count(), 1);
    assert_eq!(ring.live(Some(delete_s)).count(), 0);
    assert_eq!(ring.live(None).count(), 1);
}

#[test]
fn a_clock_that_was_far_ahead_does_not_stop_rotation() {
    let mut rng = FixedRandom::new("ring");
    let mut ring = PrekeyRing::generate(NOW_S, &mut rng);
    assert!(ring.rotate(NOW_S + 5_000 * DAY_S, &mut rng), "the clock jumps ahead");
    assert!(ring.rotate(NOW_S + DAY_S, &mut rng), "and is right again");
    assert!(!ring.rotate(NOW_S + 2 * DAY_S, &mut rng));
    assert_eq!(ring.current().unwrap().created_s(), NOW_S + DAY_S);
}

#[test]
fn a_clock_that_jumps_about_fills_no_disk() {
    let mut rng = FixedRandom::new("ring");
    let mut ring = PrekeyRing::default();
    assert!(ring.current().is_none());
    for i in 0..100 {
        ring.rotate(NOW_S + (i % 2) * 5_000 * DAY_S, &mut rng);
        assert!(ring.live(None).count() <= PREKEYS_MAX);
    }
    assert_eq!(ring.live(None).count(), PREKEYS_MAX);
    assert_eq!(PrekeyRing::from_bytes(&ring.to_bytes()).unwrap().live(None).count(), PREKEYS_MAX);
}

#[test]
fn rings_round_trip_and_damaged_ones_are_refused() {
    let mut rng = FixedRandom::new("ring");
    let mut ring = PrekeyRing::generate(NOW_S, &mut rng);
    ring.rotate(NOW_S + 8 * DAY_S, &mut rng);
    let bytes = ring.to_bytes();
    let again = PrekeyRing::from_bytes(&bytes).unwrap();
    assert_eq!(again.to_bytes(), bytes);
    let dates = |ring: &PrekeyRing| {
        ring.live(None).map(|key| (key.public(), key.created_s(), key.expires_s())).collect::<Vec<_>>()
    };
    assert_eq!(dates(&again), dates(&ring));
    for length in 0..bytes.len() {
        assert_eq!(PrekeyRing::from_bytes(&bytes[..length]).unwrap_err(), PrekeyError::Damaged(length));
    }
    let mut newer = bytes.to_vec();
    newer[0] = 2;
    assert_eq!(PrekeyRing::from_bytes(&newer).unwrap_err(), PrekeyError::Version(2));
    let many = [vec![1, 17], vec![0; 17 * 48]].concat();
    assert!(PrekeyRing::from_bytes(&many).is_err());
}

/// The whole chain of an error, as it would be printed or logged.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(|error| format!("{error} {error:?} {error:#?}\n")).collect()
}

#[test]
fn no_error_shows_a_secret() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let bridge = Bridge::new("bridge.example");
    let mut rng = FixedRandom::new("errors");
    let mut one_time = OneTimeRing::default();
    let key = one_time.issue(elaine.identity.key(), 1, NOW_S, &mut rng)[0].to_bytes();
    let ring = jerry.ring.to_bytes();
    let by_bridge =
        Draft { uplink: Some(uplink(&bridge, &elaine, &jerry)), ..draft(&jerry.card, b"the vault") };
    let sealed = seal(&elaine.identity, &by_bridge, &mut rng).unwrap();
    let mut shown = String::new();
    let mut note = |error: Option<Box<dyn std::error::Error>>| {
        let error = error.expect("damage was taken");
        shown.push_str(&chain(&*error));
    };
    // Secrets that were damaged where they are kept, or come from a newer program.
    for cut in [0, 1, 33, 40] {
        note(PrekeyRing::from_bytes(&ring[..cut]).err().map(Into::into));
        note(OneTimeKey::from_bytes(&key[..cut]).err().map(Into::into));
    }
    note(PrekeyRing::from_bytes(&[&[9], &ring[1..]].concat()).err().map(Into::into));
    note(OneTimeKey::from_bytes(&[&[9], &key[1..]].concat()).err().map(Into::into));
    // A card is a secret too: who has it can address its owner.
    let card = jerry.card.as_bytes();
    for at in 0..card.len() {
        let mut changed = card.to_vec();
        changed[at] ^= 0x10;
        note(Card::parse(&changed).err().map(Into::into));
        note(Card::parse(&card[..at]).err().map(Into::into));
        note(Card::from_text(&jerry.card.to_text()[..at]).err().map(Into::into));
    }
    // Messages that do not open, and routes.
    let bundle = &sealed.bundle;
    note(open(bundle, &elaine.identity, &elaine.ring, Some(NOW_S)).err().map(Into::into));
    note(open(bundle, &jerry.identity, &jerry.ring, Some(bundle.expires_s())).err().map(Into::into));
    note(open_route(bundle, &Bridge::new("other.example").identity).err().map(Into::into));
    let route = open_route(bundle, &bridge.identity).unwrap();
    note(route.verify(bundle, &jerry.identity.key()).err().map(Into::into));
    let refused = [
        Draft { lifetime_s: 0, ..draft(&jerry.card, b"the vault") },
        Draft { created_s: Some(0), ..draft(&jerry.card, b"the vault") },
        Draft { content: &[b'v'; CONTENT_MAX + 1], ..draft(&jerry.card, b"") },
    ];
    for draft in refused {
        note(seal(&elaine.identity, &draft, &mut rng).err().map(Into::into));
    }
    let identity = jerry.identity.to_secret_bytes();
    let secrets: [&[u8]; 6] = [
        &ring[2..34],
        &key[1..33],
        &identity[..32],
        &identity[32..],
        jerry.card.mailbox_secret().as_bytes(),
        &sealed.reveal.0,
    ];
    for secret in secrets {
        // As a derived Debug prints them, on one line or on many, in hex, and in the alphabets of our texts.
        let list = format!("{}, {}, {}", secret[0], secret[1], secret[2]);
        let lines = format!("{},\n    {},\n", secret[0], secret[1]);
        let hex = data_encoding::HEXLOWER.encode(&secret[..4]);
        let base64 = data_encoding::BASE64URL_NOPAD.encode(&secret[..6]);
        for form in [list, lines, hex.to_uppercase(), hex, base64] {
            assert!(!shown.contains(&form), "{form}");
        }
    }
    for word in ["the vault", "vvvv", "elaine", "jerry", "subway"] {
        assert!(!shown.contains(word), "{word}: {shown}");
    }
    assert!(shown.contains("damaged") && shown.contains("opens with none"), "{shown}");
}
