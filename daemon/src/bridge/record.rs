//! What the ledger keeps about a message and about a registered key, and their encodings on disk.

use pigeon_bundle::{BundleId, Commitment, IdentityKey, MessageDigest, VerdictCode, context};
use prost::Message as _;

/// A message for which there was no room is tried again after this, seconds, if somebody brings it.
pub const TRY_AGAIN_S: u64 = 900;

/// Names one act of speaking: message P, from one author to one recipient.
///
/// P alone is not enough. P says nothing about who hands it in: whoever carries somebody's bundle and has an account
/// of his own could sign a route of his own for it, have that accepted, and the author's upload would then be
/// answered "accepted" and never delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LedgerKey(pub [u8; Self::SIZE]);

impl LedgerKey {
    /// P and 16 bytes of a digest over the two JIDs.
    pub const SIZE: usize = 48;

    /// The key for a message and the two JIDs of its route.
    #[must_use]
    pub fn new(message: &MessageDigest, author: &str, recipient: &str) -> Self {
        // JIDs have no zero byte, so the pair has one reading.
        let pair = context::sha256("bridge-route", &[author.as_bytes(), &[0], recipient.as_bytes()]);
        let mut key = [0; Self::SIZE];
        key[..32].copy_from_slice(&message.0);
        key[32..].copy_from_slice(&pair[..16]);
        Self(key)
    }

    /// P.
    #[must_use]
    pub fn message(&self) -> MessageDigest {
        let mut message = [0; 32];
        message.copy_from_slice(&self.0[..32]);
        MessageDigest(message)
    }
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It may have been delivered: it is sent again with the same ids until the server has taken it.
    InDoubt,
    /// There is a final verdict.
    Decided {
        /// Which.
        code: VerdictCode,
        /// When, Unix seconds.
        time_s: u64,
    },
}

impl State {
    /// Whether the server has taken it.
    #[must_use]
    pub fn is_accepted(self) -> bool {
        matches!(self, Self::Decided { code, .. } if code.is_accepted())
    }

    /// Whether it was refused, for good or for a while.
    #[must_use]
    pub fn is_refused(self) -> bool {
        matches!(self, Self::Decided { code, .. } if !code.is_accepted())
    }

    /// What it counts as now: a refusal that can pass is tried again after a while.
    #[must_use]
    pub fn after(self, now_s: u64) -> Self {
        match self {
            Self::Decided { code, time_s }
                if code.is_passing() && now_s.saturating_sub(time_s) >= TRY_AGAIN_S =>
            {
                Self::InDoubt
            }
            state => state,
        }
    }
}

/// The ledger's entry for one [`LedgerKey`].
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// How far it has come.
    pub state: State,
    /// B of the bundle that was accepted first.
    pub bundle: BundleId,
    /// The commitment that a reveal must open.
    pub commitment: Commitment,
    /// The author's bare JID in normal form.
    pub author: String,
    /// The recipient's bare JID in normal form.
    pub recipient: String,
    /// End of the bundle's life, Unix seconds.
    pub expires_s: u64,
}

/// A key that may speak as a JID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The author's signing key.
    pub key: IdentityKey,
    /// Time of issue of the newest card seen, Unix seconds.
    pub issued_s: u64,
    /// When it lapses unless renewed, Unix seconds.
    pub until_s: u64,
    /// The account's own session has taken the right to speak from it. It stays known until it lapses, so that the next
    /// key must wait as for any other.
    pub is_revoked: bool,
    /// Another key that has given notice.
    pub successor: Option<Successor>,
    /// The newest `SignedCard` seen, for what the bridge itself has to say to the account's owner; empty in what earlier
    /// versions have kept.
    pub card: Vec<u8>,
}

/// A key that waits to speak for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Successor {
    /// The key.
    pub key: IdentityKey,
    /// From when it may be registered, Unix seconds.
    pub due_s: u64,
}

impl Registration {
    /// Whether the key may speak now.
    #[must_use]
    pub fn may_speak(&self, now_s: u64) -> bool {
        !self.is_revoked && !self.has_lapsed(now_s)
    }

    /// Whether nothing of it counts any more.
    #[must_use]
    pub fn has_lapsed(&self, now_s: u64) -> bool {
        now_s >= self.until_s
    }
}

/// Bytes in the ledger that are no record of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a ledger record has a damaged {0}; restore the ledger from a backup, or see docs/operators/bridge.md"
)]
pub struct RecordError(pub &'static str);

#[derive(Clone, PartialEq, prost::Message)]
struct RecordWire {
    /// 0: in doubt, else verdict code + 1.
    #[prost(uint32, tag = "1")]
    state: u32,
    #[prost(uint64, tag = "2")]
    decided_s: u64,
    #[prost(bytes = "vec", tag = "3")]
    bundle: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    commitment: Vec<u8>,
    #[prost(string, tag = "5")]
    author: String,
    #[prost(string, tag = "6")]
    recipient: String,
    #[prost(uint64, tag = "7")]
    expires_s: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RegistrationWire {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(uint64, tag = "2")]
    issued_s: u64,
    #[prost(uint64, tag = "3")]
    until_s: u64,
    #[prost(bool, tag = "4")]
    is_revoked: bool,
    /// Empty: none.
    #[prost(bytes = "vec", tag = "5")]
    successor: Vec<u8>,
    #[prost(uint64, tag = "6")]
    due_s: u64,
    #[prost(bytes = "vec", tag = "7")]
    card: Vec<u8>,
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (state, decided_s) = match self.state {
            State::InDoubt => (0, 0),
            State::Decided { code, time_s } => (code as u32 + 1, time_s),
        };
        RecordWire {
            state,
            decided_s,
            bundle: self.bundle.0.to_vec(),
            commitment: self.commitment.0.to_vec(),
            author: self.author.clone(),
            recipient: self.recipient.clone(),
            expires_s: self.expires_s,
        }
        .encode_to_vec()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let wire = RecordWire::decode(bytes).map_err(|_| RecordError("form"))?;
        let state = match wire.state.checked_sub(1) {
            None => State::InDoubt,
            Some(number) => State::Decided { code: code(number)?, time_s: wire.decided_s },
        };
        Ok(Self {
            state,
            bundle: wire.bundle.as_slice().try_into().map_err(|_| RecordError("bundle id"))?,
            commitment: wire.commitment.as_slice().try_into().map_err(|_| RecordError("commitment"))?,
            author: present("author", wire.author)?,
            recipient: present("recipient", wire.recipient)?,
            expires_s: wire.expires_s,
        })
    }
}

