//! Two people who meet compare six digits over a link that nobody vouches for, and then show each other their cards
//! (`docs/wire-format.md` section 2).
//!
//! States are types; each step uses one up:
//!
//! ```text
//! dialler   Committed::start ─► commitment ─►                 Answered::answer   listener
//!           Committed::receive ◄─────────────── reveal ◄─     │
//!           │ ─► reveal ──────────────────────────────────►   Answered::receive
//!           Compared: code                                    Compared: code
//! both      Compared::codes_are_the_same ─► card              Agreed::receive ◄─ card
//! ```
//!
//! The dialler is bound to its reveal before it sees the listener's; the listener gives its own before it sees the
//! dialler's. So somebody between the two has to choose blindly, and is right once in a million. A reveal binds to a card
//! and shows nothing of it: the card itself, with its mailbox secret, goes only to whom one's own person has confirmed.

use core::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::card::{CARD_SIZE_MAX, Card, CardError};
use crate::context;
use crate::random::{SecretRandom, secret_array};

/// Bytes of the first message, the dialler's commitment.
pub const COMMITMENT_SIZE: usize = 32;
/// Bytes of a reveal: nonce and the digest of a card.
pub const REVEAL_SIZE: usize = 64;
/// Most bytes of the message with a card: salt and card.
pub const SHOWN_CARD_MAX: usize = SALT_SIZE + CARD_SIZE_MAX;
const SALT_SIZE: usize = 32;
/// Codes have six digits.
const CODES: u64 = 1_000_000;

/// An introduction that must be given up. Start again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IntroductionError {
    /// A message of impossible size.
    #[error("introduction: {message} of {size} bytes, allowed are {min} to {max}; start again")]
    Size {
        /// Which message.
        message: &'static str,
        /// Bytes received.
        size: usize,
        /// Fewest allowed.
        min: usize,
        /// Most allowed.
        max: usize,
    },
    /// The other side revealed, or showed, something else than it was bound to.
    #[error(
        "introduction: the other side changed its {what} after it was bound to it; somebody may be in between"
    )]
    Bound {
        /// What it changed.
        what: &'static str,
    },
    /// The card does not verify.
    #[error("introduction: the other side's card: {0}")]
    Card(#[from] CardError),
    /// Our own card, digest or nonce came back.
    #[error("introduction: our own card came back; somebody may be in between")]
    Reflected,
}

/// What one side reveals: its nonce, and to which card it is bound.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Revealed {
    nonce: [u8; 32],
    card: [u8; 32],
}

impl Revealed {
    fn read(bytes: &[u8]) -> Result<Self, IntroductionError> {
        let bytes = exactly::<REVEAL_SIZE>("reveal", bytes)?;
        let mut reveal = Self { nonce: [0; 32], card: [0; 32] };
        reveal.nonce.copy_from_slice(&bytes[..32]);
        reveal.card.copy_from_slice(&bytes[32..]);
        Ok(reveal)
    }

    fn bytes(&self) -> [u8; REVEAL_SIZE] {
        let mut bytes = [0; REVEAL_SIZE];
        bytes[..32].copy_from_slice(&self.nonce);
        bytes[32..].copy_from_slice(&self.card);
        bytes
    }

    fn commitment(&self) -> [u8; COMMITMENT_SIZE] {
        context::sha256("introduction-commit", &[&self.nonce, &self.card])
    }
}

fn exactly<'a, const N: usize>(
    message: &'static str,
    bytes: &'a [u8],
) -> Result<&'a [u8; N], IntroductionError> {
    bytes.try_into().map_err(|_| IntroductionError::Size { message, size: bytes.len(), min: N, max: N })
}

/// What a reveal says of a card. The salt keeps it from whoever holds the card already and would know it again.
fn card_digest(salt: &[u8; SALT_SIZE], card: &[u8]) -> [u8; 32] {
    context::sha256("introduction-card", &[salt, card])
}

/// This side: what it reveals, and what it shows last.
struct Own {
    reveal: Revealed,
    salt: Zeroizing<[u8; SALT_SIZE]>,
    card: Card,
    binding: Vec<u8>,
}

impl Own {
    fn new(card: &Card, binding: &[u8], rng: &mut dyn SecretRandom) -> Self {
        let salt = Zeroizing::new(secret_array(rng));
        let reveal = Revealed { nonce: secret_array(rng), card: card_digest(&salt, card.as_bytes()) };
        Self { reveal, salt, card: card.clone(), binding: binding.to_vec() }
    }

    /// What comes back as it went is no other person's.
    fn check(&self, peer: &Revealed) -> Result<(), IntroductionError> {
        if peer.nonce == self.reveal.nonce || peer.card == self.reveal.card {
            return Err(IntroductionError::Reflected);
        }
        Ok(())
    }
}

