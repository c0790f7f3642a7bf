//! The example bundles of RFC 9173, appendix A: BPSec, which this program does not process, beside plain blocks.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use pigeon_bundle::{ForeignBundle, ForeignError, from_foreign};
use serde_json::{Value, json};

fn examples() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/rfc9173.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn bytes(example: &Value) -> Vec<u8> {
    HEXLOWER.decode(example["bytes"].as_str().unwrap().as_bytes()).unwrap()
}

fn decoded(bytes: Vec<u8>) -> ForeignBundle {
    match from_foreign(&Bytes::from(bytes)) {
        Err(ForeignError::NotOurs(read)) => *read,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_example_is_decoded_and_is_not_ours() {
    let examples = examples();
    let bundles = examples["bundles"].as_array().unwrap();
    assert_eq!(bundles.len(), 5);
    for example in bundles {
        let read = decoded(bytes(example));
        assert_eq!((read.source.as_str(), read.destination.as_str()), ("ipn:2.1", "ipn:1.2"));
        assert_eq!(read.report_to, "ipn:2.1");
        assert_eq!((read.creation_ms, read.sequence, read.lifetime_ms), (0, 40, 1_000_000));
        let blocks: Vec<[u64; 2]> = read.blocks.iter().map(|block| [block.kind, block.number]).collect();
        let mut expected: Vec<[u64; 2]> = serde_json::from_value(example["blocks"].clone()).unwrap();
        expected.sort_unstable_by_key(|[_, number]| *number);
        assert_eq!(blocks, expected, "{}", example["section"]);
        let encrypted = ["A.2.4", "A.3.4", "A.4.4"].iter().any(|section| example["section"] == *section);
        let payload = HEXLOWER.encode(&read.blocks[1].data);
        assert_eq!(json!(payload) == examples["payload"], !encrypted, "{}", example["section"]);
        assert_eq!(read.age_ms, (example["section"] == "A.3.4").then_some(300));
    }
}

/// The second byte of a BIB's block array after its number is its flags.
#[test]
fn a_bib_that_must_be_processed_deletes_the_bundle() {
    let examples = examples();
    let good = bytes(&examples["bundles"][1]);
    let at = good.windows(5).position(|part| part == [0x85, 11, 2, 0, 0]).unwrap();
    for (flags, deleted) in [(0x04, true), (0x02, false), (0x10, false)] {
        let mut bytes = good.clone();
        bytes[at + 3] = flags;
        match from_foreign(&Bytes::from(bytes)) {
            Err(ForeignError::Unprocessable { number: 2 }) => assert!(deleted, "{flags:#x}"),
            Err(ForeignError::NotOurs(_)) => assert!(!deleted, "{flags:#x}"),
            other => panic!("{flags:#x}: {other:?}"),
        }
    }
}
