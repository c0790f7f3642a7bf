//! Some cores, links between them, and what happened. Frames arrive at once and in order, unless the test's hook
//! says otherwise.

use std::collections::{BTreeMap, VecDeque};

use pigeon_bundle::{BundleId, NodeKey, Reveal};
use pigeon_core::{Action, Catalog, CoreConfig, Event, LinkId, LinkInfo, Notice, PeerId, Role, Windows};
use pigeon_proto::{Frame, PickupToken};

use crate::support::node::Node;
use crate::support::pool::{message, pool};

pub type Hook = Box<dyn FnMut(usize, &mut Frame) -> bool>;

/// Some nodes, links between them, and what happened. Commits are durable at once unless held.
pub struct World {
    pub nodes: Vec<Node>,
    pub now_ms: u64,
    pub links: BTreeMap<LinkId, (usize, usize)>,
    pub next_link: u64,
    pub wire: VecDeque<(usize, LinkId, Frame)>,
    pub notices: Vec<(usize, Notice)>,
    pub uploads: Vec<(usize, BundleId)>,
    pub told_bridge: Vec<(usize, Reveal)>,
    pub dials: Vec<(usize, PeerId)>,
    pub tokens_wanted: Vec<(usize, LinkId, NodeKey)>,
    pub tokens_kept: Vec<(usize, PickupToken)>,
    pub frames: Vec<(usize, Frame)>,
    pub carriage: Vec<(usize, bool)>,
    pub windows: Vec<(usize, Windows)>,
    /// Sees every frame (from whom); false loses it.
    pub hook: Hook,
    pub hold_commits: bool,
}

pub fn instant() -> CoreConfig {
    CoreConfig { reveal_delay_ms_max: 0, ..CoreConfig::default() }
}

impl World {
    pub fn new(count: u8) -> Self {
        Self::with(count, &instant())
    }

    pub fn with(count: u8, config: &CoreConfig) -> Self {
        let nodes = (0..count).map(|number| Node::new(number + 1, config.clone())).collect();
        let mut world = Self {
            nodes,
            now_ms: 1_000,
            links: BTreeMap::new(),
            next_link: 1,
            wire: VecDeque::new(),
            notices: Vec::new(),
            uploads: Vec::new(),
            told_bridge: Vec::new(),
            dials: Vec::new(),
            tokens_wanted: Vec::new(),
            tokens_kept: Vec::new(),
            frames: Vec::new(),
            carriage: Vec::new(),
            windows: Vec::new(),
            hook: Box::new(|_, _| true),
            hold_commits: false,
        };
        for node in 0..usize::from(count) {
            world.event(node, Event::Started);
        }
        world
    }

    pub fn event(&mut self, node: usize, event: Event) {
        let actions = self.nodes[node].handle(self.now_ms, event);
        self.act(node, actions);
        self.settle();
    }

