//! Real sealed bundles before the judge.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use pigeon_bundle::{
    BridgeCard, BridgeCardFields, Card, CardFields, Commitment, Draft, Epoch, Identity, MailboxSecret,
    MessageId, Sealed, UplinkDraft, seal,
};

use super::*;
use crate::bridge::record::Registration;
use crate::random::OsRandom;

#[path = "../../../../tests/support/mint.rs"]
mod mint;
use mint::Claim;

const NOW: u64 = 1_800_000_000;
const DOMAIN: &str = "bridge.example.org";
const ELAINE: &str = "elaine@example.org";
const JERRY: &str = "jerry@example.org";
const NEWMAN: &str = "newman@example.org";

/// The ledger's contents, without a disk.
#[derive(Default)]
struct Shelf {
    registrations: BTreeMap<String, Registration>,
    records: BTreeMap<LedgerKey, Record>,
    queued: BTreeMap<LedgerKey, Bytes>,
    reveals: Vec<Reveal>,
}

impl Books for Shelf {
    fn registration(&self, jid: &str) -> Result<Option<Registration>, LedgerError> {
        Ok(self.registrations.get(jid).cloned())
    }

    fn record(&self, key: &LedgerKey) -> Result<Option<Record>, LedgerError> {
        Ok(self.records.get(key).cloned())
    }

    fn queued(&self, key: &LedgerKey) -> Result<Option<Bytes>, LedgerError> {
        Ok(self.queued.get(key).cloned())
    }

    fn revealed(&self, commitment: &Commitment) -> Result<Option<Reveal>, LedgerError> {
        Ok(self.reveals.iter().find(|reveal| reveal.commitment() == *commitment).copied())
    }
}

struct World {
    bridge: BridgeIdentity,
    card: BridgeCard,
    hosts: BTreeSet<String>,
    elaine: Identity,
    newman: Identity,
    jerry: Card,
    shelf: Shelf,
    now_s: u64,
}

impl World {
    /// elaine and newman are registered; jerry can be written to.
    fn new() -> Self {
        let bridge = BridgeIdentity::generate(&mut OsRandom);
        let card = bridge_card(&bridge, DOMAIN);
        let (elaine, newman, jerry) = (person(), person(), person());
        let mut shelf = Shelf::default();
        for (jid, identity) in [(ELAINE, &elaine), (NEWMAN, &newman)] {
            let registration = Registration {
                key: identity.key(),
                issued_s: NOW,
                until_s: NOW + 90 * DAY_S,
                is_revoked: false,
                successor: None,
                card: Vec::new(),
            };
            shelf.registrations.insert(jid.to_owned(), registration);
        }
        let hosts = BTreeSet::from(["example.org".to_owned()]);
        Self { bridge, card, hosts, elaine, newman, jerry: contact_card(&jerry), shelf, now_s: NOW }
    }

    fn seal(&self, by: &Identity, author: &str, recipient: &str) -> Sealed {
        self.seal_to(&self.card, by, author, recipient)
    }

    fn seal_to(&self, bridge: &BridgeCard, by: &Identity, author: &str, recipient: &str) -> Sealed {
        self.seal_as(bridge, by, author, recipient, MessageId([7; 16]))
    }

    fn seal_as(
        &self,
        bridge: &BridgeCard,
        by: &Identity,
        author: &str,
        recipient: &str,
        message_id: MessageId,
    ) -> Sealed {
        let uplink = UplinkDraft {
            bridge,
            author_jid: author,
            recipient_jid: recipient,
            message_id,
            sent_ms: NOW * 1_000,
        };
        let draft = Draft {
            recipient: &self.jerry,
            content: b"these pretzels are making me thirsty",
            created_s: Some(NOW),
            epoch: Epoch::at(NOW),
            lifetime_s: 7 * DAY_S,
            uplink: Some(uplink),
        };
        seal(by, &draft, &mut OsRandom).unwrap()
    }

    /// elaine's message to jerry.
    fn message(&self) -> Sealed {
        self.seal(&self.elaine, ELAINE, JERRY)
    }

    fn judge(&self, bytes: &Bytes) -> Judgement {
        let judge = Judge {
            identity: &self.bridge,
            domain: DOMAIN,
            hosts: &self.hosts,
            plain: true,
            now_s: self.now_s,
        };
        judge.judge(bytes.clone(), &self.shelf).unwrap()
    }

    fn refused(&self, bytes: &Bytes) -> Answer {
        match self.judge(bytes) {
            Judgement::Answer(answer) => answer,
            Judgement::Deliver(order) => panic!("{:?} would be delivered", order.bundle),
        }
    }

    fn order(&self, bytes: &Bytes) -> Order {
        match self.judge(bytes) {
            Judgement::Deliver(order) => *order,
            Judgement::Answer(answer) => panic!("not delivered: {answer:?}"),
        }
    }

