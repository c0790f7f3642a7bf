//! What a bridge does with a bundle: opens its route, checks the author, signs a verdict.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use bytes::Bytes;
use common::letter::{field, hpke_open, hpke_seal};
use common::wire::{self, Wire};
use common::{Bridge, FixedRandom, NOW_S, Person, draft, uplink};
use pigeon_bundle::{
    Acceptances, Bundle, BundleId, Draft, MessageDigest, MessageId, RouteError, SealError, UplinkDraft,
    Verdict, VerdictCode, VerdictError, open_route, seal,
};

struct Story {
    elaine: Person,
    bridge: Bridge,
    bundle: Bundle,
}

fn story() -> Story {
    let (elaine, jerry, bridge) =
        (Person::new("elaine"), Person::new("jerry"), Bridge::new("bridge.example"));
    let draft = Draft { uplink: Some(uplink(&bridge, &elaine, &jerry)), ..draft(&jerry.card, b"hello") };
    let bundle = seal(&elaine.identity, &draft, &mut FixedRandom::new("seal")).unwrap().bundle;
    Story { elaine, bridge, bundle }
}

/// The bundle with another uplink block, by a liar who computes the source.
fn with_uplink(bundle: &Bundle, domain: &str, key: &[u8], route: &[u8]) -> Bundle {
    let mut wire = Wire::of(bundle);
    wire.block(241).item = wire::bytes(&wire::uplink_data(domain, key, route));
    Bundle::parse(Bytes::from(wire.lie().encode())).unwrap()
}

#[test]
fn route_opens_and_verifies() {
    let Story { elaine, bridge, bundle } = story();
    let route = open_route(&bundle, &bridge.identity).unwrap();
    assert_eq!(route.author, "elaine@subway.example");
    assert_eq!(route.recipient, "jerry@subway.example");
    assert_eq!(route.message_id, MessageId([0x11; 16]));
    assert_eq!(route.sent_ms, NOW_S * 1_000);
    assert_eq!(route.verify(&bundle, &elaine.identity.key()), Ok(()));
    assert_eq!(format!("{route:?}"), "Route(…)");
}

#[test]
fn forged_author_is_refused() {
    let Story { bridge, bundle, .. } = story();
    let route = open_route(&bundle, &bridge.identity).unwrap();
    let newman = Person::new("newman").identity.key();
    assert!(matches!(route.verify(&bundle, &newman), Err(RouteError::Signature(_))));
}

#[test]
fn every_field_of_the_route_is_signed() {
    let Story { elaine, bridge, bundle } = story();
    let good = open_route(&bundle, &bridge.identity).unwrap();
    let key = elaine.identity.key();
    let mut variants = vec![good.clone(); 5];
    variants[0].author = "kramer@subway.example".into();
    variants[1].recipient = "newman@subway.example".into();
    variants[2].message_id = MessageId([0x12; 16]);
    variants[3].sent_ms += 1;
    variants[4].signature[0] ^= 1;
    for route in variants {
        assert!(matches!(route.verify(&bundle, &key), Err(RouteError::Signature(_))));
    }
    // Lengths are signed: bytes cannot move from one JID to the other.
    let mut moved = good;
    moved.recipient = format!("e{}", moved.recipient);
    moved.author.pop();
    assert!(moved.verify(&bundle, &key).is_err());
}

#[test]
fn bridge_cannot_hand_a_route_on_to_another_bridge() {
    let Story { elaine, bridge, bundle } = story();
    let other = Bridge::new("other.example");
    let up = bundle.uplink().unwrap();

    // The block as it is, renamed.
    let renamed = with_uplink(&bundle, "other.example", &other.identity.key(), &up.route);
    assert_eq!(open_route(&renamed, &other.identity).unwrap_err(), RouteError::DoesNotOpen);
    let domain_only = with_uplink(&bundle, "other.example", &up.bridge_key, &up.route);
    assert_eq!(open_route(&domain_only, &bridge.identity).unwrap_err(), RouteError::DoesNotOpen);
    assert_eq!(open_route(&bundle, &other.identity).unwrap_err(), RouteError::OtherBridge);

    // The bridge itself opens it and seals it again to the other one, elaine's signature inside.
    let secret = bridge.identity.to_secret_bytes();
    let associated = |domain: &str| [bundle.message_digest().as_ref(), domain.as_bytes()].concat();
    let plaintext = hpke_open(&secret[32..], "route", &associated("bridge.example"), &up.route);
    let resealed =
        hpke_seal(&other.identity.x25519_public(), "route", &associated("other.example"), &plaintext);
    let handed_on = with_uplink(&bundle, "other.example", &other.identity.key(), &resealed);
    let route = open_route(&handed_on, &other.identity).unwrap();
    assert!(matches!(route.verify(&handed_on, &elaine.identity.key()), Err(RouteError::Signature(_))));

    // Control: sealed again for the same bridge, it holds.
    let again =
        hpke_seal(&bridge.identity.x25519_public(), "route", &associated("bridge.example"), &plaintext);
    let same = with_uplink(&bundle, "bridge.example", &bridge.identity.key(), &again);
    assert_eq!(open_route(&same, &bridge.identity).unwrap().verify(&same, &elaine.identity.key()), Ok(()));
}

