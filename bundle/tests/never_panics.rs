//! Whatever bytes arrive: an answer, never a panic, and no more memory than a multiple of them; and what is accepted
//! prints back as it came.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

mod common;

use std::sync::LazyLock;

use bytes::Bytes;
use common::{Bridge, FixedRandom, NOW_S, Person, draft, uplink};
use pigeon_bundle::{
    Acceptances, BridgeCard, Bundle, Card, Draft, MessageDigest, PrekeyRing, Tag, Verdict, VerdictCode,
    from_foreign, open, open_route, seal, to_foreign,
};
use proptest::prelude::*;

struct Targets {
    jerry: Person,
    bridge: Bridge,
    bundle: Bundle,
    verdict: Vec<u8>,
    acceptances: Vec<u8>,
}

/// Made once: sealing is what takes time here.
static TARGETS: LazyLock<Targets> = LazyLock::new(targets);

fn targets() -> Targets {
    let (elaine, jerry, bridge) =
        (Person::new("elaine"), Person::new("jerry"), Bridge::new("bridge.example"));
    let draft = Draft { uplink: Some(uplink(&bridge, &elaine, &jerry)), ..draft(&jerry.card, b"hello") };
    let bundle = seal(&elaine.identity, &draft, &mut FixedRandom::new("seal")).unwrap().bundle;
    let verdict = Verdict {
        bundle: bundle.id(),
        message: MessageDigest([2; 32]),
        code: VerdictCode::Accepted,
        time_s: 1,
    };
    let verdict = verdict.sign(&bridge.identity);
    let acceptances = Acceptances { bundles: vec![(bundle.id(), MessageDigest([2; 32])); 2], time_s: 1 };
    let acceptances = acceptances.sign(&bridge.identity);
    Targets { jerry, bridge, bundle, verdict, acceptances }
}

/// Most bytes of memory in use at once for each byte of input: a block of a bundle can be written in 8 bytes, and what
/// hardy-bpv7 knows of one takes some 270.
const MEMORY_FACTOR: u64 = 40;
/// And for any input, however short: an opened route is 512 bytes, a bundle for foreign agents needs some more.
const MEMORY_BASE: u64 = 16_384;

/// Gives the bytes to everything that takes bytes from outside.
fn feed(targets: &Targets, bytes: &[u8]) {
    let used = allocation_counter::measure(|| feed_each(targets, bytes));
    let most = MEMORY_FACTOR * bytes.len() as u64 + MEMORY_BASE;
    assert!(used.bytes_max <= most, "{} bytes of memory for {} of input", used.bytes_max, bytes.len());
}

