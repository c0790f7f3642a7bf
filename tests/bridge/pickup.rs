//! Delegated pick-up: a carrier with a token gets what waits, and everybody else gets nothing.

use pigeon_bundle::{
    Epoch, MailboxSecret, NodeKey, NodeSecret, PickupRequest, PickupTerms, Sealed, Tag, VerdictCode,
    seal_pickup,
};
use pigeon_harness::Kind;
use pigeon_xmpp::{IqError, PickedUp};

use crate::session::Session;
use crate::world::{DAY_S, HOST, Person, System, World, bytes_of, now_s};

/// Elaine has a registered key and no internet; Jerry writes to her; Kramer is at the bridge.
struct Story {
    world: World,
    elaine: Person,
    jerry: Person,
    kramer: NodeSecret,
    her: Session,
    his: Session,
    carrier: Session,
}

impl Story {
    async fn new(kind: Kind) -> Self {
        Self::in_world(World::new(kind).await).await
    }

    async fn in_world(world: World) -> Self {
        let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
        let her = world.login("elaine").await;
        let his = world.login("jerry").await;
        let carrier = world.login("kramer").await;
        let mut story =
            Self { world, elaine, jerry, kramer: NodeSecret::generate(&mut System), her, his, carrier };
        story.her.register(&story.elaine.card()).await.unwrap();
        story.his.register(&story.jerry.card()).await.unwrap();
        story
    }

    /// Jerry writes and the bridge accepts.
    async fn written(&mut self, count: usize) -> Vec<Sealed> {
        let mut all = Vec::new();
        for _ in 0..count {
            let message = self.jerry.writes(&self.elaine, &self.world.card);
            let code = self.his.brings(&bytes_of(&message), &self.world.card).await;
            assert_eq!(code, VerdictCode::Accepted);
            all.push(message);
        }
        all
    }

    fn terms(&self) -> PickupTerms {
        let secret = MailboxSecret([5; 32]);
        let today = Epoch::at(now_s()).0;
        PickupTerms {
            recipient: self.elaine.jid(),
            tags: (today - 1..=today + 1).map(|day| secret.tag(Epoch(day))).collect(),
            carrier: self.kramer.key(),
            nonce: fresh_nonce(),
            expires_s: now_s() + 3_600,
            byte_limit: 1 << 20,
        }
    }

    fn token(&self, owner: &Person, terms: &PickupTerms) -> Vec<u8> {
        seal_pickup(&owner.identity, terms, &self.world.card, &mut System).unwrap()
    }

    fn signed(&self, node: &NodeSecret, token: Vec<u8>, account: &str) -> PickupRequest {
        let card = &self.world.card;
        PickupRequest::sign(node, token, card.domain(), card.key(), &format!("{account}@{HOST}")).unwrap()
    }

    /// Kramer's request on these terms.
    fn request(&self, terms: &PickupTerms) -> PickupRequest {
        self.signed(&self.kramer, self.token(&self.elaine, terms), "kramer")
    }

    async fn refused(&mut self, request: &PickupRequest) -> String {
        refused(&mut self.carrier, request).await
    }
}

fn fresh_nonce() -> [u8; 16] {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).unwrap();
    nonce
}

async fn refused(session: &mut Session, request: &PickupRequest) -> String {
    match session.pick_up(request).await {
        Err(IqError::Refused { condition, .. }) => condition,
        other => panic!("not refused: {other:?}"),
    }
}

fn count(bundles: &[Sealed]) -> u64 {
    bundles.iter().map(|sealed| sealed.bundle.as_bytes().len() as u64).sum()
}

pub async fn a_carrier_fetches_what_waits_and_it_waits_on_until_it_has_arrived(kind: Kind) {
    let mut story = Story::new(kind).await;
    let written = story.written(3).await;
    let request = story.request(&story.terms());
    let done = story.carrier.pick_up(&request).await.unwrap();
    assert_eq!(done, PickedUp { bundles: 3, bytes: count(&written), left: 0 });
    let mut fetched = Vec::new();
    for _ in 0..3 {
        let received = story.carrier.receive().await;
        assert_eq!(received.from, story.world.card.domain());
        fetched.push(received.bundle);
    }
    assert!(written.iter().all(|sealed| fetched.contains(&sealed.bundle)));
    // Fetched is not delivered: another carrier with another token gets the same, also after a crash.
    story.world.bridge.kill9();
    story.world.restart_bridge();
    let newman = NodeSecret::generate(&mut System);
    let mut other = story.world.login("newman").await;
    let terms = PickupTerms { carrier: newman.key(), ..story.terms() };
    let token = story.token(&story.elaine, &terms);
    let request = story.signed(&newman, token, "newman");
    assert_eq!(other.pick_up(&request).await.unwrap().bundles, 3);
    // What has arrived waits no longer.
    story.her.reveal(&[written[0].reveal, written[1].reveal]).await;
    let request = story.request(&story.terms());
    let done = story.carrier.pick_up(&request).await.unwrap();
    assert_eq!(done, PickedUp { bundles: 1, bytes: count(&written[2..]), left: 0 });
}

