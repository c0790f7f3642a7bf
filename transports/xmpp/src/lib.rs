//! The uplink's XMPP client session and the bridge's component session.
//!
//! [`spawn_client`] logs in to an account, stays logged in, and carries bundles to a bridge and deliveries from it.
//! [`spawn_component`] is the bridge's own connection to its server (XEP-0114) with the right to send messages as
//! that server's users (XEP-0356). Both reconnect by themselves and say through events why they are offline.
//! The stanzas are those of docs/wire-format.md section 7; bundles, cards and verdicts are bytes here, checked by
//! others.
//!
//! # What an acknowledgement means
//!
//! - **Client, incoming.** With stream management (XEP-0198) the server keeps a stanza until we acknowledge it, and we
//!   acknowledge a delivered bundle only when its [`Taken`] is dropped or [done](Taken::done): hold it until the
//!   bundle is durable. A node that dies before that gets the message again: on resumption, or, when the old session
//!   ends, from the server's offline store. Two windows stay open. A server without stream management hands a message
//!   over once. And a server may drop or bounce what it could not deliver when the old session times out while a new
//!   one is online: a fixed [`ClientConfig::resource`] closes that window on Prosody, because the new session ends
//!   the old one first. [`ClientHandle::archive_page`] gives what such a window lost.
//! - **Client, outgoing.** An upload is done when the bridge's verdict arrives, nothing less. After
//!   [`ClientEvent::Online`] with `resumed: false` upload again whatever has no verdict.
//! - **Component.** There is no stream management; [`ComponentHandle::sync`] asks the server for an answer that it can
//!   only give after it has taken everything sent before. What the server sends while the bridge is not connected,
//!   or in the moment in which the connection breaks, is lost: carriers upload again.

mod ask;
mod backoff;
mod client;
mod component;
mod limits;
mod ns;
mod probe;
mod reason;
mod secret;
mod stanza;
mod wire;

pub use client::{
    ClientConfig, ClientEvent, ClientHandle, Closed, ConfigError, IqError, RegisterError, Taken,
    register_account, spawn_client,
};
pub use component::{
    ComponentConfig, ComponentEvent, ComponentHandle, IqAnswer, IqToken, SendError, SyncError, Synced,
    spawn_component,
};
pub use limits::{
    ACCEPTANCES_BYTES_MAX, BODY_BYTES_MAX, BUNDLE_BYTES_MAX, CARD_BYTES_MAX, PICKUP_BYTES_MAX, REVEALS_MAX,
    SLOW_LINK_BYTES_PER_S, STANZA_BYTES_MAX, UPLOAD_BUNDLES_MAX, UPLOAD_BYTES_MAX, VERDICT_BYTES_MAX,
};
pub use reason::OfflineReason;
pub use secret::Secret;
pub use stanza::StanzaError;
pub use stanza::archive::{ArchivePage, ArchiveStart, Archived};
pub use stanza::delivery::Delivery;
pub use stanza::error::Condition;
pub use stanza::iq::PickedUp;
pub use stanza::people::{Mark, RosterItem, Subscription};
pub use stanza::tell::KeyNotice;