#[test]
fn route_cannot_be_moved_to_another_message() {
    let Story { elaine, bridge, bundle } = story();
    let jerry = Person::new("jerry");
    let draft = Draft { uplink: Some(uplink(&bridge, &elaine, &jerry)), ..draft(&jerry.card, b"another") };
    let another = seal(&elaine.identity, &draft, &mut FixedRandom::new("another")).unwrap().bundle;
    let up = bundle.uplink().unwrap();
    let moved = with_uplink(&another, &up.domain, &up.bridge_key, &up.route);
    assert_eq!(open_route(&moved, &bridge.identity).unwrap_err(), RouteError::DoesNotOpen);
    let route = open_route(&bundle, &bridge.identity).unwrap();
    assert!(route.verify(&another, &elaine.identity.key()).is_err());
}

#[test]
fn malformed_routes_are_refused() {
    let Story { bridge, bundle, .. } = story();
    let associated = [bundle.message_digest().as_ref(), b"bridge.example"].concat();
    let opened = |message: &[u8], last: u8| {
        let mut plaintext = [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat();
        plaintext.resize(512, 0);
        plaintext[511] = last;
        let sealed = hpke_seal(&bridge.identity.x25519_public(), "route", &associated, &plaintext);
        open_route(&with_uplink(&bundle, "bridge.example", &bridge.identity.key(), &sealed), &bridge.identity)
    };
    let route = |author: &str, id: usize, signature: usize| {
        [field(1, author.as_bytes()), field(2, b"j@s"), field(3, &vec![0; id]), field(5, &vec![0; signature])]
            .concat()
    };
    assert!(opened(&route("e@s", 16, 64), 0).is_ok(), "control");
    let malformed = |what| Err(RouteError::Malformed(what));
    assert_eq!(opened(&route("e@s", 16, 64), 1), malformed("padding"));
    assert_eq!(opened(&route("e@s/phone", 16, 64), 0), malformed("author JID"));
    assert_eq!(opened(&route(&"e".repeat(151), 16, 64), 0), malformed("author JID"));
    assert_eq!(opened(&route("e@s", 15, 64), 0), malformed("message id"));
    assert_eq!(opened(&route("e@s", 16, 63), 0), malformed("signature"));
    assert_eq!(opened(&[0xff; 20], 0), malformed("protobuf"));
}

#[test]
fn longest_jids_fit_the_route() {
    let Story { elaine, bridge, .. } = story();
    let jerry = Person::new("jerry");
    let long = "j".repeat(150);
    let route = UplinkDraft {
        author_jid: &long,
        recipient_jid: &long,
        sent_ms: u64::MAX,
        ..uplink(&bridge, &elaine, &jerry)
    };
    let mut rng = FixedRandom::new("seal");
    let fits = Draft { uplink: Some(route), ..draft(&jerry.card, b"x") };
    let bundle = seal(&elaine.identity, &fits, &mut rng).unwrap().bundle;
    assert_eq!(open_route(&bundle, &bridge.identity).unwrap().recipient, long);
    let full = UplinkDraft { author_jid: "elaine@subway.example/phone", ..route };
    let error = seal(&elaine.identity, &Draft { uplink: Some(full), ..fits }, &mut rng).unwrap_err();
    assert!(matches!(error, SealError::Jid { field: "author", .. }));
}

#[test]
fn no_uplink_no_route() {
    let (elaine, jerry, bridge) =
        (Person::new("elaine"), Person::new("jerry"), Bridge::new("bridge.example"));
    let bundle =
        seal(&elaine.identity, &draft(&jerry.card, b"x"), &mut FixedRandom::new("seal")).unwrap().bundle;
    assert_eq!(open_route(&bundle, &bridge.identity).unwrap_err(), RouteError::NoUplink);
}

fn verdict(code: VerdictCode) -> Verdict {
    Verdict { bundle: BundleId([1; 32]), message: MessageDigest([2; 32]), code, time_s: NOW_S }
}

#[test]
fn verdicts_round_trip_with_their_documented_numbers() {
    let bridge = Bridge::new("bridge.example").identity;
    for (number, code) in VerdictCode::ALL.into_iter().enumerate() {
        assert_eq!(code as usize, number);
        let bytes = verdict(code).sign(&bridge);
        assert_eq!(Verdict::parse_verified(&bytes, &bridge.key()).unwrap(), verdict(code));
        assert_eq!(code.is_accepted(), number == 0);
    }
}

#[test]
fn altered_and_foreign_verdicts_are_refused() {
    let bridge = Bridge::new("bridge.example").identity;
    let other = Bridge::new("other.example").identity;
    let bytes = verdict(VerdictCode::Accepted).sign(&bridge);
    assert!(matches!(Verdict::parse_verified(&bytes, &other.key()), Err(VerdictError::Signature(_))));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << bit;
            assert!(Verdict::parse_verified(&altered, &bridge.key()).is_err(), "bit {bit} of byte {at}");
        }
    }
    // A later field 3 overrides: refusal turned into another code.
    let recoded = [&verdict(VerdictCode::Policy).sign(&bridge)[..], &[0x18, 0]].concat();
    assert!(matches!(Verdict::parse_verified(&recoded, &bridge.key()), Err(VerdictError::Signature(_))));
    let unknown = [&bytes[..], &[0x18, 99]].concat();
    assert_eq!(Verdict::parse_verified(&unknown, &bridge.key()), Err(VerdictError::Code(99)));
    assert_eq!(Verdict::parse_verified(&[0; 257], &bridge.key()), Err(VerdictError::TooLarge(257)));
}

