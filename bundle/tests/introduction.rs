//! Two people who meet, and somebody between them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{FixedRandom, Person};
use pigeon_bundle::{
    Answered, COMMITMENT_SIZE, Card, Committed, INTRODUCTION_MAX, Introduced, IntroductionError,
};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

const BINDING: &[u8] = b"the link between two phones";

struct Meeting {
    dialler: Introduced,
    listener: Introduced,
}

/// Both sides on one link; `dialler_binding` differs where somebody keeps two links.
fn meet(dialler: &Card, listener: &Card, bindings: [&[u8]; 2], label: &'static str) -> Meeting {
    let rng = &mut FixedRandom::new(label);
    let (committed, commitment) = Committed::start(dialler, bindings[0], rng);
    let (answered, reveal) = Answered::answer(listener, bindings[1], &commitment, rng).unwrap();
    let (dialler, answer) = committed.receive(&reveal).unwrap();
    Meeting { dialler, listener: answered.receive(&answer).unwrap() }
}

#[test]
fn honest_people_see_one_code_and_get_each_other_s_card() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let met = meet(&elaine.card, &jerry.card, [BINDING; 2], "a");
    assert_eq!(met.dialler.code(), met.listener.code());
    assert_eq!(met.dialler.code().len(), 6);
    assert!(met.dialler.code().bytes().all(|digit| digit.is_ascii_digit()));
    assert_eq!((met.dialler.name(), met.listener.name()), ("jerry", "elaine"));
    assert_eq!(met.dialler.codes_are_the_same(), jerry.card);
    assert_eq!(met.listener.codes_are_the_same(), elaine.card);
    let again = meet(&elaine.card, &jerry.card, [BINDING; 2], "b");
    let first = meet(&elaine.card, &jerry.card, [BINDING; 2], "a");
    assert_ne!(again.dialler.code(), first.dialler.code(), "each meeting has a code of its own");
}

/// The bytes and the code, written a second time from docs/wire-format.md.
#[test]
fn bytes_and_code_are_those_of_the_wire_format() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let rng = &mut FixedRandom::new("a");
    let (committed, commitment) = Committed::start(&elaine.card, BINDING, rng);
    let (answered, second) = Answered::answer(&jerry.card, BINDING, &commitment, rng).unwrap();
    let (introduced, first) = committed.receive(&second).unwrap();
    let hash = |name: &str, parts: &[&[u8]]| -> [u8; 32] {
        let context = [b"CarrierPigeon/1 ", name.as_bytes(), &[0]].concat();
        Sha256::digest([&context[..], &parts.concat()].concat()).into()
    };
    assert_eq!(commitment, hash("introduction-commit", &[&first]));
    assert_eq!((&first[32..], &second[32..]), (elaine.card.as_bytes(), jerry.card.as_bytes()));
    let lp = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let text = [&lp(BINDING), &first[..32], &second[..32], &lp(&first[32..]), &lp(&second[32..])];
    let code = hash("introduction-code", &text);
    let number = u64::from_be_bytes(code[..8].try_into().unwrap()) % 1_000_000;
    assert_eq!(introduced.code(), format!("{number:06}"));
    assert_eq!(answered.receive(&first).unwrap().code(), introduced.code());
}

#[test]
fn somebody_in_the_middle_with_cards_of_its_own_makes_the_codes_differ() {
    let (elaine, jerry, newman) = (Person::new("elaine"), Person::new("jerry"), Person::new("newman"));
    for label in ["a", "b", "c", "d"] {
        // Elaine dials newman, who dials jerry on a second link.
        let left = meet(&elaine.card, &newman.card, [b"left"; 2], label);
        let right = meet(&newman.card, &jerry.card, [b"right"; 2], label);
        assert_ne!(left.dialler.code(), right.listener.code());
    }
}

#[test]
fn a_relay_that_changes_nothing_is_seen_by_the_binding() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let met = meet(&elaine.card, &jerry.card, [b"elaine's link to newman", b"newman's link to jerry"], "a");
    assert_ne!(met.dialler.code(), met.listener.code());
}

