//! Offers of what somebody else is sending: they wait for the end of that transfer, for a while. A sender may be slow,
//! or stall while it keeps its link busy with other frames: nobody can keep a bundle from us by beginning to send it.

use pigeon_bundle::BundleId;
use pigeon_proto::Offer;

use crate::context::Context;
use crate::core::Core;
use crate::event::LinkId;
use crate::trouble::Flow;

/// Offers that wait for another neighbour's transfer of the same bundle, on one link.
pub const DEFERRED_MAX: usize = 32;
/// After this a bundle is taken from a second neighbour as well.
pub const DEFER_MS: u64 = 60_000;

/// An offer that waits.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(super) offer: Offer,
    pub(super) until_ms: u64,
}

impl Core {
    /// Keeps an offer until somebody else's transfer has ended.
    pub(super) fn defer(&mut self, cx: &Context<'_>, link: LinkId, offer: Offer) {
        if let Some(session) = self.sessions.get_mut(&link) {
            session.deferred.push(Deferred { offer, until_ms: cx.now.mono_ms + DEFER_MS });
        }
    }

    /// A transfer has ended: offers of the same bundle that waited for it are looked at again.
    pub(super) fn reconsider(&mut self, cx: &mut Context<'_>, id: BundleId) -> Flow {
        let waiting = self.take_deferred(|deferred| deferred.offer.bundle == id);
        waiting.into_iter().try_for_each(|(link, offer)| self.on_offer(cx, link, offer))
    }

    /// Takes from a second neighbour what the first has not brought in time.
    pub(crate) fn end_deferrals(&mut self, cx: &mut Context<'_>) -> Flow {
        let overdue = self.take_deferred(|deferred| deferred.until_ms <= cx.now.mono_ms);
        overdue.into_iter().try_for_each(|(link, offer)| self.judge_offer(cx, link, offer, false))
    }

    fn take_deferred(&mut self, which: impl Fn(&Deferred) -> bool) -> Vec<(LinkId, Offer)> {
        let taken = |(link, session): (&LinkId, &mut super::Session)| {
            let link = *link;
            session.deferred.extract_if(.., |deferred| which(deferred)).map(|it| (link, it.offer)).collect()
        };
        self.sessions.iter_mut().flat_map::<Vec<_>, _>(taken).collect()
    }
}
