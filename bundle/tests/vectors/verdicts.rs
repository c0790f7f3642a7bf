//! Verdicts: `docs/wire-format.md` section 5.

use pigeon_bundle::{Acceptances, BridgeIdentity, BundleId, MessageDigest, Verdict, VerdictCode};
use serde_json::{Value, json};

use super::common::{FixedRandom, NOW_S};
use super::{compare, hex};

#[test]
fn one_verdict_of_each_code() {
    let bridge = BridgeIdentity::generate(&mut FixedRandom::new("verdict vector"));
    let verdict = |code: VerdictCode| Verdict {
        bundle: BundleId([0xb0; 32]),
        message: MessageDigest([0x90; 32]),
        code,
        // A bridge without a clock says 0, and proto3 leaves the field out.
        time_s: if code == VerdictCode::Policy { 0 } else { NOW_S },
    };
    let verdicts: Vec<Value> = VerdictCode::ALL
        .map(|code| {
            let verdict = verdict(code);
            let bytes = verdict.sign(&bridge);
            assert_eq!(Verdict::parse_verified(&bytes, &bridge.key()).unwrap(), verdict);
            json!({ "code": code as u8, "time": verdict.time_s, "bytes": hex(bytes) })
        })
        .into();
    let together: Vec<Value> = [1_u8, 3, 64]
        .map(|count| {
            let bundles = (0..count).map(|n| (BundleId([n; 32]), MessageDigest([0x80 | n; 32]))).collect();
            let acceptances = Acceptances { bundles, time_s: NOW_S };
            let bytes = acceptances.sign(&bridge);
            assert_eq!(Acceptances::parse_verified(&bytes, &bridge.key()).unwrap(), acceptances);
            json!({ "count": count, "time": NOW_S, "bytes": hex(bytes) })
        })
        .into();
    compare(
        "verdicts.json",
        &json!({
            "bridge_key": hex(bridge.key()),
            "bundle": hex(BundleId([0xb0; 32])),
            "message": hex(MessageDigest([0x90; 32])),
            "verdicts": verdicts,
            "acceptances_comment": "The nth bundle is 32 times n, its message 32 times (128 | n).",
            "acceptances": together,
        }),
    );
}
