//! Sealing and opening: what goes in comes out for the recipient, and for nobody else.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use bytes::Bytes;
use common::letter::{Letter, hpke_open};
use common::{Bridge, FixedRandom, NOW_S, Person, draft, uplink};
use pigeon_bundle::{
    Bundle, CONTENT_MAX, DAY_S, Draft, Epoch, LIFETIME_MAX_S, OpenError, PrekeyRing, Reveal, STEPS,
    SealError, open, seal,
};

fn seal_parse_open(author: &Person, recipient: &Person, content: &[u8]) -> Bundle {
    let sealed =
        seal(&author.identity, &draft(&recipient.card, content), &mut FixedRandom::new("seal")).unwrap();
    let bundle = Bundle::parse(sealed.bundle.as_bytes().clone()).unwrap();
    assert_eq!(bundle, sealed.bundle);
    let opened = open(&bundle, &recipient.identity, &recipient.ring, Some(NOW_S)).unwrap();
    assert_eq!(*opened.content, content);
    assert_eq!(opened.author, author.identity.key());
    assert_eq!(opened.message, bundle.message_digest());
    assert_eq!(opened.reveal, sealed.reveal);
    assert_eq!(opened.reveal.commitment(), bundle.commitment());
    bundle
}

#[test]
fn round_trip_at_every_padding_step() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut seen = Vec::new();
    // The envelope adds a fixed number of bytes to a content whose length prefix has a given width,
    // so walk around each step until the payload changes.
    for step in STEPS {
        for content in step.saturating_sub(160)..step.saturating_sub(130) {
            if content <= CONTENT_MAX {
                seen.push((content, seal_parse_open(&elaine, &jerry, &vec![7; content]).payload_step()));
            }
        }
    }
    seen.push((CONTENT_MAX, seal_parse_open(&elaine, &jerry, &vec![7; CONTENT_MAX]).payload_step()));
    for (content, step) in seen {
        // 4 length, 34 author, 34 reveal, 66 signature, and the content's own tag and length.
        let varint = if content < 128 {
            1
        } else if content < 16_384 {
            2
        } else {
            3
        };
        let size = 4 + 34 + 34 + 66 + 1 + varint + content;
        assert_eq!(Some(step), STEPS.into_iter().find(|step| *step >= size), "content of {content} bytes");
    }
}

#[test]
fn empty_and_oversized_content() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    seal_parse_open(&elaine, &jerry, b"");
    let error =
        seal(&elaine.identity, &draft(&jerry.card, &vec![0; CONTENT_MAX + 1]), &mut FixedRandom::new("seal"));
    assert!(matches!(error, Err(SealError::TooLarge { size }) if size == CONTENT_MAX + 1));
}

#[test]
fn two_seals_of_one_draft_share_only_what_a_carrier_may_link() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut rng = FixedRandom::new("seal");
    let one = seal(&elaine.identity, &draft(&jerry.card, b"x"), &mut rng).unwrap().bundle;
    let two = seal(&elaine.identity, &draft(&jerry.card, b"x"), &mut rng).unwrap().bundle;
    assert_eq!(one.tag(), two.tag());
    assert_ne!(one.commitment(), two.commitment());
    assert_ne!(one.header_digest(), two.header_digest());
    assert_ne!(one.message_digest(), two.message_digest());
    assert_ne!(one.id(), two.id());
    assert!(one.payload().chunks(16).zip(two.payload().chunks(16)).all(|(a, b)| a != b));
}

#[test]
fn times_are_rounded_and_checked() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut rng = FixedRandom::new("seal");
    let good = Draft { lifetime_s: 3_601, ..draft(&jerry.card, b"x") };
    let bundle = seal(&elaine.identity, &good, &mut rng).unwrap().bundle;
    assert_eq!(bundle.creation_s(), Some(NOW_S / 3_600 * 3_600));
    assert_eq!(bundle.lifetime_s(), 7_200);
    assert_eq!(bundle.expires_s(), (NOW_S / DAY_S + 1) * DAY_S + 7_200 + DAY_S);

    let mut refused = |draft: Draft<'_>| seal(&elaine.identity, &draft, &mut rng).unwrap_err();
    for lifetime_s in [0, 3_599, LIFETIME_MAX_S + 1, u64::MAX] {
        assert!(matches!(refused(Draft { lifetime_s, ..good }), SealError::Lifetime(_)));
    }
    assert!(matches!(refused(Draft { epoch: Epoch(1), ..good }), SealError::Time { .. }));
    // The first hour of DTN time would read as "no clock".
    for created_s in [0, 946_684_799, 946_684_800, 946_688_399, u64::MAX] {
        let draft = Draft { created_s: Some(created_s), epoch: Epoch::at(created_s), ..good };
        assert!(matches!(refused(draft), SealError::Time { .. }), "{created_s}");
    }
}

