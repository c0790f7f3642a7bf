//! Signed prekeys: X25519 keys that live for two weeks, so that a seized phone cannot open what was sealed
//! to it long ago (`docs/wire-format.md` section 2).

use core::fmt;

use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize as _, Zeroizing};

use crate::ids::DAY_S;
use crate::one_time::OneTimeRing;
use crate::random::{SecretRandom, secret_array};

/// A new prekey is made after this many seconds: 7 days.
pub const PREKEY_ROTATE_S: u64 = 7 * DAY_S;
/// A prekey is sealed to for this many seconds: 14 days.
pub const PREKEY_LIFETIME_S: u64 = 14 * DAY_S;
/// The private half is kept this long past expiry, until no bundle sealed to it can be alive: 31 + 1 days.
pub const PREKEY_KEEP_S: u64 = 32 * DAY_S;
/// Most prekeys in a ring. Seven is normal; a clock that jumps about makes more.
pub const PREKEYS_MAX: usize = 16;

const VERSION: u8 = 1;
const ENTRY_SIZE: usize = 32 + 8 + 8;
/// A newest key dated further ahead than this was made under a wrong clock and does not stop rotation.
const AHEAD_MAX_S: u64 = DAY_S;

/// Bytes that are no prekey ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PrekeyError {
    /// Written by a newer program.
    #[error("prekey ring has version {0}, this program reads {VERSION}; update it")]
    Version(u8),
    /// Cut short or too long.
    #[error("prekey ring of {0} bytes is damaged; restore it from a backup or start a new ring")]
    Damaged(usize),
}

/// One X25519 key pair with its dates.
#[derive(Clone)]
pub struct Prekey {
    secret: StaticSecret,
    public: [u8; 32],
    created_s: u64,
    expires_s: u64,
}

impl Prekey {
    fn new(secret: &[u8; 32], created_s: u64, expires_s: u64) -> Self {
        let secret = StaticSecret::from(*secret);
        Self { public: PublicKey::from(&secret).to_bytes(), secret, created_s, expires_s }
    }

    fn generate(now_s: u64, rng: &mut dyn SecretRandom) -> Self {
        let bytes = Zeroizing::new(secret_array::<32>(rng));
        Self::new(&bytes, now_s, now_s.saturating_add(PREKEY_LIFETIME_S))
    }

    /// The public half, for the card.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Unix seconds of its making.
    #[must_use]
    pub fn created_s(&self) -> u64 {
        self.created_s
    }

    /// Unix seconds after which authors do not seal to it any more.
    #[must_use]
    pub fn expires_s(&self) -> u64 {
        self.expires_s
    }

    /// Unix seconds after which the private half is deleted.
    #[must_use]
    pub fn delete_s(&self) -> u64 {
        self.expires_s.saturating_add(PREKEY_KEEP_S)
    }

    pub(crate) fn secret(&self) -> &StaticSecret {
        &self.secret
    }
}

impl fmt::Debug for Prekey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prekey(expires {})", self.expires_s)
    }
}

/// The prekeys of one identity, oldest first.
///
/// Call [`rotate`](Self::rotate) and [`prune`](Self::prune) when the clock is trusted, once a day or
/// oftener; keep [`to_bytes`](Self::to_bytes) durable before a card with the new key is given to anyone.
/// The [`OneTimeRing`] beside them comes and goes with messages: its keys are kept one by one.
#[derive(Debug, Default)]
pub struct PrekeyRing {
    keys: Vec<Prekey>,
    one_time: OneTimeRing,
}

impl PrekeyRing {
    /// A ring with one fresh prekey.
    pub fn generate(now_s: u64, rng: &mut dyn SecretRandom) -> Self {
        Self { keys: vec![Prekey::generate(now_s, rng)], one_time: OneTimeRing::default() }
    }

    /// Makes a new prekey if the newest is a week old; returns whether it did, and a new card is due.
    pub fn rotate(&mut self, now_s: u64, rng: &mut dyn SecretRandom) -> bool {
        let fresh = self.keys.last().is_some_and(|newest| {
            now_s < newest.created_s.saturating_add(PREKEY_ROTATE_S)
                && newest.created_s <= now_s.saturating_add(AHEAD_MAX_S)
        });
        if fresh {
            return false;
        }
        if self.keys.len() >= PREKEYS_MAX {
            self.drop_first_to_expire();
        }
        self.keys.push(Prekey::generate(now_s, rng));
        true
    }

    /// Deletes the private keys that no living bundle can be sealed to; returns how many.
    pub fn prune(&mut self, now_s: u64) -> usize {
        let before = self.keys.len();
        self.keys.retain(|key| now_s < key.delete_s());
        before - self.keys.len()
    }

    /// The prekey to put on cards: the newest.
    #[must_use]
    pub fn current(&self) -> Option<&Prekey> {
        self.keys.last()
    }

    /// Prekeys that a bundle may be sealed to, newest first; without a clock all that are held.
    pub fn live(&self, now_s: Option<u64>) -> impl Iterator<Item = &Prekey> {
        self.keys.iter().rev().filter(move |key| now_s.is_none_or(|now_s| now_s < key.delete_s()))
    }

    /// The one-time keys given out.
    #[must_use]
    pub fn one_time(&self) -> &OneTimeRing {
        &self.one_time
    }

    /// The one-time keys given out, to issue and to delete.
    pub fn one_time_mut(&mut self) -> &mut OneTimeRing {
        &mut self.one_time
    }

    /// The signed prekeys: version ‖ number of keys ‖ for each secret, creation, expiry. Secret: encrypt it at rest.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(2 + PREKEYS_MAX * ENTRY_SIZE));
        out.push(VERSION);
        // PREKEYS_MAX keeps the count in one byte.
        out.push(u8::try_from(self.keys.len()).unwrap_or(u8::MAX));
        for key in &self.keys {
            out.extend_from_slice(key.secret.as_bytes());
            out.extend_from_slice(&key.created_s.to_be_bytes());
            out.extend_from_slice(&key.expires_s.to_be_bytes());
        }
        out
    }

    /// Reads what [`PrekeyRing::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`PrekeyError`] for another version, count or length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PrekeyError> {
        let damaged = PrekeyError::Damaged(bytes.len());
        let (&version, rest) = bytes.split_first().ok_or(damaged)?;
        if version != VERSION {
            return Err(PrekeyError::Version(version));
        }
        let (&count, rest) = rest.split_first().ok_or(damaged)?;
        let (entries, tail) = rest.as_chunks::<ENTRY_SIZE>();
        let count = usize::from(count);
        if count > PREKEYS_MAX || entries.len() != count || !tail.is_empty() {
            return Err(damaged);
        }
        Ok(Self { keys: entries.iter().map(read_entry).collect(), one_time: OneTimeRing::default() })
    }

    /// Takes the signed prekeys of `renewed`, a copy of this ring that has been rotated and is durable by now.
    pub fn replace_signed(&mut self, renewed: Self) {
        self.keys = renewed.keys;
    }

    fn drop_first_to_expire(&mut self) {
        let first = (0..self.keys.len()).min_by_key(|&i| self.keys[i].expires_s);
        if let Some(first) = first {
            self.keys.remove(first);
        }
    }
}

fn read_entry(entry: &[u8; ENTRY_SIZE]) -> Prekey {
    let mut secret = [0; 32];
    secret.copy_from_slice(&entry[..32]);
    let time = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&entry[at..at + 8]);
        u64::from_be_bytes(bytes)
    };
    let key = Prekey::new(&secret, time(32), time(40));
    secret.zeroize();
    key
}
