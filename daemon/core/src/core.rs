//! The state machine itself: one event in, actions out.

use std::collections::{BTreeMap, BTreeSet};

use pigeon_bundle::{BundleId, Commitment, Reveal, Tag};
use pigeon_proto::{Frame, GoodbyeReason};

use crate::action::Action;
use crate::carriage::Carriage;
use crate::catalog::{Catalog, CatalogResult};
use crate::clock::Clock;
use crate::commits::{Commits, Then};
use crate::config::CoreConfig;
use crate::context::Context;
use crate::counters::Counters;
use crate::energy::Energy;
use crate::entry::Pool;
use crate::event::{ContactLink, Event, LinkId, Now};
use crate::expiry::Expiry;
use crate::fault::{Fault, Faults};
use crate::ledger::Ledger;
use crate::mailbox::OpenQueue;
use crate::neighbours::Neighbours;
use crate::notice::Notice;
use crate::partials::Partials;
use crate::pickup::Pickups;
use crate::policy::Policy;
use crate::quality::{self, Quality};
use crate::random::Random;
use crate::reveal::Source;
use crate::session::{Retired, Session};
use crate::tombstones::{self, RECENT_MAX, Tombstones};
use crate::trouble::{Flow, Trouble};
use crate::uplink::Uplink;

/// Contacts that can be recognised on links.
pub const CONTACTS_MAX: usize = 1024;
/// Tags of our own.
pub const OWN_TAGS_MAX: usize = 16_384;

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
    /// Links that have given way to another one to the same node.
    pub(crate) retired: BTreeMap<LinkId, Retired>,
    pub(crate) dirty: BTreeSet<LinkId>,
    pub(crate) partials: Partials,
    pub(crate) tombstones: Tombstones,
    pub(crate) carriage: Carriage,
    pub(crate) eviction_cursor: Option<BundleId>,
    pub(crate) full_until_ms: BTreeMap<(Pool, bool), u64>,
    pub(crate) quality: Quality,
    pub(crate) policy: Box<dyn Policy>,
    pub(crate) uplink: Uplink,
    pub(crate) pickups: Pickups,
    pub(crate) expiry: Expiry,
    pub(crate) energy: Energy,
    pub(crate) ledger: Ledger,
    pub(crate) counters: Counters,
    /// As they were written last.
    pub(crate) counters_kept: Counters,
    pub(crate) opening: OpenQueue,
    pub(crate) own_tags: BTreeSet<Tag>,
    /// The first of them as the mailbox lists them: what those who may reach us are told.
    pub(crate) told_tags: Vec<Tag>,
    pub(crate) contacts: Vec<ContactLink>,
}

impl Core {
    /// A node that knows nothing yet. The same seed gives the same actions for the same events.
    pub fn new(config: CoreConfig, seed: [u8; 32]) -> Self {
        let policy = config.routing.policy();
        Self::build(config, seed, Faults::default(), policy)
    }

    /// The same with a routing of the caller's, in place of the configured one.
    pub fn with_policy(config: CoreConfig, seed: [u8; 32], policy: Box<dyn Policy>) -> Self {
        Self::build(config, seed, Faults::default(), policy)
    }

    /// A node with a known mistake, for the simulation's own test.
    #[cfg(feature = "faults")]
    pub fn with_fault(config: CoreConfig, seed: [u8; 32], fault: Fault) -> Self {
        let policy = config.routing.policy();
        Self::build(config, seed, Faults::of(fault), policy)
    }

    fn build(config: CoreConfig, seed: [u8; 32], faults: Faults, policy: Box<dyn Policy>) -> Self {
        Self {
            carriage: Carriage::new(config.rates),
            config,
            faults,
            random: Random::new(seed),
            clock: Clock::default(),
            commits: Commits::default(),
            neighbours: Neighbours::default(),
            sessions: BTreeMap::new(),
            retired: BTreeMap::new(),
            dirty: BTreeSet::new(),
            partials: Partials::default(),
            tombstones: Tombstones::default(),
            eviction_cursor: None,
            full_until_ms: BTreeMap::new(),
            quality: Quality::default(),
            policy,
            uplink: Uplink::default(),
            pickups: Pickups::default(),
            expiry: Expiry::default(),
            energy: Energy::default(),
            ledger: Ledger::default(),
            counters: Counters::default(),
            counters_kept: Counters::default(),
            opening: OpenQueue::default(),
            own_tags: BTreeSet::new(),
            told_tags: Vec::new(),
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
        if let Some(open) = self.carriage.news(now.mono_ms, &self.config) {
            cx.out.push(Action::Carriage { open });
        }
        out
    }

    /// When `Event::Timer` is due, on the clock of [`Now::mono_ms`].
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let sessions = self.sessions.values().filter_map(Session::next_ms).min();
        let times = [
            self.neighbours.next_ms(),
            self.tombstones.next_due_ms(),
            self.uplink.next_ms(),
            self.pickup_next_ms(),
            self.expiry.next_ms(),
            self.energy.next_ms(),
            sessions,
            self.retired.values().map(Retired::next_ms).min(),
        ];
        let next_ms = times.into_iter().flatten().min()?;
        Some(self.expiry.after_rest(next_ms))
    }

