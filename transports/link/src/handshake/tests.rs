//! Attacks on the handshake. Each has a twin in `honest_peers_succeed`: without the attack it would pass.
#![allow(clippy::unwrap_used, reason = "tests")]

use pigeon_proto::FRAME_SIZE_MAX;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::contract::hello;
use crate::{AddressClass, CostClass};

/// The attacker's end: frames as the victim sends them, and whatever the attacker likes.
struct Attacker {
    tx: mpsc::Sender<Bytes>,
    rx: mpsc::Receiver<Bytes>,
    meta: LinkMeta,
}

fn node(number: u8) -> NodeSecret {
    NodeSecret::from_secret_bytes(&[number; 32])
}

fn meta(role: Role) -> LinkMeta {
    LinkMeta {
        transport: TransportKind::Memory,
        role,
        binding: [0xb1; 32],
        cost: CostClass::Lan,
        remote: "attacker".into(),
        address_class: AddressClass::Memory(0),
        peer_raw_key: None,
        sighting: None,
    }
}

fn link(role: Role) -> (RawLink, Attacker) {
    let (tx, attacker_rx) = mpsc::channel(4);
    let (attacker_tx, rx) = mpsc::channel(4);
    let raw = RawLink { meta: meta(role), tx, rx, closed: CancellationToken::new() };
    (raw, Attacker { tx: attacker_tx, rx: attacker_rx, meta: meta(role.other()) })
}

impl Attacker {
    async fn send(&self, frame: impl Into<Bytes>) {
        self.tx.send(frame.into()).await.unwrap();
    }

    async fn exchange_hello(&mut self) -> (Bytes, Bytes) {
        let own = Frame::Hello(hello(true)).encode();
        self.send(own.clone()).await;
        let theirs = self.rx.recv().await.unwrap();
        match self.meta.role {
            Role::Dialler => (own, theirs),
            Role::Listener => (theirs, own),
        }
    }

    /// An honest `Auth` but for what the caller has bent.
    async fn auth(&mut self, node: &NodeSecret, named: NodeKey, link: &LinkMeta, role: Role) {
        let (first, second) = self.exchange_hello().await;
        let signature = auth_signature(node, link, role, &first[1..], &second[1..]);
        self.send(Frame::Auth(Auth { node_key: named, signature }).encode()).await;
    }
}

/// The victim's verdict while the attacker does its thing.
async fn verdict<F: Future>(
    role: Role,
    attack: impl FnOnce(Attacker) -> F,
) -> Result<NodeKey, HandshakeError> {
    let (raw, attacker) = link(role);
    judged(raw, attacker, attack).await
}

async fn judged<F: Future>(
    raw: RawLink,
    attacker: Attacker,
    attack: impl FnOnce(Attacker) -> F,
) -> Result<NodeKey, HandshakeError> {
    let closed = raw.closed.clone();
    let victim = node(1);
    let (outcome, _) = tokio::join!(authenticate(raw, &victim, hello(true)), attack(attacker));
    assert_eq!(closed.is_cancelled(), outcome.is_err(), "a refused link is closed, a good one is not");
    outcome.map(|link| link.peer)
}

const MISMATCH: Result<NodeKey, HandshakeError> =
    Err(HandshakeError::Signature(SignatureError::Mismatch(CONTEXT)));

#[tokio::test]
async fn honest_peers_succeed() {
    for role in [Role::Dialler, Role::Listener] {
        let peer = verdict(role, async |mut a: Attacker| {
            let (meta, role) = (a.meta.clone(), a.meta.role);
            a.auth(&node(2), node(2).key(), &meta, role).await;
            a
        });
        assert_eq!(peer.await, Ok(node(2).key()));
    }
}

/// Anything that the signature covers, bent: it no longer holds.
#[tokio::test]
async fn auth_for_another_link_role_or_key_is_refused() {
    for victim in [Role::Dialler, Role::Listener] {
        let bent = async |bend: fn(&mut LinkMeta, &mut Role)| {
            let attack = async |mut a: Attacker| {
                let (mut meta, mut role) = (a.meta.clone(), a.meta.role);
                bend(&mut meta, &mut role);
                a.auth(&node(2), node(2).key(), &meta, role).await;
                a
            };
            verdict(victim, attack).await
        };
        assert_eq!(bent(|_, _| {}).await, Ok(node(2).key()), "nothing bent");
        assert_eq!(bent(|meta, _| meta.binding[31] ^= 1).await, MISMATCH, "replayed from another link");
        assert_eq!(bent(|_, role| *role = role.other()).await, MISMATCH, "role reflected");
        assert_eq!(bent(|meta, _| meta.transport = TransportKind::Quic).await, MISMATCH, "other transport");
        let stolen = verdict(victim, async |mut a: Attacker| {
            let (meta, role) = (a.meta.clone(), a.meta.role);
            a.auth(&node(2), node(3).key(), &meta, role).await;
            a
        });
        assert_eq!(stolen.await, MISMATCH, "somebody else's key");
    }
}

