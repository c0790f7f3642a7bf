//! Phase 1: what the peer still holds and is dead, it hears of; then new tombstones from the cache.

use pigeon_bundle::Reveal;
use pigeon_proto::Frame;

use super::Phase;
use super::lists::{PAGE, collect, send_list16};
use crate::context::Context;
use crate::core::Core;
use crate::event::LinkId;
use crate::reveal::Source;
use crate::trouble::{Flow, Trouble};

/// Stored tombstones that are compared with one peer's list.
pub(super) const COMPARED_MAX: usize = 65_536;

impl Core {
    pub(super) fn send_held(&mut self, cx: &mut Context<'_>, link: LinkId) -> Flow {
        let Some(session) = self.sessions.get(&link) else { return Ok(()) };
        let mut macs = Vec::new();
        self.each_held(cx, |_, _, meta| {
            macs.push(session.keys.commitment(&meta.commitment));
        })?;
        send_list16(cx, link, macs, |macs, last| Frame::TombstonesHeld { macs, last });
        Ok(())
    }

    pub(super) fn on_held(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        macs: Vec<[u8; 16]>,
        last: bool,
    ) -> Flow {
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        if session.phase != Phase::Held {
            return Err(Trouble::protocol("TombstonesHeld twice"));
        }
        collect(&mut session.peer_held, macs, "TombstonesHeld list too long")?;
        if !last {
            return Ok(());
        }
        session.phase = Phase::Have;
        self.answer_held(cx, link)?;
        self.send_have(cx, link)
    }

    fn answer_held(&mut self, cx: &mut Context<'_>, link: LinkId) -> Flow {
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        let node = session.info.node;
        let held = std::mem::take(&mut session.peer_held);
        let keys = &session.keys;
        let tombstones = &self.tombstones;
        let mut reveals: Vec<Reveal> = tombstones
            .cache()
            .filter(|(commitment, _)| held.contains(&keys.commitment(commitment)))
            .map(|(_, reveal)| *reveal)
            .collect();
        let mut after = None;
        let mut compared = 0;
        while !held.is_empty() && compared < COMPARED_MAX {
            let page = cx.catalog.tombstones(after, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            compared += page.len();
            let matching = page.into_iter().filter(|(commitment, _)| {
                !tombstones.is_hidden(commitment) && held.contains(&keys.commitment(commitment))
            });
            reveals.extend(matching.map(|(_, reveal)| reveal));
        }
        for reveal in self.tombstones.news_for(node) {
            if !reveals.contains(&reveal) {
                reveals.push(reveal);
            }
        }
        Self::send_reveals(cx, link, &reveals);
        Ok(())
    }

    pub(super) fn on_revealed(&mut self, cx: &mut Context<'_>, link: LinkId, reveals: &[Reveal]) -> Flow {
        reveals.iter().try_for_each(|reveal| self.learn(cx, *reveal, Source::Link(link)))
    }
}
