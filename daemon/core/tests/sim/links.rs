//! Contacts and links: who sees whom, dials, frames on their way, cuts.

use bytes::Bytes;
use pigeon_core::{Event, LinkId, LinkInfo, PeerId, Role};
use pigeon_proto::Frame;

use crate::model::Broken;
use crate::world::{Contact, Happening, Link, World, peer};

/// A frame that was lost comes so much later.
const AGAIN_MS: u64 = 400;

impl World {
    /// Two nodes come into each other's sight: each sees the other when it looks.
    pub fn meet(&mut self, one: usize, two: usize) -> Result<u64, Broken> {
        let contact = self.next;
        self.next += 1;
        self.contacts.insert(contact, Contact { ends: [one, two] });
        let first = self.dice.percent(50);
        for (node, dial_first) in [(one, first), (two, !first)] {
            match self.looks_in_ms(node) {
                0 => self.sight(contact, node, dial_first)?,
                in_ms => self.at(in_ms, Happening::Sight { contact, node, dial_first }),
            }
        }
        Ok(contact)
    }

    pub fn sight(&mut self, contact: u64, node: usize, dial_first: bool) -> Result<(), Broken> {
        if !self.contacts.contains_key(&contact) {
            return Ok(());
        }
        self.event(node, Event::Seen { peer: peer(contact), dial_first })
    }

    /// How long until a node's next window.
    fn looks_in_ms(&self, node: usize) -> u64 {
        let (windows, since_ms) = self.windows[node];
        if !self.rough || !self.plan.windows {
            return 0;
        }
        let into_ms = (self.now_ms - since_ms) % windows.period_ms;
        if into_ms < windows.window_ms { 0 } else { windows.period_ms - into_ms }
    }

    pub fn contact_ends(&mut self, contact: u64) -> Result<(), Broken> {
        let Some(ended) = self.contacts.remove(&contact) else { return Ok(()) };
        let links: Vec<u64> =
            self.links.iter().filter(|(_, link)| link.contact == contact).map(|(link, _)| *link).collect();
        for link in links {
            self.cut(link);
        }
        for node in ended.ends {
            self.event(node, Event::Lost { peer: peer(contact) })?;
        }
        Ok(())
    }

    /// Frames on their way are lost; each end notices in its own time.
    pub fn cut(&mut self, link: u64) {
        let Some(cut) = self.links.get_mut(&link) else { return };
        if !cut.open {
            return;
        }
        cut.open = false;
        let ends = cut.ends;
        self.model.counts.cuts += 1;
        self.queue
            .retain(|_, happening| !matches!(happening, Happening::Arrives { link: on, .. } if *on == link));
        for node in ends {
            let in_ms = self.dice.below(1_500);
            self.at(in_ms, Happening::LinkIsDown { link, node });
        }
    }

    pub fn dial(&mut self, node: usize, peer: PeerId) {
        let contact: u64 = peer.0.parse().unwrap();
        let life = self.lives[node];
        let ends = self.contacts.get(&contact).map(|contact| contact.ends);
        let other = ends.map(|[one, two]| if one == node { two } else { one });
        let reached = other.filter(|other| self.alive[*other] && !self.dice.percent(10));
        let in_ms = 1 + self.dice.below(200);
        let Some(other) = reached else {
            self.at(in_ms, Happening::DialFails { node, life, peer });
            return;
        };
        let link = self.next;
        self.next += 1;
        let binding = self.dice.bytes();
        self.links.insert(
            link,
            Link {
                ends: [node, other],
                contact,
                peer,
                last_ms: [0, 0],
                free_ms: [0, 0],
                open: true,
                binding,
            },
        );
        self.model.counts.links += 1;
        for node in [node, other] {
            let in_ms = in_ms + self.dice.below(100);
            self.at(in_ms, Happening::LinkIsUp { link, node });
        }
        // Nothing arrives before both ends know of the link.
        let ready_ms = self.now_ms + in_ms + 100;
        if let Some(link) = self.links.get_mut(&link) {
            link.last_ms = [ready_ms, ready_ms];
        }
    }

