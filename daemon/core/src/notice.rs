//! What happened, for `pigeon watch`, the logs and tests. Nothing depends on a notice.

use pigeon_bundle::{BundleId, Commitment, NodeKey};

use crate::action::RemovalReason;
use crate::event::ContactId;

/// One thing that happened. Holds no keys of people, no content, no tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A session began.
    NeighbourUp {
        /// The peer's node key.
        node: NodeKey,
        /// Always `None` at first; `NeighbourRecognised` may follow.
        contact: Option<ContactId>,
    },
    /// The peer proved to be a contact.
    NeighbourRecognised {
        /// The peer's node key.
        node: NodeKey,
        /// Who it is.
        contact: ContactId,
    },
    /// The last link to a peer ended.
    NeighbourDown {
        /// The peer's node key.
        node: NodeKey,
    },
    /// A hand-over was spent and granted.
    HandedOver {
        /// Which bundle.
        bundle: BundleId,
        /// To whom.
        node: NodeKey,
        /// Copies given.
        copies: u8,
    },
    /// A bundle was taken (durable), with no copies, or its copies were granted.
    Taken {
        /// Which bundle.
        bundle: BundleId,
        /// From whom.
        node: NodeKey,
        /// 0 when stored, n when granted.
        copies: u8,
        /// Hops so far.
        hops: u8,
    },
    /// The peer pulled a bundle and holds it durably.
    DeliveredDirect {
        /// Which bundle.
        bundle: BundleId,
        /// To whom.
        node: NodeKey,
    },
    /// A bundle was given to the uplink.
    Uploaded {
        /// Which bundle.
        bundle: BundleId,
    },
    /// The bridge took responsibility.
    BridgeAccepted {
        /// Which bundle.
        bundle: BundleId,
    },
    /// The bridge refused for good.
    BridgeRefused {
        /// Which bundle.
        bundle: BundleId,
    },
    /// A delivery became known.
    Tombstone {
        /// Key of the tombstone.
        commitment: Commitment,
    },
    /// A bundle left the store.
    Purged {
        /// Which bundle.
        bundle: BundleId,
        /// Why.
        reason: RemovalReason,
    },
    /// A neighbour's bundle did not pass the checks, and was discarded.
    BundleRefused {
        /// From whom.
        node: NodeKey,
        /// What was wrong with it.
        reason: String,
    },
    /// A peer broke a rule of the session, or a limit; the link was closed.
    LinkRefused {
        /// From whom.
        node: NodeKey,
        /// Which rule.
        reason: String,
    },
    /// A neighbour was given a token to fetch our mail.
    TokenGiven {
        /// Who.
        node: NodeKey,
    },
    /// A neighbour gave us a token to fetch its mail.
    TokenTaken {
        /// Who.
        node: NodeKey,
    },
    /// A neighbour's mail was fetched from the bridge, and is durable.
    Fetched {
        /// Which bundle.
        bundle: BundleId,
    },
    /// The store could not be read or written; what was going on was abandoned.
    StorageProblem {
        /// What failed.
        reason: String,
    },
}
