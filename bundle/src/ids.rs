//! Names of things: a newtype for each, so that one kind of 32 bytes is never taken for another.

use core::fmt;
use core::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::context;

/// Seconds of a UTC day, the length of an [`Epoch`].
pub const DAY_S: u64 = 86_400;

/// Bytes or text that cannot be the named id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// Another number of bytes than the id has.
    #[error("{name} has {expected} bytes, got {got}")]
    Length {
        /// The type that was asked for.
        name: &'static str,
        /// Bytes the type holds.
        expected: usize,
        /// Bytes that were given.
        got: usize,
    },
    /// Text in another alphabet than the one required.
    #[error("{name} is not written as {encoding} of {bytes} bytes")]
    Text {
        /// The type that was asked for.
        name: &'static str,
        /// `hex` or `base32`.
        encoding: &'static str,
        /// Bytes the type holds.
        bytes: usize,
    },
}

fn parse_hex<const N: usize>(name: &'static str, text: &str) -> Result<[u8; N], IdError> {
    let error = IdError::Text { name, encoding: "hex", bytes: N };
    if text.len() != 2 * N {
        return Err(error);
    }
    let mut out = [0; N];
    match HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut out) {
        Ok(length) if length == N => Ok(out),
        _ => Err(error),
    }
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $size:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $size]);

        impl $name {
            /// Number of bytes.
            pub const SIZE: usize = $size;

            /// The bytes themselves.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl From<[u8; $size]> for $name {
            fn from(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdError;

            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                match bytes.try_into() {
                    Ok(bytes) => Ok(Self(bytes)),
                    Err(_) => Err(IdError::Length { name: stringify!($name), expected: $size, got: bytes.len() }),
                }
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex(stringify!($name), text).map(Self)
            }
        }
    };
}

/// Full text and a short debug form, for ids that may be shown.
macro_rules! shown {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}…)", stringify!($name), HEXLOWER.encode(&self.0[..4]))
            }
        }
    )*};
}

bytes_id! {
    /// B, the bundle id: what stores key on.
    BundleId, 32
}
bytes_id! {
    /// P, the message digest: what recipients and bridges deduplicate on.
    MessageDigest, 32
}
bytes_id! {
    /// H, the header digest: bound into the seal as associated data.
    HeaderDigest, 32
}
bytes_id! {
    /// SHA-256 of a [`Reveal`] under its context; stands in the bundle in clear.
    Commitment, 32
}
bytes_id! {
    /// r, 32 random bytes of one bundle. Whoever shows it ends the bundle's carriage.
    Reveal, 32
}
bytes_id! {
    /// What a bundle is addressed to for one day; only holders of the recipient's card can compute it.
    Tag, 16
}
bytes_id! {
    /// A node's Ed25519 verifying key, used on links only.
    NodeKey, 32
}
bytes_id! {
    /// An identity's Ed25519 verifying key: the name of a person in signatures.
    IdentityKey, 32
}
bytes_id! {
    /// The author's random id of a message; receipts name it.
    MessageId, 16
}
impl MessageId {
    /// In a route: the message holds nothing for people to read, so that a bridge shows none to ordinary clients
    /// (`docs/wire-format.md` section 7).
    pub const NONE: Self = Self([0; 16]);
}

shown!(BundleId, MessageDigest, HeaderDigest, Commitment, Tag, NodeKey, IdentityKey, MessageId);

impl fmt::Debug for Reveal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reveal(…)")
    }
}

impl Reveal {
    /// The commitment that this reveal opens.
    #[must_use]
    pub fn commitment(&self) -> Commitment {
        Commitment(context::sha256("commitment", &[&self.0]))
    }
}

impl Tag {
    /// RFC 4648 base32, lower case, no padding: 26 characters.
    #[must_use]
    pub fn to_base32(&self) -> String {
        base32_of_16(&self.0).map(char::from).iter().collect()
    }

    /// Reads what [`Tag::to_base32`] writes, and nothing else.
    ///
    /// # Errors
    /// [`IdError::Text`] on other lengths, upper case, padding or stray bits.
    pub fn from_base32(text: &str) -> Result<Self, IdError> {
        let error = IdError::Text { name: "Tag", encoding: "base32", bytes: Self::SIZE };
        text.as_bytes().try_into().ok().and_then(Self::from_base32_bytes).ok_or(error)
    }