fn acceptances(count: u8) -> Acceptances {
    let bundles = (0..count).map(|n| (BundleId([n; 32]), MessageDigest([!n; 32]))).collect();
    Acceptances { bundles, time_s: NOW_S }
}

#[test]
fn acceptances_round_trip_and_say_what_verdicts_say() {
    let bridge = Bridge::new("bridge.example").identity;
    for count in [1, 2, 64] {
        let acceptances = acceptances(count);
        let bytes = acceptances.sign(&bridge);
        assert_eq!(Acceptances::parse_verified(&bytes, &bridge.key()).as_ref(), Ok(&acceptances));
        let named = Acceptances::bundles_of(&bytes).unwrap();
        let verdicts: Vec<_> = acceptances.verdicts().collect();
        assert_eq!(named, verdicts.iter().map(|verdict| verdict.bundle).collect::<Vec<_>>());
        let said = Verdict {
            bundle: BundleId([0; 32]),
            message: MessageDigest([255; 32]),
            ..verdict(VerdictCode::Accepted)
        };
        assert_eq!((verdicts.len(), verdicts[0]), (usize::from(count), said));
    }
}

#[test]
fn altered_foreign_and_misshapen_acceptances_are_refused() {
    let bridge = Bridge::new("bridge.example").identity;
    let read = |bytes: &[u8]| Acceptances::parse_verified(bytes, &bridge.key());
    let bytes = acceptances(3).sign(&bridge);
    let other = Bridge::new("other.example").identity;
    assert!(matches!(Acceptances::parse_verified(&bytes, &other.key()), Err(VerdictError::Signature(_))));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << bit;
            assert!(read(&altered).is_err(), "bit {bit} of byte {at}");
        }
    }
    assert_eq!(read(&acceptances(0).sign(&bridge)), Err(VerdictError::Field("digests")));
    assert!(matches!(read(&acceptances(65).sign(&bridge)), Err(VerdictError::TooLarge(_))));
    // 65 pairs without a signature: 4,160 bytes.
    assert_eq!(read(&[&[0x0a, 0xc0, 0x20][..], &[1; 4_160]].concat()), Err(VerdictError::Field("digests")));
    assert_eq!(read(&[0; 4_300]), Err(VerdictError::TooLarge(4_300)));
    // Half a pair.
    assert_eq!(read(&[&[0x0a, 32][..], &[1; 32]].concat()), Err(VerdictError::Field("digests")));
    // One is not taken for the other.
    assert!(Verdict::parse_verified(&acceptances(1).sign(&bridge), &bridge.key()).is_err());
    assert!(read(&verdict(VerdictCode::Accepted).sign(&bridge)).is_err());
}
