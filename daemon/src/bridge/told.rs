//! Which authors know of which refusals.

use std::collections::{BTreeSet, VecDeque};

use pigeon_bundle::BundleId;

/// Most refusals whose authors are remembered to have been told.
const TOLD_MAX: usize = 4_096;

/// Refusals that their authors know of, so that five carriers do not tell five times.
#[derive(Default)]
pub struct Told {
    order: VecDeque<BundleId>,
    set: BTreeSet<BundleId>,
}

impl Told {
    /// Whether it is the first time.
    pub fn first(&mut self, bundle: BundleId) -> bool {
        if !self.set.insert(bundle) {
            return false;
        }
        self.order.push_back(bundle);
        if self.order.len() > TOLD_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_is_told_once() {
        let mut told = Told::default();
        assert!(told.first(BundleId([1; 32])));
        assert!(!told.first(BundleId([1; 32])));
        for n in 0..TOLD_MAX {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            told.first(BundleId(id));
        }
        assert_eq!(told.set.len(), TOLD_MAX);
        assert!(told.first(BundleId([1; 32])));
    }
}
