//! A thousand bundles of ours: random sizes, with and without uplink, with and without a clock.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use bytes::Bytes;
use pigeon_bundle::{Bundle, CONTENT_MAX, Draft, Epoch, LIFETIME_MAX_S, SecretRandom, seal, to_foreign};
use sha2::{Digest, Sha256};

use super::common::{Bridge, NOW_S, Person, draft, uplink};

pub(crate) const COUNT: usize = 1_000;

/// One bundle, and what it has been through.
pub(crate) struct Sent {
    pub(crate) bundle: Bundle,
    pub(crate) age_ms: u64,
    pub(crate) hops: u8,
}

impl Sent {
    pub(crate) fn foreign(&self) -> Bytes {
        to_foreign(&self.bundle, self.age_ms, self.hops)
    }
}

/// SHA-256 over a seed and a counter.
pub(crate) struct Seeded {
    seed: u64,
    counter: u64,
}

impl Seeded {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes) % limit
    }
}

impl SecretRandom for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let block = Sha256::new()
                .chain_update(self.seed.to_be_bytes())
                .chain_update(self.counter.to_be_bytes())
                .finalize();
            chunk.copy_from_slice(&block[..chunk.len()]);
            self.counter += 1;
        }
    }
}

/// Another one in each run; `PIGEON_SEED` repeats a run.
pub(crate) static SEED: LazyLock<u64> = LazyLock::new(|| {
    let given = std::env::var("PIGEON_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0) >> 1);
    println!("seed {seed}: PIGEON_SEED={seed} repeats this run");
    seed
});

pub(crate) static SENT: LazyLock<Vec<Sent>> = LazyLock::new(|| {
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let bridge = Bridge::new("bridge.example");
    let mut random = Seeded { seed: *SEED, counter: 0 };
    let sent: Vec<Sent> = (0..COUNT).map(|_| sent(&elaine, &jerry, &bridge, &mut random)).collect();
    // Control: all kinds are among them.
    assert!(sent.iter().any(|sent| sent.bundle.uplink().is_some() && sent.bundle.creation_s().is_none()));
    assert!(sent.iter().any(|sent| sent.bundle.uplink().is_none() && sent.bundle.creation_s().is_some()));
    assert!(sent.iter().any(|sent| sent.bundle.size() > 65_536));
    sent
});

fn sent(author: &Person, recipient: &Person, bridge: &Bridge, random: &mut Seeded) -> Sent {
    // Every order of magnitude as often as the others.
    let order = random.below(17);
    let content = vec![0x55; usize::try_from(random.below(1 << order)).unwrap().min(CONTENT_MAX)];
    let now_s = NOW_S + random.below(400 * 86_400);
    let draft = Draft {
        created_s: (random.below(3) > 0).then_some(now_s),
        epoch: Epoch::at(now_s),
        lifetime_s: 3_600 + random.below(LIFETIME_MAX_S - 3_600),
        uplink: (random.below(2) == 0).then(|| uplink(bridge, author, recipient)),
        ..draft(&recipient.card, &content)
    };
    let bundle = seal(&author.identity, &draft, random).unwrap().bundle;
    let age_order = random.below(40);
    let age_ms = random.below(1 << age_order);
    let hops = u8::try_from(random.below(17)).unwrap();
    Sent { bundle, age_ms, hops }
}
