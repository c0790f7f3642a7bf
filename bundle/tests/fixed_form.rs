//! A received bundle is in the fixed form or it is nothing.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use bytes::Bytes;
use common::wire::{self, Block, Wire};
use common::{Bridge, FixedRandom, NOW_S, Person, draft, uplink};
use pigeon_bundle::{BUNDLE_SIZE_MAX, Bundle, BundleError, Draft, seal};

fn bundle() -> Bundle {
    let (elaine, jerry, bridge) =
        (Person::new("elaine"), Person::new("jerry"), Bridge::new("bridge.example"));
    let draft = Draft { uplink: Some(uplink(&bridge, &elaine, &jerry)), ..draft(&jerry.card, b"hello") };
    seal(&elaine.identity, &draft, &mut FixedRandom::new("seal")).unwrap().bundle
}

fn parse(bytes: Vec<u8>) -> Result<Bundle, BundleError> {
    Bundle::parse(Bytes::from(bytes))
}

#[test]
fn second_implementation_agrees_on_every_byte_and_digest() {
    let bundle = bundle();
    let wire = Wire::of(&bundle);
    assert_eq!(wire.encode(), bundle.as_bytes()[..]);
    assert_eq!(wire.header(), bundle.header_digest().0);
    assert_eq!(wire.message(), bundle.message_digest().0);
    assert_eq!(wire.id(), bundle.id().0);
}

