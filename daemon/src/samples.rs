//! What several unit tests need.
#![allow(clippy::unwrap_used, reason = "tests")]

use pigeon_bundle::{Bundle, Card, CardFields, Draft, Epoch, Identity, MailboxSecret, seal};

use crate::random::OsRandom;

/// Some bundle, unlike any other, that goes to no bridge.
pub(crate) fn bundle() -> Bundle {
    let identity = Identity::generate(&mut OsRandom);
    let fields = CardFields {
        name: "J".to_owned(),
        jids: Vec::new(),
        bridges: Vec::new(),
        mailbox_secret: MailboxSecret([1; 32]),
        prekey: identity.x25519_public(),
        prekey_expires_s: 0,
        issued_s: 0,
    };
    let draft = Draft {
        recipient: &Card::issue(&identity, &fields).unwrap(),
        content: b"",
        created_s: None,
        epoch: Epoch(20_000),
        lifetime_s: 3_600,
        uplink: None,
    };
    seal(&identity, &draft, &mut OsRandom).unwrap().bundle
}