/// Newman knows jerry's nonce before he must reveal to jerry: he may try what he likes, he is bound.
#[test]
fn a_dialler_that_changes_its_card_or_nonce_after_the_commitment_is_refused() {
    let (jerry, newman, kramer) = (Person::new("jerry"), Person::new("newman"), Person::new("kramer"));
    let rng = &mut FixedRandom::new("a");
    let reveal_of = |card: &Card, nonce: u8| [&[nonce; 32], card.as_bytes()].concat();
    let (_, commitment) = Committed::start(&newman.card, BINDING, rng);
    for late in [reveal_of(&newman.card, 1), reveal_of(&kramer.card, 1)] {
        let (answered, _) = Answered::answer(&jerry.card, BINDING, &commitment, rng).unwrap();
        assert_eq!(answered.receive(&late).unwrap_err(), IntroductionError::Commitment);
    }
}

#[test]
fn what_is_sent_back_is_refused() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let rng = &mut FixedRandom::new("a");
    // A listener that is elaine's own voice: with her card, whatever nonce.
    let (committed, commitment) = Committed::start(&elaine.card, BINDING, rng);
    let (_, own) = Answered::answer(&elaine.card, BINDING, &commitment, rng).unwrap();
    assert_eq!(committed.receive(&own).unwrap_err(), IntroductionError::Reflected);
    // To a listener, what it revealed is nothing that the dialler was bound to; and a dialler that is bound to the
    // listener's own card is its echo.
    let (answered, own) = Answered::answer(&jerry.card, BINDING, &commitment, rng).unwrap();
    assert_eq!(answered.receive(&own).unwrap_err(), IntroductionError::Commitment);
    let (echo, commitment) = Committed::start(&jerry.card, BINDING, rng);
    let (answered, reveal) = Answered::answer(&jerry.card, BINDING, &commitment, rng).unwrap();
    assert_eq!(echo.receive(&reveal).unwrap_err(), IntroductionError::Reflected);
    let bound = [&[9; 32], jerry.card.as_bytes()].concat();
    drop(answered);
    let commitment = pigeon_bundle::context::sha256("introduction-commit", &[&bound]);
    let (answered, _) = Answered::answer(&jerry.card, BINDING, &commitment, rng).unwrap();
    assert_eq!(answered.receive(&bound).unwrap_err(), IntroductionError::Reflected);
    // The dialler's own nonce under another card.
    let (committed, _) = Committed::start(&elaine.card, BINDING, &mut FixedRandom::new("z"));
    let (_, theirs) = Answered::answer(&jerry.card, BINDING, &[0; 32], &mut FixedRandom::new("z")).unwrap();
    assert_eq!(committed.receive(&theirs).unwrap_err(), IntroductionError::Reflected);
}

#[test]
fn impossible_sizes_and_bad_cards_are_refused_by_name() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let rng = &mut FixedRandom::new("a");
    for size in [0, COMMITMENT_SIZE - 1, COMMITMENT_SIZE + 1] {
        let refused = Answered::answer(&jerry.card, BINDING, &vec![0; size], rng).unwrap_err();
        assert!(matches!(refused, IntroductionError::Size { message: "commitment", .. }), "{refused}");
    }
    for size in [0, 31, 32, INTRODUCTION_MAX + 1] {
        let (committed, _) = Committed::start(&elaine.card, BINDING, rng);
        let refused = committed.receive(&vec![0; size]).unwrap_err();
        assert!(matches!(refused, IntroductionError::Size { message: "reveal", .. }), "{refused}");
    }
    let mut altered = [&[1; 32], jerry.card.as_bytes()].concat();
    altered[80] ^= 1;
    let (committed, _) = Committed::start(&elaine.card, BINDING, rng);
    assert!(matches!(committed.receive(&altered), Err(IntroductionError::Card(_))));
    let shown = format!("{:?}", Committed::start(&elaine.card, BINDING, rng).0);
    assert_eq!(shown, "Committed(…)");
}

proptest! {
    /// Any byte changed on the way is refused, or the codes differ.
    #[test]
    fn no_change_on_the_way_goes_unseen(which in 0..3, at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
        let change = |number: i32, mut bytes: Vec<u8>| {
            if which == number {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
            }
            bytes
        };
        let rng = &mut FixedRandom::new("a");
        let (committed, commitment) = Committed::start(&elaine.card, BINDING, rng);
        let commitment = change(0, commitment.to_vec());
        let (answered, reveal) = Answered::answer(&jerry.card, BINDING, &commitment, rng).unwrap();
        if let Ok((dialler, answer)) = committed.receive(&change(1, reveal.to_vec()))
            && let Ok(listener) = answered.receive(&change(2, answer.to_vec()))
        {
            prop_assert_ne!(dialler.code(), listener.code());
        }
    }
}
