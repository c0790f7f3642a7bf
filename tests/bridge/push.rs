//! What a push service learns: that there is something, and nothing else.

use pigeon_bundle::VerdictCode;
use pigeon_harness::Kind;

use crate::independent::{Client, python};
use crate::world::{HOST, Person, World, bytes_of};

pub async fn the_servers_own_module_tells_a_push_service_and_nothing_of_the_message(kind: Kind) {
    let Some(python) = python() else { return };
    let change = |spec: &mut pigeon_harness::ServerSpec| {
        spec.push = true;
        // The second component's name is the push service's.
        spec.bridges = 2;
    };
    let world = World::on(kind, change, "").await;
    let (elaine, jerry) = (Person::new("elaine"), Person::new("jerry"));
    let mut her = world.login("elaine").await;
    her.register(&elaine.card()).await.unwrap();
    let mut carrier = world.login("kramer").await;
    let mut service = Client::push_service(&python, &world);
    assert_eq!(service.line().await, "ready");
    // Jerry's phone asks to be woken, and goes to sleep.
    let name = &world.server.spec().shard_names()[0];
    let mut phone = Client::start(&python, &world, "jerry", &["raw"]);
    assert_eq!(phone.line().await, "ready");
    let enable =
        format!("<iq type='set' id='e'><enable xmlns='urn:xmpp:push:0' jid='{name}' node='phone-1'/></iq>");
    assert_eq!(phone.raw(&enable).await, "sent");
    phone.end().await;
    // A message with a card, and one that the bridge reads.
    let sealed = elaine.writes(&jerry, &world.card);
    let plain = elaine.writes_plain(&jerry.jid(), "no soup for you", &world.card);
    for message in [&sealed, &plain] {
        assert_eq!(carrier.brings(&bytes_of(message), &world.card).await, VerdictCode::Accepted);
        let told = service.line().await;
        assert!(told.contains("urn:xmpp:push:0") && told.contains("phone-1"), "{told}");
        for hidden in ["elaine", "soup", "end-to-end", &format!("jerry@{HOST}")] {
            assert!(!told.contains(hidden), "{hidden} is in {told}");
        }
        let id = message.bundle.message_digest().to_string();
        assert!(!told.contains(&id), "the message's digest is in {told}");
    }
}
