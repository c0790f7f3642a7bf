//! Nodes, contacts and messages: one replay of a scenario in one setting.
//!
//! Each contact is a link between two real cores, which exchange real frames in order. Writes are durable at once.
//! All that happens at one instant happens before time goes on: a message crosses a connected group of nodes in no
//! time, unless transfers take time ([`Transfers`]).

mod bridge;
mod node;
mod transfers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pigeon_bundle::{BundleId, DAY_S, Reveal};
use pigeon_core::{Action, Entry, Event, LinkId, LinkInfo, OpenOutcome, Role, StoreOp};
use pigeon_proto::{DeclineReason, Frame};

use crate::metrics::{Delivery, Metrics, Tally};
use crate::people::People;
use crate::scenario::{Happening, Scenario};
use crate::setting::{Setting, Transfer};
use bridge::Bridge;
use node::Node;
use transfers::{Transfers, Transit};

const DAY_MS: u64 = DAY_S * 1000;
/// A link that a node has closed, while the contact goes on, is tried again after this.
const REDIAL_MS: u64 = 10_000;

/// Something a node is to be told, now.
struct Told {
    node: u32,
    event: Event,
}

/// One replay.
pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    people: &'a People,
    setting: Setting,
    now_ms: u64,
    nodes: Vec<Node>,
    links: BTreeMap<LinkId, (u32, u32)>,
    contacts: BTreeMap<(u32, u32), LinkId>,
    next_link: u64,
    /// (When, who): contacts whose link was closed.
    redials: BTreeSet<(u64, (u32, u32))>,
    told: VecDeque<Told>,
    transfers: Transfers,
    bridge: Bridge,
    /// (When, message).
    endings: BTreeSet<(u64, usize)>,
    /// Nodes that may hold each message.
    holders: Vec<Vec<u32>>,
    tally: Tally,
}

impl<'a> World<'a> {
    pub(crate) fn new(scenario: &'a Scenario, people: &'a People, setting: Setting) -> Self {
        let count = scenario.messages.len();
        Self {
            scenario,
            people,
            setting,
            now_ms: 0,
            nodes: (0..scenario.nodes).map(|number| Node::new(number, &setting)).collect(),
            links: BTreeMap::new(),
            contacts: BTreeMap::new(),
            next_link: 1,
            redials: BTreeSet::new(),
            told: VecDeque::new(),
            transfers: Transfers::default(),
            bridge: Bridge::default(),
            endings: BTreeSet::new(),
            holders: vec![Vec::new(); count],
            tally: Tally { delivered: vec![None; count], holders: vec![0; count], ..Tally::default() },
        }
    }

    /// Replays everything.
    pub(crate) fn run(mut self) -> Metrics {
        for node in 0..self.scenario.nodes {
            self.tell(node, Event::Started);
            self.tell(node, Event::OwnTags(self.people.tags(node, 0)));
            if self.setting.reachable == pigeon_core::Reachable::Contacts {
                self.tell(node, Event::Contacts(self.people.contacts(node)));
            }
        }
        self.settle();
        for (at_ms, happening) in &self.scenario.happenings {
            self.go_to(*at_ms);
            self.happen(*happening);
            self.settle();
        }
        Metrics::of(self.scenario, &self.tally)
    }

    /// Time goes on: days begin, transfers and messages end.
    fn go_to(&mut self, at_ms: u64) {
        loop {
            let midnight_ms = (self.now_ms / DAY_MS + 1) * DAY_MS;
            let redial_ms = self.redials.first().map_or(u64::MAX, |(redial_ms, _)| *redial_ms);
            let until_ms = at_ms.min(midnight_ms).min(redial_ms);
            while let Some((ends_ms, transit)) = self.transfers.finish(until_ms) {
                self.end_messages(ends_ms);
                self.now_ms = ends_ms;
                self.arrives(transit);
                self.settle();
            }
            self.end_messages(until_ms);
            self.now_ms = until_ms;
            if until_ms == redial_ms {
                self.redial();
            }
            if until_ms == midnight_ms {
                self.new_day();
            }
            if until_ms == at_ms {
                return;
            }
        }
    }

