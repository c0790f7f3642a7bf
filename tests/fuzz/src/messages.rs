//! Properties of what `pigeon-proto` reads.

#![allow(unreachable_pub, reason = "included by a test too")]
#![allow(clippy::unwrap_used, reason = "a panic is the finding")]

use bytes::{Bytes, BytesMut};
use pigeon_proto::{Content, Frame, Framer, encode_into};

/// What decodes can be encoded, means the same then, and has one encoding.
pub fn content(data: &[u8]) {
    let Ok(read) = Content::decode(data) else { return };
    let bytes = read.encode().unwrap();
    let again = Content::decode(&bytes).unwrap();
    assert_eq!(again, read);
    assert_eq!(again.encode().unwrap(), bytes);
}

/// As [`content`]; what decodes is also within the limits for sending, and goes through the framing.
pub fn frame(data: &[u8]) {
    stream(data);
    let Ok(read) = Frame::decode(Bytes::copy_from_slice(data)) else { return };
    read.check().unwrap();
    let bytes = read.encode();
    let again = Frame::decode(bytes.clone()).unwrap();
    assert_eq!(again, read);
    assert_eq!(again.encode(), bytes);
    let mut framed = BytesMut::new();
    encode_into(&bytes, &mut framed).unwrap();
    let mut framer = Framer::new();
    framer.push(&framed);
    assert_eq!(framer.next_frame().unwrap().as_deref(), Some(&bytes[..]));
    assert!(framer.is_at_boundary());
}

/// A stream gives the same frames however it is cut.
fn stream(data: &[u8]) {
    let frames = |size: usize| {
        let (mut framer, mut out) = (Framer::new(), Vec::new());
        for chunk in data.chunks(size) {
            framer.push(chunk);
            loop {
                match framer.next_frame() {
                    Ok(Some(frame)) => out.push(frame),
                    Ok(None) => break,
                    Err(error) => return (out, Some(error)),
                }
            }
        }
        (out, None)
    };
    assert_eq!(frames(data.len().max(1)), frames(data.len() / 3 + 1));
}
