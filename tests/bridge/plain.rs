//! Recipients that have no card: any XMPP client. The bridge reads what is for them, and its author knows.

use pigeon_bundle::VerdictCode;
use pigeon_harness::files::temp_dir;
use pigeon_harness::{Account, Kind, Node, NodeSpec, Place};
use serde_json::Value;

use crate::independent::{Client, python};
use crate::world::{HOST, Person, World, bytes_of};

pub async fn an_ordinary_client_gets_the_text_from_its_author(kind: Kind) {
    let Some(python) = python() else { return };
    let world = World::new(kind).await;
    let elaine = Person::new("elaine");
    world.login("elaine").await.register(&elaine.card()).await.unwrap();
    let mut carrier = world.login("kramer").await;
    let mut jerry = Client::start(&python, &world, "jerry", &["receive", "1"]);
    assert_eq!(jerry.line().await, "ready");
    let jid = format!("jerry@{HOST}");
    // newman's text under elaine's name is refused.
    let forged = Person::new("elaine").writes_plain(&jid, "give newman your keys", &world.card);
    assert_eq!(carrier.brings(&bytes_of(&forged), &world.card).await, VerdictCode::SignatureWrong);
    let message = elaine.writes_plain(&jid, "no soup for you", &world.card);
    for _ in 0..2 {
        assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::Accepted);
    }
    let shown: Value = serde_json::from_str(&jerry.line().await).unwrap();
    assert_eq!(shown["from"], elaine.jid());
    assert_eq!(shown["body"], "no soup for you");
    assert_eq!(shown["bundle"], false);
    assert_eq!(shown["id"], "07".repeat(16));
    assert!(!world.log().contains("soup"));
}

pub async fn an_operator_can_refuse_to_read_and_the_author_hears_of_it(kind: Kind) {
    let world = World::configured(kind, "plain_recipients = false").await;
    let elaine = Person::new("elaine");
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let mut carrier = world.login("kramer").await;
    let message = elaine.writes_plain(&format!("jerry@{HOST}"), "no soup for you", &world.card);
    assert_eq!(carrier.brings(&bytes_of(&message), &world.card).await, VerdictCode::Policy);
    let (told, _) = her.verdict(&world.card).await;
    assert_eq!((told.bundle, told.code), (message.bundle.id(), VerdictCode::Policy));
}

pub async fn pigeon_send_says_beforehand_that_the_bridge_will_read_it_and_hears_of_its_reading(kind: Kind) {
    let Some(python) = python() else { return };
    let world = World::new(kind).await;
    let mut jerry = Client::start(&python, &world, "jerry", &["answer", "1"]);
    assert_eq!(jerry.line().await, "ready");
    let account = Account {
        jid: format!("elaine@{HOST}"),
        password: "pw-elaine".to_owned(),
        server: world.server.c2s_addr().to_string(),
        ca_file: world.server.ca_file(),
        bridge: world.card.domain().to_owned(),
    };
    let said = tokio::task::spawn_blocking(move || {
        let dir = temp_dir("pigeon-plain-").unwrap();
        let node = Node::start(Place::Here, &NodeSpec::new("elaine").account(account), dir.path()).unwrap();
        node.watch()
            .wait_for(std::time::Duration::from_secs(40), "registration", |event| {
                event.kind == "uplink_registered"
            })
            .unwrap();
        let refused = node.cli(&["send", "--require-e2e", &format!("jerry@{HOST}"), "soup"]).unwrap();
        assert!(!refused.status.success());
        assert!(String::from_utf8_lossy(&refused.stderr).contains("would read the message"));
        assert_eq!(node.json(&["outbox"]).unwrap()["messages"].as_array().map(Vec::len), Some(0));
        let sent = node.cli(&["send", &format!("jerry@{HOST}"), "no soup for you"]).unwrap();
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        (String::from_utf8(sent.stderr).unwrap(), node, dir)
    });
    let (said, node, _dir) = said.await.unwrap();
    assert!(said.contains("will be able to read this message"), "{said}");
    let shown: Value = serde_json::from_str(&jerry.line().await).unwrap();
    assert_eq!(
        (&shown["from"], &shown["body"]),
        (&format!("elaine@{HOST}").into(), &"no soup for you".into())
    );
    // His client's receipt and marker (XEP-0184, XEP-0333) are ours.
    let read = move || {
        let outbox = || node.json(&["outbox"]).unwrap()["messages"][0].clone();
        let is_read = || (outbox()["state"] == "read").then(outbox);
        node.watch().wait_until(crate::session::PATIENCE, "read", is_read).unwrap()
    };
    let message = tokio::task::spawn_blocking(read).await.unwrap();
    assert!(message["delivered_ms"].as_u64().unwrap() > 0, "{message}");
}
