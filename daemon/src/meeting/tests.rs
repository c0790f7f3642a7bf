//! Desks wired to each other, and somebody between them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::VecDeque;

use pigeon_bundle::{
    Card, CardFields, Identity, MailboxSecret, NodeKey, PrekeyRing, SHOWN_CARD_MAX, SecretRandom,
};
use pigeon_core::{LinkId, Role};
use pigeon_proto::{EndReason, GoodbyeReason, Introduction};
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::desk::{Command, Desk, Output, Peer, SETTLED_MS, Word};
use super::error::MeetError;
use super::flood::{FRAMES_MAX, WINDOW_MS};
use super::stage::{Step, Steps};
use crate::random::OsRandom;

const LINK: LinkId = LinkId(1);
const NOW_S: u64 = 1_795_412_800;

fn card(name: &str) -> Card {
    let ring = PrekeyRing::generate(NOW_S, &mut OsRandom);
    let mut mailbox_secret = MailboxSecret([0; 32]);
    OsRandom.fill(&mut mailbox_secret.0);
    let fields = CardFields {
        name: name.to_owned(),
        jids: Vec::new(),
        bridges: Vec::new(),
        mailbox_secret,
        prekey: ring.current().unwrap().public(),
        prekey_expires_s: ring.current().unwrap().expires_s(),
        issued_s: NOW_S,
    };
    Card::issue(&Identity::generate(&mut OsRandom), &fields).unwrap()
}

fn node(number: u8) -> NodeKey {
    NodeKey([number; 32])
}

fn key(number: u8) -> String {
    node(number).to_string()
}

/// What a person has been told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Code(String),
    Confirmed,
    Met(Box<Card>),
    Failed(String),
}

struct Person {
    desk: Desk,
    card: Card,
    steps: Steps,
    told: mpsc::Receiver<Result<Step, MeetError>>,
    out: VecDeque<Output>,
    now_ms: u64,
}

impl Person {
    fn new(name: &str) -> Self {
        let (steps, told) = mpsc::channel(4);
        Self { desk: Desk::default(), card: card(name), steps, told, out: VecDeque::new(), now_ms: 0 }
    }

    fn linked(mut self, link: LinkId, to: u8, role: Role, binding: u8) -> Self {
        self.link(link, to, role, binding);
        self
    }

    fn link(&mut self, link: LinkId, to: u8, role: Role, binding: u8) {
        self.desk.link_up(self.now_ms, link, Peer { node: node(to), role, binding: [binding; 32] });
        self.now_ms += SETTLED_MS;
        self.say(Word::Look);
    }

    fn begin(&mut self, whom: &str) {
        let command = Command::Begin {
            whom: whom.to_owned(),
            card: self.card.clone().into(),
            person: self.steps.clone(),
        };
        let outputs = self.desk.command(self.now_ms, command);
        self.out.extend(outputs);
    }

    fn say(&mut self, word: Word) {
        let outputs = self.desk.command(self.now_ms, Command::Say { person: self.steps.clone(), word });
        self.out.extend(outputs);
    }

    fn hear(&mut self, link: LinkId, step: Introduction) {
        let outputs = self.desk.frame(self.now_ms, link, step);
        self.out.extend(outputs);
    }

    fn down(&mut self, link: LinkId) {
        let outputs = self.desk.link_down(self.now_ms, link);
        self.out.extend(outputs);
    }

    fn told(&mut self) -> Option<Told> {
        Some(match self.told.try_recv().ok()? {
            Ok(Step::Code(code)) => Told::Code(code),
            Ok(Step::Confirmed) => Told::Confirmed,
            Ok(Step::Met(card)) => Told::Met(card),
            Err(error) => Told::Failed(error.to_string()),
        })
    }

    fn code(&mut self) -> String {
        match self.told() {
            Some(Told::Code(code)) => code,
            other => panic!("no code but {other:?}"),
        }
    }

    fn failed(&mut self) -> String {
        match self.told() {
            Some(Told::Failed(why)) => why,
            other => panic!("no failure but {other:?}"),
        }
    }

    fn next(&mut self) -> Option<(LinkId, Introduction)> {
        match self.out.pop_front()? {
            Output::Send(link, step) => Some((link, step)),
            Output::Close { rule, .. } => panic!("closed: {rule}"),
        }
    }
}

/// Elaine (1) has dialled jerry (2).
struct Pair {
    elaine: Person,
    jerry: Person,
}

