//! Two people who meet in person, and what somebody between them may send.

use pigeon_bundle::{
    Answered, COMMITMENT_SIZE, Card, CardFields, Committed, INTRODUCTION_MAX, Introduced, MailboxSecret,
};

use super::WORLD;
use super::input::Input;
use crate::common::FixedRandom;
use crate::common::wire::hash;

/// A card is taken from nobody but who was bound to it, and the code is that of the messages that each side has seen.
///
/// The first byte: 0: the rest is sent to a dialler; 1: the rest is sent to a listener; 2: the rest makes a card and
/// nonces of somebody who keeps to the rules; else the rest are changes to what two honest people send.
pub fn introduction(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 4 {
        0 => to_dialler(input.0),
        1 => to_listener(&mut input),
        2 => by_the_rules(&mut input),
        _ => between(&mut input),
    }
}

/// One side's nonce and card as the other sees them.
struct View {
    nonce: [u8; 32],
    card: Card,
}

impl View {
    fn of(reveal: &[u8]) -> Self {
        let (nonce, card) = reveal.split_first_chunk().unwrap();
        Self { nonce: *nonce, card: Card::parse(card).unwrap() }
    }
}

/// Written a second time from docs/wire-format.md.
fn code(binding: &[u8], first: &View, second: &View) -> String {
    let lp = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let text = [
        &lp(binding),
        &first.nonce[..],
        &second.nonce,
        &lp(first.card.as_bytes()),
        &lp(second.card.as_bytes()),
    ];
    let hash = hash("introduction-code", &text);
    format!("{:06}", u64::from_be_bytes(hash[..8].try_into().unwrap()) % 1_000_000)
}

fn check(met: Introduced, binding: &[u8], first: &View, second: &View, peer: &View) {
    assert_eq!(met.code(), code(binding, first, second));
    assert_eq!(met.name(), peer.card.name());
    assert_eq!(met.codes_are_the_same(), peer.card);
}

/// Jerry dials.
fn to_dialler(reveal: &[u8]) {
    let jerry = &WORLD.jerry.card;
    let (committed, commitment) = Committed::start(jerry, b"link", &mut FixedRandom::new("dialler"));
    let Ok((met, answer)) = committed.receive(reveal) else { return };
    assert!(reveal.len() <= INTRODUCTION_MAX);
    let (own, peer) = (View::of(&answer), View::of(reveal));
    assert_eq!(hash("introduction-commit", &[&answer]), commitment);
    assert_eq!(own.card, *jerry);
    assert!(peer.card.identity() != jerry.identity() && peer.nonce != own.nonce);
    check(met, b"link", &own, &peer, &peer);
}

/// Jerry is dialled: a commitment with its length before it, then what is revealed.
fn to_listener(input: &mut Input<'_>) {
    let jerry = &WORLD.jerry.card;
    let commitment = input.piece();
    let answered = Answered::answer(jerry, b"link", commitment, &mut FixedRandom::new("listener"));
    assert_eq!(answered.is_ok(), commitment.len() == COMMITMENT_SIZE);
    let Ok((answered, own)) = answered else { return };
    let Ok(met) = answered.receive(input.0) else { return };
    assert_eq!(hash("introduction-commit", &[input.0]), commitment);
    let (own, peer) = (View::of(&own), View::of(input.0));
    check(met, b"link", &peer, &own, &peer);
}

/// Somebody with keys of hers and a card of any content, who is bound and reveals: she is introduced.
fn by_the_rules(input: &mut Input<'_>) {
    let elaine = &WORLD.elaine;
    let dials = input.byte() & 1 == 0;
    let binding = input.piece();
    let mut nonce = [0; 32];
    let taken = input.take(32);
    nonce[..taken.len()].copy_from_slice(taken);
    let fields = CardFields {
        name: String::from_utf8_lossy(input.piece()).into_owned(),
        jids: Vec::new(),
        bridges: vec![String::from_utf8_lossy(input.piece()).into_owned()],
        mailbox_secret: MailboxSecret(nonce),
        prekey: elaine.ring.current().unwrap().public(),
        prekey_expires_s: input.any_number(),
        issued_s: input.any_number(),
    };
    let Ok(card) = Card::issue(&elaine.identity, &fields) else { return };
    // What stands beside the signed card is signed by nobody, and may stand there.
    let reveal = [&nonce[..], card.as_bytes(), input.take(16)].concat();
    let jerry = &WORLD.jerry.card;
    let rng = &mut FixedRandom::new("jerry");
    let met = if dials {
        let bound = hash("introduction-commit", &[&reveal]);
        let (answered, own) = Answered::answer(jerry, binding, &bound, rng).unwrap();
        answered.receive(&reveal).map(|met| (met, own))
    } else {
        let (committed, _) = Committed::start(jerry, binding, rng);
        committed.receive(&reveal)
    };
    let beside = reveal.len() - 32 - card.as_bytes().len();
    let Ok((met, own)) = met else {
        assert!(beside > 0, "an honest card was refused");
        return;
    };
    if beside == 0 {
        let (own, peer) = (View::of(&own), View::of(&reveal));
        let (first, second) = if dials { (&peer, &own) } else { (&own, &peer) };
        check(met, binding, first, second, &peer);
    }
}

/// Elaine dials Jerry, and somebody changes what they send.
fn between(input: &mut Input<'_>) {
    let (elaine, jerry) = (&WORLD.elaine.card, &WORLD.jerry.card);
    let (committed, sent_commitment) = Committed::start(elaine, b"link", &mut FixedRandom::new("elaine"));
    let commitment = changed(&sent_commitment, input);
    let Ok((answered, sent_second)) =
        Answered::answer(jerry, b"link", &commitment, &mut FixedRandom::new("jerry"))
    else {
        assert_ne!(commitment.len(), COMMITMENT_SIZE);
        return;
    };
    let second = changed(&sent_second, input);
    let Ok((dialler, sent_first)) = committed.receive(&second) else {
        assert_ne!(second, *sent_second, "an honest reveal was refused");
        return;
    };
    check(dialler, b"link", &View::of(&sent_first), &View::of(&second), &View::of(&second));
    let first = changed(&sent_first, input);
    match answered.receive(&first) {
        Ok(listener) => {
            assert_eq!(
                (&commitment[..], &first),
                (&sent_commitment[..], &*sent_first),
                "she was not bound to that"
            );
            check(listener, b"link", &View::of(&first), &View::of(&sent_second), &View::of(&first));
        }
        Err(_) => {
            assert!(commitment != sent_commitment || first != *sent_first, "an honest reveal was refused");
        }
    }
}

/// Some bits changed, then cut, then something behind.
fn changed(message: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    let mut out = message.to_vec();
    for _ in 0..input.byte() % 4 {
        let at = input.below(out.len());
        out[at] ^= 1 << (input.byte() % 8);
    }
    if input.byte() % 4 == 3 {
        let keep = input.below(out.len());
        out.truncate(keep);
    }
    if input.byte() % 4 == 3 {
        out.extend_from_slice(input.piece());
    }
    out
}
