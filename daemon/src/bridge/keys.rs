//! The bridge's keys and card on disk. The keys stay for the life of the bridge: nodes pin them.

use std::path::{Path, PathBuf};

use pigeon_bundle::{
    BRIDGE_CARD_SIZE_MAX, BridgeCard, BridgeCardFields, BridgeIdentity, CardError, SecretRandom,
};

use crate::keys::{KeyError, private_dir, read, write};

const KEY_FILE: &str = "bridge.key";
const CARD_FILE: &str = "bridge.card";
/// How long a card is good, seconds: a year.
const CARD_LIFETIME_S: u64 = 365 * 86_400;
/// A card with less left than this is replaced by a fresh one with the same keys, seconds: half a year, which is
/// far more than any bundle lives.
const CARD_RENEW_S: u64 = CARD_LIFETIME_S / 2;

/// Why the bridge has no card.
#[derive(Debug, thiserror::Error)]
pub enum BridgeKeyError {
    /// The key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The card could not be issued.
    #[error("cannot issue a card for {domain}: {source}\nhelp: correct `domain` in the config")]
    Issue {
        /// The domain.
        domain: String,
        /// What is wrong with it.
        source: CardError,
    },
    /// The card could not be kept.
    #[error("writing {}: {source}\nhelp: the bridge's user must own this path and have space on the disk", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Reads the bridge's keys in `dir`, or makes them (mode 0600, in a folder of mode 0700).
///
/// # Errors
/// [`KeyError`]; nothing is overwritten then.
pub fn identity(dir: &Path, rng: &mut dyn SecretRandom) -> Result<BridgeIdentity, KeyError> {
    private_dir(dir)?;
    let path = dir.join(KEY_FILE);
    if let Some(secret) = read::<64>(&path, "bridge", None)? {
        return Ok(BridgeIdentity::from_secret_bytes(&secret));
    }
    let identity = BridgeIdentity::generate(rng);
    write(&path, "bridge", identity.to_secret_bytes().as_ref(), None)?;
    Ok(identity)
}

/// The card in `dir`, if it is these keys' for this domain and has time left, or a fresh one.
///
/// # Errors
/// [`BridgeKeyError`]: the domain cannot stand on a card, or the disk refuses.
pub fn card(
    dir: &Path,
    identity: &BridgeIdentity,
    domain: &str,
    shards: &[String],
    now_s: u64,
) -> Result<BridgeCard, BridgeKeyError> {
    let path = dir.join(CARD_FILE);
    // A missing, damaged or foreign card is simply replaced: everything on it is known here.
    let held = std::fs::read(&path).ok().filter(|bytes| bytes.len() <= BRIDGE_CARD_SIZE_MAX);
    if let Some(card) = held.and_then(|bytes| BridgeCard::parse(&bytes).ok())
        && serves(&card, identity, domain, shards, now_s)
    {
        return Ok(card);
    }
    let fields = BridgeCardFields {
        domain: domain.to_owned(),
        issued_s: now_s,
        expires_s: now_s.saturating_add(CARD_LIFETIME_S),
        shards: shards.to_vec(),
    };
    let card = BridgeCard::issue(identity, &fields)
        .map_err(|source| BridgeKeyError::Issue { domain: domain.to_owned(), source })?;
    let aside = path.with_extension("new");
    std::fs::write(&aside, card.as_bytes())
        .and_then(|()| std::fs::rename(&aside, &path))
        .map_err(|source| BridgeKeyError::Write { path, source })?;
    Ok(card)
}

/// Whether `card` can still be handed out.
#[must_use]
pub fn serves(
    card: &BridgeCard,
    identity: &BridgeIdentity,
    domain: &str,
    shards: &[String],
    now_s: u64,
) -> bool {
    card.key() == &identity.key()
        && card.x25519() == &identity.x25519_public()
        && card.domain() == domain
        && card.shards() == shards
        && card.expires_s() > now_s.saturating_add(CARD_RENEW_S)
        // Issued by a clock that ran ahead: nodes would take it for newer than its successors.
        && card.issued_s() <= now_s.saturating_add(86_400)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::random::OsRandom;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn keys_are_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("new/home");
        let first = identity(&home, &mut OsRandom).unwrap();
        assert_eq!(identity(&home, &mut OsRandom).unwrap().key(), first.key());
        assert_eq!(identity(&home, &mut OsRandom).unwrap().x25519_public(), first.x25519_public());
        assert_eq!(std::fs::metadata(home.join(KEY_FILE)).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&home).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_card_stays_until_it_must_change() {
        let dir = tempfile::tempdir().unwrap();
        let keys = identity(dir.path(), &mut OsRandom).unwrap();
        let first = card(dir.path(), &keys, "bridge.example.org", &[], NOW).unwrap();
        let later = NOW + 86_400;
        assert_eq!(card(dir.path(), &keys, "bridge.example.org", &[], later).unwrap(), first);
        let renewed = card(dir.path(), &keys, "bridge.example.org", &[], NOW + CARD_RENEW_S).unwrap();
        assert!(renewed.issued_s() > first.issued_s());
        assert_eq!((renewed.key(), renewed.x25519()), (first.key(), first.x25519()));
        let moved = card(dir.path(), &keys, "b.example.net", &[], later).unwrap();
        assert_eq!(moved.domain(), "b.example.net");
        std::fs::write(dir.path().join(CARD_FILE), b"damaged").unwrap();
        assert_eq!(card(dir.path(), &keys, "b.example.net", &[], later).unwrap().key(), first.key());
    }

    #[test]
    fn a_domain_that_no_card_holds_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let keys = identity(dir.path(), &mut OsRandom).unwrap();
        assert!(matches!(card(dir.path(), &keys, "a b", &[], NOW), Err(BridgeKeyError::Issue { .. })));
    }
}
