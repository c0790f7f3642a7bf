//! One-time prekeys: X25519 keys given to one contact inside sealed messages, each for one message, so that
//! nobody can open it again once it has arrived (`docs/wire-format.md` section 2).
//!
//! - [`OneTimeRing`] holds the private halves of keys that this node has given out: issue, open (by
//!   [`open`](crate::open())), [`remove`](OneTimeRing::remove) when the message is durable,
//!   [`prune`](OneTimeRing::prune) what was never used.
//! - [`OneTimeStock`] holds the public keys that one contact has given: [`take`](OneTimeStock::take) hands out
//!   each at most once, and [`seal_once`](crate::seal_once) uses it up.

use core::fmt;

use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::bundle::LIFETIME_MAX_S;
use crate::identity::KeyError;
use crate::ids::{DAY_S, Epoch, IdentityKey};
use crate::random::{SecretRandom, secret_array};

/// A one-time key is sealed to for this many seconds, and to the end of that day: 30 days.
pub const ONE_TIME_LIFETIME_S: u64 = LIFETIME_MAX_S;
/// The private half is kept this long past expiry: the longest life of a bundle, counted from the end of its day.
pub const ONE_TIME_KEEP_S: u64 = LIFETIME_MAX_S + DAY_S;
/// Most private halves held of keys given to one contact.
pub const ONE_TIME_PER_CONTACT_MAX: usize = 8;
/// Most private halves held: a bundle that opens with none costs a key agreement for each.
pub const ONE_TIME_MAX: usize = 256;
/// Most with one contact once half of [`ONE_TIME_MAX`] are held: late contacts get some too.
pub const ONE_TIME_PER_CONTACT_CROWDED: usize = 2;
/// Most public keys held of one contact.
pub const ONE_TIME_STOCK_MAX: usize = 16;

const VERSION: u8 = 1;
const KEY_BYTES: usize = 1 + 32 + 32 + 8;
const STOCK_ENTRY: usize = 32 + 8;

/// Bytes that are no one-time key or stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OneTimeError {
    /// Written by a newer program.
    #[error("one-time prekey has version {0}, this program reads {VERSION}; update it")]
    Version(u8),
    /// Cut short or too long.
    #[error("one-time prekey record of {0} bytes is damaged; restore it from a backup")]
    Damaged(usize),
    /// More keys than the limit.
    #[error("more than {ONE_TIME_MAX} one-time prekeys are kept; the rest is left out")]
    TooMany,
}

/// The private half of a key that was given to one contact. Wiped from memory on drop.
#[derive(Clone)]
pub struct OneTimeKey {
    secret: StaticSecret,
    public: [u8; 32],
    contact: IdentityKey,
    expires_s: u64,
}

impl OneTimeKey {
    fn new(secret: &[u8; 32], contact: IdentityKey, expires_s: u64) -> Self {
        let secret = StaticSecret::from(*secret);
        Self { public: PublicKey::from(&secret).to_bytes(), secret, contact, expires_s }
    }

    /// The public half: also the name of the key where it is kept.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Whom it was given to.
    #[must_use]
    pub fn contact(&self) -> IdentityKey {
        self.contact
    }

    /// Unix seconds after which it is not sealed to; the end of a day.
    #[must_use]
    pub fn expires_s(&self) -> u64 {
        self.expires_s
    }

    /// Unix seconds from which on no bundle sealed to it is alive.
    #[must_use]
    pub fn delete_s(&self) -> u64 {
        self.expires_s.saturating_add(ONE_TIME_KEEP_S)
    }

