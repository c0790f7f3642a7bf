//! What a carrier sees in a bundle, field by field. A field more and this test fails: then
//! PROTOCOL.md section 3 and the threat model must say so first.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Bridge, FixedRandom, NOW_S, Person, draft, uplink};
use minicbor::Decoder;
use minicbor::data::Type;
use pigeon_bundle::{Bundle, DAY_S, Draft, Epoch, MessageId, OneTimePublic, seal, seal_once};

fn bundle(with_uplink: bool) -> Bundle {
    let (elaine, jerry, bridge) =
        (Person::new("elaine"), Person::new("jerry"), Bridge::new("bridge.example"));
    let uplink = with_uplink.then(|| uplink(&bridge, &elaine, &jerry));
    let draft = Draft { uplink, ..draft(&jerry.card, b"meet me at the coffee shop") };
    seal(&elaine.identity, &draft, &mut FixedRandom::new("seal")).unwrap().bundle
}

/// Every leaf of the CBOR, with the path to it. Data of blocks 240 and 241 is looked into.
fn leaves(decoder: &mut Decoder<'_>, path: &str, out: &mut Vec<(String, Vec<u8>)>) {
    let start = decoder.position();
    match decoder.datatype().unwrap() {
        Type::Array | Type::ArrayIndef => {
            let length = decoder.array().unwrap();
            let mut index = 0;
            loop {
                let ended = match length {
                    Some(length) => index == length,
                    None => decoder.datatype().unwrap() == Type::Break,
                };
                if ended {
                    break;
                }
                leaves(decoder, &format!("{path}.{index}"), out);
                index += 1;
            }
            if length.is_none() {
                decoder.skip().unwrap();
            }
        }
        Type::Bytes => {
            let data = decoder.bytes().unwrap();
            match path {
                ".1.4" => leaves(&mut Decoder::new(data), ".carriage", out),
                ".2.4" if data.get(1..5) == Some(b"\x43CP1") => {
                    leaves(&mut Decoder::new(data), ".uplink", out);
                }
                _ => out.push((path.to_owned(), data.to_vec())),
            }
        }
        _ => {
            decoder.skip().unwrap();
            out.push((path.to_owned(), decoder.input()[start..decoder.position()].to_vec()));
        }
    }
}

fn paths(bundle: &Bundle) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    leaves(&mut Decoder::new(bundle.as_bytes()), "", &mut out);
    out
}

/// Constant in every bundle: it tells nothing.
const CONSTANT: [(&str, &[u8]); 7] = [
    (".0.0", &[7]),
    (".0.1", &[4]),
    (".0.2", &[2]),
    (".0.3.0", &[1]),
    (".0.4.0", &[1]),
    (".0.5.0", &[1]),
    (".0.5.1", &[0]),
];

/// What varies, and what PROTOCOL.md calls it.
const SEEN: [&str; 7] = [
    ".0.3.1",      // destination: the tag
    ".0.4.1",      // source: B
    ".0.6.0",      // creation hour
    ".0.7",        // lifetime
    ".0.8",        // CRC of the primary block, computed from it
    ".carriage.1", // epoch
    ".carriage.2", // commitment
];

