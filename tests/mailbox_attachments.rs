//! Attachments between two mailboxes on real stores, without a network: parts are carried by hand, in any order, some
//! not at all, and some are lies.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

use std::time::Duration;

use carrier_pigeon::mailbox::{Arrival, Attached, AttachmentView, MailboxError, Sent, run_assembler};
use carrier_pigeon::random::OsRandom;
use pigeon_bundle::attachment::{ATTACHMENT_SIZE_MAX, Cut, Manifest};
use pigeon_bundle::{Bundle, Card, Draft, Epoch, Identity, LIFETIME_DEFAULT_S, MessageId, seal};
use pigeon_core::{Catalog as _, Entry, Event as CoreEvent, OpenOutcome, Opened, StoreOp};
use pigeon_proto::api::Event;
use pigeon_proto::{Attachment, Body, Content, Part, Text};
use pigeon_store::{RecordOp, Store, StoreOptions, Table, Transaction};
use tokio_util::sync::{CancellationToken, DropGuard};

#[path = "support/person.rs"]
mod person;

use person::{Person, friends, link, now_s, random};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Bytes without repetitions, by a seed: the same in every run.
fn content(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..size).map(|_| next()).collect()
}

/// Another order of the same, by a seed.
fn shuffled<T>(mut all: Vec<T>, seed: u64) -> Vec<T> {
    let order = content(8 * all.len(), seed);
    for (i, bytes) in order.as_chunks::<8>().0.iter().enumerate().rev() {
        all.swap(i, (u64::from_be_bytes(*bytes) % (i as u64 + 1)) as usize);
    }
    all
}

async fn sends(author: &Person, text: &str, content: &[u8]) -> Result<Sent, MailboxError> {
    let (name, media_type) = ("soup.png".to_owned(), "image/png".to_owned());
    let attached = Attached { name, media_type, content: content.to_vec() };
    author.mailbox.send_attached("jerry", text.to_owned(), 0, attached).await
}

/// The worker, until this is dropped.
fn working(person: &Person) -> DropGuard {
    let cancel = CancellationToken::new();
    tokio::spawn(run_assembler(person.mailbox.clone(), cancel.clone()));
    cancel.drop_guard()
}

