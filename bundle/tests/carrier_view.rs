//! What a carrier sees in a bundle, field by field. A field more and this test fails: then
//! PROTOCOL.md section 3 and the threat model must say so first.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Bridge, FixedRandom, NOW_S, Person, draft, uplink};
use minicbor::Decoder;
use minicbor::data::Type;
use pigeon_bundle::{Bundle, Draft, MessageId, seal};

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
