//! What somebody with an account can do to make the bridge speak as another: each way is refused.

use bytes::Bytes;
use pigeon_bundle::{BridgeCard, BridgeCardFields, BridgeIdentity, MessageId, VerdictCode, open_route};
use pigeon_harness::Kind;

use crate::mint::{self, Claim};
use crate::session::Session;
use crate::world::{DAY_S, Person, System, World, bytes_of, now_s};

/// elaine and newman are registered, kramer carries, jerry receives.
struct Scene {
    world: World,
    elaine: Person,
    jerry: Person,
    newman: Person,
    her: Session,
    his: Session,
    carrier: Session,
    to: Session,
}

impl Scene {
    async fn new(kind: Kind) -> Self {
        let world = World::new(kind).await;
        let (elaine, jerry, newman) = (Person::new("elaine"), Person::new("jerry"), Person::new("newman"));
        let mut her = world.login("elaine").await;
        her.register(&elaine.card()).await.unwrap();
        let mut his = world.login("newman").await;
        his.register(&newman.card()).await.unwrap();
        let (carrier, to) = (world.login("kramer").await, world.login("jerry").await);
        Self { world, elaine, jerry, newman, her, his, carrier, to }
    }

    /// kramer brings it, it is refused for this reason, and nothing reaches jerry before an honest message does.
    async fn refused(mut self, bytes: &Bytes, code: VerdictCode) -> Self {
        assert_eq!(self.carrier.brings(bytes, &self.world.card).await, code);
        let honest = self.elaine.writes(&self.jerry, &self.world.card);
        assert_eq!(self.her.brings(&bytes_of(&honest), &self.world.card).await, VerdictCode::Accepted);
        assert_eq!(self.to.receive_until(&honest.bundle).await, []);
        self
    }
}

pub async fn forged_by_an_unregistered_key(kind: Kind) {
    let scene = Scene::new(kind).await;
    let forged = bytes_of(&Person::new("george").writes(&scene.jerry, &scene.world.card));
    scene.refused(&forged, VerdictCode::AuthorNotRegistered).await;
}

pub async fn forged_with_the_key_of_another_account(kind: Kind) {
    let scene = Scene::new(kind).await;
    let (elaine, jerry) = (scene.elaine.jid(), scene.jerry.jid());
    let forged = bytes_of(&scene.newman.claims(&elaine, &scene.jerry, &jerry, &scene.world.card));
    scene.refused(&forged, VerdictCode::SignatureWrong).await;
}

pub async fn forged_by_a_new_route_on_anothers_message(kind: Kind) {
    let scene = Scene::new(kind).await;
    let honest = scene.elaine.writes(&scene.jerry, &scene.world.card);
    let (author, recipient) = (scene.elaine.jid(), scene.jerry.jid());
    let claim = Claim {
        author: &author,
        recipient: &recipient,
        message_id: MessageId([1; 16]),
        sent_ms: now_s() * 1_000,
    };
    let forged = mint::with_route(&honest.bundle, &scene.world.card, &scene.newman.identity, &claim);
    scene.refused(&forged, VerdictCode::SignatureWrong).await;
}

pub async fn forged_by_replaying_a_route_on_another_message(kind: Kind) {
    let scene = Scene::new(kind).await;
    let card = &scene.world.card;
    let honest = scene.elaine.writes(&scene.jerry, card);
    let route = &honest.bundle.uplink().unwrap().route;
    let replayed = mint::uplink_data(card.domain(), card.key(), route);
    let forged = mint::with_uplink(&scene.newman.writes(&scene.jerry, card).bundle, Some(&replayed));
    scene.refused(&forged, VerdictCode::RouteDoesNotOpen).await;
}

/// Another bridge, or whoever stole its keys, opens a route that was meant for it and seals it to ours.
pub async fn forged_by_resealing_a_route_that_was_for_another_bridge(kind: Kind) {
    let scene = Scene::new(kind).await;
    let (other, other_card) = other_bridge(scene.world.card.domain());
    let honest = scene.elaine.writes(&scene.jerry, &other_card);
    let as_it_was = bytes_of(&honest);
    let route = open_route(&honest.bundle, &other).unwrap();
    let claim = Claim {
        author: &route.author,
        recipient: &route.recipient,
        message_id: route.message_id,
        sent_ms: route.sent_ms,
    };
    let forged = mint::with_signed_route(&honest.bundle, &scene.world.card, &claim, &route.signature);
    let scene = scene.refused(&forged, VerdictCode::SignatureWrong).await;
    scene.refused(&as_it_was, VerdictCode::RouteDoesNotOpen).await;
}

pub async fn forged_by_swapping_the_recipient(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    // Sealed by way of a bridge whose keys the forger has, so that he knows the author's signature.
    let (other, other_card) = other_bridge(scene.world.card.domain());
    let honest = scene.elaine.writes(&scene.jerry, &other_card);
    let route = open_route(&honest.bundle, &other).unwrap();
    let newman = scene.newman.jid();
    let claim = Claim {
        author: &route.author,
        recipient: &newman,
        message_id: route.message_id,
        sent_ms: route.sent_ms,
    };
    let forged = mint::with_signed_route(&honest.bundle, &scene.world.card, &claim, &route.signature);
    scene = scene.refused(&forged, VerdictCode::SignatureWrong).await;
    let honest = scene.elaine.writes(&scene.newman, &scene.world.card);
    assert_eq!(scene.her.brings(&bytes_of(&honest), &scene.world.card).await, VerdictCode::Accepted);
    assert_eq!(scene.his.receive_until(&honest.bundle).await, [], "newman has got what was not for him");
}

pub async fn foreign_hosts_are_refused_and_only_the_proven_author_hears_of_it(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    let card = &scene.world.card;
    let recipient = scene.newman.writes_to(&scene.jerry, "jerry@elsewhere.example", card);
    let author = scene.newman.claims("newman@elsewhere.example", &scene.jerry, &scene.jerry.jid(), card);
    assert_eq!(scene.carrier.brings(&bytes_of(&author), card).await, VerdictCode::ForeignHost);
    assert_eq!(scene.carrier.brings(&bytes_of(&recipient), card).await, VerdictCode::ForeignHost);
    // newman, whose own message could not be delivered, hears of it though kramer brought it, and of nothing else.
    let (told, _) = scene.his.verdict(card).await;
    assert_eq!((told.bundle, told.code), (recipient.bundle.id(), VerdictCode::ForeignHost));
}

pub async fn what_is_no_bundle_is_refused(kind: Kind) {
    let scene = Scene::new(kind).await;
    scene.refused(&b"not a bundle".as_slice().into(), VerdictCode::Malformed).await;
}

/// A bridge with the same domain and other keys.
fn other_bridge(domain: &str) -> (BridgeIdentity, BridgeCard) {
    let other = BridgeIdentity::generate(&mut System);
    let fields = BridgeCardFields {
        domain: domain.to_owned(),
        issued_s: now_s(),
        expires_s: now_s() + DAY_S,
        shards: Vec::new(),
    };
    let card = other.card(&fields).unwrap();
    (other, card)
}
