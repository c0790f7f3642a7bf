//! What the fuzz targets have found (`tests/fuzz/corpus`), given to the same properties again.

#[path = "../../tests/fuzz/src/messages.rs"]
mod messages;
#[path = "../../tests/fuzz/src/replay.rs"]
mod replay;

use pigeon_proto::{Content, Frame};
use replay::replay;

/// Most bytes of memory in use at once for each byte of input, and for any input: an empty entry of a list of strings
/// takes two bytes in a message and 24 in memory, and lists grow by doubling.
const MEMORY_FACTOR: u64 = 40;
const MEMORY_BASE: u64 = 4_096;

#[test]
fn content() {
    replay("content", messages::content);
}

#[test]
fn frame() {
    replay("frame", messages::frame);
}

fn decoding(data: &[u8]) {
    let used = allocation_counter::measure(|| {
        let _ = Content::decode(data);
        let _ = Frame::decode(bytes::Bytes::copy_from_slice(data));
    });
    let most = MEMORY_FACTOR * data.len() as u64 + MEMORY_BASE;
    assert!(used.bytes_max <= most, "{} bytes of memory for {} of input", used.bytes_max, data.len());
}

#[test]
fn no_input_takes_more_memory_than_a_multiple_of_it() {
    replay("content", decoding);
    replay("frame", decoding);
    // Entries without content, in each field of each frame, as many as fit.
    for number in 0..=20_u8 {
        for field in 1..=15_u8 {
            let entries: Vec<u8> = [field << 3 | 2, 0].repeat(32_000);
            decoding(&[&[number][..], &entries].concat());
            decoding(&entries);
        }
    }
}
