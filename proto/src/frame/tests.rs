#![allow(clippy::unwrap_used, reason = "tests")]

use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;
use crate::FRAME_SIZE_MAX;

const ID: BundleId = BundleId([0xb1; 32]);

/// One frame of each kind beside its bytes. A change here is a change of the wire format.
fn snapshots() -> Vec<(Frame, String)> {
    let id = "b1".repeat(32);
    let hello =
        Hello { version: 1, carriage_open: true, clock_s: Some(1_800_000_000), bundle_size_max: 98_304 };
    let clockless = Hello { version: 1, carriage_open: false, clock_s: None, bundle_size_max: 98_304 };
    let auth = Auth { node_key: NodeKey([0x0a; 32]), signature: [0x51; 64] };
    let offer = Offer {
        bundle: ID,
        size: 4_096,
        copies: 3,
        quality: 65_535,
        moves: 2,
        age_s: 86_400,
        hops: 5,
        tag: None,
    };
    let tagged = Offer { tag: Some(Tag([8; 16])), ..offer };
    let macs16 = vec![[1; 16], [2; 16]];
    let list16 = format!("0a20{}{}", "01".repeat(16), "02".repeat(16));
    let macs8 = vec![[3; 8], [4; 8]];
    let list8 = format!("0a10{}{}", "03".repeat(8), "04".repeat(8));
    vec![
        (Frame::Hello(hello), "010801100118 80a4a7da06 20808006".replace(' ', "")),
        (Frame::Hello(clockless), "01080120808006".into()),
        (Frame::Auth(auth), format!("020a20{}1240{}", "0a".repeat(32), "51".repeat(64))),
        (Frame::Goodbye(GoodbyeReason::Done), "03".into()),
        (Frame::Goodbye(GoodbyeReason::DuplicateLink), "030803".into()),
        (Frame::Recognise { macs: macs16.clone(), last: true }, format!("04{list16}1001")),
        (Frame::TombstonesHeld { macs: macs16.clone(), last: false }, format!("05{list16}")),
        (Frame::TombstonesRevealed { reveals: vec![Reveal([9; 32])] }, format!("060a20{}", "09".repeat(32))),
        (Frame::TombstonesRevealed { reveals: vec![] }, "06".into()),
        (Frame::Have { macs: macs16, last: true }, format!("07{list16}1001")),
        (Frame::Carrying { macs: macs8.clone(), last: true }, format!("08{list8}1001")),
        (Frame::Carrying { macs: vec![], last: true }, "081001".into()),
        (Frame::Pull { macs: macs8 }, format!("09{list8}")),
        (Frame::Offer(offer), format!("0a0a20{id}108020180320ffff032802 3080a305 3805").replace(' ', "")),
        (
            Frame::Offer(tagged),
            format!("0a0a20{id}108020180320ffff0328023080a30538054210{}", "08".repeat(16)),
        ),
        (Frame::Accept(Accept { bundle: ID, quality: 1, offset: 65_472 }), format!("0b0a20{id}100118c0ff03")),
        (Frame::Decline { bundle: ID, reason: DeclineReason::PoolFull }, format!("0c0a20{id}1005")),
        (
            Frame::Segment { bundle: ID, offset: 512, data: Bytes::from_static(b"sealed") },
            format!("0d0a20{id}1080041a067365616c6564"),
        ),
        (Frame::Stored { bundle: ID }, format!("0e0a20{id}")),
        (Frame::Granted { bundle: ID, copies: 2 }, format!("0f0a20{id}1002")),
        (Frame::Reachable { tags: vec![Tag([7; 16])], last: true }, format!("100a10{}1001", "07".repeat(16))),
        (Frame::PickupToken(token(b"sealed")), "110a03622e681206736561 6c656418 80a4a7da06".replace(' ', "")),
        (Frame::Introduction(Introduction::Commitment([0xc0; 32])), format!("120a20{}", "c0".repeat(32))),
        (Frame::Introduction(Introduction::Reveal([0x4e; 64])), format!("121240{}", "4e".repeat(64))),
        (Frame::Introduction(Introduction::Card(Bytes::from_static(b"card"))), "121a0463617264".into()),
        (Frame::Introduction(Introduction::End(EndReason::BrokenOff)), "122002".into()),
    ]
}

fn token(sealed: &'static [u8]) -> PickupToken {
    PickupToken { domain: "b.h".into(), token: Bytes::from_static(sealed), expires_s: 1_800_000_000 }
}

