//! Lists of messages: pages, what is unread, what is deleted and by whom, and what a start costs.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]

use std::time::Duration;

use carrier_pigeon::mailbox::records::{InboxRecord, MessageTable};
use carrier_pigeon::mailbox::{Attached, Deleted, InboxView, MailboxError, Which, run_assembler};
use data_encoding::HEXLOWER;
use pigeon_store::{RecordOp, Table, Transaction};
use tokio_util::sync::CancellationToken;

#[path = "support/person.rs"]
mod person;

use person::{Person, friends, link};

const INBOX: MessageTable = MessageTable(Table::Inbox);
const PATIENCE: Duration = Duration::from_secs(60);

async fn receives(jerry: &Person, elaine: &Person, texts: std::ops::Range<usize>) {
    for number in texts {
        let (bundle, _) = elaine.writes("jerry", &format!("letter {number}")).await;
        jerry.mailbox.receive(&bundle, link()).await.unwrap();
    }
}

fn texts(views: &[InboxView]) -> Vec<String> {
    views.iter().map(|view| view.record.text.clone()).collect()
}

fn letters(numbers: impl Iterator<Item = usize>) -> Vec<String> {
    numbers.map(|number| format!("letter {number}")).collect()
}

fn id_of(view: &InboxView) -> String {
    HEXLOWER.encode(&view.record.message_id)
}

