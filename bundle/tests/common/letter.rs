//! Sealing written a second time from `docs/wire-format.md` section 3, with every statement free to be a lie.

use ed25519_dalek::{Signer as _, SigningKey};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, OpModeR, OpModeS, Serializable as _};
use pigeon_bundle::{Epoch, Identity, IdentityKey, Reveal};

use super::wire::{self, Block, Wire};
use super::{FixedRandom, NOW_S, Person};

type Kem = X25519HkdfSha256;

pub fn context(name: &str) -> Vec<u8> {
    format!("CarrierPigeon/1 {name}\0").into_bytes()
}

pub fn hpke_seal(public: &[u8; 32], name: &str, associated: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let public = <Kem as hpke::Kem>::PublicKey::from_bytes(public).unwrap();
    let (enc, ciphertext) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeS::Base,
        &public,
        &context(name),
        plaintext,
        associated,
        &mut FixedRandom::new("letter"),
    )
    .unwrap();
    [enc.to_bytes().to_vec(), ciphertext].concat()
}

pub fn hpke_open(secret: &[u8], name: &str, associated: &[u8], sealed: &[u8]) -> Vec<u8> {
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeR::Base,
        &<Kem as hpke::Kem>::PrivateKey::from_bytes(secret).unwrap(),
        &<Kem as hpke::Kem>::EncappedKey::from_bytes(&sealed[..32]).unwrap(),
        &context(name),
        &sealed[32..],
        associated,
    )
    .unwrap()
}

pub fn sign(identity: &Identity, name: &str, parts: &[&[u8]]) -> Vec<u8> {
    let seed: [u8; 32] = identity.to_secret_bytes()[..32].try_into().unwrap();
    let text = [context(name), parts.concat()].concat();
    SigningKey::from_bytes(&seed).sign(&text).to_bytes().to_vec()
}

pub fn field(number: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    prost::encode_length_delimiter(data.len(), &mut out).unwrap();
    out.extend_from_slice(data);
    out
}

/// A message of a clockless author; as [`Letter::honest`] leaves it, it opens.
pub struct Letter<'a> {
    pub signer: &'a Identity,
    pub author: IdentityKey,
    pub recipient: IdentityKey,
    pub sealed_to: [u8; 32],
    pub signed_sealed_to: [u8; 32],
    pub tag: [u8; 16],
    pub content: Vec<u8>,
    pub reveal: Reveal,
    pub commitment: [u8; 32],
    /// Takes the place of the signature that `signer` would make.
    pub signature: Option<Vec<u8>>,
    pub step: usize,
    /// The last byte of the padding.
    pub last: u8,
}

impl<'a> Letter<'a> {
    pub fn honest(author: &'a Person, recipient: &Person) -> Self {
        let reveal = Reveal([0x5a; 32]);
        Self {
            signer: &author.identity,
            author: author.identity.key(),
            recipient: recipient.identity.key(),
            sealed_to: *recipient.card.x25519(),
            signed_sealed_to: *recipient.card.x25519(),
            tag: recipient.card.mailbox_secret().tag(Epoch::at(NOW_S)).0,
            content: b"hello".to_vec(),
            reveal,
            commitment: wire::hash("commitment", &[&reveal.0]),
            signature: None,
            step: 256,
            last: 0,
        }
    }

    /// The bundle's bytes, with the source that fits them.
    pub fn bytes(&self) -> Vec<u8> {
        let mut wire = Wire {
            version: 7,
            flags: 4,
            crc: 2,
            destination: wire::dtn(&format!("//{}/m", wire::base32(&self.tag))),
            source: wire::dtn_none(),
            report_to: wire::dtn_none(),
            creation_ms: 0,
            sequence: 0,
            lifetime_ms: 604_800_000,
            blocks: vec![Block::new(240, 2, &wire::carriage(NOW_S / 86_400, &self.commitment))],
        };
        let header = wire.header();
        let payload = hpke_seal(&self.sealed_to, "seal", &header, &self.plaintext(&header));
        wire.blocks.push(Block::new(1, 1, &payload));
        wire.lie().encode()
    }

    fn plaintext(&self, header: &[u8; 32]) -> Vec<u8> {
        let length = u32::try_from(self.content.len()).unwrap().to_be_bytes();
        let parts: [&[u8]; 6] =
            [&self.author.0, &self.recipient.0, &self.signed_sealed_to, header, &length, &self.content];
        let signature = self.signature.clone().unwrap_or_else(|| sign(self.signer, "envelope", &parts));
        let envelope = [
            field(1, &self.author.0),
            field(2, &self.content),
            field(3, &self.reveal.0),
            field(4, &signature),
        ]
        .concat();
        let mut out = u32::try_from(envelope.len()).unwrap().to_be_bytes().to_vec();
        out.extend(envelope);
        assert!(out.len() < self.step, "choose a larger step");
        out.resize(self.step, 0);
        *out.last_mut().unwrap() = self.last;
        out
    }
}
