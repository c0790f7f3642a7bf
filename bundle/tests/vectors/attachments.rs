//! Manifests and spare parts: `docs/wire-format.md` section 8.

use pigeon_bundle::attachment::{Cut, Manifest, PART_SIZE_MAX};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{compare, hex};

/// One part and copies of it; two parts; three, which is more than the spare parts' power of two.
const SIZES: [usize; 5] = [1, 100, PART_SIZE_MAX, PART_SIZE_MAX + 1, 2 * PART_SIZE_MAX + 1];

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

fn describe(size: usize) -> Value {
    let cut = Cut::new("platform.jpg", "image/jpeg", content(size)).unwrap();
    let (manifest, layout) = (cut.manifest(), cut.layout());
    let parts: Vec<&[u8]> = (0..layout.parts()).map(|index| cut.part(index).unwrap()).collect();
    json!({
        "size": size,
        "sha256": hex(manifest.digest()),
        "whole_sha256": hex(Manifest::whole("platform.jpg", "image/jpeg", &content(size)).unwrap().digest()),
        "needed": layout.needed(),
        "parts": layout.parts(),
        "part_size": layout.part_size(),
        "part_hashes": hex(manifest.part_hashes().concat()),
        "plain_sha256_of_parts": parts.iter().map(|part| hex(Sha256::digest(part))).collect::<Vec<_>>(),
    })
}

#[test]
fn manifests_and_spare_parts() {
    let attachments: Vec<Value> = SIZES.into_iter().map(describe).collect();
    compare(
        "attachments.json",
        &json!({ "comment": "Section 8. Content: byte i is i mod 251.", "attachments": attachments }),
    );
}
