//! What the format costs above its raw cryptography, and against dtn7's codec. All of one turn runs before the next
//! turn begins, so that the machine's mood cancels out; medians. Prints `bench: NAME VALUE (…)`.
//!
//! `cargo bench -p pigeon-bundle --bench cost`, under 30 s.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on should stop")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench needs a clock")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use pigeon_bundle::{
    BridgeCard, BridgeCardFields, BridgeIdentity, Bundle, CONTENT_MAX, Card, CardFields, Draft, Epoch,
    Identity, LIFETIME_DEFAULT_S, MailboxSecret, MessageId, PrekeyRing, SecretRandom, Unproven, UplinkDraft,
    open, seal,
};
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};

const TURNS: usize = 300;
/// Messages in one measurement.
const MESSAGES: u32 = 8;
/// Parses in one measurement.
const PARSES: u32 = 50;
const MESSAGE: usize = 1_024;
const STEP: usize = 2_048;
const NOW_S: u64 = 1_795_412_800;

/// Cheap and predictable: what randomness costs is not the question.
struct Numbers(u64);

impl SecretRandom for Numbers {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = self.0.to_be_bytes()[0];
        }
    }
}

struct People {
    author: Identity,
    recipient: Identity,
    ring: PrekeyRing,
    card: Card,
    bridge: BridgeCard,
}

impl People {
    fn new(numbers: &mut Numbers) -> Self {
        let (author, recipient) = (Identity::generate(numbers), Identity::generate(numbers));
        let ring = PrekeyRing::generate(NOW_S, numbers);
        let prekey = ring.current().unwrap();
        let fields = CardFields {
            name: "jerry".into(),
            jids: vec!["jerry@subway.example".into()],
            bridges: vec!["bridge.example".into()],
            mailbox_secret: MailboxSecret([1; 32]),
            prekey: prekey.public(),
            prekey_expires_s: prekey.expires_s(),
            issued_s: NOW_S,
        };
        let card = Card::issue(&recipient, &fields).unwrap();
        let fields = BridgeCardFields {
            domain: "bridge.example".into(),
            issued_s: NOW_S,
            expires_s: NOW_S + 86_400,
            shards: Vec::new(),
        };
        let bridge = BridgeIdentity::generate(numbers).card(&fields).unwrap();
        Self { author, recipient, ring, card, bridge }
    }

    fn draft(&self) -> Draft<'_> {
        Draft {
            recipient: &self.card,
            content: &[b'x'; MESSAGE],
            created_s: Some(NOW_S),
            epoch: Epoch::at(NOW_S),
            lifetime_s: LIFETIME_DEFAULT_S,
            uplink: None,
        }
    }

    /// What is read: a short message, the same with an uplink, and the largest content.
    fn bundles(&self, numbers: &mut Numbers) -> [(&'static str, Bundle); 3] {
        let large = Draft { content: &[b'x'; CONTENT_MAX], ..self.draft() };
        let drafts = [("1k", self.draft()), ("1k_uplink", self.draft_with_uplink()), ("64k", large)];
        drafts.map(|(name, draft)| (name, seal(&self.author, &draft, numbers).unwrap().bundle))
    }

    fn draft_with_uplink(&self) -> Draft<'_> {
        let uplink = UplinkDraft {
            bridge: &self.bridge,
            author_jid: "elaine@subway.example",
            recipient_jid: "jerry@subway.example",
            message_id: MessageId([1; 16]),
            sent_ms: NOW_S * 1_000,
        };
        Draft { uplink: Some(uplink), ..self.draft() }
    }
}

/// The cryptography of one message and nothing else: no key schedule, no encoding, no copies.
struct Raw {
    signing: SigningKey,
    recipient: StaticSecret,
    recipient_public: PublicKey,
    /// What a signature covers: context, four keys and digests, length, content.
    text: Vec<u8>,
    plaintext: Vec<u8>,
    header: Vec<u8>,
}

/// What [`Raw::seal`] made.
struct RawSealed {
    ephemeral: PublicKey,
    signature: Signature,
    ciphertext: Vec<u8>,
}

impl Raw {
    fn new() -> Self {
        let recipient = StaticSecret::from([3; 32]);
        Self {
            signing: SigningKey::from_bytes(&[2; 32]),
            recipient_public: PublicKey::from(&recipient),
            recipient,
            text: vec![4; 26 + 4 * 32 + 4 + MESSAGE],
            plaintext: vec![5; STEP],
            header: vec![6; 24 + 86 + 42],
        }
    }

    fn seal(&self, numbers: &mut Numbers) -> RawSealed {
        let mut secret = [0; 32];
        numbers.fill(&mut secret);
        let header = Sha256::digest(&self.header);
        let signature = self.signing.sign(&self.text);
        let secret = StaticSecret::from(secret);
        let ephemeral = PublicKey::from(&secret);
        let shared = secret.diffie_hellman(&self.recipient_public);
        let cipher = ChaCha20Poly1305::new(&Key::from(shared.to_bytes()));
        let payload = Payload { msg: &self.plaintext, aad: &header };
        let ciphertext = cipher.encrypt(&Nonce::default(), payload).unwrap();
        black_box(digests(&header, &ciphertext));
        RawSealed { ephemeral, signature, ciphertext }
    }

    /// The author's key comes in the message, as bytes.
    fn open(&self, sealed: &RawSealed, author: &[u8; 32]) {
        let header = Sha256::digest(&self.header);
        black_box(digests(&header, &sealed.ciphertext));
        let shared = self.recipient.diffie_hellman(&sealed.ephemeral);
        let cipher = ChaCha20Poly1305::new(&Key::from(shared.to_bytes()));
        let payload = Payload { msg: &sealed.ciphertext, aad: &header };
        black_box(cipher.decrypt(&Nonce::default(), payload).unwrap());
        VerifyingKey::from_bytes(author).unwrap().verify_strict(&self.text, &sealed.signature).unwrap();
    }
}

