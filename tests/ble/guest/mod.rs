//! What runs in the guest.

pub(crate) mod contacts;
mod dense;
mod messages;
mod soak;
mod trouble;

use std::path::Path;

use pigeon_harness::{Node, NodeSpec};

/// Nodes named after their adapters' users, without any network: no QUIC, and the guest has no interface that is up.
pub(crate) fn nodes<const N: usize>(dir: &Path, names: [&str; N]) -> [Node; N] {
    let mut number = 0;
    names.map(|name| {
        let spec = NodeSpec::new(name).bluetooth(&format!("hci{number}"));
        number += 1;
        Node::start(pigeon_harness::Place::Here, &spec, dir).unwrap()
    })
}
