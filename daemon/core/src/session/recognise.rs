//! Phase 0: is the peer one of our contacts? A stranger learns only a rounded number.

use pigeon_proto::{Frame, MAC16_LIST_MAX};

use super::{Phase, Session};
use crate::config::Reachable;
use crate::context::Context;
use crate::core::{CONTACTS_MAX, Core};
use crate::event::{LinkId, Role};
use crate::notice::Notice;
use crate::trouble::{Flow, Trouble};

/// The list is padded to a multiple of this.
const PADDING: usize = 16;

impl Core {
    pub(super) fn send_recognise(&mut self, cx: &mut Context<'_>, link: LinkId) {
        let Some(session) = self.sessions.get(&link) else { return };
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

    pub(super) fn on_recognise(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        macs: &[[u8; 16]],
        last: bool,
    ) -> Flow {
        let Some(session) = self.sessions.get_mut(&link) else { return Ok(()) };
        session.recognise_seen += macs.len();
        if session.phase != Phase::Held || session.recognise_seen > CONTACTS_MAX + PADDING {
            return Err(Trouble::protocol("Recognise list too long or too late"));
        }
        let peer_role = match session.info.role {
            Role::Dialler => Role::Listener,
            Role::Listener => Role::Dialler,
        };
        let keys = &session.keys;
        let contact = self
            .contacts
            .iter()
            .find(|contact| macs.contains(&keys.recognise(&contact.recognition_key, peer_role)))
            .map(|contact| contact.contact);
        if let Some(contact) = contact {
            let node = session.info.node;
            session.contact = Some(contact);
            self.clock.recognised(node);
            cx.notice(Notice::NeighbourRecognised { node, contact });
        }
        if last {
            self.send_reachable(cx, link);
        }
        Ok(())
    }

    fn send_reachable(&self, cx: &mut Context<'_>, link: LinkId) {
        let contact = self.sessions.get(&link).and_then(|session: &Session| session.contact);
        let told = match self.config.reachable {
            Reachable::Nobody => false,
            Reachable::Contacts => contact.is_some(),
            Reachable::Everyone => true,
        };
        if told {
            let tags = self.own_tags.iter().copied().take(super::REACHABLE_MAX).collect();
            cx.send(link, Frame::Reachable { tags, last: true });
        }
    }
}
