//! Every limit of this crate, in one place.

use std::time::Duration;

/// Largest bundle that travels in a stanza, bytes before base64 (docs/wire-format.md section 4).
pub const BUNDLE_BYTES_MAX: usize = 98_304;

/// Largest stanza that we send, bytes. It is the packaged limit for clients on Prosody and ejabberd; a larger
/// one would end the stream.
pub const STANZA_BYTES_MAX: usize = 262_144;

/// Most bundles in one upload that we read (docs/wire-format.md section 7).
pub const UPLOAD_BUNDLES_MAX: usize = 16;

/// Most bytes of bundles that we send in one upload, where it holds more than one: the stanza around them then stays below the
/// 10,000 bytes that every server takes (RFC 6120 section 13.12), whatever it says of its limits.
pub const UPLOAD_BYTES_MAX: usize = 6_900;

/// Largest received element, bytes: twice what Prosody lets a component send. A larger one ends the stream.
pub(crate) const ELEMENT_BYTES_MAX: usize = 1_048_576;

/// Deepest nesting that we build a tree of. Trees are dropped recursively: without a limit a stranger's stanza of
/// 37,000 nested tags would overflow the stack.
pub(crate) const ELEMENT_DEPTH_MAX: usize = 24;

/// Most elements in one received stanza that we build a tree of.
pub(crate) const ELEMENT_COUNT_MAX: usize = 512;

/// Most attributes of one received element.
pub(crate) const ATTRIBUTES_MAX: usize = 64;

/// Most namespace declarations in scope in a received element.
pub(crate) const NAMESPACES_MAX: usize = 64;

/// Most reveals in one IQ (docs/wire-format.md section 7).
pub const REVEALS_MAX: usize = 64;

/// Largest signed card in an IQ, bytes: the text form has at most 4,096 characters (docs/wire-format.md section 2).
pub const CARD_BYTES_MAX: usize = 4_096;

/// Largest request for a delegated pick-up, bytes (docs/wire-format.md section 10).
pub const PICKUP_BYTES_MAX: usize = 4_272;

/// Largest verdict, bytes: 3 fields of 32 to 64 bytes, a code and a time leave room to grow.
pub const VERDICT_BYTES_MAX: usize = 1_024;

/// Largest acceptances under one signature, bytes: two digests for each of 64, a signature and a time leave room to grow.
pub const ACCEPTANCES_BYTES_MAX: usize = 5_120;

/// Largest body text of a delivery, bytes.
pub const BODY_BYTES_MAX: usize = 65_536;

/// Longest JID that we accept from the network, bytes (RFC 7622 section 3.1: 3 × 1,023 and separators).
pub(crate) const JID_BYTES_MAX: usize = 3_071;

/// Longest stanza id or condition text that is passed on, bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 1_024;

/// Commands that wait for a session task before callers are held back.
pub(crate) const COMMANDS_MAX: usize = 32;

/// Events that wait for the application in the channel; what comes after stays in the session.
pub(crate) const EVENTS_MAX: usize = 64;

/// Events a session keeps beside the channel before it stops reading from the network.
pub(crate) const BACKLOG_MAX: usize = 16;

/// Bytes of bundles that a component keeps while it does not rely on its connection yet. What is more comes again.
pub(crate) const EARLY_BYTES_MAX: usize = 8 << 20;

/// Stanzas that the application has not taken yet before the client stops reading from the network.
pub(crate) const UNTAKEN_MAX: usize = 128;

/// Bytes not yet written or not yet acknowledged above which a session refuses to send more: thirty of the largest
/// bundles.
pub(crate) const OUTPUT_BYTES_MAX: usize = 4_194_304;

/// IQs of ours without an answer.
pub(crate) const IQS_MAX: usize = 64;

/// Deliveries whose recipient a component remembers, to name it when one comes back.
pub(crate) const DELIVERIES_REMEMBERED: usize = 1_024;

/// Hosts whose privilege announcements a component keeps.
pub(crate) const PRIVILEGED_HOSTS_MAX: usize = 64;

/// Addresses tried for one host name.
pub(crate) const ADDRESSES_MAX: usize = 8;

/// Most SCRAM iterations that a server may ask of us (RFC 5802): more would only burn our processor.
pub(crate) const SCRAM_ITERATIONS_MAX: u32 = 500_000;

/// Messages in one page of the archive: with the largest bundles 2 MiB.
pub(crate) const ARCHIVE_PAGE_MAX: usize = 20;

/// People on a roster that are read.
pub(crate) const ROSTER_MAX: usize = 512;

/// How long an IQ waits for its answer.
pub(crate) const IQ_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a stream may take to close properly.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Least time between two attempts to connect, however often somebody asks.
pub(crate) const ATTEMPT_SPACING: Duration = Duration::from_millis(500);

/// A slow uplink, bytes per second: packaged ejabberd passes 3,000. An answer is given as much more time as
/// the bytes before it need at this rate.
pub const SLOW_LINK_BYTES_PER_S: u64 = 2_000;
