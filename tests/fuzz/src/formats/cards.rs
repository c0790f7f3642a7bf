//! What is signed and public: cards, bridge cards, verdicts.

use pigeon_bundle::{
    Acceptances, BridgeCard, BridgeCardFields, BundleId, Card, CardFields, MessageDigest, Verdict,
    VerdictCode,
};

use super::WORLD;
use super::input::Input;
use crate::common::letter::{context, field, sign};

/// A card that is accepted is read as it is written, can be issued again, and stands no change.
///
/// The first byte: 0: the rest as it stands; 1: the rest is a text; else the rest is inside a card with a signature
/// that is right.
pub fn card(data: &[u8]) {
    let mut input = Input(data);
    let read = match input.byte() % 3 {
        0 => Card::parse(input.0),
        1 => Card::from_text(&String::from_utf8_lossy(input.0)),
        _ => {
            let identity = &WORLD.elaine.identity;
            // Of a field that comes twice the last counts.
            let inside = [input.0, &field(1, identity.key().as_bytes())].concat();
            Card::parse(&[field(1, &inside), field(2, &sign(identity, "card", &[&inside]))].concat())
        }
    };
    let Ok(card) = read else { return };
    assert!((1..=64).contains(&card.name().len()));
    assert!(card.jids().len() <= 4 && card.bridges().len() <= 4);
    assert_eq!(Card::parse(card.as_bytes()).unwrap(), card);
    assert_eq!(Card::from_text(&card.to_text()).unwrap(), card);
    for changed in changes(card.as_bytes(), data) {
        assert!(Card::parse(&changed).is_err(), "a card was changed");
    }
    let fields = CardFields {
        name: card.name().to_owned(),
        jids: card.jids().to_vec(),
        bridges: card.bridges().to_vec(),
        mailbox_secret: card.mailbox_secret().clone(),
        prekey: *card.prekey(),
        prekey_expires_s: card.prekey_expires_s(),
        issued_s: card.issued_s(),
    };
    let issued = Card::issue(&WORLD.jerry.identity, &fields).unwrap();
    assert_eq!((issued.name(), issued.jids(), issued.bridges()), (card.name(), card.jids(), card.bridges()));
}

/// As [`card`], without a text form.
pub fn bridge_card(data: &[u8]) {
    let mut input = Input(data);
    let bridge = &WORLD.bridge.identity;
    let read = if input.byte() & 1 == 0 {
        BridgeCard::parse(input.0)
    } else {
        let inside = [input.0, &field(2, &bridge.key())].concat();
        let signature = sign_as_bridge("bridge-card", &[&inside]);
        BridgeCard::parse(&[field(1, &inside), field(2, &signature)].concat())
    };
    let Ok(card) = read else { return };
    assert!((1..=150).contains(&card.domain().len()));
    assert_eq!(BridgeCard::parse(card.as_bytes()).unwrap(), card);
    for changed in changes(card.as_bytes(), data) {
        assert!(BridgeCard::parse(&changed).is_err(), "a bridge card was changed");
    }
    let fields = BridgeCardFields {
        domain: card.domain().to_owned(),
        issued_s: card.issued_s(),
        expires_s: card.expires_s(),
        shards: card.shards().to_vec(),
    };
    assert_eq!(bridge.card(&fields).unwrap().shards(), card.shards());
}

