//! Virtual time: what is going to happen, in order, and what the cores' actions make happen later.

use std::collections::BTreeMap;

use pigeon_bundle::BundleId;
use pigeon_core::{Action, Battery, CoreConfig, Event, Fault, LinkId, Notice, PeerId, Windows};
use pigeon_proto::Frame;

use crate::bridge::Bridge;
use crate::model::{self, Broken, Model, ensure};
use crate::plan::{Clock, Dice, Fate, Meeting, Plan, Written};
use crate::support::node::Node;
use crate::support::pool::RECIPIENTS;

/// Length of the part in which everybody meets.
const PLENTY_MS: u64 = 240_000;
/// The simulation begins so many seconds before some mail expires.
pub const EARLY_S: i64 = 100;
/// Events that each node of a network may need; far more is a loop.
const EVENTS_MAX: u64 = 80_000;

/// A mistake that the simulation must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    Core(Fault),
    /// The mailbox takes variants of one message for different ones.
    DedupOnBundleId,
}

impl Mistake {
    pub fn of_core(self) -> Option<Fault> {
        if let Self::Core(fault) = self { Some(fault) } else { None }
    }
}

#[derive(Debug, Clone)]
pub enum Happening {
    Meet(Meeting),
    Sight { contact: u64, node: usize, dial_first: bool },
    Fate { node: usize, fate: Fate },
    ContactEnds { contact: u64 },
    LinkIsUp { link: u64, node: usize },
    LinkIsDown { link: u64, node: usize },
    Arrives { link: u64, to: usize, frame: Frame },
    DialFails { node: usize, life: u32, peer: PeerId },
    CommitEnds { node: usize, life: u32 },
    OpenEnds { node: usize, life: u32, bundle: BundleId },
    TimerEnds { node: usize, life: u32, at_ms: u64 },
    Answer { node: usize, life: u32, event: Box<Event> },
    Restart { node: usize },
    Write(Written),
    EverybodyMeets,
}

#[derive(Debug)]
pub struct Link {
    pub ends: [usize; 2],
    pub contact: u64,
    pub peer: PeerId,
    /// When the last frame in each direction arrives: order is kept.
    pub last_ms: [u64; 2],
    /// When each direction has sent what it has to.
    pub free_ms: [u64; 2],
    pub open: bool,
    pub binding: [u8; 32],
}

#[derive(Debug)]
pub struct Contact {
    pub ends: [usize; 2],
}

pub struct World {
    pub plan: Plan,
    pub fault: Option<Mistake>,
    pub dice: Dice,
    pub now_ms: u64,
    pub queue: BTreeMap<(u64, u64), Happening>,
    pub next: u64,
    pub nodes: Vec<Node>,
    pub alive: Vec<bool>,
    /// Never there at all.
    pub absent: Vec<bool>,
    /// When each looks for others, and since when.
    pub windows: Vec<(Windows, u64)>,
    /// What liars have said.
    pub said: Vec<Vec<Frame>>,
    batteries: Vec<bool>,
    pub lives: Vec<u32>,
    pub online: Vec<bool>,
    /// The timer that is set, by node.
    pub timers: Vec<Option<u64>>,
    pub links: BTreeMap<u64, Link>,
    pub contacts: BTreeMap<u64, Contact>,
    pub bridge: Bridge,
    pub rough: bool,
    pub model: Model,
    pub tell: bool,
    /// Only the rough part is wanted.
    pub stop_at_everybody: bool,
    /// A digest of everything the cores asked for, where a test wants it.
    pub trace: Option<u64>,
}

