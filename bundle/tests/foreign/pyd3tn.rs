//! uD3TN's codec, in Python behind a pipe (`tests/vectors/others.py`, run in the environment that
//! `make test-vectors` makes).

use bytes::Bytes;
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use pigeon_bundle::{ForeignError, HopCount, from_foreign};
use serde_json::{Value, json};

use super::common::python::{python, run};
use super::many::{COUNT, SEED, SENT, Sent};

fn lines<'a>(bundles: impl Iterator<Item = Bytes> + 'a) -> String {
    bundles.map(|bytes| HEXLOWER.encode(&bytes) + "\n").collect()
}

fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_lowercase()
}

fn unhex(text: &str) -> Bytes {
    HEXLOWER.decode(text.as_bytes()).unwrap().into()
}

fn check(read: &Value, sent: &Sent) {
    let bundle = &sent.bundle;
    assert_eq!((&read["flags"], &read["crc"]), (&json!(4), &json!(2)));
    assert_eq!(read["destination"], format!("dtn://{}/m", base32(&bundle.tag().0)));
    assert_eq!(read["source"], format!("dtn://{}/", base32(&bundle.id().0[..16])));
    assert_eq!(read["report_to"], "dtn:none");
    assert_eq!(read["creation_ms"], bundle.creation_s().map_or(0, |s| (s - 946_684_800) * 1_000));
    assert_eq!((&read["sequence"], &read["lifetime_ms"]), (&json!(0), &json!(bundle.lifetime_s() * 1_000)));
    let blocks = read["blocks"].as_array().unwrap();
    assert_eq!(blocks.len(), 4 + usize::from(bundle.uplink().is_some()));
    for block in blocks {
        assert_eq!((&block[2], &block[3]), (&json!(0), &json!(0)), "block flags and CRC");
        let data = unhex(block[4].as_str().unwrap());
        match (block[0].as_u64().unwrap(), block[1].as_u64().unwrap()) {
            (240, 2) => assert!(data.ends_with(&bundle.commitment().0)),
            (241, 3) => assert!(data.ends_with(&bundle.uplink().unwrap().route)),
            (7, 4) => assert_eq!(minicbor::decode::<u64>(&data).unwrap(), sent.age_ms),
            (10, 5) => assert_eq!(minicbor::decode::<(u8, u8)>(&data).unwrap(), (16, sent.hops)),
            (1, 1) => assert_eq!(data, bundle.payload()),
            other => panic!("block {other:?}"),
        }
    }
}

#[test]
fn decodes_a_thousand_of_ours_with_all_blocks() {
    let Some(python) = python() else { return };
    let read = run(&python, "others.py", &["decode"], lines(SENT.iter().map(Sent::foreign)));
    assert_eq!(read.len(), COUNT);
    for (line, sent) in read.iter().zip(SENT.iter()) {
        check(&serde_json::from_str(line).unwrap(), sent);
    }
}

/// It changes age and hops, adds its node, a block of a type of its own and CRCs, and shuffles the blocks.
#[test]
fn a_thousand_of_ours_come_back_from_it() {
    let Some(python) = python() else { return };
    let forwarded =
        run(&python, "others.py", &["forward", &SEED.to_string()], lines(SENT.iter().map(Sent::foreign)));
    assert_eq!(forwarded.len(), COUNT);
    for (line, sent) in forwarded.iter().zip(SENT.iter()) {
        let read = from_foreign(&unhex(line)).unwrap();
        assert_eq!(read.bundle, sent.bundle);
        assert_eq!(read.age_ms, Some(12_345));
        assert_eq!(read.hops, Some(HopCount { limit: 16, count: 9 }));
        let [unprocessed] = &read.unprocessed[..] else { panic!("{:?}", read.unprocessed) };
        assert_eq!((unprocessed.kind, unprocessed.number, unprocessed.delete_block), (200, 17, true));
    }
}

#[test]
fn we_decode_what_it_makes() {
    let Some(python) = python() else { return };
    let made = run(&python, "others.py", &["make", &SEED.to_string(), "300"], String::new());
    assert_eq!(made.len(), 300);
    for line in &made {
        let made: Value = serde_json::from_str(line).unwrap();
        let bytes = unhex(made["bytes"].as_str().unwrap());
        let Err(ForeignError::NotOurs(read)) = from_foreign(&bytes) else { panic!("{line}") };
        for (name, value) in [
            ("source", json!(read.source)),
            ("destination", json!(read.destination)),
            ("report_to", json!(read.report_to)),
            ("creation_ms", json!(read.creation_ms)),
            ("sequence", json!(read.sequence)),
            ("lifetime_ms", json!(read.lifetime_ms)),
        ] {
            assert_eq!(made[name], value, "{name} of {line}");
        }
        let theirs = made["blocks"].as_array().unwrap();
        assert_eq!(read.blocks.len(), theirs.len() + 1);
        for block in theirs {
            let ours = read.blocks.iter().find(|ours| json!(ours.number) == block[1]).unwrap();
            assert_eq!(
                (json!(ours.kind), HEXLOWER.encode(&ours.data)),
                (block[0].clone(), block[4].as_str().unwrap().to_owned())
            );
        }
    }
}