    /// Version ‖ secret ‖ contact ‖ expiry. Secret: encrypt it at rest.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; KEY_BYTES]> {
        let mut out = Zeroizing::new([0; KEY_BYTES]);
        out[0] = VERSION;
        out[1..33].copy_from_slice(self.secret.as_bytes());
        out[33..65].copy_from_slice(&self.contact.0);
        out[65..].copy_from_slice(&self.expires_s.to_be_bytes());
        out
    }

    /// Reads what [`OneTimeKey::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`OneTimeError`] for another version or length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OneTimeError> {
        let damaged = OneTimeError::Damaged(bytes.len());
        let (&version, rest) = bytes.split_first().ok_or(damaged)?;
        if version != VERSION {
            return Err(OneTimeError::Version(version));
        }
        let (secret, rest) = rest.split_first_chunk::<32>().ok_or(damaged)?;
        let (contact, expires) = rest.split_first_chunk::<32>().ok_or(damaged)?;
        let expires_s = u64::from_be_bytes(expires.try_into().map_err(|_| damaged)?);
        Ok(Self::new(secret, IdentityKey(*contact), expires_s))
    }

    pub(crate) fn secret(&self) -> &StaticSecret {
        &self.secret
    }
}

impl fmt::Debug for OneTimeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OneTimeKey(expires {})", self.expires_s)
    }
}

/// The private halves of all one-time keys that this node has given out and may still need, first to expire first.
#[derive(Debug, Clone, Default)]
pub struct OneTimeRing {
    keys: Vec<OneTimeKey>,
}

impl OneTimeRing {
    /// Makes at most `wanted` keys for one contact, fewer where a limit is near, and gives them. Make each durable
    /// together with the message that carries the public half.
    pub fn issue(
        &mut self,
        contact: IdentityKey,
        wanted: usize,
        now_s: u64,
        rng: &mut dyn SecretRandom,
    ) -> &[OneTimeKey] {
        let count = wanted.min(self.room(&contact));
        let expires_s = Epoch::at(now_s.saturating_add(ONE_TIME_LIFETIME_S)).end_s();
        let first = self.keys.len();
        for _ in 0..count {
            let secret = Zeroizing::new(secret_array::<32>(rng));
            self.keys.push(OneTimeKey::new(&secret, contact, expires_s));
        }
        &self.keys[first..]
    }

    /// How many more keys may be given to this contact now.
    #[must_use]
    pub fn room(&self, contact: &IdentityKey) -> usize {
        let theirs = self.keys.iter().filter(|key| key.contact == *contact).count();
        let crowded = self.keys.len() >= ONE_TIME_MAX / 2;
        let limit = if crowded { ONE_TIME_PER_CONTACT_CROWDED } else { ONE_TIME_PER_CONTACT_MAX };
        limit.saturating_sub(theirs).min(ONE_TIME_MAX.saturating_sub(self.keys.len()))
    }

    /// Takes in a key that was kept.
    ///
    /// # Errors
    /// [`OneTimeError::TooMany`] above [`ONE_TIME_MAX`].
    pub fn insert(&mut self, key: OneTimeKey) -> Result<(), OneTimeError> {
        if self.keys.len() >= ONE_TIME_MAX {
            return Err(OneTimeError::TooMany);
        }
        self.keys.push(key);
        Ok(())
    }

    /// Deletes the key that opened a message, once that message is durable. False where it is not held.
    pub fn remove(&mut self, public: &[u8; 32]) -> bool {
        let before = self.keys.len();
        self.keys.retain(|key| key.public != *public);
        before != self.keys.len()
    }

    /// Deletes the keys that no living bundle can be sealed to; gives their public halves, to delete what is kept.
    pub fn prune(&mut self, now_s: u64) -> Vec<[u8; 32]> {
        let mut gone = Vec::new();
        self.keys.retain(|key| {
            let keep = now_s < key.delete_s();
            if !keep {
                gone.push(key.public);
            }
            keep
        });
        gone
    }

