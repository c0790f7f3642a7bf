//! The other way round: `check.py --write` sealed these with its own randomness; they open here.

use bytes::Bytes;
use pigeon_bundle::{
    BridgeIdentity, Bundle, Card, Identity, MailboxSecret, PrekeyRing, Verdict, open, open_route,
};
use serde_json::Value;

use super::common::NOW_S;
use super::common::python::{python, run};
use super::{hex, stored, unhex};

#[test]
fn what_python_seals_opens() {
    check_all(&stored("python.json"));
}

/// With randomness that is another in each run.
#[test]
fn what_python_seals_just_now_opens() {
    let Some(python) = python() else { return };
    let sealed = run(&python, "check.py", &["--seal"], String::new());
    check_all(&serde_json::from_str(&sealed.concat()).unwrap());
}

fn check_all(stored: &Value) {
    let seals = stored["seals"].as_array().unwrap();
    assert!(seals.len() >= 4, "prekey, static key, uplink and no clock");
    for seal in seals {
        check(stored, seal);
    }
}

fn check(stored: &Value, seal: &Value) {
    let secret = |name: &str| <[u8; 64]>::try_from(unhex(&stored[name])).unwrap();
    let recipient = Identity::from_secret_bytes(&secret("recipient_secret"));
    let ring = PrekeyRing::from_bytes(&unhex(&stored["recipient_prekeys"])).unwrap();
    let card = Card::from_text(stored["recipient_card"].as_str().unwrap()).unwrap();
    assert_eq!(card.identity(), recipient.key());
    let bundle = Bundle::parse(Bytes::from(unhex(&seal["bytes"]))).unwrap();
    assert_eq!(hex(bundle.id()), seal["bundle_id"]);
    assert_eq!(hex(bundle.message_digest()), seal["message_digest"]);
    let mailbox: MailboxSecret = card.mailbox_secret().clone();
    assert_eq!(mailbox.tag(bundle.epoch()), bundle.tag());
    let opened = open(&bundle, &recipient, &ring, Some(NOW_S)).unwrap();
    assert_eq!(hex(&*opened.content), seal["content"]);
    assert_eq!(hex(opened.author), stored["author_key"]);
    let Some(route) = seal["route"].as_object() else {
        assert!(bundle.uplink().is_none());
        return;
    };
    let bridge = BridgeIdentity::from_secret_bytes(&secret("bridge_secret"));
    let opened_route = open_route(&bundle, &bridge).unwrap();
    opened_route.verify(&bundle, &opened.author).unwrap();
    assert_eq!(opened_route.author, route["author"]);
    assert_eq!(opened_route.recipient, route["recipient"]);
    let verdict = Verdict::parse_verified(&unhex(&seal["verdict"]), &bridge.key()).unwrap();
    assert_eq!((verdict.bundle, verdict.message), (bundle.id(), bundle.message_digest()));
}
