//! What stands beside our blocks, and what has been done to ours: RFC 9171 sections 4.2.4, 4.4 and 5.6.

use bytes::Bytes;
use pigeon_bundle::{
    Bundle, BundleError, Draft, FOREIGN_SIZE_MAX, ForeignError, FromForeign, HopCount, from_foreign, seal,
    to_foreign,
};

use super::common::wire::{self, Block, Wire};
use super::common::{Bridge, FixedRandom, Person, draft, uplink};

const REPORT: u64 = 0x02;
const DELETE_BUNDLE: u64 = 0x04;
const DELETE_BLOCK: u64 = 0x10;

fn bundle(clock: bool) -> Bundle {
    let (elaine, jerry, bridge) =
        (Person::new("elaine"), Person::new("jerry"), Bridge::new("bridge.example"));
    let plain = draft(&jerry.card, b"hello");
    let created_s = plain.created_s.filter(|_| clock);
    let draft = Draft { uplink: Some(uplink(&bridge, &elaine, &jerry)), created_s, ..plain };
    seal(&elaine.identity, &draft, &mut FixedRandom::new("foreign")).unwrap().bundle
}

fn age(age_ms: u64) -> Block {
    Block::new(7, 4, &wire::uint(age_ms))
}

fn hops(limit: u64, count: u64) -> Block {
    Block::new(10, 5, &wire::array(&[wire::uint(limit), wire::uint(count)]))
}

/// One bundle of ours, changed on the way; the payload stays last.
fn read(change: impl FnOnce(&mut Wire)) -> Result<FromForeign, ForeignError> {
    let mut wire = Wire::of(&bundle(true));
    change(&mut wire);
    from_foreign(&Bytes::from(wire.encode()))
}

fn with_block(block: Block) -> Result<FromForeign, ForeignError> {
    read(|wire| wire.blocks.insert(2, block))
}

#[test]
fn towards_others_age_and_hops_stand_before_the_payload() {
    for clock in [true, false] {
        let bundle = bundle(clock);
        for (age_ms, made) in [(0, 0), (23, 1), (24, 23), (255, 24), (65_536, 16), (u64::MAX, 255)] {
            let mut wire = Wire::of(&bundle);
            wire.blocks.splice(2..2, [age(age_ms), hops(16, u64::from(made))]);
            assert_eq!(to_foreign(&bundle, age_ms, made), wire.encode());
        }
        let back = from_foreign(&to_foreign(&bundle, 7_000, 3)).unwrap();
        assert_eq!(back.bundle, bundle);
        assert_eq!((back.age_ms, back.hops), (Some(7_000), Some(HopCount { limit: 16, count: 3 })));
    }
}

#[test]
fn the_fixed_form_itself_is_taken_with_a_clock_and_refused_without() {
    let back = from_foreign(bundle(true).as_bytes()).unwrap();
    assert_eq!((back.bundle, back.age_ms, back.hops), (bundle(true), None, None));
    assert!(matches!(from_foreign(bundle(false).as_bytes()), Err(ForeignError::AgeMissing)));
}

/// RFC 9171 section 5.6 step 3, for each combination of the flags.
#[test]
fn unknown_blocks_are_treated_by_their_flags() {
    for flags in (0..32).filter(|flags| flags & 0x08 == 0) {
        for kind in [99, 192, 242] {
            let result = with_block(Block { flags, ..Block::new(kind, 9, b"\x01") });
            if flags & DELETE_BUNDLE != 0 {
                assert!(matches!(result, Err(ForeignError::Unprocessable { number: 9 })), "{flags:#x}");
                continue;
            }
            let read = result.unwrap();
            assert_eq!(read.bundle, bundle(true));
            assert_eq!(read.report_wanted, flags & REPORT != 0, "{flags:#x}");
            let [block] = &read.unprocessed[..] else { panic!("{:?}", read.unprocessed) };
            assert_eq!((block.kind, block.number, &block.data[..]), (kind, 9, &b"\x01"[..]));
            assert_eq!(block.delete_block, flags & DELETE_BLOCK != 0);
        }
    }
}

/// Blocks that RFC 9171 defines can be processed, whatever their flags ask for in the other case.
#[test]
fn known_blocks_ask_in_vain() {
    let previous = || Block::new(6, 9, &wire::dtn("//relay/"));
    for flags in [REPORT, DELETE_BUNDLE, DELETE_BLOCK, REPORT | DELETE_BUNDLE | DELETE_BLOCK] {
        for block in [age(5), hops(16, 1), previous()] {
            let read = with_block(Block { flags, ..block }).unwrap();
            assert_eq!(read.bundle, bundle(true));
            assert!(read.unprocessed.is_empty() && !read.report_wanted);
        }
    }
}