impl Pair {
    fn new() -> Self {
        let elaine = Person::new("elaine").linked(LINK, 2, Role::Dialler, 9);
        Self { elaine, jerry: Person::new("jerry").linked(LINK, 1, Role::Listener, 9) }
    }

    /// Carries frames until nobody says anything more.
    fn settle(&mut self) {
        loop {
            if let Some((link, step)) = self.elaine.next() {
                self.jerry.hear(link, step);
            } else if let Some((link, step)) = self.jerry.next() {
                self.elaine.hear(link, step);
            } else {
                return;
            }
        }
    }

    fn compare(mut self) -> Self {
        self.elaine.begin("");
        self.jerry.begin("");
        self.settle();
        assert_eq!(self.elaine.code(), self.jerry.code());
        self
    }

    fn meets_after_all(mut self) {
        self = self.compare();
        self.elaine.say(Word::Same);
        self.jerry.say(Word::Same);
        self.settle();
        assert_eq!(self.elaine.told(), Some(Told::Confirmed));
        assert_eq!(self.elaine.told(), Some(Told::Met(self.jerry.card.clone().into())));
    }
}

#[test]
fn two_people_who_agree_have_each_other_s_card_whoever_is_first() {
    for (elaine_begins, elaine_confirms) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut pair = Pair::new();
        let (first, second) = if elaine_begins {
            (&mut pair.elaine, &mut pair.jerry)
        } else {
            (&mut pair.jerry, &mut pair.elaine)
        };
        first.begin("");
        assert_eq!(first.told(), None);
        second.begin("");
        pair.settle();
        assert_eq!(pair.elaine.code(), pair.jerry.code());
        let confirm = |pair: &mut Pair, elaine: bool| {
            let person = if elaine { &mut pair.elaine } else { &mut pair.jerry };
            person.say(Word::Same);
            pair.settle();
        };
        confirm(&mut pair, elaine_confirms);
        let (early, late) = if elaine_confirms {
            (&mut pair.elaine, &mut pair.jerry)
        } else {
            (&mut pair.jerry, &mut pair.elaine)
        };
        assert_eq!((early.told(), late.told()), (Some(Told::Confirmed), None), "before both have confirmed");
        confirm(&mut pair, !elaine_confirms);
        let (elaine, jerry) = (pair.elaine.card.clone(), pair.jerry.card.clone());
        assert_eq!(pair.elaine.told(), Some(Told::Met(jerry.into())));
        assert_eq!(pair.jerry.told(), Some(Told::Met(elaine.into())));
        pair.meets_after_all();
    }
}

#[test]
fn the_dialler_s_wish_waits_for_the_listener_s_person() {
    let mut pair = Pair::new();
    pair.elaine.begin("");
    pair.settle();
    pair.jerry.begin(&key(1)[..8]);
    pair.settle();
    assert_eq!(pair.elaine.code(), pair.jerry.code());
}

#[test]
fn who_says_that_the_codes_differ_ends_it_for_both_and_nobody_has_a_card() {
    for jerry_has_confirmed in [false, true] {
        let mut pair = Pair::new().compare();
        if jerry_has_confirmed {
            pair.jerry.say(Word::Same);
            pair.settle();
            assert_eq!(pair.jerry.told(), Some(Told::Confirmed));
        }
        pair.elaine.say(Word::Differ);
        pair.settle();
        assert_eq!(pair.elaine.failed(), MeetError::Differ.to_string());
        assert_eq!(pair.jerry.failed(), MeetError::OtherDiffers.to_string());
        pair.meets_after_all();
    }
}

#[test]
fn no_card_is_sent_before_its_person_has_confirmed() {
    let mut pair = Pair::new();
    pair.elaine.begin("");
    pair.jerry.begin("");
    let mut said = Vec::new();
    loop {
        if let Some((link, step)) = pair.elaine.next() {
            said.push(step.clone());
            pair.jerry.hear(link, step);
        } else if let Some((link, step)) = pair.jerry.next() {
            said.push(step.clone());
            pair.elaine.hear(link, step);
        } else {
            break;
        }
    }
    use Introduction::{Commitment, Reveal};
    assert!(matches!(said[..], [Commitment(_), Reveal(_), Reveal(_)]), "{said:?}");
    // A card that comes early does not make ours go, and is not taken.
    pair.elaine.say(Word::Same);
    let (link, jerrys_turn) = pair.elaine.next().unwrap();
    pair.jerry.hear(link, jerrys_turn);
    assert_eq!((pair.jerry.next(), pair.jerry.code().len(), pair.jerry.told()), (None, 6, None));
}