    /// Whether strangers' mail is taken at the moment: what `Hello` says of this node.
    pub fn carriage_open(&self, now: Now) -> bool {
        self.carriage.open(now.mono_ms, &self.config)
    }

    /// Milliseconds this node has spent looking for neighbours since it started.
    pub fn looked_ms(&self, now: Now) -> u64 {
        self.energy.looked_ms(now.mono_ms)
    }

    /// The best wall time there is: the shell's, else what neighbours say.
    pub fn wall_s(&self, now: Now) -> Option<u64> {
        self.clock.best(now).wall_s
    }

    /// The r of a commitment if it is known in any way, even of a bundle never held: a message that comes over XMPP
    /// and was cancelled is not to be delivered.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn reveal_of(&self, catalog: &dyn Catalog, commitment: &Commitment) -> CatalogResult<Option<Reveal>> {
        match self.tombstones.cached(commitment) {
            Some(reveal) => Ok(Some(reveal)),
            None => self.commits.tombstone(catalog, commitment),
        }
    }

    fn dispatch(&mut self, cx: &mut Context<'_>, event: Event) -> Flow {
        match event {
            Event::Started => self.start(cx),
            Event::OwnTags(tags) => self.set_own_tags(cx, tags),
            Event::Contacts(contacts) => {
                let before = std::mem::replace(&mut self.contacts, contacts);
                self.contacts.truncate(CONTACTS_MAX);
                if self.contacts != before {
                    self.recognise_again(cx);
                }
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
            Event::Revealed { reveals } => self.revealed(cx, &reveals, Source::Mailbox),
            Event::Cancelled { reveals } => self.revealed(cx, &reveals, Source::Author),
            Event::RevealConfirmed { reveals } => {
                self.reveal_confirmed(cx, &reveals);
                Ok(())
            }
            Event::UplinkUp => self.uplink_up(cx),
            Event::BridgeAdded => self.bridge_added(cx),
            Event::UplinkDown => {
                self.uplink.down();
                self.energy.look_again(cx.now.mono_ms);
                self.pickups.away(cx.now.mono_ms);
                Ok(())
            }
            Event::UploadDeferred { bundle } => {
                self.uplink.forget(&bundle);
                Ok(())
            }
            Event::Verdict { bundles, accepted } => {
                bundles.into_iter().try_for_each(|bundle| self.verdict(cx, bundle, accepted))
            }
            Event::Battery(battery) => {
                self.energy.set_battery(cx.now.mono_ms, battery);
                Ok(())
            }
            Event::Stopping => {
                let mut ops = Vec::new();
                self.keep_counters(cx, &mut ops);
                self.keep_ledger(&mut ops);
                self.keep_quality(cx, &mut ops);
                self.record_running_time(cx, &mut ops, 0);
                if !ops.is_empty() {
                    self.commits.submit(cx.out, ops, Then::Nothing);
                }
                Ok(())
            }
            Event::TokenIssued { link, token } => {
                if let Some(session) = self.sessions.get(&link) {
                    cx.notice(Notice::TokenGiven { node: session.info.node });
                    cx.send(link, Frame::PickupToken(token));
                }
                Ok(())
            }
            Event::Fetched { bundle } => self.fetched(cx, bundle),
            Event::Timer => Ok(()),
        }
    }

    fn start(&mut self, cx: &mut Context<'_>) -> Flow {
        self.energy.start(cx.now.mono_ms);
        self.pickups.away(cx.now.mono_ms);
        let run_before_s = self.expiry.start(cx)?;
        self.clock.start(cx.now, run_before_s);
        if let Some(bytes) = cx.catalog.state(quality::STATE_KEY)? {
            self.quality = Quality::from_bytes(&bytes);
        }
        self.load_counters(cx)?;
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
        self.end_deferrals(cx)?;
        self.close_retired(cx);
        self.pump_pickups(cx);
        self.expire(cx)?;
        self.pace_discovery(cx)?;
        self.pump_uplink(cx)
    }

    fn settle(&mut self, cx: &mut Context<'_>, link: Option<LinkId>, result: Flow) {
        let Err(trouble) = result else { return };
        let reason = match trouble {
            Trouble::Catalog(error) => {
                cx.notice(Notice::StorageProblem { reason: error.to_string() });
                GoodbyeReason::Limit
            }
            Trouble::Peer { rule, reason } => {
                if let Some(session) = link.and_then(|link| self.any_session_mut(link)) {
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

    pub(crate) fn has_fault(&self, fault: Fault) -> bool {
        self.faults.has(fault)
    }
}
