//! What follows a write, and the few writes that several handlers share.

use pigeon_bundle::BundleId;

use crate::action::{RemovalReason, StoreOp};
use crate::catalog::{BundleMeta, CatalogResult};
use crate::commits::{Answered, Then};
use crate::context::Context;
use crate::core::Core;
use crate::entry::{Entry, Pool};
use crate::event::{CommitFailure, LinkId, Token};
use crate::notice::Notice;
use crate::trouble::Flow;

impl Core {
    pub(crate) fn committed(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        result: Result<(), CommitFailure>,
    ) -> Flow {
        let Some(Answered { then, removals }) = self.commits.answered(token) else { return Ok(()) };
        if let Err(failure) = result {
            cx.notice(Notice::StorageProblem { reason: failure.to_string() });
            return self.commit_failed(cx, then);
        }
        for (bundle, reason) in removals {
            cx.notice(Notice::Purged { bundle, reason });
        }
        match then {
            Then::Nothing | Then::Killed { .. } => Ok(()),
            Then::Taken { link, node, bundle } => self.taken(cx, link, node, bundle),
            Then::Spent { link, node, bundle, copies } => self.spent(cx, link, node, bundle, copies),
            Then::Fetched { bundle } => self.fetched_durably(cx, bundle),
            Then::Gained { node, bundle, copies } => self.gained(cx, node, bundle, copies),
        }
    }

    fn commit_failed(&mut self, cx: &mut Context<'_>, then: Then) -> Flow {
        match then {
            Then::Taken { link, bundle, .. } => self.not_taken(cx, link, bundle),
            // Nothing is spent: no `Granted` is sent, and the copies are free again.
            Then::Spent { bundle, copies, .. } => {
                self.unspend(cx, bundle, copies)?;
                self.renew(bundle, None);
                Ok(())
            }
            Then::Killed { reveal, source } => {
                self.tombstones.write_again(cx.now.mono_ms, reveal, source);
                Ok(())
            }
            // The bridge keeps it until its recipient has it.
            Then::Nothing | Then::Gained { .. } | Then::Fetched { .. } => Ok(()),
        }
    }

    /// Writes asked for after the one that failed were made from an entry that had spent already.
    fn unspend(&mut self, cx: &mut Context<'_>, bundle: BundleId, copies: u8) -> Flow {
        if self.commits.pending(&bundle)
            && let Some(mut entry) = self.entry(cx, &bundle)?
        {
            entry.copies = entry.copies.saturating_add(copies);
            self.update(cx, bundle, entry);
        }
        Ok(())
    }

    pub(crate) fn submitted(&mut self, cx: &mut Context<'_>, bundle: BundleId) -> Flow {
        let Some(meta) = cx.catalog.meta(&bundle)? else { return Ok(()) };
        if self.own_tags.contains(&meta.tag) {
            self.opening.push(bundle);
            self.pump_openings(cx)?;
        }
        self.counters.took(Pool::Own, meta.size);
        self.make_room_for_own(cx)?;
        self.energy.news(cx.now.mono_ms, meta.has_uplink);
        self.announce(cx, bundle, &meta, None);
        self.uplink_news(cx, bundle)
    }

    /// A bundle that nobody on the links knows of: its tag is listed, and it may be offered.
    pub(crate) fn announce(
        &mut self,
        cx: &mut Context<'_>,
        bundle: BundleId,
        meta: &BundleMeta,
        except: Option<LinkId>,
    ) {
        let links: Vec<LinkId> = self.sessions.keys().copied().filter(|link| Some(*link) != except).collect();
        for link in links {
            self.list_news(cx, link, meta.tag);
        }
        self.neighbours.news(cx.now.mono_ms);
        self.renew(bundle, except);
    }

    /// The entry as the core knows it: durable, with what is being written.
    pub(crate) fn entry(&self, cx: &Context<'_>, id: &BundleId) -> CatalogResult<Option<Entry>> {
        self.commits.entry(cx.catalog, id)
    }

    pub(crate) fn update(&mut self, cx: &mut Context<'_>, id: BundleId, entry: Entry) {
        self.commits.submit(cx.out, vec![StoreOp::Update { id, entry }], Then::Nothing);
    }

    /// Removal of a bundle; people are told when it is durable.
    pub(crate) fn removal(&mut self, id: BundleId, reason: RemovalReason) -> StoreOp {
        self.uplink.forget(&id);
        StoreOp::Remove { id, reason }
    }
}