#[test]
fn crcs_flags_and_order_of_our_blocks_are_dropped() {
    let fixed = bundle(true);
    for crc in 0..3 {
        let back = read(|wire| {
            wire.crc = crc;
            for block in &mut wire.blocks {
                block.crc = crc;
                block.flags = 1 | REPORT | DELETE_BLOCK;
            }
            wire.blocks.swap(0, 1);
        })
        .unwrap();
        assert_eq!(back.bundle.as_bytes(), fixed.as_bytes());
        assert!(!back.report_wanted);
    }
}

#[test]
fn a_wrong_crc_is_no_bundle() {
    for crc in [1, 2] {
        let mut wire = Wire::of(&bundle(true));
        wire.block(1).crc = crc;
        let mut bytes = wire.encode();
        let last = bytes.len() - 2;
        bytes[last] ^= 1;
        assert!(matches!(from_foreign(&Bytes::from(bytes)), Err(ForeignError::Rfc9171(_))));
    }
}

#[test]
fn every_single_flipped_bit_is_refused_or_harmless() {
    let bundle = bundle(true);
    let good = to_foreign(&bundle, 1_000, 2);
    let mut harmless = 0;
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.to_vec();
            bytes[at] ^= 1 << bit;
            if let Ok(read) = from_foreign(&Bytes::from(bytes)) {
                assert_eq!(read.bundle, bundle, "bit {bit} of byte {at}");
                harmless += 1;
            }
        }
    }
    // Flags, age and hops are no part of the fixed form; nothing else may change unseen.
    assert!((1..200).contains(&harmless), "{harmless}");
}

#[test]
fn our_parts_must_be_as_the_fixed_form_has_them() {
    for (name, change) in [
        ("fragment allowed", (|wire: &mut Wire| wire.flags = 0) as fn(&mut Wire)),
        ("administrative record", |wire| wire.flags |= 2),
        ("status report on delivery", |wire| wire.flags |= 0x2_0000),
        ("sequence number", |wire| wire.sequence = 1),
        ("report-to", |wire| wire.report_to = wire::dtn("//spy/")),
        ("destination", |wire| wire.destination = wire::dtn("//jerry/m")),
        ("half an hour", |wire| wire.creation_ms += 1_800_000),
        ("31 days", |wire| wire.lifetime_ms = 31 * 86_400_000),
        ("carriage number", |wire| wire.block(240).number = 9),
        ("uplink number", |wire| wire.block(241).number = 9),
        ("two carriages", |wire| wire.blocks.insert(1, Block { number: 9, ..wire.blocks[0].clone() })),
        ("two uplinks", |wire| wire.blocks.insert(1, Block { number: 9, ..wire.blocks[1].clone() })),
        ("payload of no step", |wire| wire.block(1).item = wire::bytes(&[0; 300])),
    ] {
        let mut wire = Wire::of(&bundle(true));
        change(&mut wire);
        let bytes = Bytes::from(wire.lie().encode());
        let refusal = from_foreign(&bytes).unwrap_err();
        assert!(matches!(refusal, ForeignError::Bundle(_) | ForeignError::Rfc9171(_)), "{name}: {refusal}");
    }
    // Ours, but of another message: damaged, not somebody else's.
    let damaged = read(|wire| wire.block(1).item = wire::bytes(&[0; 304])).unwrap_err();
    assert!(matches!(damaged, ForeignError::Bundle(BundleError::Damaged)), "{damaged}");
}

#[test]
fn unknown_blocks_obey_the_rules_for_all_blocks() {
    let unknown = |number| Block::new(99, number, b"");
    assert!(with_block(unknown(9)).is_ok());
    for taken in [1, 2, 3] {
        assert!(with_block(unknown(taken)).is_err(), "number {taken} is taken");
    }
    let twice = read(|wire| wire.blocks.splice(1..1, [unknown(9), unknown(9)]).for_each(drop));
    assert!(matches!(twice, Err(ForeignError::Bundle(BundleError::Field { .. }))));
    assert!(read(|wire| wire.blocks.push(unknown(9))).is_err(), "the payload is last");
    // Read for what it is, this one has no data: RFC 9171 wants a byte string.
    assert!(with_block(Block { item: wire::uint(0), ..unknown(9) }).is_err());
}

#[test]
fn hop_limits_sizes_and_strangers() {
    assert!(with_block(hops(16, 16)).is_ok());
    assert!(matches!(with_block(hops(16, 17)), Err(ForeignError::HopLimit { count: 17, limit: 16 })));
    assert!(matches!(with_block(hops(0, 0)), Err(ForeignError::Rfc9171(_))));
    let stranger = read(|wire| drop(wire.blocks.remove(0))).unwrap_err();
    let ForeignError::NotOurs(read) = stranger else { panic!("{stranger}") };
    assert_eq!(read.blocks.iter().map(|block| block.kind).collect::<Vec<_>>(), [0, 1, 241]);
    let shown = format!("{read:?}");
    assert!(!shown.contains(&read.destination) && !shown.contains("[1, "), "{shown}");
    let large = from_foreign(&Bytes::from(vec![0x9f; FOREIGN_SIZE_MAX + 1]));
    assert!(matches!(large, Err(ForeignError::TooLarge { .. })));
}