    /// What the bridge does with an order, all in one step.
    fn accept(&mut self, order: Order) {
        self.decide(order, VerdictCode::Accepted);
    }

    fn decide(&mut self, order: Order, code: VerdictCode) {
        let state = State::Decided { code, time_s: NOW };
        self.shelf.queued.remove(&order.key);
        self.shelf.records.insert(order.key, Record { state, ..order.record });
    }
}

fn person() -> Identity {
    Identity::generate(&mut OsRandom)
}

fn contact_card(identity: &Identity) -> Card {
    let fields = CardFields {
        name: "J".to_owned(),
        jids: vec![JERRY.to_owned()],
        bridges: vec![DOMAIN.to_owned()],
        mailbox_secret: MailboxSecret([1; 32]),
        prekey: identity.x25519_public(),
        prekey_expires_s: NOW + DAY_S,
        issued_s: NOW,
    };
    Card::issue(identity, &fields).unwrap()
}

fn bridge_card(bridge: &BridgeIdentity, domain: &str) -> BridgeCard {
    let fields = BridgeCardFields {
        domain: domain.to_owned(),
        issued_s: NOW,
        expires_s: NOW + DAY_S,
        shards: Vec::new(),
    };
    bridge.card(&fields).unwrap()
}

#[test]
fn an_honest_message_is_delivered_as_its_authors() {
    let world = World::new();
    let sealed = world.message();
    let order = world.order(sealed.bundle.as_bytes());
    assert!(order.is_new);
    assert_eq!(order.record.state, State::InDoubt);
    assert_eq!(order.record.commitment, sealed.reveal.commitment());
    let delivery = order.delivery;
    assert_eq!((delivery.author.as_str(), delivery.recipient.as_str()), (ELAINE, JERRY));
    assert_eq!(delivery.message_id_hex, "07".repeat(16));
    assert_eq!(delivery.origin_id_hex, sealed.bundle.message_digest().to_string());
    assert_eq!(delivery.sent_ms, NOW * 1_000);
    assert_eq!(delivery.bundle.as_ref(), Some(sealed.bundle.as_bytes()));
    assert_eq!(delivery.body.as_deref(), Some(FALLBACK_BODY));
}

/// Parts of attachments, receipts, cards: ordinary clients need not show them.
#[test]
fn what_nobody_can_read_is_delivered_without_a_text() {
    let world = World::new();
    let sealed = world.seal_as(&world.card, &world.elaine, ELAINE, JERRY, MessageId::NONE);
    let delivery = world.order(sealed.bundle.as_bytes()).delivery;
    assert_eq!(delivery.body, None);
    let message = sealed.bundle.message_digest().to_string();
    assert_eq!(
        (delivery.message_id_hex.as_str(), delivery.origin_id_hex.as_str()),
        (&message[..32], &*message)
    );
    assert_eq!(delivery.bundle.as_ref(), Some(sealed.bundle.as_bytes()));
}

#[test]
fn an_unregistered_key_is_no_voice() {
    let mut world = World::new();
    world.shelf.registrations.clear();
    let answer = world.refused(world.message().bundle.as_bytes());
    assert_eq!((answer.code, answer.author), (VerdictCode::AuthorNotRegistered, None));
}

#[test]
fn another_accounts_key_is_no_voice_either() {
    let world = World::new();
    let forged = world.seal(&world.newman, ELAINE, JERRY);
    let answer = world.refused(forged.bundle.as_bytes());
    assert_eq!((answer.code, answer.author), (VerdictCode::SignatureWrong, None));
    assert_eq!((answer.bundle, answer.message), (forged.bundle.id(), forged.bundle.message_digest()));
}

#[test]
fn a_lapsed_registration_is_none() {
    let mut world = World::new();
    let sealed = world.message();
    let mut until = |until_s| {
        world.shelf.registrations.get_mut(ELAINE).unwrap().until_s = until_s;
        matches!(world.judge(sealed.bundle.as_bytes()), Judgement::Deliver(_))
    };
    assert!(until(NOW + 1));
    assert!(!until(NOW));
    assert_eq!(world.refused(sealed.bundle.as_bytes()).code, VerdictCode::AuthorNotRegistered);
}

#[test]
fn a_route_does_not_open_for_another_payload() {
    let world = World::new();
    let (first, second) = (world.message().bundle, world.message().bundle);
    let route = &first.uplink().unwrap().route;
    let data = mint::uplink_data(DOMAIN, world.card.key(), route);
    // The tool is right: the bundle's own route gives its own bytes.
    assert_eq!(&mint::with_uplink(&first, Some(&data)), first.as_bytes());
    let replayed = mint::with_uplink(&second, Some(&data));
    let answer = world.refused(&replayed);
    assert_eq!((answer.code, answer.reason), (VerdictCode::RouteDoesNotOpen, "the route does not open"));
    assert_eq!(answer.message, second.message_digest());
}

