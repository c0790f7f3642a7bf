//! Contact cards and bridge cards: what can be altered on the way, and what cannot.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::letter::{field, sign};
use common::{Bridge, FixedRandom, NOW_S, Person, fields};
use pigeon_bundle::{
    BridgeCard, BridgeCardFields, CARD_SIZE_MAX, CARD_TEXT_MAX, Card, CardError, CardFields, MessageDigest,
    TextError,
};
use prost::Message as _;

#[derive(Clone, PartialEq, prost::Message)]
struct Signed {
    #[prost(bytes = "vec", tag = "1")]
    card: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    signature: Vec<u8>,
}

fn jerry_fields(jerry: &Person) -> CardFields {
    fields("jerry", &jerry.ring, &mut FixedRandom::new("card"))
}

#[test]
fn card_round_trips_in_both_forms() {
    let jerry = Person::new("jerry");
    let fields = jerry_fields(&jerry);
    let card = Card::issue(&jerry.identity, &fields).unwrap();
    for again in [
        Card::parse(card.as_bytes()).unwrap(),
        Card::from_text(&card.to_text()).unwrap(),
        Card::from_text(&format!("  {}\r\n", card.to_text())).unwrap(),
    ] {
        assert_eq!(again, card);
        assert_eq!(again.identity(), jerry.identity.key());
        assert_eq!(*again.x25519(), jerry.identity.x25519_public());
        assert_eq!(again.name(), fields.name);
        assert_eq!(again.jids(), fields.jids);
        assert_eq!(again.bridges(), fields.bridges);
        assert_eq!(*again.mailbox_secret(), fields.mailbox_secret);
        assert_eq!(*again.prekey(), fields.prekey);
        assert_eq!(again.prekey_expires_s(), fields.prekey_expires_s);
        assert_eq!(again.issued_s(), NOW_S);
    }
    assert_eq!(format!("{card:?}"), format!("Card(issued {NOW_S})"));
}

#[test]
fn every_altered_character_of_the_text_is_refused() {
    let card = Person::new("jerry").card;
    let text = card.to_text();
    for at in 0..text.len() {
        for replacement in ["A", "b", "9", "-", "_", "=", "+", "/", "ä"] {
            let mut altered = text.clone();
            altered.replace_range(at..=at, replacement);
            if altered != text {
                let result = Card::from_text(&altered);
                assert!(result.is_err(), "character {at} as {replacement}");
            }
        }
    }
    assert!(Card::from_text(&text[..text.len() - 4]).is_err());
    for no_card in
        ["", "pigeon:card", "xmpp:jerry@subway.example", &text[1..], "pigeon:card:=", &text.to_uppercase()]
    {
        assert!(matches!(Card::from_text(no_card), Err(CardError::Text)), "{no_card}");
    }
    assert!(matches!(Card::from_text("pigeon:card:"), Err(CardError::Length { field: "ed25519", .. })));
}

