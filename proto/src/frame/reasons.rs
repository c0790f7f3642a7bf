//! Reasons that travel as numbers.

/// Why a link ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GoodbyeReason {
    /// 0: nothing left to say.
    Done,
    /// 1: the daemon stops.
    Shutdown,
    /// 2: the peer broke the protocol.
    ProtocolError,
    /// 3: another link to the same node stays.
    DuplicateLink,
    /// 4: a limit is reached.
    Limit,
    /// 5: the node key is rotated.
    KeyRotation,
}

impl GoodbyeReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Done,
        Self::Shutdown,
        Self::ProtocolError,
        Self::DuplicateLink,
        Self::Limit,
        Self::KeyRotation,
    ];

    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::Shutdown => 1,
            Self::ProtocolError => 2,
            Self::DuplicateLink => 3,
            Self::Limit => 4,
            Self::KeyRotation => 5,
        }
    }

    /// The reason with this number, if there is one.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

/// Why a bundle on offer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeclineReason {
    /// 1: held or refused before.
    Known,
    /// 2: its message is delivered.
    Tombstoned,
    /// 3: too large, or lives too long.
    SizeOrLifetime,
    /// 4: this neighbour's bucket is empty.
    Bucket,
    /// 5: the pool it would go into is full.
    PoolFull,
    /// 6: no mail of strangers at the moment.
    CarriageClosed,
    /// 7: past its time.
    Expired,
    /// 8: the taker is no better than those before it.
    QualityTooLow,
    /// 9: the write failed.
    StorageFailed,
}

impl DeclineReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Known,
        Self::Tombstoned,
        Self::SizeOrLifetime,
        Self::Bucket,
        Self::PoolFull,
        Self::CarriageClosed,
        Self::Expired,
        Self::QualityTooLow,
        Self::StorageFailed,
    ];

    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Known => 1,
            Self::Tombstoned => 2,
            Self::SizeOrLifetime => 3,
            Self::Bucket => 4,
            Self::PoolFull => 5,
            Self::CarriageClosed => 6,
            Self::Expired => 7,
            Self::QualityTooLow => 8,
            Self::StorageFailed => 9,
        }
    }

    /// The reason with this number, if there is one.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

/// Why an introduction is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndReason {
    /// 1: the sender's person says that the codes differ.
    CodesDiffer,
    /// 2: the sender's person left, or nothing came in time.
    BrokenOff,
    /// 3: what came broke a rule of the introduction.
    RulesBroken,
}

impl EndReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::CodesDiffer, Self::BrokenOff, Self::RulesBroken];

    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::CodesDiffer => 1,
            Self::BrokenOff => 2,
            Self::RulesBroken => 3,
        }
    }

    /// The reason with this number, if there is one.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}
