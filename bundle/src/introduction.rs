//! Two people who meet exchange their cards over a link that nobody vouches for, and compare six digits
//! (`docs/wire-format.md` section 2).
//!
//! States are types; each step uses one up:
//!
//! ```text
//! dialler   Committed::start ─► commitment ─►                 Answered::answer   listener
//!           Committed::receive ◄─────────────── reveal ◄─     │
//!           │ ─► reveal ──────────────────────────────────►   Answered::receive
//!           Introduced: code, then the card                   Introduced: code, then the card
//! ```
//!
//! The dialler is bound to its card and nonce before it sees the listener's; the listener gives its own before it
//! sees the dialler's. So somebody between the two has to choose blindly, and is right once in a million.

use core::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::card::{CARD_SIZE_MAX, Card, CardError};
use crate::context;
use crate::random::{SecretRandom, secret_array};

/// Bytes of the first message, the dialler's commitment.
pub const COMMITMENT_SIZE: usize = 32;
/// Most bytes of a reveal: nonce and card.
pub const INTRODUCTION_MAX: usize = NONCE_SIZE + CARD_SIZE_MAX;
const NONCE_SIZE: usize = 32;
/// Codes have six digits.
const CODES: u64 = 1_000_000;

/// An introduction that must be given up. Start again, on a new link.
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
    /// The other side revealed something else than it was bound to.
    #[error(
        "introduction: the other side changed its card after it was bound to it; somebody may be in between"
    )]
    Commitment,
    /// The card does not verify.
    #[error("introduction: the other side's card: {0}")]
    Card(#[from] CardError),
    /// Our own card or nonce came back.
    #[error("introduction: our own card came back; somebody may be in between")]
    Reflected,
}

/// One side's nonce and card.
struct Side {
    nonce: [u8; NONCE_SIZE],
    card: Card,
}

impl Side {
    fn new(card: &Card, rng: &mut dyn SecretRandom) -> Self {
        Self { nonce: secret_array(rng), card: card.clone() }
    }

    fn commitment(&self) -> [u8; COMMITMENT_SIZE] {
        commitment(&self.nonce, self.card.as_bytes())
    }

    fn reveal(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([&self.nonce[..], self.card.as_bytes()].concat())
    }

    fn read(reveal: &[u8]) -> Result<(&[u8; NONCE_SIZE], &[u8]), IntroductionError> {
        match reveal.split_first_chunk() {
            Some((nonce, card)) if !card.is_empty() && card.len() <= CARD_SIZE_MAX => Ok((nonce, card)),
            _ => {
                let (min, max) = (NONCE_SIZE + 1, INTRODUCTION_MAX);
                Err(IntroductionError::Size { message: "reveal", size: reveal.len(), min, max })
            }
        }
    }

    /// The other side, as it says: another person, another nonce, and a card that is written in one way only.
    fn of_peer(own: &Self, nonce: &[u8; NONCE_SIZE], card: &[u8]) -> Result<Self, IntroductionError> {
        let card = Card::parse(card)?;
        if card.identity() == own.card.identity() || *nonce == own.nonce {
            return Err(IntroductionError::Reflected);
        }
        Ok(Self { nonce: *nonce, card })
    }
}

fn commitment(nonce: &[u8; NONCE_SIZE], card: &[u8]) -> [u8; COMMITMENT_SIZE] {
    context::sha256("introduction-commit", &[nonce, card])
}

/// The dialler, bound to its card and waiting for the listener's.
pub struct Committed {
    own: Side,
    binding: Vec<u8>,
}

impl Committed {
    /// Begins, on a link with this channel binding; gives the commitment to send.
    #[must_use]
    pub fn start(card: &Card, binding: &[u8], rng: &mut dyn SecretRandom) -> (Self, [u8; COMMITMENT_SIZE]) {
        let own = Side::new(card, rng);
        let commitment = own.commitment();
        (Self { own, binding: binding.to_vec() }, commitment)
    }

    /// Takes the listener's reveal; gives ours to send, and the code.
    ///
    /// # Errors
    /// [`IntroductionError`]; our card has not been sent then.
    pub fn receive(self, reveal: &[u8]) -> Result<(Introduced, Zeroizing<Vec<u8>>), IntroductionError> {
        let (nonce, card) = Side::read(reveal)?;
        let peer = Side::of_peer(&self.own, nonce, card)?;
        let answer = self.own.reveal();
        Ok((Introduced::new(&self.binding, &self.own, &peer, &peer), answer))
    }
}

/// The listener, who has shown its card and waits for the one that the dialler is bound to.
pub struct Answered {
    own: Side,
    binding: Vec<u8>,
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
    ) -> Result<(Self, Zeroizing<Vec<u8>>), IntroductionError> {
        let size = commitment.len();
        let commitment = commitment.try_into().map_err(|_| IntroductionError::Size {
            message: "commitment",
            size,
            min: COMMITMENT_SIZE,
            max: COMMITMENT_SIZE,
        })?;
        let own = Side::new(card, rng);
        let reveal = own.reveal();
        Ok((Self { own, binding: binding.to_vec(), commitment }, reveal))
    }

    /// Takes the dialler's reveal; gives the code.
    ///
    /// # Errors
    /// [`IntroductionError::Commitment`] where it is not what the dialler was bound to, and as
    /// [`Committed::receive`].
    pub fn receive(self, reveal: &[u8]) -> Result<Introduced, IntroductionError> {
        let (nonce, card) = Side::read(reveal)?;
        if commitment(nonce, card) != self.commitment {
            return Err(IntroductionError::Commitment);
        }
        let peer = Side::of_peer(&self.own, nonce, card)?;
        Ok(Introduced::new(&self.binding, &peer, &self.own, &peer))
    }
}

/// Both cards are exchanged. The other's may be taken only after both people have compared the code.
pub struct Introduced {
    code: u32,
    card: Card,
}

impl Introduced {
    fn new(binding: &[u8], dialler: &Side, listener: &Side, peer: &Side) -> Self {
        Self { code: code(binding, dialler, listener), card: peer.card.clone() }
    }

    /// Six digits, for people to compare.
    #[must_use]
    pub fn code(&self) -> String {
        format!("{:06}", self.code)
    }

    /// The name on the other's card, to ask "is this you?". Nothing vouches for it yet.
    #[must_use]
    pub fn name(&self) -> &str {
        self.card.name()
    }

    /// The other's card, after both people have said that the codes are the same.
    #[must_use]
    pub fn codes_are_the_same(self) -> Card {
        self.card
    }
}

fn code(binding: &[u8], dialler: &Side, listener: &Side) -> u32 {
    let (first, second) = (dialler.card.as_bytes(), listener.card.as_bytes());
    // Cards are bounded by CARD_SIZE_MAX, bindings by the links that make them.
    let length = |bytes: &[u8]| context::length_prefix(bytes).unwrap_or([0xff; 4]);
    let hash = context::sha256(
        "introduction-code",
        &[
            &length(binding),
            binding,
            &dialler.nonce,
            &listener.nonce,
            &length(first),
            first,
            &length(second),
            second,
        ],
    );
    let mut head = [0; 8];
    head.copy_from_slice(&hash[..8]);
    u32::try_from(u64::from_be_bytes(head) % CODES).unwrap_or(u32::MAX)
}

impl fmt::Debug for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Committed(…)")
    }
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answered(…)")
    }
}

impl fmt::Debug for Introduced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Introduced(…)")
    }
}
