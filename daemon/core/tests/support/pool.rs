//! Real sealed bundles, made once for a test program: sealing is slower than simulating.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use pigeon_bundle::{
    BridgeCard, BridgeCardFields, BridgeIdentity, Bundle, BundleId, Card, CardFields, Draft, Epoch, Identity,
    LIFETIME_DEFAULT_S, MailboxSecret, MessageDigest, MessageId, PrekeyRing, Reveal, SecretRandom, Tag,
    UplinkDraft, seal,
};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

/// Wall time of all pools' bundles, Unix seconds: noon of a day.
pub const WALL_S: u64 = 20_700 * 86_400 + 12 * 3_600;
/// When the dying messages expire: lifetimes are full hours.
pub const DYING_S: u64 = WALL_S;
const DAY_S: u64 = 86_400;
/// Recipients in the pool.
pub const RECIPIENTS: usize = 6;
/// Messages for each of them.
pub const MESSAGES: usize = 6;

/// A message of the pool.
pub struct Message {
    pub bundle: Bundle,
    pub reveal: Reveal,
    pub recipient: usize,
}

/// Messages, by recipient.
pub struct Pool {
    pub messages: Vec<Message>,
    /// One for each recipient that expires at [`DYING_S`].
    pub dying: Vec<Message>,
    /// Other bundles of the same messages, without an uplink: a liar can make them.
    variants: BTreeMap<BundleId, Bundle>,
    known: BTreeMap<BundleId, Bundle>,
    pub tags: Vec<Tag>,
    /// Of the dying ones.
    pub tags_of_dying: Vec<Tag>,
}

struct TestRandom(ChaCha12Rng);

impl SecretRandom for TestRandom {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }
}

/// The pool, made at first use.
pub fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(make)
}

/// Message `number` for `recipient`.
pub fn message(recipient: usize, number: usize) -> &'static Message {
    &pool().messages[recipient * MESSAGES + number]
}

/// The message of a recipient that is too late from [`DYING_S`] on.
pub fn dying(recipient: usize) -> &'static Message {
    &pool().dying[recipient]
}

/// Another bundle of the same message, if it had an uplink.
pub fn variant(id: &BundleId) -> Option<Bundle> {
    pool().variants.get(id).cloned()
}

/// Whether these are the bytes of one of the pool's bundles.
pub fn is_whole(bundle: &Bundle) -> bool {
    pool().known.get(&bundle.id()).is_some_and(|known| known.as_bytes() == bundle.as_bytes())
}

/// What a message was, by its digest.
pub fn by_digest(digest: &MessageDigest) -> Option<&'static Message> {
    let pool = pool();
    pool.messages.iter().chain(&pool.dying).find(|known| known.bundle.message_digest() == *digest)
}

/// So many small messages to one recipient, for measurements.
pub fn many(count: usize) -> Vec<(Bundle, Reveal)> {
    let mut random = TestRandom(ChaCha12Rng::from_seed([43; 32]));
    let author = Identity::generate(&mut random);
    let card = card(&mut random, 0);
    let draft = Draft {
        recipient: &card,
        content: b"a few words",
        created_s: Some(WALL_S),
        epoch: Epoch::at(WALL_S),
        lifetime_s: LIFETIME_DEFAULT_S,
        uplink: None,
    };
    let one = |random: &mut TestRandom| {
        let sealed = seal(&author, &draft, random).unwrap();
        (sealed.bundle, sealed.reveal)
    };
    (0..count).map(|_| one(&mut random)).collect()
}

fn make() -> Pool {
    let mut random = TestRandom(ChaCha12Rng::from_seed([42; 32]));
    let author = Identity::generate(&mut random);
    let bridge = bridge_card(&mut random);
    let mut pool = Pool {
        messages: Vec::new(),
        dying: Vec::new(),
        variants: BTreeMap::new(),
        known: BTreeMap::new(),
        tags: Vec::new(),
        tags_of_dying: Vec::new(),
    };
    for recipient in 0..RECIPIENTS {
        let card = card(&mut random, recipient);
        pool.tags.push(card.mailbox_secret().tag(Epoch::at(WALL_S)));
        for number in 0..MESSAGES {
            // From one segment to four, and not all of them may go up.
            let content = vec![7; [40, 300, 20_000, 25_000, 60, 50_000][number]];
            let uplink = (number % 3 != 2).then_some(UplinkDraft {
                bridge: &bridge,
                author_jid: "author@example.org",
                recipient_jid: "recipient@example.org",
                message_id: MessageId([3; 16]),
                sent_ms: WALL_S * 1000,
            });
            let draft = Draft {
                recipient: &card,
                content: &content,
                created_s: Some(WALL_S),
                epoch: Epoch::at(WALL_S),
                lifetime_s: LIFETIME_DEFAULT_S,
                uplink,
            };
            // The same randomness gives the same message, with and without an uplink.
            let mut again = TestRandom(random.0.clone());
            let sealed = seal(&author, &draft, &mut random).unwrap();
            if draft.uplink.is_some() {
                let stripped = seal(&author, &Draft { uplink: None, ..draft }, &mut again).unwrap().bundle;
                assert_eq!(stripped.message_digest(), sealed.bundle.message_digest());
                pool.variants.insert(sealed.bundle.id(), stripped);
            }
            pool.messages.push(Message { bundle: sealed.bundle, reveal: sealed.reveal, recipient });
        }
        let draft = Draft {
            recipient: &card,
            content: b"soon too late",
            created_s: Some(WALL_S - 2 * DAY_S),
            epoch: Epoch::at(WALL_S - 2 * DAY_S),
            // It expires a day after the end of its day and its lifetime.
            lifetime_s: DYING_S % DAY_S,
            uplink: None,
        };
        let sealed = seal(&author, &draft, &mut random).unwrap();
        assert_eq!(sealed.bundle.expires_s(), DYING_S);
        pool.dying.push(Message { bundle: sealed.bundle, reveal: sealed.reveal, recipient });
        // The recipient finds it by the tag of its day.
        pool.tags_of_dying.push(card.mailbox_secret().tag(Epoch::at(WALL_S - 2 * DAY_S)));
    }
    let bundles = pool.messages.iter().chain(&pool.dying).map(|message| &message.bundle);
    pool.known = bundles.chain(pool.variants.values()).map(|bundle| (bundle.id(), bundle.clone())).collect();
    pool
}

fn card(random: &mut TestRandom, recipient: usize) -> Card {
    let identity = Identity::generate(random);
    let ring = PrekeyRing::generate(WALL_S, random);
    let prekey = ring.current().unwrap();
    let mut secret = [0; 32];
    random.fill(&mut secret);
    let fields = CardFields {
        name: format!("recipient {recipient}"),
        jids: vec!["recipient@example.org".into()],
        bridges: vec!["bridge.example.org".into()],
        mailbox_secret: MailboxSecret(secret),
        prekey: prekey.public(),
        prekey_expires_s: prekey.expires_s(),
        issued_s: WALL_S,
    };
    Card::issue(&identity, &fields).unwrap()
}

fn bridge_card(random: &mut TestRandom) -> BridgeCard {
    let fields = BridgeCardFields {
        domain: "bridge.example.org".into(),
        issued_s: WALL_S,
        expires_s: WALL_S + 90 * 86_400,
        shards: Vec::new(),
    };
    BridgeIdentity::generate(random).card(&fields).unwrap()
}
