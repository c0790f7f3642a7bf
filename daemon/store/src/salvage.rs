//! Copying what can be read out of a database whose pages cannot all be read.

use sled::Tree;

use crate::bulk::Bulk;
use crate::engine::{EngineError, guarded};

/// Bytes of a key that skipping counts in: the kind and 32 bits of what follows.
const SKIP_BYTES: usize = 5;

/// What a salvage did.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Salvaged {
    /// Entries copied.
    pub(crate) entries: usize,
    /// Times it met something unreadable and went on behind it.
    pub(crate) gaps: usize,
}

/// Copies all readable entries. Behind an unreadable page it goes on at growing distances until something can be
/// read again.
pub(crate) fn salvage(from: &Tree, to: &Tree) -> Result<Salvaged, EngineError> {
    let mut done = Salvaged::default();
    let mut start = Vec::new();
    let mut step = 1;
    loop {
        let before = done.entries;
        let mut last = start.clone();
        if copy_run(from, to, &start, &mut last, &mut done.entries)? {
            return Ok(done);
        }
        done.gaps += 1;
        step = if done.entries > before { 1 } else { step * 2 };
        match skip(&last, step) {
            Some(next) => start = next,
            None => return Ok(done),
        }
    }
}

/// Copies from `start` to the end (`true`), or to the first thing that cannot be read. Errors are the target's.
fn copy_run(
    from: &Tree,
    to: &Tree,
    start: &[u8],
    last: &mut Vec<u8>,
    entries: &mut usize,
) -> Result<bool, EngineError> {
    let mut bulk = Bulk::new(to);
    let mut iter = from.range(start..);
    let complete = loop {
        match guarded(|| Ok(iter.next().transpose()?)) {
            Ok(Some((key, value))) => {
                last.clear();
                last.extend_from_slice(&key);
                bulk.insert(key, value)?;
                *entries += 1;
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    bulk.finish()?;
    Ok(complete)
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

    #[test]
    fn everything_readable_is_copied() {
        let (from_dir, to_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (sled::open(from_dir.path()).unwrap(), sled::open(to_dir.path()).unwrap());
        for number in 0..500_u32 {
            from.insert(number.to_be_bytes(), vec![7; 100]).unwrap();
        }
        let salvaged = salvage(&from, &to).unwrap();
        assert_eq!((salvaged.entries, salvaged.gaps, to.len()), (500, 0, 500));
    }
}
