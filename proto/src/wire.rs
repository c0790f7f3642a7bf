//! Generated protobuf messages. They stop here: what leaves this crate is checked.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "generated code"
)]

/// `proto/link.proto`.
pub(crate) mod link {
    tonic::include_proto!("pigeon.link");
}

/// `proto/content.proto`.
pub(crate) mod content {
    tonic::include_proto!("pigeon.content");
}

/// `proto/bridge.proto`. `pigeon-bundle` reads and writes this record itself; the test holds it to the schema.
#[cfg(test)]
mod bridge {
    tonic::include_proto!("pigeon.bridge");

    #[test]
    fn verdicts_and_acceptances_of_the_bundle_crate_are_those_of_the_schema() {
        use pigeon_bundle::{BridgeIdentity, BundleId, MessageDigest, VerdictCode};
        use prost::Message as _;

        let signed = pigeon_bundle::Verdict {
            bundle: BundleId([1; 32]),
            message: MessageDigest([2; 32]),
            code: VerdictCode::ForeignHost,
            time_s: 1_800_000_000,
        };
        let bridge = BridgeIdentity::from_secret_bytes(&[3; 64]);
        let bytes = signed.sign(&bridge);
        let read = Verdict::decode(&bytes[..]).unwrap();
        assert_eq!((&read.bundle[..], &read.message[..]), (&[1; 32][..], &[2; 32][..]));
        assert_eq!((read.code, read.time, read.signature.len()), (6, 1_800_000_000, 64));
        assert_eq!(pigeon_bundle::Verdict::parse_verified(&read.encode_to_vec(), &bridge.key()), Ok(signed));

        let (bundle, message) = (BundleId([1; 32]), MessageDigest([2; 32]));
        let signed =
            pigeon_bundle::Acceptances { bundles: vec![(bundle, message); 2], time_s: 1_800_000_000 };
        let read = Acceptances::decode(&signed.sign(&bridge)[..]).unwrap();
        assert_eq!(read.digests, [[1; 32], [2; 32], [1; 32], [2; 32]].concat());
        assert_eq!((read.time, read.signature.len()), (1_800_000_000, 64));
        let bytes = read.encode_to_vec();
        assert_eq!(pigeon_bundle::Acceptances::parse_verified(&bytes, &bridge.key()), Ok(signed));
    }
}
