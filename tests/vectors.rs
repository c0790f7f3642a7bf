//! `tests/vectors/contents.json` and `link.json`: what is inside messages, and what is said on links
//! (`docs/wire-format.md` sections 3, 5 and 6). `PIGEON_BLESS=1` writes the files anew; `tests/vectors/check.py`
//! computes every value again. The other files come from `bundle/tests/vectors`.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use data_encoding::HEXLOWER;
use pigeon_bundle::context::{hkdf32, hmac32};
use pigeon_bundle::{BundleId, Commitment, Identity, MessageId, NodeSecret, Tag};
use pigeon_link::{AddressClass, CostClass, LinkMeta, Role, TransportKind, auth_signature};
use pigeon_proto::{
    Application, Auth, Body, Content, EndReason, Frame, Hello, Introduction, OneTimeKeys, Receipt,
    ReceiptKind, Text,
};
use serde_json::{Value, json};

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

fn compare(file: &str, made: &Value) {
    let path = format!("{}/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("PIGEON_BLESS").is_ok_and(|value| value == "1") {
        std::fs::write(&path, format!("{made:#}\n")).unwrap();
    }
    let stored: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for (name, value) in made.as_object().unwrap() {
        assert_eq!(&stored[name], value, "{file}: {name}");
    }
    assert_eq!(stored.as_object().unwrap().len(), made.as_object().unwrap().len(), "{file}: entries");
}

fn content(body: Body, author_card: Option<Vec<u8>>, kind: &str, mut fields: Value) -> Value {
    fields["author_card"] = hex(author_card.as_deref().unwrap_or_default()).into();
    described(&Content { author_card, ..Content::new(body) }, kind, &fields)
}

fn described(content: &Content, kind: &str, fields: &Value) -> Value {
    let bytes = content.encode().unwrap();
    assert!(Content::decode(&bytes).unwrap() == *content);
    json!({ "body": kind, "fields": fields, "bytes": hex(bytes) })
}

fn text(text: &str, thread: Option<[u8; 16]>, sent_ms: u64, author_card: Option<Vec<u8>>) -> Value {
    let id = MessageId([0x1d; 16]);
    let fields = json!({
        "id": hex(id), "thread": hex(thread.map_or(Vec::new(), Vec::from)), "sent_ms": sent_ms, "text": text,
    });
    content(Body::Text(Text { id, thread, sent_ms, text: text.to_owned() }), author_card, "text", fields)
}

fn receipt(kind: ReceiptKind, count: u8, time_ms: u64) -> Value {
    let messages: Vec<MessageId> = (0..count).map(|i| MessageId([i; 16])).collect();
    let number = if kind == ReceiptKind::Delivered { 1 } else { 2 };
    let fields = json!({
        "kind": number, "messages": messages.iter().map(hex).collect::<Vec<_>>(), "time_ms": time_ms,
    });
    content(Body::Receipt(Receipt { kind, messages, time_ms }), None, "receipt", fields)
}

fn application(data: &[u8]) -> Value {
    let id = MessageId([0xab; 16]);
    let fields = json!({ "id": hex(id), "service": "sensor.example", "data": hex(data) });
    let body = Application { id, service: "sensor.example".to_owned(), data: Bytes::copy_from_slice(data) };
    content(Body::Application(body), None, "application", fields)
}

fn with_one_time_prekeys(count: u8) -> Value {
    const EXPIRES_S: u64 = 1_797_984_000;
    let keys: Vec<[u8; 32]> = (0..count).map(|i| [0x70 + i; 32]).collect();
    let fields = json!({
        "id": hex([0x1d; 16]), "sent_ms": 0, "text": "",
        "one_time_keys": hex(keys.concat()), "one_time_expires": EXPIRES_S,
    });
    let body = Body::Text(Text { id: MessageId([0x1d; 16]), thread: None, sent_ms: 0, text: String::new() });
    let one_time = Some(OneTimeKeys { keys, expires_s: EXPIRES_S });
    described(&Content { one_time, ..Content::new(body) }, "text", &fields)
}

#[test]
fn contents() {
    const NOW_MS: u64 = 1_795_412_800_000;
    compare(
        "contents.json",
        &json!({
            "text": text("Grüße aus dem Tunnel", None, NOW_MS, None),
            "text in a thread, no clock": text("hi", Some([7; 16]), 0, None),
            "first message": text("hi", None, NOW_MS, Some(vec![0xca; 300])),
            "receipt of one": receipt(ReceiptKind::Delivered, 1, NOW_MS),
            "receipt of 64, no clock": receipt(ReceiptKind::Read, 64, 0),
            "card update": content(
                Body::CardUpdate(Bytes::from(vec![0xcb; 200])), None, "card_update",
                json!({ "card": hex(vec![0xcb; 200]) }),
            ),
            "refusal": content(
                Body::Refusal(Bytes::from(vec![0x5e; 140])), None, "refusal",
                json!({ "verdict": hex(vec![0x5e; 140]) }),
            ),
            "application": application(b"21.5 C"),
            "one one-time prekey": with_one_time_prekeys(1),
            "8 one-time prekeys, empty text": with_one_time_prekeys(8),
        }),
    );
}

