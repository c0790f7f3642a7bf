//! Virtual time: what is going to happen, in order, and what the cores' actions make happen later.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use pigeon_bundle::BundleId;
use pigeon_core::{
    Action, Catalog, CommitFailure, Core, CoreConfig, Event, Fault, LinkId, LinkInfo, Notice, OpenOutcome,
    PeerId, Role,
};
use pigeon_proto::Frame;

use crate::bridge::Bridge;
use crate::model::{self, Broken, Model, ensure};
use crate::plan::{Dice, Plan, Written};
use crate::support::node::Node;
use crate::support::pool::{message, pool};

/// Length of the part in which everybody meets.
const PLENTY_MS: u64 = 240_000;
/// Events a network may need; far more is a loop.
const EVENTS_MAX: u64 = 400_000;

#[derive(Debug, Clone)]
enum Happening {
    ContactBegins,
    ContactEnds { contact: u64 },
    LinkIsUp { link: u64, node: usize },
    LinkIsDown { link: u64, node: usize },
    Arrives { link: u64, to: usize, frame: Frame },
    DialFails { node: usize, life: u32, peer: PeerId },
    CommitEnds { node: usize, life: u32 },
    OpenEnds { node: usize, life: u32, bundle: BundleId },
    TimerEnds { node: usize, life: u32, at_ms: u64 },
    Uplink { node: usize, up: bool },
    Answer { node: usize, life: u32, event: Box<Event> },
    Crash { node: usize },
    Restart { node: usize },
    Write(Written),
    EverybodyMeets,
}

#[derive(Debug)]
struct Link {
    ends: [usize; 2],
    contact: u64,
    peer: PeerId,
    /// When the last frame in each direction arrives: order is kept.
    last_ms: [u64; 2],
    open: bool,
    binding: [u8; 32],
}

#[derive(Debug)]
struct Contact {
    ends: [usize; 2],
}

pub struct World {
    plan: Plan,
    fault: Option<Fault>,
    dice: Dice,
    now_ms: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    next: u64,
    nodes: Vec<Node>,
    alive: Vec<bool>,
    lives: Vec<u32>,
    online: Vec<bool>,
    /// The timer that is set, by node.
    timers: Vec<Option<u64>>,
    links: BTreeMap<u64, Link>,
    contacts: BTreeMap<u64, Contact>,
    bridge: Bridge,
    rough: bool,
    pub model: Model,
    pub tell: bool,
    /// A digest of everything the cores asked for, where a test wants it.
    pub trace: Option<u64>,
}

impl World {
    pub fn new(plan: Plan, fault: Option<Fault>) -> Self {
        let nodes = plan.nodes;
        let mut world = Self {
            dice: plan.dice.clone(),
            fault,
            now_ms: 1,
            queue: BTreeMap::new(),
            next: 0,
            nodes: (0..nodes)
                .map(|number| Node::new(u8::try_from(number + 1).unwrap(), CoreConfig::default()))
                .collect(),
            alive: vec![false; nodes],
            lives: vec![0; nodes],
            online: vec![false; nodes],
            timers: vec![None; nodes],
            links: BTreeMap::new(),
            contacts: BTreeMap::new(),
            bridge: Bridge::default(),
            rough: true,
            model: Model::default(),
            tell: false,
            trace: None,
            plan,
        };
        for node in 0..nodes {
            world.nodes[node].clock = !world.plan.clockless[node];
            world.at(0, Happening::Restart { node });
        }
        world.at(10, Happening::ContactBegins);
        for written in world.plan.written.clone() {
            world.at(written.at_ms, Happening::Write(written));
        }
        world.at(world.plan.rough_ms, Happening::EverybodyMeets);
        world
    }

    /// Runs to the end, or to the first broken rule.
    pub fn run(&mut self) -> Result<(), Broken> {
        let end_ms = self.plan.rough_ms + PLENTY_MS;
        while let Some(((at_ms, _), happening)) = self.queue.pop_first() {
            if at_ms > end_ms {
                break;
            }
            self.now_ms = at_ms;
            self.model.counts.events += 1;
            ensure(self.model.counts.events < EVENTS_MAX, model::BUSY, || format!("at {at_ms} ms"))?;
            self.happen(happening)?;
        }
        self.check_end()
    }

    fn at(&mut self, in_ms: u64, happening: Happening) {
        self.queue.insert((self.now_ms + in_ms, self.next), happening);
        self.next += 1;
    }

