//! Tokens and requests of delegated pick-up.

use std::sync::LazyLock;

use pigeon_bundle::{
    NodeSecret, PICKUP_REQUEST_MAX, PICKUP_TAGS_MAX, PICKUP_TOKEN_MAX, PickupRequest, PickupTerms, STEPS,
    Tag, open_pickup, seal_pickup,
};

use super::WORLD;
use super::input::Input;
use crate::common::letter::hpke_seal;
use crate::common::{FixedRandom, NOW_S};

const DOMAIN: &str = "bridge.example";
const JID: &str = "kramer@subway.example";

static CARRIER: LazyLock<NodeSecret> =
    LazyLock::new(|| NodeSecret::generate(&mut FixedRandom::new("kramer's node")));

/// Nobody but its owner makes a token and nobody but its carrier a request, and neither stands a change.
///
/// The first byte: 0: the rest is a request; 1: the rest is the inside of a token for this bridge; else: the rest are
/// the terms of a token of Elaine's, and what is changed of it on the way.
pub fn pickup(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 3 {
        0 => request(input.0),
        1 => inside(input.0),
        _ => honest(&mut input),
    }
}

fn request(bytes: &[u8]) {
    let bridge = &WORLD.bridge.identity;
    let Ok(request) = PickupRequest::parse(bytes) else { return };
    assert!(bytes.len() <= PICKUP_REQUEST_MAX);
    let again = request.to_bytes();
    assert_eq!(PickupRequest::parse(&again).unwrap(), request);
    if request.verify(DOMAIN, &bridge.key(), JID, &CARRIER.key()).is_ok() {
        assert_eq!(request, known(), "somebody else signed a request");
    }
    if let Ok(opened) = open_pickup(&request.token, bridge, DOMAIN)
        && opened.verify(DOMAIN, &bridge.key(), &WORLD.elaine.identity.key()).is_ok()
    {
        assert_eq!(opened.terms, terms(), "somebody else signed a token");
    }
}

fn inside(plaintext: &[u8]) {
    let bridge = &WORLD.bridge;
    let Some(step) = STEPS.into_iter().find(|&step| step >= plaintext.len() + 4) else { return };
    let mut padded = (plaintext.len() as u32).to_be_bytes().to_vec();
    padded.extend_from_slice(plaintext);
    padded.resize(step, 0);
    let token = hpke_seal(bridge.card.x25519(), "pickup", DOMAIN.as_bytes(), &padded);
    let Ok(opened) = open_pickup(&token, &bridge.identity, DOMAIN) else { return };
    assert!(token.len() <= PICKUP_TOKEN_MAX);
    assert!((1..=PICKUP_TAGS_MAX).contains(&opened.terms.tags.len()));
    assert!((1..=150).contains(&opened.terms.recipient.len()));
    let sealed =
        seal_pickup(&WORLD.jerry.identity, &opened.terms, &bridge.card, &mut FixedRandom::new("again"));
    let again = open_pickup(&sealed.unwrap(), &bridge.identity, DOMAIN).unwrap();
    assert_eq!(again.terms, opened.terms);
    let key = bridge.identity.key();
    assert!(again.verify(DOMAIN, &key, &WORLD.jerry.identity.key()).is_ok());
    if opened.verify(DOMAIN, &key, &WORLD.elaine.identity.key()).is_ok() {
        assert_eq!(opened.terms, terms(), "somebody else signed a token");
    }
}

fn honest(input: &mut Input<'_>) {
    let (bridge, elaine) = (&WORLD.bridge, &WORLD.elaine.identity);
    let key = bridge.identity.key();
    let mut nonce = [0; 16];
    let taken = input.take(16);
    nonce[..taken.len()].copy_from_slice(taken);
    let tags = input.below(PICKUP_TAGS_MAX + 2);
    let terms = PickupTerms {
        recipient: String::from_utf8_lossy(input.piece()).into_owned(),
        tags: vec![Tag(nonce); tags],
        carrier: CARRIER.key(),
        nonce,
        expires_s: input.any_number(),
        byte_limit: input.any_number(),
    };
    let Ok(token) = seal_pickup(elaine, &terms, &bridge.card, &mut FixedRandom::new("token")) else { return };
    assert!(token.len() <= PICKUP_TOKEN_MAX);
    let opened = open_pickup(&token, &bridge.identity, DOMAIN).unwrap();
    assert_eq!(opened.terms, terms);
    assert!(opened.verify(DOMAIN, &key, &elaine.key()).is_ok());
    assert!(opened.verify("other.example", &key, &elaine.key()).is_err());
    let request = PickupRequest::sign(&CARRIER, token.clone(), DOMAIN, &key, JID).unwrap();
    assert!(request.verify(DOMAIN, &key, JID, &CARRIER.key()).is_ok());
    assert!(request.verify(DOMAIN, &key, "newman@subway.example", &CARRIER.key()).is_err());
    let mut changed = token;
    let at = input.below(changed.len());
    changed[at] ^= 1 << (input.byte() % 8);
    assert!(open_pickup(&changed, &bridge.identity, DOMAIN).is_err(), "a token was changed");
    let bytes = request.to_bytes();
    for changed in super::cards::changes(&bytes, input.0) {
        let read = PickupRequest::parse(&changed);
        let passes = read.is_ok_and(|read| read.verify(DOMAIN, &key, JID, &CARRIER.key()).is_ok());
        assert!(!passes, "a request was changed");
    }
}

/// The one token of Elaine's that is among the seeds.
fn terms() -> PickupTerms {
    PickupTerms {
        recipient: "elaine@subway.example".to_owned(),
        tags: vec![Tag([1; 16]), Tag([2; 16])],
        carrier: CARRIER.key(),
        nonce: [3; 16],
        expires_s: NOW_S + 3_600,
        byte_limit: 1 << 20,
    }
}

/// The one request that is among the seeds.
fn known() -> PickupRequest {
    let (bridge, elaine) = (&WORLD.bridge, &WORLD.elaine.identity);
    let token = seal_pickup(elaine, &terms(), &bridge.card, &mut FixedRandom::new("token")).unwrap();
    PickupRequest::sign(&CARRIER, token, DOMAIN, &bridge.identity.key(), JID).unwrap()
}
