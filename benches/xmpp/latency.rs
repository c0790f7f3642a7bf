//! One message after the other: straight from author to recipient as any client would send it, through a carrier and the
//! bridge, and through a carrier and a component that sends the bridge's stanzas but checks and keeps nothing, in turns.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use pigeon_harness::Kind;
use pigeon_harness::files::temp_dir;

use crate::echo::{Answer, Echo, ordinary};
use crate::sample::median;
use crate::world::{HOST, Person, World, bytes_of};

/// Messages before it counts.
const WARM_UP: usize = 20;
/// What is appended before each `fdatasync`: a message with its record.
const APPENDED: usize = 4_096;

/// Milliseconds, one value for each message.
#[derive(Default)]
pub(crate) struct Latencies {
    pub(crate) direct: Vec<f64>,
    pub(crate) relayed: Vec<f64>,
    /// The same without a bridge's work: what the server takes for it.
    pub(crate) bare: Vec<f64>,
    /// An append with its `fdatasync`, on the ledger's disk.
    pub(crate) sync: Vec<f64>,
}

/// Sends `samples` messages of each kind.
pub(crate) async fn measure(kind: Kind, samples: usize) -> Latencies {
    let dir = temp_dir("pigeon-bench-").unwrap();
    let mut disk = Disk::new(dir.path());
    let world = World::in_dir(kind, "", dir).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    registered(&world, &elaine).await;
    let mut george = world.login("george").await;
    let mut to = world.login("jerry").await;
    let mut carrier = world.login("kramer").await;
    let bare = Echo::start(&world.server, Answer::AsTheBridge).await;
    let mut found = Latencies::default();
    for turn in 0..WARM_UP + samples {
        let [straight, carried] = [(); 2].map(|()| bytes_of(&elaine.writes(&jerry, &world.card)));
        let sync = disk.sync();
        let message = ordinary(&format!("george@{HOST}"), &jerry.jid(), turn as u64, straight.clone());
        let started = Instant::now();
        george.send_direct(&message).await;
        to.receive().await;
        let direct = started.elapsed();
        let started = Instant::now();
        carrier.upload(&carried).await;
        to.receive().await;
        let relayed = started.elapsed();
        // Nothing is under way when the next part begins.
        carrier.verdict(&world.card).await;
        let started = Instant::now();
        carrier.send(&bare.name, &straight).await;
        to.receive().await;
        let unchecked = started.elapsed();
        carrier.answer_of_any_kind().await;
        if turn >= WARM_UP {
            found.sync.push(milliseconds(sync));
            found.direct.push(milliseconds(direct));
            found.relayed.push(milliseconds(relayed));
            found.bare.push(milliseconds(unchecked));
        }
    }
    found
}

/// Registers the key of an author, who then goes: whose messages are carried is offline.
pub(crate) async fn registered(world: &World, author: &Person) {
    let mut session = world.login(author.name).await;
    session.register(&author.card()).await.unwrap();
    session.logout().await;
}

impl Latencies {
    /// What could be reached: the direct way and one write that must be durable first.
    pub(crate) fn asked(&self) -> f64 {
        median(&self.direct) + median(&self.sync)
    }

    pub(crate) fn print(&self, kind: Kind) {
        let (server, samples) = (kind.name(), self.direct.len());
        let [direct, relayed, bare, sync] =
            [&self.direct, &self.relayed, &self.bare, &self.sync].map(|all| median(all));
        println!("bench: xmpp.{server}_direct_ms {direct:.3} (median of {samples}, from client to client)");
        println!(
            "bench: xmpp.{server}_relayed_ms {relayed:.3} (median of {samples}, client, bridge, client)"
        );
        println!(
            "bench: xmpp.{server}_bare_relayed_ms {bare:.3} (median of {samples}, the same through a component that checks and keeps nothing)"
        );
        println!("bench: xmpp.{server}_fdatasync_ms {sync:.3} (median of {samples}, the ledger's disk)");
        let ratio = relayed / self.asked();
        println!(
            "bench: xmpp.{server}_relayed_vs_direct {ratio:.2} (relayed against direct and one fdatasync)"
        );
        let ratio = relayed / (bare + sync);
        println!(
            "bench: xmpp.{server}_relayed_vs_bare {ratio:.2} (relayed against that component and one fdatasync)"
        );
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// A file on the same disk as the ledger.
struct Disk(File);

impl Disk {
    fn new(dir: &Path) -> Self {
        Self(File::create(dir.join("fdatasync")).unwrap())
    }

    fn sync(&mut self) -> Duration {
        let started = Instant::now();
        self.0.write_all(&[7; APPENDED]).unwrap();
        self.0.sync_data().unwrap();
        started.elapsed()
    }
}