fn page(person: &Person, unread: bool, limit: usize, before: &str) -> (Vec<InboxView>, bool) {
    let which = Which { unread, limit, before: before.to_owned() };
    let page = person.mailbox.inbox_page(&which).unwrap();
    (page.messages, page.more)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_go_backwards_over_gaps_and_end() {
    let (elaine, mut jerry) = friends().await;
    receives(&jerry, &elaine, 0..50).await;
    // A gap wider than a window, and some small ones.
    for view in jerry.mailbox.inbox(false).unwrap().into_iter().skip(5).take(38) {
        assert_eq!(jerry.mailbox.delete(&id_of(&view)).await.unwrap(), Deleted::Inbox);
    }
    jerry.restart().await;
    let left: Vec<usize> = (0..5).chain(43..50).collect();
    assert_eq!(texts(&jerry.mailbox.inbox(false).unwrap()), letters(left.iter().copied()));
    let (mut seen, mut before) = (Vec::new(), String::new());
    loop {
        let (messages, more) = page(&jerry, false, 3, &before);
        assert!(messages.len() <= 3 && !messages.is_empty());
        before = id_of(&messages[0]);
        seen.splice(0..0, texts(&messages));
        if !more {
            break;
        }
    }
    assert_eq!(seen, letters(left.into_iter()));
    // New ones come after all.
    receives(&jerry, &elaine, 50..52).await;
    assert_eq!(texts(&page(&jerry, false, 2, "").0), letters(50..52));
    let unknown = Which { before: "00".repeat(16), ..Which::default() };
    assert!(matches!(jerry.mailbox.inbox_page(&unknown), Err(MailboxError::NotKept { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_messages_are_counted_and_paged_and_a_restart_knows_them() {
    let (elaine, mut jerry) = friends().await;
    receives(&jerry, &elaine, 0..20).await;
    assert_eq!(jerry.mailbox.unread(), 20);
    for view in
        jerry.mailbox.inbox(false).unwrap().into_iter().filter(|view| !view.record.text.ends_with('7'))
    {
        jerry.mailbox.read(&id_of(&view)).await.unwrap();
        jerry.mailbox.read(&id_of(&view)).await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!(jerry.mailbox.unread(), 2);
        let (messages, more) = page(&jerry, true, 1, "");
        assert_eq!((texts(&messages), more), (letters(17..18), true));
        let (messages, more) = page(&jerry, true, 1, &id_of(&messages[0]));
        assert_eq!((texts(&messages), more), (letters(7..8), false));
        jerry.restart().await;
    }
    let unread = page(&jerry, true, 9, "").0;
    jerry.mailbox.delete(&id_of(&unread[0])).await.unwrap();
    assert_eq!(jerry.mailbox.unread(), 1);
    assert!(matches!(jerry.mailbox.delete(&id_of(&unread[0])).await, Err(MailboxError::NotKept { .. })));
}

/// A deleted message does not come back by a further copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_stays_away() {
    let (elaine, jerry) = friends().await;
    let (bundle, _) = elaine.writes("jerry", "not twice").await;
    jerry.mailbox.receive(&bundle, link()).await.unwrap();
    let view = jerry.mailbox.inbox(false).unwrap().pop().unwrap();
    jerry.mailbox.delete(&id_of(&view)).await.unwrap();
    jerry.mailbox.receive(&bundle, link()).await.unwrap();
    assert_eq!(jerry.mailbox.inbox(false).unwrap().len(), 0);
    assert_eq!(jerry.store.records(Table::Inbox, None, 9).unwrap(), []);
    // Its author cannot delete what is on its way.
    let sent = HEXLOWER.encode(&elaine.outbox()[0].record.message_id);
    assert!(matches!(elaine.mailbox.delete(&sent).await, Err(MailboxError::OnItsWay { .. })));
    assert_eq!(elaine.mailbox.waiting().unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_goes_with_its_message() {
    let (mut elaine, jerry) = friends().await;
    let cancel = CancellationToken::new();
    let worker = tokio::spawn(run_assembler(jerry.mailbox.clone(), cancel.clone()));
    let content = vec![7; 200_000];
    let attached = Attached { name: "rye.bin".into(), media_type: String::new(), content };
    elaine.mailbox.send_attached("jerry", "a recipe".into(), 0, attached).await.unwrap();
    let bundles = elaine.submitted().await;
    let (_, mut live) = jerry.events.subscribe(None);
    for bundle in &bundles {
        jerry.mailbox.receive(bundle, link()).await.unwrap();
    }
    let complete = async { while live.recv().await.unwrap().kind != "attachment_complete" {} };
    tokio::time::timeout(PATIENCE, complete).await.unwrap();
    let view = jerry.mailbox.inbox(false).unwrap().pop().unwrap();
    let file = jerry.mailbox.attachment(&id_of(&view)).unwrap();
    let path = file.files.path(&file.owner);
    assert!(path.exists());
    jerry.mailbox.delete(&id_of(&view)).await.unwrap();
    assert!(!path.exists());
    for bundle in &bundles {
        jerry.mailbox.receive(bundle, link()).await.unwrap();
    }
    assert!(!path.exists() && jerry.mailbox.inbox(false).unwrap().is_empty());
    cancel.cancel();
    worker.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_kept_for_as_long_as_the_user_says() {
    let (elaine, mut jerry) = friends().await;
    receives(&jerry, &elaine, 0..6).await;
    let day_ms = 86_400_000;
    for (sequence, mut record) in INBOX.all::<InboxRecord>(&jerry.store).unwrap().into_iter().take(4) {
        record.received_ms -= 31 * day_ms;
        let op = INBOX.replace(sequence, &record);
        jerry.store.commit(Transaction::of_records(vec![op])).await.unwrap();
    }
    jerry.mailbox.forget_expired().await.unwrap();
    assert_eq!(jerry.mailbox.inbox(false).unwrap().len(), 6, "without limit nothing goes");
    for (days, left) in [(32, 0..6), (30, 4..6)] {
        jerry.keeps(days).await;
        jerry.mailbox.forget_expired().await.unwrap();
        assert_eq!(texts(&jerry.mailbox.inbox(false).unwrap()), letters(left.clone()), "{days} days");
        assert_eq!(jerry.mailbox.unread(), left.len() as u64);
    }
}

/// Records of a program that wrote no rows get them at the first start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_older_programs_did_not_write_are_made_up() {
    let (elaine, mut jerry) = friends().await;
    receives(&jerry, &elaine, 0..5).await;
    let first = jerry.mailbox.inbox(false).unwrap().remove(0);
    jerry.mailbox.read(&id_of(&first)).await.unwrap();
    jerry.writes("elaine", "an answer").await;
    let rows = |table| jerry.store.records(table, None, 256).unwrap();
    let derived = |table: Table, key: &[u8]| match table {
        Table::Inbox => key[0] == b'u',
        Table::Outbox => key[0] == b'o',
        _ => true,
    };
    let tables = [Table::Inbox, Table::Outbox, Table::SeenExpiry];
    let before: Vec<_> = tables.map(rows).into();
    let mut gone = vec![RecordOp::Delete { table: Table::Meta, key: b"rows".to_vec() }];
    for (table, rows) in tables.into_iter().zip(&before) {
        let of_table = rows.iter().filter(|(key, _)| derived(table, key));
        gone.extend(of_table.map(|(key, _)| RecordOp::Delete { table, key: key.clone() }));
    }
    assert_eq!(gone.len(), 1 + 4 + 1 + 5);
    jerry.store.commit(Transaction::of_records(gone)).await.unwrap();
    jerry.restart().await;
    assert_eq!((jerry.mailbox.unread(), jerry.mailbox.waiting().unwrap()), (0, 0));
    jerry.mailbox.upgrade().await.unwrap();
    assert_eq!((jerry.mailbox.unread(), jerry.mailbox.waiting().unwrap()), (4, 1));
    let rows = |table| jerry.store.records(table, None, 256).unwrap();
    assert_eq!(tables.map(rows).to_vec(), before);
}