    fn redial(&mut self) {
        let Some((_, pair)) = self.redials.pop_first() else { return };
        if self.contacts.get(&pair).is_some_and(|link| !self.links.contains_key(link)) {
            self.contacts.remove(&pair);
            self.link(pair.0, pair.1);
            self.settle();
        }
    }

    fn new_day(&mut self) {
        for node in 0..self.scenario.nodes {
            self.tell(node, Event::OwnTags(self.people.tags(node, self.now_ms)));
        }
        self.settle();
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Up(one, two) => self.link(one, two),
            Happening::Down(one, two) => self.cut(one, two),
            Happening::UplinkBegins(node) => self.online(node),
            Happening::UplinkEnds(node) => {
                self.nodes[node as usize].online = false;
                self.tell(node, Event::UplinkDown);
            }
            Happening::Written(message) => self.write(message),
        }
    }

    fn link(&mut self, one: u32, two: u32) {
        if self.contacts.contains_key(&(one, two)) {
            return;
        }
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.contacts.insert((one, two), link);
        self.links.insert(link, (one, two));
        let mut binding = [0; 32];
        binding[..8].copy_from_slice(&link.0.to_be_bytes());
        for (node, peer, role) in [(one, two, Role::Dialler), (two, one, Role::Listener)] {
            let mut address = [0; 8];
            address[..4].copy_from_slice(&peer.to_be_bytes());
            let info = LinkInfo {
                link,
                peer: None,
                node: self.nodes[peer as usize].key,
                own: self.nodes[node as usize].key,
                role,
                binding,
                cost: 0,
                address,
                carriage_open: true,
                clock_s: None,
            };
            self.tell(node, Event::LinkUp(info));
        }
    }

    fn cut(&mut self, one: u32, two: u32) {
        let Some(link) = self.contacts.remove(&(one, two)) else { return };
        self.hang_up(link);
    }

    fn hang_up(&mut self, link: LinkId) {
        let Some((one, two)) = self.links.remove(&link) else { return };
        self.tally.aborted += self.transfers.cut(link);
        for node in [one, two] {
            self.tell(node, Event::LinkDown { link });
        }
    }

    fn online(&mut self, node: u32) {
        self.nodes[node as usize].online = true;
        self.tell(node, Event::UplinkUp);
        self.fetch(node);
    }

    fn write(&mut self, number: usize) {
        let message = &self.scenario.messages[number];
        let sealed = &self.people.sealed[number];
        let entry = Entry::own(0, Node::now(self.now_ms).wall_s);
        let from = message.from;
        if self.buffer_limit().is_some_and(|limit| message.size > limit) {
            return;
        }
        self.nodes[from as usize].catalog.apply(&[StoreOp::Put { bundle: sealed.bundle.clone(), entry }]);
        self.endings.insert((message.ends_ms(), number));
        self.holds(from, number);
        self.tell(from, Event::Submitted { bundle: sealed.bundle.id() });
    }

    /// A node holds a message that it did not hold before.
    fn holds(&mut self, node: u32, number: usize) {
        let message = &self.scenario.messages[number];
        let seen = &mut self.holders[number];
        if !seen.contains(&node) {
            seen.push(node);
            self.tally.holders[number] += u32::from(node != message.to);
        }
        let Some(limit) = self.buffer_limit().filter(|_| node != message.to) else { return };
        self.nodes[node as usize].buffer.add(number, message.size);
        let busy = |other: usize| self.transfers.is_running(node, other) && other != number;
        for victim in self.nodes[node as usize].buffer.overflow(limit, busy) {
            self.tally.dropped += 1;
            self.forget(node, victim);
            self.take_back(victim, Some(node));
        }
    }

    fn buffer_limit(&self) -> Option<u64> {
        match self.setting.transfer {
            Transfer::Instant => None,
            Transfer::Serial { buffer, .. } => buffer,
        }
    }

    fn forget(&mut self, node: u32, number: usize) {
        let id = self.people.sealed[number].bundle.id();
        self.nodes[node as usize].discard(id, number);
    }

    /// Messages whose ttl has passed: every copy disappears.
    fn end_messages(&mut self, until_ms: u64) {
        while let Some((_, number)) =
            self.endings.first().copied().filter(|(ends_ms, _)| *ends_ms <= until_ms)
        {
            self.endings.pop_first();
            for node in self.holders[number].clone() {
                self.forget(node, number);
            }
            self.bridge.waiting.remove(&number);
            self.take_back(number, None);
        }
    }

    /// Transfers of a copy that is gone: both ends hear that nothing comes.
    fn take_back(&mut self, number: usize, from: Option<u32>) {
        let bundle = self.people.sealed[number].bundle.id();
        for transit in self.transfers.withdraw(number, from) {
            for node in [transit.from, transit.to] {
                let frame = Frame::Decline { bundle, reason: DeclineReason::Expired };
                self.tell(node, Event::Frame { link: transit.link, frame });
            }
        }
    }

    fn alive(&self, number: usize) -> bool {
        self.now_ms < self.scenario.messages[number].ends_ms()
    }

    fn tell(&mut self, node: u32, event: Event) {
        self.told.push_back(Told { node, event });
    }

    /// Until nothing moves any more at this instant.
    fn settle(&mut self) {
        while let Some(Told { node, event }) = self.told.pop_front() {
            self.handle(node, event);
        }
        if let Transfer::Serial { rate, .. } = self.setting.transfer {
            let messages = &self.scenario.messages;
            self.transfers.start(self.now_ms, |number| (messages[number].size * 1000).div_ceil(rate.max(1)));
        }
    }

    /// One event and what follows inside the node: writes and opened mail are answered at once.
    fn handle(&mut self, node: u32, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            if let Event::Frame { link, frame: Frame::Segment { bundle, offset, data } } = &event
                && self.links.contains_key(link)
            {
                self.count(*bundle, *offset as usize + data.len());
            }
            let inner = &mut self.nodes[node as usize];
            let actions = inner.core.handle(Node::now(self.now_ms), event, &inner.catalog);
            for action in actions {
                self.act(node, action, &mut events);
            }
        }
    }

    /// The last byte of a bundle has arrived somewhere.
    fn count(&mut self, bundle: BundleId, received: usize) {
        let Some(number) = self.people.by_bundle.get(&bundle).copied() else { return };
        if received == self.people.sealed[number].bundle.size() {
            self.tally.transmissions += 1;
            self.tally.bytes += self.scenario.messages[number].size;
        }
    }

    fn act(&mut self, node: u32, action: Action, events: &mut VecDeque<Event>) {
        match action {
            Action::Send { link, frame } => self.send(node, link, frame),
            Action::Commit { token, ops } => {
                self.nodes[node as usize].catalog.apply(&ops);
                for op in &ops {
                    self.wrote(node, op);
                }
                events.push_back(Event::Committed { token, result: Ok(()) });
            }
            Action::Open { bundle } => {
                let outcome = self.open(node, bundle);
                events.push_back(Event::Opened { bundle, outcome });
            }
            Action::Upload { bundles } => {
                bundles.into_iter().for_each(|bundle| self.upload(bundle, events));
            }
            Action::RevealToBridge { reveals } => {
                self.reveal_to_bridge(&reveals);
                events.push_back(Event::RevealConfirmed { reveals });
            }
            Action::Close { link, .. } => {
                if let Some(pair) = self.links.get(&link).copied() {
                    self.redials.insert((self.now_ms + REDIAL_MS, pair));
                }
                self.hang_up(link);
            }
            // Contacts come from the trace; how much is looked for them is not asked here.
            _ => {}
        }
    }

    fn send(&mut self, from: u32, link: LinkId, frame: Frame) {
        let Some((one, two)) = self.links.get(&link).copied() else { return };
        let to = if one == from { two } else { one };
        match (self.setting.transfer, &frame) {
            (Transfer::Serial { .. }, Frame::Segment { bundle, .. }) => {
                let Some(message) = self.people.by_bundle.get(bundle).copied() else { return };
                let to_recipient = self.scenario.messages[message].to == to;
                self.transfers.enqueue(Transit {
                    link,
                    from,
                    to,
                    message,
                    to_recipient,
                    frames: vec![frame],
                });
            }
            _ => self.tell(to, Event::Frame { link, frame }),
        }
    }

    fn arrives(&mut self, transit: Transit) {
        for frame in transit.frames {
            self.tell(transit.to, Event::Frame { link: transit.link, frame });
        }
    }

    fn wrote(&mut self, node: u32, op: &StoreOp) {
        match op {
            StoreOp::Put { bundle, .. } => {
                if let Some(number) = self.people.by_bundle.get(&bundle.id()).copied() {
                    self.holds(node, number);
                }
            }
            StoreOp::Remove { id, .. } => {
                if let Some(number) = self.people.by_bundle.get(id).copied() {
                    self.nodes[node as usize].buffer.remove(number);
                }
            }
            _ => {}
        }
    }

    /// The mailbox of a node tries a bundle.
    fn open(&mut self, node: u32, bundle: BundleId) -> OpenOutcome {
        let Some(number) = self.people.by_bundle.get(&bundle).copied() else { return OpenOutcome::NotOurs };
        if self.scenario.messages[number].to != node {
            return OpenOutcome::NotOurs;
        }
        let reveal = self.people.sealed[number].reveal;
        if !self.nodes[node as usize].inbox.insert(number) {
            return OpenOutcome::Duplicate { reveal };
        }
        self.delivered(number, false);
        OpenOutcome::Delivered { reveal }
    }

    fn delivered(&mut self, number: usize, by_uplink: bool) {
        if self.alive(number) {
            self.tally.delivered[number].get_or_insert(Delivery { at_ms: self.now_ms, by_uplink });
        }
    }

    /// The bridge has it: that is delivery by uplink. With acknowledgements the holder hears of the bridge's
    /// acceptance, and of the r if the bridge knows it; without, it goes on as if nothing had come up.
    fn upload(&mut self, bundle: BundleId, events: &mut VecDeque<Event>) {
        let Some(number) = self.people.by_bundle.get(&bundle).copied() else { return };
        self.delivered(number, true);
        events.push_back(Event::Verdict { bundles: vec![bundle], accepted: self.setting.ack });
        if !self.setting.ack {
            return;
        }
        if self.bridge.revealed.contains(&number) {
            events.push_back(Event::Revealed { reveals: vec![self.people.sealed[number].reveal] });
            return;
        }
        self.bridge.waiting.insert(number);
        let recipient = self.scenario.messages[number].to;
        if self.nodes[recipient as usize].online {
            self.fetch(recipient);
        }
    }

    /// A recipient that is online gets its mail from the bridge.
    fn fetch(&mut self, node: u32) {
        let messages = &self.scenario.messages;
        let waiting: Vec<usize> =
            self.bridge.waiting.iter().copied().filter(|number| messages[*number].to == node).collect();
        for number in waiting {
            self.bridge.waiting.remove(&number);
            let bundle = self.people.sealed[number].bundle.id();
            let outcome = self.open(node, bundle);
            self.tell(node, Event::Opened { bundle, outcome });
        }
    }

    fn reveal_to_bridge(&mut self, reveals: &[Reveal]) {
        for (number, sealed) in self.people.sealed.iter().enumerate() {
            if reveals.contains(&sealed.reveal) {
                self.bridge.revealed.insert(number);
                self.bridge.waiting.remove(&number);
            }
        }
    }
}
