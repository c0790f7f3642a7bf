//! Phase 0: is the peer one of our contacts? A stranger learns only a rounded number.

use pigeon_proto::{Frame, MAC16_LIST_MAX};

use super::Session;
use crate::config::Reachable;
use crate::context::Context;
use crate::core::{CONTACTS_MAX, Core};
use crate::event::{LinkId, Role};
use crate::notice::Notice;
use crate::trouble::{Flow, Trouble};

/// Lists a peer may send on one link: one at first, and one whenever its contacts change.
pub(super) const RECOGNISE_LISTS_MAX: u32 = 64;
/// The list is padded to a multiple of this.
const PADDING: usize = 16;

impl Core {
    pub(super) fn send_recognise(&mut self, cx: &mut Context<'_>, link: LinkId) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        if session.recognise_sent >= RECOGNISE_LISTS_MAX {
            return;
        }
        session.recognise_sent += 1;
        let role = session.info.role;
        let mut macs: Vec<[u8; 16]> = self
            .contacts
            .iter()
            .map(|contact| session.keys.recognise(&contact.recognition_key, role))
            .collect();
        while macs.is_empty() || !macs.len().is_multiple_of(PADDING) {
            macs.push(self.random.mac());
        }
        // Macs and padding look alike; sorted, their places say nothing either.
        macs.sort_unstable();
        let frames = macs.chunks(MAC16_LIST_MAX);
        let count = frames.len();
        for (number, macs) in frames.enumerate() {
            cx.send(link, Frame::Recognise { macs: macs.to_vec(), last: number + 1 == count });
        }
    }

    /// The contacts have changed: each peer is told the new list, as far as it takes one more, and what it has told
    /// is looked at again.
    pub(crate) fn recognise_again(&mut self, cx: &mut Context<'_>) {
        let links: Vec<LinkId> = self.sessions.keys().copied().collect();
        for link in links {
            self.send_recognise(cx, link);
            self.match_contact(cx, link);
        }
    }

    pub(super) fn on_recognise(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        macs: &[[u8; 16]],
        last: bool,
    ) -> Flow {
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        if session.recognise_ended {
            session.peer_recognise.clear();
        }
        session.recognise_ended = last;
        session.peer_recognise.extend_from_slice(macs);
        let lists = session.recognise_lists + u32::from(last);
        if session.peer_recognise.len() > CONTACTS_MAX + PADDING || lists > RECOGNISE_LISTS_MAX {
            return Err(Trouble::protocol("Recognise list too long, or too many of them"));
        }
        session.recognise_lists = lists;
        self.match_contact(cx, link);
        if last && lists == 1 {
            self.send_reachable(cx, link);
        }
        Ok(())
    }

    /// Looks for one of our contacts in what the peer has listed so far.
    fn match_contact(&mut self, cx: &mut Context<'_>, link: LinkId) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        let peer_role = match session.info.role {
            Role::Dialler => Role::Listener,
            Role::Listener => Role::Dialler,
        };
        let (keys, listed) = (&session.keys, &session.peer_recognise);
        let found = self
            .contacts
            .iter()
            .find(|contact| listed.contains(&keys.recognise(&contact.recognition_key, peer_role)))
            .map(|contact| contact.contact);
        if let Some(contact) = found.filter(|contact| session.contact != Some(*contact)) {
            let node = session.info.node;
            session.contact = Some(contact);
            self.clock.recognised(node);
            cx.notice(Notice::NeighbourRecognised { node, contact });
        }
    }

    fn send_reachable(&self, cx: &mut Context<'_>, link: LinkId) {
        let contact = self.sessions.get(&link).and_then(|session: &Session| session.contact);
        let told = match self.config.reachable {
            Reachable::Nobody => false,
            Reachable::Contacts => contact.is_some(),
            Reachable::Everyone => true,
        };
        if told {
            let tags = self.told_tags.clone();
            cx.send(link, Frame::Reachable { tags, last: true });
        }
    }
}