    fn lives(&self, node: usize, life: u32) -> bool {
        self.alive[node] && self.lives[node] == life
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Broken> {
        if self.tell && !matches!(happening, Happening::TimerEnds { .. }) {
            println!("{:>8} {happening:.200?}", self.now_ms);
        }
        match happening {
            Happening::ContactBegins => self.contact_begins(),
            Happening::ContactEnds { contact } => self.contact_ends(contact),
            Happening::LinkIsUp { link, node } => self.link_is_up(link, node),
            Happening::LinkIsDown { link, node } => {
                if self.links.contains_key(&link) {
                    return self.event(node, Event::LinkDown { link: LinkId(link) });
                }
                Ok(())
            }
            Happening::Arrives { link, to, frame } => match self.links.get(&link) {
                Some(_) => self.event(to, Event::Frame { link: LinkId(link), frame }),
                None => Ok(()),
            },
            Happening::DialFails { node, life, peer } if self.lives(node, life) => {
                self.event(node, Event::DialFailed { peer })
            }
            Happening::CommitEnds { node, life } if self.lives(node, life) => self.commit_ends(node),
            Happening::OpenEnds { node, life, bundle } if self.lives(node, life) => {
                self.open_ends(node, bundle)
            }
            Happening::TimerEnds { node, life, at_ms } if self.lives(node, life) => {
                if self.timers[node] == Some(at_ms) {
                    self.timers[node] = None;
                    return self.event(node, Event::Timer);
                }
                Ok(())
            }
            Happening::Uplink { node, up } => self.set_uplink(node, up),
            Happening::Answer { node, life, event } if self.lives(node, life) => self.event(node, *event),
            Happening::Crash { node } => self.crash(node),
            Happening::Restart { node } => self.restart(node),
            Happening::Write(written) => self.write(written),
            Happening::EverybodyMeets => self.everybody_meets(),
            _ => Ok(()),
        }
    }

    fn event(&mut self, node: usize, event: Event) -> Result<(), Broken> {
        if !self.alive[node] {
            return Ok(());
        }
        let actions = self.nodes[node].handle(self.now_ms, event);
        for action in actions {
            self.note(node, &action);
            self.act(node, action)?;
        }
        Model::promises(&self.nodes[node])?;
        let next_ms = self.nodes[node].core.next_deadline_ms();
        if let Some(at_ms) = next_ms
            && self.timers[node] != next_ms
        {
            self.timers[node] = next_ms;
            let life = self.lives[node];
            let in_ms = at_ms.saturating_sub(self.now_ms);
            self.at(in_ms, Happening::TimerEnds { node, life, at_ms });
        }
        Ok(())
    }

    fn note(&mut self, node: usize, action: &Action) {
        if let Some(trace) = &mut self.trace {
            for byte in format!("{node}{action:?}").bytes() {
                *trace = (*trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(5);
            }
        }
        if self.tell {
            println!("{:>8} node {node}: {action:.160?}", self.now_ms);
        }
    }

    fn act(&mut self, node: usize, action: Action) -> Result<(), Broken> {
        let life = self.lives[node];
        match action {
            Action::Dial { peer } => self.dial(node, peer),
            Action::Send { link, frame } => return self.send(node, link.0, frame),
            Action::Close { link, .. } => self.close(node, link.0),
            Action::Commit { token, ops } => {
                self.nodes[node].commits.push_back((token, ops));
                let in_ms = self.dice.below(self.plan.commit_delay_ms_max);
                self.at(in_ms, Happening::CommitEnds { node, life });
            }
            Action::Open { bundle } => {
                let in_ms = self.dice.below(50);
                self.at(in_ms, Happening::OpenEnds { node, life, bundle });
            }
            Action::Upload { bundle } => self.upload(node, bundle),
            Action::RevealToBridge { reveals } => {
                self.bridge.reveal(&reveals);
                let event = Box::new(Event::RevealConfirmed { reveals });
                self.at(30, Happening::Answer { node, life, event });
            }
            Action::Notice(notice) => match notice {
                Notice::DeliveredDirect { .. } => self.model.counts.direct += 1,
                Notice::BundleRefused { .. } => self.model.counts.refused += 1,
                Notice::LinkRefused { reason, .. } => {
                    return Err(Broken { rule: "honest nodes break no rule", detail: reason });
                }
                _ => {}
            },
        }
        Ok(())
    }

    // Contacts and links.

    fn contact_begins(&mut self) -> Result<(), Broken> {
        if !self.rough {
            return Ok(());
        }
        let in_ms = 1 + self.dice.below(self.plan.contact_every_ms * 2);
        self.at(in_ms, Happening::ContactBegins);
        let one = self.dice.index(self.plan.nodes);
        let two = self.dice.index(self.plan.nodes);
        if self.dice.percent(self.plan.crash_percent) {
            self.at(0, Happening::Crash { node: two });
        }
        if self.dice.percent(self.plan.uplink_percent) {
            let up = !self.online[two];
            self.at(0, Happening::Uplink { node: two, up });
        }
        if one == two {
            return Ok(());
        }
        let contact = self.meet(one, two)?;
        let in_ms = 1 + self.dice.below(self.plan.contact_ms_max);
        self.at(in_ms, Happening::ContactEnds { contact });
        Ok(())
    }

    fn meet(&mut self, one: usize, two: usize) -> Result<u64, Broken> {
        let contact = self.next;
        self.next += 1;
        self.contacts.insert(contact, Contact { ends: [one, two] });
        let first = self.dice.percent(50);
        for (node, dial_first) in [(one, first), (two, !first)] {
            self.event(node, Event::Seen { peer: peer(contact), dial_first })?;
        }
        Ok(contact)
    }

    fn contact_ends(&mut self, contact: u64) -> Result<(), Broken> {
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
    fn cut(&mut self, link: u64) {
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

    fn dial(&mut self, node: usize, peer: PeerId) {
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
        self.links
            .insert(link, Link { ends: [node, other], contact, peer, last_ms: [0, 0], open: true, binding });
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

    fn link_is_up(&mut self, link: u64, node: usize) -> Result<(), Broken> {
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

    fn send(&mut self, node: usize, link: u64, mut frame: Frame) -> Result<(), Broken> {
        frame.check().unwrap();
        if let Frame::Stored { bundle } = &frame {
            self.model.stored_sent(&self.nodes[node], bundle)?;
        }
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
        let Some(on) = self.links.get_mut(&link).filter(|on| on.open) else { return Ok(()) };
        let direction = usize::from(on.ends[0] != node);
        let to = on.ends[1 - direction];
        let arrives_ms = on.last_ms[direction].max(self.now_ms + delay_ms);
        on.last_ms[direction] = arrives_ms;
        let in_ms = arrives_ms - self.now_ms;
        self.at(in_ms, Happening::Arrives { link, to, frame });
        Ok(())
    }

    /// A polite end: what is on its way still arrives.
    fn close(&mut self, node: usize, link: u64) {
        let Some(closing) = self.links.get_mut(&link).filter(|closing| closing.open) else { return };
        closing.open = false;
        let direction = usize::from(closing.ends[0] != node);
        let other = closing.ends[1 - direction];
        let in_ms = closing.last_ms[direction].saturating_sub(self.now_ms) + 1;
        self.at(0, Happening::LinkIsDown { link, node });
        self.at(in_ms, Happening::LinkIsDown { link, node: other });
    }

    // The store and the mailbox.

    fn commit_ends(&mut self, node: usize) -> Result<(), Broken> {
        let Some((token, ops)) = self.nodes[node].commits.pop_front() else { return Ok(()) };
        let mut result = Ok(());
        if self.rough && self.dice.below(1000) < self.plan.commit_failure_per_mille {
            self.model.counts.commit_failures += 1;
            result = Err(CommitFailure::Storage("simulated".into()));
        } else {
            self.apply(node, &ops)?;
        }
        self.event(node, Event::Committed { token, result })
    }

    fn apply(&mut self, node: usize, ops: &[pigeon_core::StoreOp]) -> Result<(), Broken> {
        self.model.before_commit(&self.nodes[node], self.now_ms, ops)?;
        self.nodes[node].catalog.apply(ops);
        self.model.after_commit(node, &self.nodes[node], ops)
    }

    fn open_ends(&mut self, node: usize, bundle: BundleId) -> Result<(), Broken> {
        let Some(held) = self.nodes[node].catalog.bundle(&bundle).unwrap() else { return Ok(()) };
        let outcome = self.deliver(node, &held)?;
        self.event(node, Event::Opened { bundle, outcome })
    }

    fn deliver(&mut self, node: usize, bundle: &pigeon_bundle::Bundle) -> Result<OpenOutcome, Broken> {
        let outcome = self.nodes[node].mailbox.open(bundle);
        if matches!(outcome, OpenOutcome::Delivered { .. }) {
            self.model.counts.delivered += 1;
            let new = self.model.delivered.insert(bundle.message_digest());
            ensure(new, model::TWICE, || format!("{}", bundle.id()))?;
        }
        Ok(outcome)
    }

    fn write(&mut self, written: Written) -> Result<(), Broken> {
        if !self.alive[written.author] {
            // People write when the daemon runs.
            self.at(5_000, Happening::Write(written));
            return Ok(());
        }
        let bundle = &message(written.recipient, written.number).bundle;
        let node = &mut self.nodes[written.author];
        node.put_own(self.now_ms, bundle);
        self.model.own_put(node, bundle.id());
        self.model.count(written.author, &self.nodes[written.author], &bundle.id())?;
        self.event(written.author, Event::Submitted { bundle: bundle.id() })
    }

    // The bridge.

    fn set_uplink(&mut self, node: usize, up: bool) -> Result<(), Broken> {
        if !self.alive[node] {
            return Ok(());
        }
        self.online[node] = up;
        self.event(node, if up { Event::UplinkUp } else { Event::UplinkDown })?;
        self.fetch()
    }

    fn upload(&mut self, node: usize, bundle: BundleId) {
        self.model.counts.uploads += 1;
        let life = self.lives[node];
        let held = self.nodes[node].catalog.bundle(&bundle).unwrap();
        let Some(held) = held.filter(|_| self.online[node] && !(self.rough && self.dice.percent(10))) else {
            return;
        };
        let answer = self.bridge.upload(&held);
        let in_ms = 20 + self.dice.below(500);
        let event = Box::new(Event::Verdict { bundle, accepted: answer.accepted });
        self.at(in_ms, Happening::Answer { node, life, event });
        if let Some(reveal) = answer.reveal {
            let event = Box::new(Event::Revealed { reveals: vec![reveal] });
            self.at(in_ms, Happening::Answer { node, life, event });
        }
    }

    /// Recipients that are online get what the bridge has for them.
    fn fetch(&mut self) -> Result<(), Broken> {
        let waiting = VecDeque::from(std::mem::take(&mut self.bridge.waiting));
        for bundle in waiting {
            let recipient = pool().tags.iter().position(|tag| *tag == bundle.tag()).unwrap();
            if !self.online[recipient] || !self.alive[recipient] {
                self.bridge.waiting.push(bundle);
                continue;
            }
            let outcome = self.deliver(recipient, &bundle)?;
            self.event(recipient, Event::Opened { bundle: bundle.id(), outcome })?;
        }
        Ok(())
    }

    // Crashes.

    /// Everything not committed is gone; a commit on its way may have become durable without anybody hearing.
    fn crash(&mut self, node: usize) -> Result<(), Broken> {
        if !self.alive[node] {
            return Ok(());
        }
        self.model.counts.crashes += 1;
        let commits = std::mem::take(&mut self.nodes[node].commits);
        let durable = self.dice.index(commits.len() + 1);
        for (_, ops) in commits.into_iter().take(durable) {
            self.apply(node, &ops)?;
        }
        self.alive[node] = false;
        self.online[node] = false;
        let links: Vec<u64> =
            self.links.iter().filter(|(_, link)| link.ends.contains(&node)).map(|(link, _)| *link).collect();
        for link in links {
            self.cut(link);
        }
        let in_ms = 100 + self.dice.below(20_000);
        self.at(in_ms, Happening::Restart { node });
        Ok(())
    }

    fn restart(&mut self, node: usize) -> Result<(), Broken> {
        if self.alive[node] {
            return Ok(());
        }
        self.alive[node] = true;
        self.lives[node] += 1;
        self.timers[node] = None;
        let config = CoreConfig {
            reveal_delay_ms_max: self.plan.reveal_delay_ms_max,
            quota_bytes: if self.plan.small[node] { 140_000 } else { 1 << 30 },
            ..CoreConfig::default()
        };
        let seed = self.dice.bytes();
        self.nodes[node].core = match self.fault {
            Some(fault) => Core::with_fault(config, seed, fault),
            None => Core::new(config, seed),
        };
        self.event(node, Event::Started)?;
        let tags = vec![pool().tags[node]];
        self.nodes[node].mailbox.tags.clone_from(&tags);
        self.event(node, Event::OwnTags(tags))?;
        let around: Vec<u64> = self
            .contacts
            .iter()
            .filter(|(_, contact)| contact.ends.contains(&node))
            .map(|(contact, _)| *contact)
            .collect();
        for contact in around {
            self.event(node, Event::Seen { peer: peer(contact), dial_first: true })?;
        }
        Ok(())
    }

    // The end.

    fn everybody_meets(&mut self) -> Result<(), Broken> {
        self.rough = false;
        for node in 0..self.plan.nodes {
            self.restart(node)?;
        }
        for one in 0..self.plan.nodes {
            for two in one + 1..self.plan.nodes {
                self.meet(one, two)?;
            }
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), Broken> {
        for written in &self.plan.written {
            let bundle = &message(written.recipient, written.number).bundle;
            let arrived = self.model.delivered.contains(&bundle.message_digest());
            ensure(arrived, model::NOT_DELIVERED, || format!("{written:?}"))?;
            for (number, node) in self.nodes.iter().enumerate() {
                let held = node.entry(&bundle.id());
                ensure(held.is_none(), model::NOT_PURGED, || {
                    format!("{written:?} at node {number}: {held:?}")
                })?;
            }
        }
        Ok(())
    }
}

fn peer(contact: u64) -> PeerId {
    PeerId(contact.to_string())
}
