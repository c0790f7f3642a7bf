//! Contexts, tags and commitments: `docs/wire-format.md` section 1.

use pigeon_bundle::{Epoch, MailboxSecret, Reveal, context};
use serde_json::{Value, json};

use super::{compare, hex};

/// Every context there is. A new purpose gets a new one, here and in `check.py`.
const NAMES: [&str; 30] = [
    "header",
    "message",
    "bundle",
    "commitment",
    "tag",
    "card",
    "bridge-card",
    "seal",
    "envelope",
    "route",
    "route-author",
    "verdict",
    "acceptances",
    "link-auth",
    "session",
    "id",
    "commitment-mac",
    "tag-mac",
    "recognise",
    "recognise-mac",
    "introduction-commit",
    "introduction-code",
    "introduction-card",
    "attachment",
    "part",
    "pickup",
    "pickup-token",
    "pickup-request",
    "bridge-mailbox",
    "handover",
];

#[test]
fn contexts_hashes_macs_and_derived_keys() {
    let key = [0x42; 32];
    let one = |name: &'static str| {
        json!({
            "bytes": hex(context::context(name)),
            "sha256": hex(context::sha256(name, &[b"one", b"two"])),
            "hmac": hex(context::hmac32(&key, name, &[b"one", b"two"])),
            "hkdf": hex(context::hkdf32(b"input", name)),
        })
    };
    let contexts: serde_json::Map<String, Value> =
        NAMES.iter().map(|name| ((*name).to_owned(), one(name))).collect();
    assert_eq!(contexts.len(), NAMES.len());
    compare(
        "contexts.json",
        &json!({
            "comment": "Section 1. sha256 and hmac over `one` then `two`, hkdf of `input`.",
            "hmac_key": hex(key),
            "contexts": contexts,
        }),
    );
}

#[test]
fn every_context_of_the_text_has_its_vector() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wire-format.md");
    let text = std::fs::read_to_string(path).unwrap();
    let named = |part: &str| part.split_once("\")").map(|(name, _)| name.to_owned());
    let named: Vec<String> = text.split("ctx(\"").skip(1).filter_map(named).collect();
    assert!(named.len() > 20, "only {} contexts found: does this test still read the text?", named.len());
    for name in named {
        assert!(NAMES.contains(&name.as_str()), "context {name} has no vector");
    }
}

#[test]
fn tags_and_commitments() {
    let secret = MailboxSecret([0x17; 32]);
    let tags: Vec<Value> = [0, 1, 20_780, u32::MAX]
        .map(|epoch| {
            let tag = secret.tag(Epoch(epoch));
            json!({ "epoch": epoch, "tag": hex(tag), "base32": tag.to_base32() })
        })
        .into();
    let commitments: Vec<Value> = [Reveal([0; 32]), Reveal([0xff; 32])]
        .map(|reveal| json!({ "reveal": hex(reveal), "commitment": hex(reveal.commitment()) }))
        .into();
    compare(
        "tags.json",
        &json!({ "mailbox_secret": hex(&secret), "tags": tags, "commitments": commitments }),
    );
}
