//! Hashes, MACs and key derivation, each under a context of its own (`docs/wire-format.md` section 1).
//!
//! Every hash, MAC, derived key and signature of the project starts with one of these contexts, so that a
//! value made for one purpose can never be taken for another.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

const PREFIX: &[u8] = b"CarrierPigeon/1 ";
/// Bytes that are brought together before they are hashed: H fits, and the head of everything else.
const GATHERED_MAX: usize = 256;

/// `ctx(NAME)`: the ASCII bytes `CarrierPigeon/1 NAME`, then one zero byte.
///
/// ```
/// assert_eq!(pigeon_bundle::context::context("seal"), b"CarrierPigeon/1 seal\0");
/// ```
#[must_use]
pub fn context(name: &'static str) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX.len() + name.len() + 1);
    push_context(&mut out, name);
    out
}

fn push_context(out: &mut Vec<u8>, name: &'static str) {
    out.extend_from_slice(PREFIX);
    out.extend_from_slice(name.as_bytes());
    out.push(0);
}

/// The context followed by the parts, as one message to sign.
pub(crate) fn message(name: &'static str, parts: &[&[u8]]) -> Vec<u8> {
    let size: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(PREFIX.len() + name.len() + 1 + size);
    push_context(&mut out, name);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// SHA-256(`ctx(name)` ‖ parts).
#[must_use]
pub fn sha256(name: &'static str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    // Each call of the hash costs about as much as half a block: small parts go to it together.
    let (mut gathered, mut used) = ([0; GATHERED_MAX], 0);
    for part in [PREFIX, name.as_bytes(), &[0]].iter().chain(parts) {
        if part.len() > GATHERED_MAX - used {
            hash.update(&gathered[..used]);
            used = 0;
        }
        if let Some(place) = gathered.get_mut(used..used + part.len()) {
            place.copy_from_slice(part);
            used += part.len();
        } else {
            hash.update(part);
        }
    }
    hash.update(&gathered[..used]);
    hash.finalize().into()
}

/// HMAC-SHA-256(key, `ctx(name)` ‖ parts).
#[must_use]
pub fn hmac32(key: &[u8; 32], name: &'static str, parts: &[&[u8]]) -> [u8; 32] {
    // The block size is 64: a 32-byte key is padded by HMAC itself, so no key length can be refused.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(&context(name));
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// HKDF-SHA-256 with no salt, `ikm`, and info = `ctx(name)`, 32 bytes.
#[must_use]
pub fn hkdf32(ikm: &[u8], name: &'static str) -> [u8; 32] {
    let mut out = [0; 32];
    // HKDF refuses only more than 255 blocks of output; one block is asked for.
    let done = Hkdf::<Sha256>::new(None, ikm).expand(&context(name), &mut out);
    debug_assert!(done.is_ok());
    out
}

/// `lp(x)`: `u32(len x) ‖ x`, for texts in signatures. Fails on more than `u32::MAX` bytes.
pub(crate) fn length_prefix(bytes: &[u8]) -> Option<[u8; 4]> {
    u32::try_from(bytes.len()).ok().map(u32::to_be_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn hmac_equals_rfc_4231_construction() {
        // HMAC by its definition (RFC 2104), written out, against the crate.
        let key = [7; 32];
        let mut inner_pad = [0x36; 64];
        let mut outer_pad = [0x5c; 64];
        for (i, byte) in key.iter().enumerate() {
            inner_pad[i] ^= byte;
            outer_pad[i] ^= byte;
        }
        let inner = Sha256::new().chain_update(inner_pad).chain_update(context("tag")).chain_update(b"x");
        let outer = Sha256::new().chain_update(outer_pad).chain_update(inner.finalize()).finalize();
        assert_eq!(hmac32(&key, "tag", &[b"x"]), <[u8; 32]>::from(outer));
    }

    #[test]
    fn hkdf_equals_rfc_5869_definition() {
        // One block of output: T(1) = HMAC(HMAC(zeros, ikm), info ‖ 1).
        let mac = |key: &[u8], parts: &[&[u8]]| -> [u8; 32] {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
            parts.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().into()
        };
        let pseudo_random_key = mac(&[0; 32], &[b"input"]);
        assert_eq!(hkdf32(b"input", "session"), mac(&pseudo_random_key, &[&context("session"), &[1]]));
    }

    #[test]
    fn contexts_separate() {
        assert_ne!(sha256("header", &[b"x"]), sha256("message", &[b"x"]));
        assert_ne!(hmac32(&[0; 32], "tag", &[]), hmac32(&[0; 32], "tag-mac", &[]));
        assert_ne!(hkdf32(b"x", "session"), hkdf32(b"x", "recognise"));
    }
}
