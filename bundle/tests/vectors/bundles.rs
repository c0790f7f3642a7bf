//! Whole bundles: `docs/wire-format.md` sections 3 to 5.

use bytes::Bytes;
use pigeon_bundle::{
    BridgeIdentity, Bundle, Card, Draft, Identity, Opened, PrekeyRing, Verdict, VerdictCode, open,
    open_route, seal,
};
use serde_json::{Value, json};

use super::common::{Bridge, NOW_S, Person, draft, uplink};
use super::{Recorded, compare, hex, stored, unhex};

const FILE: &str = "bundle.json";
const CONTENT: &[u8] = b"\x0a\x07example";

fn describe(bundle: &Bundle) -> Value {
    json!({
        "bytes": hex(bundle.as_bytes()),
        "header_digest": bundle.header_digest().to_string(),
        "message_digest": bundle.message_digest().to_string(),
        "bundle_id": bundle.id().to_string(),
        "destination_tag": bundle.tag().to_base32(),
        "epoch": bundle.epoch().0,
        "creation_s": bundle.creation_s(),
        "lifetime_s": bundle.lifetime_s(),
        "expires_s": bundle.expires_s(),
        "commitment": bundle.commitment().to_string(),
    })
}

fn made() -> Value {
    let (elaine, jerry, bridge) =
        (Person::new("elaine"), Person::new("jerry"), Bridge::new("bridge.example"));
    let plain = draft(&jerry.card, CONTENT);
    let with = Draft { uplink: Some(uplink(&bridge, &elaine, &jerry)), ..plain };
    let clockless = Draft { created_s: None, ..plain };
    let mut random = Recorded::new("vector");
    seal(&elaine.identity, &with, &mut random).unwrap();
    let sealed = |draft: &Draft<'_>| seal(&elaine.identity, draft, &mut Recorded::new("vector")).unwrap();
    let uplinked = sealed(&with).bundle;
    let verdict = Verdict {
        bundle: uplinked.id(),
        message: uplinked.message_digest(),
        code: VerdictCode::Accepted,
        time_s: NOW_S,
    };
    json!({
        "comment": "Version 1 of docs/wire-format.md sections 1 to 5. Secrets: Ed25519 seed, then X25519 secret.",
        "now_s": NOW_S,
        "author_secret": hex(*elaine.identity.to_secret_bytes()),
        "recipient_secret": hex(*jerry.identity.to_secret_bytes()),
        "recipient_prekeys": hex(&*jerry.ring.to_bytes()),
        "recipient_card": jerry.card.to_text(),
        "bridge_secret": hex(*bridge.identity.to_secret_bytes()),
        "bridge_card": hex(bridge.card.as_bytes()),
        "content": hex(CONTENT),
        "random": hex(&random.drawn),
        "author_jid": elaine.jid,
        "recipient_jid": jerry.jid,
        "reveal": hex(sealed(&plain).reveal),
        "bundle": describe(&sealed(&plain).bundle),
        "bundle_with_uplink": describe(&uplinked),
        "bundle_without_clock": describe(&sealed(&clockless).bundle),
        "verdict": hex(verdict.sign(&bridge.identity)),
    })
}

#[test]
fn sealing_gives_the_vectors() {
    compare(FILE, &made());
}

#[test]
fn the_vectors_open() {
    let stored = stored(FILE);
    let secret = |name: &str| <[u8; 64]>::try_from(unhex(&stored[name])).unwrap();
    let author = Identity::from_secret_bytes(&secret("author_secret"));
    let recipient = Identity::from_secret_bytes(&secret("recipient_secret"));
    let bridge = BridgeIdentity::from_secret_bytes(&secret("bridge_secret"));
    let ring = PrekeyRing::from_bytes(&unhex(&stored["recipient_prekeys"])).unwrap();
    let card = Card::from_text(stored["recipient_card"].as_str().unwrap()).unwrap();
    assert_eq!(card.identity(), recipient.key());
    for name in ["bundle", "bundle_with_uplink", "bundle_without_clock"] {
        let bundle = Bundle::parse(Bytes::from(unhex(&stored[name]["bytes"]))).unwrap();
        assert_eq!(describe(&bundle), stored[name], "{name}");
        let opened: Opened = open(&bundle, &recipient, &ring, Some(NOW_S)).unwrap();
        assert_eq!(*opened.content, CONTENT);
        assert_eq!(opened.author, author.key());
        assert_eq!(hex(opened.reveal), stored["reveal"].as_str().unwrap());
        assert_eq!(card.mailbox_secret().tag(bundle.epoch()), bundle.tag());
        if bundle.uplink().is_some() {
            open_route(&bundle, &bridge).unwrap().verify(&bundle, &author.key()).unwrap();
            let verdict = Verdict::parse_verified(&unhex(&stored["verdict"]), &bridge.key()).unwrap();
            assert_eq!(verdict.bundle, bundle.id());
        }
    }
}
