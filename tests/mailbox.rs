//! Two mailboxes on real stores, without a network between them: bundles are carried by hand.
#![allow(clippy::unwrap_used, reason = "tests")]

use carrier_pigeon::clock::{Clock, mono_ms};
use carrier_pigeon::config::ClockMode;
use carrier_pigeon::mailbox::{Arrival, MailboxError, run_opener};
use carrier_pigeon::random::OsRandom;
use pigeon_bundle::{
    Bundle, BundleId, Card, CardFields, Draft, Epoch, Identity, LIFETIME_DEFAULT_S, MailboxSecret, MessageId,
    seal,
};
use pigeon_core::{Catalog, Event as CoreEvent, OpenOutcome};
use pigeon_proto::{Body, Content, Text};
use pigeon_xmpp::Mark;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[path = "support/person.rs"]
mod person;

use person::{Person, friends, link, now_s, random};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_come_over_link_and_xmpp_at_once_are_one_message() {
    let (elaine, mut jerry) = friends().await;
    for round in 0..20 {
        let (bundle, _) = elaine.writes("jerry", &format!("message {round}")).await;
        let (one, other) = (jerry.mailbox.clone(), jerry.mailbox.clone());
        let (b1, b2) = (bundle.clone(), bundle.clone());
        let first = tokio::spawn(async move { one.receive(&b1, link()).await });
        let second = tokio::spawn(async move { other.receive(&b2, Arrival::Xmpp).await });
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        let outcomes: Vec<_> = jerry
            .heard()
            .await
            .into_iter()
            .filter_map(|event| match event {
                CoreEvent::Opened { outcome, .. } => Some(outcome),
                _ => None,
            })
            .collect();
        let delivered = outcomes.iter().filter(|o| matches!(o, OpenOutcome::Delivered { .. })).count();
        assert_eq!((delivered, outcomes.len()), (1, 2), "round {round}: {outcomes:?}");
        assert_eq!(jerry.mailbox.inbox(false).unwrap().len(), round + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_and_a_refusal_at_once_both_stay() {
    let (elaine, mut jerry) = friends().await;
    for round in 0..10 {
        let (bundle, _) = elaine.writes("jerry", "are you there").await;
        jerry.mailbox.receive(&bundle, link()).await.unwrap();
        let receipt = jerry.heard().await.into_iter().find_map(|event| match event {
            CoreEvent::Submitted { bundle } => Some(bundle),
            _ => None,
        });
        let receipt = jerry.store.bundle(&receipt.unwrap()).unwrap().unwrap();
        let (one, other, id) = (elaine.mailbox.clone(), elaine.mailbox.clone(), bundle.id());
        let delivery = tokio::spawn(async move { one.receive(&receipt, link()).await });
        let refusal = tokio::spawn(async move { other.refused(&id, "no such recipient").await });
        delivery.await.unwrap().unwrap();
        assert!(refusal.await.unwrap().unwrap());
        let record = elaine.outbox().pop().unwrap().record;
        assert!(record.delivered_ms > 0 && record.receipts == 1, "round {round}: the receipt is lost");
        assert_eq!(record.refusal, "no such recipient", "round {round}");
    }
}

/// A message sealed by hand, with whatever card its author likes to show.
fn letter(author: &Identity, to: &Card, card: &[u8], text: &str) -> Bundle {
    let body = Body::Text(Text { id: MessageId(random()), thread: None, sent_ms: 1, text: text.to_owned() });
    let content = Content { author_card: Some(card.to_vec()), ..Content::new(body) }.encode().unwrap();
    let draft = Draft {
        recipient: to,
        content: &content,
        created_s: Some(now_s()),
        epoch: Epoch::at(now_s()),
        lifetime_s: LIFETIME_DEFAULT_S,
        uplink: None,
    };
    seal(author, &draft, &mut OsRandom).unwrap().bundle
}

fn card_of(author: &Identity, name: &str, prekey: [u8; 32], issued_s: u64) -> Vec<u8> {
    let fields = CardFields {
        name: name.to_owned(),
        jids: vec!["elaine@example.org".to_owned()],
        bridges: Vec::new(),
        mailbox_secret: MailboxSecret(random()),
        prekey,
        prekey_expires_s: now_s() + 86_400,
        issued_s,
    };
    Card::issue(author, &fields).unwrap().as_bytes().to_vec()
}

#[tokio::test]
async fn a_bad_card_inside_a_message_does_not_keep_the_message_out() {
    let jerry = Person::new("jerry").await;
    let (stranger, to) = (Identity::generate(&mut OsRandom), jerry.mailbox.card().unwrap());
    let low_order = card_of(&stranger, "stranger", [0; 32], now_s());
    jerry
        .mailbox
        .receive(&letter(&stranger, &to, &low_order, "no receipt can reach me"), link())
        .await
        .unwrap();
    let future = card_of(&stranger, "stranger", [9; 32], u64::MAX);
    jerry
        .mailbox
        .receive(&letter(&stranger, &to, &future, "my card is from the future"), link())
        .await
        .unwrap();
    assert_eq!(jerry.mailbox.inbox(false).unwrap().len(), 2);
    assert!(jerry.mailbox.contacts().iter().all(|c| c.card.issued_s() < u64::MAX));
}

#[tokio::test]
async fn a_stranger_who_takes_a_contacts_name_gets_none_of_its_mail() {
    let (_elaine, jerry) = friends().await;
    let real = jerry.mailbox.contacts().first().unwrap().card.identity();
    let (stranger, to) = (Identity::generate(&mut OsRandom), jerry.mailbox.card().unwrap());
    let card = card_of(&stranger, "elaine", [9; 32], now_s());
    jerry.mailbox.receive(&letter(&stranger, &to, &card, "it is me, elaine"), link()).await.unwrap();
    assert_eq!(jerry.mailbox.contacts().len(), 2);
    jerry.mailbox.send("elaine", "for the real one".to_owned(), 0).await.unwrap();
    assert_eq!(jerry.outbox().last().unwrap().record.recipient, real.0);
    // Not even the JID on the self-made card.
    let refused = jerry.mailbox.send("elaine@example.org", "for whom?".to_owned(), 0).await;
    let said = refused.unwrap_err().to_string();
    assert!(said.contains(&stranger.key().to_string()), "{said}");
    // Nor a contact's treatment on links.
    jerry.mailbox.send(&stranger.key().to_string(), "to the stranger".to_owned(), 0).await.unwrap();
    let mut jerry = jerry;
    let links = jerry.heard().await.into_iter().rev().find_map(|event| match event {
        CoreEvent::Contacts(links) => Some(links.len()),
        _ => None,
    });
    assert_eq!(links, Some(1));
}

#[tokio::test]
async fn the_opener_answers_for_a_bundle_that_is_gone() {
    let mut jerry = Person::new("jerry").await;
    let (ids, queue) = mpsc::unbounded_channel();
    let cancel = CancellationToken::new();
    let opener = tokio::spawn(run_opener(jerry.mailbox.clone(), queue, cancel));
    jerry.heard().await;
    ids.send(BundleId([3; 32])).unwrap();
    drop(ids);
    opener.await.unwrap();
    let answered = jerry.heard().await;
    assert!(
        matches!(answered.as_slice(), [CoreEvent::Opened { bundle: BundleId([3, ..]), .. }]),
        "{answered:?}"
    );
}

#[tokio::test]
async fn liars_about_the_day_cost_a_clockless_node_neither_keys_nor_mail() {
    let clock = Clock::new(ClockMode::None);
    clock.heard([1; 32], now_s());
    let (elaine, jerry) = (Person::new("elaine").await, Person::with_clock("jerry", clock.clone()).await);
    elaine.knows(&jerry).await;
    let card = jerry.mailbox.card().unwrap();
    let (bundle, _) = elaine.writes("jerry", "for the clockless").await;
    for liar in 2..=6 {
        clock.heard([liar; 32], now_s() + 60 * 86_400);
    }
    assert!(
        clock.day_s().unwrap() > now_s() + 50 * 86_400,
        "at {} ms: the liars have the majority",
        mono_ms()
    );
    assert!(!jerry.mailbox.refresh().await.unwrap(), "no new card on a liar's day");
    assert_eq!(jerry.mailbox.card().unwrap().as_bytes(), card.as_bytes());
    jerry.mailbox.receive(&bundle, link()).await.unwrap();
    assert_eq!(jerry.mailbox.inbox(false).unwrap().len(), 1);
}

#[tokio::test]
async fn own_card_and_older_cards_are_refused_and_the_same_card_is_welcome() {
    let (elaine, jerry) = friends().await;
    let own = elaine.mailbox.card().unwrap().to_text();
    assert!(matches!(elaine.mailbox.import_card(&own).await, Err(MailboxError::OwnCard)));
    elaine.knows(&jerry).await;
    assert_eq!(elaine.mailbox.contacts().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_of_ordinary_clients_count_once_and_only_from_the_recipients_account() {
    let (elaine, _jerry) = friends().await;
    let george = Identity::generate(&mut OsRandom);
    let fields = CardFields {
        name: "george".into(),
        jids: vec!["george@example.org".into()],
        bridges: Vec::new(),
        mailbox_secret: MailboxSecret([1; 32]),
        prekey: george.x25519_public(),
        prekey_expires_s: now_s() + 86_400,
        issued_s: now_s(),
    };
    elaine.mailbox.import_card(&Card::issue(&george, &fields).unwrap().to_text()).await.unwrap();
    let sent = elaine.mailbox.send("george", "hello".to_owned(), 24).await.unwrap();
    let id = sent.message.to_string();
    for (from, mark, counts) in [
        ("newman@example.org", Mark::Delivered, false),
        ("George@example.org", Mark::Delivered, true),
        ("george@example.org", Mark::Delivered, false),
        ("george@example.org", Mark::Read, true),
    ] {
        assert_eq!(elaine.mailbox.marked(from, &id, mark).await.unwrap(), counts, "{from} {mark:?}");
    }
    assert!(!elaine.mailbox.marked("george@example.org", "no id", Mark::Read).await.unwrap());
    let view = elaine.outbox().into_iter().find(|view| view.record.message_id == sent.message.0).unwrap();
    assert!(view.record.delivered_ms > 0 && view.record.read_ms > 0);
    // The server's word ends no carriage.
    assert!(elaine.store.bundle(&sent.bundle).unwrap().is_some());
}

/// A meeting confirms a person, whatever was known before, and both sides know that the other holds their card.
#[tokio::test]
async fn whoever_was_met_is_confirmed_keeps_the_newest_card_and_is_sent_the_next_one() {
    let (mut elaine, jerry) = (Person::new("elaine").await, Person::new("jerry").await);
    let first = jerry.mailbox.card().unwrap();
    elaine.mailbox.introduce_card(first.as_bytes()).await.unwrap();
    assert!(elaine.mailbox.contacts()[0].introduced && !elaine.mailbox.contacts()[0].met);
    let shown_s = elaine.mailbox.card().unwrap().issued_s();
    let met = elaine.mailbox.met(first.clone(), shown_s).await.unwrap();
    assert!(met.met && !met.introduced && met.knows_us);

    // Of a newer card that came meanwhile nothing is lost when the next meeting shows the old one.
    let second = jerry.mailbox.publish_card().await.unwrap();
    elaine.mailbox.import_card(&second.to_text()).await.unwrap();
    assert!(elaine.mailbox.contacts()[0].met, "a card by hand takes nothing back");
    assert!(matches!(elaine.mailbox.import_card(&first.to_text()).await, Err(MailboxError::OldCard)));
    let met = elaine.mailbox.met(first, shown_s).await.unwrap();
    assert_eq!(met.card.as_bytes(), second.as_bytes());

    elaine.restart().await;
    let kept = &elaine.mailbox.contacts()[0];
    assert!(kept.met && kept.knows_us && kept.card.as_bytes() == second.as_bytes());
    // He has written nothing, and gets her next card all the same.
    elaine.heard().await;
    elaine.mailbox.publish_card().await.unwrap();
    assert_eq!(elaine.submitted().await.len(), 1);
    let own = elaine.mailbox.card().unwrap();
    assert!(matches!(elaine.mailbox.met(own, shown_s).await, Err(MailboxError::OwnCard)));
}
