//! The client session against a real Prosody.
use std::time::Duration;

use crate::proxy::{Path, Proxy};
use crate::support::{Client, Component, account, prosody, wait_for};
use bytes::Bytes;
use pigeon_harness::Server;
use pigeon_xmpp::{
    BUNDLE_BYTES_MAX, ClientConfig, ClientEvent, Closed, ComponentEvent, IqAnswer, IqError, OfflineReason,
    Secret, spawn_client,
};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_says_so_and_is_not_tried_again_at_once() {
    let Some(server) = prosody(|_| {}) else { return };
    let mut config = account(&server, "jerry");
    config.password = Secret::new("pw-newman");
    let mut client = Client::start(config);
    let reason = client.offline().await;
    assert!(
        matches!(&reason, OfflineReason::Auth { detail } if detail.starts_with("not-authorized")),
        "{reason:?}"
    );
    assert!(reason.to_string().contains("password"), "{reason}");
    // Neither time nor pokes bring another attempt: each would be a line in the server's log.
    for _ in 0..5 {
        client.handle.poke();
        assert_eq!(
            client.handle.upload(Bytes::from_static(b"x"), "u".to_owned()).await,
            Err(Closed::Offline)
        );
    }
    client.handle.shutdown().await;
    let log = std::fs::read_to_string(server.log_file()).unwrap();
    let attempts = log.lines().filter(|line| line.contains("Client connected")).count();
    assert_eq!(attempts, 1, "{log}");
}

/// Waits until the server has taken everything that `client` has said, its presence above all.
async fn settle(client: &Client, bridge: &mut Component) {
    let (card, ()) = tokio::join!(client.handle.bridge_card(), async {
        let ComponentEvent::CardRequest { iq, .. } = bridge.next().await else {
            panic!("not a card request")
        };
        bridge.handle.answer(iq, IqAnswer::Card(vec![1])).await.unwrap();
    });
    card.unwrap();
}

/// Jerry's account, reached through a proxy.
async fn behind_a_proxy(server: &Server) -> (Proxy, ClientConfig) {
    let proxy = Proxy::to(server.c2s_addr()).await;
    let config = ClientConfig { server: Some(proxy.addr.to_string()), ..account(server, "jerry") };
    (proxy, config)
}

