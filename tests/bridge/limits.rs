//! What the bridge does when too much is asked of it, and what does not fit.

use pigeon_bundle::VerdictCode;
use pigeon_harness::Kind;
use pigeon_xmpp::{BUNDLE_BYTES_MAX, Closed};

use crate::independent::{Client, python};
use crate::world::{Person, World, bytes_of};

/// More messages than an idle bridge takes of one author at once with `author_per_minute = 1`, which are ten.
const MESSAGES: usize = 14;

pub async fn an_author_over_the_limit_is_not_answered_and_others_are(kind: Kind) {
    let world = World::configured(kind, "[limits]\nauthor_per_minute = 1").await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    for person in [&elaine, &jerry] {
        world.login(person.name).await.register(&person.card()).await.unwrap();
    }
    let mut carriers = [world.login("kramer").await, world.login("newman").await];
    let messages: Vec<_> = (0..MESSAGES).map(|_| elaine.writes(&jerry, &world.card)).collect();
    for (number, message) in messages.iter().enumerate() {
        carriers[number % 2].upload(&bytes_of(message)).await;
    }
    // Answers to one carrier come in the order of its uploads: after this one there are no more.
    let mut accepted = 0;
    for carrier in &mut carriers {
        let other = jerry.writes(&elaine, &world.card);
        carrier.upload(&bytes_of(&other)).await;
        loop {
            let (verdict, _) = carrier.verdict(&world.card).await;
            assert_eq!(verdict.code, VerdictCode::Accepted);
            if verdict.bundle == other.bundle.id() {
                break;
            }
            accepted += 1;
        }
    }
    // The slower the machine, the more: one a minute.
    assert!((10..MESSAGES).contains(&accepted), "{accepted} of {MESSAGES} accepted");
    let (_, metrics) = world.ask(&["metrics"]);
    let limited = format!("pigeon_bridge_limited_total{{by=\"author\"}} {}\n", MESSAGES - accepted);
    assert!(metrics.contains(&limited), "{metrics}");
}

/// The least quota is 1 MiB.
const LARGE: usize = 60_000;

pub async fn a_full_bridge_refuses_with_its_reason_until_there_is_room(kind: Kind) {
    let world = World::configured(kind, "[store]\nquota_bytes = 1048576").await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let mut his = world.login("jerry").await;
    his.register(&jerry.card()).await.unwrap();
    let mut carrier = world.login("kramer").await;
    // What is accepted waits to be picked up, so it fills the bridge.
    let mut waiting = Vec::new();
    let refused = loop {
        assert!(waiting.len() < 20, "never full");
        let message = elaine.writes_much(&jerry, LARGE, &world.card);
        match carrier.brings(&bytes_of(&message), &world.card).await {
            VerdictCode::Accepted => waiting.push(message.reveal),
            code => {
                assert_eq!(code, VerdictCode::Quota);
                break message;
            }
        }
    };
    // Its author hears of it, and the carrier has something for her that he cannot read.
    let (told, _) = her.verdict(&world.card).await;
    assert_eq!((told.bundle, told.code), (refused.bundle.id(), VerdictCode::Quota));
    let letter = carrier.receive().await;
    assert_eq!(letter.from, world.card.domain());
    assert_ne!(letter.bundle, refused.bundle);
    assert_eq!(letter.bundle.tag(), elaine.writes(&elaine, &world.card).bundle.tag());
    // What has arrived makes room.
    his.reveal(&waiting).await;
    assert_eq!(carrier.brings(&bytes_of(&refused), &world.card).await, VerdictCode::Accepted);
}

pub async fn the_largest_bundle_passes_and_what_is_larger_harms_nobody(kind: Kind) {
    let Some(python) = python() else { return };
    let world = World::new(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let mut to = world.login("jerry").await;
    let mut carrier = world.login("kramer").await;
    let refused = carrier.try_upload(&vec![7; BUNDLE_BYTES_MAX + 1].into()).await;
    assert_eq!(refused, Err(Closed::TooLarge { bytes: BUNDLE_BYTES_MAX + 1 }));
    let largest = elaine.writes_much(&jerry, 65_536, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&largest), &world.card).await, VerdictCode::Accepted);
    assert_eq!(to.receive().await.bundle, largest.bundle);
    // A stanza that the server does not take costs its sender the stream, and nobody else anything.
    let mut vandal = Client::start(&python, &world, "newman", &["raw"]);
    assert_eq!(vandal.line().await, "ready");
    let large = format!(
        "<message to='{bridge}' id='large'><bundle xmlns='urn:carrierpigeon:bundle:1'>{}</bundle></message>",
        "A".repeat(400_000),
        bridge = world.card.domain(),
    );
    assert_eq!(vandal.raw(&large).await, "closed");
    // One that it takes, and that is no bundle: no answer, and no harm.
    let mut vandal = Client::start(&python, &world, "newman", &["raw"]);
    assert_eq!(vandal.line().await, "ready");
    let wrong = format!(
        "<message to='{bridge}' id='wrong'><bundle xmlns='urn:carrierpigeon:bundle:1'>{}</bundle></message>",
        "A".repeat(200_000),
        bridge = world.card.domain(),
    );
    assert_eq!(vandal.raw(&wrong).await, "sent");
    let last = elaine.writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&last), &world.card).await, VerdictCode::Accepted);
    assert_eq!(to.receive().await.bundle, last.bundle);
}
