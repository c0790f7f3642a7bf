//! Lists of fixed-size entries, which travel as one run of bytes.

use bytes::Bytes;

use super::FrameError;

/// Joins entries into one run of bytes.
pub(super) fn join<T: AsRef<[u8]>>(entries: &[T]) -> Bytes {
    entries.iter().flat_map(AsRef::as_ref).copied().collect::<Vec<u8>>().into()
}

/// Cuts a run of bytes into entries of `N` bytes, at most `limit` of them.
pub(super) fn cut<const N: usize, T>(
    frame: &'static str,
    bytes: &[u8],
    limit: usize,
    make: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, FrameError> {
    let (entries, rest) = bytes.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(FrameError::ListLength { frame, size: bytes.len(), entry: N });
    }
    check_len(frame, entries.len(), limit)?;
    Ok(entries.iter().map(|entry| make(*entry)).collect())
}

/// Holds a list to its limit.
pub(super) fn check_len(frame: &'static str, count: usize, limit: usize) -> Result<(), FrameError> {
    if count > limit { Err(FrameError::ListLimit { frame, count, limit }) } else { Ok(()) }
}

/// A list that goes on must hold something, or a peer could keep it open for nothing.
pub(super) fn check_open(frame: &'static str, count: usize, last: bool) -> Result<(), FrameError> {
    if count == 0 && !last { Err(FrameError::ListStalls { frame }) } else { Ok(()) }
}
