//! Phases 2 and 3: what the peer has already, what we carry for it, what it carries for us.

use std::collections::BTreeSet;

use pigeon_bundle::Tag;
use pigeon_proto::{Frame, MAC8_LIST_MAX};

use super::lists::{HAVE_MAX, collect, send_list8, send_list16};
use super::{Phase, Session};
use crate::context::Context;
use crate::core::Core;
use crate::entry::{COPIES_AT_BIRTH, Opened, Pool};
use crate::event::LinkId;
use crate::quality;
use crate::trouble::{Flow, Trouble};

/// Tags told or counted as reachable: those of 25 mailbox secrets.
pub const REACHABLE_MAX: usize = 1024;

impl Core {
    /// Phase 2. Own bundles nobody has taken are left out: they would mark the author.
    pub(super) fn send_have(&mut self, cx: &mut Context<'_>, link: LinkId) -> Flow {
        let Some(session) = self.sessions.get(&link) else { return Ok(()) };
        let mut macs = Vec::new();
        self.each_held(cx, |id, entry, _| {
            if entry.pool != Pool::Own || entry.copies < COPIES_AT_BIRTH {
                macs.push(session.keys.id(&id));
            }
        })?;
        send_list16(cx, link, macs, |macs, last| Frame::Have { macs, last });
        Ok(())
    }

    pub(super) fn on_have(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        macs: Vec<[u8; 16]>,
        last: bool,
    ) -> Flow {
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        if session.phase != Phase::Have {
            return Err(Trouble::protocol("Have out of turn"));
        }
        collect(&mut session.peer_has, macs, "Have list too long")?;
        if !last {
            return Ok(());
        }
        session.phase = Phase::Carrying;
        self.send_carrying(cx, link)
    }

    /// Phase 3, our half: tags of what we carry.
    fn send_carrying(&mut self, cx: &mut Context<'_>, link: LinkId) -> Flow {
        let mut tags = BTreeSet::new();
        self.each_held(cx, |_, entry, meta| {
            if !matches!(entry.opened, Opened::Delivered | Opened::Refused) {
                tags.insert(meta.tag);
            }
        })?;
        self.list_tags(cx, link, tags);
        Ok(())
    }

    /// Lists the tag of a new bundle, once the peer has our first list.
    pub(crate) fn list_news(&mut self, cx: &mut Context<'_>, link: LinkId, tag: Tag) {
        let Some(session) = self.sessions.get(&link) else { return };
        // Before that the list is still to be made, and will hold it.
        if session.phase >= Phase::Carrying && session.listed.len() < HAVE_MAX {
            self.list_tags(cx, link, BTreeSet::from([tag]));
        }
    }

    fn list_tags(&mut self, cx: &mut Context<'_>, link: LinkId, tags: BTreeSet<Tag>) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        let macs: Vec<[u8; 8]> = tags
            .into_iter()
            .map(|tag| {
                let mac = session.keys.tag(&tag);
                session.listed.insert(mac, tag);
                mac
            })
            .collect();
        session.asks(cx.now.mono_ms);
        session.pulls_awaited += 1;
        send_list8(cx, link, macs, |macs, last| Frame::Carrying { macs, last });
    }

    /// Phase 3, the peer's half: what matches our tags is pulled.
    pub(super) fn on_carrying(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        macs: &[[u8; 8]],
        last: bool,
    ) -> Flow {
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        if session.phase < Phase::Carrying {
            return Err(Trouble::protocol("Carrying out of turn"));
        }
        collect(&mut session.peer_carries, macs.iter().copied(), "Carrying list too long")?;
        let ours = macs.iter().filter(|mac| session.own_macs.contains(*mac));
        session.to_pull.extend(ours);
        if last {
            session.phase = Phase::Exchange;
            pull(cx, link, session);
        }
        Ok(())
    }

    /// Our tags have changed: what peers listed before may be for us now.
    pub(crate) fn pull_again(&mut self, cx: &mut Context<'_>) {
        for (link, session) in &mut self.sessions {
            session.set_own_tags(&self.own_tags);
            if session.phase < Phase::Exchange {
                continue;
            }
            let new = session.own_macs.difference(&session.pulled);
            session.to_pull = new.filter(|mac| session.peer_carries.contains(*mac)).copied().collect();
            if !session.to_pull.is_empty() {
                pull(cx, *link, session);
            }
        }
    }

    /// The peer wants what goes to these tags.
    pub(super) fn on_pull(&mut self, cx: &mut Context<'_>, link: LinkId, macs: &[[u8; 8]]) -> Flow {
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        if session.phase < Phase::Carrying {
            return Err(Trouble::protocol("Pull before Carrying"));
        }
        session.pulls_awaited = session.pulls_awaited.saturating_sub(1);
        for mac in macs {
            let Some(tag) = session.listed.get(mac) else { continue };
            for id in cx.catalog.by_tag(tag)? {
                let known = session.outgoing.contains_key(&id) || session.direct.contains(&id);
                if !known && session.direct.len() < HAVE_MAX {
                    session.direct.push_back(id);
                }
            }
        }
        Ok(())
    }

    /// Meetings are counted per list, and a session has one. Of a longer list than anybody needs the beginning counts.
    pub(super) fn on_reachable(&mut self, cx: &Context<'_>, link: LinkId, tags: &[Tag], last: bool) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        if session.reachable_counted {
            return;
        }
        let room = REACHABLE_MAX.saturating_sub(session.peer_reachable.len());
        session.peer_reachable.extend(tags.iter().take(room));
        if last {
            session.reachable_counted = true;
            let list = std::mem::take(&mut session.peer_reachable);
            self.quality.met(quality::time_s(cx.now), &list);
        }
    }
}

/// Asks for what was found, in one frame: a Pull answers a whole list. Nobody listens to more tags than fit.
fn pull(cx: &mut Context<'_>, link: LinkId, session: &mut Session) {
    let macs: Vec<[u8; 8]> = std::mem::take(&mut session.to_pull).into_iter().take(MAC8_LIST_MAX).collect();
    session.pulled.extend(&macs);
    cx.send(link, Frame::Pull { macs });
}

impl Session {
    pub(super) fn set_own_tags(&mut self, tags: &BTreeSet<Tag>) {
        self.own_macs = tags.iter().map(|tag| self.keys.tag(tag)).collect();
    }
}