/// Both Hellos are signed: nobody on the way can talk a peer into closed carriage or another version.
#[tokio::test]
async fn auth_over_another_hello_is_refused() {
    let outcome = verdict(Role::Listener, async |mut a: Attacker| {
        a.send(Frame::Hello(hello(true)).encode()).await;
        let theirs = a.rx.recv().await.unwrap();
        let signed = Frame::Hello(hello(false)).encode();
        let signature = auth_signature(&node(2), &a.meta, Role::Dialler, &signed[1..], &theirs[1..]);
        a.send(Frame::Auth(Auth { node_key: node(2).key(), signature }).encode()).await;
        a
    });
    assert_eq!(outcome.await, MISMATCH);
}

/// The bytes of the peer's Hello are signed as received, unknown fields and all.
#[tokio::test]
async fn hello_of_a_newer_peer_is_signed_as_received() {
    let outcome = verdict(Role::Listener, async |mut a: Attacker| {
        let mut own = Frame::Hello(hello(true)).encode().to_vec();
        own.extend_from_slice(&[0x7a, 1, 9]); // field 15, one byte
        a.send(own.clone()).await;
        let theirs = a.rx.recv().await.unwrap();
        let signature = auth_signature(&node(2), &a.meta, Role::Dialler, &own[1..], &theirs[1..]);
        a.send(Frame::Auth(Auth { node_key: node(2).key(), signature }).encode()).await;
        a
    });
    assert_eq!(outcome.await, Ok(node(2).key()));
}

#[tokio::test]
async fn own_key_and_reflection_are_refused() {
    let own = verdict(Role::Dialler, async |mut a: Attacker| {
        let (meta, role) = (a.meta.clone(), a.meta.role);
        a.auth(&node(1), node(1).key(), &meta, role).await;
        a
    });
    assert_eq!(own.await, Err(HandshakeError::OwnKey));
    let mirror = verdict(Role::Dialler, async |mut a: Attacker| {
        for _ in 0..2 {
            let frame = a.rx.recv().await.unwrap();
            a.send(frame).await;
        }
        a
    });
    assert_eq!(mirror.await, Err(HandshakeError::OwnKey), "everything reflected");
}

#[tokio::test]
async fn auth_must_name_the_key_that_the_transport_proved() {
    for (proved, expected) in [(node(2), Ok(node(2).key())), (node(3), Err(HandshakeError::OtherKey))] {
        let (mut raw, attacker) = link(Role::Dialler);
        raw.meta.peer_raw_key = Some(proved.key());
        let outcome = judged(raw, attacker, async |mut a: Attacker| {
            let (meta, role) = (a.meta.clone(), a.meta.role);
            a.auth(&node(2), node(2).key(), &meta, role).await;
            a
        });
        assert_eq!(outcome.await, expected);
    }
}

#[tokio::test]
async fn a_small_order_key_is_refused() {
    // The point of order one signs anything for a verifier that is not strict.
    let mut weak = [0; 32];
    weak[0] = 1;
    let outcome = verdict(Role::Dialler, async |mut a: Attacker| {
        a.exchange_hello().await;
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&weak);
        a.send(Frame::Auth(Auth { node_key: NodeKey(weak), signature }).encode()).await;
        a
    });
    assert_eq!(outcome.await, Err(HandshakeError::Signature(SignatureError::Key(CONTEXT))));
}

#[tokio::test]
async fn another_version_is_refused_with_both_numbers() {
    let outcome = verdict(Role::Dialler, async |a: Attacker| {
        let newer = Hello { version: 2, ..hello(true) };
        a.send(Frame::Hello(newer).encode()).await;
        a
    });
    let error = outcome.await.unwrap_err();
    assert_eq!(error, HandshakeError::Version { theirs: 2 });
    assert_eq!(error.to_string(), "the peer speaks version 2, this node 1: update the older one");
}