/// P and B.
fn digests(header: &[u8], payload: &[u8]) -> [u8; 32] {
    let message = Sha256::new().chain_update([0; 24]).chain_update(header).chain_update(payload).finalize();
    Sha256::new().chain_update([0; 23]).chain_update(message).finalize().into()
}

/// H, P and B over as many bytes as those of this bundle.
fn digests_of(bundle: &Bundle, header: &[u8]) -> [u8; 32] {
    let header = Sha256::digest(header);
    let message =
        Sha256::new().chain_update([0; 24]).chain_update(header).chain_update(bundle.payload()).finalize();
    let uplink = bundle.uplink().map_or(&[][..], |uplink| &uplink.route);
    Sha256::new().chain_update([0; 23]).chain_update(message).chain_update(uplink).finalize().into()
}

#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    /// The mean of `times` runs: whoever comes first in a turn finds the caches cold, once.
    fn take<T>(&mut self, times: u32, mut work: impl FnMut() -> T) -> T {
        let start = Instant::now();
        for _ in 1..times {
            black_box(work());
        }
        let last = black_box(work());
        self.0.push(start.elapsed() / times);
        last
    }

    fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    }
}

fn report(name: &str, ours: &Times, theirs: &Times, what: &str) {
    // Turn by turn, so that a machine that slows down for a while slows both.
    let mut ratios: Vec<f64> = ours
        .0
        .iter()
        .zip(&theirs.0)
        .map(|(ours, theirs)| ours.as_secs_f64() / theirs.as_secs_f64())
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let ratio = ratios[ratios.len() / 2];
    let (ours, theirs) = (ours.median(), theirs.median());
    println!("bench: {name} {ratio:.2} ({what}: {ours:.1?} against {theirs:.1?})");
}

/// One bundle, read by us and by dtn7's codec.
struct Reading {
    name: &'static str,
    bundle: Bundle,
    header: Vec<u8>,
    reading: Times,
    parsing: Times,
    hashing: Times,
    decoding: Times,
    checking: Times,
}

impl Reading {
    fn new(name: &'static str, bundle: Bundle, header: Vec<u8>) -> Self {
        let [reading, parsing, hashing, decoding, checking] = [(); 5].map(|()| Times::default());
        Self { name, bundle, header, reading, parsing, hashing, decoding, checking }
    }

    fn turn(&mut self) {
        let bytes = self.bundle.as_bytes();
        let decode = || bp7::Bundle::try_from(&bytes[..]).unwrap();
        self.reading.take(PARSES, || Unproven::read(bytes).unwrap());
        self.parsing.take(PARSES, || Bundle::parse(bytes.clone()).unwrap());
        self.hashing.take(PARSES, || digests_of(&self.bundle, &self.header));
        self.decoding.take(PARSES, decode);
        self.checking.take(PARSES, || {
            let mut decoded = decode();
            assert!(decoded.validate().is_ok() && decoded.crc_valid());
            decoded
        });
    }

    fn report(&self) {
        let Self { name, reading, parsing, hashing, decoding, checking, .. } = self;
        let line = |figure: &str, ours: &Times, theirs: &Times, what: &str| {
            report(&format!("bundle.{figure}.{name}"), ours, theirs, what);
        };
        let what = "all of the fixed form, its limits and CRC checked, against decoding by dtn7's codec";
        line("parse_vs_bp7", reading, decoding, what);
        let what = "the same against decoding and dtn7's own checks";
        line("parse_vs_bp7_checked", reading, checking, what);
        let what = "the same and its id proved by H, P and B, against decoding by dtn7's codec";
        line("parse_and_prove_vs_bp7", parsing, decoding, what);
        let what = "the same against decoding and dtn7's own checks, which hash nothing";
        line("parse_and_prove_vs_bp7_checked", parsing, checking, what);
        let what = "SHA-256 alone over as many bytes as H, P and B cover, against decoding by dtn7's codec";
        line("sha256_vs_bp7", hashing, decoding, what);
    }
}

fn main() {
    let mut numbers = Numbers(7);
    let (people, raw) = (People::new(&mut numbers), Raw::new());
    let [mut sealing, mut raw_sealing, mut opening, mut raw_opening] = [(); 4].map(|()| Times::default());
    let author = raw.signing.verifying_key().to_bytes();
    let mut readings =
        people.bundles(&mut numbers).map(|(name, bundle)| Reading::new(name, bundle, raw.header.clone()));
    for _ in 0..TURNS {
        let draft = people.draft();
        let sealed = sealing.take(MESSAGES, || seal(&people.author, &draft, &mut numbers).unwrap());
        let raw_sealed = raw_sealing.take(MESSAGES, || raw.seal(&mut numbers));
        let bytes = Bytes::copy_from_slice(sealed.bundle.as_bytes());
        let opened = opening.take(MESSAGES, || {
            let bundle = Bundle::parse(bytes.clone()).unwrap();
            open(&bundle, &people.recipient, &people.ring, Some(NOW_S)).unwrap()
        });
        assert_eq!(opened.content.len(), MESSAGE);
        raw_opening.take(MESSAGES, || raw.open(&raw_sealed, &author));
        readings.iter_mut().for_each(Reading::turn);
    }
    let raw = "a 1 KiB message against its raw X25519, Ed25519, ChaCha20-Poly1305 and SHA-256";
    report("bundle.seal_vs_raw", &sealing, &raw_sealing, &format!("seal and build {raw}"));
    report("bundle.open_vs_raw", &opening, &raw_opening, &format!("parse, verify and open {raw}"));
    readings.iter().for_each(Reading::report);
}
