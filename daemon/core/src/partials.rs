//! Bundles that a broken link left unfinished. Each belongs to the node key that sent it.

use std::collections::BTreeMap;

use pigeon_bundle::{BundleId, NodeKey};

/// Partials kept.
pub const PARTIALS_MAX: usize = 64;
/// Bytes of partials kept.
pub const PARTIAL_BYTES_MAX: usize = 4 << 20;

#[derive(Debug)]
struct Partial {
    size: u32,
    bytes: Vec<u8>,
    number: u64,
}

/// Unfinished bundles; the oldest give way.
#[derive(Debug, Default)]
pub(crate) struct Partials {
    held: BTreeMap<(NodeKey, BundleId), Partial>,
    bytes: usize,
    next: u64,
}

impl Partials {
    /// Keeps what came so far of a bundle of `size` bytes.
    pub(crate) fn keep(&mut self, node: NodeKey, id: BundleId, size: u32, bytes: Vec<u8>) {
        self.discard(&node, &id);
        if bytes.is_empty() || bytes.len() > PARTIAL_BYTES_MAX {
            return;
        }
        self.bytes += bytes.len();
        self.held.insert((node, id), Partial { size, bytes, number: self.next });
        self.next += 1;
        while self.held.len() > PARTIALS_MAX || self.bytes > PARTIAL_BYTES_MAX {
            let oldest = self.held.iter().min_by_key(|(_, partial)| partial.number).map(|(key, _)| *key);
            let Some((node, id)) = oldest else { break };
            self.discard(&node, &id);
        }
    }

    /// Takes what is held of a bundle, if the size is still the same.
    pub(crate) fn take(&mut self, node: &NodeKey, id: &BundleId, size: u32) -> Vec<u8> {
        match self.held.remove(&(*node, *id)) {
            Some(partial) => {
                self.bytes -= partial.bytes.len();
                if partial.size == size { partial.bytes } else { Vec::new() }
            }
            None => Vec::new(),
        }
    }

    /// Forgets what is held of a bundle.
    pub(crate) fn discard(&mut self, node: &NodeKey, id: &BundleId) {
        if let Some(partial) = self.held.remove(&(*node, *id)) {
            self.bytes -= partial.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_belongs_to_one_node_and_one_size() {
        let mut partials = Partials::default();
        let (node, id) = (NodeKey([1; 32]), BundleId([2; 32]));
        partials.keep(node, id, 10, vec![1, 2, 3]);
        assert!(partials.take(&NodeKey([9; 32]), &id, 10).is_empty());
        assert_eq!(partials.take(&node, &id, 10), vec![1, 2, 3]);
        assert!(partials.take(&node, &id, 10).is_empty(), "taken once");
        partials.keep(node, id, 10, vec![1]);
        assert!(partials.take(&node, &id, 11).is_empty());
        assert_eq!(partials.bytes, 0);
    }

    #[test]
    fn number_and_bytes_are_limited_and_the_oldest_go() {
        let mut partials = Partials::default();
        for n in 0..100 {
            partials.keep(NodeKey([n; 32]), BundleId([0; 32]), 98_304, vec![0; 90_000]);
        }
        assert!(partials.bytes <= PARTIAL_BYTES_MAX && partials.held.len() <= PARTIALS_MAX);
        assert!(partials.take(&NodeKey([0; 32]), &BundleId([0; 32]), 98_304).is_empty());
        assert_eq!(partials.take(&NodeKey([99; 32]), &BundleId([0; 32]), 98_304).len(), 90_000);
    }
}