impl Registration {
    pub(super) fn encode(&self) -> Vec<u8> {
        RegistrationWire {
            key: self.key.0.to_vec(),
            issued_s: self.issued_s,
            until_s: self.until_s,
            is_revoked: self.is_revoked,
            successor: self.successor.map(|successor| successor.key.0.to_vec()).unwrap_or_default(),
            due_s: self.successor.map_or(0, |successor| successor.due_s),
            card: self.card.clone(),
        }
        .encode_to_vec()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let wire = RegistrationWire::decode(bytes).map_err(|_| RecordError("form"))?;
        let key = wire.key.as_slice().try_into().map_err(|_| RecordError("key"))?;
        let successor = match wire.successor.as_slice() {
            [] => None,
            key => Some(Successor {
                key: key.try_into().map_err(|_| RecordError("successor"))?,
                due_s: wire.due_s,
            }),
        };
        let (issued_s, until_s, is_revoked) = (wire.issued_s, wire.until_s, wire.is_revoked);
        Ok(Self { key, issued_s, until_s, is_revoked, successor, card: wire.card })
    }
}

/// Who writes to whom must not reach a log by way of a debug print.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Record({:?}, {:?}, until {})", self.bundle, self.state, self.expires_s)
    }
}

fn code(number: u32) -> Result<VerdictCode, RecordError> {
    VerdictCode::ALL.into_iter().find(|&code| code as u32 == number).ok_or(RecordError("state"))
}

fn present(field: &'static str, text: String) -> Result<String, RecordError> {
    if text.is_empty() { Err(RecordError(field)) } else { Ok(text) }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    pub(in crate::bridge) fn record(n: u8) -> Record {
        Record {
            state: State::InDoubt,
            bundle: BundleId([n; 32]),
            commitment: Commitment([n; 32]),
            author: "elaine@example.org".to_owned(),
            recipient: "jerry@example.org".to_owned(),
            expires_s: 1_800_000_000 + u64::from(n),
        }
    }

    #[test]
    fn every_state_comes_back() {
        let decided = VerdictCode::ALL.map(|code| State::Decided { code, time_s: 7 });
        for state in decided.into_iter().chain([State::InDoubt]) {
            let record = Record { state, ..record(1) };
            assert_eq!(Record::decode(&record.encode()).unwrap(), record);
        }
        let registration = Registration {
            key: IdentityKey([3; 32]),
            issued_s: 5,
            until_s: 9,
            is_revoked: true,
            successor: Some(Successor { key: IdentityKey([4; 32]), due_s: 7 }),
            card: vec![5; 300],
        };
        assert_eq!(Registration::decode(&registration.encode()).unwrap(), registration);
    }

    #[test]
    fn only_a_want_of_room_passes_and_only_with_time() {
        let decided = |code| State::Decided { code, time_s: 1_000 };
        for code in VerdictCode::ALL {
            assert_eq!(decided(code).after(1_000 + TRY_AGAIN_S - 1), decided(code));
            let later = decided(code).after(1_000 + TRY_AGAIN_S);
            assert_eq!(later == State::InDoubt, code == VerdictCode::Quota, "{code:?}");
        }
    }

    #[test]
    fn damage_is_an_error_and_not_a_default() {
        assert_eq!(Record::decode(&[]), Err(RecordError("bundle id")));
        assert_eq!(Registration::decode(&[]), Err(RecordError("key")));
        let wire = RecordWire { state: 99, ..RecordWire::decode(record(1).encode().as_slice()).unwrap() };
        assert_eq!(Record::decode(&wire.encode_to_vec()), Err(RecordError("state")));
        let bytes = record(1).encode();
        for end in 0..bytes.len() {
            assert_ne!(Record::decode(&bytes[..end]).ok(), Some(record(1)), "{end}");
        }
    }

    #[test]
    fn keys_tell_apart_what_speaks_for_whom() {
        let p = MessageDigest([1; 32]);
        let key = LedgerKey::new(&p, "a@h", "b@h");
        assert_eq!(key, LedgerKey::new(&p, "a@h", "b@h"));
        assert_ne!(key, LedgerKey::new(&p, "b@h", "a@h"));
        assert_ne!(key, LedgerKey::new(&p, "a@hb", "@h"));
        assert_ne!(key, LedgerKey::new(&MessageDigest([2; 32]), "a@h", "b@h"));
        assert_eq!(key.message(), p);
    }

    #[test]
    fn debug_names_nobody() {
        let text = format!("{:?}", record(1));
        assert!(!text.contains("elaine") && !text.contains("jerry"), "{text}");
    }
}
