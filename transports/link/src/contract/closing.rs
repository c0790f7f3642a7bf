//! Links end for both sides, and what was queued before still counts.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Pair, Rig, step};
use crate::RawLink;

const QUEUED: u8 = 12;

async fn queue(tx: &mpsc::Sender<Bytes>) {
    for number in 0..QUEUED {
        tx.send(vec![number; 2_000].into()).await.unwrap();
    }
}

async fn expect_queued_then_end(rx: &mut mpsc::Receiver<Bytes>) {
    for number in 0..QUEUED {
        let frame = step("queued frame arrives", rx.recv()).await;
        assert_eq!(frame.map(|frame| frame[0]), Some(number));
    }
    assert!(step("link ends", rx.recv()).await.is_none());
}

/// Cancelling `closed` flushes, then ends both directions for both sides.
pub async fn close_is_seen_after_what_was_queued(rig: &impl Rig) {
    let Pair { mut dialler, mut listener, .. } = rig.pair().await;
    queue(&dialler.tx).await;
    dialler.closed.cancel();
    expect_queued_then_end(&mut listener.rx).await;
    step("the other side is closed", listener.closed.cancelled()).await;
    step("the other side cannot send", listener.tx.closed()).await;
    assert!(step("own side ends", dialler.rx.recv()).await.is_none());
    step("own side cannot send", dialler.tx.closed()).await;
}

/// Dropping a whole end does the same.
pub async fn drop_is_seen_after_what_was_queued(rig: &impl Rig) {
    let Pair { mut dialler, listener, .. } = rig.pair().await;
    let RawLink { tx, rx, closed, .. } = listener;
    queue(&tx).await;
    drop((tx, rx));
    expect_queued_then_end(&mut dialler.rx).await;
    drop(dialler);
    step("the link is over", closed.cancelled()).await;
}

/// Dropping `tx` ends one direction; the other goes on.
pub async fn one_direction_may_end_first(rig: &impl Rig) {
    let Pair { dialler, mut listener, .. } = rig.pair().await;
    let RawLink { tx, mut rx, closed, .. } = dialler;
    queue(&tx).await;
    drop(tx);
    expect_queued_then_end(&mut listener.rx).await;
    assert!(!closed.is_cancelled(), "half of the link is still there");
    queue(&listener.tx).await;
    drop(listener);
    expect_queued_then_end(&mut rx).await;
}

/// Dropping `rx` alone makes the peer's sends fail; what goes to the peer still arrives.
pub async fn reader_may_leave_first(rig: &impl Rig) {
    let Pair { dialler, mut listener, .. } = rig.pair().await;
    let RawLink { tx, rx, .. } = dialler;
    drop(rx);
    let until_refused = async { while listener.tx.send(Bytes::from_static(b"to nobody")).await.is_ok() {} };
    step("sends to nobody fail", until_refused).await;
    queue(&tx).await;
    drop(tx);
    expect_queued_then_end(&mut listener.rx).await;
}

/// When nothing crosses any more, both sides find out by themselves.
pub async fn silent_peer_is_noticed(rig: &impl Rig) {
    let Pair { mut dialler, mut listener, .. } = rig.pair().await;
    dialler.tx.send(Bytes::from_static(b"still here")).await.unwrap();
    step("the path works", listener.rx.recv()).await.unwrap();
    rig.cut().await;
    // A side that sends and one that only waits.
    dialler.tx.send(Bytes::from_static(b"lost")).await.unwrap();
    assert!(step("sender's side ends", dialler.rx.recv()).await.is_none());
    assert!(step("waiting side ends", listener.rx.recv()).await.is_none());
    step("sender's side is closed", dialler.closed.cancelled()).await;
    step("waiting side is closed", listener.closed.cancelled()).await;
}

/// A peer that does not read stops the sender before memory fills, and loses nothing.
pub async fn backpressure_is_bounded(rig: &impl Rig) {
    const FRAME: usize = 16_384;
    const ACCEPTED_MAX: u32 = 1_024; // 16 MiB
    let Pair { dialler, mut listener, .. } = rig.pair().await;
    let mut accepted = 0_u32;
    loop {
        let mut frame = vec![0; FRAME];
        frame[..4].copy_from_slice(&accepted.to_be_bytes());
        // Slowness can end this loop early, which only makes the test weaker: it never makes it fail.
        let sent = tokio::time::timeout(Duration::from_millis(500), dialler.tx.send(frame.into())).await;
        match sent {
            Ok(sent) => sent.unwrap(),
            Err(_) => break,
        }
        accepted += 1;
        assert!(accepted <= ACCEPTED_MAX, "a peer that does not read must stop the sender");
    }
    drop(dialler.tx);
    for number in 0..accepted {
        let frame = step("frame arrives at last", listener.rx.recv()).await.unwrap();
        assert_eq!(frame[..4], number.to_be_bytes(), "nothing lost, nothing twice");
    }
    assert!(step("the end comes after the last frame", listener.rx.recv()).await.is_none());
}
