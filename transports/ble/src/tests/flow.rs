//! How bytes are cut into pieces.

use pigeon_link::contract::step;

use super::hostile::against;
use crate::piece::Piece;
use crate::seal::data_max;

#[tokio::test]
async fn the_rest_of_a_frame_and_the_beginning_of_the_next_share_a_piece() {
    const FRAMES: usize = 4;
    const FRAME: usize = 600;
    let (link, mut bearer, mut keyed) = against().await;
    for _ in 0..FRAMES {
        link.tx.try_send(vec![7; FRAME].into()).unwrap();
    }
    let stream = FRAMES * (FRAME + 4);
    let (mut pieces, mut bytes) = (0, 0);
    while bytes < stream {
        let sealed = step("the next piece", bearer.rx.recv()).await.unwrap();
        keyed.seal.open(&sealed).unwrap();
        if let Some(Piece::Data(data)) = keyed.seal.next() {
            (pieces, bytes) = (pieces + 1, bytes + data.len());
        }
    }
    assert_eq!(pieces, stream.div_ceil(data_max(bearer.piece_max, false)));
}