    /// Keys that a bundle may be sealed to, first to expire first; without a clock all that are held.
    pub fn live(&self, now_s: Option<u64>) -> impl Iterator<Item = &OneTimeKey> {
        let mut live: Vec<_> =
            self.keys.iter().filter(|key| now_s.is_none_or(|now_s| now_s < key.delete_s())).collect();
        live.sort_by_key(|key| key.expires_s);
        live.into_iter()
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// A contact's one-time key, to be sealed to once. It cannot be copied: [`seal_once`](crate::seal_once) uses it up.
pub struct OneTimePublic {
    key: [u8; 32],
    expires_s: u64,
}

impl OneTimePublic {
    /// A key as a contact gave it, with the end of its use in Unix seconds.
    ///
    /// # Errors
    /// [`KeyError::SmallOrder`] for a key that nothing can be sealed to.
    pub fn new(key: [u8; 32], expires_s: u64) -> Result<Self, KeyError> {
        // Any scalar shows it: a point of small order gives zero with all of them, since X25519 clamps.
        let probe = StaticSecret::from([0x42; 32]).diffie_hellman(&PublicKey::from(key));
        if probe.was_contributory() { Ok(Self { key, expires_s }) } else { Err(KeyError::SmallOrder) }
    }

    /// Whether a message made then may be sealed to it: never without a clock.
    #[must_use]
    pub fn usable_at(&self, made_s: Option<u64>) -> bool {
        made_s.is_some_and(|made_s| made_s < self.expires_s)
    }

    pub(crate) fn into_key(self) -> [u8; 32] {
        self.key
    }
}

impl fmt::Debug for OneTimePublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OneTimePublic(expires {})", self.expires_s)
    }
}

/// The one-time keys that one contact has given to this node, first to expire first.
#[derive(Debug, Default)]
pub struct OneTimeStock {
    keys: Vec<OneTimePublic>,
}

impl OneTimeStock {
    /// Takes in the keys of one message. Unusable and known ones are ignored; beyond [`ONE_TIME_STOCK_MAX`] those that
    /// expire first go. True where anything changed.
    pub fn add(&mut self, keys: &[[u8; 32]], expires_s: u64) -> bool {
        let before = self.keys.len();
        let mut changed = false;
        for key in keys {
            if self.keys.iter().all(|held| held.key != *key)
                && let Ok(key) = OneTimePublic::new(*key, expires_s)
            {
                self.keys.push(key);
                changed = true;
            }
        }
        self.keys.sort_by_key(|key| key.expires_s);
        let surplus = self.keys.len().saturating_sub(ONE_TIME_STOCK_MAX);
        self.keys.drain(..surplus);
        changed || before != self.keys.len()
    }

    /// Takes out a key for a message made at `made_s`, and drops what has expired by then. The stock without it must be
    /// durable no later than the message. Without a clock there is none.
    pub fn take(&mut self, made_s: Option<u64>) -> Option<OneTimePublic> {
        made_s?;
        self.keys.retain(|key| key.usable_at(made_s));
        if self.keys.is_empty() { None } else { Some(self.keys.remove(0)) }
    }

    /// Drops all keys: the contact may have lost the private halves.
    pub fn clear(&mut self) {
        self.keys.clear();
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Version ‖ for each key, expiry; empty for an empty stock.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.keys.is_empty() {
            return Vec::new();
        }
        let entries = self.keys.iter().flat_map(|key| key.key.into_iter().chain(key.expires_s.to_be_bytes()));
        core::iter::once(VERSION).chain(entries).collect()
    }

    /// Reads what [`OneTimeStock::to_bytes`] wrote; nothing at all is an empty stock, as older programs kept it.
    ///
    /// # Errors
    /// [`OneTimeError`] for another version or length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OneTimeError> {
        let damaged = OneTimeError::Damaged(bytes.len());
        let Some((&version, rest)) = bytes.split_first() else { return Ok(Self::default()) };
        if version != VERSION {
            return Err(OneTimeError::Version(version));
        }
        let (entries, tail) = rest.as_chunks::<STOCK_ENTRY>();
        if entries.len() > ONE_TIME_STOCK_MAX || !tail.is_empty() {
            return Err(damaged);
        }
        let entry = |entry: &[u8; STOCK_ENTRY]| {
            let (key, expires) = entry.split_first_chunk::<32>()?;
            let expires_s = u64::from_be_bytes(expires.try_into().ok()?);
            Some(OneTimePublic { key: *key, expires_s })
        };
        Ok(Self { keys: entries.iter().map(entry).collect::<Option<_>>().ok_or(damaged)? })
    }
}
