//! Tokens of delegated pick-up: what opens, what is signed, and what is refused.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Bridge, FixedRandom, NOW_S, Person};
use pigeon_bundle::{
    NodeKey, NodeSecret, PICKUP_REQUEST_MAX, PICKUP_TAGS_MAX, PICKUP_TOKEN_MAX, PickupError, PickupRequest,
    PickupTerms, Tag, open_pickup, seal_pickup,
};

const DOMAIN: &str = "bridge.example";
const KRAMER: &str = "kramer@subway.example";

fn kramer() -> NodeSecret {
    NodeSecret::generate(&mut FixedRandom::new("kramer's node"))
}

fn terms(carrier: NodeKey) -> PickupTerms {
    PickupTerms {
        recipient: "elaine@subway.example".to_owned(),
        tags: vec![Tag([1; 16]), Tag([2; 16])],
        carrier,
        nonce: [3; 16],
        expires_s: NOW_S + 3_600,
        byte_limit: 1 << 20,
    }
}

fn sealed(owner: &Person, terms: &PickupTerms, bridge: &Bridge) -> Result<Vec<u8>, PickupError> {
    seal_pickup(&owner.identity, terms, &bridge.card, &mut FixedRandom::new("token"))
}

#[test]
fn a_token_opens_at_its_bridge_only_and_names_its_recipient() {
    let (elaine, bridge) = (Person::new("elaine"), Bridge::new(DOMAIN));
    let terms = terms(kramer().key());
    let token = sealed(&elaine, &terms, &bridge).unwrap();
    let opened = open_pickup(&token, &bridge.identity, DOMAIN).unwrap();
    assert_eq!(opened.terms, terms);
    assert_eq!(opened.verify(DOMAIN, &bridge.identity.key(), &elaine.identity.key()), Ok(()));
    let newman = Person::new("newman").identity.key();
    let forged = opened.verify(DOMAIN, &bridge.identity.key(), &newman);
    assert!(matches!(forged, Err(PickupError::Signature { whose: "recipient's", .. })));
    let other = Bridge::new("other.example");
    assert_eq!(open_pickup(&token, &other.identity, DOMAIN), Err(PickupError::DoesNotOpen));
    assert_eq!(open_pickup(&token, &bridge.identity, "other.example"), Err(PickupError::DoesNotOpen));
    assert!(!format!("{opened:?}").contains("elaine"));
}

#[test]
fn every_term_is_signed() {
    let (elaine, bridge) = (Person::new("elaine"), Bridge::new(DOMAIN));
    let token = sealed(&elaine, &terms(kramer().key()), &bridge).unwrap();
    let good = open_pickup(&token, &bridge.identity, DOMAIN).unwrap();
    let changes: [fn(&mut PickupTerms); 6] = [
        |terms| terms.recipient = "newman@subway.example".to_owned(),
        |terms| terms.tags.truncate(1),
        |terms| terms.carrier = NodeKey([9; 32]),
        |terms| terms.nonce[0] ^= 1,
        |terms| terms.expires_s += 1,
        |terms| terms.byte_limit += 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = good.clone();
        change(&mut changed.terms);
        let result = changed.verify(DOMAIN, &bridge.identity.key(), &elaine.identity.key());
        assert!(matches!(result, Err(PickupError::Signature { .. })), "change {number}");
    }
    assert!(good.verify("other.example", &bridge.identity.key(), &elaine.identity.key()).is_err());
    assert!(good.verify(DOMAIN, &[7; 32], &elaine.identity.key()).is_err());
}

#[test]
fn a_request_counts_only_for_its_account_and_by_the_node_key_of_the_token() {
    let (elaine, bridge, kramer) = (Person::new("elaine"), Bridge::new(DOMAIN), kramer());
    let key = bridge.identity.key();
    let token = sealed(&elaine, &terms(kramer.key()), &bridge).unwrap();
    let request = PickupRequest::sign(&kramer, token, DOMAIN, &key, KRAMER).unwrap();
    let read = PickupRequest::parse(&request.to_bytes()).unwrap();
    assert_eq!(read, request);
    assert_eq!(read.verify(DOMAIN, &key, KRAMER, &kramer.key()), Ok(()));
    let newman = NodeSecret::generate(&mut FixedRandom::new("newman's node")).key();
    for refused in [
        read.verify(DOMAIN, &key, KRAMER, &newman),
        read.verify(DOMAIN, &key, "newman@subway.example", &kramer.key()),
        read.verify("other.example", &key, KRAMER, &kramer.key()),
        read.verify(DOMAIN, &[7; 32], KRAMER, &kramer.key()),
    ] {
        assert!(matches!(refused, Err(PickupError::Signature { whose: "carrier's", .. })), "{refused:?}");
    }
}

#[test]
fn the_largest_token_is_within_its_limits_and_one_more_tag_is_refused() {
    let (elaine, bridge, kramer) = (Person::new("elaine"), Bridge::new(DOMAIN), kramer());
    let recipient = format!("{}@h", "e".repeat(148));
    let tags = vec![Tag([0xff; 16]); PICKUP_TAGS_MAX];
    let largest =
        PickupTerms { recipient, tags, expires_s: u64::MAX, byte_limit: u64::MAX, ..terms(kramer.key()) };
    let token = sealed(&elaine, &largest, &bridge).unwrap();
    assert!(token.len() <= PICKUP_TOKEN_MAX, "{}", token.len());
    assert_eq!(open_pickup(&token, &bridge.identity, DOMAIN).unwrap().terms, largest);
    let request =
        PickupRequest::sign(&kramer, token, DOMAIN, &bridge.identity.key(), KRAMER).unwrap().to_bytes();
    assert!(request.len() <= PICKUP_REQUEST_MAX && PickupRequest::parse(&request).is_ok());
    for got in [0, PICKUP_TAGS_MAX + 1] {
        let bad = PickupTerms { tags: vec![Tag([1; 16]); got], ..terms(kramer.key()) };
        assert_eq!(sealed(&elaine, &bad, &bridge), Err(PickupError::Tags { got }));
    }
    let bad = PickupTerms { recipient: "elaine@h/phone".to_owned(), ..terms(kramer.key()) };
    assert!(matches!(sealed(&elaine, &bad, &bridge), Err(PickupError::Jid(_))));
}

#[test]
fn damaged_tokens_and_requests_are_errors() {
    let (elaine, bridge, kramer) = (Person::new("elaine"), Bridge::new(DOMAIN), kramer());
    let token = sealed(&elaine, &terms(kramer.key()), &bridge).unwrap();
    for at in (0..token.len()).step_by(7) {
        let mut damaged = token.clone();
        damaged[at] ^= 0x40;
        assert_eq!(open_pickup(&damaged, &bridge.identity, DOMAIN), Err(PickupError::DoesNotOpen), "{at}");
        assert!(open_pickup(&token[..at], &bridge.identity, DOMAIN).is_err(), "cut at {at}");
    }
    assert!(open_pickup(&vec![0; PICKUP_TOKEN_MAX + 1], &bridge.identity, DOMAIN).is_err());
    let request = PickupRequest::sign(&kramer, token, DOMAIN, &bridge.identity.key(), KRAMER).unwrap();
    let bytes = request.to_bytes();
    for at in 0..bytes.len() {
        // Never a panic; what is cut in the middle of a field does not parse.
        let _ = PickupRequest::parse(&bytes[..at]);
    }
    assert!(PickupRequest::parse(&vec![0; PICKUP_REQUEST_MAX + 1]).is_err());
    assert!(PickupRequest::parse(b"").is_err());
}
