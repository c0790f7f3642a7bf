//! Frames arrive whole, once and in order, and only if they are frames.

use bytes::Bytes;
use pigeon_proto::FRAME_SIZE_MAX;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::{Pair, Rig, step};
use crate::RawLink;

/// A frame that says where it belongs: its number, then filler that depends on it.
fn numbered(number: u32, size: usize) -> Bytes {
    let mut frame = number.to_be_bytes().to_vec();
    let filler = number.to_le_bytes()[0];
    frame.resize(size.max(4), filler);
    frame.into()
}

/// Each side sends and receives.
pub async fn both_directions_carry(rig: &impl Rig) {
    let Pair { mut dialler, mut listener, .. } = rig.pair().await;
    dialler.tx.send(Bytes::from_static(b"there")).await.unwrap();
    assert_eq!(step("first frame arrives", listener.rx.recv()).await.unwrap(), "there");
    listener.tx.send(Bytes::from_static(b"back")).await.unwrap();
    assert_eq!(step("answer arrives", dialler.rx.recv()).await.unwrap(), "back");
}

/// Thousands of frames of random sizes, both ways at once.
pub async fn many_frames_keep_their_order(rig: &impl Rig) {
    const COUNT: u32 = 3_000;
    const SEED: u64 = 0x0BD1;
    println!("seed {SEED:#x}");
    let Pair { dialler, listener, .. } = rig.pair().await;
    let sizes = |purpose: u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(SEED ^ purpose);
        move || usize::try_from(rng.next_u32() % 1_500).unwrap() + 4
    };
    let send = async |tx: tokio::sync::mpsc::Sender<Bytes>, mut size: Box<dyn FnMut() -> usize + Send>| {
        for number in 0..COUNT {
            tx.send(numbered(number, size())).await.unwrap();
        }
        tx
    };
    let receive = async |mut rx: tokio::sync::mpsc::Receiver<Bytes>,
                         mut size: Box<dyn FnMut() -> usize + Send>| {
        for number in 0..COUNT {
            let frame = step("next frame arrives", rx.recv()).await.unwrap();
            assert_eq!(frame, numbered(number, size()), "frame {number}");
        }
    };
    tokio::join!(
        send(dialler.tx, Box::new(sizes(1))),
        receive(listener.rx, Box::new(sizes(1))),
        send(listener.tx, Box::new(sizes(2))),
        receive(dialler.rx, Box::new(sizes(2))),
    );
}

/// A frame of exactly the limit, both ways.
pub async fn largest_frame_passes(rig: &impl Rig) {
    let Pair { mut dialler, mut listener, .. } = rig.pair().await;
    let largest = numbered(7, FRAME_SIZE_MAX);
    dialler.tx.send(largest.clone()).await.unwrap();
    assert!(step("largest frame arrives", listener.rx.recv()).await.unwrap() == largest);
    listener.tx.send(largest.clone()).await.unwrap();
    assert!(step("largest frame comes back", dialler.rx.recv()).await.unwrap() == largest);
}

/// One byte above the limit never arrives, and the link is over.
pub async fn oversize_frame_ends_the_link(rig: &impl Rig) {
    let Pair { dialler, listener, .. } = rig.pair().await;
    ends_the_link(dialler, listener, numbered(1, FRAME_SIZE_MAX + 1)).await;
    let Pair { dialler, listener, .. } = rig.pair().await;
    ends_the_link(listener, dialler, numbered(1, FRAME_SIZE_MAX + 1)).await;
}

/// A frame has at least its number byte.
pub async fn empty_frame_ends_the_link(rig: &impl Rig) {
    let Pair { dialler, listener, .. } = rig.pair().await;
    ends_the_link(dialler, listener, Bytes::new()).await;
}

async fn ends_the_link(from: RawLink, mut to: RawLink, frame: Bytes) {
    from.tx.send(frame).await.unwrap();
    assert!(step("receiver's link ends", to.rx.recv()).await.is_none(), "the bad frame must not arrive");
    step("sender learns that the link is over", from.closed.cancelled()).await;
}
