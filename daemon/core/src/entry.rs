//! What a node knows about a bundle it holds, beside the bundle itself, and its stable bytes in the store.

use pigeon_bundle::NodeKey;

/// Copies a message has at birth, the author's own among them (PROTOCOL.md section 5).
pub const COPIES_AT_BIRTH: u8 = 6;
/// Hops after which a bundle is not handed over any more.
pub const HOPS_MAX: u8 = 16;
/// Hops a new bundle may start with, so that zero hops do not mark the author.
pub const HOPS_AT_BIRTH_MAX: u8 = 3;

const VERSION: u8 = 1;
const LENGTH_MAX: usize = 128;

/// Whose mail an entry is, which decides its share of the store and when it is evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pool {
    /// Written by an account of this node. Never displaced by anything else.
    Own,
    /// Handed over by a contact, or addressed to this node.
    Contact,
    /// Handed over by a stranger.
    Stranger,
}

/// What came of giving a bundle to the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Opened {
    /// Not tried, or tried and the answer was lost in a crash: it will be tried again.
    No,
    /// The mailbox holds the message durably.
    Delivered,
    /// A tag of ours, but no key of ours opens it; it is carried like any other.
    NotOurs,
    /// It opened and is not acceptable (expired, forged). Kept until expiry so that it is not pulled again.
    Refused,
}

/// State of one held bundle. Everything that decides behaviour after a restart is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Copies this node may still give away or keep; 0 means held for direct delivery and uplink only.
    pub copies: u8,
    /// Whose mail it is.
    pub pool: Pool,
    /// Node key that handed it over; `None` for own mail, and for what a bridge delivered.
    pub giver: Option<NodeKey>,
    /// The giver's node key was first seen less than an hour before (shared newcomers' bucket).
    pub newcomer: bool,
    /// Hand-overs so far, plus the random start.
    pub hops: u8,
    /// Seconds of age when this node received it.
    pub age_s: u64,
    /// Unix seconds of reception, if the clock was known.
    pub received_wall_s: Option<u64>,
    /// Seconds this node had been running in its whole life at reception: counts age without a clock.
    pub received_run_s: u64,
    /// What quality this copy has seen, as the policy counts it (q = 1 − exp(−x), 16 bits).
    pub best_quality: u16,
    /// Moves of the last copy so far.
    pub moves: u8,
    /// A bridge has accepted it: no upload, no spray, still delivered directly.
    pub at_bridge: bool,
    /// The bridge refused it: it is not uploaded again.
    pub refused_by_bridge: bool,
    /// Own mail that this node itself brought to its recipient, as far as the recipient's node says.
    pub brought: bool,
    /// What the mailbox said, where a tag of ours matched.
    pub opened: Opened,
}

impl Entry {
    /// Entry of a message written here: all copies, own pool. `hops` starts at a random 0 to 3 (the caller's
    /// randomness), `received_wall_s` is the time of writing.
    pub fn own(hops: u8, received_wall_s: Option<u64>) -> Self {
        Self {
            copies: COPIES_AT_BIRTH,
            pool: Pool::Own,
            giver: None,
            newcomer: false,
            hops: hops.min(HOPS_AT_BIRTH_MAX),
            age_s: 0,
            received_wall_s,
            received_run_s: 0,
            best_quality: 0,
            moves: 0,
            at_bridge: false,
            refused_by_bridge: false,
            brought: false,
            opened: Opened::No,
        }
    }

    /// Entry of mail for this node that a bridge has delivered and that cannot be opened for good yet: it is carried
    /// nowhere.
    pub fn from_bridge(received_wall_s: Option<u64>) -> Self {
        Self {
            copies: 0,
            pool: Pool::Contact,
            hops: 0,
            at_bridge: true,
            opened: Opened::Refused,
            ..Self::own(0, received_wall_s)
        }
    }