const BINDING: [u8; 32] = [0xb1; 32];

fn hello(hello: Hello) -> (Bytes, Value) {
    let body = Frame::Hello(hello).encode().slice(1..);
    let described = json!({
        "version": hello.version,
        "carriage_open": hello.carriage_open,
        "clock_s": hello.clock_s.unwrap_or(0),
        "bundle_size_max": hello.bundle_size_max,
        "body": hex(&body),
    });
    (body, described)
}

fn auth(kind: TransportKind, role: Role, dialler: &[u8], listener: &[u8]) -> Value {
    let node = NodeSecret::from_secret_bytes(&[0x40 + role.as_u8(); 32]);
    let meta = LinkMeta {
        transport: kind,
        role,
        binding: BINDING,
        cost: CostClass::Lan,
        remote: String::new(),
        address_class: AddressClass::Memory(0),
        peer_raw_key: None,
        sighting: None,
    };
    let signature = auth_signature(&node, &meta, role, dialler, listener);
    json!({
        "transport": kind.as_str(),
        "role": if role == Role::Dialler { "dialler" } else { "listener" },
        "node_secret": hex(*node.to_secret_bytes()),
        "node_key": hex(node.key()),
        "signature": hex(signature),
        "frame": hex(Frame::Auth(Auth { node_key: node.key(), signature }).encode()),
    })
}

fn recognition() -> Value {
    let one = Identity::from_secret_bytes(&[0x11; 64]);
    let two = Identity::from_secret_bytes(&[0x22; 64]);
    let key = one.recognition_key(&two.x25519_public()).unwrap();
    assert_eq!(two.recognition_key(&one.x25519_public()).unwrap(), key);
    let mac = |role: Role| hex(&hmac32(&key, "recognise-mac", &[&BINDING, &[role.as_u8()]])[..16]);
    json!({
        "one_secret": hex([0x11; 64]),
        "two_secret": hex([0x22; 64]),
        "key": hex(key),
        "dialler_mac": mac(Role::Dialler),
        "listener_mac": mac(Role::Listener),
    })
}

/// The frames of an introduction; what is in them is in `introduction.json`.
fn introduction() -> Value {
    let frame = |step| hex(Frame::Introduction(step).encode());
    let card = Bytes::from(vec![0xca; 300]);
    json!({
        "commitment": hex([0xc0; 32]),
        "commitment_frame": frame(Introduction::Commitment([0xc0; 32])),
        "reveal": hex([0x4e; 64]),
        "reveal_frame": frame(Introduction::Reveal([0x4e; 64])),
        "card": hex(&card),
        "card_frame": frame(Introduction::Card(card)),
        "ends": EndReason::ALL.map(|reason| frame(Introduction::End(reason))),
    })
}

/// The macs as section 6 writes them. `daemon/core/src/session/keys.rs` computes the same in a test of its own.
#[test]
fn links() {
    let (dialler, dialler_value) = hello(Hello {
        version: 1,
        carriage_open: true,
        clock_s: Some(1_795_412_800),
        bundle_size_max: 98_304,
    });
    let (listener, listener_value) =
        hello(Hello { version: 1, carriage_open: false, clock_s: None, bundle_size_max: 98_304 });
    let auths: Vec<Value> = [TransportKind::Quic, TransportKind::Ble, TransportKind::Memory]
        .into_iter()
        .flat_map(|kind| [Role::Dialler, Role::Listener].map(|role| auth(kind, role, &dialler, &listener)))
        .collect();
    let session = hkdf32(&BINDING, "session");
    let (bundle, commitment, tag) = (BundleId([0xb0; 32]), Commitment([0xc0; 32]), Tag([0xd0; 16]));
    compare(
        "link.json",
        &json!({
            "binding": hex(BINDING),
            "hellos": { "dialler": dialler_value, "listener": listener_value },
            "auths": auths,
            "session_key": hex(session),
            "bundle_id": hex(bundle),
            "id_mac": hex(&hmac32(&session, "id", &[&bundle.0])[..16]),
            "commitment": hex(commitment),
            "commitment_mac": hex(&hmac32(&session, "commitment-mac", &[&commitment.0])[..16]),
            "tag": hex(tag),
            "tag_mac": hex(&hmac32(&session, "tag-mac", &[&tag.0])[..8]),
            "recognition": recognition(),
            "introduction": introduction(),
        }),
    );
}
