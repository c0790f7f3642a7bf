//! Cards of people and of bridges: `docs/wire-format.md` section 2.

use pigeon_bundle::{
    BridgeCard, BridgeCardFields, BridgeIdentity, Card, CardFields, Identity, MailboxSecret,
};
use serde_json::{Value, json};

use super::common::letter::{field, sign};
use super::common::{FixedRandom, NOW_S};
use super::{compare, hex};

fn describe(identity: &Identity, card: &Card) -> Value {
    json!({
        "identity_secret": hex(*identity.to_secret_bytes()),
        "signed_card": hex(card.as_bytes()),
        "text": card.to_text(),
        "ed25519": hex(card.identity()),
        "x25519": hex(card.x25519()),
        "name": card.name(),
        "jid": card.jids(),
        "bridge": card.bridges(),
        "mailbox_secret": hex(card.mailbox_secret()),
        "prekey": hex(card.prekey()),
        "prekey_expires": card.prekey_expires_s(),
        "issued": card.issued_s(),
    })
}

fn least() -> CardFields {
    CardFields {
        name: "e".to_owned(),
        jids: Vec::new(),
        bridges: Vec::new(),
        mailbox_secret: MailboxSecret([1; 32]),
        prekey: [2; 32],
        prekey_expires_s: 0,
        issued_s: 0,
    }
}

fn most() -> CardFields {
    CardFields {
        name: "é".repeat(32),
        jids: (0..4).map(|i| format!("{i}{}@subway.example", "j".repeat(134))).collect(),
        bridges: (0..4).map(|i| format!("{i}{}.example", "b".repeat(141))).collect(),
        mailbox_secret: MailboxSecret([0xff; 32]),
        prekey: [0xfe; 32],
        prekey_expires_s: u64::MAX,
        issued_s: u64::MAX,
    }
}

/// A field of a later version inside the signed part: it is kept, and the signature covers it.
fn with_unknown_field(identity: &Identity) -> Card {
    let known = Card::issue(identity, &least()).unwrap();
    let inside: Vec<u8> = [inner(known.as_bytes()), field(15, b"from the future")].concat();
    let signature = sign(identity, "card", &[&inside]);
    let card = Card::parse(&[field(1, &inside), field(2, &signature)].concat()).unwrap();
    assert!(card.as_bytes().windows(15).any(|part| part == b"from the future"));
    card
}

/// The signed part of a `SignedCard`: field 1, of fewer than 2^14 bytes.
fn inner(signed: &[u8]) -> Vec<u8> {
    assert_eq!((signed[0], signed[2] >> 7), (0x0a, 0));
    let length = usize::from(signed[1] & 0x7f) | usize::from(signed[2]) << 7;
    signed[3..3 + length].to_vec()
}

#[test]
fn cards() {
    let identity = Identity::generate(&mut FixedRandom::new("card vector"));
    compare(
        "cards.json",
        &json!({
            "comment": "Section 2. Secrets: Ed25519 seed, then X25519 secret.",
            "least": describe(&identity, &Card::issue(&identity, &least()).unwrap()),
            "most": describe(&identity, &Card::issue(&identity, &most()).unwrap()),
            "with_unknown_field": describe(&identity, &with_unknown_field(&identity)),
        }),
    );
}

#[test]
fn bridge_cards() {
    let bridge = BridgeIdentity::generate(&mut FixedRandom::new("bridge card vector"));
    let describe = |card: &BridgeCard| {
        json!({
            "bridge_secret": hex(*bridge.to_secret_bytes()),
            "signed_card": hex(card.as_bytes()),
            "domain": card.domain(),
            "ed25519": hex(card.key()),
            "x25519": hex(card.x25519()),
            "issued": card.issued_s(),
            "expires": card.expires_s(),
            "shard": card.shards(),
        })
    };
    let card = |shards: Vec<String>| {
        let fields = BridgeCardFields {
            domain: "bridge.example".to_owned(),
            issued_s: NOW_S,
            expires_s: NOW_S + 86_400,
            shards,
        };
        bridge.card(&fields).unwrap()
    };
    let shards = (0..16).map(|i| format!("{i:x}@bridge.example")).collect();
    compare(
        "bridge_cards.json",
        &json!({ "one_address": describe(&card(Vec::new())), "sixteen_shards": describe(&card(shards)) }),
    );
}
