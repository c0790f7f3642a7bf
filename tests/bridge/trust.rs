//! Who can make the bridge say what.

use pigeon_bundle::{BridgeCardFields, BridgeIdentity, MessageId, VerdictCode};

use crate::mint::{self, Claim};
use crate::world::{DAY_S, HOST, Person, System, World, bytes_of, now_s};

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_the_authors_own_in_every_part() {
    let world = World::new().await;
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
    let archived = world.prosody.archive("jerry");
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

#[tokio::test(flavor = "multi_thread")]
async fn forged_authors_are_refused_with_the_reason() {
    let world = World::new().await;
    let (elaine, jerry, newman) = (Person::new("elaine"), Person::new("jerry"), Person::new("newman"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let mut his = world.login("newman").await;
    his.register(&newman.card()).await.unwrap();
    let mut to = world.login("jerry").await;
    let honest = elaine.writes(&jerry, &world.card);
    let claim = Claim {
        author: &elaine.jid(),
        recipient: &jerry.jid(),
        message_id: MessageId([1; 16]),
        sent_ms: now_s() * 1_000,
    };
    let other = BridgeIdentity::generate(&mut System);
    let fields = BridgeCardFields {
        domain: world.card.domain().to_owned(),
        issued_s: now_s(),
        expires_s: now_s() + DAY_S,
        shards: Vec::new(),
    };
    let other = other.card(&fields).unwrap();
    let replayed =
        mint::uplink_data(world.card.domain(), world.card.key(), &honest.bundle.uplink().unwrap().route);
    let foreign = newman.writes_to(&jerry, "jerry@elsewhere.example", &world.card);
    let cases = [
        (
            "newman's key under elaine's name",
            bytes_of(&newman.claims(&elaine.jid(), &jerry, &jerry.jid(), &world.card)),
            VerdictCode::SignatureWrong,
        ),
        (
            "a key nobody registered",
            bytes_of(&Person::new("george").writes(&jerry, &world.card)),
            VerdictCode::AuthorNotRegistered,
        ),
        (
            "elaine's message with a route by newman",
            mint::with_route(&honest.bundle, &world.card, &newman.identity, &claim),
            VerdictCode::SignatureWrong,
        ),
        (
            "elaine's route on another message",
            mint::with_uplink(&newman.writes(&jerry, &world.card).bundle, Some(&replayed)),
            VerdictCode::RouteDoesNotOpen,
        ),
        (
            "a message for another bridge",
            bytes_of(&elaine.writes(&jerry, &other)),
            VerdictCode::RouteDoesNotOpen,
        ),
        ("a foreign recipient", bytes_of(&foreign), VerdictCode::ForeignHost),
        (
            "a foreign author",
            bytes_of(&newman.claims("newman@elsewhere.example", &jerry, &jerry.jid(), &world.card)),
            VerdictCode::ForeignHost,
        ),
        ("no bundle at all", b"not a bundle".as_slice().into(), VerdictCode::Malformed),
    ];
    let mut carrier = world.login("kramer").await;
    for (what, bytes, code) in &cases {
        assert_eq!(carrier.brings(bytes, &world.card).await, *code, "{what}");
    }
    // newman, whose own message could not be delivered, hears of it though kramer brought it; elaine, in whose name
    // others spoke, hears of nothing.
    let (told, _) = his.verdict(&world.card).await;
    assert_eq!((told.bundle, told.code), (foreign.bundle.id(), VerdictCode::ForeignHost));
    // Nothing of all this was delivered; the honest message is.
    assert_eq!(her.brings(&bytes_of(&honest), &world.card).await, VerdictCode::Accepted);
    assert_eq!(to.receive_until(&honest.bundle).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_carries_a_message_cannot_suppress_it_by_handing_it_in_as_his_own() {
    let world = World::new().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_nobody_and_holds_no_content() {
    let world = World::new().await;
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
