//! Peers that break rules, and links that break.

use bytes::{BufMut as _, Bytes, BytesMut};
use pigeon_bundle::BundleId;
use pigeon_link::contract::step;
use pigeon_link::{AUTH_TIMEOUT, HandshakeError, RawLink, Role, authenticate};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use tokio::time::timeout;

use super::{at, linked, node, shared};
use crate::WINDOW_BYTES;
use crate::advert::Token;
use crate::bearer::memory::pair;
use crate::bearer::{Backend, Bearer, bearer, l2cap};
use crate::dial::raw_link;
use crate::noise::{Keyed, handshake};
use crate::piece::Piece;

/// One honest end, and one that says what the test wants.
pub(super) async fn against() -> (RawLink, Bearer, Keyed) {
    let (mine, mut theirs) = pair(512);
    let shared = shared(1);
    let (link, keyed) = tokio::join!(
        raw_link(&shared, mine, Role::Listener, at(2)),
        handshake(&mut theirs, Role::Dialler, Token([9; 4])),
    );
    (link.unwrap(), theirs, keyed.unwrap())
}

async fn say(bearer: &Bearer, keyed: &mut Keyed, piece: Piece) {
    let sealed = keyed.seal.seal(&piece).unwrap();
    // A link that has ended already takes no more.
    let _ended = bearer.tx.send(sealed).await;
}

async fn ends(mut link: RawLink) {
    step("the link ends", link.closed.cancelled()).await;
    step("its reader sees it", async { while link.rx.recv().await.is_some() {} }).await;
}

#[tokio::test]
async fn a_peer_that_ignores_the_window_is_cut_off() {
    let (link, bearer, mut keyed) = against().await;
    // One frame that never becomes whole, so that all of it has to be kept.
    let mut stream = BytesMut::new();
    stream.put_u32(65_536);
    stream.resize(WINDOW_BYTES * 3, 7);
    for chunk in stream.chunks(400) {
        say(&bearer, &mut keyed, Piece::Data(Bytes::copy_from_slice(chunk))).await;
    }
    ends(link).await;
}

#[tokio::test]
async fn an_acknowledgement_of_what_was_not_sent_ends_the_link() {
    let (link, bearer, mut keyed) = against().await;
    say(&bearer, &mut keyed, Piece::Ack(1)).await;
    ends(link).await;
}

#[tokio::test]
async fn a_stream_of_no_frames_ends_the_link() {
    for prefix in [0_u32, 65_537, u32::MAX] {
        let (link, bearer, mut keyed) = against().await;
        say(&bearer, &mut keyed, Piece::Data(Bytes::copy_from_slice(&prefix.to_be_bytes()))).await;
        ends(link).await;
    }
}

#[tokio::test]
async fn half_a_frame_at_the_end_is_no_frame() {
    let (link, bearer, mut keyed) = against().await;
    say(&bearer, &mut keyed, Piece::Data(Bytes::from_static(b"\0\0\0\x09half"))).await;
    say(&bearer, &mut keyed, Piece::End { close: false }).await;
    ends(link).await;
}

#[tokio::test]
async fn pieces_that_do_not_open_end_a_link_of_its_own() {
    const SEED: u64 = 0xB1E;
    println!("seed {SEED:#x}");
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    for size in [0, 1, 15, 16, 17, 200, 509] {
        let (link, bearer, _) = against().await;
        let mut noise = vec![0; size];
        rng.fill_bytes(&mut noise);
        bearer.tx.send(noise.into()).await.unwrap();
        ends(link).await;
    }
}

/// A GATT server hears all clients: what does not open is somebody else's, up to a limit.
#[tokio::test]
async fn pieces_of_others_pass_by_a_numbered_bearer() {
    let (mine, theirs) = pair(512);
    let (link, peer) =
        linked(Bearer { numbered: true, ..mine }, Bearer { numbered: true, ..with_noise(theirs, 20) }).await;
    let RawLink { mut rx, closed, .. } = peer;
    link.tx.send(Bytes::from_static(b"through all of it")).await.unwrap();
    assert_eq!(step("frame", rx.recv()).await.unwrap(), "through all of it");
    assert!(!closed.is_cancelled());
}

