//! The state machine itself: one event in, actions out.

use std::collections::{BTreeMap, BTreeSet};

use pigeon_bundle::{BundleId, Tag};
use pigeon_proto::Frame;

use crate::action::{Action, RemovalReason, StoreOp};
use crate::carriage::Carriage;
use crate::catalog::{BundleMeta, Catalog, CatalogResult};
use crate::clock::Clock;
use crate::commits::{Commits, Then};
use crate::config::CoreConfig;
use crate::entry::{Entry, Pool};
use crate::event::{CommitFailure, ContactLink, Event, LinkId, Now, Token};
use crate::expiry::Expiry;
use crate::fault::{Fault, Faults};
use crate::mailbox::OpenQueue;
use crate::neighbours::Neighbours;
use crate::notice::Notice;
use crate::partials::Partials;
use crate::policy::{Policy, SprayAndFocus};
use crate::quality::{self, Quality};
use crate::random::Random;
use crate::session::Session;
use crate::tombstones::{self, RECENT_MAX, Tombstones};
use crate::trouble::{Flow, Trouble};
use crate::uplink::Uplink;

/// Contacts that can be recognised on links.
pub const CONTACTS_MAX: usize = 1024;
/// Tags of our own.
pub const OWN_TAGS_MAX: usize = 16_384;

/// What every handler gets: the time, the store, and where actions go.
pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    /// The wall time is our own, not only what neighbours say.
    pub(crate) own_clock: bool,
    pub(crate) catalog: &'a dyn Catalog,
    pub(crate) out: &'a mut Vec<Action>,
}

impl Context<'_> {
    pub(crate) fn notice(&mut self, notice: Notice) {
        self.out.push(Action::Notice(notice));
    }

    pub(crate) fn send(&mut self, link: LinkId, frame: Frame) {
        self.out.push(Action::Send { link, frame });
    }
}

/// One node.
///
/// 1. [`Core::new`], then [`Core::handle`] with `Event::Started` when the catalog is open, then `OwnTags`
///    and `Contacts`.
/// 2. `handle` for everything that happens; carry out the actions in order.
/// 3. After each, [`Core::next_deadline_ms`] says when `Event::Timer` is due.
///
/// The other methods only look.
#[derive(Debug)]
pub struct Core {
    pub(crate) config: CoreConfig,
    pub(crate) faults: Faults,
    pub(crate) random: Random,
    pub(crate) clock: Clock,
    pub(crate) commits: Commits,
    pub(crate) neighbours: Neighbours,
    pub(crate) sessions: BTreeMap<LinkId, Session>,
    /// Sessions that may have something to offer.
    pub(crate) dirty: BTreeSet<LinkId>,
    pub(crate) partials: Partials,
    pub(crate) tombstones: Tombstones,
    pub(crate) carriage: Carriage,
    pub(crate) eviction_cursor: Option<BundleId>,
    pub(crate) full_until_ms: BTreeMap<(Pool, bool), u64>,
    pub(crate) quality: Quality,
    pub(crate) policy: Box<dyn Policy>,
    pub(crate) uplink: Uplink,
    pub(crate) expiry: Expiry,
    pub(crate) opening: OpenQueue,
    pub(crate) own_tags: BTreeSet<Tag>,
    pub(crate) contacts: Vec<ContactLink>,
}

impl Core {
    /// A node that knows nothing yet. The same seed gives the same actions for the same events.
    pub fn new(config: CoreConfig, seed: [u8; 32]) -> Self {
        Self::build(config, seed, Faults::default(), Box::new(SprayAndFocus))
    }

    /// The same with another routing.
    pub fn with_policy(config: CoreConfig, seed: [u8; 32], policy: Box<dyn Policy>) -> Self {
        Self::build(config, seed, Faults::default(), policy)
    }

    /// A node with a known mistake, for the simulation's own test.
    #[cfg(feature = "faults")]
    pub fn with_fault(config: CoreConfig, seed: [u8; 32], fault: Fault) -> Self {
        Self::build(config, seed, Faults::of(fault), Box::new(SprayAndFocus))
    }

    fn build(config: CoreConfig, seed: [u8; 32], faults: Faults, policy: Box<dyn Policy>) -> Self {
        Self {
            config,
            faults,
            random: Random::new(seed),
            clock: Clock::default(),
            commits: Commits::default(),
            neighbours: Neighbours::default(),
            sessions: BTreeMap::new(),
            dirty: BTreeSet::new(),
            partials: Partials::default(),
            tombstones: Tombstones::default(),
            carriage: Carriage::default(),
            eviction_cursor: None,
            full_until_ms: BTreeMap::new(),
            quality: Quality::default(),
            policy,
            uplink: Uplink::default(),
            expiry: Expiry::default(),
            opening: OpenQueue::default(),
            own_tags: BTreeSet::new(),
            contacts: Vec::new(),
        }
    }

