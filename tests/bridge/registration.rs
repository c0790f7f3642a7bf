//! Which key may speak as which account.

use pigeon_bundle::{VerdictCode, sign_handover};
use pigeon_harness::Kind;
use pigeon_xmpp::IqError;

use crate::independent::{Client, python};
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

pub async fn another_key_gives_notice_to_all_clients_and_speaks_when_it_is_over(kind: Kind) {
    let Some(python) = python() else { return };
    let world = World::configured(kind, "notice_days = 0").await;
    let (first, second, jerry) = (Person::new("elaine"), Person::new("elaine"), Person::new("jerry"));
    let mut phone = world.login("elaine").await;
    phone.register(&first.card()).await.unwrap();
    let mut client = Client::start(&python, &world, "elaine", &["receive", "1"]);
    assert_eq!(client.line().await, "ready");
    assert_eq!(condition(phone.register(&second.card()).await), "forbidden");
    let shown: serde_json::Value = serde_json::from_str(&client.line().await).unwrap();
    assert_eq!(shown["from"], world.card.domain());
    assert!(shown["body"].as_str().unwrap().contains("another CarrierPigeon key"), "{shown}");
    // Until it asks again after the notice, the first key speaks.
    let mut carrier = world.login("kramer").await;
    let message = first.writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::Accepted);
    phone.register(&second.card()).await.unwrap();
    let late = first.writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&late), &world.card).await, VerdictCode::SignatureWrong);
    let message = second.writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::Accepted);
}

pub async fn the_registered_keys_signature_passes_an_account_on_at_once(kind: Kind) {
    let world = World::new(kind).await;
    let (first, second, jerry) = (Person::new("elaine"), Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&first.card()).await.unwrap();
    let sign = |old: &Person| {
        sign_handover(&old.identity, &second.identity.key(), world.card.domain(), &first.jid())
    };
    assert_eq!(condition(her.register_over(&second.card(), &sign(&second)).await), "forbidden");
    her.register_over(&second.card(), &sign(&first)).await.unwrap();
    let mut carrier = world.login("kramer").await;
    let old = first.writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&old), &world.card).await, VerdictCode::SignatureWrong);
    let new = second.writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&new), &world.card).await, VerdictCode::Accepted);
}

pub async fn a_revoked_key_is_silent_at_once_and_for_good(kind: Kind) {
    let mut world = World::new(kind).await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    her.revoke().await;
    world.bridge.kill9();
    world.restart_bridge();
    assert_eq!(condition(her.register(&elaine.card()).await), "forbidden");
    let mut carrier = world.login("kramer").await;
    let message = elaine.writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::AuthorNotRegistered);
    assert_eq!(condition(her.register(&Person::new("elaine").card()).await), "forbidden");
}

/// newman goes, and somebody else gets his name.
pub async fn a_recycled_account_name_does_not_inherit_the_old_owners_voice(kind: Kind) {
    let world = World::configured(kind, "[accounts]\ncheck_s = 0").await;
    let (old, new, jerry) = (Person::new("newman"), Person::new("newman"), Person::new("jerry"));
    let mut his = world.login("newman").await;
    his.register(&old.card()).await.unwrap();
    his.logout().await;
    let mut carrier = world.login("kramer").await;
    let message = old.writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::Accepted);
    world.server.remove_account("newman").unwrap();
    let message = old.writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::AuthorNotRegistered);
    world.server.add_account("newman", "pw-newman").unwrap();
    let message = old.writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::AuthorNotRegistered);
    // The new owner speaks at once, and the old one never again.
    let mut theirs = world.login("newman").await;
    theirs.register(&new.card()).await.unwrap();
    let message = new.writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::Accepted);
    let message = old.writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::SignatureWrong);
}

pub async fn mail_for_a_name_without_an_account_is_refused_and_its_author_hears_of_it(kind: Kind) {
    let world = World::new(kind).await;
    let (elaine, nobody) = (Person::new("elaine"), Person::new("nobody"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let mut carrier = world.login("kramer").await;
    let message = elaine.writes(&nobody, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::RecipientUnknown);
    let (told, _) = her.verdict(&world.card).await;
    assert_eq!((told.bundle, told.code), (message.bundle.id(), VerdictCode::RecipientUnknown));
}