pub async fn what_waits_at_another_instance_is_handed_out_too(kind: Kind) {
    let (world, second) = World::of_two_instances(kind).await;
    let mut story = Story::in_world(world).await;
    // Some for each instance.
    let (mut written, mut of_second) = (Vec::new(), 0);
    while written.len() < 6 || of_second == 0 || of_second == written.len() {
        let message = story.jerry.writes(&story.elaine, &story.world.card);
        of_second += usize::from(message.bundle.message_digest().shard() >= 8);
        // What the other instance does not know yet has no answer, and is handed in again.
        let verdict = loop {
            story.his.carry(&message, &story.world.card).await;
            let verdicts = story.his.gather(&story.world.card, std::time::Duration::from_secs(2)).await;
            if let Some(verdict) = verdicts.into_iter().find(|one| one.bundle == message.bundle.id()) {
                break verdict;
            }
        };
        assert_eq!(verdict.code, VerdictCode::Accepted);
        written.push(message);
    }
    let all = PickedUp { bundles: u32::try_from(written.len()).unwrap(), bytes: count(&written), left: 0 };
    let request = story.request(&story.terms());
    assert_eq!(story.carrier.pick_up(&request).await.unwrap(), all);
    // Also when the other one has died.
    drop(second);
    let request = story.request(&story.terms());
    assert_eq!(story.carrier.pick_up(&request).await.unwrap(), all);
    story.her.reveal(&written.iter().map(|sealed| sealed.reveal).collect::<Vec<_>>()).await;
    let request = story.request(&story.terms());
    assert_eq!(story.carrier.pick_up(&request).await.unwrap(), PickedUp { bundles: 0, bytes: 0, left: 0 });
}

pub async fn a_stolen_token_is_refused(kind: Kind) {
    let mut story = Story::new(kind).await;
    story.written(1).await;
    let token = story.token(&story.elaine, &story.terms());
    // Newman has seen the token, and signs with his own node key.
    let thief = NodeSecret::generate(&mut System);
    let stolen = story.signed(&thief, token.clone(), "newman");
    let mut newman = story.world.login("newman").await;
    assert_eq!(refused(&mut newman, &stolen).await, "forbidden");
    // Or has seen Kramer's whole request.
    let request = story.signed(&story.kramer, token, "kramer");
    assert_eq!(refused(&mut newman, &request).await, "forbidden");
    // Neither has spent it.
    assert_eq!(story.carrier.pick_up(&request).await.unwrap().bundles, 1);
}

pub async fn a_token_is_taken_once_also_after_a_crash(kind: Kind) {
    let mut story = Story::new(kind).await;
    story.written(1).await;
    let terms = story.terms();
    let request = story.request(&terms);
    assert_eq!(story.carrier.pick_up(&request).await.unwrap().bundles, 1);
    assert_eq!(story.refused(&request).await, "policy-violation");
    // The same nonce, sealed and signed anew.
    assert_eq!(story.refused(&story.request(&terms)).await, "policy-violation");
    story.world.bridge.kill9();
    story.world.restart_bridge();
    assert_eq!(story.refused(&request).await, "policy-violation");
}

pub async fn an_expired_token_and_one_that_lasts_too_long_are_refused(kind: Kind) {
    let mut story = Story::new(kind).await;
    story.written(1).await;
    for expires_s in [now_s() - 1, now_s() + 2 * DAY_S] {
        let terms = PickupTerms { expires_s, ..story.terms() };
        assert_eq!(story.refused(&story.request(&terms)).await, "not-acceptable", "{expires_s}");
    }
}

pub async fn a_foreign_node_key_is_refused(kind: Kind) {
    let mut story = Story::new(kind).await;
    story.written(1).await;
    let terms = PickupTerms { carrier: NodeKey([7; 32]), ..story.terms() };
    assert_eq!(story.refused(&story.request(&terms)).await, "forbidden");
}

pub async fn the_byte_limit_of_token_and_bridge_is_kept(kind: Kind) {
    let mut story = Story::new(kind).await;
    let written = story.written(3).await;
    let two = count(&written[..2]);
    let terms = PickupTerms { byte_limit: two, ..story.terms() };
    let done = story.carrier.pick_up(&story.request(&terms)).await.unwrap();
    assert_eq!(done, PickedUp { bundles: 2, bytes: two, left: 1 });
    let terms = PickupTerms { byte_limit: u64::MAX, ..story.terms() };
    assert_eq!(story.refused(&story.request(&terms)).await, "not-acceptable");
}

pub async fn only_the_registered_recipient_can_make_a_token_and_only_its_tags_are_handed_out(kind: Kind) {
    let mut story = Story::new(kind).await;
    story.written(1).await;
    // Jerry, who is registered too, makes one in Elaine's name; and George, who is not, in his own.
    let forged = story.signed(&story.kramer, story.token(&story.jerry, &story.terms()), "kramer");
    assert_eq!(story.refused(&forged).await, "forbidden");
    let george = Person::new("george");
    let terms = PickupTerms { recipient: george.jid(), ..story.terms() };
    let request = story.signed(&story.kramer, story.token(&george, &terms), "kramer");
    assert_eq!(story.refused(&request).await, "forbidden");
    let terms = PickupTerms { recipient: "elaine@elsewhere.example".to_owned(), ..story.terms() };
    assert_eq!(story.refused(&story.request(&terms)).await, "forbidden");
    // Jerry's own token brings nothing of Elaine's.
    let terms = PickupTerms { recipient: story.jerry.jid(), ..story.terms() };
    let request = story.signed(&story.kramer, story.token(&story.jerry, &terms), "kramer");
    let nothing = PickedUp { bundles: 0, bytes: 0, left: 0 };
    assert_eq!(story.carrier.pick_up(&request).await.unwrap(), nothing);
    let terms = PickupTerms { tags: vec![Tag([9; 16])], ..story.terms() };
    assert_eq!(story.carrier.pick_up(&story.request(&terms)).await.unwrap(), nothing);
    assert!(!story.world.log().contains("elaine@"), "a name is in the log");
}