impl World {
    pub fn new(plan: Plan, fault: Option<Mistake>) -> Self {
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
            absent: vec![false; nodes],
            windows: vec![(Windows::EAGER, 0); nodes],
            said: vec![Vec::new(); nodes],
            batteries: vec![true; nodes],
            lives: vec![0; nodes],
            online: vec![false; nodes],
            timers: vec![None; nodes],
            links: BTreeMap::new(),
            contacts: BTreeMap::new(),
            bridge: Bridge::default(),
            rough: true,
            model: Model::default(),
            tell: false,
            stop_at_everybody: false,
            trace: None,
            plan,
        };
        for node in 0..nodes {
            let error_s = if let Clock::Wrong(error_s) = world.plan.clocks[node] { error_s } else { 0 };
            world.nodes[node].clock = world.plan.clocks[node] != Clock::None;
            world.nodes[node].clock_error_s = error_s - EARLY_S;
            if world.plan.liars[node].is_some() {
                world.model.liars.insert(world.nodes[node].key);
            }
            world.at(0, Happening::Restart { node });
        }
        if world.plan.twins {
            for written in world.plan.written.clone() {
                world.hold_twins(&written).unwrap_or_else(|broken| panic!("{broken}"));
            }
        }
        for meeting in world.plan.meetings.clone() {
            world.at(meeting.at_ms, Happening::Meet(meeting));
        }
        for (at_ms, node, fate) in world.plan.fates.clone() {
            world.at(at_ms, Happening::Fate { node, fate });
        }
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
            let most = EVENTS_MAX * self.plan.nodes as u64;
            ensure(self.model.counts.events < most, model::BUSY, || format!("at {at_ms} ms"))?;
            self.happen(happening)?;
            if self.stop_at_everybody && !self.rough {
                return Ok(());
            }
        }
        for node in &self.nodes {
            self.model.counts.looked_s += node.core.looked_ms(node.now(self.now_ms)) / 1000;
        }
        self.check_end()
    }

    pub fn at(&mut self, in_ms: u64, happening: Happening) {
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
            Happening::Meet(meeting) => {
                let contact = self.meet(meeting.ends[0], meeting.ends[1])?;
                self.at(meeting.length_ms, Happening::ContactEnds { contact });
                Ok(())
            }
            Happening::Sight { contact, node, dial_first } => self.sight(contact, node, dial_first),
            Happening::Fate { node, fate } => self.befall(node, fate),
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
            Happening::Answer { node, life, event } if self.lives(node, life) => self.event(node, *event),
            Happening::Restart { node } => self.restart(node),
            Happening::Write(written) => self.write(written),
            Happening::EverybodyMeets => self.everybody_meets(),
            _ => Ok(()),
        }
    }

    pub fn event(&mut self, node: usize, event: Event) -> Result<(), Broken> {
        if !self.alive[node] {
            return Ok(());
        }
        let actions = self.nodes[node].handle(self.now_ms, event);
        for action in actions {
            self.note(node, &action);
            self.act(node, action)?;
        }
        if self.lies(node).is_none() {
            Model::promises(&self.nodes[node])?;
        }
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
            Action::Upload { bundles } => {
                bundles.into_iter().for_each(|bundle| self.upload(node, bundle));
            }
            // The simulation's nodes do not fetch for each other.
            Action::IssueToken { .. } | Action::KeepToken { .. } => {}
            Action::RevealToBridge { reveals } => {
                self.bridge.reveal(&reveals);
                let event = Box::new(Event::RevealConfirmed { reveals });
                self.at(30, Happening::Answer { node, life, event });
            }
            Action::Discover(windows) => self.windows[node] = (windows, self.now_ms),
            Action::Carriage { .. } => {}
            Action::Notice(notice) => match notice {
                Notice::DeliveredDirect { .. } => self.model.counts.direct += 1,
                Notice::BundleRefused { .. } => self.model.counts.refused += 1,
                Notice::NeighbourUp { node: peer, .. } => {
                    self.model.counts.lies += u64::from(self.model.liars.contains(&peer));
                }
                Notice::LinkRefused { node: peer, reason }
                    if self.lies(node).is_none() && !self.model.liars.contains(&peer) =>
                {
                    return Err(Broken { rule: "honest nodes break no rule", detail: reason });
                }
                _ => {}
            },
        }
        Ok(())
    }

    fn befall(&mut self, node: usize, fate: Fate) -> Result<(), Broken> {
        if !self.rough {
            return Ok(());
        }
        match fate {
            Fate::Crash => self.crash(node),
            Fate::Uplink => self.set_uplink(node, !self.online[node]),
            Fate::Battery => self.set_battery(node, !self.batteries[node]),
        }
    }

    fn set_battery(&mut self, node: usize, full: bool) -> Result<(), Broken> {
        self.batteries[node] = full;
        let battery = Battery { percent: if full { 100 } else { 3 }, charging: false };
        self.event(node, Event::Battery(Some(battery)))
    }

    /// Everybody meets those that mail is for, with nothing in the way.
    fn everybody_meets(&mut self) -> Result<(), Broken> {
        self.rough = false;
        for node in 0..self.plan.nodes {
            self.restart(node)?;
            self.set_battery(node, true)?;
        }
        for one in 0..self.plan.nodes.min(RECIPIENTS) {
            for two in one + 1..self.plan.nodes {
                self.meet(one, two)?;
            }
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), Broken> {
        for written in &self.plan.written {
            let message = written.message();
            let bundle = &message.bundle;
            let arrived = self.model.delivered.contains(&bundle.message_digest());
            ensure(arrived || self.may_be_lost(written), model::NOT_DELIVERED, || format!("{written:?}"))?;
            for (number, node) in self.nodes.iter().enumerate() {
                let held = node.entry(&bundle.id()).filter(|_| arrived && self.lies(number).is_none());
                ensure(held.is_none(), model::NOT_PURGED, || {
                    format!("{written:?} at node {number}: {held:?}")
                })?;
            }
        }
        Ok(())
    }

    /// Too late, or one of the two believes in another day.
    fn may_be_lost(&self, written: &Written) -> bool {
        let mistaken = |node: usize| match self.plan.clocks[node] {
            Clock::Wrong(_) => true,
            Clock::None => self.plan.days_are_wrong(),
            Clock::Right => false,
        };
        written.expires() || mistaken(written.author) || mistaken(written.recipient)
    }
}

pub fn peer(contact: u64) -> PeerId {
    PeerId(contact.to_string())
}
