//! Two people who meet in person, and what somebody between them may send.

use pigeon_bundle::{
    Agreed, Answered, COMMITMENT_SIZE, Card, CardFields, Committed, Compared, MailboxSecret, REVEAL_SIZE,
    SHOWN_CARD_MAX,
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
        0 => to_dialler(&mut input),
        1 => to_listener(&mut input),
        2 => by_the_rules(&mut input),
        _ => between(&mut input),
    }
}

/// Written a second time from docs/wire-format.md.
fn code(binding: &[u8], first: &[u8], second: &[u8]) -> String {
    let hash = hash("introduction-code", &[&(binding.len() as u32).to_be_bytes(), binding, first, second]);
    format!("{:06}", u64::from_be_bytes(hash[..8].try_into().unwrap()) % 1_000_000)
}

/// Jerry's person says that the codes are the same: then exactly the card that `reveal` is bound to is taken.
fn shown(compared: Compared, own: &[u8], reveal: &[u8], message: &[u8]) -> Option<Card> {
    let jerry = &WORLD.jerry.card;
    let (agreed, sent) = compared.codes_are_the_same();
    assert_eq!(
        (&sent[32..], hash("introduction-card", &[&sent])),
        (jerry.as_bytes(), own[32..].try_into().unwrap())
    );
    let card = agreed.receive(message).ok()?;
    assert!(message.len() <= SHOWN_CARD_MAX);
    assert_eq!(hash("introduction-card", &[message]), reveal[32..], "it was not bound to that");
    assert_eq!(card, Card::parse(&message[32..]).unwrap());
    assert_ne!(card.identity(), jerry.identity());
    Some(card)
}

/// Jerry dials: a reveal with its length before it, then a card.
fn to_dialler(input: &mut Input<'_>) {
    let jerry = &WORLD.jerry.card;
    let (committed, commitment) = Committed::start(jerry, b"link", &mut FixedRandom::new("dialler"));
    let reveal = input.piece();
    let Ok((compared, own)) = committed.receive(reveal) else { return };
    assert_eq!(reveal.len(), REVEAL_SIZE);
    assert_eq!(hash("introduction-commit", &[&own]), commitment);
    assert!(reveal[..32] != own[..32] && reveal[32..] != own[32..]);
    assert_eq!(compared.code(), code(b"link", &own, reveal));
    shown(compared, &own, reveal, input.0);
}

/// Jerry is dialled: a commitment and a reveal, each with its length before it, then a card.
fn to_listener(input: &mut Input<'_>) {
    let jerry = &WORLD.jerry.card;
    let commitment = input.piece();
    let answered = Answered::answer(jerry, b"link", commitment, &mut FixedRandom::new("listener"));
    assert_eq!(answered.is_ok(), commitment.len() == COMMITMENT_SIZE);
    let Ok((answered, own)) = answered else { return };
    let reveal = input.piece();
    let Ok(compared) = answered.receive(reveal) else { return };
    assert_eq!(hash("introduction-commit", &[reveal]), commitment);
    assert_eq!(compared.code(), code(b"link", reveal, &own));
    shown(compared, &own, reveal, input.0);
}

/// Somebody with keys of hers and a card of any content, who is bound and reveals: her card is taken.
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
    let message = [&nonce[..], card.as_bytes(), input.take(16)].concat();
    let reveal = [nonce, hash("introduction-card", &[&message])].concat();
    let (jerry, rng) = (&WORLD.jerry.card, &mut FixedRandom::new("jerry"));
    let (compared, own) = if dials {
        let bound = hash("introduction-commit", &[&reveal]);
        let (answered, own) = Answered::answer(jerry, binding, &bound, rng).unwrap();
        (answered.receive(&reveal).unwrap(), own)
    } else {
        Committed::start(jerry, binding, rng).0.receive(&reveal).unwrap()
    };
    let (first, second) = if dials { (&reveal[..], &own[..]) } else { (&own[..], &reveal[..]) };
    assert_eq!(compared.code(), code(binding, first, second));
    let beside = message.len() - 32 - card.as_bytes().len();
    match shown(compared, &own, &reveal, &message) {
        Some(taken) => assert!(beside > 0 || taken == card),
        None => assert!(beside > 0, "an honest card was refused"),
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
        assert_ne!(second, sent_second, "an honest reveal was refused");
        return;
    };
    assert_eq!(dialler.code(), code(b"link", &sent_first, &second));
    let first = changed(&sent_first, input);
    let Ok(listener) = answered.receive(&first) else {
        assert!(commitment != sent_commitment || first != sent_first, "an honest reveal was refused");
        return;
    };
    assert_eq!(
        (&commitment[..], &first[..]),
        (&sent_commitment[..], &sent_first[..]),
        "she was not bound to that"
    );
    assert_eq!(listener.code(), code(b"link", &first, &sent_second));
    let ((dialler, elaines), (listener, jerrys)) =
        (dialler.codes_are_the_same(), listener.codes_are_the_same());
    taken_as_sent(listener, &elaines, &changed(&elaines, input), elaine);
    if second == sent_second {
        taken_as_sent(dialler, &jerrys, &changed(&jerrys, input), jerry);
    }
}

fn taken_as_sent(agreed: Agreed, sent: &[u8], arrived: &[u8], card: &Card) {
    match agreed.receive(arrived) {
        Ok(taken) => assert_eq!((arrived, &taken), (sent, card), "a changed card was taken"),
        Err(_) => assert_ne!(arrived, sent, "an honest card was refused"),
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
