//! Seals with given randomness: `docs/wire-format.md` sections 3 and 4, every step and both kinds of key.
//!
//! What is drawn, in this order: r, the 32 bytes from which HPKE's ephemeral key is derived
//! (RFC 9180 section 7.1.3), the same for the route.

use pigeon_bundle::{
    CONTENT_MAX, Draft, Epoch, LIFETIME_MAX_S, LIFETIME_MIN_S, MessageId, STEPS, UplinkDraft, open, seal,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::common::{Bridge, NOW_S, Person, draft};
use super::{Recorded, compare, hex};

/// Larger bundles stand in the file by their hash.
const WHOLE_MAX: usize = 2_500;
/// Bytes of the envelope beside the content: author, reveal and signature with their tags, tag of the content.
const ENVELOPE: usize = 34 + 34 + 66 + 1;

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

/// The longest content that fits a step.
fn longest(step: usize) -> usize {
    let room = step - 4 - ENVELOPE;
    let fits = |length: &usize| prost::length_delimiter_len(*length) + length <= room;
    (0..=room).rev().find(fits).unwrap().min(CONTENT_MAX)
}

struct Case<'a> {
    name: String,
    draft: Draft<'a>,
}

fn made(author: &Person, recipient: &Person, case: &Case<'_>) -> Value {
    let mut random = Recorded::new("sealing");
    let sealed = seal(&author.identity, &case.draft, &mut random).unwrap();
    let bundle = &sealed.bundle;
    let opened = open(bundle, &recipient.identity, &recipient.ring, case.draft.created_s).unwrap();
    assert_eq!(*opened.content, case.draft.content);
    let bytes = bundle.as_bytes();
    let uplink = case.draft.uplink.as_ref();
    json!({
        "name": case.name,
        "created_s": case.draft.created_s,
        "epoch": case.draft.epoch.0,
        "lifetime_s": case.draft.lifetime_s,
        "content_size": case.draft.content.len(),
        "uplink": uplink.map(|uplink| json!({
            "author_jid": uplink.author_jid,
            "recipient_jid": uplink.recipient_jid,
            "message_id": hex(uplink.message_id),
            "sent_ms": uplink.sent_ms,
        })),
        "random": hex(&random.drawn),
        "sealed_to": hex(case.draft.recipient.recipient_key(case.draft.created_s)),
        "step": bundle.payload_step(),
        "header_digest": hex(bundle.header_digest()),
        "message_digest": hex(bundle.message_digest()),
        "bundle_id": hex(bundle.id()),
        "commitment": hex(bundle.commitment()),
        "sha256": hex(Sha256::digest(bytes)),
        "bytes": (bytes.len() <= WHOLE_MAX).then(|| hex(bytes)),
    })
}

#[test]
fn every_step_and_both_kinds_of_key() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let bridge = Bridge::new("bridge.example");
    let contents: Vec<Vec<u8>> = STEPS
        .into_iter()
        .flat_map(|step| [longest(step), longest(step) + 1])
        .filter(|length| *length <= CONTENT_MAX)
        .chain([0])
        .map(content)
        .collect();
    let mut cases: Vec<Case<'_>> = contents
        .iter()
        .map(|content| Case {
            name: format!("{} bytes of content", content.len()),
            draft: draft(&jerry.card, content),
        })
        .collect();
    let late = jerry.card.prekey_expires_s();
    let plain = draft(&jerry.card, b"");
    let longest_jid = |name: &str| format!("{name}@{}", "x".repeat(149 - name.len()));
    let (author_jid, recipient_jid) = (longest_jid("elaine"), longest_jid("jerry"));
    let uplink = UplinkDraft {
        bridge: &bridge.card,
        author_jid: &author_jid,
        recipient_jid: &recipient_jid,
        message_id: MessageId([0xaa; 16]),
        sent_ms: u64::MAX,
    };
    let more = [
        ("prekey, last second", Draft { created_s: Some(late - 1), epoch: Epoch::at(late - 1), ..plain }),
        ("prekey expired: static key", Draft { created_s: Some(late), epoch: Epoch::at(late), ..plain }),
        ("no clock: static key", Draft { created_s: None, ..plain }),
        ("shortest lifetime", Draft { lifetime_s: LIFETIME_MIN_S, ..plain }),
        ("longest lifetime", Draft { lifetime_s: LIFETIME_MAX_S, ..plain }),
        ("lifetime rounded up", Draft { lifetime_s: LIFETIME_MIN_S + 1, ..plain }),
        ("longest uplink", Draft { uplink: Some(uplink), ..plain }),
        (
            "uplink without clock",
            Draft { uplink: Some(UplinkDraft { sent_ms: 0, ..uplink }), created_s: None, ..plain },
        ),
    ];
    cases.extend(more.map(|(name, draft)| Case { name: name.to_owned(), draft }));
    let seals: Vec<Value> = cases.iter().map(|case| made(&elaine, &jerry, case)).collect();
    for step in STEPS {
        assert!(seals.iter().any(|seal| seal["step"] == step), "no vector has step {step}");
    }
    let prekey = jerry.ring.to_bytes();
    compare(
        "seals.json",
        &json!({
            "comment": "Sections 3 and 4. Content: byte i is i mod 251. Random: r, then what HPKE derives its ephemeral key from, then the same for the route. Bundles by SHA-256, small ones whole.",
            "now_s": NOW_S,
            "author_secret": hex(*elaine.identity.to_secret_bytes()),
            "recipient_secret": hex(*jerry.identity.to_secret_bytes()),
            "recipient_prekey_secret": hex(&prekey[2..34]),
            "recipient_card": jerry.card.to_text(),
            "bridge_secret": hex(*bridge.identity.to_secret_bytes()),
            "bridge_card": hex(bridge.card.as_bytes()),
            "seals": seals,
        }),
    );
}
