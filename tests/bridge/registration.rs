//! Which key may speak as which account.

use pigeon_bundle::VerdictCode;
use pigeon_harness::Kind;
use pigeon_xmpp::IqError;

use crate::world::{DAY_S, Person, World, bytes_of, now_s};

fn condition(refused: Result<u64, IqError>) -> String {
    match refused {
        Err(IqError::Refused { condition, text }) => {
            assert!(text.is_some_and(|text| text.len() > 20), "an explanation goes with it");
            condition
        }
        other => panic!("not refused: {other:?}"),
    }
}

pub async fn a_registration_binds_a_key_to_an_account_until_it_lapses(kind: Kind) {
    let mut world = World::new(kind).await;
    let (elaine, jerry, newman) = (Person::new("elaine"), Person::new("jerry"), Person::new("newman"));
    let mut her = world.login("elaine").await;
    let mut his = world.login("newman").await;
    let message = elaine.writes(&jerry, &world.card);

    // Nobody speaks for elaine before she has said who does.
    assert_eq!(his.brings(&bytes_of(&message), &world.card).await, VerdictCode::AuthorNotRegistered);
    // Her card in newman's hands gives him nothing.
    assert_eq!(condition(his.register(&elaine.card()).await), "forbidden");
    assert_eq!(his.brings(&bytes_of(&message), &world.card).await, VerdictCode::AuthorNotRegistered);

    let until_s = her.register(&elaine.card()).await.unwrap();
    let expected = now_s() + 90 * DAY_S;
    assert!((expected - 60..=expected).contains(&until_s), "{until_s}");
    assert_eq!(his.brings(&bytes_of(&message), &world.card).await, VerdictCode::Accepted);

    // Another key for the same account, even from its own session.
    let impostor = Person::new("elaine");
    assert_eq!(condition(her.register(&impostor.card()).await), "forbidden");
    // An older card changes nothing and says until when the newer one holds.
    assert_eq!(her.register(&elaine.card_issued(now_s() - DAY_S)).await.unwrap(), until_s);
    assert_eq!(condition(her.register(&elaine.card_issued(now_s() + 2 * DAY_S)).await), "not-acceptable");

    // It is durable, and so is the bridge's own card.
    world.bridge.kill9();
    world.restart_bridge();
    assert_eq!(her.card().await, world.card.as_bytes());
    assert_eq!(condition(her.register(&impostor.card()).await), "forbidden");
    assert!(her.register(&elaine.card()).await.unwrap() >= until_s);
    let second = elaine.writes(&jerry, &world.card);
    assert_eq!(her.brings(&bytes_of(&second), &world.card).await, VerdictCode::Accepted);
    let mut to = world.login("jerry").await;
    assert_eq!(to.receive_until(&second.bundle).await.len(), 1);
    drop(newman);
}