/// The dialler, bound to what it will reveal, and waiting for the listener.
pub struct Committed {
    own: Own,
}

impl Committed {
    /// Begins, on a link with this channel binding; gives the commitment to send.
    #[must_use]
    pub fn start(card: &Card, binding: &[u8], rng: &mut dyn SecretRandom) -> (Self, [u8; COMMITMENT_SIZE]) {
        let own = Own::new(card, binding, rng);
        let commitment = own.reveal.commitment();
        (Self { own }, commitment)
    }

    /// Takes the listener's reveal; gives ours to send, and the code.
    ///
    /// # Errors
    /// [`IntroductionError`].
    pub fn receive(self, reveal: &[u8]) -> Result<(Compared, [u8; REVEAL_SIZE]), IntroductionError> {
        let peer = Revealed::read(reveal)?;
        self.own.check(&peer)?;
        let (own, code) = (self.own.reveal, code(&self.own.binding, &self.own.reveal, &peer));
        Ok((Compared { code, own: self.own, peer }, own.bytes()))
    }
}

/// The listener, who has revealed and waits for what the dialler is bound to.
pub struct Answered {
    own: Own,
    commitment: [u8; COMMITMENT_SIZE],
}

impl Answered {
    /// Takes the dialler's commitment; gives our reveal to send.
    ///
    /// # Errors
    /// [`IntroductionError::Size`] for what cannot be a commitment.
    pub fn answer(
        card: &Card,
        binding: &[u8],
        commitment: &[u8],
        rng: &mut dyn SecretRandom,
    ) -> Result<(Self, [u8; REVEAL_SIZE]), IntroductionError> {
        let commitment = *exactly("commitment", commitment)?;
        let own = Own::new(card, binding, rng);
        let reveal = own.reveal.bytes();
        Ok((Self { own, commitment }, reveal))
    }

    /// Takes the dialler's reveal; gives the code.
    ///
    /// # Errors
    /// [`IntroductionError::Bound`] where it is not what the dialler was bound to, and as [`Committed::receive`].
    pub fn receive(self, reveal: &[u8]) -> Result<Compared, IntroductionError> {
        let peer = Revealed::read(reveal)?;
        if peer.commitment() != self.commitment {
            return Err(IntroductionError::Bound { what: "reveal" });
        }
        self.own.check(&peer)?;
        let code = code(&self.own.binding, &peer, &self.own.reveal);
        Ok(Compared { code, own: self.own, peer })
    }
}

/// The code is there, for the two people to compare. No card has been shown.
pub struct Compared {
    code: u32,
    own: Own,
    peer: Revealed,
}

impl Compared {
    /// Six digits.
    #[must_use]
    pub fn code(&self) -> String {
        format!("{:06}", self.code)
    }

    /// Our person says that the other's screen shows the same code; gives our card to send.
    #[must_use]
    pub fn codes_are_the_same(self) -> (Agreed, Zeroizing<Vec<u8>>) {
        let Self { own, peer, .. } = self;
        let shown = Zeroizing::new([&own.salt[..], own.card.as_bytes()].concat());
        (Agreed { own: own.card, peer }, shown)
    }
}

/// Our card is on its way; the other's comes when that person has said the same.
pub struct Agreed {
    own: Card,
    peer: Revealed,
}

impl Agreed {
    /// Takes the other's card: that of the person whose screen showed our code.
    ///
    /// # Errors
    /// [`IntroductionError::Bound`] where it is not the card that the code stands for, a card that does not verify, or
    /// our own.
    pub fn receive(self, shown: &[u8]) -> Result<Card, IntroductionError> {
        let (min, max) = (SALT_SIZE + 1, SHOWN_CARD_MAX);
        let (salt, card) = match shown.split_first_chunk() {
            Some(parts) if (min..=max).contains(&shown.len()) => parts,
            _ => return Err(IntroductionError::Size { message: "card", size: shown.len(), min, max }),
        };
        if card_digest(salt, card) != self.peer.card {
            return Err(IntroductionError::Bound { what: "card" });
        }
        let card = Card::parse(card)?;
        if card.identity() == self.own.identity() {
            return Err(IntroductionError::Reflected);
        }
        Ok(card)
    }
}

fn code(binding: &[u8], dialler: &Revealed, listener: &Revealed) -> u32 {
    // Bindings are as long as the links that make them say: 32 bytes.
    let length = context::length_prefix(binding).unwrap_or([0xff; 4]);
    let hash = context::sha256("introduction-code", &[&length, binding, &dialler.bytes(), &listener.bytes()]);
    let mut head = [0; 8];
    head.copy_from_slice(&hash[..8]);
    u32::try_from(u64::from_be_bytes(head) % CODES).unwrap_or(u32::MAX)
}

macro_rules! shows_nothing {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}

shows_nothing!(Committed, Answered, Compared, Agreed);
