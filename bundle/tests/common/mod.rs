//! People, keys and a fixed generator for the tests of this crate.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of this module")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

pub mod letter;
pub mod python;
pub mod wire;

use std::convert::Infallible;

use pigeon_bundle::{
    BridgeCard, BridgeCardFields, BridgeIdentity, Card, CardFields, Draft, Epoch, Identity,
    LIFETIME_DEFAULT_S, MailboxSecret, MessageId, PrekeyRing, SecretRandom, UplinkDraft,
};
use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};

/// 2026-11-23 05:46:40 UTC, not a full hour.
pub const NOW_S: u64 = 1_795_412_800;

/// SHA-256 over a label and a counter: the same bytes in every run, on every machine.
pub struct FixedRandom {
    label: &'static str,
    counter: u64,
}

impl FixedRandom {
    pub fn new(label: &'static str) -> Self {
        Self { label, counter: 0 }
    }
}

impl SecretRandom for FixedRandom {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let block =
                Sha256::new().chain_update(self.label).chain_update(self.counter.to_be_bytes()).finalize();
            chunk.copy_from_slice(&block[..chunk.len()]);
            self.counter += 1;
        }
    }
}

impl TryRng for FixedRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut out = [0; 4];
        self.fill(&mut out);
        Ok(u32::from_be_bytes(out))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut out = [0; 8];
        self.fill(&mut out);
        Ok(u64::from_be_bytes(out))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        self.fill(dst);
        Ok(())
    }
}

impl TryCryptoRng for FixedRandom {}

/// Somebody with an identity, a prekey and a card made at [`NOW_S`].
pub struct Person {
    pub identity: Identity,
    pub ring: PrekeyRing,
    pub card: Card,
    pub jid: String,
}

impl Person {
    pub fn new(name: &'static str) -> Self {
        let mut rng = FixedRandom::new(name);
        let identity = Identity::generate(&mut rng);
        let ring = PrekeyRing::generate(NOW_S, &mut rng);
        let card = Card::issue(&identity, &fields(name, &ring, &mut rng)).unwrap();
        Self { identity, ring, card, jid: format!("{name}@subway.example") }
    }
}

pub fn fields(name: &str, ring: &PrekeyRing, rng: &mut FixedRandom) -> CardFields {
    let mut secret = [0; 32];
    rng.fill(&mut secret);
    let prekey = ring.current().unwrap();
    CardFields {
        name: name.to_owned(),
        jids: vec![format!("{name}@subway.example")],
        bridges: vec!["bridge.example".to_owned()],
        mailbox_secret: MailboxSecret(secret),
        prekey: prekey.public(),
        prekey_expires_s: prekey.expires_s(),
        issued_s: NOW_S,
    }
}

/// A bridge with its keys and card.
pub struct Bridge {
    pub identity: BridgeIdentity,
    pub card: BridgeCard,
}

impl Bridge {
    pub fn new(domain: &'static str) -> Self {
        let identity = BridgeIdentity::generate(&mut FixedRandom::new(domain));
        let fields = BridgeCardFields {
            domain: domain.to_owned(),
            issued_s: NOW_S,
            expires_s: NOW_S + 86_400,
            shards: Vec::new(),
        };
        let card = identity.card(&fields).unwrap();
        Self { identity, card }
    }
}

/// A draft made at [`NOW_S`], without an uplink.
pub fn draft<'a>(recipient: &'a Card, content: &'a [u8]) -> Draft<'a> {
    Draft {
        recipient,
        content,
        created_s: Some(NOW_S),
        epoch: Epoch::at(NOW_S),
        lifetime_s: LIFETIME_DEFAULT_S,
        uplink: None,
    }
}

pub fn uplink<'a>(bridge: &'a Bridge, author: &'a Person, recipient: &'a Person) -> UplinkDraft<'a> {
    UplinkDraft {
        bridge: &bridge.card,
        author_jid: &author.jid,
        recipient_jid: &recipient.jid,
        message_id: MessageId([0x11; 16]),
        sent_ms: NOW_S * 1_000,
    }
}
