//! What a seed decides before anything happens: how many nodes, which are slow, who writes to whom, and how
//! rough the world is.

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use crate::support::pool::{MESSAGES, RECIPIENTS};

/// The seeded dice of a simulation.
#[derive(Debug, Clone)]
pub struct Dice(ChaCha12Rng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Self(ChaCha12Rng::from_seed(bytes))
    }

    /// A number in `0..below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0.next_u64() % below.max(1)
    }

    pub fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.below(below as u64)).unwrap()
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn bytes(&mut self) -> [u8; 32] {
        let mut out = [0; 32];
        self.0.fill_bytes(&mut out);
        out
    }
}

/// One message to be written.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    pub at_ms: u64,
    pub author: usize,
    pub recipient: usize,
    pub number: usize,
}

/// The world of one seed.
#[derive(Debug, Clone)]
pub struct Plan {
    pub dice: Dice,
    pub nodes: usize,
    pub written: Vec<Written>,
    /// Length of the rough part.
    pub rough_ms: u64,
    /// Mean pause between two contacts.
    pub contact_every_ms: u64,
    pub contact_ms_max: u64,
    pub frame_delay_ms_max: u64,
    pub commit_delay_ms_max: u64,
    pub crash_percent: u64,
    pub damage_per_mille: u64,
    pub commit_failure_per_mille: u64,
    /// Percent of nodes that get an uplink now and then.
    pub uplink_percent: u64,
    pub reveal_delay_ms_max: u64,
    /// Nodes with hardly room for their own mail.
    pub small: Vec<bool>,
    /// Nodes without a clock.
    pub clockless: Vec<bool>,
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let nodes = 3 + dice.index(4);
        let rough_ms = 60_000 + dice.below(240_000);
        let small: Vec<bool> = (0..nodes).map(|_| dice.percent(25)).collect();
        let mut written: Vec<Written> = Vec::new();
        for _ in 0..3 + dice.below(9) {
            let recipient = dice.index(nodes.min(RECIPIENTS));
            // Where the store is small, large mail late in the day makes it too small.
            let author = small.iter().position(|small| *small && dice.percent(40));
            let (author, number, at_ms) = match author {
                Some(author) => (author, MESSAGES - 1, rough_ms / 2 + dice.below(rough_ms / 2)),
                None => (dice.index(nodes), dice.index(MESSAGES), dice.below(rough_ms / 2)),
            };
            if !written.iter().any(|other| (other.recipient, other.number) == (recipient, number)) {
                written.push(Written { at_ms, author, recipient, number });
            }
        }
        Self {
            nodes,
            written,
            rough_ms,
            contact_every_ms: 1_000 + dice.below(8_000),
            contact_ms_max: 200 + dice.below(20_000),
            frame_delay_ms_max: 1 + dice.below(300),
            commit_delay_ms_max: 1 + dice.below(400),
            crash_percent: dice.below(12),
            damage_per_mille: dice.below(20),
            commit_failure_per_mille: if dice.percent(20) { 20 } else { 0 },
            uplink_percent: dice.below(60),
            reveal_delay_ms_max: if dice.percent(50) { 0 } else { dice.below(20_000) },
            small,
            clockless: (0..nodes).map(|_| dice.percent(15)).collect(),
            dice,
        }
    }
}
