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
}