    /// Stable bytes for the store; the first byte is the version.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LENGTH_MAX);
        let flags = u8::from(self.newcomer)
            | u8::from(self.at_bridge) << 1
            | u8::from(self.refused_by_bridge) << 2
            | u8::from(self.giver.is_some()) << 3
            | u8::from(self.received_wall_s.is_some()) << 4
            | u8::from(self.brought) << 5;
        out.extend([VERSION, flags, self.copies, self.pool.to_byte(), self.hops, self.moves]);
        out.push(self.opened.to_byte());
        out.extend(self.best_quality.to_be_bytes());
        out.extend(self.age_s.to_be_bytes());
        out.extend(self.received_run_s.to_be_bytes());
        if let Some(wall_s) = self.received_wall_s {
            out.extend(wall_s.to_be_bytes());
        }
        if let Some(giver) = &self.giver {
            out.extend(giver.0);
        }
        out
    }

    /// Reads [`Entry::to_bytes`]. Refuses unknown versions, flags and lengths.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        let mut reader = Reader(bytes);
        let [version, flags, copies, pool, hops, moves, opened] = reader.take()?;
        if version != VERSION {
            return Err(EntryError::Version { found: version });
        }
        if flags >= 1 << 6 {
            return Err(EntryError::Value { field: "flags", found: flags });
        }
        let best_quality = u16::from_be_bytes(reader.take()?);
        let age_s = u64::from_be_bytes(reader.take()?);
        let received_run_s = u64::from_be_bytes(reader.take()?);
        let received_wall_s =
            if flags & 1 << 4 != 0 { Some(u64::from_be_bytes(reader.take()?)) } else { None };
        let giver = if flags & 1 << 3 != 0 { Some(NodeKey(reader.take()?)) } else { None };
        if !reader.0.is_empty() {
            return Err(EntryError::Trailing { bytes: reader.0.len() });
        }
        Ok(Self {
            copies,
            pool: Pool::from_byte(pool)?,
            giver,
            newcomer: flags & 1 != 0,
            hops,
            age_s,
            received_wall_s,
            received_run_s,
            best_quality,
            moves,
            at_bridge: flags & 1 << 1 != 0,
            refused_by_bridge: flags & 1 << 2 != 0,
            brought: flags & 1 << 5 != 0,
            opened: Opened::from_byte(opened)?,
        })
    }
}

impl Pool {
    fn to_byte(self) -> u8 {
        match self {
            Self::Own => 0,
            Self::Contact => 1,
            Self::Stranger => 2,
        }
    }

    fn from_byte(byte: u8) -> Result<Self, EntryError> {
        match byte {
            0 => Ok(Self::Own),
            1 => Ok(Self::Contact),
            2 => Ok(Self::Stranger),
            found => Err(EntryError::Value { field: "pool", found }),
        }
    }
}

impl Opened {
    fn to_byte(self) -> u8 {
        match self {
            Self::No => 0,
            Self::Delivered => 1,
            Self::NotOurs => 2,
            Self::Refused => 3,
        }
    }

    fn from_byte(byte: u8) -> Result<Self, EntryError> {
        match byte {
            0 => Ok(Self::No),
            1 => Ok(Self::Delivered),
            2 => Ok(Self::NotOurs),
            3 => Ok(Self::Refused),
            found => Err(EntryError::Value { field: "opened", found }),
        }
    }
}

/// Why stored bytes are no entry. The store is damaged or newer than this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Written by another version.
    #[error(
        "bundle entry has version {found}, this program reads version {VERSION}: use the newer pigeond, or restore a backup"
    )]
    Version {
        /// Version byte read.
        found: u8,
    },
    /// Too short.
    #[error("bundle entry ends early: the store is damaged, run a check")]
    Truncated,
    /// Bytes left over.
    #[error("bundle entry has {bytes} bytes too many: the store is damaged, run a check")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A field has a value that nothing writes.
    #[error("bundle entry has {field} {found}, which nothing writes: the store is damaged, run a check")]
    Value {
        /// Name of the field.
        field: &'static str,
        /// What was read.
        found: u8,
    },
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], EntryError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(EntryError::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn full() -> Entry {
        Entry {
            copies: 3,
            pool: Pool::Stranger,
            giver: Some(NodeKey([7; 32])),
            newcomer: true,
            hops: 4,
            age_s: 99,
            received_wall_s: Some(1_800_000_000),
            received_run_s: 12,
            best_quality: 0x1234,
            moves: 2,
            at_bridge: true,
            refused_by_bridge: true,
            brought: true,
            opened: Opened::NotOurs,
        }
    }

    #[test]
    fn bytes_round_trip() {
        for entry in [full(), Entry::own(2, None), Entry::own(9, Some(5))] {
            assert_eq!(Entry::from_bytes(&entry.to_bytes()).unwrap(), entry);
        }
        assert_eq!(Entry::own(9, None).hops, HOPS_AT_BIRTH_MAX);
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        let bytes = full().to_bytes();
        for end in 0..bytes.len() {
            assert_eq!(Entry::from_bytes(&bytes[..end]), Err(EntryError::Truncated), "cut at {end}");
        }
        let mut long = bytes;
        long.push(0);
        assert_eq!(Entry::from_bytes(&long), Err(EntryError::Trailing { bytes: 1 }));
    }

    #[test]
    fn unknown_values_are_refused() {
        for (at, field) in [(1, "flags"), (3, "pool"), (6, "opened")] {
            let mut bytes = full().to_bytes();
            bytes[at] = 0xee;
            assert_eq!(Entry::from_bytes(&bytes), Err(EntryError::Value { field, found: 0xee }));
        }
        let mut bytes = full().to_bytes();
        bytes[0] = 2;
        assert_eq!(Entry::from_bytes(&bytes), Err(EntryError::Version { found: 2 }));
    }
}
