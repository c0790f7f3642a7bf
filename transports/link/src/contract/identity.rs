//! Who is at the other end, and that nobody else can be.

use bytes::Bytes;
use pigeon_bundle::NodeSecret;
use pigeon_proto::{Auth, Frame, GoodbyeReason};

use super::{Pair, Rig, hello, step};
use crate::{HandshakeError, RawLink, Role, auth_signature, authenticate};

/// Both ends have the same binding, and another pair has another.
pub async fn bindings_are_shared_and_unique(rig: &impl Rig) {
    let first = rig.pair().await;
    let second = rig.pair().await;
    for pair in [&first, &second] {
        assert_eq!(pair.dialler.meta.binding, pair.listener.meta.binding);
        assert_ne!(pair.dialler.meta.binding, [0; 32]);
        assert_eq!(pair.dialler.meta.role, Role::Dialler);
        assert_eq!(pair.listener.meta.role, Role::Listener);
        assert_eq!(pair.dialler.meta.transport, pair.listener.meta.transport);
        let raw_keys = (pair.dialler.meta.peer_raw_key, pair.listener.meta.peer_raw_key);
        if raw_keys != (None, None) {
            assert_eq!(raw_keys, (Some(pair.listener_node.key()), Some(pair.dialler_node.key())));
        }
    }
    assert_ne!(first.dialler.meta.binding, second.dialler.meta.binding);
}

/// After the handshake each end knows the other's key and Hello, and frames pass.
pub async fn peers_learn_each_others_key(rig: &impl Rig) {
    let Pair { dialler, listener, dialler_node, listener_node } = rig.pair().await;
    let (dialler, listener) = step("both authenticate", async {
        tokio::join!(
            authenticate(dialler, &dialler_node, hello(true)),
            authenticate(listener, &listener_node, hello(false)),
        )
    })
    .await;
    let (mut dialler, listener) = (dialler.unwrap(), listener.unwrap());
    assert_eq!((dialler.peer, listener.peer), (listener_node.key(), dialler_node.key()));
    assert_eq!((dialler.hello, listener.hello), (hello(false), hello(true)));
    listener.send(Frame::Goodbye(GoodbyeReason::Limit)).await.unwrap();
    let frame = step("frame after the handshake", dialler.recv()).await.unwrap();
    assert_eq!(frame, Some(Frame::Goodbye(GoodbyeReason::Limit)));
}

/// A signature made for another link does not hold on this one, whichever side tries.
pub async fn wrong_auth_is_refused(rig: &impl Rig) {
    let Pair { dialler, listener, dialler_node, listener_node } = rig.pair().await;
    refuses_replay(dialler, dialler_node, listener, listener_node).await;
    let Pair { dialler, listener, dialler_node, listener_node } = rig.pair().await;
    refuses_replay(listener, listener_node, dialler, dialler_node).await;
}

async fn refuses_replay(
    victim: RawLink,
    victim_node: NodeSecret,
    mut thief: RawLink,
    thief_node: NodeSecret,
) {
    let (outcome, ()) = step("victim decides", async {
        tokio::join!(authenticate(victim, &victim_node, hello(true)), async {
            let own = Frame::Hello(hello(true)).encode();
            thief.tx.send(own.clone()).await.unwrap();
            let theirs = thief.rx.recv().await.unwrap();
            let mut elsewhere = thief.meta.clone();
            elsewhere.binding[0] ^= 1;
            let hellos = match thief.meta.role {
                Role::Dialler => (&own[1..], &theirs[1..]),
                Role::Listener => (&theirs[1..], &own[1..]),
            };
            let signature = auth_signature(&thief_node, &elsewhere, elsewhere.role, hellos.0, hellos.1);
            let auth = Frame::Auth(Auth { node_key: thief_node.key(), signature });
            thief.tx.send(auth.encode()).await.unwrap();
        })
    })
    .await;
    assert!(matches!(outcome, Err(HandshakeError::Signature(_))), "{:?}", outcome.map(|link| link.peer));
    ends(&mut thief).await;
}

/// Where the transport proves a key of its own, `Auth` by another key is refused.
pub async fn wrong_key_is_refused(rig: &impl Rig) {
    let Pair { dialler, listener, dialler_node, listener_node: _ } = rig.pair().await;
    let proves_key = dialler.meta.peer_raw_key.is_some();
    let other_node = NodeSecret::from_secret_bytes(&[0x77; 32]);
    let (outcome, _) = step("dialler decides", async {
        tokio::join!(
            authenticate(dialler, &dialler_node, hello(true)),
            authenticate(listener, &other_node, hello(true)),
        )
    })
    .await;
    match outcome {
        Err(error) => assert!(proves_key && error == HandshakeError::OtherKey, "{error}"),
        Ok(link) => assert!(!proves_key && link.peer == other_node.key()),
    }
}

/// Reads what was still on its way, then the end.
async fn ends(link: &mut RawLink) {
    step("the refused side sees the end", async { while let Some(Bytes { .. }) = link.rx.recv().await {} })
        .await;
}