#[tokio::test]
async fn garbage_and_frames_out_of_turn_are_refused() {
    let first = async |bytes: Vec<u8>| {
        verdict(Role::Listener, async |a: Attacker| {
            a.send(bytes).await;
            a
        })
        .await
    };
    let step = HandshakeStep::Hello;
    let error = |error| Err(HandshakeError::Frame { step, error });
    assert_eq!(first(vec![99, 1, 2]).await, error(FrameError::Unknown { number: 99 }));
    assert_eq!(
        first(vec![1; FRAME_SIZE_MAX + 1]).await,
        error(FrameError::Oversize { size: FRAME_SIZE_MAX + 1 })
    );
    assert!(matches!(
        first(vec![1, 0xff]).await,
        Err(HandshakeError::Frame { error: FrameError::Malformed { .. }, .. })
    ));
    let offer = Frame::Pull { macs: vec![[1; 8]] }.encode();
    assert_eq!(first(offer.to_vec()).await, Err(HandshakeError::Unexpected { step, got: "Pull" }));
    let twice = verdict(Role::Listener, async |mut a: Attacker| {
        a.exchange_hello().await;
        a.send(Frame::Hello(hello(true)).encode()).await;
        a
    });
    assert_eq!(twice.await, Err(HandshakeError::Unexpected { step: HandshakeStep::Auth, got: "Hello" }));
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_deadline() {
    let begin = tokio::time::Instant::now();
    let mute = verdict(Role::Listener, async |a: Attacker| {
        tokio::time::sleep(AUTH_TIMEOUT * 2).await;
        a
    });
    assert_eq!(mute.await, Err(HandshakeError::Timeout));
    let after_hello = verdict(Role::Dialler, async |mut a: Attacker| {
        a.exchange_hello().await;
        tokio::time::sleep(AUTH_TIMEOUT * 2).await;
        a
    });
    assert_eq!(after_hello.await, Err(HandshakeError::Timeout));
    assert_eq!(begin.elapsed(), AUTH_TIMEOUT * 4, "of virtual time");
}

/// One deadline for the whole: a peer that drips frames gains nothing.
#[tokio::test(start_paused = true)]
async fn a_slow_peer_has_one_deadline_for_everything() {
    let outcome = verdict(Role::Dialler, async |mut a: Attacker| {
        tokio::time::sleep(AUTH_TIMEOUT * 3 / 5).await;
        let (first, second) = a.exchange_hello().await;
        tokio::time::sleep(AUTH_TIMEOUT * 3 / 5).await;
        let signature = auth_signature(&node(2), &a.meta, a.meta.role, &first[1..], &second[1..]);
        let auth = Frame::Auth(Auth { node_key: node(2).key(), signature });
        assert!(a.tx.send(auth.encode()).await.is_err(), "nobody listens any more");
    });
    assert_eq!(outcome.await, Err(HandshakeError::Timeout));
}

#[tokio::test]
async fn a_peer_that_hangs_up_is_named_with_the_step() {
    let at_once = verdict(Role::Dialler, async |a: Attacker| drop(a));
    assert_eq!(at_once.await, Err(HandshakeError::Closed(HandshakeStep::Hello)));
    let after_hello = verdict(Role::Dialler, async |mut a: Attacker| {
        a.exchange_hello().await;
    });
    assert_eq!(after_hello.await, Err(HandshakeError::Closed(HandshakeStep::Auth)));
}

/// docs/wire-format.md section 6, written out by hand.
#[test]
fn signed_bytes_are_those_of_the_wire_format() {
    let mut text = b"CarrierPigeon/1 link-auth\0".to_vec();
    text.extend_from_slice(b"\0\0\0\x06memory");
    text.extend_from_slice(&[0, 0, 0, 32]);
    text.extend_from_slice(&[0xb1; 32]);
    text.push(1);
    text.extend_from_slice(node(2).key().as_bytes());
    text.extend_from_slice(b"\0\0\0\x03one\0\0\0\x05three");
    let signature = auth_signature(&node(2), &meta(Role::Listener), Role::Listener, b"one", b"three");
    // The same bytes under the same context in one part: Ed25519 is deterministic.
    let rest = text.strip_prefix(&pigeon_bundle::context::context(CONTEXT)[..]).unwrap();
    assert_eq!(signature, node(2).sign(CONTEXT, &[rest]));
}