/// After the handshake, `count` pieces of nonsense come before everything else.
fn with_noise(inner: Bearer, count: usize) -> Bearer {
    let (front, Backend { mut from, to, end: _ }) = bearer(inner.piece_max, false);
    let Bearer { tx, mut rx, _end, .. } = inner;
    tokio::spawn(async move {
        while let Some(piece) = from.recv().await {
            if tx.send(piece).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let _alive = _end;
        let mut first = true;
        while let Some(piece) = rx.recv().await {
            if to.send(piece).await.is_err() {
                return;
            }
            for number in 0..if first { count } else { 0 } {
                let _ended = to.send(vec![7; 30 + number].into()).await;
            }
            first = false;
        }
    });
    front
}

#[tokio::test]
async fn a_man_in_the_middle_is_found_out() {
    in_the_middle(pair(l2cap::PIECE_MAX), pair(l2cap::PIECE_MAX)).await.unwrap();
}

/// Whoever sits in the middle agrees on keys with both, and cannot make one signature hold for both bindings. Two
/// bearers, each with the victim's end first. `None`: they do not carry.
pub(super) async fn in_the_middle(
    (victim_a, mut left): (Bearer, Bearer),
    (victim_b, mut right): (Bearer, Bearer),
) -> Option<()> {
    let (shared_a, shared_b) = (shared(1), shared(2));
    let agreed = async {
        tokio::join!(
            raw_link(&shared_a, victim_a, Role::Dialler, at(2)),
            raw_link(&shared_b, victim_b, Role::Listener, at(1)),
            handshake(&mut left, Role::Listener, Token([8; 4])),
            handshake(&mut right, Role::Dialler, Token([9; 4])),
        )
    };
    let (a, b, from_a, to_b) = timeout(2 * AUTH_TIMEOUT, agreed).await.ok()?;
    let (a, b, mut from_a, mut to_b) = (a.ok()?, b.ok()?, from_a.ok()?, to_b.ok()?);
    assert_ne!(a.meta.binding, b.meta.binding);
    let relay = async {
        loop {
            tokio::select! {
                Some(piece) = left.rx.recv() => {
                    from_a.seal.open(&piece).unwrap();
                    let piece = from_a.seal.next().unwrap();
                    say(&right, &mut to_b, piece).await;
                }
                Some(piece) = right.rx.recv() => {
                    to_b.seal.open(&piece).unwrap();
                    let piece = to_b.seal.next().unwrap();
                    say(&left, &mut from_a, piece).await;
                }
                else => std::future::pending::<()>().await,
            }
        }
    };
    let hello = pigeon_link::contract::hello;
    let (node_a, node_b) = (node(1), node(2));
    let both =
        async { tokio::join!(authenticate(a, &node_a, hello(true)), authenticate(b, &node_b, hello(true))) };
    let (a, b) =
        tokio::select! { outcomes = step("both decide", both) => outcomes, () = relay => unreachable!() };
    let found = [a.map(|_| ()), b.map(|_| ())];
    assert!(found.iter().any(|outcome| matches!(outcome, Err(HandshakeError::Signature(_)))), "{found:?}");
    assert!(found.iter().all(Result::is_err), "{found:?}");
    Some(())
}

/// A reader that stalls in one direction does not hold up the other.
#[tokio::test]
async fn a_stalled_reader_holds_up_its_own_peer_only() {
    let (dialler, listener) = pair(512);
    let (dialler, mut listener) = linked(dialler, listener).await;
    let fill = async { while dialler.tx.send(vec![1; 16_384].into()).await.is_ok() {} };
    let back = async {
        // `listener.rx` is not read, and yet what the listener sends arrives.
        for number in 0..200_u32 {
            listener.tx.send(Bytes::copy_from_slice(&number.to_be_bytes())).await.unwrap();
        }
    };
    let mut arrived = dialler.rx;
    let read = async {
        for number in 0..200_u32 {
            assert_eq!(step("frame back", arrived.recv()).await.unwrap()[..], number.to_be_bytes());
        }
    };
    tokio::select! { () = fill => unreachable!(), ((), ()) = async { tokio::join!(back, read) } => {} }
    assert!(listener.rx.try_recv().is_ok());
}

/// A link that is cut after any piece, from the first of the handshake to the last acknowledgement: both ends notice,
/// and what arrived is a beginning of what was sent.
#[tokio::test]
async fn a_cut_after_any_piece_is_noticed_by_both() {
    const FRAMES: u8 = 8;
    let mut cut_after = 0;
    let whole = loop {
        let (a, b) = pair(512);
        let (a, b) = (counted(a, cut_after), b);
        let (shared_a, shared_b) = (shared(1), shared(2));
        let (node_a, node_b) = (node(1), node(2));
        let send = async {
            let raw = raw_link(&shared_a, a, Role::Dialler, at(2)).await.ok()?;
            let link = authenticate(raw, &node_a, pigeon_link::contract::hello(true)).await.ok()?;
            for number in 0..FRAMES {
                let data = vec![number; 300].into();
                let segment = pigeon_proto::Frame::Segment { bundle: BundleId([1; 32]), offset: 0, data };
                link.send(segment).await.ok()?;
            }
            let closed = link.closed();
            drop(link);
            closed.cancelled().await;
            Some(())
        };
        let receive = async {
            let Ok(raw) = raw_link(&shared_b, b, Role::Listener, at(1)).await else { return 0 };
            let hello = pigeon_link::contract::hello(true);
            let Ok(mut link) = authenticate(raw, &node_b, hello).await else { return 0 };
            let mut arrived = 0;
            while let Ok(Some(pigeon_proto::Frame::Segment { data, .. })) = link.recv().await {
                assert_eq!(data[..], [arrived; 300], "in order, after {cut_after} pieces");
                arrived += 1;
            }
            arrived
        };
        let both = async { tokio::join!(send, receive) };
        let (_, arrived) = step("both ends are done", both).await;
        if arrived == FRAMES {
            break cut_after;
        }
        cut_after += 1;
    };
    assert!(whole >= 6, "handshake, Hello, Auth and {FRAMES} frames in {whole} pieces");
}

/// A bearer that is gone after so many pieces have been sent over it.
fn counted(inner: Bearer, pieces: usize) -> Bearer {
    let (front, Backend { mut from, to, end: _ }) = bearer(inner.piece_max, false);
    let Bearer { tx, mut rx, _end, .. } = inner;
    tokio::spawn(async move {
        let _alive = _end;
        let mut left = pieces;
        loop {
            tokio::select! {
                piece = from.recv() => {
                    let Some(piece) = piece else { return };
                    if left == 0 || tx.send(piece).await.is_err() {
                        return;
                    }
                    left -= 1;
                }
                piece = rx.recv() => {
                    let Some(piece) = piece else { return };
                    let _ended = to.send(piece).await;
                }
            }
        }
    });
    front
}