#[test]
fn a_carrier_sees_these_fields_and_no_other() {
    let block = |index: usize, kind: &'static [u8], number: u8| {
        vec![
            (format!(".{index}.0"), kind.to_vec()),
            (format!(".{index}.1"), vec![number]),
            (format!(".{index}.2"), vec![0]),
            (format!(".{index}.3"), vec![0]),
        ]
    };
    for with_uplink in [false, true] {
        let bundle = bundle(with_uplink);
        let mut constant: Vec<_> = CONSTANT.map(|(path, value)| (path.to_owned(), value.to_vec())).to_vec();
        constant.push((".0.6.1".into(), vec![0]));
        constant.extend(block(1, &[0x18, 240], 2));
        constant.push((".carriage.0".into(), b"CP1".to_vec()));
        let mut varying: Vec<_> = SEEN.map(str::to_owned).to_vec();
        if with_uplink {
            constant.extend(block(2, &[0x18, 241], 3));
            constant.push((".uplink.0".into(), b"CP1".to_vec()));
            // Bridge domain, bridge key, sealed route.
            varying.extend([".uplink.1", ".uplink.2", ".uplink.3"].map(str::to_owned));
        }
        let payload = if with_uplink { 3 } else { 2 };
        constant.extend(block(payload, &[1], 1));
        varying.push(format!(".{payload}.4"));

        let seen = paths(&bundle);
        for (path, value) in &seen {
            match constant.iter().position(|(known, _)| known == path) {
                Some(at) => assert_eq!(&constant.remove(at).1, value, "{path} is constant"),
                None => {
                    let at = varying.iter().position(|known| known == path);
                    varying.remove(at.unwrap_or_else(|| panic!("{path} is a new field that carriers see")));
                }
            }
        }
        assert_eq!((constant, varying), (Vec::new(), Vec::new()), "fields that are gone");
    }
}

#[test]
fn nothing_else_stands_in_the_bytes() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let bytes = bundle(true).as_bytes().clone();
    let (author, recipient) = (elaine.identity.key(), jerry.identity.key());
    let hidden: [(&str, &[u8]); 12] = [
        ("author's key", author.as_bytes()),
        ("author's X25519 key", elaine.card.x25519()),
        ("recipient's key", recipient.as_bytes()),
        ("recipient's X25519 key", jerry.card.x25519()),
        ("recipient's prekey", jerry.card.prekey()),
        ("mailbox secret", jerry.card.mailbox_secret().as_bytes()),
        ("author's name or JID", b"elaine"),
        ("recipient's name or JID", b"jerry"),
        ("author's and recipient's host", b"subway"),
        ("content", b"coffee"),
        ("message id", &MessageId([0x11; 16]).0),
        ("reveal", &seal_reveal()),
    ];
    for (name, secret) in hidden {
        for window in [4, 8, secret.len()] {
            let part = &secret[..window.min(secret.len())];
            assert!(!bytes.windows(part.len()).any(|bytes| bytes == part), "{name} stands in clear");
        }
    }
    // Control: what is meant to stand there is found.
    assert!(bytes.windows(14).any(|bytes| bytes == b"bridge.example"));
}

fn seal_reveal() -> [u8; 32] {
    let (elaine, jerry, bridge) =
        (Person::new("elaine"), Person::new("jerry"), Bridge::new("bridge.example"));
    let draft = Draft { uplink: Some(uplink(&bridge, &elaine, &jerry)), ..draft(&jerry.card, b"x") };
    seal(&elaine.identity, &draft, &mut FixedRandom::new("seal")).unwrap().reveal.0
}

#[test]
fn size_tells_the_step_only() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let size = |content: &[u8]| {
        let sealed = seal(&elaine.identity, &draft(&jerry.card, content), &mut FixedRandom::new("seal"));
        sealed.unwrap().bundle.size()
    };
    assert_eq!(size(b""), size(&[7; 100]));
    assert_ne!(size(b""), size(&[7; 200]));
    assert_eq!(bundle(true).creation_s().unwrap(), NOW_S / 3_600 * 3_600);
}

/// A bundle of elaine's, sealed to a one-time key that its recipient gave her, or to the prekey.
fn of_elaine(
    elaine: &Person,
    recipient: &mut Person,
    now_s: u64,
    bridge: Option<&Bridge>,
    one_time: bool,
    rng: &mut FixedRandom,
) -> Bundle {
    let key = one_time.then(|| {
        let key = &recipient.ring.one_time_mut().issue(elaine.identity.key(), 1, NOW_S, rng)[0];
        OneTimePublic::new(key.public(), key.expires_s()).unwrap()
    });
    let uplink = bridge.map(|bridge| uplink(bridge, elaine, recipient));
    let draft = Draft {
        created_s: Some(now_s),
        epoch: Epoch::at(now_s),
        uplink,
        ..draft(&recipient.card, b"meet me at the coffee shop")
    };
    match key {
        Some(key) => seal_once(&elaine.identity, &draft, key, rng).unwrap().bundle,
        None => seal(&elaine.identity, &draft, rng).unwrap().bundle,
    }
}