/// Newman keeps a link to each and passes on what they say, as it is or as his own.
#[test]
fn somebody_in_the_middle_makes_the_codes_differ() {
    let mut relayed = Pair::new();
    relayed.elaine = Person::new("elaine").linked(LINK, 3, Role::Dialler, 7);
    relayed.jerry = Person::new("jerry").linked(LINK, 3, Role::Listener, 8);
    relayed.elaine.begin("");
    relayed.jerry.begin("");
    relayed.settle();
    assert_ne!(relayed.elaine.code(), relayed.jerry.code(), "relayed as it was");

    let mut elaine = Person::new("elaine").linked(LINK, 3, Role::Dialler, 7);
    let mut jerry = Person::new("jerry").linked(LINK, 3, Role::Listener, 8);
    let mut to_elaine = Person::new("newman").linked(LINK, 1, Role::Listener, 7);
    let mut to_jerry = Person::new("newman").linked(LINK, 2, Role::Dialler, 8);
    for person in [&mut elaine, &mut jerry, &mut to_elaine, &mut to_jerry] {
        person.begin("");
    }
    let mut left = Pair { elaine, jerry: to_elaine };
    let mut right = Pair { elaine: to_jerry, jerry };
    left.settle();
    right.settle();
    assert_ne!(left.elaine.code(), right.jerry.code(), "with cards of his own");
}

#[test]
fn what_does_not_come_in_time_is_named_and_the_other_side_told() {
    let timed_out = |person: &mut Person| {
        person.say(Word::TimedOut);
        person.failed()
    };
    let mut alone = Person::new("elaine");
    alone.begin("");
    assert_eq!(timed_out(&mut alone), MeetError::Nobody.to_string());

    let mut pair = Pair::new();
    pair.jerry.begin("");
    assert_eq!(timed_out(&mut pair.jerry), MeetError::NoAnswer.to_string());
    assert_eq!(pair.jerry.next(), None, "a listener who has said nothing takes nothing back");
    pair.elaine.begin("");
    pair.settle();
    assert_eq!(timed_out(&mut pair.elaine), MeetError::NoAnswer.to_string());
    pair.settle();
    // What was taken back is not answered.
    pair.jerry.begin("");
    assert_eq!(pair.jerry.next(), None);
    pair.jerry.say(Word::Leave);
    assert_eq!(pair.jerry.failed(), MeetError::Left.to_string());

    let mut pair = pair.compare();
    assert_eq!(timed_out(&mut pair.elaine), MeetError::NotCompared.to_string());
    pair.settle();
    assert_eq!(pair.jerry.failed(), MeetError::OtherLeft.to_string());

    let mut pair = pair.compare();
    pair.elaine.say(Word::Same);
    assert_eq!(pair.elaine.told(), Some(Told::Confirmed));
    assert_eq!(timed_out(&mut pair.elaine), MeetError::NotConfirmed.to_string());
    pair.settle();
    assert_eq!(pair.jerry.failed(), MeetError::OtherLeft.to_string());
    pair.meets_after_all();
}

#[test]
fn a_link_that_ends_is_followed_by_another_only_before_anything_was_revealed() {
    let mut pair = Pair::new();
    pair.elaine.begin("");
    pair.settle();
    pair.elaine.down(LINK);
    pair.jerry.down(LINK);
    assert_eq!(pair.elaine.told(), None);
    let next = LinkId(2);
    pair.elaine.link(next, 2, Role::Listener, 5);
    pair.jerry.link(next, 1, Role::Dialler, 5);
    pair.jerry.begin("");
    pair.settle();
    assert_eq!(pair.elaine.code(), pair.jerry.code());
    pair.jerry.say(Word::Same);
    pair.elaine.down(next);
    pair.jerry.down(next);
    assert_eq!(pair.elaine.failed(), MeetError::Gone.to_string());
    assert_eq!(pair.jerry.told(), Some(Told::Confirmed));
    assert_eq!(pair.jerry.failed(), MeetError::Gone.to_string());
}

/// Two nodes that have just found each other may both have dialled.
#[test]
fn a_link_is_used_when_it_has_settled() {
    let mut elaine = Person::new("elaine");
    elaine.begin("");
    elaine.desk.link_up(0, LINK, Peer { node: node(2), role: Role::Dialler, binding: [9; 32] });
    elaine.now_ms = SETTLED_MS - 1;
    elaine.say(Word::Look);
    assert_eq!(elaine.next(), None);
    elaine.now_ms = SETTLED_MS;
    elaine.say(Word::Look);
    assert!(matches!(elaine.next(), Some((LINK, Introduction::Commitment(_)))));
}