#[test]
fn a_route_for_another_bridge_is_not_ours() {
    let world = World::new();
    let other = BridgeIdentity::generate(&mut OsRandom);
    let refused = |card: &BridgeCard| {
        let sealed = world.seal_to(card, &world.elaine, ELAINE, JERRY);
        let answer = world.refused(sealed.bundle.as_bytes());
        assert_eq!(answer.code, VerdictCode::RouteDoesNotOpen);
        answer.reason
    };
    assert_eq!(refused(&bridge_card(&other, DOMAIN)), "for another bridge key");
    assert_eq!(refused(&bridge_card(&world.bridge, "b.example.net")), "for another bridge's domain");
    // Somebody takes a message for another bridge and seals a route of his own to us: the author's signature names the
    // other bridge.
    let sealed = world.seal_to(&bridge_card(&other, DOMAIN), &world.elaine, ELAINE, JERRY);
    let resealed = mint::with_route(&sealed.bundle, &world.card, &world.newman, &claim(ELAINE, JERRY));
    assert_eq!(world.refused(&resealed).code, VerdictCode::SignatureWrong);
}

#[test]
fn foreign_hosts_are_not_served_and_the_author_learns_of_it() {
    let mut world = World::new();
    let abroad = world.seal(&world.elaine, ELAINE, "jerry@elsewhere.example");
    let answer = world.refused(abroad.bundle.as_bytes());
    assert_eq!((answer.code, answer.author), (VerdictCode::ForeignHost, Some(Author(ELAINE.to_owned()))));
    let stranger = world.seal(&world.newman, "newman@elsewhere.example", JERRY);
    let answer = world.refused(stranger.bundle.as_bytes());
    assert_eq!((answer.code, answer.author), (VerdictCode::ForeignHost, None));
    // A host that was taken off the list is foreign although its users are still registered.
    let message = world.message();
    world.hosts.clear();
    assert_eq!(world.refused(message.bundle.as_bytes()).code, VerdictCode::ForeignHost);
}

#[test]
fn expired_and_far_future_bundles_are_refused() {
    let mut world = World::new();
    let sealed = world.message();
    world.now_s = sealed.bundle.expires_s() - 1;
    world.order(sealed.bundle.as_bytes());
    world.now_s += 1;
    let answer = world.refused(sealed.bundle.as_bytes());
    assert_eq!((answer.code, answer.author), (VerdictCode::Expired, Some(Author(ELAINE.to_owned()))));
    world.now_s = sealed.bundle.epoch().start_s() - EPOCH_AHEAD_MAX_S;
    world.order(sealed.bundle.as_bytes());
    world.now_s -= 1;
    assert_eq!(world.refused(sealed.bundle.as_bytes()).code, VerdictCode::Policy);
}

#[test]
fn what_is_known_is_answered_again_whatever_happened_since() {
    let mut world = World::new();
    let sealed = world.message();
    let order = world.order(sealed.bundle.as_bytes());
    world.accept(order);
    world.shelf.registrations.clear();
    world.now_s = sealed.bundle.expires_s() + 1;
    let answer = world.refused(sealed.bundle.as_bytes());
    assert_eq!((answer.code, answer.time_s, answer.reveal), (VerdictCode::Accepted, NOW, None));
    world.shelf.reveals.push(sealed.reveal);
    assert_eq!(world.refused(sealed.bundle.as_bytes()).reveal, Some(sealed.reveal));
}

#[test]
fn what_was_refused_for_good_stays_refused() {
    let mut world = World::new();
    let sealed = world.message();
    let order = world.order(sealed.bundle.as_bytes());
    world.decide(order, VerdictCode::RecipientUnknown);
    world.shelf.reveals.push(sealed.reveal);
    let answer = world.refused(sealed.bundle.as_bytes());
    assert_eq!((answer.code, answer.reveal), (VerdictCode::RecipientUnknown, None));
}

#[test]
fn what_is_in_doubt_is_sent_again_with_the_same_ids() {
    let mut world = World::new();
    let sealed = world.message();
    let first = world.order(sealed.bundle.as_bytes());
    world.shelf.records.insert(first.key, first.record.clone());
    let again = world.order(sealed.bundle.as_bytes());
    assert!(!again.is_new);
    assert_eq!((again.key, &again.delivery), (first.key, &first.delivery));
    // Another bundle of the same message, signed by the author: the first one is sent again.
    world.shelf.queued.insert(first.key, sealed.bundle.as_bytes().clone());
    let resealed = mint::with_route(&sealed.bundle, &world.card, &world.elaine, &claim(ELAINE, JERRY));
    assert_ne!(&resealed, sealed.bundle.as_bytes());
    assert_eq!(world.order(&resealed).delivery, first.delivery);
}

