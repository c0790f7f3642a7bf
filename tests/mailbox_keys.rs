//! One-time prekeys, cards and cancellation in the mailbox: what is kept, what goes, and what is told.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/person.rs"]
mod person;

use carrier_pigeon::clock::Clock;
use carrier_pigeon::config::ClockMode;
use carrier_pigeon::mailbox::records::{ContactRecord, OwnRecord, SeenRecord};
use carrier_pigeon::mailbox::{Arrival, MailboxError};
use carrier_pigeon::random::OsRandom;
use person::{Person, friends, link, now_s, random};
use pigeon_bundle::{
    Bundle, Card, CardFields, Epoch, Identity, MailboxSecret, ONE_TIME_PER_CONTACT_MAX, OneTimeKey,
    OneTimeRing, OpenError, OpenedWith, PrekeyRing, Reveal, Tag, open,
};
use pigeon_core::{Catalog, Event as CoreEvent, OpenOutcome, RemovalReason, StoreOp};
use pigeon_proto::{Body, Content};
use pigeon_store::{RecordOp, Store, StoreOptions, Table, Transaction};
use prost::Message as _;

const ONE_TIME: &[u8] = b"one-time:";

/// The ring as a thief of the disk would have it.
fn stolen_ring(person: &Person) -> PrekeyRing {
    let own = OwnRecord::decode(&*person.store.record(Table::Meta, b"own").unwrap().unwrap()).unwrap();
    let mut ring = PrekeyRing::from_bytes(&own.ring).unwrap();
    for key in kept_keys(person) {
        ring.one_time_mut().insert(OneTimeKey::from_bytes(&key).unwrap()).unwrap();
    }
    ring
}

/// The private one-time keys on disk.
fn kept_keys(person: &Person) -> Vec<Vec<u8>> {
    let records = person.store.records(Table::Meta, Some(ONE_TIME), 1_000).unwrap();
    records.into_iter().filter(|(key, _)| key.starts_with(ONE_TIME)).map(|(_, value)| value).collect()
}

fn opened_with(bundle: &Bundle, by: &Person) -> OpenedWith {
    open(bundle, &by.identity, &stolen_ring(by), None).unwrap().with
}

fn content_of(bundle: &Bundle, by: &Person) -> Content {
    Content::decode(&open(bundle, &by.identity, &stolen_ring(by), None).unwrap().content).unwrap()
}

