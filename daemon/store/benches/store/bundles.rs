//! Bundles of about 1 KiB: a few sealed ones to measure the size, and any number that only look like them.

use pigeon_bundle::{Bundle, Card, CardFields, Draft, Epoch, Identity, MailboxSecret, SecretRandom, seal};

/// With the seal's own bytes the padded step of 1 KiB.
const CONTENT: usize = 700;

/// SplitMix64.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl SecretRandom for Numbers {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Makes sealed bundles for many recipients.
pub(crate) struct Mint {
    numbers: Numbers,
    author: Identity,
    cards: Vec<Card>,
}

impl Mint {
    pub(crate) fn new(seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let author = Identity::generate(&mut numbers);
        let cards = (0..64).map(|which| card(which, &mut numbers)).collect();
        Self { numbers, author, cards }
    }

    pub(crate) fn one(&mut self) -> Bundle {
        let pick = self.numbers.next();
        let epoch = Epoch(20_000 + u32::try_from(pick % 28).unwrap());
        let draft = Draft {
            recipient: &self.cards[usize::try_from(pick >> 32).unwrap() % self.cards.len()],
            content: &[5; CONTENT],
            created_s: Some(epoch.start_s()),
            epoch,
            lifetime_s: 86_400,
            uplink: None,
        };
        seal(&self.author, &draft, &mut self.numbers).unwrap().bundle
    }

    pub(crate) fn take(&mut self, count: usize) -> Vec<Bundle> {
        (0..count).map(|_| self.one()).collect()
    }
}

fn card(which: u8, numbers: &mut Numbers) -> Card {
    let fields = CardFields {
        name: "bench".into(),
        jids: Vec::new(),
        bridges: Vec::new(),
        mailbox_secret: MailboxSecret([which + 1; 32]),
        prekey: [9; 32],
        prekey_expires_s: 0,
        issued_s: 1,
    };
    Card::issue(&Identity::generate(numbers), &fields).unwrap()
}
