//! Many bundles at once: through the bridge, and through a component that only answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pigeon_harness::Kind;
use pigeon_harness::files::temp_dir;
use pigeon_xmpp::{ClientEvent, ClientHandle, Closed};
use tokio::sync::mpsc;

use crate::echo::{Answer, Echo};
use crate::process::cpu_s;
use crate::sample::median;
use crate::world::{Person, World, bytes_of};

/// Echoes come in parts before and after the bridge's burst, so that the machine's mood meets both.
const PARTS: usize = 2;
/// How long to wait when the server takes too slowly what is sent.
const BUSY: Duration = Duration::from_millis(2);

/// A carrier's session, taken apart so that it sends and hears at once.
struct Carrier {
    handle: ClientHandle,
    events: mpsc::Receiver<ClientEvent>,
}

impl Carrier {
    /// Sends all to `address` and waits for as many answers. Seconds.
    async fn pour(&mut self, address: &str, bundles: Vec<Bytes>) -> f64 {
        let (handle, address, count) = (self.handle.clone(), address.to_owned(), bundles.len());
        let started = Instant::now();
        let sending = tokio::spawn(async move {
            for (number, bundle) in bundles.into_iter().enumerate() {
                loop {
                    match handle.upload_to(&address, bundle.clone(), number.to_string()).await {
                        Ok(()) => break,
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
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let (_jerry, mut his) = world.login("jerry").await.into_parts();
    tokio::spawn(async move { while his.recv().await.is_some() {} });
    let (handle, events) = world.login("kramer").await.into_parts();
    let mut carrier = Carrier { handle, events };
    let write = |count: usize| -> Vec<Bytes> {
        (0..count).map(|_| bytes_of(&elaine.writes(&jerry, &world.card))).collect()
    };
    let same: Arc<Vec<Bytes>> = Arc::new(write(burst / PARTS));
    let mut found: [Vec<Round>; 3] = Default::default();
    for _ in 0..rounds {
        let bundles = write(burst);
        for part in 0..=PARTS {
            if part == 1 {
                found[0].push(timed(&world, &mut carrier, world.card.domain(), bundles.clone()).await);
                continue;
            }
            for (place, answer) in [(1, Answer::Echo), (2, Answer::AsTheBridge)] {
                let echo = Echo::start(&world.server, answer).await;
                found[place].push(timed(&world, &mut carrier, &echo.name, same.to_vec()).await);
            }
        }
    }
    print(kind, burst, &found);
}

async fn timed(world: &World, carrier: &mut Carrier, address: &str, bundles: Vec<Bytes>) -> Round {
    #[expect(clippy::cast_precision_loss, reason = "below 2^52")]
    let count = bundles.len() as f64;
    let (server, bridge) = (world.server.pid().unwrap(), world.bridge.daemon().pid().unwrap());
    let before = [server, bridge].map(cpu_s);
    let seconds = carrier.pour(address, bundles).await;
    let [server_ms, bridge_ms] = [(server, before[0]), (bridge, before[1])]
        .map(|(pid, before)| (cpu_s(pid) - before) * 1_000.0 / count);
    Round { per_s: count / seconds, server_ms, bridge_ms }
}

fn print(kind: Kind, burst: usize, found: &[Vec<Round>; 3]) {
    let server = kind.name();
    let of = |rounds: &[Round], what: fn(&Round) -> f64| median(&rounds.iter().map(what).collect::<Vec<_>>());
    let [bridge, echo, same] = found;
    let rates = [bridge, echo, same].map(|rounds| of(rounds, |round| round.per_s));
    println!(
        "bench: xmpp_{server}_burst_per_s {:.0} (bundles through the bridge, {burst} at once)",
        rates[0]
    );
    println!("bench: xmpp_{server}_echo_per_s {:.0} (messages through a component that echoes)", rates[1]);
    println!(
        "bench: xmpp_{server}_same_per_s {:.0} (the bridge's stanzas from a component that checks and keeps nothing)",
        rates[2]
    );
    println!(
        "bench: xmpp_{server}_burst_ratio {:.2} (bridge against echo, messages a second)",
        rates[0] / rates[1]
    );
    println!(
        "bench: xmpp_{server}_same_ratio {:.2} (bridge against that component, messages a second)",
        rates[0] / rates[2]
    );
    let [with_bridge, with_echo, with_same] =
        [bridge, echo, same].map(|rounds| of(rounds, |round| round.server_ms));
    println!(
        "bench: xmpp_{server}_server_cpu_ms {with_bridge:.3} (the server's for each bundle of a burst; {with_echo:.3} for an echo, {with_same:.3} for the same stanzas)"
    );
    println!(
        "bench: xmpp_bridge_cpu_ms {:.3} (the bridge's own for each bundle of a burst)",
        of(bridge, |round| round.bridge_ms)
    );
}
