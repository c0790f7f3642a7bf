//! Somebody writes other people's keys or secrets on a card: no message can be passed on by it as if it had been
//! written to a third person.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use bytes::Bytes;
use common::letter::{Letter, field, sign};
use common::{FixedRandom, NOW_S, Person, draft};
use pigeon_bundle::{
    Bundle, Card, Draft, Epoch, OneTimeKey, OneTimePublic, OpenError, OpenedWith, open, seal, seal_once,
};
use proptest::prelude::*;

/// Newman's card with some of jerry's keys and jerry's mailbox secret, well signed by newman.
fn forged_card(newman: &Person, jerry: &Person, stolen: [bool; 3]) -> Card {
    let pick = |stolen: bool, theirs: &[u8; 32], own: &[u8; 32]| if stolen { *theirs } else { *own };
    let card = [
        field(1, newman.identity.key().as_bytes()),
        field(2, &pick(stolen[0], jerry.card.x25519(), newman.card.x25519())),
        field(3, b"newman"),
        field(
            6,
            &pick(stolen[1], jerry.card.mailbox_secret().as_bytes(), newman.card.mailbox_secret().as_bytes()),
        ),
        field(7, &pick(stolen[2], jerry.card.prekey(), newman.card.prekey())),
        [vec![8 << 3], varint(newman.card.prekey_expires_s())].concat(),
        [vec![9 << 3], varint(NOW_S)].concat(),
    ]
    .concat();
    let signature = sign(&newman.identity, "card", &[&card]);
    Card::parse(&[field(1, &card), field(2, &signature)].concat()).unwrap()
}

fn varint(number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(number, &mut out);
    out
}

/// A key that jerry gave to newman (or to elaine), as anybody it was shown to could hand it on.
fn given(jerry: &mut Person, to: &Person) -> ([u8; 32], u64) {
    let issued = jerry.ring.one_time_mut().issue(to.identity.key(), 1, NOW_S, &mut FixedRandom::new("given"));
    (issued[0].public(), issued[0].expires_s())
}

proptest! {
    /// Elaine writes to newman, by newman's card as newman made it. Whatever of jerry's stands on it: jerry, to whom
    /// the bundle may be addressed and for whom it may even open, does not take it for his.
    #[test]
    fn a_message_written_to_a_forger_is_none_to_the_one_whose_keys_were_used(
        stolen in any::<[bool; 3]>(), one_time in any::<bool>(), clock in any::<bool>(),
        content in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let (elaine, mut jerry, newman) = (Person::new("elaine"), Person::new("jerry"), Person::new("newman"));
        let card = forged_card(&newman, &jerry, stolen);
        let created_s = clock.then_some(NOW_S);
        let draft = Draft { created_s, epoch: Epoch::at(NOW_S), ..draft(&card, &content) };
        let rng = &mut FixedRandom::new("seal");
        let one_time = one_time && clock;
        let sealed = if one_time {
            let (key, expires_s) = given(&mut jerry, &newman);
            seal_once(&elaine.identity, &draft, OneTimePublic::new(key, expires_s).unwrap(), rng).unwrap()
        } else {
            seal(&elaine.identity, &draft, rng).unwrap()
        };
        let bundle = Bundle::parse(sealed.bundle.as_bytes().clone()).unwrap();
        let to_jerry = card.mailbox_secret() == jerry.card.mailbox_secret();
        prop_assert_eq!(bundle.tag() == jerry.card.mailbox_secret().tag(Epoch::at(NOW_S)), to_jerry);
        let used_jerrys_key = one_time || if clock { stolen[2] } else { stolen[0] };
        let refused = open(&bundle, &jerry.identity, &jerry.ring, Some(NOW_S)).unwrap_err();
        if used_jerrys_key {
            prop_assert!(matches!(refused, OpenError::Signature(_)), "{}", refused);
        } else {
            prop_assert_eq!(refused, OpenError::NoKey);
            prop_assert!(open(&bundle, &newman.identity, &newman.ring, Some(NOW_S)).is_ok(), "control");
        }
    }

    /// Newman, to whom elaine did write, seals her envelope anew for jerry: to jerry's static key, to a prekey or to a
    /// one-time key that jerry gave him, under jerry's tag or his own.
    #[test]
    fn what_a_recipient_holds_cannot_be_sealed_on(
        key in 0_usize..3, own_tag in any::<bool>(), content in prop::collection::vec(any::<u8>(), 1..40)
    ) {
        let (elaine, mut jerry, newman) = (Person::new("elaine"), Person::new("jerry"), Person::new("newman"));
        let (one_time, _) = given(&mut jerry, &newman);
        let target = [*jerry.card.x25519(), *jerry.card.prekey(), one_time][key];
        // All that newman has of elaine is a signature over the very parts that name him and his key.
        let honest = Letter { content: content.clone(), ..Letter::honest(&elaine, &newman) };
        let header_of = |letter: &Letter<'_>| Bundle::parse(Bytes::from(letter.bytes())).unwrap().header_digest();
        let header = header_of(&honest);
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        let (author, recipient) = (elaine.identity.key(), newman.identity.key());
        let parts: [&[u8]; 6] =
            [&author.0, &recipient.0, newman.card.x25519(), header.as_ref(), &length, &content];
        let signature = sign(&elaine.identity, "envelope", &parts);
        prop_assert!(open(
            &Bundle::parse(Bytes::from(honest.bytes())).unwrap(), &newman.identity, &newman.ring, Some(NOW_S)
        ).is_ok());
        let passed_on = Letter {
            sealed_to: target,
            signature: Some(signature),
            tag: if own_tag { honest.tag } else { jerry.card.mailbox_secret().tag(Epoch::at(NOW_S)).0 },
            ..Letter { content: content.clone(), ..Letter::honest(&elaine, &newman) }
        };
        let bundle = Bundle::parse(Bytes::from(passed_on.bytes())).unwrap();
        let refused = open(&bundle, &jerry.identity, &jerry.ring, Some(NOW_S)).unwrap_err();
        prop_assert!(matches!(refused, OpenError::Signature(_)), "{}", refused);
    }
}

/// Control for the properties above: a one-time key that jerry gave to newman does open what newman writes to jerry.
#[test]
fn the_same_key_opens_what_is_meant_for_its_owner() {
    let (mut jerry, newman) = (Person::new("jerry"), Person::new("newman"));
    let (key, expires_s) = given(&mut jerry, &newman);
    let key = OneTimePublic::new(key, expires_s).unwrap();
    let rng = &mut FixedRandom::new("seal");
    let sealed = seal_once(&newman.identity, &draft(&jerry.card, b"x"), key, rng).unwrap();
    let opened = open(&sealed.bundle, &jerry.identity, &jerry.ring, Some(NOW_S)).unwrap();
    assert!(matches!(opened.with, OpenedWith::OneTime(_)));
    let held = jerry.ring.one_time().live(None).map(OneTimeKey::contact).collect::<Vec<_>>();
    assert_eq!(held, [newman.identity.key()]);
}