#[test]
fn clockless_author_uses_no_time_and_the_static_key() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let draft = Draft { created_s: None, ..draft(&jerry.card, b"x") };
    let sealed = seal(&elaine.identity, &draft, &mut FixedRandom::new("seal")).unwrap();
    let bundle = Bundle::parse(sealed.bundle.as_bytes().clone()).unwrap();
    assert_eq!(bundle.creation_s(), None);
    assert_eq!(bundle.epoch(), Epoch::at(NOW_S));
    // Opens without any prekey, on a node without a clock.
    assert_eq!(*open(&bundle, &jerry.identity, &PrekeyRing::default(), None).unwrap().content, b"x");
}

#[test]
fn expired_prekey_gives_way_to_the_static_key() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let expires_s = jerry.card.prekey_expires_s();
    for (created_s, prekey_needed) in [(expires_s - 1, true), (expires_s, false)] {
        let draft =
            Draft { created_s: Some(created_s), epoch: Epoch::at(created_s), ..draft(&jerry.card, b"x") };
        let bundle = seal(&elaine.identity, &draft, &mut FixedRandom::new("seal")).unwrap().bundle;
        let with = open(&bundle, &jerry.identity, &jerry.ring, Some(created_s));
        let without = open(&bundle, &jerry.identity, &PrekeyRing::default(), Some(created_s));
        assert!(with.is_ok());
        assert_eq!(without.is_err(), prekey_needed);
    }
}

#[test]
fn a_stranger_cannot_open() {
    let (elaine, jerry, newman) = (Person::new("elaine"), Person::new("jerry"), Person::new("newman"));
    let bundle = seal_parse_open(&elaine, &jerry, b"x");
    assert_eq!(open(&bundle, &newman.identity, &newman.ring, Some(NOW_S)).unwrap_err(), OpenError::NoKey);
    // Nor can the author, who keeps no key of the seal.
    assert_eq!(open(&bundle, &elaine.identity, &elaine.ring, Some(NOW_S)).unwrap_err(), OpenError::NoKey);
}

#[test]
fn expired_bundle_is_refused_though_it_opens() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let bundle = seal_parse_open(&elaine, &jerry, b"x");
    let expires_s = bundle.expires_s();
    assert_eq!(expires_s, (NOW_S / DAY_S + 1) * DAY_S + 7 * DAY_S + DAY_S);
    assert!(open(&bundle, &jerry.identity, &jerry.ring, Some(expires_s - 1)).is_ok());
    assert_eq!(
        open(&bundle, &jerry.identity, &jerry.ring, Some(expires_s)).unwrap_err(),
        OpenError::Expired { expires_s }
    );
    assert!(open(&bundle, &jerry.identity, &jerry.ring, None).is_ok(), "no clock, no expiry");
}

fn open_letter(letter: &Letter<'_>, reader: &Person) -> Result<Vec<u8>, OpenError> {
    let bundle = Bundle::parse(Bytes::from(letter.bytes())).unwrap();
    open(&bundle, &reader.identity, &reader.ring, Some(NOW_S)).map(|opened| opened.content.to_vec())
}

#[test]
fn second_implementation_is_understood() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    assert_eq!(open_letter(&Letter::honest(&elaine, &jerry), &jerry).unwrap(), b"hello");
}

#[test]
fn recipient_cannot_pass_a_message_on_as_if_written_to_somebody_else() {
    let (elaine, jerry, kramer) = (Person::new("elaine"), Person::new("jerry"), Person::new("kramer"));
    let draft = Draft { created_s: None, ..draft(&jerry.card, b"between us") };
    let bundle = seal(&elaine.identity, &draft, &mut FixedRandom::new("seal")).unwrap().bundle;

    // Jerry takes the envelope out, with elaine's good signature.
    let secret = jerry.identity.to_secret_bytes();
    let plaintext = hpke_open(&secret[32..], "seal", bundle.header_digest().as_ref(), bundle.payload());
    let at = plaintext.windows(2).rposition(|pair| pair == [0x22, 64]).unwrap();
    let signature = plaintext[at + 2..at + 66].to_vec();
    let opened = open(&bundle, &jerry.identity, &jerry.ring, Some(NOW_S)).unwrap();

    let stolen = Letter {
        author: elaine.identity.key(),
        content: b"between us".to_vec(),
        reveal: opened.reveal,
        commitment: bundle.commitment().0,
        signature: Some(signature),
        ..Letter::honest(&jerry, &kramer)
    };
    // To kramer, under kramer's tag, and under jerry's own tag (the very same header).
    assert!(matches!(open_letter(&stolen, &kramer), Err(OpenError::Signature(_))));
    let same_header = Letter { tag: bundle.tag().0, ..stolen };
    let forged = Bundle::parse(Bytes::from(same_header.bytes())).unwrap();
    assert_eq!(forged.header_digest(), bundle.header_digest());
    assert!(matches!(open_letter(&same_header, &kramer), Err(OpenError::Signature(_))));
    // Control: with the very same header and jerry as the one it is sealed to, the signature holds.
    let back = Letter { sealed_to: *jerry.card.x25519(), ..same_header };
    assert_eq!(open_letter(&back, &jerry).unwrap(), b"between us");
}

