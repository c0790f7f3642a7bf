//! Delegated pick-up: `docs/wire-format.md` section 10.

use pigeon_bundle::{NodeSecret, PickupRequest, PickupTerms, Tag, open_pickup, seal_pickup};
use serde_json::json;

use super::common::{Bridge, FixedRandom, NOW_S, Person};
use super::{compare, hex};

#[test]
fn a_token_and_its_request() {
    let (elaine, bridge) = (Person::new("elaine"), Bridge::new("bridge.example"));
    let kramer = NodeSecret::generate(&mut FixedRandom::new("kramer's node"));
    let terms = PickupTerms {
        recipient: "elaine@subway.example".to_owned(),
        tags: vec![Tag([1; 16]), Tag([2; 16])],
        carrier: kramer.key(),
        nonce: [3; 16],
        expires_s: NOW_S + 3_600,
        byte_limit: 1 << 20,
    };
    let token = seal_pickup(&elaine.identity, &terms, &bridge.card, &mut FixedRandom::new("token")).unwrap();
    let jid = "kramer@subway.example";
    let key = bridge.identity.key();
    let request = PickupRequest::sign(&kramer, token.clone(), "bridge.example", &key, jid).unwrap();
    let opened = open_pickup(&token, &bridge.identity, "bridge.example").unwrap();
    assert_eq!(opened.terms, terms);
    compare(
        "pickup.json",
        &json!({
            "bridge_secret": hex(*bridge.identity.to_secret_bytes()),
            "bridge_key": hex(key),
            "domain": "bridge.example",
            "recipient_key": hex(elaine.identity.key()),
            "recipient": terms.recipient,
            "tags": terms.tags.iter().map(hex).collect::<Vec<_>>(),
            "carrier_key": hex(kramer.key()),
            "carrier_jid": jid,
            "nonce": hex(terms.nonce),
            "expires": terms.expires_s,
            "byte_limit": terms.byte_limit,
            "token": hex(&token),
            "request": hex(request.to_bytes()),
        }),
    );
}