#[test]
fn every_flipped_bit_of_the_bytes_is_refused() {
    let card = Person::new("jerry").card;
    for at in 0..card.as_bytes().len() {
        for bit in 0..8 {
            let mut bytes = card.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            assert!(Card::parse(&bytes).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn a_card_is_replaced_by_a_later_one_of_the_same_person_only() {
    let (jerry, newman) = (Person::new("jerry"), Person::new("newman"));
    let at = |person: &Person, issued_s| {
        Card::issue(&person.identity, &CardFields { issued_s, ..jerry_fields(person) }).unwrap()
    };
    let held = at(&jerry, NOW_S);
    assert!(at(&jerry, NOW_S + 1).supersedes(&held));
    assert!(!at(&jerry, NOW_S).supersedes(&held));
    assert!(!at(&jerry, NOW_S - 1).supersedes(&held));
    assert!(!at(&newman, NOW_S + 1).supersedes(&held));
}

#[test]
fn recipient_key_is_the_prekey_while_it_lasts() {
    let card = Person::new("jerry").card;
    let expires_s = card.prekey_expires_s();
    assert_eq!(card.recipient_key(Some(expires_s - 1)), *card.prekey());
    assert_eq!(card.recipient_key(Some(expires_s)), *card.x25519());
    assert_eq!(card.recipient_key(None), *card.x25519());
}

#[test]
fn fields_out_of_bounds_are_refused_even_when_signed() {
    let jerry = Person::new("jerry");
    let refused = |change: &dyn Fn(&mut CardFields)| {
        let mut fields = jerry_fields(&jerry);
        change(&mut fields);
        Card::issue(&jerry.identity, &fields).unwrap_err()
    };
    let text = |field, problem| CardError::Field { field, problem };
    assert_eq!(refused(&|f| f.name.clear()), text("name", TextError::Length { max: 64, got: 0 }));
    assert_eq!(refused(&|f| f.name = "x".repeat(65)), text("name", TextError::Length { max: 64, got: 65 }));
    assert_eq!(refused(&|f| f.name = "\u{1b}[2J".into()), text("name", TextError::Character));
    assert_eq!(refused(&|f| f.jids[0] = "a@b/c".into()), text("jid", TextError::NotBare));
    assert_eq!(
        refused(&|f| f.jids[0] = "x".repeat(151)),
        text("jid", TextError::Length { max: 150, got: 151 })
    );
    assert_eq!(refused(&|f| f.bridges[0] = "a b".into()), text("bridge", TextError::Character));
    let list = |field, got| CardError::List { field, allowed: "0 to 4", got };
    assert_eq!(refused(&|f| f.jids = vec!["a@b".into(); 5]), list("jid", 5));
    assert_eq!(refused(&|f| f.bridges = vec!["b".into(); 5]), list("bridge", 5));
}

/// `SignedCard` around any card bytes, signed well.
fn signed(person: &Person, card: &[u8]) -> Vec<u8> {
    let signature = sign(&person.identity, "card", &[card]);
    Signed { card: card.to_vec(), signature }.encode_to_vec()
}

#[test]
fn unknown_signed_fields_are_kept_and_unsigned_ones_dropped() {
    let jerry = Person::new("jerry");
    let mut inner = Signed::decode(jerry.card.as_bytes()).unwrap().card;
    assert_eq!(
        signed(&jerry, &inner),
        jerry.card.as_bytes(),
        "control: the second implementation signs alike"
    );
    inner.extend(field(15, b"from a later version"));
    let later = Card::parse(&signed(&jerry, &inner)).unwrap();
    assert_eq!(later.name(), "jerry");
    assert_eq!(Signed::decode(later.as_bytes()).unwrap().card, inner);
    assert_eq!(Card::from_text(&later.to_text()).unwrap(), later);

    let tail = [jerry.card.as_bytes(), &field(15, b"nobody signed this")].concat();
    assert_eq!(Card::parse(&tail).unwrap().as_bytes(), jerry.card.as_bytes());
}

#[test]
fn key_lengths_and_signer_are_checked() {
    let (jerry, newman) = (Person::new("jerry"), Person::new("newman"));
    let inner = Signed::decode(jerry.card.as_bytes()).unwrap().card;
    assert!(matches!(Card::parse(&signed(&newman, &inner)), Err(CardError::Signature(_))));
    for number in [1, 2, 6, 7] {
        // The last value of a field counts.
        let mut short = inner.clone();
        short.extend(field(number, &[0; 31]));
        assert!(
            matches!(Card::parse(&signed(&jerry, &short)), Err(CardError::Length { got: 31, .. })),
            "{number}"
        );
    }
    let no_signature = Signed { card: inner.clone(), signature: Vec::new() }.encode_to_vec();
    assert!(matches!(Card::parse(&no_signature), Err(CardError::Signature(_))));
    let wrong_context = Signed { signature: sign(&jerry.identity, "bridge-card", &[&inner]), card: inner };
    assert!(matches!(Card::parse(&wrong_context.encode_to_vec()), Err(CardError::Signature(_))));
}

#[test]
fn sizes_are_bounded() {
    assert_eq!(CARD_SIZE_MAX, 3_063);
    let error = CardError::TooLarge { size: CARD_SIZE_MAX + 1, max: CARD_SIZE_MAX };
    assert_eq!(Card::parse(&vec![0; CARD_SIZE_MAX + 1]).unwrap_err(), error);
    let error = CardError::TooLarge { size: CARD_TEXT_MAX + 1, max: CARD_TEXT_MAX };
    assert_eq!(Card::from_text(&"x".repeat(CARD_TEXT_MAX + 1)).unwrap_err(), error);
    // The largest card there can be has room.
    let jerry = Person::new("jerry");
    let full = CardFields {
        name: "n".repeat(64),
        jids: vec!["j".repeat(150); 4],
        bridges: vec!["b".repeat(150); 4],
        issued_s: u64::MAX,
        prekey_expires_s: u64::MAX,
        ..jerry_fields(&jerry)
    };
    let card = Card::issue(&jerry.identity, &full).unwrap();
    assert!(card.to_text().len() <= CARD_TEXT_MAX);
}

#[test]
fn bridge_card_round_trips_and_names_shards() {
    let bridge = Bridge::new("bridge.example");
    let again = BridgeCard::parse(bridge.card.as_bytes()).unwrap();
    assert_eq!(again, bridge.card);
    assert_eq!(again.domain(), "bridge.example");
    assert_eq!(*again.key(), bridge.identity.key());
    assert_eq!(*again.x25519(), bridge.identity.x25519_public());
    assert_eq!((again.issued_s(), again.expires_s()), (NOW_S, NOW_S + 86_400));
    let message = MessageDigest([0xa5; 32]);
    assert_eq!(again.address(&message), "bridge.example");
    let sharded = |count: usize| {
        bridge.identity.card(&BridgeCardFields {
            domain: "bridge.example".into(),
            issued_s: NOW_S,
            expires_s: NOW_S,
            shards: (0..count).map(|i| format!("{i:x}@bridge.example")).collect(),
        })
    };
    assert_eq!(sharded(16).unwrap().address(&message), "a@bridge.example");
    assert!(matches!(sharded(15), Err(CardError::List { field: "shard", got: 15, .. })));
}

#[test]
fn every_flipped_bit_of_a_bridge_card_is_refused() {
    let card = Bridge::new("bridge.example").card;
    for at in 0..card.as_bytes().len() {
        for bit in 0..8 {
            let mut bytes = card.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            assert!(BridgeCard::parse(&bytes).is_err(), "bit {bit} of byte {at}");
        }
    }
    // One kind of card is not taken for the other.
    assert!(BridgeCard::parse(Person::new("jerry").card.as_bytes()).is_err());
    assert!(Card::parse(card.as_bytes()).is_err());
}
