//! Several instances of a bridge share its work, its log, and the memory of what was delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use pigeon_bundle::{BridgeCard, BundleId, MessageDigest, Sealed, VerdictCode};
use pigeon_harness::Kind;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::crash::{Dice, seed};
use crate::session::{PATIENCE, Session};
use crate::world::{Person, World};

const MESSAGES: usize = 1_000;
/// Verdicts of all carriers after which the first instance is killed: the middle.
const KILL_AFTER: usize = 2_500;
/// Bundles that a carrier has under way.
const WINDOW: usize = 100;
/// A carrier that hears nothing for so long sends again what has no verdict.
const SILENCE: Duration = Duration::from_secs(2);
/// For all of it, on a busy machine.
const ALL: Duration = Duration::from_secs(300);

pub async fn a_thousand_messages_by_five_carriers_over_two_instances_arrive_once_though_one_dies(kind: Kind) {
    let mut dice = Dice::new(seed());
    let (mut world, second) = World::of_two_instances(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let mut to = world.login("jerry").await;
    let messages: Arc<Vec<Sealed>> =
        Arc::new((0..MESSAGES).map(|_| elaine.writes(&jerry, &world.card)).collect());
    let (count, mut counted) = watch::channel(0);
    let count = Arc::new(count);
    let names = ["kramer", "newman", "george", "kramer", "newman"];
    let carriers = join_all(names.map(|name| world.login(name))).await;
    let carriers: Vec<_> = carriers
        .into_iter()
        .map(|carrier| {
            let mut order: Vec<usize> = (0..MESSAGES).collect();
            dice.shuffle(&mut order);
            let (messages, card, count) = (Arc::clone(&messages), world.card.clone(), Arc::clone(&count));
            tokio::spawn(carry(carrier, messages, order, card, count))
        })
        .collect();
    let received = tokio::spawn(async move {
        let mut received: BTreeMap<MessageDigest, (BundleId, Option<String>, usize)> = BTreeMap::new();
        while received.len() < MESSAGES {
            let one = to.receive().await;
            let found =
                received.entry(one.bundle.message_digest()).or_insert((one.bundle.id(), one.id.clone(), 0));
            assert_eq!((found.0, &found.1), (one.bundle.id(), &one.id), "a repetition has another id");
            found.2 += 1;
        }
        (received, to)
    });
    timeout(ALL, counted.wait_for(|count| *count >= KILL_AFTER)).await.unwrap().unwrap();
    world.bridge.kill9();
    // Another instance takes the dead one's name, with a ledger of its own that is empty.
    world = tokio::task::spawn_blocking(move || {
        world.replace_first();
        world
    })
    .await
    .unwrap();
    for carrier in carriers {
        timeout(ALL, carrier).await.unwrap().unwrap();
    }
    let (received, mut to) = timeout(ALL, received).await.unwrap().unwrap();
    assert_eq!(received.len(), MESSAGES);
    let sent: BTreeSet<_> = messages.iter().map(|message| message.bundle.message_digest()).collect();
    assert!(received.keys().all(|message| sent.contains(message)));
    // All has been accepted: nothing comes after this but what was in doubt when the first instance died.
    let repeated: usize = received.values().map(|(_, _, times)| times - 1).sum();
    println!("{MESSAGES} messages, {repeated} of them sent again because they were in doubt at the kill");
    let last = elaine.writes(&jerry, &world.card);
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline);
        her.carry(&last, &world.card).await;
        let verdicts = her.gather(&world.card, SILENCE).await;
        if verdicts.iter().any(|verdict| verdict.bundle == last.bundle.id() && verdict.code.is_accepted()) {
            break;
        }
    }
    let late = to.receive_until(&last.bundle).await;
    assert!(late.iter().all(|one| sent.contains(&one.bundle.message_digest())));
    drop(second);
}

/// Brings everything, again and again, until everything has been accepted.
async fn carry(
    mut carrier: Session,
    messages: Arc<Vec<Sealed>>,
    order: Vec<usize>,
    card: BridgeCard,
    count: Arc<watch::Sender<usize>>,
) {
    let mut open: Vec<&Sealed> = order.iter().map(|at| &messages[*at]).collect();
    while !open.is_empty() {
        let window: Vec<&Sealed> = open.drain(..open.len().min(WINDOW)).collect();
        let mut waiting: BTreeMap<BundleId, &Sealed> = BTreeMap::new();
        for message in window {
            carrier.carry(message, &card).await;
            waiting.insert(message.bundle.id(), message);
        }
        let mut heard = Instant::now();
        while !waiting.is_empty() && heard.elapsed() < SILENCE {
            for verdict in carrier.gather(&card, SILENCE).await {
                assert_eq!(verdict.code, VerdictCode::Accepted);
                if waiting.remove(&verdict.bundle).is_some() {
                    count.send_modify(|count| *count += 1);
                }
                heard = Instant::now();
            }
        }
        open.extend(waiting.into_values());
    }
    assert_ne!(carrier.accepted_together, 0, "no acceptances came together");
}