    pub fn act(&mut self, node: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { link, mut frame } => {
                    frame.check().unwrap();
                    if self.links.contains_key(&link) && (self.hook)(node, &mut frame) {
                        self.frames.push((node, frame.clone()));
                        self.wire.push_back((node, link, frame));
                    }
                }
                Action::Commit { token, ops } => self.nodes[node].commits.push_back((token, ops)),
                Action::Open { bundle } => {
                    let held = self.nodes[node].catalog.bundle(&bundle).unwrap().unwrap();
                    let outcome = self.nodes[node].mailbox.open(&held);
                    let actions = self.nodes[node].handle(self.now_ms, Event::Opened { bundle, outcome });
                    self.act(node, actions);
                }
                // A polite end: what is on its way still arrives.
                Action::Close { link, reason } => {
                    self.wire.push_back((node, link, Frame::Goodbye(reason)));
                }
                Action::Dial { peer } => self.dials.push((node, peer)),
                Action::Upload { bundles } => {
                    self.uploads.extend(bundles.into_iter().map(|bundle| (node, bundle)));
                }
                Action::RevealToBridge { reveals } => {
                    self.told_bridge.extend(reveals.into_iter().map(|reveal| (node, reveal)));
                }
                Action::Discover(windows) => self.windows.push((node, windows)),
                Action::Carriage { open } => self.carriage.push((node, open)),
                Action::IssueToken { link, carrier } => self.tokens_wanted.push((node, link, carrier)),
                Action::KeepToken { token, .. } => self.tokens_kept.push((node, token)),
                Action::Notice(notice) => self.notices.push((node, notice)),
            }
        }
    }

    /// Until nothing moves any more.
    pub fn settle(&mut self) {
        loop {
            if !self.hold_commits {
                self.commit_all();
            }
            let Some((from, link, frame)) = self.wire.pop_front() else { break };
            let Some((one, two)) = self.links.get(&link).copied() else { continue };
            if matches!(frame, Frame::Goodbye(_)) {
                self.cut(link);
                continue;
            }
            let to = if one == from { two } else { one };
            let actions = self.nodes[to].handle(self.now_ms, Event::Frame { link, frame });
            self.act(to, actions);
        }
    }

    pub fn commit_all(&mut self) {
        for node in 0..self.nodes.len() {
            while let Some((token, ops)) = self.nodes[node].commits.pop_front() {
                self.nodes[node].catalog.apply(&ops);
                let actions =
                    self.nodes[node].handle(self.now_ms, Event::Committed { token, result: Ok(()) });
                self.act(node, actions);
            }
        }
    }

    pub fn link_with(&mut self, one: usize, two: usize, change: impl Fn(&mut LinkInfo)) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.links.insert(link, (one, two));
        let binding = [u8::try_from(link.0).unwrap(); 32];
        let mut actions = Vec::new();
        for (node, peer, role) in [(one, two, Role::Dialler), (two, one, Role::Listener)] {
            let mut info = LinkInfo {
                link,
                peer: None,
                node: self.nodes[peer].key,
                own: self.nodes[node].key,
                role,
                binding,
                cost: 0,
                address: [0; 8],
                carriage_open: true,
                clock_s: None,
            };
            change(&mut info);
            actions.push((node, self.nodes[node].handle(self.now_ms, Event::LinkUp(info))));
        }
        for (node, actions) in actions {
            self.act(node, actions);
        }
        self.settle();
        link
    }

    pub fn link(&mut self, one: usize, two: usize) -> LinkId {
        self.link_with(one, two, |_| ())
    }

    pub fn cut(&mut self, link: LinkId) {
        let Some((one, two)) = self.links.remove(&link) else { return };
        self.wire.retain(|(_, on, _)| *on != link);
        for node in [one, two] {
            let actions = self.nodes[node].handle(self.now_ms, Event::LinkDown { link });
            self.act(node, actions);
        }
    }

    pub fn submit(&mut self, node: usize, recipient: usize, number: usize) -> BundleId {
        let bundle = &message(recipient, number).bundle;
        self.nodes[node].put_own(self.now_ms, bundle);
        self.event(node, Event::Submitted { bundle: bundle.id() });
        bundle.id()
    }

    pub fn listens(&mut self, node: usize, recipient: usize) {
        let tags = vec![pool().tags[recipient]];
        self.nodes[node].mailbox.tags.clone_from(&tags);
        self.event(node, Event::OwnTags(tags));
    }

    pub fn advance(&mut self, ms: u64) {
        self.now_ms += ms;
        for node in 0..self.nodes.len() {
            self.event(node, Event::Timer);
        }
    }

    pub fn copies(&self, id: &BundleId) -> Vec<Option<u8>> {
        self.nodes.iter().map(|node| node.copies(id)).collect()
    }

    pub fn said(&self, node: usize, notice: &Notice) -> bool {
        self.notices.iter().any(|(from, said)| *from == node && said == notice)
    }

    pub fn sent(&self, node: usize, wanted: impl Fn(&Frame) -> bool) -> usize {
        self.frames.iter().filter(|(from, frame)| *from == node && wanted(frame)).count()
    }
}
