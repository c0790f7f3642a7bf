//! Where the first key of each kind is, as far as somebody has looked.
//!
//! What is removed stays in the runs until they are merged. Who removes from the front, as expiry does, would step over all
//! of it again each time: instead a walk from the front notes how far there is nothing, and the next one begins there.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// For a kind, a key below which there is none of that kind.
#[derive(Debug, Default)]
pub(crate) struct Fronts(Mutex<BTreeMap<u8, Vec<u8>>>);

impl Fronts {
    /// Where a walk from `from` can begin as well; `None` where that is behind the front, or nothing is known.
    pub(crate) fn skip(&self, from: &[u8]) -> Option<Vec<u8>> {
        let kind = *from.first()?;
        let fronts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match fronts.get(&kind) {
            Some(front) => (from <= front.as_slice()).then(|| front.clone()),
            None => (from == [kind]).then(|| vec![kind]),
        }
    }

    /// A walk that began at or before the front has found nothing below `first`.
    pub(crate) fn found(&self, kind: u8, first: &[u8]) {
        let end = [kind + 1];
        let first = first.min(end.as_slice());
        let mut fronts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let front = fronts.entry(kind).or_default();
        // A walk that ended before the front has found nothing new.
        if front.as_slice() < first {
            *front = first.to_vec();
        }
    }

    /// A key was set.
    pub(crate) fn set(&mut self, key: &[u8]) {
        let fronts = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(front) = key.first().and_then(|kind| fronts.get_mut(kind))
            && key < front.as_slice()
        {
            *front = key.to_vec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_goes_on_and_comes_back() {
        let mut fronts = Fronts::default();
        assert_eq!(fronts.skip(&[3, 5]), None);
        assert_eq!(fronts.skip(&[3]), Some(vec![3]));
        fronts.found(3, &[3, 7]);
        assert_eq!(fronts.skip(&[3]), Some(vec![3, 7]));
        assert_eq!(fronts.skip(&[3, 6]), Some(vec![3, 7]));
        assert_eq!(fronts.skip(&[3, 8]), None);
        fronts.set(&[3, 9]);
        fronts.set(&[4, 1]);
        assert_eq!(fronts.skip(&[3]), Some(vec![3, 7]));
        fronts.set(&[3, 4]);
        assert_eq!(fronts.skip(&[3]), Some(vec![3, 4]));
        fronts.found(3, &[9, 9]);
        assert_eq!(fronts.skip(&[3]), Some(vec![4]));
    }
}
