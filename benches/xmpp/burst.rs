//! Many bundles at once: through the bridge, and through a component that only answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pigeon_bundle::Acceptances;
use pigeon_harness::Kind;
use pigeon_harness::files::temp_dir;
use pigeon_xmpp::{ClientEvent, ClientHandle, Closed, UPLOAD_BYTES_MAX};
use tokio::sync::mpsc;

use crate::crypto::Cryptography;
use crate::echo::{Answer, Echo, ordinary};
use crate::latency::registered;
use crate::process::cpu_s;
use crate::sample::median;
use crate::world::{HOST, Person, World, bytes_of};

/// Echoes come in parts before and after the bridge's burst, so that the machine's mood meets both.
const PARTS: usize = 2;
/// How long to wait when the server takes too slowly what is sent.
const BUSY: Duration = Duration::from_millis(2);

/// What a message that is sent is, and to whom.
#[derive(Debug, Clone)]
enum Way {
    /// A carrier's upload.
    Upload(String),
    /// An ordinary message, which the server archives.
    Chat { from: String, to: String },
}

impl Way {
    /// How many go in one message: as many as a carrier's daemon puts into one.
    fn together(&self, bundles: &[Bytes]) -> usize {
        match self {
            Self::Upload(_) => (UPLOAD_BYTES_MAX / bundles[0].len()).max(1),
            Self::Chat { .. } => 1,
        }
    }
}

/// What the bridge is compared with.
#[derive(Debug, Clone, Copy)]
enum Echoing {
    /// Ordinary messages, archived for both sides as a delivery is.
    Archived,
    /// The same, archived on the way back only.
    ArchivedOnce,
    /// The bundle alone, which nobody archives.
    Unarchived,
    /// The bridge's stanzas.
    AsTheBridge,
}

/// In the order of the figures.
const ECHOES: [Echoing; 4] =
    [Echoing::Archived, Echoing::ArchivedOnce, Echoing::Unarchived, Echoing::AsTheBridge];

impl Echoing {
    fn answer(self) -> Answer {
        match self {
            Self::Archived | Self::ArchivedOnce => Answer::Chat,
            Self::Unarchived => Answer::Echo,
            Self::AsTheBridge => Answer::AsTheBridge,
        }
    }

    fn way(self, echo: &Echo) -> Way {
        let chat = |to: String| Way::Chat { from: format!("kramer@{HOST}"), to };
        match self {
            Self::Archived => chat(echo.user()),
            Self::ArchivedOnce => chat(echo.name.clone()),
            Self::Unarchived | Self::AsTheBridge => Way::Upload(echo.name.clone()),
        }
    }
}

/// A carrier's session, taken apart so that it sends and hears at once.
struct Carrier {
    handle: ClientHandle,
    events: mpsc::Receiver<ClientEvent>,
}

