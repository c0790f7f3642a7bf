//! How much of attachments may be under way. What is over a limit waits in the carriers' stores and in ours, sealed.

/// Attachments on their way in, from one author.
pub(super) const ARRIVING_PER_AUTHOR_MAX: usize = 32;
/// Attachments on their way in, together.
pub(super) const ARRIVING_MAX: usize = 256;
/// Bytes reserved for attachments on their way in from one author: 8 of the largest.
pub(super) const ARRIVING_BYTES_PER_AUTHOR_MAX: u64 = 130 << 20;
/// Bytes reserved for attachments on their way in, together; never more than this part of the store's quota: one in 2.
pub(super) const ARRIVING_BYTES_MAX: u64 = 512 << 20;
/// See [`ARRIVING_BYTES_MAX`].
pub(super) const ARRIVING_QUOTA_SHARE: u64 = 2;
/// Bundles that are remembered to be opened again when there is room. Of more, what came over a link waits for the
/// next copy, and what came from the account is dropped: its author still holds it for a link, and nobody may block the
/// account for all others.
pub(super) const WAITING_MAX: usize = 1_024;
/// Uploads by local apps that may be in memory at a time, each of at most 16 MiB; the others wait.
pub const UPLOADS_MAX: usize = 2;
/// Parts that are sealed and wait for the disk at a time, when an attachment is sent.
pub(super) const PARTS_IN_FLIGHT: usize = 4;
/// Bundles with the manifest of an attachment in parts: nothing arrives without one.
pub(super) const MANIFEST_COPIES: usize = 3;
/// About what a bundle takes in the store beside its payload step.
pub(super) const BUNDLE_OVERHEAD: u64 = 2_048;
/// Parts that are deleted in one transaction: each is a dozen entries of the store's tree.
pub(super) const DROPPED_AT_ONCE: usize = 4;
/// Records read in one go. Never of parts: each is 64 KiB.
pub(super) const PAGE: usize = 64;
/// Most reveals in one word to the core.
pub(super) const REVEALS_AT_ONCE: usize = 64;