#[test]
fn two_that_come_in_reach_are_a_choice_too() {
    let mut elaine = Person::new("elaine");
    elaine.begin("");
    for number in [2, 3] {
        let peer = Peer { node: node(number), role: Role::Dialler, binding: [9; 32] };
        elaine.desk.link_up(0, LinkId(number.into()), peer);
    }
    elaine.say(Word::Look);
    assert!(elaine.failed().starts_with("2 nodes"));
}

#[test]
fn another_node_that_comes_in_reach_is_not_the_one_that_was_chosen() {
    let mut pair = Pair::new();
    pair.elaine.begin("");
    pair.settle();
    pair.elaine.down(LINK);
    pair.elaine.link(LinkId(5), 6, Role::Dialler, 5);
    assert_eq!(pair.elaine.next(), None);
}

#[test]
fn of_several_in_reach_one_must_be_named() {
    let mut elaine = Person::new("elaine").linked(LINK, 0x22, Role::Dialler, 9);
    elaine.link(LinkId(2), 0x23, Role::Dialler, 9);
    // A second link to one node is no second node.
    elaine.link(LinkId(3), 0x23, Role::Dialler, 9);
    elaine.begin("");
    let why = elaine.failed();
    assert!(
        why.contains(&key(0x22)[..16]) && why.contains(&key(0x23)[..16]) && why.starts_with("2 "),
        "{why}"
    );
    for bad in ["222", "elaine", &"2".repeat(65)] {
        elaine.begin(bad);
        assert!(elaine.failed().contains("no node key"), "{bad}");
    }
    elaine.begin(&key(0x23)[..4].to_uppercase());
    assert_eq!(elaine.next(), None, "of two links to one node, one is about to go");
    elaine.down(LinkId(2));
    elaine.say(Word::Look);
    assert!(matches!(elaine.next(), Some((LinkId(3), Introduction::Commitment(_)))));
    assert_eq!(elaine.next(), None);
}

#[test]
fn a_node_that_is_named_may_come_later() {
    let mut elaine = Person::new("elaine").linked(LINK, 0x22, Role::Dialler, 9);
    elaine.begin(&key(0x23)[..6]);
    assert_eq!(elaine.next(), None);
    elaine.link(LinkId(2), 0x23, Role::Dialler, 9);
    assert!(matches!(elaine.next(), Some((LinkId(2), Introduction::Commitment(_)))));
}

#[test]
fn one_meeting_at_a_time() {
    let mut pair = Pair::new().compare();
    let (steps, mut told) = mpsc::channel(4);
    let card = pair.elaine.card.clone().into();
    let out =
        pair.elaine.desk.command(0, Command::Begin { whom: String::new(), card, person: steps.clone() });
    assert_eq!(out, []);
    assert!(matches!(told.try_recv(), Ok(Err(MeetError::Busy))));
    // A word of the one that was refused is none on the one that goes on.
    let out = pair.elaine.desk.command(0, Command::Say { person: steps, word: Word::Leave });
    assert_eq!((out, pair.elaine.told()), (vec![], None));
    // A third person's frames, on a link of theirs, are nothing to it either.
    pair.elaine.link(LinkId(7), 7, Role::Listener, 1);
    for step in [
        Introduction::Commitment([1; 32]),
        Introduction::Reveal([2; 64]),
        Introduction::Card(vec![3; 99].into()),
        Introduction::End(EndReason::CodesDiffer),
    ] {
        pair.elaine.hear(LinkId(7), step);
    }
    assert_eq!((pair.elaine.next(), pair.elaine.told()), (None, None));
    pair.elaine.say(Word::Same);
    pair.jerry.say(Word::Same);
    pair.settle();
    assert_eq!(pair.elaine.told(), Some(Told::Confirmed));
    assert_eq!(pair.elaine.told(), Some(Told::Met(pair.jerry.card.clone().into())));
}

