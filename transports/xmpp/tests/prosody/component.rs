//! The component session against a real Prosody.
use std::time::Duration;

use crate::proxy::{Path, Proxy};
use crate::support::{BRIDGE, Client, Component, component, message, prosody, wait_for};
use bytes::Bytes;
use pigeon_xmpp::{
    ClientEvent, ComponentEvent, Condition, Delivery, IqAnswer, IqError, OfflineReason, Secret, SendError,
    SyncError,
};

#[tokio::test(flavor = "multi_thread")]
async fn questions_carry_the_stamped_sender_and_get_their_answers() {
    let Some(server) = prosody(|_| {}) else { return };
    let mut bridge = Component::login(&server).await;
    let client = Client::login(&server, "jerry").await;

    let (card, ()) = tokio::join!(client.handle.bridge_card(), async {
        let ComponentEvent::CardRequest { from, iq } = bridge.next().await else {
            panic!("not a card request")
        };
        assert_eq!(from, "jerry@example.org/test");
        bridge.handle.answer(iq, IqAnswer::Card(vec![1, 2, 3])).await.unwrap();
    });
    assert_eq!(card.unwrap(), [1, 2, 3]);

    let (until, ()) = tokio::join!(client.handle.register(&[7; 300]), async {
        let ComponentEvent::Register { from, card, iq, .. } = bridge.next().await else {
            panic!("not a registration")
        };
        assert_eq!((from.as_str(), card), ("jerry@example.org/test", vec![7; 300]));
        bridge.handle.answer(iq, IqAnswer::Registered(1_800_000_000)).await.unwrap();
    });
    assert_eq!(until.unwrap(), 1_800_000_000);

    let reveals: Vec<[u8; 32]> = (0..64).map(|n| [n; 32]).collect();
    let (done, ()) = tokio::join!(client.handle.reveal(&reveals), async {
        let ComponentEvent::Reveal { reveals: seen, iq, .. } = bridge.next().await else {
            panic!("not a reveal")
        };
        assert_eq!(seen, reveals);
        bridge.handle.answer(iq, IqAnswer::Done).await.unwrap();
    });
    done.unwrap();
    assert!(matches!(client.handle.reveal(&[[0; 32]; 65]).await, Err(IqError::Request { .. })));
    assert!(matches!(client.handle.register(&[]).await, Err(IqError::Request { .. })));

    let (refused, ()) = tokio::join!(client.handle.register(&[7]), async {
        let ComponentEvent::Register { iq, .. } = bridge.next().await else { panic!("not a registration") };
        let no = IqAnswer::Error { condition: Condition::Forbidden, text: "not on this card".to_owned() };
        bridge.handle.answer(iq, no).await.unwrap();
    });
    let expected =
        IqError::Refused { condition: "forbidden".to_owned(), text: Some("not on this card".to_owned()) };
    assert_eq!(refused, Err(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_gets_its_verdict() {
    let Some(server) = prosody(|_| {}) else { return };
    let mut bridge = Component::login(&server).await;
    let mut client = Client::login(&server, "jerry").await;
    client.handle.upload(Bytes::from_static(b"bundle"), "u1".to_owned()).await.unwrap();
    let ComponentEvent::Upload { from, id, bundles } = bridge.next().await else { panic!("not an upload") };
    assert_eq!(
        (from.as_str(), id.as_deref(), &bundles[..]),
        ("jerry@example.org/test", Some("u1"), &[b"bundle".to_vec()][..])
    );
    bridge.handle.verdict(&from, &[9; 150], Some([8; 32])).await.unwrap();
    bridge.handle.verdict(&from, &[7; 10], None).await.unwrap();
    for expected in [(vec![9; 150], Some([8; 32])), (vec![7; 10], None)] {
        let verdict = wait_for(&mut client.events, |event| match event {
            ClientEvent::Verdict { bytes, reveal } => Some((bytes, reveal)),
            _ => None,
        })
        .await;
        assert_eq!(verdict, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acceptances_come_to_the_carrier() {
    let Some(server) = prosody(|_| {}) else { return };
    let bridge = Component::login(&server).await;
    let mut client = Client::login(&server, "jerry").await;
    bridge.handle.acceptances("jerry@example.org/test", &[7; 4_200]).await.unwrap();
    let acceptances = wait_for(&mut client.events, |event| match event {
        ClientEvent::Acceptances { bytes } => Some(bytes),
        _ => None,
    });
    assert_eq!(acceptances.await, [7; 4_200]);
    let too_many = vec![1; pigeon_xmpp::ACCEPTANCES_BYTES_MAX + 1];
    let refused = bridge.handle.acceptances("jerry@example.org/test", &too_many).await;
    assert!(matches!(refused, Err(SendError::TooLarge { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_question_speaks_for_all_handles_of_a_connection_and_for_no_others() {
    let Some(mut server) = prosody(|_| {}) else { return };
    let mut bridge = Component::login(&server).await;
    let [old, first, second, silent] = [(); 4].map(|()| bridge.handle.clone());
    old.deliver(message(1)).await.unwrap();
    server.restart().unwrap();
    bridge.offline().await;
    bridge.online().await;
    first.deliver(message(2)).await.unwrap();
    second.deliver(message(3)).await.unwrap();
    let synced = pigeon_xmpp::ComponentHandle::sync_all(&[first, old, second, silent]).await;
    assert!(synced[0].is_ok() && synced[0] == synced[2] && synced[3] == synced[0], "{synced:?}");
    assert_eq!(synced[1], Err(SyncError::Lost));
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_come_from_their_author_online_and_offline_with_sender_checks_on() {
    let Some(server) = prosody(|spec| assert!(spec.validate_from)) else { return };
    let bridge = Component::login(&server).await;
    let mut jerry = Client::login(&server, "jerry").await;
    bridge.deliver(1).await;
    let (from, event) = jerry.bundle().await;
    let ClientEvent::Bundle { bytes, message_id, taken, .. } = event else { panic!("not a bundle") };
    taken.done();
    assert_eq!((from.as_str(), &bytes[..]), ("elaine@example.org", &[1][..]));
    assert_eq!(message_id.as_deref(), Some(message(1).message_id_hex.as_str()));
    jerry.handle.shutdown().await;

    bridge.deliver(2).await;
    let mut jerry = Client::login(&server, "jerry").await;
    let (from, event) = jerry.bundle().await;
    let ClientEvent::Bundle { bytes, .. } = event else { panic!("not a bundle") };
    assert_eq!((from.as_str(), &bytes[..]), ("elaine@example.org", &[2][..]), "1 was taken, 2 was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn authors_of_other_hosts_are_refused_before_anything_is_sent() {
    let Some(server) = prosody(|_| {}) else { return };
    let bridge = Component::login(&server).await;
    let mallory = Delivery { author: "mallory@elsewhere.test".to_owned(), ..message(1) };
    let error = bridge.handle.deliver(mallory).await.unwrap_err();
    assert!(matches!(&error, SendError::NotPrivileged { host, .. } if host == "elsewhere.test"), "{error:?}");
    for author in ["elaine@example.org/phone", "", "@"] {
        let wrong = Delivery { author: author.to_owned(), ..message(1) };
        assert_eq!(bridge.handle.deliver(wrong).await, Err(SendError::Jid { role: "author" }), "{author}");
    }
    let large = Delivery { body: Some("x".repeat(65_537)), ..message(1) };
    assert!(matches!(bridge.handle.deliver(large).await, Err(SendError::TooLarge { .. })));
    // Five times as long once it is escaped.
    let escaped = Delivery { body: Some("&".repeat(60_000)), ..message(1) };
    assert!(matches!(bridge.handle.deliver(escaped).await, Err(SendError::TooLarge { .. })));
    bridge.handle.sync().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_privilege_the_error_says_how_to_get_it() {
    let Some(server) = prosody(|spec| spec.privilege = false) else { return };
    let mut bridge = Component::start(component(&server));
    assert_eq!(bridge.online().await, None);
    let error = bridge.handle.deliver(message(1)).await.unwrap_err().to_string();
    assert!(error.contains("privileged_entities") && error.contains(BRIDGE), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_routed_comes_back() {
    let Some(server) = prosody(|_| {}) else { return };
    let mut bridge = Component::login(&server).await;
    bridge.handle.verdict("nobody@elsewhere.test/x", &[1], None).await.unwrap();
    let ComponentEvent::Bounce { to, condition, .. } = bridge.next().await else { panic!("not a bounce") };
    assert_eq!(to, "nobody@elsewhere.test/x");
    assert!(!condition.is_empty() && condition != "undefined-condition", "{condition}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_message_that_comes_back_on_a_young_connection_is_not_believed() {
    let Some(server) = prosody(|_| {}) else { return };
    let mut config = component(&server);
    config.young = Duration::from_secs(120);
    let mut bridge = Component::start(config);
    bridge.online().await;
    bridge.handle.verdict("nobody@elsewhere.test/x", &[1], None).await.unwrap();
    let reason = bridge.offline().await;
    assert!(matches!(reason, OfflineReason::Doubted { .. }), "{reason:?}");
    bridge.online().await;
    bridge.handle.verdict("nobody@elsewhere.test/x", &[1], None).await.unwrap();
    let ComponentEvent::Bounce { to, .. } = bridge.next().await else { panic!("not a bounce") };
    assert_eq!(to, "nobody@elsewhere.test/x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_privilege_is_believed_on_the_second_connection() {
    let Some(server) = prosody(|spec| spec.privilege = false) else { return };
    let mut config = component(&server);
    config.young = Duration::from_secs(120);
    let mut bridge = Component::start(config);
    let reason = bridge.offline().await;
    assert!(matches!(reason, OfflineReason::Doubted { .. }), "{reason:?}");
    assert_eq!(bridge.online().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_secrets_domains_and_twins_are_named() {
    let Some(server) = prosody(|_| {}) else { return };
    let mut wrong = component(&server);
    wrong.secret = Secret::new("wrong");
    let reason = Component::start(wrong).offline().await;
    assert!(matches!(&reason, OfflineReason::ComponentAuth { .. }), "{reason:?}");
    assert!(reason.to_string().contains("component_secret"), "{reason}");

    let mut unknown = component(&server);
    unknown.domain = "other.example.org".to_owned();
    let reason = Component::start(unknown).offline().await;
    assert!(
        matches!(&reason, OfflineReason::HostUnknown { domain, .. } if domain == "other.example.org"),
        "{reason:?}"
    );

    let bridge = Component::login(&server).await;
    let reason = Component::start(component(&server)).offline().await;
    assert!(matches!(&reason, OfflineReason::Conflict { .. }), "{reason:?}");
    bridge.handle.sync().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sessions_come_back_after_a_restart_of_the_server() {
    let Some(mut server) = prosody(|_| {}) else { return };
    let mut bridge = Component::login(&server).await;
    let mut jerry = Client::login(&server, "jerry").await;
    let before = bridge.handle.sync().await.unwrap();
    bridge.handle.stands(before).await.unwrap();
    bridge.handle.deliver(message(1)).await.unwrap();
    let server = tokio::task::spawn_blocking(move || {
        server.kill();
        server.restart().unwrap();
        server
    })
    .await
    .unwrap();
    bridge.offline().await;
    jerry.offline().await;
    assert_eq!(bridge.online().await.as_deref(), Some("urn:xmpp:privilege:2"));
    jerry.online().await;
    assert_eq!(bridge.handle.sync().await, Err(SyncError::Lost), "nobody knows whether 1 arrived");
    assert_eq!(bridge.handle.stands(before).await, Err(SyncError::Lost), "another connection");
    bridge.deliver(2).await;
    wait_for(&mut jerry.events, |event| {
        matches!(event, ClientEvent::Bundle { ref bytes, .. } if *bytes == [2]).then_some(())
    })
    .await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_component_stays_and_a_dead_path_is_noticed() {
    let Some(server) = prosody(|_| {}) else { return };
    let proxy = Proxy::to(server.component_addr()).await;
    let mut config = component(&server);
    config.server = proxy.addr.to_string();
    config.ping_after = Duration::from_millis(50);
    config.ping_timeout = Duration::from_secs(10);
    let mut bridge = Component::start(config);
    bridge.online().await;
    proxy.traffic(20).await;
    assert!(bridge.events.try_recv().is_err(), "something happened on an idle session");
    bridge.handle.sync().await.unwrap();
    proxy.set(Path::Hole);
    let handle = bridge.handle.clone();
    let (synced, reason) = tokio::join!(handle.sync(), bridge.offline());
    assert_eq!(synced, Err(SyncError::Lost));
    assert!(matches!(reason, OfflineReason::Timeout { .. }), "{reason:?}");
}