#[test]
fn every_frame_has_these_bytes() {
    for (frame, hex) in snapshots() {
        assert_eq!(HEXLOWER.encode(&frame.encode()), hex, "{}", frame.name());
        let bytes = HEXLOWER.decode(hex.as_bytes()).unwrap();
        assert_eq!(Frame::decode(bytes.into()).unwrap(), frame, "{}", frame.name());
    }
    let mut numbers: Vec<u8> = snapshots().iter().map(|(frame, _)| frame.number()).collect();
    numbers.dedup();
    assert_eq!(numbers, (1..=18).collect::<Vec<u8>>(), "a snapshot of every frame");
}

#[test]
fn reasons_survive_their_numbers() {
    for (code, reason) in (0..).zip(GoodbyeReason::ALL) {
        assert_eq!(GoodbyeReason::from_code(code), Some(reason));
    }
    for (code, reason) in (1..).zip(DeclineReason::ALL) {
        assert_eq!(DeclineReason::from_code(code), Some(reason));
    }
    for (code, reason) in (1..).zip(EndReason::ALL) {
        assert_eq!(EndReason::from_code(code), Some(reason));
    }
    assert_eq!(GoodbyeReason::from_code(6), None);
    assert_eq!((EndReason::from_code(0), EndReason::from_code(4)), (None, None));
    assert_eq!((DeclineReason::from_code(0), DeclineReason::from_code(10)), (None, None));
}

fn decode_hex(hex: &str) -> Result<Frame, FrameError> {
    Frame::decode(HEXLOWER.decode(hex.as_bytes()).unwrap().into())
}

#[test]
fn what_is_outside_the_format_is_refused() {
    let id = "b1".repeat(32);
    let frame = "Offer";
    assert_eq!(decode_hex(""), Err(FrameError::Empty));
    assert_eq!(decode_hex("00"), Err(FrameError::Unknown { number: 0 }));
    assert_eq!(decode_hex("13"), Err(FrameError::Unknown { number: 19 }));
    assert_eq!(decode_hex("12"), Err(FrameError::Missing { frame: "Introduction", field: "step" }));
    assert_eq!(decode_hex("122000"), Err(FrameError::Reason { frame: "Introduction", code: 0 }));
    assert_eq!(
        decode_hex("120a02c0c0"),
        Err(FrameError::FieldSize { frame: "Introduction", field: "commitment", size: 2, expected: 32 })
    );
    assert_eq!(
        decode_hex("121200"),
        Err(FrameError::FieldSize { frame: "Introduction", field: "reveal", size: 0, expected: 64 })
    );
    assert!(matches!(decode_hex("0d0aff"), Err(FrameError::Malformed { frame: "Segment", .. })));
    assert_eq!(decode_hex("030806"), Err(FrameError::Reason { frame: "Goodbye", code: 6 }));
    assert_eq!(decode_hex(&format!("0c0a20{id}")), Err(FrameError::Reason { frame: "Decline", code: 0 }));
    assert_eq!(
        decode_hex("0e0a02b1b1"),
        Err(FrameError::FieldSize { frame: "Stored", field: "bundle", size: 2, expected: 32 })
    );
    assert_eq!(
        decode_hex("070a0fffffffffffffffffffffffffffffff1001"),
        Err(FrameError::ListLength { frame: "Have", size: 15, entry: 16 })
    );
    assert_eq!(decode_hex("07"), Err(FrameError::ListStalls { frame: "Have" }));
    let range = |field, value, max| Err(FrameError::Range { frame, field, value, min: 0, max });
    assert_eq!(decode_hex(&format!("0a0a20{id}10801018808004")), range("copies", 65_536, 255));
    assert_eq!(decode_hex(&format!("0a0a20{id}1080101804")), range("copies", 4, 3));
    assert_eq!(decode_hex(&format!("0a0a20{id}10801020808004")), range("quality", 65_536, 65_535));
    assert_eq!(decode_hex(&format!("0a0a20{id}108010388002")), range("hops", 256, 255));
}

/// "at most 98,304 bytes in the fixed form" (wire-format section 4)
#[test]
fn sizes_end_where_a_bundle_ends() {
    let max = 98_304;
    let offer = |size| {
        let offer = Offer { bundle: ID, size, copies: 0, quality: 0, moves: 0, age_s: 0, hops: 0, tag: None };
        Frame::decode(Frame::Offer(offer).encode()).is_ok()
    };
    assert!(!offer(0) && offer(1) && offer(max) && !offer(max + 1));
    let accept =
        |offset| Frame::decode(Frame::Accept(Accept { bundle: ID, quality: 0, offset }).encode()).is_ok();
    assert!(accept(0) && accept(max - 1) && !accept(max));
    let segment = |offset, size| {
        let data = Bytes::from(vec![0; size]);
        Frame::decode(Frame::Segment { bundle: ID, offset, data }.encode()).is_ok()
    };
    assert!(segment(0, 1) && segment(max - 1, 1) && segment(max - 100, 100));
    assert!(!segment(0, 0) && !segment(max, 1) && !segment(max - 100, 101));
    assert!(segment(1, SEGMENT_DATA_MAX) && !segment(1, SEGMENT_DATA_MAX + 1));
}

