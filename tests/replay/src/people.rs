//! Who the nodes are, and the workload as real bundles: each message is sealed to its recipient's card once, and
//! used by every replay of the scenario.
//!
//! The sealed content is a few bytes whatever the workload says, so that time and memory go into routing: the
//! replay counts the workload's sizes.

use std::collections::{BTreeMap, BTreeSet};

use pigeon_bundle::{
    BridgeCard, BridgeCardFields, BridgeIdentity, Bundle, BundleId, Card, CardFields, DAY_S, Draft, Epoch,
    Identity, LIFETIME_MAX_S, LIFETIME_MIN_S, MailboxSecret, MessageId, NodeKey, PrekeyRing, Reveal,
    SecretRandom, Tag, UplinkDraft, seal,
};
use pigeon_core::{ContactId, ContactLink};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use crate::error::ReplayError;
use crate::scenario::{Message, Scenario};

/// Wall time at the start of every trace, Unix seconds: midnight of a day.
pub(crate) const START_S: u64 = 20_700 * DAY_S;
/// Days ahead for which tags are listened to and told (PROTOCOL.md section 4, point 3).
const DAYS_AHEAD: u32 = 7;

/// A message of the workload, sealed.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) bundle: Bundle,
    pub(crate) reveal: Reveal,
}

/// One node's keys.
#[derive(Debug)]
struct Person {
    secret: MailboxSecret,
    contacts: Vec<ContactLink>,
}

/// All nodes' keys, and the messages.
#[derive(Debug)]
pub(crate) struct People {
    persons: Vec<Person>,
    pub(crate) sealed: Vec<Sealed>,
    pub(crate) by_bundle: BTreeMap<BundleId, usize>,
    /// Days that the longest ttl reaches back.
    days_back: u32,
}

struct Seeded(ChaCha12Rng);

impl SecretRandom for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }
}

impl Seeded {
    fn bytes(&mut self) -> [u8; 32] {
        let mut out = [0; 32];
        self.fill(&mut out);
        out
    }
}

impl People {
    /// Makes keys, contacts (who writes to whom) and bundles. The same scenario gives the same.
    pub(crate) fn of(scenario: &Scenario) -> Result<Self, ReplayError> {
        let mut random = Seeded(ChaCha12Rng::from_seed([7; 32]));
        let author = Identity::generate(&mut random);
        let bridge = bridge_card(&mut random).map_err(|reason| sealing("(bridge)", reason))?;
        let mut cards = Vec::new();
        let mut persons = Vec::new();
        for number in 0..scenario.nodes {
            let secret = random.bytes();
            let card = card(&mut random, number, secret).map_err(|reason| sealing("(card)", reason))?;
            cards.push(card);
            persons.push(Person { secret: MailboxSecret(secret), contacts: Vec::new() });
        }
        let mut people =
            Self { persons, sealed: Vec::new(), by_bundle: BTreeMap::new(), days_back: days_back(scenario) };
        people.introduce(scenario, &mut random);
        for (number, message) in scenario.messages.iter().enumerate() {
            let card = &cards[message.to as usize];
            let sealed = seal_message(&author, &bridge, card, message, number, &mut random)?;
            people.by_bundle.insert(sealed.bundle.id(), number);
            people.sealed.push(sealed);
        }
        Ok(people)
    }

    /// Who writes to whom knows each other.
    fn introduce(&mut self, scenario: &Scenario, random: &mut Seeded) {
        let pairs: BTreeSet<(u32, u32)> = scenario
            .messages
            .iter()
            .map(|message| (message.from.min(message.to), message.from.max(message.to)))
            .filter(|(one, two)| one != two)
            .collect();
        for (one, two) in pairs {
            let recognition_key = random.bytes();
            for (own, other) in [(one, two), (two, one)] {
                let contact = ContactId(u64::from(other));
                self.persons[own as usize].contacts.push(ContactLink { contact, recognition_key });
            }
        }
    }

    pub(crate) fn contacts(&self, node: u32) -> Vec<ContactLink> {
        self.persons[node as usize].contacts.clone()
    }

    /// The tags that a node listens to at a time of the trace.
    pub(crate) fn tags(&self, node: u32, now_ms: u64) -> Vec<Tag> {
        let today = Epoch::at(START_S + now_ms / 1000).0;
        let secret = &self.persons[node as usize].secret;
        (today - self.days_back..=today + DAYS_AHEAD).map(|day| secret.tag(Epoch(day))).collect()
    }
}

pub(crate) fn node_key(node: u32) -> NodeKey {
    let mut key = [0x5a; 32];
    key[..4].copy_from_slice(&node.to_be_bytes());
    NodeKey(key)
}

fn days_back(scenario: &Scenario) -> u32 {
    let longest_ms = scenario.messages.iter().map(|message| message.ttl_ms).max().unwrap_or(0);
    let days = longest_ms.div_ceil(DAY_S * 1000).min(LIFETIME_MAX_S / DAY_S);
    u32::try_from(days).unwrap_or(1)
}

fn seal_message(
    author: &Identity,
    bridge: &BridgeCard,
    card: &Card,
    message: &Message,
    number: usize,
    random: &mut Seeded,
) -> Result<Sealed, ReplayError> {
    let created_s = START_S + message.written_ms / 1000;
    let draft = Draft {
        recipient: card,
        content: &number.to_be_bytes(),
        created_s: Some(created_s),
        epoch: Epoch::at(created_s),
        lifetime_s: message.ttl_ms.div_ceil(1000).clamp(LIFETIME_MIN_S, LIFETIME_MAX_S),
        uplink: Some(UplinkDraft {
            bridge,
            author_jid: "author@example.org",
            recipient_jid: "recipient@example.org",
            message_id: MessageId([0; 16]),
            sent_ms: created_s * 1000,
        }),
    };
    let sealed = seal(author, &draft, random).map_err(|error| sealing(&message.id, error))?;
    Ok(Sealed { bundle: sealed.bundle, reveal: sealed.reveal })
}

fn card(random: &mut Seeded, number: u32, secret: [u8; 32]) -> Result<Card, String> {
    let identity = Identity::generate(random);
    let ring = PrekeyRing::generate(START_S, random);
    let prekey = ring.current().ok_or("no prekey")?;
    let fields = CardFields {
        name: format!("node {number}"),
        jids: vec!["recipient@example.org".into()],
        bridges: vec!["bridge.example.org".into()],
        mailbox_secret: MailboxSecret(secret),
        prekey: prekey.public(),
        prekey_expires_s: prekey.expires_s(),
        issued_s: START_S,
    };
    Card::issue(&identity, &fields).map_err(|error| error.to_string())
}

fn bridge_card(random: &mut Seeded) -> Result<BridgeCard, String> {
    let fields = BridgeCardFields {
        domain: "bridge.example.org".into(),
        issued_s: START_S,
        expires_s: START_S + 90 * DAY_S,
        shards: Vec::new(),
    };
    BridgeIdentity::generate(random).card(&fields).map_err(|error| error.to_string())
}

fn sealing(id: &str, reason: impl std::fmt::Display) -> ReplayError {
    ReplayError::Seal { id: id.to_owned(), reason: reason.to_string() }
}
