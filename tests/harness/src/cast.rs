//! The people of the subway story, for the demo and the whole-program tests: who is there, and what connects them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::netns::{Host, Interface, Segment, World};
use crate::progress::Progress;
use crate::{
    Account, Bridge, BridgeSpec, Event, HarnessError, Kind, Node, NodeSpec, Result, Server, ServerSpec,
};

const DOMAIN: &str = "example.org";
/// The server's own address, which everybody reaches by a cable of their own.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 254);
/// A node being registered with the bridge, from its start.
const REGISTER_MAX: Duration = Duration::from_secs(40);
/// Network, Prosody, bridge, and for each node: running, registered.
const STEPS: u64 = 3 + 2 * 4;

/// One person's node and the networks that it may be on.
pub struct Actor {
    /// The daemon.
    pub node: Node,
    /// Its key on links, for reading events.
    pub key: String,
    /// A cable to the server, shared with nobody.
    pub internet: Interface,
    /// The platform; jerry has none.
    pub platform: Option<Interface>,
    /// Jerry's street; only he and kramer get there.
    pub street: Option<Interface>,
}

/// Everything that runs. Fields are dropped in this order: first the daemons, last the network.
pub struct Cast {
    /// Writes.
    pub elaine: Actor,
    /// Carries first.
    pub kramer: Actor,
    /// Carries the same, later.
    pub newman: Actor,
    /// Is written to.
    pub jerry: Actor,
    /// Delivers in elaine's name.
    pub bridge: Bridge,
    /// The XMPP server.
    pub server: Server,
    /// The hosts and networks, for tests that need more of them.
    pub world: World,
}

/// A host with its interfaces, before its daemon runs.
struct Seat {
    host: Host,
    internet: Interface,
    platform: Option<Interface>,
    street: Option<Interface>,
}

impl Cast {
    /// [`Cast::assemble_on`] Prosody.
    ///
    /// # Errors
    /// As there.
    pub fn assemble(state: &Path) -> Result<Self> {
        Self::assemble_on(Kind::Prosody, state)
    }

    /// Starts everything around a server of this kind and waits until each node is registered with the bridge. State
    /// goes below `state`.
    ///
    /// # Errors
    /// When something does not start, or is not registered in 40 s.
    pub fn assemble_on(kind: Kind, state: &Path) -> Result<Self> {
        let progress = Progress::new("starting", STEPS);
        let world = World::new();
        let host = world.host("server")?;
        host.ip(&format!("addr add {SERVER}/32 dev lo"))?;
        let seats = seats(&world, &host)?;
        progress.done("network");
        let server = Server::start(&host, accounts(&seats, &state.join("server")).on(kind))?;
        progress.done(kind.name());
        let spec = BridgeSpec::of(&server, &format!("{SERVER}:{}", server.component_port()));
        let bridge = Bridge::start(&host, &spec, &server, state)?;
        progress.done("pigeon-bridge");
        let [elaine, kramer, newman, jerry] = start_all(seats, &server, state, &progress)?;
        Ok(Self { elaine, kramer, newman, jerry, bridge, server, world })
    }

    /// All four.
    #[must_use]
    pub fn all(&self) -> [&Actor; 4] {
        [&self.elaine, &self.kramer, &self.newman, &self.jerry]
    }

    /// Whose node key this is.
    #[must_use]
    pub fn name_of(&self, key: &str) -> &str {
        self.all().into_iter().find(|actor| actor.key == key).map_or("somebody", Actor::name)
    }

    /// The ends of all logs, for a failure that was not asked for.
    #[must_use]
    pub fn log_tails(&self) -> String {
        let daemons = self.all().map(|actor| (actor.name(), actor.node.daemon()));
        let all = daemons.into_iter().chain([("pigeon-bridge", self.bridge.daemon())]);
        all.map(|(name, daemon)| format!("--- the end of {name}'s log\n{}\n", daemon.log_tail())).collect()
    }
}

