//! Lists that span frames: what we hold goes out as macs, what the peer holds is collected until its list is complete.

use std::collections::BTreeSet;

use pigeon_bundle::BundleId;
use pigeon_proto::{Frame, MAC8_LIST_MAX, MAC16_LIST_MAX};

use crate::catalog::BundleMeta;
use crate::context::Context;
use crate::core::Core;
use crate::entry::Entry;
use crate::event::LinkId;
use crate::trouble::{Flow, Trouble};

/// Bundles listed to a peer. Beyond this the peer declines what it holds.
pub const HAVE_MAX: usize = 16_384;
/// Entries of a peer's list that are kept.
pub const LIST_MAX: usize = 65_536;
/// Entries read from the catalog in one go.
pub(super) const PAGE: usize = 256;

impl Core {
    /// Shows `visit` what is held, as it will be when all that is under way is written.
    pub(super) fn each_held(
        &self,
        cx: &Context<'_>,
        mut visit: impl FnMut(BundleId, &Entry, &BundleMeta),
    ) -> Flow {
        let mut after = None;
        let mut count = 0;
        while count < HAVE_MAX {
            let page = cx.catalog.page(after, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            count += page.len();
            for (id, read) in page {
                let Some(entry) = self.commits.current(&id, read) else { continue };
                if let Some(meta) = cx.catalog.meta(&id)? {
                    visit(id, &entry, &meta);
                }
            }
        }
        Ok(())
    }
}

/// Adds a frame's part to a list of the peer's.
pub(super) fn collect<const N: usize>(
    list: &mut BTreeSet<[u8; N]>,
    part: impl IntoIterator<Item = [u8; N]>,
    too_long: &'static str,
) -> Flow {
    list.extend(part);
    if list.len() > LIST_MAX { Err(Trouble::limit(too_long)) } else { Ok(()) }
}

/// Sends a list of 16-byte macs.
pub(super) fn send_list16(
    cx: &mut Context<'_>,
    link: LinkId,
    macs: Vec<[u8; 16]>,
    frame: fn(Vec<[u8; 16]>, bool) -> Frame,
) {
    send(cx, link, macs, MAC16_LIST_MAX, frame);
}

/// Sends a list of 8-byte macs.
pub(super) fn send_list8(
    cx: &mut Context<'_>,
    link: LinkId,
    macs: Vec<[u8; 8]>,
    frame: fn(Vec<[u8; 8]>, bool) -> Frame,
) {
    send(cx, link, macs, MAC8_LIST_MAX, frame);
}

/// In frames of the allowed length, at least one; in order, so that places say nothing.
fn send<const N: usize>(
    cx: &mut Context<'_>,
    link: LinkId,
    mut macs: Vec<[u8; N]>,
    most: usize,
    frame: fn(Vec<[u8; N]>, bool) -> Frame,
) {
    macs.sort_unstable();
    macs.dedup();
    let mut rest = macs.as_slice();
    loop {
        let (part, left) = rest.split_at(rest.len().min(most));
        cx.send(link, frame(part.to_vec(), left.is_empty()));
        if left.is_empty() {
            return;
        }
        rest = left;
    }
}
