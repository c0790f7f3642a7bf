//! A refusal's way back to its author by the carrier: a bundle that only the author can open, with the signed verdict in it
//! (docs/wire-format.md section 5). An author who never has the internet learns of it from the carrier's next visit.

use bytes::Bytes;
use pigeon_bundle::{Card, DAY_S, Draft, Epoch, Identity, seal};
use pigeon_proto::{Body, Content};

use super::desk::now_s;
use super::record::Registration;
use crate::random::OsRandom;

/// How long a refusal travels, seconds.
const LIFETIME_S: u64 = 7 * DAY_S;

/// A bundle with this verdict for the owner of a registered key: its id and bytes. `None` where no card of the owner's is
/// kept, or none that can be sealed to any more.
///
/// The bundle's own author is a key made for it and forgotten: what counts is the bridge's signature inside.
#[must_use]
pub fn sealed(owner: &Registration, verdict: &[u8]) -> Option<(String, Bytes)> {
    let now_s = now_s();
    let card = Card::parse(&owner.card).ok().filter(|card| card.identity() == owner.key)?;
    let content = Content::new(Body::Refusal(Bytes::copy_from_slice(verdict))).encode().ok()?;
    let draft = Draft {
        recipient: &card,
        content: &content,
        created_s: Some(now_s),
        epoch: Epoch::at(now_s),
        lifetime_s: LIFETIME_S,
        uplink: None,
    };
    let nobody = Identity::generate(&mut OsRandom);
    let bundle = seal(&nobody, &draft, &mut OsRandom).ok()?.bundle;
    Some((bundle.message_digest().to_string(), bundle.as_bytes().clone()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use pigeon_bundle::{Bundle, CardFields, IdentityKey, MailboxSecret, PrekeyRing, open};

    use super::*;

    #[test]
    fn its_owner_opens_it_and_finds_the_verdict() {
        let elaine = Identity::generate(&mut OsRandom);
        let ring = PrekeyRing::generate(now_s(), &mut OsRandom);
        let prekey = ring.current().unwrap();
        let fields = CardFields {
            name: "E".to_owned(),
            jids: Vec::new(),
            bridges: Vec::new(),
            mailbox_secret: MailboxSecret([1; 32]),
            prekey: prekey.public(),
            prekey_expires_s: prekey.expires_s(),
            issued_s: now_s(),
        };
        let card = Card::issue(&elaine, &fields).unwrap().as_bytes().to_vec();
        let owner = Registration {
            key: elaine.key(),
            issued_s: 1,
            until_s: 2,
            is_revoked: false,
            successor: None,
            card,
        };
        let (_, bytes) = sealed(&owner, b"verdict").unwrap();
        let opened = open(&Bundle::parse(bytes).unwrap(), &elaine, &ring, Some(now_s())).unwrap();
        let content = Content::decode(&opened.content).unwrap();
        assert_eq!(content.body, Body::Refusal(Bytes::from_static(b"verdict")));
        let other = Registration { key: IdentityKey([3; 32]), ..owner.clone() };
        assert!(sealed(&other, b"verdict").is_none(), "somebody else's card");
        assert!(sealed(&Registration { card: Vec::new(), ..owner }, b"verdict").is_none());
    }
}