#[test]
fn every_single_flipped_bit_is_refused() {
    let bundle = bundle();
    let good = bundle.as_bytes().to_vec();
    assert!(parse(good.clone()).is_ok());
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            assert!(parse(bytes).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn every_truncation_and_any_tail_is_refused() {
    let good = bundle().as_bytes().to_vec();
    for length in 0..good.len() {
        assert!(parse(good[..length].to_vec()).is_err(), "{length} bytes");
    }
    for tail in [0x00, 0xff, 0x9f] {
        assert!(parse([&good[..], &[tail]].concat()).is_err());
    }
    let big = parse(vec![0x9f; BUNDLE_SIZE_MAX + 1]).unwrap_err();
    assert!(matches!(big, BundleError::TooLarge { size } if size == BUNDLE_SIZE_MAX + 1));
}

/// One change, the source left as the checker will compute it from the parts.
fn changed(change: impl FnOnce(&mut Wire)) -> Vec<u8> {
    let mut wire = Wire::of(&bundle());
    change(&mut wire);
    wire.encode()
}

/// The same, by a liar who computes the source anew.
fn lied(change: impl FnOnce(&mut Wire)) -> Vec<u8> {
    let mut wire = Wire::of(&bundle());
    change(&mut wire);
    wire.lie().encode()
}

#[test]
fn primary_block_variants_are_refused() {
    let percent = |wire: &mut Wire| {
        let source = String::from_utf8(wire.source[4..].to_vec()).unwrap();
        let first = source.as_bytes()[2];
        wire.source = wire::dtn(&format!("//%{first:02x}{}", &source[3..]));
    };
    let upper = |wire: &mut Wire| {
        let destination = String::from_utf8(wire.destination[4..].to_vec()).unwrap();
        wire.destination = wire::dtn(&format!("{}/m", destination[..28].to_uppercase()));
    };
    for change in [
        (|wire: &mut Wire| wire.version = 6) as fn(&mut Wire),
        |wire| wire.flags = 0,
        |wire| wire.flags |= 0x40,
        |wire| wire.flags |= 0x4_0000,
        |wire| wire.flags |= 1 << 30,
        |wire| wire.crc = 0,
        |wire| wire.crc = 1,
        |wire| wire.sequence = 1,
        |wire| wire.report_to = wire.source.clone(),
        |wire| wire.report_to = wire::dtn("none"),
        |wire| wire.source = wire::dtn_none(),
        |wire| {
            wire.source = wire::array(&[wire::uint(2), wire::array(&[wire::uint(1), wire::uint(1)])]);
        },
        |wire| wire.creation_ms += 1,
        |wire| wire.creation_ms += 86_400_000,
        |wire| wire.creation_ms = u64::MAX / 3_600_000 * 3_600_000,
        |wire| wire.lifetime_ms += 1,
        |wire| wire.lifetime_ms = 0,
        |wire| wire.lifetime_ms = 31 * 86_400_000,
        |wire| wire.lifetime_ms = u64::MAX,
        |wire| wire.destination = wire::dtn_none(),
        |wire| wire.destination = wire::dtn("//jerry/m"),
        |wire| *wire.destination.last_mut().unwrap() = b'n',
    ] {
        assert!(parse(changed(change)).is_err());
        assert!(parse(lied(change)).is_err() || lied(change) == bundle().as_bytes()[..]);
    }
    // Both are the same bundle to a reader of RFC 9171; only the spelling differs.
    assert!(matches!(parse(changed(percent)), Err(BundleError::NotFixedForm { .. })));
    assert!(parse(changed(upper)).is_err());
}

#[test]
fn block_variants_are_refused() {
    let carriage_twice =
        |wire: &mut Wire| wire.blocks.insert(1, Block { number: 4, ..wire.blocks[0].clone() });
    for (name, change) in [
        ("block CRC", (|wire: &mut Wire| wire.block(240).crc = 2) as fn(&mut Wire)),
        ("payload CRC", |wire| wire.block(1).crc = 1),
        ("must replicate", |wire| wire.block(240).flags = 1),
        ("report on failure", |wire| wire.block(241).flags = 2),
        ("delete bundle on failure", |wire| wire.block(1).flags = 4),
        ("delete block on failure", |wire| wire.block(241).flags = 16),
        ("unknown flag", |wire| wire.block(240).flags = 0x80),
        ("bundle age added", |wire| wire.blocks.insert(2, Block::new(7, 4, &wire::uint(0)))),
        ("hop count added", |wire| {
            let hops = wire::array(&[wire::uint(16), wire::uint(0)]);
            wire.blocks.insert(2, Block::new(10, 4, &hops));
        }),
        ("previous node added", |wire| wire.blocks.insert(2, Block::new(6, 4, &wire::dtn("//x/")))),
        ("unknown block added", |wire| wire.blocks.insert(2, Block::new(242, 4, b""))),
        ("unknown instead of uplink", |wire| wire.block(241).kind = 242),
        ("uplink before carriage", |wire| wire.blocks.swap(0, 1)),
        ("numbers swapped", |wire| {
            wire.block(240).number = 3;
            wire.block(241).number = 2;
        }),
        ("number 4", |wire| wire.block(241).number = 4),
        ("two uplinks", |wire| wire.blocks.insert(2, Block { number: 4, ..wire.blocks[1].clone() })),
        ("two uplinks, one number", |wire| wire.blocks.insert(2, wire.blocks[1].clone())),
        ("two payloads", |wire| wire.blocks.push(wire.blocks[2].clone())),
        ("payload not last", |wire| wire.blocks.swap(1, 2)),
        ("no carriage", |wire| drop(wire.blocks.remove(0))),
        ("no payload", |wire| drop(wire.blocks.pop())),
        ("tagged data", |wire| {
            let item = wire.block(240).item.clone();
            wire.block(240).item = [&[0xd8, 24][..], &item].concat();
        }),
        ("chunked data", |wire| {
            let item = wire.block(240).item.clone();
            wire.block(240).item = [&[0x5f][..], &item, &[0xff]].concat();
        }),
        ("long length", |wire| {
            let item = wire.block(240).item.clone();
            wire.block(240).item = [&[0x59, 0x00][..], &item[1..]].concat();
        }),
    ] {
        assert!(parse(changed(change)).is_err(), "{name}");
        assert!(parse(lied_about_blocks(change)).is_err(), "{name}, source recomputed");
    }
    assert!(parse(changed(carriage_twice)).is_err());
}

/// As [`lied`], for changes after which some digests cannot be computed: then the source stays.
fn lied_about_blocks(change: impl FnOnce(&mut Wire)) -> Vec<u8> {
    let mut wire = Wire::of(&bundle());
    change(&mut wire);
    let whole = [240, 1].iter().all(|kind| {
        wire.blocks
            .iter()
            .any(|block| block.kind == *kind && minicbor::Decoder::new(&block.item).bytes().is_ok())
    });
    if whole { wire.lie().encode() } else { wire.encode() }
}

#[test]
fn carriage_and_uplink_data_variants_are_refused() {
    let good = bundle();
    let epoch = u64::from(good.epoch().0);
    let commitment = good.commitment().0;
    let up = good.uplink().unwrap().clone();
    let magic = wire::bytes(b"CP1");
    let items = |epoch: &[u8]| [&[0x83][..], &magic, epoch, &wire::bytes(&commitment)].concat();
    let carriages = [
        ("long epoch", items(&[&[0x1b][..], &epoch.to_be_bytes()].concat())),
        ("tagged epoch", items(&[&[0xc1][..], &wire::uint(epoch)].concat())),
        ("indefinite array", [&[0x9f][..], &items(&wire::uint(epoch))[1..], &[0xff]].concat()),
        ("other magic", wire::array(&[wire::bytes(b"CP2"), wire::uint(epoch), wire::bytes(&commitment)])),
        ("text magic", wire::array(&[wire::text("CP1"), wire::uint(epoch), wire::bytes(&commitment)])),
        ("epoch of another day", wire::carriage(epoch + 1, &commitment)),
        ("epoch beyond u32", wire::carriage(1 << 32, &commitment)),
        ("short commitment", wire::carriage(epoch, &commitment[..31])),
        ("long commitment", wire::carriage(epoch, &[&commitment[..], &[0]].concat())),
        ("tail", [wire::carriage(epoch, &commitment), vec![0]].concat()),
        ("fourth item", [&[0x84][..], &wire::carriage(epoch, &commitment)[1..], &[0]].concat()),
        ("empty", Vec::new()),
    ];
    for (name, data) in carriages {
        let change = |wire: &mut Wire| wire.block(240).item = wire::bytes(&data);
        assert!(parse(changed(change)).is_err(), "{name}");
        assert!(parse(lied(change)).is_err(), "{name}, source recomputed");
    }
    let length = u8::try_from(up.domain.len()).unwrap();
    let long_text = [&[0x79, 0, length][..], up.domain.as_bytes()].concat();
    let uplinks = [
        ("no domain", wire::uplink_data("", &up.bridge_key, &up.route)),
        ("long domain", wire::uplink_data(&"a".repeat(151), &up.bridge_key, &up.route)),
        ("control character", wire::uplink_data("a\nb", &up.bridge_key, &up.route)),
        ("short key", wire::uplink_data(&up.domain, &up.bridge_key[..31], &up.route)),
        ("short route", wire::uplink_data(&up.domain, &up.bridge_key, &up.route[..559])),
        ("long route", wire::uplink_data(&up.domain, &up.bridge_key, &[&up.route[..], &[0]].concat())),
        (
            "long text head",
            [&[0x84][..], &magic, &long_text, &wire::bytes(&up.bridge_key), &wire::bytes(&up.route)].concat(),
        ),
        ("tail", [wire::uplink_data(&up.domain, &up.bridge_key, &up.route), vec![0]].concat()),
    ];
    for (name, data) in uplinks {
        let change = |wire: &mut Wire| wire.block(241).item = wire::bytes(&data);
        assert!(parse(changed(change)).is_err(), "{name}");
        assert!(parse(lied(change)).is_err(), "{name}, source recomputed");
    }
}

#[test]
fn payload_of_no_step_is_refused() {
    for size in [0, 47, 48, 303, 305, 48 + 768, 48 + 98_304 - 2_000] {
        assert!(parse(lied(|wire| wire.block(1).item = wire::bytes(&vec![0; size]))).is_err(), "{size}");
    }
    // Control: the steps themselves pass, whatever is in them.
    for step in pigeon_bundle::STEPS {
        let bundle = parse(lied(|wire| wire.block(1).item = wire::bytes(&vec![0; step + 48]))).unwrap();
        assert_eq!(bundle.payload_step(), step);
    }
}

#[test]
fn stripped_uplink_is_another_bundle_of_the_same_message() {
    let good = bundle();
    let strip = |wire: &mut Wire| drop(wire.blocks.remove(1));
    assert!(matches!(parse(changed(strip)), Err(BundleError::Damaged)));
    let variant = parse(lied(strip)).unwrap();
    assert!(variant.uplink().is_none());
    assert_eq!(variant.message_digest(), good.message_digest());
    assert_eq!(variant.commitment(), good.commitment());
    assert_ne!(variant.id(), good.id());
    // The seal is untouched: the recipient opens it and finds the P it may already know.
    let jerry = Person::new("jerry");
    let opened = pigeon_bundle::open(&variant, &jerry.identity, &jerry.ring, Some(NOW_S)).unwrap();
    assert_eq!(opened.message, good.message_digest());
}

#[test]
fn changed_header_is_another_message_that_does_not_open() {
    let jerry = Person::new("jerry");
    for change in [
        (|wire: &mut Wire| wire.lifetime_ms = 30 * 86_400_000) as fn(&mut Wire),
        |wire| wire.creation_ms = 0,
        |wire| wire.destination = wire::dtn(&format!("//{}/m", wire::base32(&[0; 16]))),
        |wire| wire.block(240).item = wire::bytes(&wire::carriage(NOW_S / 86_400, &[0; 32])),
    ] {
        let variant = parse(lied(change)).unwrap();
        assert_ne!(variant.message_digest(), bundle().message_digest());
        assert_eq!(
            pigeon_bundle::open(&variant, &jerry.identity, &jerry.ring, Some(NOW_S)).unwrap_err(),
            pigeon_bundle::OpenError::NoKey
        );
    }
}

#[test]
fn received_bytes_are_kept_without_a_copy() {
    let bytes = bundle().as_bytes().to_vec();
    let received = Bytes::from(bytes);
    let parsed = Bundle::parse(received.clone()).unwrap();
    assert_eq!(parsed.as_bytes().as_ptr(), received.as_ptr());
    assert_eq!(parsed.clone().as_bytes().as_ptr(), received.as_ptr());
}