#[test]
fn what_comes_out_of_turn_or_is_not_what_was_bound_ends_it() {
    let bad = [
        Introduction::Reveal([2; 64]),
        Introduction::Card(vec![3; 99].into()),
        Introduction::Card(vec![3; SHOWN_CARD_MAX].into()),
    ];
    for step in bad {
        let mut pair = Pair::new().compare();
        pair.elaine.say(Word::Same);
        assert_eq!(pair.elaine.told(), Some(Told::Confirmed));
        pair.elaine.hear(LINK, step);
        pair.elaine.failed();
        let said: Vec<_> = std::iter::from_fn(|| pair.elaine.next()).collect();
        assert!(matches!(said[..], [_, (LINK, Introduction::End(EndReason::RulesBroken))]), "{said:?}");
        pair.jerry.hear(LINK, Introduction::End(EndReason::RulesBroken));
        assert_eq!(pair.jerry.failed(), MeetError::OtherComplains.to_string());
    }
    // A false card that has come before this person confirms keeps this person's card here.
    let mut pair = Pair::new().compare();
    pair.elaine.hear(LINK, Introduction::Card(vec![3; 99].into()));
    pair.elaine.say(Word::Same);
    assert!(matches!(pair.elaine.next(), Some((LINK, Introduction::End(EndReason::RulesBroken)))));
    assert!(pair.elaine.failed().contains("somebody may be in between"));
}

#[test]
fn floods_and_a_listener_s_commitment_close_the_link() {
    let mut jerry = Person::new("jerry").linked(LINK, 1, Role::Listener, 9);
    let step = || Introduction::Reveal([2; 64]);
    for minute in 0..3 {
        for number in 0..FRAMES_MAX {
            assert_eq!(jerry.desk.frame(minute * WINDOW_MS, LINK, step()), [], "{minute} {number}");
        }
    }
    let closed = |outputs: Vec<Output>| match outputs[..] {
        [Output::Close { link: LINK, reason, .. }] => Some(reason),
        _ => None,
    };
    assert_eq!(closed(jerry.desk.frame(2 * WINDOW_MS, LINK, step())), Some(GoodbyeReason::Limit));
    let mut elaine = Person::new("elaine").linked(LINK, 2, Role::Dialler, 9);
    let commitment = Introduction::Commitment([1; 32]);
    assert_eq!(closed(elaine.desk.frame(0, LINK, commitment)), Some(GoodbyeReason::ProtocolError));
    assert_eq!(jerry.desk.frame(0, LinkId(99), step()), [], "no such link");
}

fn any_step() -> impl Strategy<Value = Introduction> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(Introduction::Commitment),
        any::<[u8; 32]>().prop_map(|half| Introduction::Reveal([half, half].concat().try_into().unwrap())),
        prop::collection::vec(any::<u8>(), 1..100).prop_map(|card| Introduction::Card(card.into())),
        prop::sample::select(&EndReason::ALL[..]).prop_map(Introduction::End),
    ]
}

#[derive(Debug, Clone)]
enum Happening {
    Begin,
    Say(Word),
    Hear(Introduction),
    Down,
    Up,
}

fn any_happening() -> impl Strategy<Value = Happening> {
    let words = [Word::Same, Word::Differ, Word::Leave, Word::TimedOut];
    prop_oneof![
        3 => Just(Happening::Begin),
        4 => prop::sample::select(words.to_vec()).prop_map(Happening::Say),
        12 => any_step().prop_map(Happening::Hear),
        1 => Just(Happening::Down),
        1 => Just(Happening::Up),
    ]
}

proptest! {
    /// Whatever a neighbour says that knows no card, whenever: none is taken, ours goes only after our person's word,
    /// and each meeting shows one code at most and ends with one error.
    #[test]
    fn nonsense_brings_no_card_and_gets_none(
        dials in any::<bool>(),
        happenings in prop::collection::vec(any_happening(), 1..40),
    ) {
        let role = if dials { Role::Dialler } else { Role::Listener };
        let mut elaine = Person::new("elaine").linked(LINK, 2, role, 9);
        let (mut agreed, mut codes) = (false, 0);
        for happening in happenings {
            match happening {
                Happening::Begin => elaine.begin(""),
                Happening::Say(word) => {
                    agreed |= word == Word::Same && codes > 0;
                    elaine.say(word);
                }
                Happening::Hear(step) => elaine.hear(LINK, step),
                Happening::Down => elaine.down(LINK),
                Happening::Up => elaine.link(LINK, 2, role, 9),
            }
            for output in elaine.out.drain(..) {
                let sent_card = matches!(output, Output::Send(_, Introduction::Card(_)));
                prop_assert!(agreed || !sent_card);
            }
            while let Some(told) = elaine.told() {
                match told {
                    Told::Met(_) => prop_assert!(false, "a card out of nothing"),
                    Told::Code(_) => codes += 1,
                    Told::Confirmed => {}
                    // The next meeting begins with no code and no word; that somebody was busy ends none.
                    Told::Failed(why) if why == MeetError::Busy.to_string() => {}
                    Told::Failed(_) => (agreed, codes) = (false, 0),
                }
                prop_assert!(codes <= 1);
            }
        }
    }
}