#[test]
fn lists_at_their_limits_fit_a_frame_and_one_more_is_refused() {
    type Make = fn(usize) -> Frame;
    let lists: [(usize, Make); 7] = [
        (MAC16_LIST_MAX, |n| Frame::Recognise { macs: vec![[1; 16]; n], last: true }),
        (MAC16_LIST_MAX, |n| Frame::TombstonesHeld { macs: vec![[1; 16]; n], last: true }),
        (MAC16_LIST_MAX, |n| Frame::Have { macs: vec![[1; 16]; n], last: true }),
        (MAC8_LIST_MAX, |n| Frame::Carrying { macs: vec![[1; 8]; n], last: true }),
        (MAC8_LIST_MAX, |n| Frame::Pull { macs: vec![[1; 8]; n] }),
        (REVEAL_LIST_MAX, |n| Frame::TombstonesRevealed { reveals: vec![Reveal([1; 32]); n] }),
        (TAG_LIST_MAX, |n| Frame::Reachable { tags: vec![Tag([1; 16]); n], last: true }),
    ];
    for (limit, make) in lists {
        let full = make(limit);
        assert_eq!(full.check(), Ok(()), "{}", full.name());
        assert!(full.encode().len() <= FRAME_SIZE_MAX, "{}", full.name());
        assert_eq!(Frame::decode(full.encode()), Ok(full));
        let over = make(limit + 1);
        let refused = Err(FrameError::ListLimit { frame: over.name(), count: limit + 1, limit });
        assert_eq!(over.check(), refused.clone().map(drop));
        assert_eq!(Frame::decode(over.encode()), refused);
    }
}

#[test]
fn tokens_end_where_their_limits_are() {
    let check = |domain: usize, sealed: usize| {
        let token = PickupToken { domain: "d".repeat(domain), token: vec![1; sealed].into(), expires_s: 1 };
        let frame = Frame::PickupToken(token);
        assert_eq!(frame.check().is_ok(), Frame::decode(frame.encode()).is_ok());
        frame.check().is_ok()
    };
    let (domain_max, sealed_max) = (PICKUP_DOMAIN_MAX, pigeon_bundle::PICKUP_TOKEN_MAX);
    assert!(check(1, 1) && check(domain_max, sealed_max));
    assert!(!check(0, 1) && !check(1, 0) && !check(domain_max + 1, 1) && !check(1, sealed_max + 1));
}

#[test]
fn a_shown_card_ends_where_its_limit_is_and_is_not_printed() {
    let check = |size: usize| {
        let frame = Frame::Introduction(Introduction::Card(vec![1; size].into()));
        assert_eq!(frame.check().is_ok(), Frame::decode(frame.encode()).is_ok());
        frame.check().is_ok()
    };
    let max = pigeon_bundle::SHOWN_CARD_MAX;
    assert!(check(1) && check(max) && !check(0) && !check(max + 1));
    let shown = format!("{:?}", Frame::Introduction(Introduction::Card(Bytes::from_static(b"card"))));
    assert_eq!(shown, "Introduction(Card(4 bytes))");
}

#[test]
fn full_segment_fits_a_frame() {
    let data = Bytes::from(vec![0xff; SEGMENT_DATA_MAX]);
    let frame = Frame::Segment { bundle: ID, offset: 32_000, data };
    assert!(frame.encode().len() <= FRAME_SIZE_MAX);
    assert_eq!(Frame::decode(frame.encode()), Ok(frame));
    let oversize = Bytes::from(vec![1; FRAME_SIZE_MAX + 1]);
    assert_eq!(Frame::decode(oversize), Err(FrameError::Oversize { size: FRAME_SIZE_MAX + 1 }));
}

/// A newer peer may add fields: those are skipped, the rest still counts.
#[test]
fn unknown_fields_are_skipped() {
    assert_eq!(decode_hex("0308037a02abcd"), Ok(Frame::Goodbye(GoodbyeReason::DuplicateLink)));
}

fn any_id() -> impl Strategy<Value = BundleId> {
    any::<[u8; 32]>().prop_map(BundleId)
}

fn any_list<const N: usize>() -> impl Strategy<Value = (Vec<[u8; N]>, bool)> {
    (prop::collection::vec(any::<[u8; N]>(), 0..40), any::<bool>()).prop_map(|(macs, last)| {
        let last = last || macs.is_empty();
        (macs, last)
    })
}