    pub fn link_is_up(&mut self, link: u64, node: usize) -> Result<(), Broken> {
        let Some(up) = self.links.get(&link).filter(|up| up.open) else { return Ok(()) };
        let role = if up.ends[0] == node { Role::Dialler } else { Role::Listener };
        let other = if role == Role::Dialler { up.ends[1] } else { up.ends[0] };
        if !self.alive[node] || !self.alive[other] {
            self.cut(link);
            return Ok(());
        }
        let info = LinkInfo {
            link: LinkId(link),
            peer: (role == Role::Dialler).then(|| up.peer.clone()),
            node: self.nodes[other].key,
            own: self.nodes[node].key,
            role,
            binding: up.binding,
            cost: 0,
            address: [u8::try_from(other).unwrap(); 8],
            carriage_open: true,
            clock_s: self.nodes[other].now(self.now_ms).wall_s,
        };
        self.event(node, Event::LinkUp(info))
    }

    pub fn send(&mut self, node: usize, link: u64, frame: Frame) -> Result<(), Broken> {
        frame.check().unwrap();
        if self.lies(node).is_some() {
            for frame in self.twist(node, frame) {
                frame.check().unwrap();
                self.transmit(node, link, frame);
            }
            return Ok(());
        }
        if let Frame::Stored { bundle } = &frame {
            self.model.stored_sent(&self.nodes[node], bundle)?;
        }
        self.transmit(node, link, frame);
        Ok(())
    }

    fn transmit(&mut self, node: usize, link: u64, mut frame: Frame) {
        if matches!(&frame, Frame::Accept(accept) if accept.offset > 0) {
            self.model.counts.resumed += 1;
        }
        if let Frame::Segment { data, .. } = &mut frame
            && self.dice.below(1000) < self.plan.damage_per_mille
            && self.rough
        {
            let mut bytes = data.to_vec();
            let at = self.dice.index(bytes.len());
            bytes[at] ^= 1 << self.dice.below(8);
            *data = Bytes::from(bytes);
        }
        let delay_ms = self.dice.below(self.plan.frame_delay_ms_max);
        let lost = self.rough && self.dice.percent(self.plan.loss_percent);
        let delay_ms = delay_ms + if lost { AGAIN_MS } else { 0 };
        let bytes_per_ms = self.plan.bytes_per_ms;
        let Some(on) = self.links.get_mut(&link).filter(|on| on.open) else { return };
        let direction = usize::from(on.ends[0] != node);
        let to = on.ends[1 - direction];
        let sent_ms = on.free_ms[direction].max(self.now_ms) + size(&frame) / bytes_per_ms;
        on.free_ms[direction] = sent_ms;
        let arrives_ms = on.last_ms[direction].max(sent_ms + delay_ms);
        on.last_ms[direction] = arrives_ms;
        let in_ms = arrives_ms - self.now_ms;
        self.at(in_ms, Happening::Arrives { link, to, frame });
    }

    /// A polite end: what is on its way still arrives.
    pub fn close(&mut self, node: usize, link: u64) {
        let Some(closing) = self.links.get_mut(&link).filter(|closing| closing.open) else { return };
        closing.open = false;
        let direction = usize::from(closing.ends[0] != node);
        let other = closing.ends[1 - direction];
        let in_ms = closing.last_ms[direction].saturating_sub(self.now_ms) + 1;
        self.at(0, Happening::LinkIsDown { link, node });
        self.at(in_ms, Happening::LinkIsDown { link, node: other });
    }
}

/// About as many bytes as the frame has on a wire.
fn size(frame: &Frame) -> u64 {
    const HEAD: usize = 64;
    let body = match frame {
        Frame::Segment { data, .. } => data.len(),
        Frame::Recognise { macs, .. } | Frame::TombstonesHeld { macs, .. } | Frame::Have { macs, .. } => {
            macs.len() * 16
        }
        Frame::Carrying { macs, .. } | Frame::Pull { macs } => macs.len() * 8,
        Frame::TombstonesRevealed { reveals } => reveals.len() * 32,
        Frame::Reachable { tags, .. } => tags.len() * 16,
        _ => 0,
    };
    (HEAD + body) as u64
}
