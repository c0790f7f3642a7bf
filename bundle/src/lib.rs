//! Bundles, identities, contact cards and sealing: pure functions from bytes and keys to values.
//!
//! The bytes are fixed by `docs/wire-format.md`, sections 1 to 5. Nothing in this crate opens a socket
//! or a file, reads a clock or asks the operating system for randomness: time, keys and
//! [`SecretRandom`] are arguments (a test on the dependency tree and `clippy.toml` keep it so).
//!
//! In the order a message meets them:
//!
//! 1. [`Identity`], [`PrekeyRing`] and [`Card`]: who can be written to. [`Committed`] and [`Answered`]: two people
//!    who meet exchange cards.
//! 2. [`seal()`], or [`seal_once`] to a one-time key: the only ways to make a [`Bundle`] of one's own.
//! 3. [`Bundle::parse`]: the only way to take one from outside. A `Bundle` that exists is in the fixed form and has
//!    the id that it names; [`Unproven`] stands half-way.
//! 4. [`open()`] for the recipient, [`open_route`] and [`Verdict`] for the bridge.
//! 5. [`Reveal`]: whoever holds it ends the bundle's carriage.
//!
//! Content that is too large for one message travels as an [`attachment`].

pub mod attachment;
pub mod context;

mod blocks;
mod bridge_card;
mod bundle;
mod card;
mod digests;
mod exact;
mod foreign;
mod form;
mod handover;
mod hybrid;
mod identity;
mod ids;
mod introduction;
mod one_time;
mod padding;
mod pickup;
mod prekey;
mod random;
mod route;
mod seal;
mod shape;
mod signed;
mod text;
mod unproven;
mod verdict;

pub use bridge_card::{BRIDGE_CARD_SIZE_MAX, BridgeCard, BridgeCardFields, BridgeIdentity};
pub use bundle::{
    BUNDLE_SIZE_MAX, Bundle, BundleError, LIFETIME_DEFAULT_S, LIFETIME_MAX_S, LIFETIME_MIN_S, SHARD_COUNT,
    Uplink,
};
pub use card::{CARD_SIZE_MAX, CARD_TEXT_MAX, Card, CardError, CardFields};
pub use foreign::{
    FOREIGN_SIZE_MAX, ForeignBlock, ForeignBundle, ForeignError, FromForeign, HOP_LIMIT, HopCount,
    from_foreign, to_foreign,
};
pub use handover::{sign_handover, verify_handover};
pub use identity::{Identity, KeyError, NodeSecret, SignatureError, verify};
pub use ids::{
    BundleId, Commitment, DAY_S, Epoch, HeaderDigest, IdError, IdentityKey, MailboxSecret, MessageDigest,
    MessageId, NodeKey, Reveal, Tag,
};
pub use introduction::{
    Agreed, Answered, COMMITMENT_SIZE, Committed, Compared, IntroductionError, REVEAL_SIZE, SHOWN_CARD_MAX,
};
pub use one_time::{
    ONE_TIME_KEEP_S, ONE_TIME_LIFETIME_S, ONE_TIME_MAX, ONE_TIME_PER_CONTACT_CROWDED,
    ONE_TIME_PER_CONTACT_MAX, ONE_TIME_STOCK_MAX, OneTimeError, OneTimeKey, OneTimePublic, OneTimeRing,
    OneTimeStock,
};
pub use padding::{CONTENT_MAX, STEPS};
pub use pickup::{
    PICKUP_LIFETIME_MAX_S, PICKUP_REQUEST_MAX, PICKUP_TAGS_MAX, PICKUP_TOKEN_MAX, Pickup, PickupError,
    PickupRequest, PickupTerms, open_pickup, seal_pickup,
};
pub use prekey::{
    PREKEY_KEEP_S, PREKEY_LIFETIME_S, PREKEY_ROTATE_S, PREKEYS_MAX, Prekey, PrekeyError, PrekeyRing,
};
pub use random::SecretRandom;
pub use route::{Route, RouteError, open_route};
pub use seal::{
    BridgeDraft, Draft, OpenError, Opened, OpenedWith, SealError, Sealed, UplinkDraft, content_room,
    is_for_bridge, open, open_at_bridge, seal, seal_once, seal_to_bridge,
};
pub use text::{DOMAIN_MAX, JID_MAX, NAME_MAX, TextError};
pub use unproven::Unproven;
pub use verdict::{Acceptances, Verdict, VerdictCode, VerdictError};