    /// Handles one event. Anything that is due by time happens too.
    pub fn handle(&mut self, now: Now, event: Event, catalog: &dyn Catalog) -> Vec<Action> {
        let mut out = Vec::new();
        let own_clock = now.wall_s.is_some();
        let mut cx = Context { now: self.clock.best(now), own_clock, catalog, out: &mut out };
        let link = if let Event::Frame { link, .. } = &event { Some(*link) } else { None };
        let handled = self.dispatch(&mut cx, event);
        self.settle(&mut cx, link, handled);
        if self.expiry.resting(now.mono_ms) {
            return out;
        }
        let ticked = self.tick(&mut cx);
        if ticked.is_err() {
            // Without a rest a store that cannot be read would keep the timer running at full speed.
            self.expiry.rest(now.mono_ms);
        }
        self.settle(&mut cx, None, ticked);
        self.pump_all(&mut cx);
        out
    }

    /// When `Event::Timer` is due, on the clock of [`Now::mono_ms`].
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let sessions = self.sessions.values().filter_map(Session::next_ms).min();
        let times = [
            self.neighbours.next_ms(),
            self.tombstones.next_due_ms(),
            self.uplink.next_ms(),
            self.expiry.next_ms(),
            sessions,
        ];
        let next_ms = times.into_iter().flatten().min()?;
        Some(self.expiry.after_rest(next_ms))
    }

    /// Whether strangers' mail is taken at the moment: what `Hello` says of this node.
    pub fn carriage_open(&self, now: Now) -> bool {
        self.carriage.open(now.mono_ms, &self.config)
    }

    /// The best wall time there is: the shell's, else what neighbours say.
    pub fn wall_s(&self, now: Now) -> Option<u64> {
        self.clock.best(now).wall_s
    }

    fn dispatch(&mut self, cx: &mut Context<'_>, event: Event) -> Flow {
        match event {
            Event::Started => self.start(cx),
            Event::OwnTags(tags) => self.set_own_tags(cx, tags),
            Event::Contacts(contacts) => {
                self.contacts = contacts;
                self.contacts.truncate(CONTACTS_MAX);
                Ok(())
            }
            Event::Seen { peer, dial_first } => {
                self.neighbours.seen(cx.now.mono_ms, &mut self.random, peer, dial_first);
                Ok(())
            }
            Event::Lost { peer } => {
                self.neighbours.lost(&peer);
                Ok(())
            }
            Event::DialFailed { peer } => {
                self.neighbours.failed(cx.now.mono_ms, &mut self.random, &peer);
                Ok(())
            }
            Event::LinkUp(info) => self.link_up(cx, info),
            Event::LinkDown { link } => self.end_session(cx, link),
            Event::Frame { link, frame } => self.frame(cx, link, frame),
            Event::Committed { token, result } => self.committed(cx, token, result),
            Event::Submitted { bundle } => self.submitted(cx, bundle),
            Event::Opened { bundle, outcome } => self.opened(cx, bundle, outcome),
            Event::Revealed { reveals } => self.revealed(cx, &reveals),
            Event::RevealConfirmed { reveals } => {
                self.reveal_confirmed(cx, &reveals);
                Ok(())
            }
            Event::UplinkUp => self.uplink_up(cx),
            Event::UplinkDown => {
                self.uplink.down();
                Ok(())
            }
            Event::Verdict { bundle, accepted } => self.verdict(cx, bundle, accepted),
            Event::Timer => Ok(()),
        }
    }

    fn start(&mut self, cx: &mut Context<'_>) -> Flow {
        let run_before_s = self.expiry.start(cx)?;
        self.clock.start(cx.now, run_before_s);
        if let Some(bytes) = cx.catalog.state(quality::STATE_KEY)? {
            self.quality = Quality::from_bytes(&bytes);
        }
        if let Some(bytes) = cx.catalog.state(tombstones::STATE_KEY)? {
            self.tombstones.load_owed(&bytes);
        }
        for (_, reveal) in cx.catalog.tombstones(None, RECENT_MAX)? {
            self.tombstones.note_recent(reveal);
        }
        self.queue_openings(cx)
    }

    fn tick(&mut self, cx: &mut Context<'_>) -> Flow {
        let now_ms = cx.now.mono_ms;
        for peer in self.neighbours.due(now_ms, &mut self.random) {
            cx.out.push(Action::Dial { peer });
        }
        for reveal in self.tombstones.due(now_ms) {
            self.publish(cx, reveal, None);
        }
        for (reveal, source) in self.tombstones.unwritten_due(now_ms) {
            self.learn(cx, reveal, source)?;
        }
        self.silent_sessions(cx)?;
        self.expire(cx)?;
        self.pump_uplink(cx)
    }

    fn settle(&mut self, cx: &mut Context<'_>, link: Option<LinkId>, result: Flow) {
        let Err(trouble) = result else { return };
        let reason = match trouble {
            Trouble::Catalog(error) => {
                cx.notice(Notice::StorageProblem { reason: error.to_string() });
                pigeon_proto::GoodbyeReason::Limit
            }
            Trouble::Peer { rule, reason } => {
                if let Some(session) = link.and_then(|link| self.sessions.get(&link)) {
                    let node = session.info.node;
                    cx.notice(Notice::LinkRefused { node, reason: rule.to_owned() });
                }
                reason
            }
        };
        if let Some(link) = link {
            // The session's state may be half-way: a new contact starts from the store again.
            self.close(cx, link, reason);
        }
    }

    fn committed(&mut self, cx: &mut Context<'_>, token: Token, result: Result<(), CommitFailure>) -> Flow {
        let Some(then) = self.commits.answered(token) else { return Ok(()) };
        if let Err(failure) = result {
            cx.notice(Notice::StorageProblem { reason: failure.to_string() });
            return self.commit_failed(cx, then);
        }
        match then {
            Then::Nothing | Then::Killed { .. } => Ok(()),
            Then::Taken { link, node, bundle } => self.taken(cx, link, node, bundle),
            Then::Spent { link, node, bundle, copies } => self.spent(cx, link, node, bundle, copies),
            Then::Gained { node, bundle, copies } => self.gained(cx, node, bundle, copies),
        }
    }

    fn commit_failed(&mut self, cx: &mut Context<'_>, then: Then) -> Flow {
        match then {
            Then::Taken { link, bundle, .. } => self.not_taken(cx, link, bundle),
            // Nothing is spent: no `Granted` is sent, and the copies are free again.
            Then::Spent { bundle, .. } => {
                self.renew(bundle, None);
                Ok(())
            }
            Then::Killed { reveal, source } => {
                self.tombstones.write_again(cx.now.mono_ms, reveal, source);
                Ok(())
            }
            Then::Nothing | Then::Gained { .. } => Ok(()),
        }
    }

    fn submitted(&mut self, cx: &mut Context<'_>, bundle: BundleId) -> Flow {
        let Some(meta) = cx.catalog.meta(&bundle)? else { return Ok(()) };
        if self.own_tags.contains(&meta.tag) {
            self.opening.push(bundle);
            self.pump_openings(cx)?;
        }
        self.make_room_for_own(cx)?;
        self.announce(cx, bundle, &meta, None);
        self.uplink_news(cx, bundle)
    }

    /// A bundle that nobody on the links knows of: its tag is listed, and it may be offered.
    pub(crate) fn announce(
        &mut self,
        cx: &mut Context<'_>,
        bundle: BundleId,
        meta: &BundleMeta,
        except: Option<LinkId>,
    ) {
        let links: Vec<LinkId> = self.sessions.keys().copied().filter(|link| Some(*link) != except).collect();
        for link in links {
            self.list_news(cx, link, meta.tag);
        }
        self.renew(bundle, except);
    }

    /// The entry as the core knows it: durable, with what is being written.
    pub(crate) fn entry(&self, cx: &Context<'_>, id: &BundleId) -> CatalogResult<Option<Entry>> {
        self.commits.entry(cx.catalog, id)
    }

    pub(crate) fn update(&mut self, cx: &mut Context<'_>, id: BundleId, entry: Entry) {
        self.commits.submit(cx.out, vec![StoreOp::Update { id, entry }], Then::Nothing);
    }

    /// Removal of a bundle and what people are told of it.
    pub(crate) fn removal(&mut self, cx: &mut Context<'_>, id: BundleId, reason: RemovalReason) -> StoreOp {
        self.uplink.forget(&id);
        cx.notice(Notice::Purged { bundle: id, reason });
        StoreOp::Remove { id, reason }
    }

    pub(crate) fn has_fault(&self, fault: Fault) -> bool {
        self.faults.has(fault)
    }
}