/// Nobody but the bridge makes a verdict, and what it made stands no change.
///
/// An even first byte: the rest as it stands. Odd: the rest are the values of a verdict that the bridge signs.
pub fn verdict(data: &[u8]) {
    let bridge = &WORLD.bridge.identity;
    let mut input = Input(data);
    if input.byte() & 1 == 0 {
        let _ = Verdict::bundle_of(input.0);
        let _ = Acceptances::bundles_of(input.0);
        assert!(
            Acceptances::parse_verified(input.0, &bridge.key()).is_err(),
            "somebody else made acceptances"
        );
        let Ok(read) = Verdict::parse_verified(input.0, &bridge.key()) else { return };
        assert_eq!(read, known(), "somebody else made a verdict");
        assert_eq!(Verdict::bundle_of(input.0), Some(read.bundle));
        return;
    }
    let mut digests = [0; 64];
    let taken = input.take(64);
    digests[..taken.len()].copy_from_slice(taken);
    let (bundle, message): ([u8; 32], [u8; 32]) =
        (digests[..32].try_into().unwrap(), digests[32..].try_into().unwrap());
    let code = VerdictCode::ALL[input.below(9)];
    let verdict = Verdict {
        bundle: BundleId(bundle),
        message: MessageDigest(message),
        code,
        time_s: input.any_number(),
    };
    let bytes = verdict.sign(bridge);
    // What follows in the input stands behind the verdict, as fields of a newer bridge or as the same again.
    let longer = [&bytes[..], input.0].concat();
    assert_eq!(Verdict::parse_verified(&bytes, &bridge.key()), Ok(verdict));
    if let Ok(read) = Verdict::parse_verified(&longer, &bridge.key()) {
        assert_eq!(read, verdict);
    }
    assert_eq!(Verdict::bundle_of(&bytes), Some(verdict.bundle));
    for changed in changes(&bytes, data) {
        let read = Verdict::parse_verified(&changed, &bridge.key());
        assert!(read.is_err(), "a verdict was changed");
    }
    // A signature under other values.
    let others = [
        Verdict { bundle: BundleId(message), ..verdict },
        Verdict { message: MessageDigest(bundle), ..verdict },
        Verdict { code: VerdictCode::ALL[(code as usize + 1) % 9], ..verdict },
        Verdict { time_s: verdict.time_s ^ 1, ..verdict },
    ];
    for other in others.into_iter().filter(|other| *other != verdict) {
        let values = other.sign(bridge);
        let mixed = [&values[..values.len() - 64], &bytes[bytes.len() - 64..]].concat();
        assert!(Verdict::parse_verified(&mixed, &bridge.key()).is_err(), "a value is not signed");
    }
    let mut key = bridge.key();
    key[usize::from(digests[0] % 32)] ^= 1;
    assert!(Verdict::parse_verified(&bytes, &key).is_err());
    acceptances(&verdict, data);
}

/// The same of acceptances, of which this verdict is the first.
fn acceptances(verdict: &Verdict, data: &[u8]) {
    let bridge = &WORLD.bridge.identity;
    let others = data
        .chunks_exact(64)
        .take(Acceptances::MAX - 1)
        .filter_map(|both| Some((BundleId(*both.first_chunk()?), MessageDigest(*both.last_chunk()?))));
    let bundles = std::iter::once((verdict.bundle, verdict.message)).chain(others).collect();
    let acceptances = Acceptances { bundles, time_s: verdict.time_s };
    let bytes = acceptances.sign(bridge);
    assert_eq!(Acceptances::parse_verified(&bytes, &bridge.key()).as_ref(), Ok(&acceptances));
    let named = Acceptances::bundles_of(&bytes).unwrap();
    assert!(named.iter().copied().eq(acceptances.verdicts().map(|verdict| verdict.bundle)));
    for changed in changes(&bytes, data) {
        let read = Acceptances::parse_verified(&changed, &bridge.key());
        assert!(read.is_err(), "acceptances were changed");
    }
    assert!(Verdict::parse_verified(&bytes, &bridge.key()).is_err(), "acceptances are no verdict");
}

/// The one verdict whose bytes are among the seeds.
fn known() -> Verdict {
    let bundle = &WORLD.bundle;
    Verdict { bundle: bundle.id(), message: bundle.message_digest(), code: VerdictCode::Policy, time_s: 1 }
}

/// One bit changed, in some places that depend on the choice.
pub(super) fn changes(bytes: &[u8], choice: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    super::bundle::places(choice, bytes.len()).map(|at| {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1 << (at % 8);
        changed
    })
}

fn sign_as_bridge(name: &str, parts: &[&[u8]]) -> Vec<u8> {
    use ed25519_dalek::{Signer as _, SigningKey};
    let seed: [u8; 32] = WORLD.bridge.identity.to_secret_bytes()[..32].try_into().unwrap();
    SigningKey::from_bytes(&seed).sign(&[context(name), parts.concat()].concat()).to_bytes().to_vec()
}
