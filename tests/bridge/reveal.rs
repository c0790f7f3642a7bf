//! Messages known to have arrived.

use pigeon_bundle::{PrekeyRing, Reveal, VerdictCode, open};
use pigeon_harness::Kind;

use crate::world::{Person, System, World, bytes_of, now_s};

pub async fn an_upload_of_what_has_arrived_is_answered_with_its_reveal(kind: Kind) {
    let mut world = World::new(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let (mut to, mut carrier) = (world.login("jerry").await, world.login("kramer").await);
    let (read, unread) = (elaine.writes(&jerry, &world.card), elaine.writes(&jerry, &world.card));
    for message in [&read, &unread] {
        assert_eq!(carrier.brings(&bytes_of(message), &world.card).await, VerdictCode::Accepted);
    }
    let received = to.receive().await.bundle;
    let ring = PrekeyRing::generate(now_s(), &mut System);
    let reveal = open(&received, &jerry.identity, &ring, Some(now_s())).unwrap().reveal;

    // A third account learns nothing and changes nothing, even with r in its hands.
    carrier.reveal(&[reveal, Reveal([3; 32])]).await;
    carrier.upload(&bytes_of(&read)).await;
    let (verdict, revealed) = carrier.verdict(&world.card).await;
    assert_eq!((verdict.code, revealed), (VerdictCode::Accepted, None));

    // The recipient's own session says that it has arrived; the bridge remembers.
    to.reveal(&[reveal, Reveal([3; 32])]).await;
    world.bridge.kill9();
    world.restart_bridge();
    for (message, expected) in [(&read, Some(reveal)), (&unread, None)] {
        carrier.upload(&bytes_of(message)).await;
        let (verdict, revealed) = carrier.verdict(&world.card).await;
        assert_eq!((verdict.code, revealed), (VerdictCode::Accepted, expected));
    }
    // The author may cancel, too.
    her.reveal(&[unread.reveal]).await;
    carrier.upload(&bytes_of(&unread)).await;
    assert_eq!(carrier.verdict(&world.card).await.1, Some(unread.reveal));
}