    /// The same from the bytes of a text.
    pub(crate) fn from_base32_bytes(text: &[u8; BASE32_OF_16]) -> Option<Self> {
        if text.iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let (mut upper, mut out) = (*text, [0; Self::SIZE]);
        upper.make_ascii_uppercase();
        let length = BASE32_NOPAD.decode_mut(&upper, &mut out).ok()?;
        (length == Self::SIZE).then_some(Self(out))
    }
}

/// Characters of 16 bytes in base32.
pub(crate) const BASE32_OF_16: usize = 26;

/// RFC 4648 base32, lower case, no padding.
pub(crate) fn base32_of_16(bytes: &[u8; 16]) -> [u8; BASE32_OF_16] {
    let mut out = [0; BASE32_OF_16];
    BASE32_NOPAD.encode_mut(bytes, &mut out);
    out.make_ascii_lowercase();
    out
}

/// A UTC day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The day that holds this Unix second (the last day that fits for times beyond it).
    #[must_use]
    pub fn at(unix_s: u64) -> Self {
        Self(u32::try_from(unix_s / DAY_S).unwrap_or(u32::MAX))
    }

    /// First Unix second of the day.
    #[must_use]
    pub fn start_s(self) -> u64 {
        u64::from(self.0) * DAY_S
    }

    /// First Unix second after the day.
    #[must_use]
    pub fn end_s(self) -> u64 {
        self.start_s() + DAY_S
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The secret in a card from which tags are computed. Leaving it out of the live ones revokes the card.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Zeroize, ZeroizeOnDrop)]
pub struct MailboxSecret(pub [u8; 32]);

impl MailboxSecret {
    /// The tag under which mail for this secret travels on that day.
    #[must_use]
    pub fn tag(&self, epoch: Epoch) -> Tag {
        let mac = context::hmac32(&self.0, "tag", &[&epoch.0.to_be_bytes()]);
        let mut tag = [0; Tag::SIZE];
        tag.copy_from_slice(&mac[..Tag::SIZE]);
        Tag(tag)
    }

    /// The bytes themselves.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl AsRef<[u8]> for MailboxSecret {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&[u8]> for MailboxSecret {
    type Error = IdError;

    fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
        bytes.try_into().map(Self).map_err(|_| IdError::Length {
            name: "MailboxSecret",
            expected: 32,
            got: bytes.len(),
        })
    }
}

impl fmt::Debug for MailboxSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MailboxSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn text_forms() {
        let id = BundleId([0xab; 32]);
        assert_eq!(id.to_string(), "ab".repeat(32));
        assert_eq!(format!("{id:?}"), "BundleId(abababab…)");
        assert_eq!("AB".repeat(32).parse::<BundleId>().unwrap(), id);
        assert!("ab".repeat(31).parse::<BundleId>().is_err());
        assert!("zz".repeat(32).parse::<BundleId>().is_err());
        assert_eq!(
            BundleId::try_from(&[0; 31][..]).unwrap_err().to_string(),
            "BundleId has 32 bytes, got 31"
        );
    }

    #[test]
    fn secrets_stay_out_of_debug() {
        assert_eq!(
            format!("{:?} {:?}", Reveal([9; 32]), MailboxSecret([9; 32])),
            "Reveal(…) MailboxSecret(…)"
        );
    }

    #[test]
    fn base32_has_one_text_per_tag() {
        let tag = Tag([0xff; 16]);
        let text = tag.to_base32();
        assert_eq!(text, format!("{}4", "7".repeat(25)));
        assert_eq!(Tag::from_base32(&text).unwrap(), tag);
        // 26 characters carry 130 bits: the two stray ones must be zero.
        assert!(Tag::from_base32(&"7".repeat(26)).is_err());
        assert!(Tag::from_base32(&Tag([0; 16]).to_base32().to_ascii_uppercase()).is_err());
        assert!(Tag::from_base32(&format!("{text}======")).is_err());
        assert!(Tag::from_base32("ä").is_err());
    }

    #[test]
    fn epochs_are_days() {
        assert_eq!(Epoch::at(0), Epoch(0));
        assert_eq!(Epoch::at(DAY_S - 1), Epoch(0));
        assert_eq!(Epoch::at(DAY_S), Epoch(1));
        assert_eq!(Epoch::at(u64::MAX), Epoch(u32::MAX));
        assert_eq!(Epoch(1).end_s(), 2 * DAY_S);
    }

    #[test]
    fn tags_change_with_day_and_secret() {
        let secret = MailboxSecret([1; 32]);
        assert_ne!(secret.tag(Epoch(1)), secret.tag(Epoch(2)));
        assert_ne!(secret.tag(Epoch(1)), MailboxSecret([2; 32]).tag(Epoch(1)));
    }
}
