//! `kill -9` of the bridge at random points: nothing accepted is lost, what is in doubt is sent again with the same id,
//! and what was accepted is not sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pigeon_bundle::{MessageDigest, VerdictCode};
use pigeon_harness::Kind;

use crate::session::{PATIENCE, Received, Session};
use crate::world::{Person, World, bytes_of};

const MESSAGES: usize = 60;
const ROUNDS: u64 = 6;

/// A small seeded generator (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, usize::try_from(self.roll(at as u64 + 1)).unwrap());
        }
    }
}

pub fn seed() -> u64 {
    let given = std::env::var("PIGEON_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = given.unwrap_or_else(|| getrandom::u64().unwrap() | 1);
    println!("seed: PIGEON_SEED={seed}");
    seed
}

pub async fn a_bridge_killed_at_random_points_loses_nothing_and_repeats_only_what_was_in_doubt(kind: Kind) {
    let mut dice = Dice::new(seed());
    let mut world = World::new(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    world.login("elaine").await.register(&elaine.card()).await.unwrap();
    let mut to = world.login("jerry").await;
    let mut carrier = world.login("kramer").await;
    let mut messages: Vec<_> = (0..MESSAGES).map(|_| elaine.writes(&jerry, &world.card)).collect();
    // Acceptances by P, with their time: an answer about the same message must not change.
    let mut accepted: BTreeMap<MessageDigest, u64> = BTreeMap::new();
    let mut settled = BTreeSet::new();
    let mut delivered = Vec::new();

    for _ in 0..ROUNDS {
        dice.shuffle(&mut messages);
        for message in &messages {
            carrier.upload(&bytes_of(message)).await;
        }
        let wait = Duration::from_micros(dice.roll(250_000));
        let deadline = tokio::time::Instant::now() + wait;
        while tokio::time::Instant::now() < deadline {
            note(&mut accepted, &mut carrier, &world, deadline - tokio::time::Instant::now()).await;
        }
        world.bridge.kill9();
        world.restart_bridge();
        // All that was delivered before this mark. What carriers knew to be accepted before the mark of the round
        // before must not be among it.
        let known: BTreeSet<_> = accepted.keys().copied().collect();
        let mark = elaine.writes(&jerry, &world.card);
        assert_eq!(answer(&mut carrier, &world, &mark).await, VerdictCode::Accepted);
        let round = to.receive_until(&mark.bundle).await;
        assert!(round.iter().all(|received| !settled.contains(&received.bundle.message_digest())));
        delivered.extend(round);
        settled = known;
    }
    // What the server still had of the bridge's verdicts, and what the restarted bridge has decided, comes in while
    // everything is uploaded once more.
    let before = accepted.len();
    for message in &messages {
        carrier.upload(&bytes_of(message)).await;
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while accepted.len() < MESSAGES {
        assert!(tokio::time::Instant::now() < deadline, "{} of {MESSAGES} accepted", accepted.len());
        note(&mut accepted, &mut carrier, &world, Duration::from_secs(1)).await;
    }
    // Now everything has been accepted: once more must deliver nothing.
    let middle = elaine.writes(&jerry, &world.card);
    assert_eq!(answer(&mut carrier, &world, &middle).await, VerdictCode::Accepted);
    let round = to.receive_until(&middle.bundle).await;
    assert!(round.iter().all(|received| !settled.contains(&received.bundle.message_digest())));
    delivered.extend(round);
    for message in &messages {
        assert_eq!(answer(&mut carrier, &world, message).await, VerdictCode::Accepted);
    }
    let last = elaine.writes(&jerry, &world.card);
    assert_eq!(answer(&mut carrier, &world, &last).await, VerdictCode::Accepted);
    assert_eq!(to.receive_until(&last.bundle).await, []);
    check(&delivered, &messages.iter().map(|message| message.bundle.message_digest()).collect());
    println!(
        "{} deliveries of {MESSAGES} messages over {ROUNDS} kills; {before} known to be accepted before the last start",
        delivered.len()
    );
}

/// Every message was delivered, and every delivery of a message has the same id and sender.
fn check(delivered: &[Received], sent: &BTreeSet<MessageDigest>) {
    let mut by_message: BTreeMap<MessageDigest, Vec<&Received>> = BTreeMap::new();
    for received in delivered {
        by_message.entry(received.bundle.message_digest()).or_default().push(received);
    }
    assert_eq!(&by_message.keys().copied().collect::<BTreeSet<_>>(), sent);
    for copies in by_message.values() {
        assert!(copies.windows(2).all(|pair| pair[0] == pair[1]), "{copies:?}");
        assert!(copies.len() <= 1 + usize::try_from(ROUNDS).unwrap(), "{copies:?}");
    }
}

/// Takes what has come in and holds the bridge to its word.
async fn note(
    accepted: &mut BTreeMap<MessageDigest, u64>,
    carrier: &mut Session,
    world: &World,
    wait: Duration,
) {
    for verdict in carrier.gather(&world.card, wait).await {
        assert_eq!(verdict.code, VerdictCode::Accepted);
        let time_s = *accepted.entry(verdict.message).or_insert(verdict.time_s);
        assert_eq!(time_s, verdict.time_s, "the answer about {:?} changed", verdict.message);
    }
}

/// Uploads one message and waits for the verdict on it, past verdicts on others.
async fn answer(carrier: &mut Session, world: &World, message: &pigeon_bundle::Sealed) -> VerdictCode {
    carrier.upload(&bytes_of(message)).await;
    loop {
        let (verdict, _) = carrier.verdict(&world.card).await;
        if verdict.bundle == message.bundle.id() {
            return verdict.code;
        }
    }
}