/// The next event of this kind, which may have happened already.
async fn event(person: &Person, kind: &str) -> Event {
    let (kept, mut live) = person.events.subscribe(Some(0));
    if let Some(event) = kept.into_iter().find(|event| event.kind == kind) {
        return event;
    }
    let wait = async {
        loop {
            let event = live.recv().await.unwrap();
            if event.kind == kind {
                return event;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no {kind}"))
}

async fn delivers(person: &Person, bundle: &Bundle) {
    person.mailbox.receive(bundle, link()).await.unwrap();
}

/// What is attached to the only message.
fn attachment(person: &Person) -> AttachmentView {
    let mut inbox = person.mailbox.inbox(false).unwrap();
    assert_eq!(inbox.len(), 1);
    inbox.pop().unwrap().attachment.unwrap()
}

fn file_of(person: &Person, message: &MessageId) -> Vec<u8> {
    let file = person.mailbox.attachment(&message.to_string()).unwrap();
    std::fs::read(file.files.path(&file.owner)).unwrap()
}

/// The same, if it is complete.
fn file(person: &Person, message: &MessageId) -> Option<Vec<u8>> {
    let file = person.mailbox.attachment(&message.to_string()).ok()?;
    std::fs::read(file.files.path(&file.owner)).ok()
}

/// Keys of all records of attachments.
fn records(store: &Store) -> Vec<Vec<u8>> {
    let (mut keys, mut after) = (Vec::new(), None);
    loop {
        let page = store.records(Table::Attachment, after.as_deref(), 16).unwrap();
        let Some((last, _)) = page.last() else { return keys };
        after = Some(last.clone());
        keys.extend(page.into_iter().map(|(key, _)| key));
    }
}

/// Waits until only what became of attachments is left: parts are dropped after the event.
async fn until_dropped(person: &Person) {
    let dropped = async {
        while records(&person.store).iter().any(|key| key[0] != b'f') {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, dropped).await.expect("parts are left");
}

fn receipts(heard: &[CoreEvent]) -> usize {
    heard.iter().filter(|event| matches!(event, CoreEvent::Submitted { .. })).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_come_before_their_message_in_any_order_and_twice() {
    for (seed, size) in [(1_u64, 70_000), (2, 300_000), (3, 1 << 20)] {
        let (mut elaine, mut jerry) = friends().await;
        let content = content(size, seed);
        elaine.heard().await;
        let sent = sends(&elaine, "look", &content).await.unwrap();
        let bundles = elaine.submitted().await;
        let needed = size.div_ceil(65_344);
        assert_eq!(bundles.len(), needed + 2.max(needed / 8) + 3);
        let _worker = working(&jerry);
        jerry.heard().await;
        let twice = bundles.iter().chain(&bundles).collect();
        for bundle in shuffled(twice, seed) {
            delivers(&jerry, bundle).await;
        }
        assert_eq!(event(&jerry, "attachment_complete").await.message_id, sent.message.to_string());
        assert!(file_of(&jerry, &sent.message) == content, "seed {seed}");
        let view = attachment(&jerry);
        assert_eq!((view.state, view.parts as usize, view.info.size as usize), ("complete", needed, size));
        until_dropped(&jerry).await;
        // Every bundle's r was told, each message once; and there is one receipt.
        let heard = jerry.heard().await;
        let delivered = |event: &CoreEvent| {
            matches!(event, CoreEvent::Opened { outcome: OpenOutcome::Delivered { .. }, .. })
        };
        assert_eq!(heard.iter().filter(|event| delivered(event)).count(), bundles.len());
        assert_eq!(receipts(&heard), 1);
        // With it the author reveals all.
        let receipt = heard.iter().find_map(|event| match event {
            CoreEvent::Submitted { bundle } => {
                Some(pigeon_core::Catalog::bundle(&jerry.store, bundle).unwrap().unwrap())
            }
            _ => None,
        });
        delivers(&elaine, &receipt.unwrap()).await;
        let revealed: usize = elaine
            .heard()
            .await
            .iter()
            .map(|event| match event {
                CoreEvent::Revealed { reveals } => reveals.len(),
                _ => 0,
            })
            .sum();
        assert_eq!(revealed, bundles.len());
        assert_eq!(elaine.outbox()[0].state, "delivered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_part_less_is_not_enough_and_a_restart_forgets_none() {
    let (mut elaine, mut jerry) = friends().await;
    let content = content(300_000, 4);
    elaine.heard().await;
    let sent = sends(&elaine, "", &content).await.unwrap();
    let bundles = elaine.submitted().await;
    let (parts, messages) = bundles.split_at(7);
    let worker = working(&jerry);
    for bundle in parts[..4].iter().chain(&messages[1..]) {
        delivers(&jerry, bundle).await;
    }
    let view = attachment(&jerry);
    assert_eq!((view.state, view.parts, view.info.needed, view.info.total), ("arriving", 4, 5, 7));
    let refused = jerry.mailbox.attachment(&sent.message.to_string()).err().unwrap();
    assert!(matches!(refused, MailboxError::AttachmentIncomplete { parts: 4, needed: 5, .. }), "{refused}");
    drop(worker);
    jerry.restart().await;
    let _worker = working(&jerry);
    assert_eq!(attachment(&jerry).parts, 4);
    delivers(&jerry, &parts[6]).await;
    event(&jerry, "attachment_complete").await;
    assert!(file_of(&jerry, &sent.message) == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_complete_when_the_daemon_ended_is_put_together_at_the_next_start() {
    let (mut elaine, mut jerry) = friends().await;
    let content = content(200_000, 5);
    elaine.heard().await;
    let sent = sends(&elaine, "", &content).await.unwrap();
    for bundle in elaine.submitted().await {
        delivers(&jerry, &bundle).await;
    }
    jerry.restart().await;
    let _worker = working(&jerry);
    event(&jerry, "attachment_complete").await;
    assert!(file_of(&jerry, &sent.message) == content);
}

/// A crash may come when a message is deleted and its file is not yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_message_is_gone_is_removed_at_the_next_start() {
    let (mut elaine, mut jerry) = friends().await;
    elaine.heard().await;
    let worker = working(&jerry);
    let mut files = Vec::new();
    for seed in [7, 8] {
        let content = content(50_000, seed);
        let sent = sends(&elaine, "two", &content).await.unwrap();
        for bundle in elaine.submitted().await {
            delivers(&jerry, &bundle).await;
        }
        let written = async {
            while file(&jerry, &sent.message).is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, written).await.expect("no file");
        let kept = jerry.mailbox.attachment(&sent.message.to_string()).unwrap();
        files.push((sent.message, kept.files.path(&kept.owner), content));
    }
    let (message, path, content) = &files[0];
    jerry.mailbox.delete(&message.to_string()).await.unwrap();
    assert!(!path.exists());
    std::fs::write(path, content).unwrap();
    drop(worker);
    jerry.restart().await;
    let _worker = working(&jerry);
    let swept = async {
        while path.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, swept).await.expect("the file of a deleted message is left");
    assert!(file_of(&jerry, &files[1].0) == files[1].2, "the other one is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_one_travels_inside_its_message() {
    let (mut elaine, jerry) = friends().await;
    let content = content(60_000, 6);
    elaine.heard().await;
    let sent = sends(&elaine, "small", &content).await.unwrap();
    let bundles = elaine.submitted().await;
    assert_eq!(bundles.len(), 1);
    let _worker = working(&jerry);
    delivers(&jerry, &bundles[0]).await;
    event(&jerry, "attachment_complete").await;
    assert!(file_of(&jerry, &sent.message) == content);
    until_dropped(&jerry).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_arrives_with_all_its_spare_parts_while_the_store_is_busy() {
    let (mut elaine, jerry) = friends().await;
    let content = content(ATTACHMENT_SIZE_MAX, 7);
    elaine.heard().await;
    // More than the store's queue takes: some of these, and parts, find it full.
    let others: Vec<_> = (0..1_500_u32)
        .map(|n| {
            let (key, value) = (n.to_be_bytes().to_vec(), vec![0; 20_000]);
            let record = RecordOp::Put { table: Table::Sealed, key, value };
            elaine.store.commit(Transaction::of_records(vec![record]))
        })
        .collect();
    let sent = sends(&elaine, "large", &content).await.unwrap();
    let mut busy = 0;
    for other in others {
        busy += usize::from(other.await.is_err());
    }
    assert!(busy > 0, "the queue was never full: this test shows nothing");
    let bundles = elaine.submitted().await;
    assert_eq!(bundles.len(), 289 + 3);
    let _worker = working(&jerry);
    for bundle in bundles.iter().rev().take(257 + 3) {
        delivers(&jerry, bundle).await;
    }
    event(&jerry, "attachment_complete").await;
    assert!(file_of(&jerry, &sent.message) == content);
    let more = vec![0; ATTACHMENT_SIZE_MAX + 1];
    let refused = sends(&elaine, "", &more).await.err().unwrap().to_string();
    assert!(refused.contains("16777216"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_quota_has_no_room_for_is_refused_before_anything_is_written() {
    let (mut elaine, jerry) = (Person::with_quota("elaine", 4 << 20).await, Person::new("jerry").await);
    elaine.knows(&jerry).await;
    elaine.heard().await;
    let refused = sends(&elaine, "", &content(8 << 20, 8)).await.err().unwrap();
    assert!(matches!(&refused, MailboxError::Store(error) if error.is_full()), "{refused}");
    assert!(elaine.outbox().is_empty() && records(&elaine.store).is_empty());
    assert!(elaine.heard().await.is_empty());
    sends(&elaine, "", &content(1 << 20, 8)).await.unwrap();
}

/// Somebody who writes parts and manifests by hand.
struct Liar {
    identity: Identity,
    to: Card,
}

impl Liar {
    fn seal(&self, body: Body) -> Bundle {
        let content = Content::new(body).encode().unwrap();
        let draft = Draft {
            recipient: &self.to,
            content: &content,
            created_s: Some(now_s()),
            epoch: Epoch::at(now_s()),
            lifetime_s: LIFETIME_DEFAULT_S,
            uplink: None,
        };
        seal(&self.identity, &draft, &mut OsRandom).unwrap().bundle
    }

    fn part(&self, id: MessageId, index: usize, data: &[u8]) -> Bundle {
        self.seal(Body::Part(Part { attachment: id, index, data: data.to_vec().into() }))
    }

    fn message(&self, id: MessageId, manifest: &Manifest) -> Bundle {
        let message = Text { id, thread: None, sent_ms: 1, text: "trust me".into() };
        self.seal(Body::Attachment(Attachment { message, manifest: manifest.clone(), data: None }))
    }
}

async fn liar_and_jerry() -> (Liar, Person) {
    let jerry = Person::new("jerry").await;
    let to = jerry.mailbox.card().unwrap();
    (Liar { identity: Identity::generate(&mut OsRandom), to }, jerry)
}

fn cut(content: &[u8]) -> Cut {
    Cut::new("soup.png", "", content.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_parts_before_the_message_spoil_nothing() {
    let (liar, jerry) = liar_and_jerry().await;
    let (content, id) = (content(300_000, 9), MessageId(random()));
    let cut = cut(&content);
    let part = |index: usize| liar.part(id, index, cut.part(index).unwrap());
    let _worker = working(&jerry);
    let size = cut.layout().part_size();
    // A wrong one in the place of a right one, one that there cannot be, one of another size.
    for wrong in
        [liar.part(id, 0, &vec![7; size]), liar.part(id, 600, &vec![7; size]), liar.part(id, 1, &[7; 64])]
    {
        delivers(&jerry, &wrong).await;
    }
    for bundle in [part(2), part(3), liar.message(id, cut.manifest())] {
        delivers(&jerry, &bundle).await;
    }
    // Five records, three of them wrong: it is tried, and they are dropped.
    let wait = async {
        while attachment(&jerry).parts != 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
    // Wrong ones after the message are not taken at all.
    delivers(&jerry, &liar.part(id, 4, &vec![7; size])).await;
    assert_eq!(attachment(&jerry).parts, 2);
    for index in [4, 0, 6] {
        delivers(&jerry, &part(index)).await;
    }
    event(&jerry, "attachment_complete").await;
    assert!(file_of(&jerry, &id) == content);
    until_dropped(&jerry).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_of_other_content_makes_no_file_and_no_receipt() {
    let (liar, mut jerry) = liar_and_jerry().await;
    let id = MessageId(random());
    let cut = cut(&content(100_000, 10));
    let (manifest, layout) = (cut.manifest(), cut.layout());
    let numbers = [layout.needed(), layout.parts(), layout.part_size()].map(|n| n as u32);
    let hashes = manifest.part_hashes().as_flattened();
    let lying = Manifest::parse("a", "", 100_000, &[7; 32], Some(numbers), hashes).unwrap();
    let _worker = working(&jerry);
    jerry.heard().await;
    delivers(&jerry, &liar.message(id, &lying)).await;
    for index in 0..2 {
        delivers(&jerry, &liar.part(id, index, cut.part(index).unwrap())).await;
    }
    let failed = event(&jerry, "attachment_failed").await;
    assert_eq!((failed.message_id, failed.detail.as_str()), (id.to_string(), "damaged"));
    assert_eq!(attachment(&jerry).state, "damaged");
    until_dropped(&jerry).await;
    // What comes later is not kept.
    delivers(&jerry, &liar.part(id, 2, cut.part(2).unwrap())).await;
    until_dropped(&jerry).await;
    assert_eq!(receipts(&jerry.heard().await), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_authors_with_the_same_message_id_do_not_mix() {
    let (liar, jerry) = liar_and_jerry().await;
    let other = Liar { identity: Identity::generate(&mut OsRandom), to: liar.to.clone() };
    let id = MessageId(random());
    let contents = [content(200_000, 11), content(200_000, 12)];
    let _worker = working(&jerry);
    for (author, content) in [&liar, &other].into_iter().zip(&contents) {
        let cut = cut(content);
        delivers(&jerry, &author.message(id, cut.manifest())).await;
        for index in 1..5 {
            delivers(&jerry, &author.part(id, index, cut.part(index).unwrap())).await;
        }
    }
    let both = async {
        while jerry
            .mailbox
            .inbox(false)
            .unwrap()
            .iter()
            .any(|m| m.attachment.as_ref().unwrap().state != "complete")
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, both).await.unwrap();
    let file = jerry.mailbox.attachment(&id.to_string()).unwrap();
    let folder = file.files.path(&file.owner).parent().unwrap().to_owned();
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|f| std::fs::read(f.unwrap().path()).unwrap()).collect();
    files.sort();
    let mut contents = contents.to_vec();
    contents.sort();
    assert!(files == contents);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_author_has_so_many_on_their_way_and_the_next_waits_for_its_turn() {
    const PER_AUTHOR: usize = 32;
    let (liar, mut jerry) = liar_and_jerry().await;
    let cuts: Vec<(MessageId, Cut)> =
        (0..=PER_AUTHOR).map(|n| (MessageId(random()), cut(&content(100, n as u64)))).collect();
    let (last, first) = (cuts.last().unwrap(), &cuts[0]);
    for (id, cut) in &cuts[..PER_AUTHOR] {
        delivers(&jerry, &liar.message(*id, cut.manifest())).await;
    }
    jerry.heard().await;
    // The core keeps it in the store while it is not delivered.
    let waiting = liar.message(last.0, last.1.manifest());
    let put = StoreOp::Put { bundle: waiting.clone(), entry: Entry::own(0, None) };
    jerry.store.commit(Transaction::of_ops(vec![put])).await.unwrap();
    delivers(&jerry, &waiting).await;
    let refused = jerry.heard().await;
    assert!(matches!(refused[..], [CoreEvent::Opened { outcome: OpenOutcome::Refused, .. }]), "{refused:?}");
    assert_eq!(jerry.mailbox.inbox(false).unwrap().len(), PER_AUTHOR);
    // Others are not concerned.
    let other = Liar { identity: Identity::generate(&mut OsRandom), to: liar.to.clone() };
    delivers(&jerry, &other.message(last.0, last.1.manifest())).await;
    assert_eq!(jerry.mailbox.inbox(false).unwrap().len(), PER_AUTHOR + 1);
    // One is complete: there is room.
    let _worker = working(&jerry);
    delivers(&jerry, &liar.part(first.0, 0, first.1.part(0).unwrap())).await;
    let taken = async {
        while jerry.mailbox.inbox(false).unwrap().len() < PER_AUTHOR + 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.unwrap();
}

/// The server forgets what it has handed over, so it is kept here, and carried nowhere, until there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_over_the_account_without_room_for_it_is_kept_until_there_is() {
    const PER_AUTHOR: usize = 32;
    let (liar, mut jerry) = liar_and_jerry().await;
    let cuts: Vec<(MessageId, Cut)> =
        (0..=PER_AUTHOR).map(|n| (MessageId(random()), cut(&content(100, n as u64)))).collect();
    let ((last, late), first) = (cuts.last().unwrap(), &cuts[0]);
    for (id, cut) in &cuts[..PER_AUTHOR] {
        delivers(&jerry, &liar.message(*id, cut.manifest())).await;
    }
    jerry.heard().await;
    let parked = [liar.part(*last, 0, late.part(0).unwrap()), liar.message(*last, late.manifest())];
    for bundle in parked.iter().chain(&parked) {
        // When this returns the server is told that it may forget the bundle.
        jerry.mailbox.receive(bundle, Arrival::Xmpp).await.unwrap();
        assert_eq!(jerry.store.bundle(&bundle.id()).unwrap().as_ref(), Some(bundle));
        let entry = jerry.store.entry(&bundle.id()).unwrap().unwrap();
        assert_eq!(
            (entry.copies, entry.at_bridge, entry.opened),
            (0, true, Opened::Refused),
            "no one else's"
        );
    }
    let refused = jerry.events.subscribe(Some(0)).0;
    assert_eq!(refused.iter().filter(|event| event.kind == "message_refused").count(), 2, "said once each");
    assert_eq!(jerry.mailbox.inbox(false).unwrap().len(), PER_AUTHOR);
    jerry.restart().await;
    jerry.heard().await;
    let _worker = working(&jerry);
    delivers(&jerry, &liar.part(first.0, 0, first.1.part(0).unwrap())).await;
    let taken = async {
        while file(&jerry, last).is_none_or(|file| file != content(100, PER_AUTHOR as u64)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.unwrap();
    // Both were opened in the end, with their r for whoever else holds them.
    let delivered = |bundle: &Bundle, event: &CoreEvent| matches!(event, CoreEvent::Opened { bundle: id, outcome: OpenOutcome::Delivered { .. } } if *id == bundle.id());
    let heard = jerry.heard().await;
    for bundle in &parked {
        assert_eq!(heard.iter().filter(|event| delivered(bundle, event)).count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_without_end_are_bounded_in_bytes() {
    let (liar, mut jerry) = liar_and_jerry().await;
    jerry.heard().await;
    let part = vec![7; 64];
    let mut taken = 0;
    // Each might be one of the largest: until the message says how large it is, so much is reserved.
    for _ in 0..20 {
        delivers(&jerry, &liar.part(MessageId(random()), 0, &part)).await;
        let delivered = |event: &CoreEvent| {
            matches!(event, CoreEvent::Opened { outcome: OpenOutcome::Delivered { .. }, .. })
        };
        taken += jerry.heard().await.iter().filter(|event| delivered(event)).count();
    }
    assert_eq!(taken, 8);
    let quota = StoreOptions::default().quota_bytes;
    assert!(jerry.store.stats().unwrap().live_bytes < quota / 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_more_part_can_come_of_expires() {
    let (liar, mut jerry) = liar_and_jerry().await;
    let (known, unknown) = (MessageId(random()), MessageId(random()));
    let cut = cut(&content(300_000, 13));
    delivers(&jerry, &liar.message(known, cut.manifest())).await;
    delivers(&jerry, &liar.part(known, 1, cut.part(1).unwrap())).await;
    delivers(&jerry, &liar.part(unknown, 1, cut.part(1).unwrap())).await;
    // Years pass: the last expiry of its bundles (field 2) is long ago.
    for key in records(&jerry.store).into_iter().filter(|key| key[0] == b'h') {
        let mut value = jerry.store.record(Table::Attachment, &key).unwrap().unwrap();
        value.extend([0x10, 1]);
        let record = RecordOp::Put { table: Table::Attachment, key, value };
        jerry.store.commit(Transaction::of_records(vec![record])).await.unwrap();
    }
    jerry.restart().await;
    let _worker = working(&jerry);
    assert_eq!(event(&jerry, "attachment_failed").await.detail, "expired");
    until_dropped(&jerry).await;
    assert_eq!(attachment(&jerry).state, "expired");
    // Of what nobody was ever told there is no trace.
    assert_eq!(records(&jerry.store).len(), 1);
}
