//! A key passes an account on to its successor (`docs/wire-format.md` section 7).

use crate::context::length_prefix;
use crate::identity::{Identity, SignatureError, verify};
use crate::ids::IdentityKey;

const CONTEXT: &str = "handover";

/// Signs, with the key that speaks for `jid` at the bridge `domain`, that `new` shall speak from now on.
#[must_use]
pub fn sign_handover(old: &Identity, new: &IdentityKey, domain: &str, jid: &str) -> [u8; 64] {
    let (domain, jid) = (prefixed(domain), prefixed(jid));
    old.sign(CONTEXT, &[&domain, &jid, old.key().as_ref(), new.as_ref()])
}

/// Whether `old` has passed `jid` at the bridge `domain` on to `new`.
///
/// # Errors
/// [`SignatureError`].
pub fn verify_handover(
    old: &IdentityKey,
    new: &IdentityKey,
    domain: &str,
    jid: &str,
    signature: &[u8; 64],
) -> Result<(), SignatureError> {
    let (domain, jid) = (prefixed(domain), prefixed(jid));
    verify(&old.0, CONTEXT, &[&domain, &jid, old.as_ref(), new.as_ref()], signature)
}

/// Domains and JIDs have limits far below 4 GiB; one that had not would sign as the empty text.
fn prefixed(text: &str) -> Vec<u8> {
    let length = length_prefix(text.as_bytes()).unwrap_or_default();
    [&length, text.as_bytes()].concat()
}
