//! The way up to the bridge: what to upload, in which order, how many at a time.

use std::collections::{BTreeMap, VecDeque};

use pigeon_bundle::BundleId;

use crate::action::{Action, StoreOp};
use crate::commits::{Page, Then};
use crate::context::Context;
use crate::core::Core;
use crate::entry::{Entry, Opened, Pool};
use crate::notice::Notice;
use crate::quality;
use crate::trouble::Flow;

/// With so many bytes of bundles under way without a verdict no other one starts. With one of the largest on top, a server
/// that takes 3,000 bytes a second, as ejabberd does as packaged, is through with them before [`VERDICT_TIMEOUT_MS`]; and
/// they fill a line of 1 MB/s with 0.1 s to the bridge and back.
pub const UPLOAD_WINDOW_BYTES: u64 = 131_072;
/// Bundles under way without a verdict, however small.
pub const UPLOADS_MAX: usize = 128;
/// An upload without a verdict is tried again after this.
pub const VERDICT_TIMEOUT_MS: u64 = 120_000;
/// Bundles that wait for an upload; the rest is found in the store when these are through.
pub const UPLOAD_QUEUE_MAX: usize = 1024;
/// Entries read in one go, and how many times for one event.
pub(crate) const SCAN_PAGE: usize = 256;
const SCAN_PAGES_MAX: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Scan {
    #[default]
    Done,
    Own(Option<BundleId>),
    Others(Option<BundleId>),
}

/// State of the uplink.
#[derive(Debug, Default)]
pub(crate) struct Uplink {
    up: bool,
    scan: Scan,
    scan_at_ms: u64,
    queue: VecDeque<BundleId>,
    in_flight: BTreeMap<BundleId, Flight>,
}

/// An upload without a verdict.
#[derive(Debug)]
struct Flight {
    bytes: u64,
    late_ms: u64,
}

impl Uplink {
    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    pub(crate) fn down(&mut self) {
        *self = Self::default();
    }

    /// The bundle is gone; a verdict may still come and is ignored.
    pub(crate) fn forget(&mut self, id: &BundleId) {
        self.in_flight.remove(id);
    }

    fn is_open(&self) -> bool {
        let bytes: u64 = self.in_flight.values().map(|flight| flight.bytes).sum();
        self.in_flight.len() < UPLOADS_MAX && bytes < UPLOAD_WINDOW_BYTES
    }

    pub(crate) fn next_ms(&self) -> Option<u64> {
        let scan = (self.scan != Scan::Done && self.has_room()).then_some(self.scan_at_ms);
        scan.into_iter().chain(self.in_flight.values().map(|flight| flight.late_ms)).min()
    }

    fn has_room(&self) -> bool {
        self.is_open() && self.queue.is_empty()
    }

    fn queue(&mut self, id: BundleId, first: bool) {
        if self.in_flight.contains_key(&id) || self.queue.contains(&id) {
            return;
        }
        if self.queue.len() >= UPLOAD_QUEUE_MAX {
            self.scan = Scan::Own(None);
        } else if first {
            self.queue.push_front(id);
        } else {
            self.queue.push_back(id);
        }
    }
}

impl Core {
    pub(crate) fn uplink_up(&mut self, cx: &mut Context<'_>) -> Flow {
        self.energy.look_again(cx.now.mono_ms);
        self.uplink = Uplink { up: true, scan: Scan::Own(None), ..Uplink::default() };
        self.pickups.back();
        self.quality.uplink_window(quality::time_s(cx.now));
        self.reveal_to_bridge(cx);
        Ok(())
    }

    /// Lets go up again what was refused: nobody else tells apart what no bridge of ours was for. One that did refuse says so
    /// again.
    pub(crate) fn bridge_added(&mut self, cx: &mut Context<'_>) -> Flow {
        let mut after = None;
        loop {
            let Page { entries, last } = self.commits.page(cx.catalog, after, SCAN_PAGE)?;
            if last.is_none() {
                break;
            }
            after = last;
            let refused = entries.into_iter().filter(|(_, entry)| entry.refused_by_bridge);
            let cleared =
                |(id, entry)| StoreOp::Update { id, entry: Entry { refused_by_bridge: false, ..entry } };
            let ops: Vec<StoreOp> = refused.map(cleared).collect();
            if !ops.is_empty() {
                self.commits.submit(cx.out, ops, Then::Nothing);
            }
        }
        if self.uplink.up {
            self.uplink.scan = Scan::Own(None);
        }
        Ok(())
    }