#[test]
fn no_variant_of_a_delivered_message_is_delivered() {
    let mut world = World::new();
    let sealed = world.message();
    let order = world.order(sealed.bundle.as_bytes());
    world.accept(order);
    let bundle = &sealed.bundle;

    let stripped = world.refused(&mint::with_uplink(bundle, None));
    assert_eq!((stripped.code, stripped.message), (VerdictCode::RouteDoesNotOpen, bundle.message_digest()));
    assert_ne!(stripped.bundle, bundle.id());

    let uplink = bundle.uplink().unwrap();
    let mut route = uplink.route.to_vec();
    route[100] ^= 1;
    let altered = mint::uplink_data(DOMAIN, world.card.key(), &route);
    assert_eq!(world.refused(&mint::with_uplink(bundle, Some(&altered))).code, VerdictCode::RouteDoesNotOpen);

    // The same block in another spelling of CBOR: an indefinite array. B and source follow it.
    let canonical = mint::uplink_data(DOMAIN, world.card.key(), &uplink.route);
    let spelled = [&[0x9f], &canonical[1..], &[0xff]].concat();
    assert_eq!(world.refused(&mint::with_uplink(bundle, Some(&spelled))).code, VerdictCode::Malformed);

    // The author's own second bundle of the message: accepted, and not delivered again.
    let resealed = mint::with_route(bundle, &world.card, &world.elaine, &claim(ELAINE, JERRY));
    let answer = world.refused(&resealed);
    assert_eq!((answer.code, answer.message), (VerdictCode::Accepted, bundle.message_digest()));
}

#[test]
fn an_account_holder_cannot_suppress_what_he_carries() {
    let mut world = World::new();
    let sealed = world.message();
    let taken = mint::with_route(&sealed.bundle, &world.card, &world.newman, &claim(NEWMAN, JERRY));
    let order = world.order(&taken);
    assert_eq!(order.delivery.author, NEWMAN);
    assert_eq!(order.key.message(), sealed.bundle.message_digest());
    world.accept(order);
    // P is known to the ledger now, but not as elaine's.
    assert_eq!(world.order(sealed.bundle.as_bytes()).delivery.author, ELAINE);
}

#[test]
fn nobody_can_guess_whom_a_message_is_from() {
    let mut world = World::new();
    let sealed = world.message();
    let order = world.order(sealed.bundle.as_bytes());
    world.accept(order);
    world.shelf.reveals.push(sealed.reveal);
    let guess = |author, recipient| {
        let guess = mint::with_route(&sealed.bundle, &world.card, &world.newman, &claim(author, recipient));
        let answer = world.refused(&guess);
        assert_eq!(answer.reveal, None);
        answer.code
    };
    assert_eq!(guess(ELAINE, JERRY), VerdictCode::SignatureWrong);
    assert_eq!(guess(ELAINE, NEWMAN), VerdictCode::SignatureWrong);
}

#[test]
fn a_message_known_to_have_arrived_is_not_delivered_under_another_name() {
    let mut world = World::new();
    let sealed = world.message();
    let order = world.order(sealed.bundle.as_bytes());
    world.accept(order);
    world.shelf.reveals.push(sealed.reveal);
    let taken = mint::with_route(&sealed.bundle, &world.card, &world.newman, &claim(NEWMAN, JERRY));
    let answer = world.refused(&taken);
    assert_eq!((answer.code, answer.reveal), (VerdictCode::Accepted, Some(sealed.reveal)));
}

#[test]
fn names_are_compared_as_the_server_writes_them() {
    let world = World::new();
    let sealed = world.seal(&world.elaine, "Elaine@Example.org", "JERRY@example.org");
    let order = world.order(sealed.bundle.as_bytes());
    assert_eq!((order.delivery.author.as_str(), order.delivery.recipient.as_str()), (ELAINE, JERRY));
    for (author, recipient) in [("example.org", JERRY), (ELAINE, "example.org")] {
        let sealed = world.seal(&world.elaine, author, recipient);
        assert_eq!(world.refused(sealed.bundle.as_bytes()).code, VerdictCode::Malformed);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_never_delivered() {
    let world = World::new();
    let sealed = world.message();
    let bytes = sealed.bundle.as_bytes();
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1 << (at % 8);
        assert_eq!(world.refused(&damaged.into()).code, VerdictCode::Malformed, "byte {at}");
    }
    for length in [0, 1, bytes.len() - 1] {
        assert_eq!(world.refused(&bytes.slice(..length)).code, VerdictCode::Malformed, "{length} bytes");
    }
}

fn claim<'a>(author: &'a str, recipient: &'a str) -> Claim<'a> {
    Claim { author, recipient, message_id: MessageId([7; 16]), sent_ms: NOW * 1_000 }
}
