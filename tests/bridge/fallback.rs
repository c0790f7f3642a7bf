//! Servers that know nothing of XEP-0356: what works there, and what an operator is told about it.

use pigeon_bundle::VerdictCode;
use pigeon_harness::Kind;
use pigeon_harness::wait::poll_until;

use crate::session::PATIENCE;
use crate::world::{Person, World, bytes_of};

pub async fn without_the_privilege_messages_go_out_unchecked_where_the_operator_has_said_so(kind: Kind) {
    let change = |spec: &mut pigeon_harness::ServerSpec| {
        spec.privilege = false;
        spec.validate_from = false;
    };
    let world = World::on(kind, change, "unchecked_senders = true").await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let mut to = world.login("jerry").await;
    let mut carrier = world.login("kramer").await;
    let message = elaine.writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::Accepted);
    let received = to.receive().await;
    assert_eq!((received.from, received.bundle), (elaine.jid(), message.bundle.clone()));
    // Once, as ever, and only with her signature.
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::Accepted);
    let forged = Person::new("elaine").writes(&jerry, &world.card);
    assert_eq!(carrier.brings(&bytes_of(&forged), &world.card).await, VerdictCode::SignatureWrong);
    let last = elaine.writes(&jerry, &world.card);
    assert_eq!(her.brings(&bytes_of(&last), &world.card).await, VerdictCode::Accepted);
    assert_eq!(to.receive_until(&last.bundle).await, []);
    let log = world.log();
    assert!(log.contains("WARN") && log.contains("can write as anybody"), "{log}");
    let (_, status) = world.ask(&["status"]);
    assert!(status.contains("nobody checks senders"), "{status}");
}

pub async fn without_the_privilege_mail_waits_where_the_operator_has_not_said_so(kind: Kind) {
    let change = |spec: &mut pigeon_harness::ServerSpec| {
        spec.privilege = false;
        spec.validate_from = false;
    };
    let mut world = World::on(kind, change, "").await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let message = elaine.writes(&jerry, &world.card);
    her.upload(&bytes_of(&message)).await;
    let waits = || world.log().contains("waiting in the ledger").then_some(());
    poll_until(PATIENCE, waits).unwrap();
    assert!(world.log().contains("has not given the right to send as its users"));
    // The operator says so: what waited goes out.
    let config = world.bridge.config_file().to_owned();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}unchecked_senders = true\n")).unwrap();
    world.bridge.kill9();
    world.restart_bridge();
    // Before jerry comes: ejabberd may keep for his next login what it stores while he logs in.
    let is_out = || world.log().contains("reason=\"delivered\"").then_some(());
    poll_until(PATIENCE, is_out).unwrap();
    let mut to = world.login("jerry").await;
    let received = to.receive().await;
    assert_eq!((received.from, received.bundle), (elaine.jid(), message.bundle));
}