impl Actor {
    /// The person's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.node.name()
    }

    /// The first event like this since the start.
    ///
    /// # Errors
    /// When it does not happen within `patience`.
    pub fn wait(&self, patience: Duration, what: &str, matches: impl Fn(&Event) -> bool) -> Result<Event> {
        self.node.watch().wait_for(patience, &format!("{}: {what}", self.name()), matches)
    }
}

/// The hosts: each with a /30 of its own to the server, which forwards nothing, so that nobody meets anybody
/// over the internet. The local networks are there, and switched off.
fn seats(world: &World, server: &Host) -> Result<Vec<Seat>> {
    let (platform, street) = (world.segment("platform")?, world.segment("street")?);
    let mut seats = Vec::new();
    for (number, name) in (0_u8..).zip(["elaine", "kramer", "newman", "jerry"]) {
        let host = world.host(name)?;
        let gateway = Ipv4Addr::new(10, 9, 0, 4 * number + 1);
        let own = Ipv4Addr::new(10, 9, 0, 4 * number + 2);
        let (_far, internet) =
            world.cable((server, &format!("{gateway}/30")), (&host, &format!("{own}/30")))?;
        internet.add_default_route(IpAddr::V4(gateway))?;
        let join = |segment: &Segment, network: u8, wanted: bool| {
            wanted.then(|| switched_off(&host, segment, network, number)).transpose()
        };
        seats.push(Seat {
            platform: join(&platform, 1, name != "jerry")?,
            street: join(&street, 2, name == "jerry" || name == "kramer")?,
            internet,
            host,
        });
    }
    Ok(seats)
}

fn switched_off(host: &Host, segment: &Segment, network: u8, number: u8) -> Result<Interface> {
    let interface = host.attach(segment, &format!("10.{network}.0.{}/24", number + 2))?;
    interface.down()?;
    Ok(interface)
}

fn password(name: &str) -> String {
    format!("{name}'s password")
}

fn accounts(seats: &[Seat], state: &Path) -> ServerSpec {
    let spec = ServerSpec::new(DOMAIN).state_dir(state);
    seats.iter().map(|seat| seat.host.name()).fold(spec, |spec, name| spec.user(name, &password(name)))
}

/// Starts the four daemons side by side; each waits until the bridge has its card.
fn start_all(seats: Vec<Seat>, server: &Server, state: &Path, progress: &Progress) -> Result<[Actor; 4]> {
    let actors: Result<Vec<Actor>> = thread::scope(|scope| {
        let starting: Vec<_> =
            seats.into_iter().map(|seat| scope.spawn(move || start(seat, server, state, progress))).collect();
        starting
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    actors?.try_into().map_err(|_other: Vec<Actor>| HarnessError::Output {
        what: "the cast".to_owned(),
        detail: "four were to start".to_owned(),
    })
}

fn start(seat: Seat, server: &Server, state: &Path, progress: &Progress) -> Result<Actor> {
    let Seat { host, internet, platform, street } = seat;
    let name = host.name();
    let account = Account {
        jid: format!("{name}@{DOMAIN}"),
        password: password(name),
        server: format!("{SERVER}:{}", server.c2s_port()),
        ca_file: server.ca_file(),
        bridge: server.spec().bridge.clone(),
    };
    // Neighbours are asked to fetch mail as soon as the internet is gone.
    let tables = "\n[pickup]\nwait_s = 0\n".to_owned();
    let spec = NodeSpec { tables, ..NodeSpec::new(name).account(account) };
    let node = Node::start(&host, &spec, state)?;
    progress.done(name);
    let actor = Actor { key: node.node_key()?, node, internet, platform, street };
    for kind in ["uplink_online", "bridge_pinned", "uplink_registered"] {
        actor.wait(REGISTER_MAX, kind, |event| event.kind == kind)?;
    }
    progress.done(&format!("{name} registered"));
    Ok(actor)
}
