//! A neighbour that damages, mints variants, and breaks off: the daemon drops what is not right, delivers once, and
//! spends nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/peer.rs"]
mod peer;
mod support;

use std::path::Path;

use carrier_pigeon::random::OsRandom;
use peer::Peer;
use pigeon_bundle::{
    BridgeCard, BridgeCardFields, BridgeIdentity, Bundle, BundleId, Card, CardFields, Draft, Epoch, Identity,
    LIFETIME_DEFAULT_S, MailboxSecret, MessageId, PrekeyRing, SecretRandom, Tag, UplinkDraft,
    context::sha256, seal,
};
use pigeon_harness::files::temp_dir;
use pigeon_harness::netns::{Host, World};
use pigeon_harness::node::text_of;
use pigeon_harness::{Node, NodeSpec, require_root};
use pigeon_proto::{Accept, Body, Content, Frame, Offer, Text};
use support::{PATIENCE, assert_inbox, messages, send, until};

/// One daemon and one liar on a street.
fn street(world: &World, dir: &Path) -> (Node, Host) {
    let segment = world.segment("street").unwrap();
    let (jerry, liar) = (world.host("jerry").unwrap(), world.host("liar").unwrap());
    jerry.attach(&segment, "10.2.0.2/24").unwrap();
    liar.attach(&segment, "10.2.0.3/24").unwrap();
    (Node::start(&jerry, &NodeSpec::new("jerry"), dir).unwrap(), liar)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRandom.fill(&mut bytes);
    bytes
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn bridge() -> BridgeCard {
    let fields = BridgeCardFields {
        domain: "bridge.example.org".into(),
        issued_s: now_s(),
        expires_s: now_s() + 86_400,
        shards: Vec::new(),
    };
    BridgeCard::issue(&BridgeIdentity::generate(&mut OsRandom), &fields).unwrap()
}

/// A real message to the node, with an uplink; its id.
fn message_to(node: &Node) -> (Bundle, String) {
    let card = Card::from_text(&text_of(&node.json(&["id"]).unwrap(), "card")).unwrap();
    let (author, id, bridge) = (Identity::generate(&mut OsRandom), MessageId(random()), bridge());
    let text = Text { id, thread: None, sent_ms: now_s() * 1000, text: "a true word".into() };
    let content = Content::new(Body::Text(text)).encode().unwrap();
    let uplink = UplinkDraft {
        bridge: &bridge,
        author_jid: "elaine@example.org",
        recipient_jid: "jerry@example.org",
        message_id: id,
        sent_ms: now_s() * 1000,
    };
    let draft = Draft {
        recipient: &card,
        content: &content,
        created_s: Some(now_s()),
        epoch: Epoch::at(now_s()),
        lifetime_s: LIFETIME_DEFAULT_S,
        uplink: Some(uplink),
    };
    (seal(&author, &draft, &mut OsRandom).unwrap().bundle, id.to_string())
}

fn offer(bundle: BundleId, size: usize) -> Offer {
    Offer {
        bundle,
        size: u32::try_from(size).unwrap(),
        copies: 1,
        quality: 0,
        moves: 0,
        age_s: 0,
        hops: 0,
        tag: None,
    }
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).unwrap()
}

/// What a liar can do who knows the format: other uplink data, source and checksum made to fit.
fn minted(
    original: &Bundle,
    uplink: impl FnOnce(&[u8]) -> Vec<u8>,
    uplink_data: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Bundle {
    let mut bytes = original.as_bytes().to_vec();
    let start = find(&bytes, &[0x85, 0x18, 0xf1, 0x03]);
    let end = find(&bytes, &[0x85, 0x01, 0x01, 0x00, 0x00]);
    let block = uplink(&bytes[start..end]);
    let data = uplink_data(&block);
    bytes.splice(start..end, block);
    let id = sha256("bundle", &[&original.message_digest().0, &data]);
    let base32 = |bytes: &[u8]| Tag(bytes.try_into().unwrap()).to_base32();
    let (old, new) = (base32(&original.id().0[..16]), base32(&id[..16]));
    let at = find(&bytes, old.as_bytes());
    bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
    // The primary block is the first item of the array; its last five bytes are the CRC's head and value.
    let carriage = find(&bytes, &[0x85, 0x18, 0xf0, 0x02]);
    bytes[carriage - 4..carriage].fill(0);
    let crc = crc32c(&bytes[1..carriage]);
    bytes[carriage - 4..carriage].copy_from_slice(&crc.to_be_bytes());
    Bundle::parse(bytes.into()).expect("a liar's variant is well-formed")
}

/// CRC-32C, bit by bit (RFC 9171 section 4.2.1).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 },
        )
    };
    !bytes.iter().fold(!0, step)
}

#[test]
fn a_flipped_bit_in_any_field_is_dropped_and_logged() {
    require_root!();
    let (dir, world) = (temp_dir("pigeon-liar-").unwrap(), World::new());
    let (jerry, host) = street(&world, dir.path());
    let (bundle, message) = message_to(&jerry);
    let bytes = bundle.as_bytes().to_vec();
    let mut liar = Peer::meet(&host);
    let payload = bytes.len() - bundle.payload().len();
    // Every byte of every field, and a few of the payload.
    let places: Vec<usize> =
        (0..payload).step_by(3).chain([payload, payload + 33, bytes.len() - 2, bytes.len() - 1]).collect();
    for place in &places {
        let mut damaged = bytes.clone();
        damaged[*place] ^= 1 << (place % 8);
        let word = liar.give(offer(bundle.id(), damaged.len()), &damaged);
        assert!(matches!(word, Frame::Decline { .. }), "byte {place}: {word:?}");
    }
    let refused = || jerry.watch().matching(|event| event.kind == "bundle_refused").len();
    until(&jerry, "reporting every damaged bundle", || refused() >= places.len());
    assert_eq!(refused(), places.len());
    let log = std::fs::read_to_string(jerry.daemon().log()).unwrap();
    assert_eq!(log.matches("a neighbour's bundle is dropped").count(), places.len());
    assert!(messages(&jerry, "inbox").is_empty());
    // The same neighbour with the true bytes is believed.
    assert_eq!(liar.give(offer(bundle.id(), bytes.len()), &bytes), Frame::Stored { bundle: bundle.id() });
    until(&jerry, "the message", || !messages(&jerry, "inbox").is_empty());
    assert_inbox(&jerry, &[message]);
}

