//! Bundles, entries and seeds for the tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pigeon_bundle::{
    BUNDLE_SIZE_MAX, Bundle, BundleId, Card, CardFields, Draft, Epoch, Identity, MailboxSecret, NodeKey,
    Reveal, SecretRandom, seal,
};
use pigeon_core::{BundleMeta, Catalog, Entry, Opened, Pool, PoolUsage, StoreOp, Usage};
use pigeon_store::{RecoveryReport, Store, StoreKey, StoreOptions, Table, Transaction};
use zeroize::Zeroizing;

/// SplitMix64: numbers that a seed repeats.
#[derive(Debug, Clone)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

impl SecretRandom for Numbers {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A seed of its own for each run, or the one in `PIGEON_TEST_SEED`; printed either way.
pub(crate) fn seed(test: &str) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let given = std::env::var("PIGEON_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = given.unwrap_or_else(|| u64::from(now.subsec_nanos()) ^ now.as_secs() << 20);
    eprintln!("{test}: PIGEON_TEST_SEED={seed}");
    seed
}

/// Makes sealed bundles for a few recipients.
pub(crate) struct Mint {
    pub(crate) numbers: Numbers,
    author: Identity,
    cards: Vec<Card>,
}

pub(crate) const DAY: u32 = 20_000;

impl Mint {
    pub(crate) fn new(seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let author = Identity::generate(&mut numbers);
        let cards = (0..3_u8).map(|which| card(which, &mut numbers)).collect();
        Self { numbers, author, cards }
    }

    /// A bundle with `content` bytes and its r. Bundles of one recipient and day share their tag.
    pub(crate) fn bundle(&mut self, recipient: usize, day: u32, content: usize) -> (Bundle, Reveal) {
        let content: Vec<u8> = (0..content).map(|_| self.numbers.next() as u8).collect();
        let epoch = Epoch(DAY + day);
        let draft = Draft {
            recipient: &self.cards[recipient % self.cards.len()],
            content: &content,
            created_s: Some(epoch.start_s()),
            epoch,
            lifetime_s: 3_600 * (1 + u64::from(day)),
            uplink: None,
        };
        let sealed = seal(&self.author, &draft, &mut self.numbers).unwrap();
        (sealed.bundle, sealed.reveal)
    }

    /// Two bundles of one commitment: the randomness repeats.
    pub(crate) fn twins(&mut self) -> [(Bundle, Reveal); 2] {
        let start = self.numbers.clone();
        let first = self.bundle(0, 1, 0);
        self.numbers = start;
        let second = self.bundle(1, 2, 0);
        assert_eq!(first.0.commitment(), second.0.commitment());
        [first, second]
    }

    /// A small one.
    pub(crate) fn small(&mut self) -> Bundle {
        self.bundle(0, 0, 64).0
    }

    /// The largest that fits.
    pub(crate) fn large(&mut self) -> Bundle {
        let bundle = self.bundle(0, 0, pigeon_bundle::CONTENT_MAX).0;
        assert!(bundle.size() > BUNDLE_SIZE_MAX / 2);
        bundle
    }
}

fn card(which: u8, numbers: &mut Numbers) -> Card {
    let fields = CardFields {
        name: format!("recipient {which}"),
        jids: Vec::new(),
        bridges: Vec::new(),
        mailbox_secret: MailboxSecret([which + 1; 32]),
        prekey: [9; 32],
        prekey_expires_s: 0,
        issued_s: 1,
    };
    Card::issue(&Identity::generate(numbers), &fields).unwrap()
}

/// An entry that differs with `number` in every way that is counted.
pub(crate) fn entry(number: u64) -> Entry {
    let small = u8::try_from(number % 251).unwrap();
    let mut entry = Entry::own(small % 4, Some(number));
    entry.copies = small % 4;
    entry.pool = [Pool::Own, Pool::Contact, Pool::Stranger][usize::from(small % 3)];
    entry.giver = (number % 5 > 1).then(|| node(number % 5));
    entry.newcomer = number.is_multiple_of(7);
    entry.opened = if number.is_multiple_of(11) { Opened::NotOurs } else { Opened::No };
    entry
}

pub(crate) fn node(number: u64) -> NodeKey {
    NodeKey([u8::try_from(number % 256).unwrap(); 32])
}

pub(crate) fn open(dir: &Path) -> (Store, RecoveryReport) {
    Store::open(dir, StoreOptions::default()).unwrap()
}

/// The store in `dir`, sealed under a key of these bytes.
pub(crate) fn open_sealed(dir: &Path, byte: u8) -> (Store, RecoveryReport) {
    Store::open_sealed(dir, StoreOptions::default(), key(byte)).unwrap()
}

/// A key of these bytes.
pub(crate) fn key(byte: u8) -> StoreKey {
    StoreKey::new(Zeroizing::new([byte; 32]))
}

pub(crate) fn put(bundle: &Bundle, number: u64) -> Transaction {
    Transaction::of_ops(vec![StoreOp::Put { bundle: bundle.clone(), entry: entry(number) }])
}

/// Waits for something another thread does.
pub(crate) fn wait_until(mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ready() {
        assert!(Instant::now() < deadline, "it did not happen within a minute");
        std::thread::yield_now();
    }
}

/// Everything in a store hangs together: each bundle can be read, is in every index, no index names more, and the
/// sums are right. Returns the ids.
pub(crate) fn agree(store: &Store) -> Vec<BundleId> {
    let page = store.page(None, usize::MAX).unwrap();
    let mut usage = Usage::default();
    let mut by_tag = BTreeMap::<_, Vec<_>>::new();
    let mut by_commitment = BTreeMap::<_, Vec<_>>::new();
    let mut givers = BTreeMap::<NodeKey, PoolUsage>::new();
    for (id, entry) in &page {
        let bundle = store.bundle(id).unwrap().unwrap();
        let meta = BundleMeta::of(&bundle);
        assert_eq!(store.meta(id).unwrap().as_ref(), Some(&meta));
        usage.add(entry, meta.size);
        by_tag.entry(meta.tag).or_default().push(*id);
        by_commitment.entry(meta.commitment).or_default().push(*id);
        if let Some(giver) = entry.giver {
            givers.entry(giver).or_default().add(meta.size);
        }
        store.takers(id).unwrap();
    }
    for (tag, ids) in by_tag {
        assert_eq!(store.by_tag(&tag).unwrap(), ids);
    }
    for (commitment, ids) in by_commitment {
        assert_eq!(store.by_commitment(&commitment).unwrap(), ids);
    }
    for (giver, usage) in givers {
        assert_eq!(store.giver_usage(&giver).unwrap(), usage);
    }
    let ids: Vec<_> = page.into_iter().map(|(id, _)| id).collect();
    let mut expiring = store.expiring(u64::MAX, usize::MAX).unwrap();
    expiring.sort();
    assert_eq!(expiring, ids);
    assert_eq!(store.usage().unwrap(), usage);
    let mut dead: Vec<_> =
        store.tombstones(None, usize::MAX).unwrap().into_iter().map(|(key, _)| key).collect();
    let mut expiring = store.expiring_tombstones(u64::MAX, usize::MAX).unwrap();
    dead.sort();
    expiring.sort();
    assert_eq!(expiring, dead);
    for table in Table::ALL {
        store.records(*table, None, usize::MAX).unwrap();
    }
    ids
}

/// A copy of a store's directory as a crash would leave it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
