//! Whatever somebody on the way changes in a bundle, and however well the source is made to fit it: the recipient refuses
//! the result, or knows it by P for the message that it is.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::LazyLock;

use bytes::Bytes;
use common::wire::{self, Wire};
use common::{Bridge, FixedRandom, NOW_S, Person, draft, uplink};
use pigeon_bundle::{Bundle, Draft, open, seal};
use proptest::prelude::*;

const CONTENT: &[u8] = b"a festivus for the rest of us";

/// Made once: sealing is what takes time here.
static SENT: LazyLock<(Person, Bundle)> = LazyLock::new(|| {
    let (elaine, jerry, bridge) =
        (Person::new("elaine"), Person::new("jerry"), Bridge::new("bridge.example"));
    let draft = Draft { uplink: Some(uplink(&bridge, &elaine, &jerry)), ..draft(&jerry.card, CONTENT) };
    let sealed = seal(&elaine.identity, &draft, &mut FixedRandom::new("seal")).unwrap();
    (jerry, sealed.bundle)
});

/// One change to one part.
#[derive(Debug, Clone)]
enum Change {
    Payload(prop::sample::Index, u8),
    Tag(prop::sample::Index, u8),
    Commitment(prop::sample::Index, u8),
    Epoch(u32),
    NoClock,
    Created { hours_later: u64 },
    Lifetime { hours: u64 },
    Route(prop::sample::Index, u8),
    BridgeKey(prop::sample::Index, u8),
    Domain(String),
    NoUplink,
}

impl Change {
    fn is_outside(&self) -> bool {
        matches!(self, Self::Route(..) | Self::BridgeKey(..) | Self::Domain(_) | Self::NoUplink)
    }
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), 1_u8..).prop_map(|(at, bits)| Change::Payload(at, bits)),
        (at(), 1_u8..).prop_map(|(at, bits)| Change::Tag(at, bits)),
        (at(), 1_u8..).prop_map(|(at, bits)| Change::Commitment(at, bits)),
        (20_000_u32..21_000).prop_map(Change::Epoch),
        Just(Change::NoClock),
        (1_u64..48).prop_map(|hours_later| Change::Created { hours_later }),
        (1_u64..720).prop_map(|hours| Change::Lifetime { hours }),
        (at(), 1_u8..).prop_map(|(at, bits)| Change::Route(at, bits)),
        (at(), 1_u8..).prop_map(|(at, bits)| Change::BridgeKey(at, bits)),
        "[a-z.]{1,40}".prop_map(Change::Domain),
        Just(Change::NoUplink),
    ]
}

/// The bundle with these changes, and a source that fits.
fn changed(bundle: &Bundle, changes: &[Change]) -> Vec<u8> {
    const HOUR_MS: u64 = 3_600_000;
    let mut wire = Wire::of(bundle);
    let (mut payload, mut tag, mut epoch) = (bundle.payload().to_vec(), bundle.tag().0, bundle.epoch().0);
    let mut commitment = *bundle.commitment().as_bytes();
    let outside = bundle.uplink().unwrap();
    let (mut domain, mut key, mut route) =
        (outside.domain.to_string(), outside.bridge_key, outside.route.to_vec());
    let mut has_uplink = true;
    let flip = |bytes: &mut [u8], at: &prop::sample::Index, bits: u8| {
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
    };
    for change in changes {
        match change {
            Change::Payload(at, bits) => flip(&mut payload, at, *bits),
            Change::Tag(at, bits) => flip(&mut tag, at, *bits),
            Change::Commitment(at, bits) => flip(&mut commitment, at, *bits),
            Change::Epoch(day) => epoch = *day,
            Change::NoClock => wire.creation_ms = 0,
            Change::Created { hours_later } => wire.creation_ms += hours_later * HOUR_MS,
            Change::Lifetime { hours } => wire.lifetime_ms = hours * HOUR_MS,
            Change::Route(at, bits) => flip(&mut route, at, *bits),
            Change::BridgeKey(at, bits) => flip(&mut key, at, *bits),
            Change::Domain(other) => domain.clone_from(other),
            Change::NoUplink => has_uplink = false,
        }
    }
    wire.destination = wire::dtn(&format!("//{}/m", wire::base32(&tag)));
    wire.block(240).item = wire::bytes(&wire::carriage(epoch.into(), &commitment));
    wire.block(241).item = wire::bytes(&wire::uplink_data(&domain, &key, &route));
    wire.block(1).item = wire::bytes(&payload);
    if !has_uplink {
        wire.blocks.retain(|block| block.kind != 241);
    }
    wire.lie().encode()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_change_that_fits_is_refused_or_is_the_same_message(changes in prop::collection::vec(change(), 1..4)) {
        let (jerry, original) = &*SENT;
        let bytes = changed(original, &changes);
        let Ok(variant) = Bundle::parse(Bytes::from(bytes)) else { return Ok(()) };
        let same = variant.message_digest() == original.message_digest();
        // P covers everything but the uplink. Two changes may undo each other.
        if changes.iter().all(Change::is_outside) {
            prop_assert!(same);
        }
        prop_assert_eq!(same, variant.header_digest() == original.header_digest() && variant.payload() == original.payload());
        prop_assert_eq!(variant.id() == original.id(), variant == *original);
        match open(&variant, &jerry.identity, &jerry.ring, Some(NOW_S)) {
            Ok(opened) => {
                prop_assert!(same, "another message opens");
                prop_assert_eq!(opened.message, original.message_digest());
                prop_assert_eq!(&opened.content[..], CONTENT);
            }
            Err(error) => prop_assert!(!same, "a variant of a message does not open: {error}"),
        }
    }

    /// The same without a source that fits: nobody takes it at all.
    #[test]
    fn a_change_that_does_not_fit_is_no_bundle(at in any::<prop::sample::Index>(), bits in 1_u8..) {
        let (_, original) = &*SENT;
        let mut bytes = original.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        prop_assert!(Bundle::parse(Bytes::from(bytes)).is_err());
    }
}
