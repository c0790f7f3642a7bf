//! Everything that can happen to a node, as the shell tells it to the core.

use pigeon_bundle::{Bundle, BundleId, NodeKey, Reveal, Tag};
use pigeon_proto::{Frame, PickupToken};

use crate::energy::Battery;

/// The time of an event. The core owns no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never goes back and counts suspend; its zero is arbitrary.
    pub mono_ms: u64,
    /// Unix seconds, where a clock is trusted.
    pub wall_s: Option<u64>,
}

/// One authenticated link, named by the shell; never used again after its `LinkDown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Names one `Commit` in its `Committed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A contact of the mailbox; the number means nothing to the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContactId(pub u64);

/// A sighting: transport and its token, as the transport that saw it wants it back in `Dial`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub String);

/// Who opened a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// This node.
    Dialler,
    /// The peer.
    Listener,
}

/// A contact with whom links can be recognised (wire-format section 6).
#[derive(Clone, PartialEq, Eq)]
pub struct ContactLink {
    /// The mailbox's name for it.
    pub contact: ContactId,
    /// `Identity::recognition_key` of the pair.
    pub recognition_key: [u8; 32],
}

impl std::fmt::Debug for ContactLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContactLink").field("contact", &self.contact).finish_non_exhaustive()
    }
}

/// An authenticated link, as `LinkUp` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkInfo {
    /// Name of the link in frames and actions.
    pub link: LinkId,
    /// The sighting that was dialled; `None` for an incoming link.
    pub peer: Option<PeerId>,
    /// The peer's node key, proven in `Auth`.
    pub node: NodeKey,
    /// This node's key on the link.
    pub own: NodeKey,
    /// Who dialled.
    pub role: Role,
    /// Channel binding.
    pub binding: [u8; 32],
    /// Cost class, cheaper first.
    pub cost: u8,
    /// Class of the peer's address (IPv4, IPv6 /64, BLE), for limits that new node keys do not escape.
    pub address: [u8; 8],
    /// The peer takes strangers' mail at the moment.
    pub carriage_open: bool,
    /// The peer's clock in Unix seconds, if it trusts one.
    pub clock_s: Option<u64>,
}

/// Why a commit did not happen. Nothing of it is in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitFailure {
    /// Quota or disk full.
    #[error("the store is full: free space or raise its quota")]
    Full,
    /// The store refused or failed to write.
    #[error("the store failed to write: {0}")]
    Storage(String),
}

/// What the mailbox made of a bundle that matched one of our tags. The first two are told only after the
/// mailbox's own commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenOutcome {
    /// A new message, now durable in the inbox.
    Delivered {
        /// Its r.
        reveal: Reveal,
    },
    /// A message already held (the same P came on another way).
    Duplicate {
        /// Its r.
        reveal: Reveal,
    },
    /// No key of this node opens it.
    NotOurs,
    /// It opens, and is expired, forged or malformed.
    Refused,
}

/// Input of the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The catalog is open. Always the first event.
    Started,
    /// Tags this node's mailbox listens to in all live epochs; replaces the former list.
    OwnTags(Vec<Tag>),
    /// Contacts that can be recognised on links; replaces the former list.
    Contacts(Vec<ContactLink>),
    /// A transport sees a peer. May repeat.
    Seen {
        /// Who.
        peer: PeerId,
        /// The tie-break says that this side dials at once.
        dial_first: bool,
    },
    /// The sighting is gone.
    Lost {
        /// Who.
        peer: PeerId,
    },
    /// A `Dial` came to nothing.
    DialFailed {
        /// Who.
        peer: PeerId,
    },
    /// A link is authenticated.
    LinkUp(LinkInfo),
    /// A link is gone, closed by whomever.
    LinkDown {
        /// Which.
        link: LinkId,
    },
    /// A checked frame arrived, in order.
    Frame {
        /// On which link.
        link: LinkId,
        /// The frame.
        frame: Frame,
    },
    /// Answer to a `Commit`, in order of submission.
    Committed {
        /// Which.
        token: Token,
        /// Durable, or not written at all.
        result: Result<(), CommitFailure>,
    },
    /// The mailbox made an own bundle durable (`Entry::own`).
    Submitted {
        /// Which.
        bundle: BundleId,
    },
    /// Answer to an `Open`. Also told, unasked, for a message that came over the uplink and was never held here.
    Opened {
        /// Which.
        bundle: BundleId,
        /// What came of it.
        outcome: OpenOutcome,
    },
    /// The bridge, or a receipt that the mailbox opened, revealed these.
    Revealed {
        /// The r of each.
        reveals: Vec<Reveal>,
    },
    /// The author of these cancels them: neighbours hear of it at once, and the bridge as soon as it can be reached.
    Cancelled {
        /// The r of each.
        reveals: Vec<Reveal>,
    },
    /// The bridge confirmed a `RevealToBridge`; it is not repeated after that.
    RevealConfirmed {
        /// The r of each.
        reveals: Vec<Reveal>,
    },
    /// The bridge can be reached.
    UplinkUp,
    /// It cannot any more; uploads without verdict start again with the next `UplinkUp`.
    UplinkDown,
    /// There is a bridge now that there was not before: what was refused may be for that one.
    BridgeAdded,
    /// It does not go up now, and others may in its place. Its bridge is away while another is there, and it goes up when
    /// the ways up have changed; or whoever says this tries again by himself.
    UploadDeferred {
        /// Which.
        bundle: BundleId,
    },
    /// The bridge's signed word on uploads, already verified.
    Verdict {
        /// Which.
        bundles: Vec<BundleId>,
        /// Accepted, or refused for good.
        accepted: bool,
    },
    /// What the platform says of the battery; `None` where there is none. Without this event there is none.
    Battery(Option<Battery>),
    /// The program is about to end: what is only written now and then is written now.
    Stopping,
    /// Answer to an `IssueToken`; none comes where there is no account or no bridge.
    TokenIssued {
        /// On which link.
        link: LinkId,
        /// For the neighbour at its other end.
        token: PickupToken,
    },
    /// A bridge handed this out for a token that a neighbour gave us.
    Fetched {
        /// The checked bundle.
        bundle: Bundle,
    },
    /// [`crate::Core::next_deadline_ms`] has passed. Harmless at any other time.
    Timer,
}