    /// A bundle that may go up has become durable.
    pub(crate) fn uplink_news(&mut self, cx: &mut Context<'_>, bundle: BundleId) -> Flow {
        if self.uplink.up
            && let Some(entry) = self.entry(cx, &bundle)?
        {
            self.uplink.queue(bundle, entry.pool == Pool::Own);
        }
        Ok(())
    }

    pub(crate) fn pump_uplink(&mut self, cx: &mut Context<'_>) -> Flow {
        if !self.uplink.up {
            return Ok(());
        }
        self.retry_uploads(cx.now.mono_ms);
        for _ in 0..SCAN_PAGES_MAX {
            self.start_uploads(cx)?;
            if !self.uplink.has_room() || self.uplink.scan == Scan::Done {
                break;
            }
            self.scan_for_uplink(cx)?;
        }
        self.start_uploads(cx)
    }

    fn start_uploads(&mut self, cx: &mut Context<'_>) -> Flow {
        let mut bundles = Vec::new();
        let result = self.choose_uploads(cx, &mut bundles);
        if !bundles.is_empty() {
            cx.out.push(Action::Upload { bundles });
        }
        result
    }

    fn choose_uploads(&mut self, cx: &mut Context<'_>, chosen: &mut Vec<BundleId>) -> Flow {
        while self.uplink.is_open() {
            let Some(bundle) = self.uplink.queue.pop_front() else { break };
            let Some(entry) = self.entry(cx, &bundle)? else { continue };
            let Some(bytes) = self.may_go_up(cx, &bundle, &entry)? else { continue };
            let late_ms = cx.now.mono_ms + VERDICT_TIMEOUT_MS;
            self.uplink.in_flight.insert(bundle, Flight { bytes, late_ms });
            chosen.push(bundle);
            cx.notice(Notice::Uploaded { bundle });
        }
        Ok(())
    }

    fn retry_uploads(&mut self, now_ms: u64) {
        let late = self.uplink.in_flight.iter().filter(|(_, flight)| flight.late_ms <= now_ms);
        for id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.uplink.forget(&id);
            self.uplink.queue(id, false);
        }
    }

    fn scan_for_uplink(&mut self, cx: &mut Context<'_>) -> Flow {
        let (own, after) = match self.uplink.scan {
            Scan::Own(after) => (true, after),
            Scan::Others(after) => (false, after),
            Scan::Done => return Ok(()),
        };
        let Page { entries, last } = self.commits.page(cx.catalog, after, SCAN_PAGE)?;
        for (id, entry) in entries {
            if (entry.pool == Pool::Own) == own && self.may_go_up(cx, &id, &entry)?.is_some() {
                self.uplink.queue(id, false);
            }
        }
        self.uplink.scan = match (last, own) {
            (Some(last), true) => Scan::Own(Some(last)),
            (Some(last), false) => Scan::Others(Some(last)),
            (None, true) => Scan::Others(None),
            (None, false) => Scan::Done,
        };
        self.uplink.scan_at_ms = cx.now.mono_ms + 1;
        Ok(())
    }

    /// The bytes of a bundle that is for the bridge; `None` for one that is not, or not any more.
    fn may_go_up(&self, cx: &Context<'_>, id: &BundleId, entry: &Entry) -> Flow<Option<u64>> {
        if (entry.pool == Pool::Own && self.config.pigeons_only)
            || entry.at_bridge
            || entry.refused_by_bridge
            || matches!(entry.opened, Opened::Delivered | Opened::Refused)
        {
            return Ok(None);
        }
        let meta = cx.catalog.meta(id)?.filter(|meta| meta.has_uplink && !self.expired(cx, meta, entry));
        Ok(meta.map(|meta| u64::from(meta.size)))
    }

    /// The bridge's word. It is recorded whenever it comes.
    pub(crate) fn verdict(&mut self, cx: &mut Context<'_>, bundle: BundleId, accepted: bool) -> Flow {
        self.uplink.forget(&bundle);
        cx.notice(if accepted {
            Notice::BridgeAccepted { bundle }
        } else {
            Notice::BridgeRefused { bundle }
        });
        // Its delivery may have become known first: then there is nothing left to mark.
        let Some(mut entry) = self.entry(cx, &bundle)? else { return Ok(()) };
        if accepted
            && entry.pool == Pool::Own
            && !(entry.at_bridge || entry.brought)
            && let Some(meta) = cx.catalog.meta(&bundle)?
        {
            self.counters.brought(meta.size);
        }
        entry.at_bridge |= accepted;
        entry.refused_by_bridge |= !accepted;
        self.update(cx, bundle, entry);
        Ok(())
    }
}