/// A CA of this name that has signed nothing.
fn other_ca(dir: &std::path::Path, name: &str) -> std::path::PathBuf {
    let file = dir.join("ca.crt");
    let mut openssl = std::process::Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-sha256",
    ]);
    openssl.args(["-days", "30", "-subj", name, "-addext", "basicConstraints=critical,CA:TRUE", "-keyout"]);
    openssl.arg(dir.join("ca.key")).arg("-out").arg(&file);
    let output = openssl.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_checked() {
    let Some(server) = prosody(|_| {}) else { return };
    let dir = tempfile::tempdir().unwrap();
    for name in ["/CN=somebody else", "/CN=CarrierPigeon test CA"] {
        let mut config = account(&server, "jerry");
        config.ca_file = Some(other_ca(dir.path(), name));
        let reason = Client::start(config).offline().await;
        assert!(matches!(&reason, OfflineReason::Tls { .. }), "{reason:?}");
        assert!(reason.to_string().contains("CA file"), "{reason}");
    }
    for system_only in [None, Some("/nonexistent".into())] {
        let mut config = account(&server, "jerry");
        config.ca_file = system_only;
        if let Ok((_handle, mut events)) = spawn_client(config, CancellationToken::new()) {
            let offline = wait_for(&mut events, Some).await;
            assert!(
                matches!(offline, ClientEvent::Offline { reason: OfflineReason::Tls { .. } }),
                "{offline:?}"
            );
        }
    }

    let mut config = account(&server, "jerry");
    config.jid = "jerry@localhost".to_owned();
    let reason = Client::start(config).offline().await;
    // Prosody does not serve that domain at all.
    assert!(
        matches!(&reason, OfflineReason::HostUnknown { domain, .. } if domain == "localhost"),
        "{reason:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_port_is_not_mistaken_for_a_client_port() {
    let Some(server) = prosody(|_| {}) else { return };
    let mut config = account(&server, "jerry");
    config.server = Some(server.component_addr().to_string());
    let reason = Client::start(config).offline().await;
    let expected = matches!(
        &reason,
        OfflineReason::StreamEnded { .. }
            | OfflineReason::Protocol { .. }
            | OfflineReason::HostUnknown { .. }
    );
    assert!(expected, "{reason:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_a_bundle_is_never_sent_and_the_largest_passes() {
    let Some(server) = prosody(|_| {}) else { return };
    let mut bridge = Component::login(&server).await;
    let client = Client::login(&server, "jerry").await;
    let bundle = |n: usize| Bytes::from(vec![0x5a; n]);
    let refused = client.handle.upload(bundle(BUNDLE_BYTES_MAX + 1), "big".to_owned()).await;
    assert_eq!(refused, Err(Closed::TooLarge { bytes: BUNDLE_BYTES_MAX + 1 }));
    assert_eq!(client.handle.upload(bundle(1), String::new()).await, Err(Closed::Id));
    client.handle.upload(bundle(BUNDLE_BYTES_MAX), "largest".to_owned()).await.unwrap();
    let ComponentEvent::Upload { from, id, bundles } = bridge.next().await else { panic!("not an upload") };
    assert_eq!((from.as_str(), id.as_deref()), ("jerry@example.org/test", Some("largest")));
    assert_eq!(bundles, [bundle(BUNDLE_BYTES_MAX)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_it_takes_is_kept_to() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut server) = prosody(|spec| spec.state_dir = Some(dir.path().to_owned())) else { return };
    // Prosody 0.12 says nothing of its limits: a module of three lines does (XEP-0478).
    let module = "module:hook('stream-features', function(event)\n\
                  event.features:tag('limits', { xmlns = 'urn:xmpp:stream-limits:0' }):text_tag('max-bytes', '20000'):up()\n\
                  end)\n";
    std::fs::write(dir.path().join("mod_test_limits.lua"), module).unwrap();
    let config_file = dir.path().join("prosody.cfg.lua");
    let lua = std::fs::read_to_string(&config_file).unwrap();
    let path = format!("plugin_paths = {{ \"{}\", ", dir.path().display());
    let changed =
        lua.replace("plugin_paths = { ", &path).replace("\"saslauth\",", "\"saslauth\", \"test_limits\",");
    assert!(changed.contains("test_limits") && changed.contains(&path));
    std::fs::write(&config_file, changed).unwrap();
    server.restart().unwrap();
    let mut bridge = Component::login(&server).await;
    let client = Client::login(&server, "jerry").await;
    let refused = client.handle.upload(Bytes::from(vec![0x5a; 15_000]), "big".to_owned()).await;
    assert!(matches!(refused, Err(Closed::OverLimit { max: 20_000, bytes: 20_001.. })), "{refused:?}");
    // It was not sent: the stream lives, and what fits passes.
    client.handle.upload(Bytes::from(vec![0x5a; 14_000]), "fits".to_owned()).await.unwrap();
    let ComponentEvent::Upload { id, bundles, .. } = bridge.next().await else { panic!("not an upload") };
    assert_eq!((id.as_deref(), bundles[0].len()), (Some("fits"), 14_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_bridge_uploads_and_questions_come_back() {
    let Some(server) = prosody(|_| {}) else { return };
    let mut client = Client::login(&server, "jerry").await;
    client.handle.upload(Bytes::from_static(b"x"), "u1".to_owned()).await.unwrap();
    let (id, condition) = wait_for(&mut client.events, |event| match event {
        ClientEvent::Refusal { id, condition, .. } => Some((id, condition)),
        _ => None,
    })
    .await;
    assert_eq!((id.as_deref(), condition.as_str()), (Some("u1"), "remote-server-timeout"));
    let error = client.handle.bridge_card().await.unwrap_err();
    assert!(
        matches!(&error, IqError::Refused { condition, .. } if condition == "remote-server-timeout"),
        "{error:?}"
    );
    client.handle.shutdown().await;
    assert_eq!(client.handle.upload(Bytes::from_static(b"x"), "u2".to_owned()).await, Err(Closed::Ended));
    assert_eq!(client.handle.bridge_card().await, Err(IqError::Ended));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_is_resumed_and_nothing_is_lost_or_given_twice() {
    let Some(server) = prosody(|_| {}) else { return };
    let mut bridge = Component::login(&server).await;
    let (proxy, config) = behind_a_proxy(&server).await;
    let mut client = Client::start(config);
    assert!(!client.online().await);

    // Given out, and not taken yet, when the connection breaks.
    bridge.deliver(1).await;
    let (_, ClientEvent::Bundle { bytes, taken: first, .. }) = client.bundle().await else {
        panic!("not a bundle")
    };
    assert_eq!(bytes, [1]);
    proxy.set(Path::Cut);
    client.offline().await;
    assert_eq!(client.handle.upload(Bytes::from_static(b"x"), "u".to_owned()).await, Err(Closed::Offline));
    bridge.deliver(2).await;
    proxy.set(Path::Open);
    client.handle.poke();
    assert!(client.online().await, "not resumed");

    // The server repeats 1, which the application has already: only 2 comes.
    let (_, ClientEvent::Bundle { bytes, taken: second, .. }) = client.bundle().await else {
        panic!("not a bundle")
    };
    assert_eq!(bytes, [2]);
    drop((first, second));
    client.handle.upload(Bytes::from_static(b"up"), "u".to_owned()).await.unwrap();
    let upload = bridge.next().await;
    assert!(
        matches!(&upload, ComponentEvent::Upload { bundles, .. } if bundles[..] == [b"up"]),
        "{upload:?}"
    );
    client.handle.shutdown().await;

    // All was taken: the next session begins with something new.
    bridge.deliver(3).await;
    let mut client = Client::login(&server, "jerry").await;
    let (_, ClientEvent::Bundle { bytes, .. }) = client.bundle().await else { panic!("not a bundle") };
    assert_eq!(bytes, [3]);
}

/// Runs `client`'s session in a runtime of its own and ends it as a crash would: no stream is closed, nothing is
/// acknowledged any more.
fn crash_after_first_bundle(config: ClientConfig, done: bool) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let bytes = runtime.block_on(async {
        let mut client = Client::start(config);
        let (_, ClientEvent::Bundle { bytes, taken, .. }) = client.bundle().await else {
            panic!("not a bundle")
        };
        if done {
            taken.done();
            // Its own messages come back to it after the acknowledgement, which goes out first.
            let _ = client.handle.bridge_card().await;
        } else {
            std::mem::forget(taken);
        }
        std::mem::forget(client);
        bytes
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_taken_before_a_crash_comes_again_and_what_was_taken_does_not() {
    let Some(server) = prosody(|_| {}) else { return };
    let bridge = Component::login(&server).await;
    let crash = async |done| {
        let config = account(&server, "jerry");
        tokio::task::spawn_blocking(move || crash_after_first_bundle(config, done)).await.unwrap()
    };
    bridge.deliver(1).await;
    assert_eq!(crash(false).await, [1]);
    assert_eq!(crash(false).await, [1], "lost in the crash");
    drop(bridge);
    assert_eq!(crash(true).await, [1], "lost in the second crash");
    let bridge = Component::login(&server).await;
    bridge.deliver(2).await;
    let mut client = Client::login(&server, "jerry").await;
    let (_, ClientEvent::Bundle { bytes, .. }) = client.bundle().await else { panic!("not a bundle") };
    assert_eq!(bytes, [2], "1 was taken and came again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poke_finds_out_that_the_path_is_dead() {
    let Some(server) = prosody(|_| {}) else { return };
    let bridge = Component::login(&server).await;
    let (proxy, mut config) = behind_a_proxy(&server).await;
    config.poke_timeout = Duration::from_millis(500);
    let mut client = Client::start(config);
    client.online().await;
    // On a path that works a poke does nothing.
    let answered = proxy.traffic(2);
    client.handle.poke();
    answered.await;
    proxy.set(Path::Hole);
    client.handle.poke();
    let reason = client.offline().await;
    assert!(matches!(reason, OfflineReason::Timeout { .. }), "{reason:?}");
    // The next attempt hangs in the hole as well; a poke when the network is back begins a new one.
    bridge.deliver(1).await;
    proxy.set(Path::Open);
    client.handle.poke();
    client.online().await;
    assert_eq!(client.bundle().await.0, "elaine@example.org");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_dead_connection_without_a_poke_and_a_live_one_lasts() {
    let Some(server) = prosody(|_| {}) else { return };
    let (proxy, mut config) = behind_a_proxy(&server).await;
    config.ping_after = Duration::from_millis(50);
    config.ping_timeout = Duration::from_secs(10);
    let mut client = Client::start(config);
    client.online().await;
    // Ten questions and answers later it is still the same session.
    proxy.traffic(20).await;
    assert!(client.events.try_recv().is_err(), "something happened on an idle session");
    proxy.set(Path::Hole);
    assert!(matches!(client.offline().await, OfflineReason::Timeout { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_talks_and_does_not_read_is_noticed() {
    let Some(server) = prosody(|_| {}) else { return };
    let mut bridge = Component::login(&server).await;
    let (proxy, mut config) = behind_a_proxy(&server).await;
    config.ping_timeout = Duration::from_secs(3);
    let mut client = Client::start(config);
    client.online().await;
    settle(&client, &mut bridge).await;
    proxy.set(Path::Deaf);
    client.handle.upload(Bytes::from_static(b"up"), "u".to_owned()).await.unwrap();
    // The server is heard: only the missing acknowledgement says it.
    bridge.deliver(1).await;
    assert_eq!(client.bundle().await.0, "elaine@example.org");
    let reason = client.offline().await;
    assert!(
        matches!(reason, OfflineReason::Timeout { doing } if doing.contains("acknowledge")),
        "{reason:?}"
    );
    proxy.set(Path::Open);
    client.handle.poke();
    assert!(client.online().await, "not resumed");
    let upload = bridge.next().await;
    assert!(
        matches!(&upload, ComponentEvent::Upload { bundles, .. } if bundles[..] == [b"up"]),
        "{upload:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sessions_of_one_resource_do_not_fight() {
    let Some(server) = prosody(|_| {}) else { return };
    let mut first = Client::login(&server, "jerry").await;
    let mut second = Client::login(&server, "jerry").await;
    let reason = first.offline().await;
    assert!(matches!(reason, OfflineReason::Conflict { .. }), "{reason:?}");
    // The second stays: the first waits for somebody to change the configuration.
    assert_eq!(
        second.handle.bridge_card().await.map_err(|error| matches!(error, IqError::Refused { .. })),
        Err(true)
    );
    assert!(second.events.try_recv().is_err());
    second.handle.shutdown().await;
    assert!(matches!(second.offline().await, OfflineReason::Shutdown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_reaches_every_client_of_the_recipient() {
    let Some(server) = prosody(|_| {}) else { return };
    let mut bridge = Component::login(&server).await;
    let mut one = account(&server, "jerry");
    one.resource = Some("one".to_owned());
    let mut two = account(&server, "jerry");
    two.resource = Some("two".to_owned());
    let (mut one, mut two) = (Client::start(one), Client::start(two));
    one.online().await;
    two.online().await;
    settle(&one, &mut bridge).await;
    settle(&two, &mut bridge).await;
    bridge.deliver(1).await;
    assert_eq!(one.bundle().await.0, "elaine@example.org");
    assert_eq!(two.bundle().await.0, "elaine@example.org");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_from_the_first_byte_works_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut server) = prosody(|spec| spec.state_dir = Some(dir.path().to_owned())) else { return };
    let port = std::net::TcpListener::bind((server.c2s_addr().ip(), 0)).unwrap().local_addr().unwrap();
    let config_file = dir.path().join("prosody.cfg.lua");
    let lua = std::fs::read_to_string(&config_file).unwrap();
    let changed =
        lua.replace("c2s_direct_tls_ports = {}", &format!("c2s_direct_tls_ports = {{ {} }}", port.port()));
    assert_ne!(lua, changed);
    std::fs::write(&config_file, changed).unwrap();
    server.restart().unwrap();
    let mut config = account(&server, "jerry");
    config.server = Some(port.to_string());
    config.direct_tls = true;
    assert!(!Client::start(config).online().await);

    // STARTTLS and direct TLS on each other's port are named.
    let mut config = account(&server, "jerry");
    config.direct_tls = true;
    let reason = Client::start(config).offline().await;
    assert!(
        matches!(&reason, OfflineReason::Tls { .. }) && reason.to_string().contains("port"),
        "{reason:?}"
    );
}