#[test]
fn envelope_lies_are_refused() {
    let (elaine, jerry, newman) = (Person::new("elaine"), Person::new("jerry"), Person::new("newman"));
    let honest = || Letter::honest(&elaine, &jerry);
    let refused = |letter: &Letter<'_>| open_letter(letter, &jerry).unwrap_err();

    let forged_author = Letter { author: elaine.identity.key(), ..Letter::honest(&newman, &jerry) };
    assert!(matches!(refused(&forged_author), OpenError::Signature(_)));
    let other_recipient = Letter { recipient: newman.identity.key(), ..honest() };
    assert!(matches!(refused(&other_recipient), OpenError::Signature(_)));
    let other_key = Letter { signed_sealed_to: jerry.ring.current().unwrap().public(), ..honest() };
    assert!(matches!(refused(&other_key), OpenError::Signature(_)));
    let cut_signature = Letter { signature: Some(vec![0; 63]), ..honest() };
    assert!(matches!(refused(&cut_signature), OpenError::Signature(_)));
    // The identity point signs everything for a check that is not strict.
    let mut weak = [0; 32];
    weak[0] = 1;
    let weak_key = Letter {
        author: pigeon_bundle::IdentityKey(weak),
        signature: Some([&weak[..], &[0; 32]].concat()),
        ..honest()
    };
    assert!(matches!(refused(&weak_key), OpenError::Signature(_)));
}

#[test]
fn wrong_reveal_is_refused() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let letter = Letter { reveal: Reveal([1; 32]), ..Letter::honest(&elaine, &jerry) };
    assert_eq!(open_letter(&letter, &jerry).unwrap_err(), OpenError::Commitment);
}

#[test]
fn padding_must_be_the_smallest_and_zero() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let large = Letter { step: 512, ..Letter::honest(&elaine, &jerry) };
    assert_eq!(open_letter(&large, &jerry).unwrap_err(), OpenError::Malformed("padding"));
    let dirty = Letter { last: 1, ..Letter::honest(&elaine, &jerry) };
    assert_eq!(open_letter(&dirty, &jerry).unwrap_err(), OpenError::Malformed("padding"));
    let no_step = Letter { step: 300, ..Letter::honest(&elaine, &jerry) };
    assert!(Bundle::parse(Bytes::from(no_step.bytes())).is_err());
}

#[test]
fn sealing_to_a_key_of_small_order_fails() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut fields = common::fields("jerry", &jerry.ring, &mut FixedRandom::new("card"));
    fields.prekey = [0; 32];
    let card = pigeon_bundle::Card::issue(&jerry.identity, &fields).unwrap();
    let error = seal(&elaine.identity, &draft(&card, b"x"), &mut FixedRandom::new("seal")).unwrap_err();
    assert!(matches!(error, SealError::Key("recipient")));
}

#[test]
fn uplink_changes_the_bundle_and_not_the_message() {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let bridge = Bridge::new("bridge.example");
    let plain = draft(&jerry.card, b"x");
    let with = Draft { uplink: Some(uplink(&bridge, &elaine, &jerry)), ..plain };
    let one = seal(&elaine.identity, &plain, &mut FixedRandom::new("seal")).unwrap().bundle;
    let two = seal(&elaine.identity, &with, &mut FixedRandom::new("seal")).unwrap().bundle;
    assert_eq!(one.message_digest(), two.message_digest());
    assert_ne!(one.id(), two.id());
    assert_eq!(Bundle::parse(two.as_bytes().clone()).unwrap().uplink().unwrap().route.len(), 560);
    assert!(open(&two, &jerry.identity, &jerry.ring, Some(NOW_S)).is_ok());
}