fn feed_each(targets: &Targets, bytes: &[u8]) {
    if let Ok(bundle) = Bundle::parse(Bytes::copy_from_slice(bytes)) {
        assert_eq!(bundle.as_bytes(), bytes);
        let jerry = &targets.jerry;
        if let Ok(opened) = open(&bundle, &jerry.identity, &jerry.ring, Some(NOW_S)) {
            assert_eq!(
                opened.message,
                targets.bundle.message_digest(),
                "no change to a sealed message opens"
            );
        }
        let _ = open_route(&bundle, &targets.bridge.identity);
    }
    if let Ok(read) = from_foreign(&Bytes::copy_from_slice(bytes)) {
        assert_eq!(Bundle::parse(read.bundle.as_bytes().clone()).unwrap(), read.bundle);
        let again = from_foreign(&to_foreign(&read.bundle, read.age_ms.unwrap_or(0), 0)).unwrap();
        assert_eq!(again.bundle, read.bundle);
    }
    if let Ok(card) = Card::parse(bytes) {
        assert_eq!(card, targets.jerry.card, "only jerry's own card passes as signed");
    }
    if let Ok(card) = BridgeCard::parse(bytes) {
        assert_eq!(card, targets.bridge.card);
    }
    if let Ok(verdict) = Verdict::parse_verified(bytes, &targets.bridge.identity.key()) {
        assert_eq!(verdict.bundle, targets.bundle.id());
    }
    if let Ok(all) = Acceptances::parse_verified(bytes, &targets.bridge.identity.key()) {
        assert_eq!(all.bundles, [(targets.bundle.id(), MessageDigest([2; 32])); 2]);
    }
    if let Ok(ring) = PrekeyRing::from_bytes(bytes) {
        assert_eq!(&ring.to_bytes()[..], bytes);
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = Card::from_text(&text);
    if let Ok(tag) = Tag::from_base32(&text) {
        assert_eq!(tag.to_base32(), text);
    }
}

/// Cut, repeat, overwrite: reaches the depths that random bytes do not.
#[derive(Debug, Clone)]
enum Edit {
    Cut { at: usize, length: usize },
    Repeat { at: usize, length: usize },
    Write { at: usize, bytes: Vec<u8> },
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = 0_usize..1_400;
    prop_oneof![
        (at.clone(), 1_usize..64).prop_map(|(at, length)| Edit::Cut { at, length }),
        (at.clone(), 1_usize..64).prop_map(|(at, length)| Edit::Repeat { at, length }),
        (at, prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Edit::Write { at, bytes }),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    let span = |at: usize, length: usize| {
        let start = at.min(bytes.len());
        start..(start + length).min(bytes.len())
    };
    match edit {
        Edit::Cut { at, length } => drop(bytes.drain(span(*at, *length))),
        Edit::Repeat { at, length } => {
            let range = span(*at, *length);
            let copy = bytes[range.clone()].to_vec();
            bytes.splice(range.start..range.start, copy);
        }
        Edit::Write { at, bytes: new } => {
            let range = span(*at, new.len());
            let length = range.len();
            bytes[range].copy_from_slice(&new[..length]);
        }
    }
}

/// Heads of arrays, strings, maps and tags, short, endless and absurdly long, and the break.
const HEADS: [u8; 24] = [
    0x9f, 0xff, 0x89, 0x85, 0x84, 0x83, 0x82, 0x5f, 0x7f, 0xbf, 0x1b, 0x3b, 0x5b, 0x7b, 0x9b, 0xbb, 0xdb,
    0xfb, 0x00, 0x01, 0x02, 0x07, 0x40, 0x60,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        feed(&TARGETS, &bytes);
    }

    #[test]
    fn arbitrary_text(text in "(pigeon:card:)?[a-zA-Z0-9_=-]{0,300}") {
        feed(&TARGETS, text.as_bytes());
    }

    #[test]
    fn edited_originals(which in 0_usize..6, edits in prop::collection::vec(edit(), 1..4)) {
        let targets = &*TARGETS;
        let mut bytes = match which {
            0 => targets.bundle.as_bytes().to_vec(),
            1 => to_foreign(&targets.bundle, 1_000, 1).to_vec(),
            2 => targets.jerry.card.as_bytes().to_vec(),
            3 => targets.bridge.card.as_bytes().to_vec(),
            4 => targets.verdict.clone(),
            _ => targets.acceptances.clone(),
        };
        edits.iter().for_each(|edit| apply(&mut bytes, edit));
        feed(targets, &bytes);
    }

    #[test]
    fn arbitrary_cbor_heads(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let heads: Vec<u8> = bytes.iter().map(|byte| HEADS.get(usize::from(byte & 31)).copied().unwrap_or(*byte)).collect();
        feed(&TARGETS, &heads);
    }
}

#[test]
fn deep_nesting_and_many_blocks_end_soon() {
    let targets = &*TARGETS;
    for byte in [0x9f, 0x81, 0x5f, 0xbf, 0xc1, 0x82] {
        feed(targets, &vec![byte; 98_304]);
    }
    // The true primary block, then as many tiny blocks as fit.
    let wire = common::wire::Wire::of(&targets.bundle);
    let mut bytes = vec![0x9f];
    bytes.extend(wire.primary(&wire.source, 2));
    let mut number = 2_u64;
    while bytes.len() < 98_000 {
        bytes.extend(common::wire::array(&[
            common::wire::uint(250),
            common::wire::uint(number),
            common::wire::uint(0),
            common::wire::uint(0),
            common::wire::bytes(b""),
        ]));
        number += 1;
    }
    bytes.extend(common::wire::array(&[1, 1, 0, 0].map(common::wire::uint)));
    bytes.push(0xff);
    feed(targets, &bytes);
}

/// Lengths that promise far more than there is: nothing is set aside for a promise.
#[test]
fn a_promised_length_costs_nothing() {
    let targets = &*TARGETS;
    let wire = common::wire::Wire::of(&targets.bundle);
    let original = targets.bundle.as_bytes();
    for size in [1_u64 << 20, 1 << 32, 1 << 62, u64::MAX] {
        for major in [2, 3, 4, 5] {
            let head = common::wire::head(major, size);
            feed(targets, &head);
            feed(targets, &[&[0x9f][..], &head].concat());
            feed(
                targets,
                &[&[0x9f][..], &wire.primary(&wire.source, 2), &[0x85, 1, 1, 0, 0], &head].concat(),
            );
            // In the place of the head of the payload.
            let at = original.len() - 1 - targets.bundle.payload().len() - 3;
            feed(targets, &[&original[..at], &head, &original[at + 3..]].concat());
        }
        // Field 1 of a protobuf message.
        let mut varint = vec![0x0a];
        let mut rest = size;
        while rest >= 0x80 {
            varint.push((rest as u8 & 0x7f) | 0x80);
            rest >>= 7;
        }
        varint.push(rest as u8);
        feed(targets, &varint);
    }
}
