//! What a liar can make of somebody's bundle: variants with another Uplink block, or none, in the fixed form and with
//! every checksum right. Written against docs/wire-format.md, independently of the crate under test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "shared between tests")]

use bytes::Bytes;
use ed25519_dalek::Signer;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeS, Serializable};
use pigeon_bundle::{BridgeCard, Bundle, Identity, MessageDigest, MessageId, context};
use prost::Message;

/// The same message with another Uplink block (its data), or none. Source and CRC are computed anew.
pub fn with_uplink(bundle: &Bundle, uplink: Option<&[u8]>) -> Bytes {
    let id = context::sha256("bundle", &[bundle.message_digest().as_ref(), uplink.unwrap_or_default()]);
    let old = bundle.as_bytes();
    // An indefinite array of definite arrays: 9f, primary, Carriage, [Uplink], payload, ff.
    let mut decoder = minicbor::Decoder::new(old);
    decoder.array().unwrap();
    let mut blocks = Vec::new();
    while decoder.datatype().unwrap() != minicbor::data::Type::Break {
        let start = decoder.position();
        decoder.skip().unwrap();
        blocks.push(old[start..decoder.position()].to_vec());
    }
    let mut primary = blocks.remove(0);
    replace_source(&mut primary, bundle.id().as_bytes(), &id);
    let (carriage, payload) = (blocks.remove(0), blocks.pop().unwrap());
    let mut out = vec![0x9f];
    out.extend(primary);
    out.extend(carriage);
    if let Some(data) = uplink {
        out.extend([0x85, 0x18, 241, 3, 0, 0]);
        out.extend(byte_string(data));
    }
    out.extend(payload);
    out.push(0xff);
    out.into()
}

/// The data of an Uplink block, as docs/wire-format.md section 4 has it.
pub fn uplink_data(domain: &str, bridge_key: &[u8; 32], route: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = minicbor::Encoder::new(&mut out);
    encoder.array(4).unwrap().bytes(b"CP1").unwrap().str(domain).unwrap();
    encoder.bytes(bridge_key).unwrap().bytes(route).unwrap();
    out
}

/// A route that claims something.
pub struct Claim<'a> {
    pub author: &'a str,
    pub recipient: &'a str,
    pub message_id: MessageId,
    pub sent_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Route {
    #[prost(string, tag = "1")]
    author: String,
    #[prost(string, tag = "2")]
    recipient: String,
    #[prost(bytes = "vec", tag = "3")]
    message_id: Vec<u8>,
    #[prost(uint64, tag = "4")]
    sent_ms: u64,
    #[prost(bytes = "vec", tag = "5")]
    signature: Vec<u8>,
}

/// The same message with a route that `signer` signed and sealed to the bridge.
pub fn with_route(bundle: &Bundle, bridge: &BridgeCard, signer: &Identity, claim: &Claim<'_>) -> Bytes {
    with_signed_route(bundle, bridge, claim, &sign_route(&bundle.message_digest(), bridge, signer, claim))
}

/// The same message with a route sealed to the bridge under a signature that was made for something else.
pub fn with_signed_route(
    bundle: &Bundle,
    bridge: &BridgeCard,
    claim: &Claim<'_>,
    signature: &[u8; 64],
) -> Bytes {
    let route = seal_route(&bundle.message_digest(), bridge, claim, signature);
    with_uplink(bundle, Some(&uplink_data(bridge.domain(), bridge.key(), &route)))
}

fn sign_route(
    message: &MessageDigest,
    bridge: &BridgeCard,
    signer: &Identity,
    claim: &Claim<'_>,
) -> [u8; 64] {
    let prefixed = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let text = [
        context::context("route-author"),
        message.0.to_vec(),
        prefixed(bridge.domain().as_bytes()),
        bridge.key().to_vec(),
        prefixed(claim.author.as_bytes()),
        prefixed(claim.recipient.as_bytes()),
        prefixed(&claim.message_id.0),
        claim.sent_ms.to_be_bytes().to_vec(),
    ]
    .concat();
    let seed: [u8; 32] = signer.to_secret_bytes()[..32].try_into().unwrap();
    ed25519_dalek::SigningKey::from_bytes(&seed).sign(&text).to_bytes()
}

fn seal_route(
    message: &MessageDigest,
    bridge: &BridgeCard,
    claim: &Claim<'_>,
    signature: &[u8; 64],
) -> Vec<u8> {
    let route = Route {
        author: claim.author.to_owned(),
        recipient: claim.recipient.to_owned(),
        message_id: claim.message_id.0.to_vec(),
        sent_ms: claim.sent_ms,
        signature: signature.to_vec(),
    }
    .encode_to_vec();
    let mut plaintext = u16::try_from(route.len()).unwrap().to_be_bytes().to_vec();
    plaintext.extend(route);
    plaintext.resize(512, 0);
    let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(bridge.x25519()).unwrap();
    let (encapsulated, sealed) =
        hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &public,
            &context::context("route"),
            &plaintext,
            &[message.as_ref(), bridge.domain().as_bytes()].concat(),
            &mut SystemRandom,
        )
        .unwrap();
    [encapsulated.to_bytes().to_vec(), sealed].concat()
}

/// The operating system's randomness as hpke asks for it.
struct SystemRandom;

impl rand_core::TryRng for SystemRandom {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(getrandom::u32().unwrap())
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(getrandom::u64().unwrap())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        getrandom::fill(out).unwrap();
        Ok(())
    }
}

impl rand_core::TryCryptoRng for SystemRandom {}

/// Puts the source that follows from the new id in place of the old, and the CRC-32C right.
fn replace_source(primary: &mut [u8], old_id: &[u8; 32], new_id: &[u8; 32]) {
    let name = |id: &[u8; 32]| data_encoding::BASE32_NOPAD.encode(&id[..16]).to_ascii_lowercase();
    let (old, new) = (name(old_id), name(new_id));
    let at = primary.windows(old.len()).position(|part| part == old.as_bytes()).unwrap();
    primary[at..at + new.len()].copy_from_slice(new.as_bytes());
    let end = primary.len() - 4;
    primary[end..].fill(0);
    let crc = crc32c(primary);
    primary[end..].copy_from_slice(&crc.to_be_bytes());
}

fn crc32c(bytes: &[u8]) -> u32 {
    const REVERSED_POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |crc: u32, _| (crc >> 1) ^ (REVERSED_POLYNOMIAL & 0_u32.wrapping_sub(crc & 1));
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

pub fn byte_string(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    minicbor::Encoder::new(&mut out).bytes(data).unwrap();
    out
}
