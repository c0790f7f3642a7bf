//! Deliveries that the server never saw, or may have lost: the bridge sends them again by itself.

use pigeon_bundle::{Sealed, VerdictCode};
use pigeon_harness::Kind;

use crate::world::{Person, World, bytes_of};

pub async fn what_was_in_doubt_at_a_kill_is_sent_at_the_next_start_without_being_asked(kind: Kind) {
    let (mut world, mut gate) = World::behind_a_gate(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let mut to = world.login("jerry").await;
    let mut carrier = world.login("kramer").await;
    // From now on the bridge knows that both accounts exist, and does not ask the server behind the gate.
    let hello = elaine.writes(&jerry, &world.card);
    assert_eq!(her.brings(&bytes_of(&hello), &world.card).await, VerdictCode::Accepted);
    assert_eq!(to.receive().await.bundle, hello.bundle);
    let message = elaine.writes(&jerry, &world.card);
    gate.close();
    carrier.upload(&bytes_of(&message)).await;
    gate.heard(&message.bundle.message_digest().to_string()).await;
    world.bridge.kill9();
    gate.cut();
    world.restart_bridge();
    let received = to.receive().await;
    assert_eq!((received.from, received.bundle), (elaine.jid(), message.bundle.clone()));
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::Accepted);
    let last = elaine.writes(&jerry, &world.card);
    assert_eq!(her.brings(&bytes_of(&last), &world.card).await, VerdictCode::Accepted);
    assert_eq!(to.receive_until(&last.bundle).await, []);
}

pub async fn after_a_cut_connection_carriers_get_their_verdicts_without_uploading_again(kind: Kind) {
    let (world, mut gate) = World::behind_a_gate(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let mut to = world.login("jerry").await;
    let (mut first, mut second) = (world.login("kramer").await, world.login("newman").await);
    // From now on the bridge knows that both accounts exist, and does not ask the server behind the gate.
    let hello = elaine.writes(&jerry, &world.card);
    assert_eq!(her.brings(&bytes_of(&hello), &world.card).await, VerdictCode::Accepted);
    assert_eq!(to.receive().await.bundle, hello.bundle);
    world.settled().await;
    let message = elaine.writes(&jerry, &world.card);
    gate.close();
    first.upload(&bytes_of(&message)).await;
    gate.heard(&message.bundle.message_digest().to_string()).await;
    second.upload(&bytes_of(&message)).await;
    // A second message behind the upload: when the bridge has sent it, it has taken the second carrier's upload.
    let other = elaine.writes(&jerry, &world.card);
    second.upload(&bytes_of(&other)).await;
    gate.heard(&other.bundle.message_digest().to_string()).await;
    gate.cut();
    assert_eq!(first.verdict(&world.card).await.0.code, VerdictCode::Accepted);
    for _ in 0..2 {
        let (verdict, _) = second.verdict(&world.card).await;
        assert_eq!(verdict.code, VerdictCode::Accepted);
    }
    let last = elaine.writes(&jerry, &world.card);
    assert_eq!(her.brings(&bytes_of(&last), &world.card).await, VerdictCode::Accepted);
    assert_eq!(to.receive_until(&last.bundle).await.len(), 2);
}

/// What a server that stops has taken last may be in no archive: it is not settled until the connection has stood.
pub async fn what_the_server_took_just_before_the_connection_ended_is_sent_again_unless_it_has_arrived(
    kind: Kind,
) {
    const TRIES: usize = 5;
    let (world, gate) = World::behind_a_gate(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    let mut to = world.login("jerry").await;
    her.register(&elaine.card()).await.unwrap();
    to.register(&jerry.card()).await.unwrap();
    let connections = || world.log().matches("component online").count();
    for attempt in 1..=TRIES {
        let before = connections();
        let (arrived, lost) = (elaine.writes(&jerry, &world.card), elaine.writes(&jerry, &world.card));
        for message in [&arrived, &lost] {
            assert_eq!(her.brings(&bytes_of(message), &world.card).await, VerdictCode::Accepted);
        }
        to.reveal(&[arrived.reveal]).await;
        // Nothing that the bridge asks from now on is answered.
        gate.close();
        gate.cut();
        world.until("another connection", || connections() > before).await;
        world.settled().await;
        let mark = elaine.writes(&jerry, &world.card);
        assert_eq!(her.brings(&bytes_of(&mark), &world.card).await, VerdictCode::Accepted);
        let round = to.receive_until(&mark.bundle).await;
        let copies = |of: &Sealed| {
            let copies: Vec<_> = round.iter().filter(|received| received.bundle == of.bundle).collect();
            assert!(copies.windows(2).all(|pair| pair[0] == pair[1]), "another id or author");
            copies.len()
        };
        assert_eq!(copies(&arrived), 1);
        assert_eq!(round.len(), 1 + copies(&lost));
        match copies(&lost) {
            2 => return,
            // On a slow machine the connection may have stood for a second before the gate closed.
            copies => assert_eq!(copies, 1, "attempt {attempt}"),
        }
    }
    panic!("not sent again in {TRIES} attempts");
}