/// Delivers what `from` has submitted, and so on to and fro until all is said.
async fn exchange(from: &mut Person, to: &mut Person) {
    loop {
        let (there, back) = (from.submitted().await, to.submitted().await);
        if there.is_empty() && back.is_empty() {
            return;
        }
        for bundle in there {
            to.mailbox.receive(&bundle, link()).await.unwrap();
        }
        for bundle in back {
            from.mailbox.receive(&bundle, link()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn after_a_first_exchange_messages_are_sealed_to_keys_that_are_gone_once_they_arrived() {
    let (mut elaine, mut jerry) = friends().await;
    let (first, _) = elaine.writes("jerry", "hello").await;
    assert_eq!(opened_with(&first, &jerry), OpenedWith::Prekey, "there is nothing better yet");
    exchange(&mut elaine, &mut jerry).await;

    // Jerry's receipt brought keys; elaine's message had brought some for it.
    let before = kept_keys(&jerry).len();
    let (second, _) = elaine.writes("jerry", "again").await;
    let OpenedWith::OneTime(used) = opened_with(&second, &jerry) else { panic!("no one-time key is used") };
    elaine.submitted().await;
    jerry.mailbox.receive(&second, Arrival::Xmpp).await.unwrap();
    assert_eq!(jerry.mailbox.inbox(false).unwrap().len(), 2);

    // Nothing on jerry's disk opens it again, nor does what is in memory or comes back after a restart.
    let keys: Vec<_> =
        kept_keys(&jerry).iter().map(|key| OneTimeKey::from_bytes(key).unwrap().public()).collect();
    assert!(!keys.contains(&used), "{before} keys before");
    let again = open(&second, &jerry.identity, &stolen_ring(&jerry), None);
    assert_eq!(again.unwrap_err(), OpenError::NoKey);
    for restarted in [false, true] {
        if restarted {
            jerry.restart().await;
        }
        jerry.heard().await;
        // A further copy is a duplicate all the same, and is ended by r.
        jerry.mailbox.receive(&second, link()).await.unwrap();
        let outcomes = jerry.heard().await;
        let reveal = match outcomes.as_slice() {
            [CoreEvent::Opened { outcome: OpenOutcome::Duplicate { reveal }, .. }] => *reveal,
            other => panic!("restarted {restarted}: {other:?}"),
        };
        assert_eq!(reveal.commitment(), second.commitment());
        assert_eq!(jerry.mailbox.inbox(false).unwrap().len(), 2);
    }
}

#[tokio::test]
async fn an_author_uses_each_key_once_over_restarts_and_bursts() {
    let (mut elaine, mut jerry) = friends().await;
    elaine.writes("jerry", "hello").await;
    exchange(&mut elaine, &mut jerry).await;
    let mut used = Vec::new();
    for round in 0..2 * ONE_TIME_PER_CONTACT_MAX {
        let (bundle, _) = elaine.writes("jerry", &format!("no answer in between {round}")).await;
        match opened_with(&bundle, &jerry) {
            OpenedWith::OneTime(key) => used.push(key),
            other => assert_eq!(other, OpenedWith::Prekey),
        }
        elaine.restart().await;
    }
    let different: std::collections::BTreeSet<_> = used.iter().collect();
    assert_eq!(different.len(), used.len(), "a key was used twice");
    assert!(!used.is_empty() && used.len() <= ONE_TIME_PER_CONTACT_MAX, "{} keys", used.len());
    // All of them arrive, in whatever order.
    let mut burst = elaine.submitted().await;
    burst.reverse();
    for bundle in &burst {
        jerry.mailbox.receive(bundle, link()).await.unwrap();
    }
    assert_eq!(jerry.mailbox.inbox(false).unwrap().len(), 1 + 2 * ONE_TIME_PER_CONTACT_MAX);
}

#[tokio::test]
async fn keys_cost_no_step_and_are_bounded_for_each_contact() {
    let (mut elaine, mut jerry) = friends().await;
    for length in 0..140 {
        let (bundle, _) = elaine.writes("jerry", &"x".repeat(length)).await;
        let content = content_of(&bundle, &jerry);
        let bare = Content { one_time: None, ..content.clone() }.encode().unwrap().len();
        let with = content.encode().unwrap().len();
        assert!(with <= pigeon_bundle::content_room(bare), "{length}: {bare} bytes became {with}");
        assert!(kept_keys(&elaine).len() <= ONE_TIME_PER_CONTACT_MAX);
    }
    assert_eq!(kept_keys(&elaine).len(), ONE_TIME_PER_CONTACT_MAX, "there is room for some of them");
    elaine.heard().await;
    jerry.heard().await;
}

#[tokio::test]
async fn who_wrote_first_and_was_not_confirmed_gets_no_keys_from_receipts() {
    let (mut elaine, jerry) = (Person::new("elaine").await, Person::new("jerry").await);
    let mut jerry = jerry;
    jerry.knows(&elaine).await;
    let (bundle, _) = jerry.writes("elaine", "you do not know me").await;
    elaine.heard().await;
    elaine.mailbox.receive(&bundle, link()).await.unwrap();
    let receipt = elaine.submitted().await.remove(0);
    assert_eq!(content_of(&receipt, &jerry).one_time, None);
    assert_eq!(kept_keys(&elaine).len(), 0);
    jerry.heard().await;
    // She answers by hand: that is a choice.
    let key = jerry.mailbox.identity().to_string();
    elaine.mailbox.send(&key, "I do now".to_owned(), 0).await.unwrap();
    assert!(!kept_keys(&elaine).is_empty());
}

#[tokio::test]
async fn a_key_whose_time_is_over_goes_from_the_disk() {
    let (elaine, mut jerry) = friends().await;
    let mut old = OneTimeRing::default();
    // Made 62 days ago: it expired 31 days ago at the latest, rounded up to a day.
    let made = [now_s() - 63 * 86_400, now_s() - 59 * 86_400];
    let mut records = Vec::new();
    for made_s in made {
        let key = &old.issue(elaine.mailbox.identity(), 1, made_s, &mut OsRandom)[0];
        let at = [ONE_TIME, &key.public()].concat();
        records.push(RecordOp::Put { table: Table::Meta, key: at, value: key.to_bytes().to_vec() });
    }
    jerry.store.commit(Transaction::of_records(records)).await.unwrap();
    jerry.restart().await;
    assert_eq!(kept_keys(&jerry).len(), 2);
    jerry.mailbox.forget_expired().await.unwrap();
    assert_eq!(kept_keys(&jerry).len(), 1, "a bundle sealed to the later one may still come");
}

#[tokio::test]
async fn a_store_that_went_back_and_a_card_by_hand_drop_the_keys_held() {
    let (mut elaine, mut jerry) = friends().await;
    elaine.writes("jerry", "hello").await;
    exchange(&mut elaine, &mut jerry).await;
    let uses_one_time =
        |bundle: &Bundle, jerry: &Person| matches!(opened_with(bundle, jerry), OpenedWith::OneTime(_));
    let (bundle, _) = elaine.writes("jerry", "with").await;
    assert!(uses_one_time(&bundle, &jerry));
    exchange(&mut elaine, &mut jerry).await;
    elaine.mailbox.forget_one_time().await.unwrap();
    elaine.restart().await;
    let (bundle, _) = elaine.writes("jerry", "without").await;
    assert!(!uses_one_time(&bundle, &jerry));
    exchange(&mut elaine, &mut jerry).await;
    // Jerry's receipt gave new ones; his card, imported again, drops them.
    elaine.knows(&jerry).await;
    let (bundle, _) = elaine.writes("jerry", "without again").await;
    assert!(!uses_one_time(&bundle, &jerry));
}

fn cancelled(events: &[CoreEvent]) -> Vec<Reveal> {
    events
        .iter()
        .filter_map(|event| match event {
            CoreEvent::Cancelled { reveals } => Some(reveals.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}

#[tokio::test]
async fn a_cancelled_message_is_told_to_the_core_and_is_not_delivered_by_who_knows_r() {
    let (mut elaine, mut jerry) = friends().await;
    let (bundle, id) = elaine.writes("jerry", "forget it").await;
    elaine.heard().await;
    let view = elaine.mailbox.cancel(&id.to_string()).await.unwrap();
    assert_eq!(view.state, "cancelled");
    let reveals = cancelled(&elaine.heard().await);
    assert_eq!(reveals.iter().map(Reveal::commitment).collect::<Vec<_>>(), [bundle.commitment()]);
    // A crash before the core acted: it is told again, as long as the bundle is there.
    elaine.restart().await;
    elaine.heard().await;
    elaine.mailbox.reveal_again().await.unwrap();
    assert_eq!(cancelled(&elaine.heard().await), reveals);

    // Jerry has heard of it, then a copy comes over XMPP, and one that was stored before comes up for opening.
    let tombstone = StoreOp::Tombstone { reveal: reveals[0], expires_s: bundle.expires_s() };
    jerry.store.commit(Transaction::of_ops(vec![tombstone])).await.unwrap();
    for arrival in [Arrival::Xmpp, link()] {
        jerry.heard().await;
        jerry.mailbox.receive(&bundle, arrival).await.unwrap();
        let heard = jerry.heard().await;
        assert!(
            matches!(heard.as_slice(), [CoreEvent::Opened { outcome: OpenOutcome::Refused, .. }]),
            "{heard:?}"
        );
    }
    assert!(jerry.mailbox.inbox(false).unwrap().is_empty());
}

#[tokio::test]
async fn what_was_delivered_before_the_news_stays_delivered() {
    let (mut elaine, mut jerry) = friends().await;
    let (bundle, id) = elaine.writes("jerry", "too late").await;
    elaine.mailbox.cancel(&id.to_string()).await.unwrap();
    elaine.mailbox.cancel(&id.to_string()).await.unwrap();
    elaine.heard().await;
    jerry.heard().await;
    jerry.mailbox.receive(&bundle, link()).await.unwrap();
    exchange(&mut jerry, &mut elaine).await;
    let view = elaine.outbox().pop().unwrap();
    assert_eq!((view.state, view.record.receipts), ("delivered", 1));
    let refused = elaine.mailbox.cancel(&id.to_string()).await;
    assert!(matches!(refused, Err(MailboxError::AlreadyDelivered { .. })));
    // The copy that comes after the news is a duplicate, no refusal.
    let tombstone = StoreOp::Tombstone {
        reveal: Reveal::try_from(view.record.reveal.as_slice()).unwrap(),
        expires_s: bundle.expires_s(),
    };
    jerry.store.commit(Transaction::of_ops(vec![tombstone])).await.unwrap();
    jerry.mailbox.receive(&bundle, Arrival::Xmpp).await.unwrap();
    let heard = jerry.heard().await;
    assert!(
        matches!(heard[..], [CoreEvent::Opened { outcome: OpenOutcome::Duplicate { .. }, .. }]),
        "{heard:?}"
    );
    for unknown in ["0123", &"00".repeat(16)] {
        assert!(matches!(elaine.mailbox.cancel(unknown).await, Err(MailboxError::NotSent { .. })));
    }
}

fn tags_of(events: Vec<CoreEvent>) -> Vec<Tag> {
    let tags = events.into_iter().rev().find_map(|event| match event {
        CoreEvent::OwnTags(tags) => Some(tags),
        _ => None,
    });
    tags.expect("the core was told tags")
}

fn today() -> Epoch {
    Epoch::at(now_s())
}

#[tokio::test]
async fn a_renewed_card_reaches_the_contacts_that_hold_the_former_one_and_no_receipt_comes_back() {
    let (mut elaine, mut jerry) = friends().await;
    let kramer = Person::new("kramer").await;
    elaine.knows(&kramer).await;
    let former = elaine.mailbox.card().unwrap();
    jerry.writes("elaine", "hi").await;
    exchange(&mut jerry, &mut elaine).await;
    elaine.heard().await;

    let card = elaine.mailbox.publish_card().await.unwrap();
    assert!(card.issued_s() > former.issued_s(), "later than any before, within one second too");
    assert_ne!(card.mailbox_secret(), former.mailbox_secret());
    let events = elaine.heard().await;
    // Kramer is not known to hold any card of hers.
    let updates: Vec<_> =
        events.iter().filter(|event| matches!(event, CoreEvent::Submitted { .. })).collect();
    let [CoreEvent::Submitted { bundle }] = updates[..] else { panic!("{updates:?}") };
    let update = elaine.store.bundle(bundle).unwrap().unwrap();
    let tags = tags_of(events);
    for listened in [&former, &card] {
        assert!(tags.contains(&listened.mailbox_secret().tag(today())), "both cards work");
    }
    jerry.mailbox.receive(&update, link()).await.unwrap();
    let heard = jerry.heard().await;
    assert!(heard.iter().all(|event| !matches!(event, CoreEvent::Submitted { .. })), "no receipt: {heard:?}");
    assert!(
        heard.iter().any(|event| {
            matches!(event, CoreEvent::Opened { outcome: OpenOutcome::Delivered { .. }, .. })
        })
    );
    assert_eq!(jerry.mailbox.contacts()[0].card.as_bytes(), card.as_bytes());
    assert!(jerry.mailbox.inbox(false).unwrap().is_empty());
    // Nothing more to say, after a restart either.
    elaine.restart().await;
    assert_eq!(elaine.submitted().await, []);

    // The former card imported again is old.
    let refused = jerry.mailbox.import_card(&former.to_text()).await;
    assert!(matches!(refused, Err(MailboxError::OldCard)));
}

#[tokio::test]
async fn who_writes_by_a_former_card_is_sent_the_present_one_again() {
    let (mut elaine, mut jerry) = friends().await;
    jerry.writes("elaine", "by the first card").await;
    exchange(&mut jerry, &mut elaine).await;
    let card = elaine.mailbox.publish_card().await.unwrap();
    let update = elaine.submitted().await.remove(0);
    let (still_first, _) = jerry.writes("elaine", "I have no other").await;
    jerry.submitted().await;
    // As long as the update is under way, that is how it should be.
    elaine.mailbox.receive(&still_first, link()).await.unwrap();
    elaine.mailbox.refresh().await.unwrap();
    assert_eq!(elaine.submitted().await.len(), 1, "the receipt");
    // The update is lost: it leaves elaine's store by its age, and jerry goes on with what he has.
    elaine
        .store
        .commit(Transaction::of_ops(vec![StoreOp::Remove {
            id: update.id(),
            reason: RemovalReason::Expired,
        }]))
        .await
        .unwrap();
    let (again, _) = jerry.writes("elaine", "I still have no other").await;
    jerry.submitted().await;
    elaine.mailbox.receive(&again, link()).await.unwrap();
    elaine.mailbox.refresh().await.unwrap();
    exchange(&mut elaine, &mut jerry).await;
    assert_eq!(jerry.mailbox.contacts()[0].card.as_bytes(), card.as_bytes());
}

#[tokio::test]
async fn who_wrote_first_and_was_not_confirmed_is_sent_no_cards() {
    let (mut elaine, mut jerry) = (Person::new("elaine").await, Person::new("jerry").await);
    jerry.knows(&elaine).await;
    jerry.writes("elaine", "you do not know me").await;
    exchange(&mut jerry, &mut elaine).await;
    elaine.mailbox.publish_card().await.unwrap();
    assert_eq!(elaine.submitted().await, []);
    elaine.knows(&jerry).await;
    elaine.mailbox.refresh().await.unwrap();
    assert_eq!(elaine.submitted().await.len(), 1, "confirmed");
}

#[tokio::test]
async fn a_newer_card_takes_back_the_one_still_on_its_way() {
    let (mut elaine, mut jerry) = friends().await;
    jerry.writes("elaine", "hi").await;
    exchange(&mut jerry, &mut elaine).await;
    elaine.mailbox.publish_card().await.unwrap();
    let first = elaine.submitted().await.remove(0);
    elaine.mailbox.publish_card().await.unwrap();
    let reveals = cancelled(&elaine.heard().await);
    assert_eq!(reveals.iter().map(Reveal::commitment).collect::<Vec<_>>(), [first.commitment()]);
}

#[tokio::test]
async fn revoking_drops_the_former_secrets_and_only_those() {
    let (mut elaine, _jerry) = friends().await;
    assert!(matches!(elaine.mailbox.revoke_card(None).await, Err(MailboxError::NothingToRevoke)));
    let former = elaine.mailbox.card().unwrap();
    let card = elaine.mailbox.publish_card().await.unwrap();
    elaine.restart().await;
    assert_eq!(elaine.mailbox.revoke_card(None).await.unwrap().secrets, 1);
    let tags = tags_of(elaine.heard().await);
    assert!(!tags.contains(&former.mailbox_secret().tag(today())));
    assert!(tags.contains(&card.mailbox_secret().tag(today())));
    elaine.restart().await;
    assert_eq!(tags_of(elaine.heard().await), tags, "it stays so");
    for _ in 0..3 {
        elaine.mailbox.publish_card().await.unwrap();
    }
    let limit = elaine.mailbox.publish_card().await;
    assert!(matches!(limit, Err(MailboxError::TooManyCards { limit: 4, .. })));
}

#[tokio::test]
async fn a_card_for_one_person_has_its_own_secret_finds_its_holder_and_is_revoked_alone() {
    let (mut elaine, mut jerry) = (Person::new("elaine").await, Person::new("jerry").await);
    let published = elaine.mailbox.card().unwrap();
    let personal = elaine.mailbox.card_for_person("the man upstairs").await.unwrap();
    assert_ne!(personal.mailbox_secret(), published.mailbox_secret());
    assert_eq!((personal.prekey(), personal.identity()), (published.prekey(), published.identity()));
    let again = elaine.mailbox.card_for_person("the man upstairs").await.unwrap();
    assert_eq!(again.as_bytes(), personal.as_bytes(), "the same card, as often as it is asked for");
    let tags = tags_of(elaine.heard().await);
    assert!(tags.contains(&personal.mailbox_secret().tag(today())));
    // Of each secret the 31 live days, today, and the 7 that reachability lists name ahead.
    assert_eq!(tags.len(), 2 * (31 + 1 + 7));

    // Jerry writes by it: it is his from now on, and a renewal brings him a card with his own secret.
    jerry.mailbox.import_card(&personal.to_text()).await.unwrap();
    jerry.writes("elaine", "hi").await;
    exchange(&mut jerry, &mut elaine).await;
    let view = |person: &Person| person.mailbox.cards().pop().unwrap();
    assert_eq!(view(&elaine).holder, Some(("jerry".to_owned(), jerry.mailbox.identity())));
    elaine.restart().await;
    elaine.heard().await;
    elaine.mailbox.publish_card().await.unwrap();
    exchange(&mut elaine, &mut jerry).await;
    let held = jerry.mailbox.contacts()[0].card.clone();
    assert_eq!(held.mailbox_secret(), personal.mailbox_secret());
    assert!(held.issued_s() > personal.issued_s());

    // Revoked: his mail is not listened to, and no further card goes to him.
    let revoked = elaine.mailbox.revoke_card(Some("the man upstairs")).await.unwrap();
    assert_eq!((revoked.secrets, revoked.holds_published), (1, false));
    assert!(!tags_of(elaine.heard().await).contains(&personal.mailbox_secret().tag(today())));
    assert!(view(&elaine).revoked);
    elaine.mailbox.publish_card().await.unwrap();
    assert_eq!(elaine.submitted().await, []);
    elaine.restart().await;
    assert_eq!(elaine.submitted().await, []);

    let unknown = elaine.mailbox.revoke_card(Some("nobody")).await;
    assert!(matches!(unknown, Err(MailboxError::UnknownCard { .. })));
    for name in ["", "line\nbreak", &"x".repeat(65)] {
        assert!(matches!(elaine.mailbox.card_for_person(name).await, Err(MailboxError::CardName)));
    }
}

#[tokio::test]
async fn a_contact_with_the_published_card_can_be_left_out_of_renewals() {
    let (mut elaine, mut jerry) = friends().await;
    jerry.writes("elaine", "hi").await;
    exchange(&mut jerry, &mut elaine).await;
    let revoked = elaine.mailbox.revoke_card(Some("jerry")).await.unwrap();
    assert_eq!((revoked.secrets, revoked.holds_published), (0, true));
    elaine.heard().await;
    elaine.mailbox.publish_card().await.unwrap();
    assert_eq!(elaine.submitted().await, []);
    // A card made for him afterwards brings him back in.
    let again = elaine.mailbox.card_for_person("jerry").await.unwrap();
    assert_ne!(again.mailbox_secret(), elaine.mailbox.card().unwrap().mailbox_secret());
    assert!(!elaine.mailbox.cards().pop().unwrap().revoked);
}

#[tokio::test]
async fn a_card_update_of_a_stranger_makes_no_contact() {
    let (jerry, stranger) = (Person::new("jerry").await, Person::new("stranger").await);
    let card = stranger.mailbox.card().unwrap();
    let content = Content::new(Body::CardUpdate(card.as_bytes().to_vec().into())).encode().unwrap();
    let to = jerry.mailbox.card().unwrap();
    let draft = pigeon_bundle::Draft {
        recipient: &to,
        content: &content,
        created_s: Some(now_s()),
        epoch: today(),
        lifetime_s: pigeon_bundle::LIFETIME_DEFAULT_S,
        uplink: None,
    };
    let bundle = pigeon_bundle::seal(&stranger.identity, &draft, &mut OsRandom).unwrap().bundle;
    jerry.mailbox.receive(&bundle, link()).await.unwrap();
    assert!(jerry.mailbox.contacts().is_empty());
}

/// What the first release wrote: three fields of its own, contacts without keys, and P without r.
#[tokio::test]
async fn records_of_the_first_release_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let identity = Identity::generate(&mut OsRandom);
    let ring = PrekeyRing::generate(now_s(), &mut OsRandom);
    let fields = CardFields {
        name: "jerry".to_owned(),
        jids: Vec::new(),
        bridges: Vec::new(),
        mailbox_secret: MailboxSecret(random()),
        prekey: ring.current().unwrap().public(),
        prekey_expires_s: ring.current().unwrap().expires_s(),
        issued_s: now_s(),
    };
    let card = Card::issue(&identity, &fields).unwrap();
    let mut elaine = Person::new("elaine").await;
    elaine.mailbox.import_card(&card.to_text()).await.unwrap();
    let (fresh, _) = elaine.writes("jerry", "new").await;
    let (seen, _) = elaine.writes("jerry", "seen before").await;
    // Protobuf by hand: field number ‖ wire type 2 ‖ length ‖ bytes; a bool is wire type 0.
    let field = |number: u8, bytes: &[u8]| {
        let mut out = vec![number << 3 | 2];
        prost::encode_length_delimiter(bytes.len(), &mut out).unwrap();
        [out, bytes.to_vec()].concat()
    };
    let own = [field(1, &ring.to_bytes()), field(2, &fields.mailbox_secret.0), field(3, card.as_bytes())];
    let elaines = elaine.mailbox.card().unwrap();
    let contact = [field(1, elaines.as_bytes()), vec![2 << 3, 1]];
    let put = |table, key: &[u8], value: Vec<u8>| RecordOp::Put { table, key: key.to_vec(), value };
    let records = vec![
        put(Table::Meta, b"own", own.concat()),
        put(Table::Contact, elaine.mailbox.identity().as_bytes(), contact.concat()),
        put(Table::SeenMessage, &seen.message_digest().0, seen.expires_s().to_be_bytes().to_vec()),
    ];
    store.commit(Transaction::of_records(records)).await.unwrap();

    let clock = Clock::new(ClockMode::Trusted);
    let mut jerry = Person::on_store("jerry", clock, dir, store, identity).await;
    assert_eq!(jerry.mailbox.card().unwrap().as_bytes(), card.as_bytes());
    // A contact that was known to hold our card, nobody knows which, is sent the present one once.
    assert_eq!(jerry.submitted().await.len(), 1);
    jerry.mailbox.receive(&seen, link()).await.unwrap();
    let heard = jerry.heard().await;
    assert!(
        matches!(heard[..], [CoreEvent::Opened { outcome: OpenOutcome::Duplicate { .. }, .. }]),
        "{heard:?}"
    );
    jerry.mailbox.receive(&fresh, link()).await.unwrap();
    assert_eq!(jerry.mailbox.inbox(false).unwrap().len(), 1);
    jerry.mailbox.forget_expired().await.unwrap();
    assert!(jerry.store.record(Table::SeenMessage, &seen.message_digest().0).unwrap().is_some());
    jerry.restart().await;
    exchange(&mut jerry, &mut elaine).await;
    let (later, _) = elaine.writes("jerry", "later").await;
    assert!(matches!(opened_with(&later, &jerry), OpenedWith::OneTime(_)), "and goes on as new ones do");
}

#[test]
fn records_show_no_secret_and_seen_records_have_two_forms() {
    let own = OwnRecord {
        ring: vec![77; 50],
        mailbox_secrets: vec![vec![77; 32]],
        card: vec![77; 9],
        persons: Vec::new(),
    };
    let contact = ContactRecord { card: vec![77; 9], update: vec![77; 32], ..ContactRecord::default() };
    let shown = format!("{own:?} {contact:?}");
    assert!(!shown.contains("77"), "{shown}");
    let new = SeenRecord { expires_s: 5, reveal: Some(Reveal([9; 32])) };
    let old = SeenRecord { reveal: None, ..new };
    assert_eq!((new.to_bytes().len(), old.to_bytes().len()), (40, 8));
    for record in [new, old] {
        assert_eq!(SeenRecord::from_bytes(&record.to_bytes()), Some(record));
    }
    for length in [0, 7, 9, 39, 41] {
        assert_eq!(SeenRecord::from_bytes(&vec![1; length]), None);
    }
}
