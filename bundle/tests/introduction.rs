//! Two people who meet, and somebody between them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{FixedRandom, Person};
use pigeon_bundle::{
    Answered, COMMITMENT_SIZE, Card, Committed, Compared, IntroductionError, REVEAL_SIZE, SHOWN_CARD_MAX,
};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

const BINDING: &[u8] = b"the link between two phones";

struct Meeting {
    dialler: Compared,
    listener: Compared,
}

impl Meeting {
    fn codes(&self) -> [String; 2] {
        [self.dialler.code(), self.listener.code()]
    }
}

/// Both sides on one link; `bindings` differ where somebody keeps two links.
fn meet(dialler: &Card, listener: &Card, bindings: [&[u8]; 2], label: &'static str) -> Meeting {
    let rng = &mut FixedRandom::new(label);
    let (committed, commitment) = Committed::start(dialler, bindings[0], rng);
    let (answered, reveal) = Answered::answer(listener, bindings[1], &commitment, rng).unwrap();
    let (dialler, answer) = committed.receive(&reveal).unwrap();
    Meeting { dialler, listener: answered.receive(&answer).unwrap() }
}

fn hash(name: &str, parts: &[&[u8]]) -> [u8; 32] {
    let context = [b"CarrierPigeon/1 ", name.as_bytes(), &[0]].concat();
    Sha256::digest([&context[..], &parts.concat()].concat()).into()
}

#[test]
fn honest_people_see_one_code_and_get_each_other_s_card() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let met = meet(&elaine.card, &jerry.card, [BINDING; 2], "a");
    assert_eq!(met.dialler.code(), met.listener.code());
    assert_eq!(met.dialler.code().len(), 6);
    assert!(met.dialler.code().bytes().all(|digit| digit.is_ascii_digit()));
    let (dialler, elaines) = met.dialler.codes_are_the_same();
    let (listener, jerrys) = met.listener.codes_are_the_same();
    assert_eq!(dialler.receive(&jerrys).unwrap(), jerry.card);
    assert_eq!(listener.receive(&elaines).unwrap(), elaine.card);
    let again = meet(&elaine.card, &jerry.card, [BINDING; 2], "b").codes();
    let first = meet(&elaine.card, &jerry.card, [BINDING; 2], "a").codes();
    assert_ne!(again, first, "each meeting has a code of its own");
}

/// The bytes and the code, written a second time from docs/wire-format.md.
#[test]
fn bytes_and_code_are_those_of_the_wire_format() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let rng = &mut FixedRandom::new("a");
    let (committed, commitment) = Committed::start(&elaine.card, BINDING, rng);
    let (answered, second) = Answered::answer(&jerry.card, BINDING, &commitment, rng).unwrap();
    let (at_first, first) = committed.receive(&second).unwrap();
    assert_eq!(commitment, hash("introduction-commit", &[&first]));
    let length = u32::try_from(BINDING.len()).unwrap().to_be_bytes();
    let code = hash("introduction-code", &[&length, BINDING, &first, &second]);
    let number = u64::from_be_bytes(code[..8].try_into().unwrap()) % 1_000_000;
    assert_eq!(at_first.code(), format!("{number:06}"));
    let at_second = answered.receive(&first).unwrap();
    assert_eq!(at_second.code(), at_first.code());
    let (_, shown) = at_first.codes_are_the_same();
    assert_eq!(&shown[32..], elaine.card.as_bytes());
    assert_eq!(first[32..], hash("introduction-card", &[&shown]));
}

/// What goes over the link before a person has compared the codes is the same for every card, but for random bytes.
#[test]
fn nothing_of_a_card_is_sent_before_its_owner_has_compared_the_codes() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let rng = &mut FixedRandom::new("a");
    let (committed, commitment) = Committed::start(&elaine.card, BINDING, rng);
    let (_, second) = Answered::answer(&jerry.card, BINDING, &commitment, rng).unwrap();
    let (_, first) = committed.receive(&second).unwrap();
    for (sent, card) in [(&first, &elaine.card), (&second, &jerry.card)] {
        // Nor does it match any digest that a holder of the card can compute without the salt.
        let guesses = [hash("introduction-card", &[card.as_bytes()]), Sha256::digest(card.as_bytes()).into()];
        assert!(!guesses.iter().any(|guess| sent[32..] == guess[..]));
        let held = card.as_bytes();
        assert!(!held.windows(8).any(|part| sent.windows(8).any(|window| window == part)));
    }
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
fn a_dialler_that_changes_its_reveal_after_the_commitment_is_refused() {
    let (jerry, newman) = (Person::new("jerry"), Person::new("newman"));
    let rng = &mut FixedRandom::new("a");
    let (_, commitment) = Committed::start(&newman.card, BINDING, rng);
    for late in [[1; REVEAL_SIZE], [2; REVEAL_SIZE]] {
        let (answered, _) = Answered::answer(&jerry.card, BINDING, &commitment, rng).unwrap();
        assert_eq!(answered.receive(&late).unwrap_err(), IntroductionError::Bound { what: "reveal" });
    }
}

