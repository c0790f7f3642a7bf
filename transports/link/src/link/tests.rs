#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use pigeon_bundle::NodeSecret;
use pigeon_proto::{Auth, Frame, FrameError, GoodbyeReason, MAC8_LIST_MAX};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::contract::hello;
use crate::memory::{Conditions, raw_pair};
use crate::{FRAME_QUEUE_MAX, authenticate};

/// An authenticated link, and its peer's end below the handshake.
async fn link_and_raw_peer() -> (Link, Link) {
    let (a, b) = raw_pair(1, 0, Conditions::default(), [1, 2], &CancellationToken::new());
    let nodes = [1, 2].map(|number| NodeSecret::from_secret_bytes(&[number; 32]));
    let (a, b) =
        tokio::join!(authenticate(a, &nodes[0], hello(true)), authenticate(b, &nodes[1], hello(true)));
    (a.unwrap(), b.unwrap())
}

const DONE: Frame = Frame::Goodbye(GoodbyeReason::Done);

#[tokio::test(start_paused = true)]
async fn frames_pass_checked() {
    let (a, mut b) = link_and_raw_peer().await;
    a.send(DONE).await.unwrap();
    assert_eq!(b.recv().await, Ok(Some(DONE)));
    a.sender.tx.send(Bytes::from_static(&[77])).await.unwrap();
    assert_eq!(b.recv().await, Err(LinkError::Frame(FrameError::Unknown { number: 77 })));
}

#[tokio::test(start_paused = true)]
async fn frames_beyond_a_limit_are_not_sent() {
    let (a, mut b) = link_and_raw_peer().await;
    let long = Frame::Pull { macs: vec![[0; 8]; MAC8_LIST_MAX + 1] };
    let count = MAC8_LIST_MAX + 1;
    let error = FrameError::ListLimit { frame: "Pull", count, limit: MAC8_LIST_MAX };
    assert_eq!(a.send(long).await, Err(LinkError::Frame(error)));
    a.send(DONE).await.unwrap();
    assert_eq!(b.recv().await, Ok(Some(DONE)), "the link goes on");
}

#[tokio::test(start_paused = true)]
async fn handshake_frames_have_no_place_in_the_session() {
    let (a, mut b) = link_and_raw_peer().await;
    let auth = Frame::Auth(Auth { node_key: b.peer, signature: [0; 64] });
    assert_eq!(a.send(auth.clone()).await, Err(LinkError::Handshake { frame: "Auth" }));
    a.sender.tx.send(auth.encode()).await.unwrap();
    assert_eq!(b.recv().await, Err(LinkError::Handshake { frame: "Auth" }));
}

#[tokio::test(start_paused = true)]
async fn try_send_gives_the_frame_back_when_the_queue_is_full() {
    let (a, b) = link_and_raw_peer().await;
    let (tx, _rx) = b.split();
    for _ in 0..FRAME_QUEUE_MAX {
        tx.try_send(DONE).unwrap();
    }
    assert_eq!(tx.try_send(DONE), Err(TrySendError::Full(Box::new(DONE))));
    drop(a);
    tx.closed().cancelled().await;
    assert_eq!(tx.try_send(DONE), Err(TrySendError::Link(LinkError::Closed)));
    assert_eq!(tx.send(DONE).await, Err(LinkError::Closed));
}

#[tokio::test(start_paused = true)]
async fn close_sends_what_is_queued() {
    let (a, mut b) = link_and_raw_peer().await;
    a.send(DONE).await.unwrap();
    a.close();
    assert_eq!(b.recv().await, Ok(Some(DONE)));
    assert_eq!(b.recv().await, Ok(None));
    b.closed().cancelled().await;
}