impl Carrier {
    /// Sends all `way` and waits for as many answers. Seconds.
    async fn pour(&mut self, way: &Way, bundles: Vec<Bytes>) -> f64 {
        let (handle, way, count) = (self.handle.clone(), way.clone(), bundles.len());
        let started = Instant::now();
        let sending = tokio::spawn(async move {
            for (number, together) in bundles.chunks(way.together(&bundles)).enumerate() {
                loop {
                    let sent = match &way {
                        Way::Upload(address) => {
                            handle.upload_all(address, together, number.to_string()).await
                        }
                        Way::Chat { from, to } => {
                            handle.send_direct(&ordinary(from, to, number as u64, together[0].clone())).await
                        }
                    };
                    match sent {
                        Ok(_bytes) => break,
                        Err(Closed::Busy) => tokio::time::sleep(BUSY).await,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
        let mut answers = 0;
        while answers < count {
            match self.events.recv().await.unwrap() {
                ClientEvent::Verdict { .. } | ClientEvent::Bundle { .. } => answers += 1,
                ClientEvent::Acceptances { bytes } => {
                    answers += Acceptances::bundles_of(&bytes).unwrap().len();
                }
                ClientEvent::Refusal { condition, .. } => panic!("an upload came back: {condition}"),
                ClientEvent::Offline { reason } => panic!("{reason}"),
                _ => {}
            }
        }
        sending.await.unwrap();
        started.elapsed().as_secs_f64()
    }
}

/// Bundles a second, and milliseconds of processor time for each.
#[derive(Default)]
struct Round {
    per_s: f64,
    server_ms: f64,
    bridge_ms: f64,
}

/// Runs the bursts and prints.
pub(crate) async fn measure(kind: Kind, burst: usize, rounds: usize) {
    let world = World::in_dir(kind, "", temp_dir("pigeon-bench-").unwrap()).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    registered(&world, &elaine).await;
    let (_jerry, mut his) = world.login("jerry").await.into_parts();
    tokio::spawn(async move { while his.recv().await.is_some() {} });
    let (handle, events) = world.login("kramer").await.into_parts();
    let mut carrier = Carrier { handle, events };
    let write = |count: usize| -> Vec<Bytes> {
        (0..count).map(|_| bytes_of(&elaine.writes(&jerry, &world.card))).collect()
    };
    let same: Arc<Vec<Bytes>> = Arc::new(write(burst / PARTS));
    let cryptography = Cryptography::new();
    let mut found: [Vec<Round>; 5] = Default::default();
    let mut routes = Vec::new();
    for _ in 0..rounds {
        let bundles = write(burst);
        for part in 0..=PARTS {
            if part == 1 {
                let way = Way::Upload(world.card.domain().to_owned());
                routes.push(cryptography.ms());
                found[0].push(timed(&world, &mut carrier, &way, bundles.clone()).await);
                routes.push(cryptography.ms());
                continue;
            }
            for (place, echoing) in ECHOES.into_iter().enumerate() {
                let echo = Echo::start(&world.server, echoing.answer()).await;
                found[1 + place].push(timed(&world, &mut carrier, &echoing.way(&echo), same.to_vec()).await);
            }
        }
    }
    print(kind, burst, &found, median(&routes));
}

async fn timed(world: &World, carrier: &mut Carrier, way: &Way, bundles: Vec<Bytes>) -> Round {
    #[expect(clippy::cast_precision_loss, reason = "below 2^52")]
    let count = bundles.len() as f64;
    let (server, bridge) = (world.server.pid().unwrap(), world.bridge.daemon().pid().unwrap());
    let before = [server, bridge].map(cpu_s);
    let seconds = carrier.pour(way, bundles).await;
    let [server_ms, bridge_ms] = [(server, before[0]), (bridge, before[1])]
        .map(|(pid, before)| (cpu_s(pid) - before) * 1_000.0 / count);
    Round { per_s: count / seconds, server_ms, bridge_ms }
}

fn print(kind: Kind, burst: usize, found: &[Vec<Round>; 5], route_ms: f64) {
    let server = kind.name();
    let of = |rounds: &[Round], what: fn(&Round) -> f64| median(&rounds.iter().map(what).collect::<Vec<_>>());
    let rates = found.each_ref().map(|rounds| of(rounds, |round| round.per_s));
    let costs = found.each_ref().map(|rounds| of(rounds, |round| round.server_ms));
    let [bridge, chat, once, bare, same] = rates;
    println!("bench: xmpp.{server}_burst_per_s {bridge:.0} (bundles through the bridge, {burst} at once)");
    println!(
        "bench: xmpp.{server}_echo_per_s {chat:.0} (messages with the same bundle through a component that echoes, archived for \
         author and recipient as a delivery is)"
    );
    println!(
        "bench: xmpp.{server}_echo_archived_once_per_s {once:.0} (the same to the component's bare name, which the server does \
         not archive for its author)"
    );
    println!(
        "bench: xmpp.{server}_unarchived_echo_per_s {bare:.0} (the same, and the server archives nothing)"
    );
    println!(
        "bench: xmpp.{server}_same_per_s {same:.0} (the bridge's stanzas from a component that checks and keeps nothing)"
    );
    for (name, against, what) in [
        ("burst_vs_echo", chat, "bridge against echo"),
        ("burst_vs_echo_archived_once", once, "bridge against echo that is archived once"),
        ("burst_vs_unarchived_echo", bare, "bridge against echo of what is not archived"),
        ("burst_vs_same", same, "bridge against that component"),
    ] {
        println!("bench: xmpp.{server}_{name} {:.2} ({what}, messages a second)", bridge / against);
    }
    let [bridge, chat, once, bare, same] = costs;
    println!(
        "bench: xmpp.{server}_server_cpu_ms {bridge:.3} (the server's for each bundle of a burst; {chat:.3} for an echo, \
         {once:.3} for one that is archived once, {bare:.3} for one that is not archived, {same:.3} for the same stanzas)"
    );
    let own = of(&found[0], |round| round.bridge_ms);
    let each: Vec<String> = found[0].iter().map(|round| format!("{:.3}", round.bridge_ms)).collect();
    println!(
        "bench: xmpp.bridge_cpu_ms {own:.3} (the bridge's own for each bundle of a burst; one by one {})",
        each.join(", ")
    );
    println!(
        "bench: xmpp.bridge_cpu_vs_cryptography {:.2} (the same against opening and checking a route on the idle machine, \
         {route_ms:.3} ms)",
        own / route_ms
    );
}
