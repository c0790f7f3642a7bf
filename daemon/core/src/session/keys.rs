//! Macs under which ids, commitments and tags appear on one link (wire-format section 6).

use pigeon_bundle::context::{hkdf32, hmac32};
use pigeon_bundle::{BundleId, Commitment, Tag};

use crate::event::Role;

/// The session key of a link.
pub(crate) struct SessionKeys {
    key: [u8; 32],
    binding: [u8; 32],
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKeys")
    }
}

impl SessionKeys {
    pub(crate) fn new(binding: [u8; 32]) -> Self {
        Self { key: hkdf32(&binding, "session"), binding }
    }

    pub(crate) fn id(&self, id: &BundleId) -> [u8; 16] {
        cut(hmac32(&self.key, "id", &[&id.0]))
    }

    pub(crate) fn commitment(&self, commitment: &Commitment) -> [u8; 16] {
        cut(hmac32(&self.key, "commitment-mac", &[&commitment.0]))
    }

    pub(crate) fn tag(&self, tag: &Tag) -> [u8; 8] {
        cut(hmac32(&self.key, "tag-mac", &[&tag.0]))
    }

    /// Proof of being one of the two contacts that share `recognition_key`; `role` is the sender's.
    pub(crate) fn recognise(&self, recognition_key: &[u8; 32], role: Role) -> [u8; 16] {
        let role = match role {
            Role::Dialler => 0,
            Role::Listener => 1,
        };
        cut(hmac32(recognition_key, "recognise-mac", &[&self.binding, &[role]]))
    }
}

fn cut<const N: usize>(mac: [u8; 32]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&mac[..N]);
    out
}

#[cfg(test)]
mod tests {
    use pigeon_bundle::Identity;

    use super::*;

    #[test]
    fn macs_depend_on_the_link_the_purpose_and_the_role() {
        let (one, two) = (SessionKeys::new([1; 32]), SessionKeys::new([2; 32]));
        let bytes = [7; 32];
        assert_ne!(one.id(&BundleId(bytes)), two.id(&BundleId(bytes)));
        assert_ne!(one.id(&BundleId(bytes)), one.commitment(&Commitment(bytes)));
        assert_ne!(one.tag(&Tag([1; 16])), one.tag(&Tag([2; 16])));
        assert_ne!(one.recognise(&bytes, Role::Dialler), one.recognise(&bytes, Role::Listener));
        assert_ne!(one.recognise(&bytes, Role::Dialler), two.recognise(&bytes, Role::Dialler));
        assert_eq!(one.id(&BundleId(bytes)), SessionKeys::new([1; 32]).id(&BundleId(bytes)));
    }

    /// The values of `tests/vectors/link.json`, which `tests/vectors/check.py` computes again.
    #[test]
    fn macs_are_those_of_the_vectors() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let keys = SessionKeys::new([0xb1; 32]);
        assert_eq!(hex(&keys.id(&BundleId([0xb0; 32]))), "26c7d8aa946837140b6002d592bab330");
        assert_eq!(hex(&keys.commitment(&Commitment([0xc0; 32]))), "99a48de9cbaa9189253dbe80f712f476");
        assert_eq!(hex(&keys.tag(&Tag([0xd0; 16]))), "51c9600450460dc4");
        let [one, two] = [[0x11; 64], [0x22; 64]].map(|secret| Identity::from_secret_bytes(&secret));
        let key = one.recognition_key(&two.x25519_public());
        let mac = |role| key.map(|key| hex(&keys.recognise(&key, role)));
        assert_eq!(mac(Role::Dialler).unwrap_or_default(), "804fef94df01369ecb591905f566a00d");
        assert_eq!(mac(Role::Listener).unwrap_or_default(), "dfb63b324fa94ef99dea7c69d1347b6c");
    }
}
