//! What runs in the guest.

pub(crate) mod attachment;
pub(crate) mod contacts;
mod dense;
mod handover;
mod messages;
mod phases;
mod soak;
mod trouble;

use std::path::Path;

use pigeon_harness::{Node, NodeSpec, Place};

/// Nodes named after their adapters' users, without any network: no QUIC, and the guest has no interface that is up.
pub(crate) fn nodes<const N: usize>(dir: &Path, names: [&str; N]) -> [Node; N] {
    nodes_with(dir, names, |spec| spec)
}

/// The same, with changes to what each is to be.
pub(crate) fn nodes_with<const N: usize>(
    dir: &Path,
    names: [&str; N],
    change: impl Fn(NodeSpec) -> NodeSpec,
) -> [Node; N] {
    let mut number = 0;
    names.map(|name| {
        let spec = change(NodeSpec::new(name).bluetooth(&format!("hci{number}")));
        number += 1;
        Node::start(Place::Here, &spec, dir).unwrap()
    })
}

/// Log filter with which each link tells what it has carried when it is over: for [`Carried::by`].
pub(crate) const TELL_LINKS: &str = "pigeon_ble=debug,info";

/// Bytes of frames that a node's links have carried, of those links that are over.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Carried {
    pub(crate) links: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Carried {
    /// From the log of a node with [`TELL_LINKS`].
    pub(crate) fn by(node: &Node) -> Self {
        let log = std::fs::read_to_string(node.daemon().log()).unwrap();
        let mut carried = Self::default();
        for line in log.lines().filter(|line| line.contains("link over")) {
            let field = |name: &str| -> u64 {
                let (_, rest) = line.split_once(name).unwrap();
                rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
            };
            carried.links += 1;
            carried.sent += field(" sent=");
            carried.received += field(" received=");
        }
        carried
    }
}

/// The sum of all bundles that a node holds.
pub(crate) fn held_bytes(node: &Node) -> u64 {
    node.json(&["bundles", "stats"]).unwrap()["bytes"].as_u64().unwrap()
}

/// Neither of them has panicked.
pub(crate) fn assert_calm(nodes: &[&Node]) {
    for node in nodes {
        let log = std::fs::read_to_string(node.daemon().log()).unwrap();
        assert!(!log.contains("panicked"), "{}:\n{}", node.name(), node.daemon().log_tail());
    }
}