fn any_offer() -> impl Strategy<Value = Frame> {
    let numbers = (1..=98_304_u32, 0..=3_u8, any::<u16>(), any::<u8>(), any::<u64>(), any::<u8>());
    let tag = prop::option::of(any::<[u8; 16]>().prop_map(Tag));
    (any_id(), numbers, tag).prop_map(|(bundle, (size, copies, quality, moves, age_s, hops), tag)| {
        Frame::Offer(Offer { bundle, size, copies, quality, moves, age_s, hops, tag })
    })
}

fn any_hello() -> impl Strategy<Value = Frame> {
    (any::<u32>(), any::<bool>(), prop::option::of(1..=u64::MAX), any::<u32>()).prop_map(
        |(version, carriage_open, clock_s, bundle_size_max)| {
            Frame::Hello(Hello { version, carriage_open, clock_s, bundle_size_max })
        },
    )
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let reveals = prop::collection::vec(any::<[u8; 32]>().prop_map(Reveal), 0..40);
    let data = prop::collection::vec(any::<u8>(), 1..600);
    prop_oneof![
        any_hello(),
        (any::<[u8; 32]>(), any::<[u8; 64]>())
            .prop_map(|(key, signature)| Frame::Auth(Auth { node_key: NodeKey(key), signature })),
        prop::sample::select(&GoodbyeReason::ALL[..]).prop_map(Frame::Goodbye),
        any_list().prop_map(|(macs, last)| Frame::Recognise { macs, last }),
        any_list().prop_map(|(macs, last)| Frame::TombstonesHeld { macs, last }),
        reveals.prop_map(|reveals| Frame::TombstonesRevealed { reveals }),
        any_list().prop_map(|(macs, last)| Frame::Have { macs, last }),
        any_list().prop_map(|(macs, last)| Frame::Carrying { macs, last }),
        any_list().prop_map(|(macs, _)| Frame::Pull { macs }),
        any_offer(),
        (any_id(), any::<u16>(), 0..98_304_u32).prop_map(|(bundle, quality, offset)| Frame::Accept(Accept {
            bundle,
            quality,
            offset
        })),
        (any_id(), prop::sample::select(&DeclineReason::ALL[..]))
            .prop_map(|(bundle, reason)| Frame::Decline { bundle, reason }),
        (any_id(), 0..97_000_u32, data).prop_map(|(bundle, offset, data)| Frame::Segment {
            bundle,
            offset,
            data: data.into()
        }),
        any_id().prop_map(|bundle| Frame::Stored { bundle }),
        (any_id(), 0..=3_u8).prop_map(|(bundle, copies)| Frame::Granted { bundle, copies }),
        any_list().prop_map(|(tags, last)| {
            Frame::Reachable { tags: tags.into_iter().map(Tag).collect(), last }
        }),
        ("[a-z]{1,150}", prop::collection::vec(any::<u8>(), 1..600), any::<u64>()).prop_map(
            |(domain, token, expires_s)| Frame::PickupToken(PickupToken {
                domain,
                token: token.into(),
                expires_s
            })
        ),
        any_introduction().prop_map(Frame::Introduction),
    ]
}

fn any_introduction() -> impl Strategy<Value = Introduction> {
    let bytes = || prop::collection::vec(any::<u8>(), 64);
    prop_oneof![
        any::<[u8; 32]>().prop_map(Introduction::Commitment),
        bytes().prop_map(|bytes| Introduction::Reveal(bytes.try_into().unwrap())),
        prop::collection::vec(any::<u8>(), 1..600).prop_map(|card| Introduction::Card(card.into())),
        prop::sample::select(&EndReason::ALL[..]).prop_map(Introduction::End),
    ]
}

proptest! {
    #[test]
    fn frames_come_back_as_they_were(frame in any_frame()) {
        prop_assert_eq!(frame.check(), Ok(()));
        let bytes = frame.encode();
        prop_assert!(bytes.len() <= FRAME_SIZE_MAX);
        prop_assert_eq!(Frame::decode(bytes).unwrap(), frame);
    }

    #[test]
    fn what_decodes_encodes_to_something_equal(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(frame) = Frame::decode(bytes.into()) {
            prop_assert_eq!(Frame::decode(frame.encode()).unwrap(), frame);
        }
    }

    #[test]
    fn damaged_frames_are_frames_or_errors(frame in any_frame(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = frame.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        if let Ok(other) = Frame::decode(bytes.into()) {
            prop_assert_eq!(other.check(), Ok(()));
            prop_assert_eq!(Frame::decode(other.encode()).unwrap(), other);
        }
    }
}