/// Fields of two bundles of one author with the same value, constants left out.
fn shared(one: &Bundle, two: &Bundle) -> Vec<String> {
    let constant = |path: &str| {
        CONSTANT.iter().any(|(known, _)| *known == path)
            || path == ".0.6.1"
            || path == ".carriage.0"
            || path == ".uplink.0"
            // Type, number, flags and CRC type of the blocks.
            || path.strip_prefix('.').and_then(|path| path.split_once('.')).is_some_and(|(block, field)| {
                matches!(block, "1" | "2" | "3") && matches!(field, "0" | "1" | "2" | "3")
            })
    };
    let two = paths(two);
    let same = |(path, value): &(String, Vec<u8>)| two.contains(&(path.clone(), value.clone()));
    paths(one).into_iter().filter(same).map(|(path, _)| path).filter(|path| !constant(path)).collect()
}

#[test]
fn two_bundles_of_one_author_share_no_field_beyond_those_listed() {
    let elaine = Person::new("elaine");
    let (mut jerry, mut kramer) = (Person::new("jerry"), Person::new("kramer"));
    let bridge = Bridge::new("bridge.example");
    let rng = &mut FixedRandom::new("share");
    // Hour, lifetime and epoch say when; bridge domain and key say which service the author trusts.
    let (same_day, any_day) = ([".0.6.0", ".0.7", ".carriage.1"], [".0.7"]);
    for bridge in [None, Some(&bridge)] {
        let service: &[&str] = if bridge.is_some() { &[".uplink.1", ".uplink.2"] } else { &[] };
        for (first, second) in [(false, false), (true, true), (false, true)] {
            let one = of_elaine(&elaine, &mut jerry, NOW_S, bridge, first, rng);
            // To another recipient at the same hour, to another on another day, to the same on another day.
            let other = of_elaine(&elaine, &mut kramer, NOW_S, bridge, second, rng);
            let other_later = of_elaine(&elaine, &mut kramer, NOW_S + DAY_S, bridge, second, rng);
            let later = of_elaine(&elaine, &mut jerry, NOW_S + DAY_S, bridge, second, rng);
            assert_eq!(shared(&one, &other), [&same_day, service].concat());
            assert_eq!(shared(&one, &other_later), [&any_day, service].concat());
            assert_eq!(shared(&one, &later), [&any_day, service].concat());
            // Nor do their sealed parts share a piece of any size that chance would not give.
            for two in [&other, &other_later, &later] {
                let pieces: std::collections::BTreeSet<&[u8]> = one.payload().windows(8).collect();
                assert!(two.payload().windows(8).all(|piece| !pieces.contains(piece)));
            }
        }
    }
}

#[test]
fn nothing_tells_which_kind_of_key_a_bundle_is_sealed_to() {
    let (elaine, mut jerry) = (Person::new("elaine"), Person::new("jerry"));
    let rng = &mut FixedRandom::new("kind");
    let prekey = of_elaine(&elaine, &mut jerry, NOW_S, None, false, rng);
    let once = of_elaine(&elaine, &mut jerry, NOW_S, None, true, rng);
    let names = |bundle: &Bundle| paths(bundle).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(names(&prekey), names(&once));
    assert_eq!(prekey.size(), once.size());
    // Control: the same recipient on the same day is what can be linked, by the tag.
    assert_eq!(shared(&prekey, &once), [".0.3.1", ".0.6.0", ".0.7", ".carriage.1"]);
}
