//! Who can make the bridge say what.

use pigeon_bundle::{MessageId, VerdictCode};
use pigeon_harness::Kind;

use crate::mint::{self, Claim};
use crate::world::{HOST, Person, World, bytes_of};

pub async fn a_delivery_is_the_authors_own_in_every_part(kind: Kind) {
    let world = World::new(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    world.login("elaine").await.register(&elaine.card()).await.unwrap();
    let mut carrier = world.login("kramer").await;
    let mut to = world.login("jerry").await;
    let message = elaine.writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::Accepted);
    let received = to.receive().await;
    assert_eq!(received.from, elaine.jid());
    assert_eq!(received.bundle, message.bundle);
    assert_eq!(received.id.unwrap().len(), 32);
    // What other clients see, from the server's archive: P as origin-id, the send time, a fallback body, a store hint.
    let archived = world.server.archive("jerry");
    let origin_id = message.bundle.message_digest().to_string();
    for part in [
        origin_id.as_str(),
        "urn:xmpp:sid:0",
        "urn:xmpp:delay",
        "urn:xmpp:receipts",
        "urn:xmpp:hints",
        "end-to-end encrypted CarrierPigeon message",
    ] {
        assert!(archived.contains(part), "{part} is not in {archived}");
    }
}

pub async fn who_carries_a_message_cannot_suppress_it_by_handing_it_in_as_his_own(kind: Kind) {
    let world = World::new(kind).await;
    let (elaine, jerry, newman) = (Person::new("elaine"), Person::new("jerry"), Person::new("newman"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let mut his = world.login("newman").await;
    his.register(&newman.card()).await.unwrap();
    let mut to = world.login("jerry").await;
    let message = elaine.writes(&jerry, &world.card);
    let claim =
        Claim { author: &newman.jid(), recipient: &newman.jid(), message_id: MessageId([1; 16]), sent_ms: 0 };
    let taken = mint::with_route(&message.bundle, &world.card, &newman.identity, &claim);
    assert_eq!(his.brings(&taken, &world.card).await, VerdictCode::Accepted);
    assert_eq!(his.receive().await.from, newman.jid());
    assert_eq!(her.brings(&bytes_of(&message), &world.card).await, VerdictCode::Accepted);
    assert_eq!(to.receive().await.from, elaine.jid());
}

pub async fn the_log_names_nobody_and_holds_no_content(kind: Kind) {
    let world = World::new(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    let mut carrier = world.login("kramer").await;
    let message = elaine.writes(&jerry, &world.card);
    carrier.brings(&bytes_of(&message), &world.card).await;
    her.register(&elaine.card()).await.unwrap();
    carrier.brings(&bytes_of(&message), &world.card).await;
    carrier.brings(&bytes_of(&message), &world.card).await;
    let log = world.log();
    for verdict in ["verdict=AuthorNotRegistered", "verdict=Accepted", "reason=\"known\""] {
        assert!(log.contains(verdict), "{verdict} is not in:\n{log}");
    }
    assert!(log.contains(&message.bundle.id().to_string()[..8]));
    for name in ["elaine", "jerry", "kramer", &format!("@{HOST}"), "soup", &message.bundle.id().to_string()] {
        assert!(!log.contains(name), "{name} is in:\n{log}");
    }
}
