//! Phase 4, the giver: which bundles may be offered on a link at all. News comes to the front by itself, the rest
//! is found by walking the store page by page, as the link has room.

use pigeon_bundle::BundleId;

use super::Session;
use crate::commits::Page;
use crate::context::Context;
use crate::core::Core;
use crate::entry::Pool;
use crate::event::LinkId;
use crate::trouble::Flow;

/// Bundles that wait to be offered on one link; beyond this the store is searched again.
pub const CANDIDATES_MAX: usize = 1024;
/// On a link that stays up, what was declined for want of room is offered again after this, then after twice
/// as long, and so on to 64 times.
pub const RETRY_MS: u64 = 60_000;
/// Entries read in one go, and how many times for one event.
const PAGE: usize = 256;
const PAGES_MAX: usize = 16;

/// How far the store was searched for what to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scan {
    From(Option<BundleId>),
    Paused { after: Option<BundleId>, due_ms: u64 },
    Done,
}

impl Session {
    pub(crate) fn scan_due_ms(&self) -> Option<u64> {
        match self.scan {
            Scan::Paused { due_ms, .. } if self.has_window() && self.may_spray() => Some(due_ms),
            _ => None,
        }
    }
}

impl Core {
    /// The bundle may be offered (again) to everybody but one.
    pub(crate) fn renew(&mut self, id: BundleId, except: Option<LinkId>) {
        for (link, session) in &mut self.sessions {
            if Some(*link) == except {
                continue;
            }
            if session.candidates.len() >= CANDIDATES_MAX {
                session.scan = Scan::From(None);
            } else if !session.candidates.contains(&id) {
                session.candidates.push_back(id);
            }
            self.dirty.insert(*link);
        }
    }

    /// Reads on in the store. False when there is nothing more for now.
    pub(super) fn search(&mut self, cx: &mut Context<'_>, link: LinkId) -> Flow<bool> {
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(false) };
        let mut after = match session.scan {
            Scan::Done => return Ok(false),
            Scan::Paused { due_ms, .. } if due_ms > cx.now.mono_ms => return Ok(false),
            Scan::Paused { after, .. } | Scan::From(after) => after,
        };
        for _ in 0..PAGES_MAX {
            let Page { entries: mut found, last } = self.commits.page(cx.catalog, after, PAGE)?;
            if last.is_none() {
                session.scan = Scan::Done;
                return Ok(false);
            }
            after = last;
            found.retain(|(id, entry)| entry.copies > 0 && !session.has(id));
            // Own mail first, then the largest budgets: those have spread least.
            found.sort_by_key(|(_, entry)| (entry.pool != Pool::Own, u8::MAX - entry.copies, entry.hops));
            session.candidates.extend(found.into_iter().map(|(id, _)| id));
            if !session.candidates.is_empty() {
                session.scan = Scan::From(after);
                return Ok(true);
            }
        }
        session.scan = Scan::Paused { after, due_ms: cx.now.mono_ms + 1 };
        Ok(false)
    }

    /// A link may stay up for days: what did not fit once is offered again.
    pub(super) fn retry_declined(&mut self, now_ms: u64) {
        for (link, session) in &mut self.sessions {
            if session.retry_ms.is_some_and(|retry_ms| retry_ms <= now_ms) {
                session.retry_ms = None;
                session.retries = session.retries.saturating_add(1);
                session.spray_closed = false;
                session.refused.clear();
                session.scan = Scan::From(None);
                let again = std::mem::take(&mut session.declined_direct);
                session.direct.extend(again);
                self.dirty.insert(*link);
            }
        }
    }
}
