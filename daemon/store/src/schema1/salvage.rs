//! Reading what can be read of a database whose pages cannot all be read.

use sled::Tree;

use crate::engine::guarded;
use crate::error::StoreError;

/// Bytes of a key that skipping counts in: the kind and 32 bits of what follows.
const SKIP_BYTES: usize = 5;

/// Gives all readable entries to `sink`; returns how often it met something unreadable. Behind an unreadable page it
/// goes on at growing distances until something can be read again.
pub(super) fn salvage(
    from: &Tree,
    mut sink: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<usize, StoreError> {
    let (mut start, mut step, mut gaps) = (Vec::new(), 1, 0);
    loop {
        let mut iter = from.range(start.clone()..);
        let mut last = None;
        loop {
            match guarded(|| Ok(iter.next().transpose()?)) {
                Ok(Some((key, value))) => {
                    sink(&key, &value)?;
                    last = Some(key.to_vec());
                }
                Ok(None) => return Ok(gaps),
                Err(_) => break,
            }
        }
        gaps += 1;
        step = if last.is_some() { 1 } else { step * 2 };
        match skip(last.as_ref().unwrap_or(&start), step) {
            Some(next) => start = next,
            None => return Ok(gaps),
        }
    }
}

/// The key `step` places behind `key`, counted in its first [`SKIP_BYTES`].
fn skip(key: &[u8], step: u64) -> Option<Vec<u8>> {
    let mut number = [0; 8];
    for (to, from) in number[8 - SKIP_BYTES..].iter_mut().zip(key) {
        *to = *from;
    }
    let next = u64::from_be_bytes(number).checked_add(step)?;
    let bytes = next.to_be_bytes();
    let (over, key) = bytes.split_at(8 - SKIP_BYTES);
    over.iter().all(|byte| *byte == 0).then(|| key.to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn skipping_goes_up_and_ends() {
        assert_eq!(skip(&[], 1), Some(vec![0, 0, 0, 0, 1]));
        assert_eq!(skip(&[0x20, 1, 2, 0xff, 0xff, 9, 9], 1), Some(vec![0x20, 1, 3, 0, 0]));
        assert_eq!(skip(&[0xff, 0xff, 0xff, 0xff, 0xfe], 2), None);
    }
}