#[test]
fn variants_minted_by_a_liar_are_delivered_once_at_most() {
    require_root!();
    let (dir, world) = (temp_dir("pigeon-liar-").unwrap(), World::new());
    let (jerry, host) = street(&world, dir.path());
    let (bundle, message) = message_to(&jerry);
    let stripped = minted(&bundle, |_| Vec::new(), |_| Vec::new());
    let flip_last = |block: &[u8]| {
        let mut block = block.to_vec();
        *block.last_mut().unwrap() ^= 1;
        block
    };
    // Head of the block: 5 bytes, then the byte string's own head of 3.
    let rerouted = minted(&bundle, flip_last, |block| block[9..].to_vec());
    assert!(stripped.id() != bundle.id() && rerouted.id() != bundle.id() && stripped.id() != rerouted.id());
    assert!([&stripped, &rerouted].iter().all(|v| v.message_digest() == bundle.message_digest()));
    let mut liar = Peer::meet(&host);
    for variant in [&stripped, &bundle, &rerouted] {
        liar.give(offer(variant.id(), variant.size()), variant.as_bytes());
    }
    until(&jerry, "the message", || !messages(&jerry, "inbox").is_empty());
    // What a later neighbour brings is refused as delivered; nothing more reaches the inbox.
    drop(liar);
    let mut later = Peer::meet(&host);
    for variant in [&stripped, &bundle, &rerouted] {
        let word = later.give(offer(variant.id(), variant.size()), variant.as_bytes());
        assert!(matches!(word, Frame::Decline { .. }), "{word:?}");
    }
    assert_inbox(&jerry, &[message]);
    assert_eq!(jerry.watch().matching(|event| event.kind == "message_received").len(), 1);
}

#[test]
fn a_link_that_breaks_in_the_middle_of_a_bundle_spends_no_copy_and_resumes() {
    require_root!();
    let (dir, world) = (temp_dir("pigeon-cut-").unwrap(), World::new());
    let (elaine, host) = street(&world, dir.path());
    let (stranger, ring) = (Identity::generate(&mut OsRandom), PrekeyRing::generate(now_s(), &mut OsRandom));
    let card = Card::issue(
        &stranger,
        &CardFields {
            name: "far away".into(),
            jids: Vec::new(),
            bridges: Vec::new(),
            mailbox_secret: MailboxSecret(random()),
            prekey: ring.current().unwrap().public(),
            prekey_expires_s: ring.current().unwrap().expires_s(),
            issued_s: now_s(),
        },
    )
    .unwrap();
    elaine.say(&["card", "import", &card.to_text()]).unwrap();
    let (_, bundle) = send(&elaine, "far away", &"long ".repeat(12_000));
    let id: BundleId = bundle.parse().unwrap();

    let mut taker = Peer::meet(&host);
    let is_offer = |frame: &Frame| matches!(frame, Frame::Offer(offer) if offer.bundle == id).then_some(());
    taker.wait("the offer", is_offer);
    taker.send(Frame::Accept(Accept { bundle: id, quality: 0, offset: 0 }));
    let first = taker.wait("a first segment", |frame| match frame {
        Frame::Segment { bundle, offset: 0, data } if *bundle == id => Some(data.len()),
        _ => None,
    });
    let key = taker.key();
    taker.cut();
    elaine
        .watch()
        .wait_for(PATIENCE, "noticing the cut", |e| e.kind == "neighbour_down" && e.peer == key)
        .unwrap();
    let shown = elaine.json(&["bundles", "show", &bundle]).unwrap();
    assert_eq!(shown["summary"]["copies"], 6, "{shown}");
    assert_eq!(shown["taken_by"].as_array().unwrap().len(), 0);
    assert!(elaine.watch().matching(|e| e.kind == "handed_over").is_empty());

    taker.link_up();
    taker.wait("the offer again", is_offer);
    taker.send(Frame::Accept(Accept { bundle: id, quality: 0, offset: u32::try_from(first).unwrap() }));
    let size = usize::try_from(shown["summary"]["size"].as_u64().unwrap()).unwrap();
    let mut reached = first;
    while reached < size {
        reached += taker.wait("the rest", |frame| match frame {
            Frame::Segment { bundle, offset, data } if *bundle == id => {
                assert_eq!(usize::try_from(*offset).unwrap(), reached, "not resumed where it broke off");
                Some(data.len())
            }
            _ => None,
        });
    }
    taker.send(Frame::Stored { bundle: id });
    let granted = taker.wait("copies", |frame| match frame {
        Frame::Granted { bundle, copies } if *bundle == id => Some(*copies),
        _ => None,
    });
    assert_eq!(granted, 3);
    until(&elaine, "having spent the copies", || {
        elaine.json(&["bundles", "show", &bundle]).unwrap()["summary"]["copies"] == 3
    });
}
