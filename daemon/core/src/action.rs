//! Everything the core asks of the shell.

use pigeon_bundle::{Bundle, BundleId, Commitment, NodeKey, Reveal};
use pigeon_proto::{Frame, GoodbyeReason, PickupToken};

use crate::energy::Windows;
use crate::entry::Entry;
use crate::event::{LinkId, PeerId, Token};
use crate::notice::Notice;

/// Output of the core, to be carried out in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Open a link to a sighting. Answered by `LinkUp` (with the sighting) or `DialFailed`.
    Dial {
        /// Which.
        peer: PeerId,
    },
    /// Send a frame.
    Send {
        /// On which link.
        link: LinkId,
        /// The frame.
        frame: Frame,
    },
    /// Say goodbye and close. Answered by `LinkDown`.
    Close {
        /// Which.
        link: LinkId,
        /// Why.
        reason: GoodbyeReason,
    },
    /// Write all of these or none, durably. Answered by `Committed`, in order of submission.
    Commit {
        /// Name in the answer.
        token: Token,
        /// What to write.
        ops: Vec<StoreOp>,
    },
    /// Let the mailbox try to open a durable bundle with a tag of ours. Answered by `Opened`.
    Open {
        /// Which.
        bundle: BundleId,
    },
    /// Send bundles up to their bridges, in this order. Each is answered by a `Verdict` or an `UploadDeferred`, or all by
    /// `UplinkDown`.
    Upload {
        /// Which.
        bundles: Vec<BundleId>,
    },
    /// Tell the bridge that these messages have arrived. Answered by `RevealConfirmed`; repeated with the
    /// next `UplinkUp` where that is missing.
    RevealToBridge {
        /// The r of each; at most 64.
        reveals: Vec<Reveal>,
    },
    /// Look for neighbours so much from now on, over all transports. Said once at the start, then at each change.
    Discover(Windows),
    /// Say from now on, in each Hello and announcement, whether strangers' mail is taken. Said once at the start, then
    /// at each change.
    Carriage {
        /// It is.
        open: bool,
    },
    /// Let the mailbox make a token by which this neighbour can fetch our mail. Answered by `TokenIssued`, or not at all.
    IssueToken {
        /// The link to the neighbour.
        link: LinkId,
        /// Its node key.
        carrier: NodeKey,
    },
    /// Keep a neighbour's token and hand it in when its bridge can be reached. What it brings comes as `Fetched`.
    KeepToken {
        /// Our node key on that link, to which the token is made out.
        own: NodeKey,
        /// The token.
        token: PickupToken,
    },
    /// For people and tests: what happened.
    Notice(Notice),
}

/// Why a bundle leaves the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RemovalReason {
    /// End of epoch + lifetime + 1 day has passed, or its age is over its lifetime.
    Expired,
    /// Its r is known.
    Tombstoned,
    /// Addressed to this node, and the mailbox holds the message.
    Delivered,
    /// Made room for other mail.
    Evicted,
}

impl RemovalReason {
    /// The reason in one word, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Tombstoned => "tombstoned",
            Self::Delivered => "delivered",
            Self::Evicted => "evicted",
        }
    }
}

/// One write. Several in one `Commit` are atomic.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreOp {
    /// Store a bundle with its entry; replaces the entry if the bundle is held.
    Put {
        /// The checked bundle.
        bundle: Bundle,
        /// Its state.
        entry: Entry,
    },
    /// Replace the entry of a held bundle; nothing where the bundle is gone.
    Update {
        /// Which.
        id: BundleId,
        /// Its new state.
        entry: Entry,
    },
    /// Remove a bundle, its entry and its takers; nothing where it is gone.
    Remove {
        /// Which.
        id: BundleId,
        /// Why.
        reason: RemovalReason,
    },
    /// Remember who took a copy; nothing where the bundle is gone.
    AddTaker {
        /// Which.
        id: BundleId,
        /// Node key of the taker.
        taker: NodeKey,
    },
    /// Remember a tombstone. The bundles with its commitment are removed by operations of their own.
    Tombstone {
        /// r; its commitment is the key.
        reveal: Reveal,
        /// Unix seconds after which it may be forgotten.
        expires_s: u64,
    },
    /// Forget a tombstone.
    ForgetTombstone {
        /// Its key.
        commitment: Commitment,
    },
    /// Keep a small value of the core's own. An empty value removes it.
    SetState {
        /// Short name.
        key: String,
        /// At most [`STATE_VALUE_MAX`] bytes.
        value: Vec<u8>,
    },
}

/// Limit of a `SetState` value in bytes.
pub const STATE_VALUE_MAX: usize = 65_536;
