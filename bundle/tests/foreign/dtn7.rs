//! dtn7's codec.

use bp7::Bundle as Bp7;
use bp7::bundle::BundleBuilder;
use bp7::canonical::{self, CanonicalBlock, CanonicalData};
use bp7::crc::{CRC_16, CRC_32, CRC_NO};
use bp7::eid::EndpointID;
use bp7::flags::{BlockControlFlags, BundleControlFlags};
use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use pigeon_bundle::{Bundle, ForeignError, HOP_LIMIT, HopCount, from_foreign};

use super::many::{COUNT, SENT, Sent};

fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_lowercase()
}

/// Decodes with every check that dtn7 has, and encodes again.
fn decode(bytes: &[u8]) -> Bp7 {
    let mut decoded = Bp7::try_from(bytes).unwrap();
    decoded.validate().unwrap();
    assert!(decoded.crc_valid());
    assert_eq!(decoded.clone().to_cbor(), bytes, "dtn7 encodes it otherwise");
    decoded
}

fn data(block: &CanonicalBlock) -> &[u8] {
    match block.data() {
        CanonicalData::Data(data) | CanonicalData::Unknown(data) => data,
        other => panic!("no bytes: {other:?}"),
    }
}

fn check_primary(decoded: &Bp7, bundle: &Bundle) {
    let primary = &decoded.primary;
    assert_eq!(primary.bundle_control_flags, BundleControlFlags::BUNDLE_MUST_NOT_FRAGMENTED.bits());
    assert_eq!(primary.destination.to_string(), format!("dtn://{}/m", base32(&bundle.tag().0)));
    assert_eq!(primary.source.to_string(), format!("dtn://{}/", base32(&bundle.id().0[..16])));
    assert_eq!(primary.report_to, EndpointID::none());
    let creation_ms = bundle.creation_s().map_or(0, |creation_s| (creation_s - 946_684_800) * 1_000);
    assert_eq!(primary.creation_timestamp.dtntime(), creation_ms);
    assert_eq!(primary.creation_timestamp.seqno(), 0);
    assert_eq!(primary.lifetime.as_secs(), bundle.lifetime_s());
}

fn check_blocks(decoded: &Bp7, sent: &Sent, with_age_and_hops: bool) {
    let mut expected = vec![(240, 2)];
    if sent.bundle.uplink().is_some() {
        expected.push((241, 3));
    }
    if with_age_and_hops {
        expected.extend([(7, 4), (10, 5)]);
    }
    expected.push((1, 1));
    let found: Vec<(u64, u64)> =
        decoded.canonicals.iter().map(|block| (block.block_type, block.block_number)).collect();
    assert_eq!(found, expected);
    for block in &decoded.canonicals {
        assert_eq!(block.block_control_flags, 0);
        match block.block_type {
            7 => assert_eq!(*block.data(), CanonicalData::BundleAge(sent.age_ms)),
            10 => assert_eq!(*block.data(), CanonicalData::HopCount(HOP_LIMIT, sent.hops)),
            1 => assert_eq!(data(block), sent.bundle.payload()),
            240 => assert!(data(block).ends_with(&sent.bundle.commitment().0)),
            _ => assert!(data(block).ends_with(&sent.bundle.uplink().unwrap().route)),
        }
    }
}

#[test]
fn decodes_a_thousand_of_ours_with_all_blocks() {
    assert_eq!(SENT.len(), COUNT);
    for sent in SENT.iter() {
        let decoded = decode(&sent.foreign());
        check_primary(&decoded, &sent.bundle);
        check_blocks(&decoded, sent, true);
        // Between our nodes: without age, which RFC 9171 section 4.4.2 asks for only without a clock.
        if sent.bundle.creation_s().is_some() {
            let decoded = decode(sent.bundle.as_bytes());
            check_primary(&decoded, &sent.bundle);
            check_blocks(&decoded, sent, false);
        }
    }
}

/// dtn7 carries ours: it changes age and hops, adds its own node and CRCs to all blocks.
#[test]
fn a_thousand_of_ours_come_back_from_it() {
    for (number, sent) in SENT.iter().enumerate() {
        let mut carried = decode(&sent.foreign());
        let [age, hops] =
            [7, 10].map(|kind| carried.canonicals.iter().position(|block| block.block_type == kind).unwrap());
        carried.canonicals[age].bundle_age_update(u128::from(sent.age_ms) + 1_000);
        let may_go_on = sent.hops < HOP_LIMIT;
        carried.canonicals[hops].hop_count_increase();
        let relay = EndpointID::with_dtn("relay").unwrap();
        let flags = BlockControlFlags::empty();
        carried.add_canonical_block(canonical::new_previous_node_block(0, flags, relay));
        carried.set_crc([CRC_NO, CRC_16, CRC_32][number % 3]);
        let bytes = Bytes::from(carried.to_cbor());
        assert_ne!(bytes, sent.foreign());
        let read = from_foreign(&bytes);
        if !may_go_on {
            assert!(matches!(read, Err(ForeignError::HopLimit { count: 17, limit: 16 })));
            continue;
        }
        let read = read.unwrap();
        assert_eq!(read.bundle, sent.bundle);
        assert_eq!(read.age_ms, Some(sent.age_ms + 1_000));
        assert_eq!(read.hops, Some(HopCount { limit: 16, count: u64::from(sent.hops) + 1 }));
        assert!(read.unprocessed.is_empty() && !read.report_wanted);
    }
}

#[test]
fn we_decode_what_it_makes() {
    let flags = BlockControlFlags::empty;
    for number in 0..200_u32 {
        let payload = vec![0x5a; usize::try_from(number * number).unwrap()];
        let clockless = number % 4 == 0;
        let creation_ms = if clockless { 0 } else { 848_728_000_000 + u64::from(number) };
        let mut primary = bp7::primary::new_primary_block(
            "dtn://mars/incoming",
            if number % 2 == 0 { "dtn://ground/" } else { "ipn:2.1" },
            bp7::CreationTimestamp::with_time_and_seq(creation_ms, u64::from(number)),
            std::time::Duration::from_millis(u64::from(number) * 777),
        );
        primary.report_to = EndpointID::with_ipn(5, 7).unwrap();
        let mut blocks = vec![canonical::new_payload_block(flags(), payload.clone())];
        if clockless {
            blocks.push(canonical::new_bundle_age_block(2, flags(), u64::from(number)));
        }
        if number % 3 == 0 {
            blocks.push(canonical::new_hop_count_block(3, flags(), 32));
        }
        let mut made = BundleBuilder::default().primary(primary).canonicals(blocks).build().unwrap();
        made.sort_canonicals();
        made.set_crc([CRC_NO, CRC_16, CRC_32][usize::try_from(number % 3).unwrap()]);
        let bytes = Bytes::from(made.to_cbor());
        let Err(ForeignError::NotOurs(read)) = from_foreign(&bytes) else { panic!("bundle {number}") };
        assert_eq!(read.source, made.primary.source.to_string());
        assert_eq!(read.destination, "dtn://mars/incoming");
        assert_eq!(read.report_to, "ipn:5.7");
        assert_eq!((read.creation_ms, read.sequence), (creation_ms, u64::from(number)));
        assert_eq!(read.lifetime_ms, u64::from(number) * 777);
        assert_eq!(read.age_ms, clockless.then_some(u64::from(number)));
        assert_eq!(read.hops, (number % 3 == 0).then_some(HopCount { limit: 32, count: 0 }));
        assert_eq!(read.blocks.len(), made.canonicals.len() + 1);
        assert_eq!(read.blocks.iter().find(|block| block.kind == 1).unwrap().data, payload);
    }
}
