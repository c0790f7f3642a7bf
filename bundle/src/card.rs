//! Contact cards: everything needed to write to somebody (`docs/wire-format.md` section 2).

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message as _;
use thiserror::Error;

use crate::identity::{Identity, SignatureError, verify};
use crate::ids::{IdentityKey, MailboxSecret};
use crate::signed::{Signed, fixed};
use crate::text::{TextError, check_domain, check_jid, check_name};

/// Longest text form, in bytes.
pub const CARD_TEXT_MAX: usize = 4_096;
/// Largest encoded card, in bytes: what fits the text form.
pub const CARD_SIZE_MAX: usize = (CARD_TEXT_MAX - TEXT_HEAD.len()) / 4 * 3;
/// Most JIDs, and most bridge domains, on one card.
const LIST_MAX: usize = 4;
const TEXT_HEAD: &str = "pigeon:card:";
const CONTEXT: &str = "card";

/// A contact card or bridge card that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CardError {
    /// More bytes than any card has.
    #[error("card of {size} bytes, at most {max} are allowed")]
    TooLarge {
        /// Bytes given.
        size: usize,
        /// Most bytes allowed.
        max: usize,
    },
    /// Not the text form of a card.
    #[error("not a card: it must start with `pigeon:card:` and go on in base64url; copy the whole line")]
    Text,
    /// Not the protobuf message of a card.
    #[error("card is not readable as protobuf")]
    Protobuf(#[from] prost::DecodeError),
    /// A field with the wrong number of bytes.
    #[error("card field {field} has {got} bytes, must have {expected}")]
    Length {
        /// Which field.
        field: &'static str,
        /// Bytes it must have.
        expected: usize,
        /// Bytes it has.
        got: usize,
    },
    /// A text that may not stand in that field.
    #[error("card field {field} {problem}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        problem: TextError,
    },
    /// A list with a number of entries that is not allowed.
    #[error("card field {field} has {got} entries, allowed are {allowed}")]
    List {
        /// Which field.
        field: &'static str,
        /// Allowed numbers, in words.
        allowed: &'static str,
        /// Entries it has.
        got: usize,
    },
    /// The signature does not hold: the card was altered or is somebody else's.
    #[error("card was altered on the way; ask for it again")]
    Signature(#[from] SignatureError),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(bytes = "vec", tag = "1")]
    ed25519: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    x25519: Vec<u8>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, repeated, tag = "4")]
    jid: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    bridge: Vec<String>,
    #[prost(bytes = "vec", tag = "6")]
    mailbox_secret: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    prekey: Vec<u8>,
    #[prost(uint64, tag = "8")]
    prekey_expires: u64,
    #[prost(uint64, tag = "9")]
    issued: u64,
}

/// What the owner writes on a card; the keys come from the [`Identity`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardFields {
    /// Display name, 1 to 64 bytes.
    pub name: String,
    /// Bare JIDs, at most 4.
    pub jids: Vec<String>,
    /// Domains of bridges that may be used, at most 4.
    pub bridges: Vec<String>,
    /// Secret from which holders of this card compute tags.
    pub mailbox_secret: MailboxSecret,
    /// Public half of the signed prekey (X25519).
    pub prekey: [u8; 32],
    /// End of the prekey's use, Unix seconds.
    pub prekey_expires_s: u64,
    /// Time of issue, Unix seconds; 0 without a clock.
    pub issued_s: u64,
}

/// A contact card whose signature and fields have been checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Card {
    identity: IdentityKey,
    x25519: [u8; 32],
    fields: CardFields,
    bytes: Vec<u8>,
}

impl Card {
    /// Signs a card of one's own.
    ///
    /// # Errors
    /// [`CardError`] for fields that [`Card::parse`] would refuse.
    pub fn issue(identity: &Identity, fields: &CardFields) -> Result<Self, CardError> {
        let card = Wire {
            ed25519: identity.key().0.to_vec(),
            x25519: identity.x25519_public().to_vec(),
            name: fields.name.clone(),
            jid: fields.jids.clone(),
            bridge: fields.bridges.clone(),
            mailbox_secret: fields.mailbox_secret.0.to_vec(),
            prekey: fields.prekey.to_vec(),
            prekey_expires: fields.prekey_expires_s,
            issued: fields.issued_s,
        }
        .encode_to_vec();
        let signature = identity.sign(CONTEXT, &[&card]).to_vec();
        Self::parse(&Signed { card, signature }.encode_to_vec())
    }