#[test]
fn a_card_that_the_code_does_not_stand_for_is_refused() {
    let (elaine, jerry, newman) = (Person::new("elaine"), Person::new("jerry"), Person::new("newman"));
    let met = || meet(&elaine.card, &jerry.card, [BINDING; 2], "a");
    let (_, jerrys) = met().listener.codes_are_the_same();
    let (_, newmans) = meet(&elaine.card, &newman.card, [BINDING; 2], "a").listener.codes_are_the_same();
    let swapped = [&jerrys[..32], newman.card.as_bytes()].concat();
    let other_salt = [&[0; 32], jerry.card.as_bytes()].concat();
    for shown in [&newmans[..], &swapped, &other_salt] {
        let (agreed, _) = met().dialler.codes_are_the_same();
        assert_eq!(agreed.receive(shown).unwrap_err(), IntroductionError::Bound { what: "card" });
    }
}

#[test]
fn what_is_sent_back_is_refused() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    // A listener that is elaine's own voice.
    let (committed, commitment) = Committed::start(&elaine.card, BINDING, &mut FixedRandom::new("z"));
    let (_, own) = Answered::answer(&elaine.card, BINDING, &commitment, &mut FixedRandom::new("z")).unwrap();
    assert_eq!(committed.receive(&own).unwrap_err(), IntroductionError::Reflected);
    // Her digest under another nonce, and her nonce with another digest.
    for half in [0..32, 32..64] {
        let (committed, _) = Committed::start(&elaine.card, BINDING, &mut FixedRandom::new("z"));
        let mut reveal = own;
        reveal[half].fill(7);
        assert_eq!(committed.receive(&reveal).unwrap_err(), IntroductionError::Reflected);
    }
    // A dialler that is bound to what the listener's generator will draw.
    let (answered, reveal) = {
        let (_, reveal) =
            Answered::answer(&jerry.card, BINDING, &[0; 32], &mut FixedRandom::new("z")).unwrap();
        let bound = hash("introduction-commit", &[&reveal]);
        Answered::answer(&jerry.card, BINDING, &bound, &mut FixedRandom::new("z")).unwrap()
    };
    assert_eq!(answered.receive(&reveal).unwrap_err(), IntroductionError::Reflected);
    // Elaine's own card from somebody who holds it, salted anew: both are elaine.
    let met = meet(&elaine.card, &elaine.card, [BINDING; 2], "a");
    let (dialler, _) = met.dialler.codes_are_the_same();
    let (_, shown) = met.listener.codes_are_the_same();
    assert_eq!(dialler.receive(&shown).unwrap_err(), IntroductionError::Reflected);
}

#[test]
fn impossible_sizes_and_bad_cards_are_refused_by_name() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let rng = &mut FixedRandom::new("a");
    for size in [0, COMMITMENT_SIZE - 1, COMMITMENT_SIZE + 1] {
        let refused = Answered::answer(&jerry.card, BINDING, &vec![0; size], rng).unwrap_err();
        assert!(matches!(refused, IntroductionError::Size { message: "commitment", .. }), "{refused}");
    }
    for size in [0, REVEAL_SIZE - 1, REVEAL_SIZE + 1] {
        let (committed, _) = Committed::start(&elaine.card, BINDING, rng);
        let refused = committed.receive(&vec![0; size]).unwrap_err();
        assert!(matches!(refused, IntroductionError::Size { message: "reveal", .. }), "{refused}");
    }
    for size in [0, 31, 32, SHOWN_CARD_MAX + 1] {
        let (agreed, _) = meet(&elaine.card, &jerry.card, [BINDING; 2], "a").dialler.codes_are_the_same();
        let refused = agreed.receive(&vec![0; size]).unwrap_err();
        assert!(matches!(refused, IntroductionError::Size { message: "card", .. }), "{refused}");
    }
    // Bound to bytes that are no card.
    let shown = [[1; 32], [2; 32]].concat();
    let reveal = [[3; 32], hash("introduction-card", &[&shown])].concat();
    let (committed, _) = Committed::start(&elaine.card, BINDING, rng);
    let (agreed, _) = committed.receive(&reveal).unwrap().0.codes_are_the_same();
    assert!(matches!(agreed.receive(&shown), Err(IntroductionError::Card(_))));
}

#[test]
fn nothing_of_a_meeting_is_printed() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let rng = &mut FixedRandom::new("a");
    let (committed, commitment) = Committed::start(&elaine.card, BINDING, rng);
    let (answered, reveal) = Answered::answer(&jerry.card, BINDING, &commitment, rng).unwrap();
    let mut shown = vec![format!("{committed:?}"), format!("{answered:?}")];
    let (compared, _) = committed.receive(&reveal).unwrap();
    shown.push(format!("{compared:?}"));
    shown.push(format!("{:?}", compared.codes_are_the_same().0));
    assert_eq!(shown, ["Committed(…)", "Answered(…)", "Compared(…)", "Agreed(…)"]);
}

proptest! {
    /// Any byte changed on the way is refused, or the codes differ.
    #[test]
    fn no_change_on_the_way_goes_unseen(which in 0..5, at in any::<prop::sample::Index>(), flip in 1_u8..) {
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
            && dialler.code() == listener.code()
        {
            let (dialler, elaines) = dialler.codes_are_the_same();
            let (listener, jerrys) = listener.codes_are_the_same();
            let dialler = dialler.receive(&change(3, jerrys.to_vec()));
            let listener = listener.receive(&change(4, elaines.to_vec()));
            prop_assert!(dialler.is_err() || listener.is_err());
        }
    }
}
