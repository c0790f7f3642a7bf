//! Replies as people read them: plain, aligned, times in UTC.

pub(super) mod bundles;
pub(super) mod contacts;
pub(super) mod messages;
pub(super) mod node;