    /// Reads a `SignedCard` and checks the signature and every field.
    ///
    /// # Errors
    /// [`CardError`] naming the field.
    pub fn parse(bytes: &[u8]) -> Result<Self, CardError> {
        let signed = Signed::parse(bytes, CARD_SIZE_MAX)?;
        let wire = Wire::decode(signed.card.as_slice())?;
        let identity = IdentityKey(fixed("ed25519", &wire.ed25519)?);
        verify(&identity.0, CONTEXT, &[&signed.card], &signed.signature)?;
        let x25519 = fixed("x25519", &wire.x25519)?;
        Ok(Self { identity, x25519, fields: check_fields(wire)?, bytes: signed.encode_to_vec() })
    }

    /// Reads the text form `pigeon:card:…`; white space around it is ignored.
    ///
    /// # Errors
    /// [`CardError::Text`] if it is no card at all, else as [`Card::parse`].
    pub fn from_text(text: &str) -> Result<Self, CardError> {
        let text = text.trim();
        if text.len() > CARD_TEXT_MAX {
            return Err(CardError::TooLarge { size: text.len(), max: CARD_TEXT_MAX });
        }
        let body = text.strip_prefix(TEXT_HEAD).ok_or(CardError::Text)?;
        Self::parse(&URL_SAFE_NO_PAD.decode(body).map_err(|_| CardError::Text)?)
    }

    /// The text form, for a QR code or a mail.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{TEXT_HEAD}{}", URL_SAFE_NO_PAD.encode(&self.bytes))
    }

    /// The encoded `SignedCard`, the signed part as it was received.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whose card it is.
    #[must_use]
    pub fn identity(&self) -> IdentityKey {
        self.identity
    }

    /// The owner's static X25519 key.
    #[must_use]
    pub fn x25519(&self) -> &[u8; 32] {
        &self.x25519
    }

    /// Display name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.fields.name
    }

    /// Bare JIDs of the owner, at most 4.
    #[must_use]
    pub fn jids(&self) -> &[String] {
        &self.fields.jids
    }

    /// Domains of bridges the owner uses, at most 4.
    #[must_use]
    pub fn bridges(&self) -> &[String] {
        &self.fields.bridges
    }

    /// The secret that tags for the owner are computed from.
    #[must_use]
    pub fn mailbox_secret(&self) -> &MailboxSecret {
        &self.fields.mailbox_secret
    }

    /// The signed prekey (X25519).
    #[must_use]
    pub fn prekey(&self) -> &[u8; 32] {
        &self.fields.prekey
    }

    /// End of the prekey's use, Unix seconds.
    #[must_use]
    pub fn prekey_expires_s(&self) -> u64 {
        self.fields.prekey_expires_s
    }

    /// Time of issue, Unix seconds; 0: the owner had no clock.
    #[must_use]
    pub fn issued_s(&self) -> u64 {
        self.fields.issued_s
    }

    /// The key to seal to: the prekey while it lasts; after that, or without a clock, the static key.
    #[must_use]
    pub fn recipient_key(&self, now_s: Option<u64>) -> [u8; 32] {
        match now_s {
            Some(now_s) if now_s < self.fields.prekey_expires_s => self.fields.prekey,
            _ => self.x25519,
        }
    }

    /// Whether this card replaces the one held: the same person's, issued later.
    #[must_use]
    pub fn supersedes(&self, held: &Self) -> bool {
        self.identity == held.identity && self.fields.issued_s > held.fields.issued_s
    }
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and JIDs must not reach a log by way of a debug print.
        write!(f, "Card(issued {})", self.fields.issued_s)
    }
}

fn check_fields(wire: Wire) -> Result<CardFields, CardError> {
    check_name(&wire.name).map_err(|problem| CardError::Field { field: "name", problem })?;
    check_list("jid", &wire.jid, check_jid)?;
    check_list("bridge", &wire.bridge, check_domain)?;
    Ok(CardFields {
        name: wire.name,
        jids: wire.jid,
        bridges: wire.bridge,
        mailbox_secret: MailboxSecret(fixed("mailbox_secret", &wire.mailbox_secret)?),
        prekey: fixed("prekey", &wire.prekey)?,
        prekey_expires_s: wire.prekey_expires,
        issued_s: wire.issued,
    })
}

fn check_list(
    field: &'static str,
    entries: &[String],
    check: fn(&str) -> Result<(), TextError>,
) -> Result<(), CardError> {
    if entries.len() > LIST_MAX {
        return Err(CardError::List { field, allowed: "0 to 4", got: entries.len() });
    }
    entries.iter().try_for_each(|entry| check(entry).map_err(|problem| CardError::Field { field, problem }))
}
