//! The length before each frame (docs/wire-format.md section 6), without IO.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The largest frame, number byte included, in bytes.
pub const FRAME_SIZE_MAX: usize = 65_536;

/// Bytes of the length prefix.
const PREFIX_SIZE: usize = 4;

/// Why a stream of bytes is not a stream of frames. The link is beyond repair: close it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The prefix promises more than a frame may hold.
    #[error(
        "frame of {size} bytes announced, the limit is {FRAME_SIZE_MAX}: the peer is broken or hostile, close the link"
    )]
    Oversize {
        /// Announced size in bytes.
        size: u32,
    },
    /// A frame has at least its number byte.
    #[error("frame of 0 bytes announced: the peer is broken or hostile, close the link")]
    Empty,
}

/// Cuts received bytes into frames.
///
/// Push what was read, then take frames until there are none. At most one incomplete frame stays behind, so
/// a caller that drains after each push holds at most one frame and one read.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    failed: Option<FramingError>,
}

impl Framer {
    /// A framer at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes as they were received. After an error they are discarded.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next complete frame without its prefix, or `None` until more bytes come.
    ///
    /// # Errors
    /// A length of zero or above [`FRAME_SIZE_MAX`]; the same error again at every later call.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FramingError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_SIZE>() else { return Ok(None) };
        let announced = u32::from_be_bytes(*prefix);
        let size = match checked_size(announced) {
            Ok(size) => size,
            Err(error) => return Err(self.fail(error)),
        };
        if self.buffer.len() < PREFIX_SIZE + size {
            self.buffer.reserve(PREFIX_SIZE + size - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(PREFIX_SIZE);
        Ok(Some(self.buffer.split_to(size).freeze()))
    }

    /// Whether the stream stops between two frames: false means that its end cuts a frame in half.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        self.buffer.is_empty() && self.failed.is_none()
    }

    fn fail(&mut self, error: FramingError) -> FramingError {
        self.failed = Some(error);
        self.buffer = BytesMut::new();
        error
    }
}

fn checked_size(announced: u32) -> Result<usize, FramingError> {
    match usize::try_from(announced) {
        Ok(0) => Err(FramingError::Empty),
        Ok(size) if size <= FRAME_SIZE_MAX => Ok(size),
        _ => Err(FramingError::Oversize { size: announced }),
    }
}

/// Appends `frame` with its length before it.
///
/// # Errors
/// An empty frame or one above [`FRAME_SIZE_MAX`]; nothing is appended then.
pub fn encode_into(frame: &[u8], out: &mut BytesMut) -> Result<(), FramingError> {
    let announced = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    checked_size(announced)?;
    out.reserve(PREFIX_SIZE + frame.len());
    out.put_u32(announced);
    out.put_slice(frame);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefix_is_four_bytes_big_endian() {
        let mut out = BytesMut::new();
        encode_into(b"abc", &mut out).unwrap();
        assert_eq!(&out[..], b"\0\0\0\x03abc");
    }

    #[test]
    fn largest_frame_passes_and_one_byte_more_does_not() {
        let mut out = BytesMut::new();
        encode_into(&vec![7; FRAME_SIZE_MAX], &mut out).unwrap();
        let mut framer = Framer::new();
        framer.push(&out);
        assert_eq!(framer.next_frame().unwrap().unwrap().len(), FRAME_SIZE_MAX);
        let oversize = FramingError::Oversize { size: 65_537 };
        out.clear();
        assert_eq!(encode_into(&vec![7; FRAME_SIZE_MAX + 1], &mut out), Err(oversize));
        assert!(out.is_empty());
        framer.push(&65_537_u32.to_be_bytes());
        assert_eq!(framer.next_frame(), Err(oversize));
    }

    #[test]
    fn announced_size_allocates_nothing_beyond_one_frame() {
        let mut framer = Framer::new();
        framer.push(&u32::MAX.to_be_bytes());
        assert_eq!(framer.next_frame(), Err(FramingError::Oversize { size: u32::MAX }));
        framer.push(&[0; 1_000]);
        assert_eq!(framer.next_frame(), Err(FramingError::Oversize { size: u32::MAX }), "stays failed");
        assert_eq!(framer.buffer.len(), 0, "keeps nothing after a failure");
    }

    #[test]
    fn empty_frame_is_refused_both_ways() {
        let mut framer = Framer::new();
        framer.push(&[0; 4]);
        assert_eq!(framer.next_frame(), Err(FramingError::Empty));
        assert_eq!(encode_into(b"", &mut BytesMut::new()), Err(FramingError::Empty));
    }

    #[test]
    fn boundary_is_only_between_frames() {
        let mut framer = Framer::new();
        assert!(framer.is_at_boundary());
        framer.push(&[0, 0]);
        assert!(!framer.is_at_boundary());
        framer.push(&[0, 1, 9]);
        assert_eq!(framer.next_frame().unwrap().unwrap(), &[9][..]);
        assert!(framer.is_at_boundary());
    }

    proptest! {
        #[test]
        fn any_frames_cut_anywhere_come_out_again(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..20),
            cuts in prop::collection::vec(1_usize..200, 1..40),
        ) {
            let mut stream = BytesMut::new();
            for frame in &frames {
                encode_into(frame, &mut stream).unwrap();
            }
            let mut framer = Framer::new();
            let mut out = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                framer.push(now);
                while let Some(frame) = framer.next_frame().unwrap() {
                    out.push(frame.to_vec());
                }
                rest = later;
            }
            prop_assert_eq!(out, frames);
            prop_assert!(framer.is_at_boundary());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let mut framer = Framer::new();
            framer.push(&bytes);
            let mut taken = 0;
            while let Ok(Some(frame)) = framer.next_frame() {
                taken += frame.len() + PREFIX_SIZE;
            }
            prop_assert!(taken <= bytes.len());
        }
    }
}
