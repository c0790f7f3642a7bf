//! Writes on their way. The catalog may show the old or the new state of a pending write, so every reader in
//! the core looks here first: copies are never given twice, and a removed bundle is not offered.

use std::collections::BTreeMap;

use pigeon_bundle::{BundleId, Commitment, NodeKey, Reveal};

use crate::action::{Action, RemovalReason, StoreOp};
use crate::catalog::{Catalog, CatalogResult};
use crate::entry::Entry;
use crate::event::{LinkId, Token};
use crate::reveal::Source;

/// What happens when a commit is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing more.
    Nothing,
    /// A bundle of a neighbour is held: say `Stored`.
    Taken { link: LinkId, node: NodeKey, bundle: BundleId },
    /// A hand-over is spent: say `Granted`.
    Spent { link: LinkId, node: NodeKey, bundle: BundleId, copies: u8 },
    /// A tombstone and what it kills: tried again if the write fails.
    Killed { reveal: Reveal, source: Source },
    /// A neighbour's mail was fetched from the bridge: it may be listed.
    Fetched { bundle: BundleId },
    /// Granted copies are counted: they may be given on.
    Gained { node: NodeKey, bundle: BundleId, copies: u8 },
}

/// See [`Commits::page`].
pub(crate) struct Page {
    /// Entries of bundles that are held, fewer than were read where some arrive or go.
    pub(crate) entries: Vec<(BundleId, Entry)>,
    /// After what to read on; `None` at the end.
    pub(crate) last: Option<BundleId>,
}

#[derive(Debug)]
enum View {
    Held(Entry),
    Arriving,
    Gone,
}

#[derive(Debug)]
struct Overlay {
    view: View,
    writes: u32,
}

#[derive(Debug)]
struct Pending {
    touched: Vec<BundleId>,
    tombstones: Vec<Commitment>,
    removals: Vec<(BundleId, RemovalReason)>,
    then: Then,
}

/// What an answered commit was for.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) then: Then,
    /// Bundles that have left the store, if it was written.
    pub(crate) removals: Vec<(BundleId, RemovalReason)>,
}

/// Commits that wait for their `Committed`.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    next: u64,
    pending: BTreeMap<Token, Pending>,
    overlay: BTreeMap<BundleId, Overlay>,
    tombstones: BTreeMap<Commitment, Reveal>,
}

impl Commits {
    /// Asks for a write. `ops` must not be empty.
    pub(crate) fn submit(&mut self, out: &mut Vec<Action>, ops: Vec<StoreOp>, then: Then) {
        let token = Token(self.next);
        self.next += 1;
        let mut pending = Pending { touched: Vec::new(), tombstones: Vec::new(), removals: Vec::new(), then };
        for op in &ops {
            match op {
                StoreOp::Put { bundle, .. } => self.touch(&mut pending, bundle.id(), View::Arriving),
                StoreOp::Update { id, entry } => self.touch(&mut pending, *id, View::Held(entry.clone())),
                StoreOp::Remove { id, reason } => {
                    self.touch(&mut pending, *id, View::Gone);
                    pending.removals.push((*id, *reason));
                }
                StoreOp::Tombstone { reveal, .. } => {
                    self.tombstones.insert(reveal.commitment(), *reveal);
                    pending.tombstones.push(reveal.commitment());
                }
                StoreOp::AddTaker { .. } | StoreOp::ForgetTombstone { .. } | StoreOp::SetState { .. } => {}
            }
        }
        self.pending.insert(token, pending);
        out.push(Action::Commit { token, ops });
    }

    fn touch(&mut self, pending: &mut Pending, id: BundleId, view: View) {
        let writes = self.overlay.get(&id).map_or(0, |overlay| overlay.writes);
        self.overlay.insert(id, Overlay { view, writes: writes + 1 });
        pending.touched.push(id);
    }

    /// A commit is answered: what it was for. `None` for a token that is not pending.
    pub(crate) fn answered(&mut self, token: Token) -> Option<Answered> {
        let pending = self.pending.remove(&token)?;
        for id in pending.touched {
            if let Some(overlay) = self.overlay.get_mut(&id) {
                overlay.writes -= 1;
                if overlay.writes == 0 {
                    self.overlay.remove(&id);
                }
            }
        }
        for commitment in pending.tombstones {
            self.tombstones.remove(&commitment);
        }
        Some(Answered { then: pending.then, removals: pending.removals })
    }

    /// The entry of a bundle that is durably held, with pending changes.
    pub(crate) fn entry(&self, catalog: &dyn Catalog, id: &BundleId) -> CatalogResult<Option<Entry>> {
        match self.overlay.get(id).map(|overlay| &overlay.view) {
            Some(View::Held(entry)) => Ok(Some(entry.clone())),
            Some(View::Arriving | View::Gone) => Ok(None),
            None => catalog.entry(id),
        }
    }

    /// The entry as it is, read with a page already; pending changes win.
    pub(crate) fn current(&self, id: &BundleId, read: Entry) -> Option<Entry> {
        match self.overlay.get(id).map(|overlay| &overlay.view) {
            Some(View::Held(entry)) => Some(entry.clone()),
            Some(View::Arriving | View::Gone) => None,
            None => Some(read),
        }
    }

    /// A page of the catalog, as [`Catalog::page`] reads it, with pending changes.
    pub(crate) fn page(
        &self,
        catalog: &dyn Catalog,
        after: Option<BundleId>,
        limit: usize,
    ) -> CatalogResult<Page> {
        let read = catalog.page(after, limit)?;
        let last = read.last().map(|(id, _)| *id);
        let current = read.into_iter().filter_map(|(id, read)| Some((id, self.current(&id, read)?)));
        Ok(Page { entries: current.collect(), last })
    }

    /// A write is pending after which something is said on this link.
    pub(crate) fn concern(&self, link: LinkId) -> bool {
        let says = |pending: &Pending| match pending.then {
            Then::Taken { link: on, .. } | Then::Spent { link: on, .. } => on == link,
            _ => false,
        };
        self.pending.values().any(says)
    }

    /// Any write of this bundle is pending.
    pub(crate) fn pending(&self, id: &BundleId) -> bool {
        self.overlay.contains_key(id)
    }

    /// A first write of this bundle is pending.
    pub(crate) fn arriving(&self, id: &BundleId) -> bool {
        matches!(self.overlay.get(id), Some(Overlay { view: View::Arriving, .. }))
    }

    /// A tombstone, durable or on its way.
    pub(crate) fn tombstone(
        &self,
        catalog: &dyn Catalog,
        commitment: &Commitment,
    ) -> CatalogResult<Option<Reveal>> {
        match self.tombstones.get(commitment) {
            Some(reveal) => Ok(Some(*reveal)),
            None => catalog.tombstone(commitment),
        }
    }
}
