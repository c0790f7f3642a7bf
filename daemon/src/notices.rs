//! The core's notices in the words of `pigeon watch` (`docs/events.md`).

use std::sync::Arc;

use pigeon_bundle::{BundleId, NodeKey};
use pigeon_core::Notice;
use pigeon_proto::api::Event;

use crate::events::{EventLog, event};
use crate::mailbox::Mailbox;
use crate::neighbours::Neighbours;

/// Publishes notices as events.
pub struct Notices {
    /// Where they go.
    pub events: EventLog,
    /// Who knows contacts' names.
    pub mailbox: Arc<Mailbox>,
}

impl Notices {
    /// Appends the notice to the event log.
    pub fn publish(&self, notice: &Notice, neighbours: &Neighbours) {
        if let Notice::NeighbourRecognised { node, contact } = notice {
            neighbours.recognised(node, &self.mailbox.contact_name(*contact).unwrap_or_default());
        }
        self.events.push(self.event(notice));
    }

    fn event(&self, notice: &Notice) -> Event {
        match notice {
            Notice::NeighbourUp { node, .. } => peer("neighbour_up", node),
            Notice::NeighbourRecognised { node, contact } => {
                let contact = self.mailbox.contact_name(*contact).unwrap_or_default();
                Event { contact, ..peer("neighbour_recognised", node) }
            }
            Notice::NeighbourDown { node } => peer("neighbour_down", node),
            Notice::HandedOver { bundle, node, copies } => Event {
                bundle_id: bundle.to_string(),
                copies: u32::from(*copies),
                ..peer("handed_over", node)
            },
            Notice::Taken { bundle, node, copies, hops } => Event {
                bundle_id: bundle.to_string(),
                copies: u32::from(*copies),
                hops: u32::from(*hops),
                ..peer(if *copies == 0 { "stored" } else { "taken" }, node)
            },
            Notice::DeliveredDirect { bundle, node } => {
                Event { bundle_id: bundle.to_string(), ..peer("delivered_direct", node) }
            }
            Notice::Uploaded { bundle: id } => bundle("uploaded", id),
            Notice::BridgeAccepted { bundle: id } => bundle("bridge_accepted", id),
            Notice::BridgeRefused { bundle: id } => bundle("bridge_refused", id),
            Notice::Tombstone { commitment } => {
                Event { detail: commitment.to_string(), ..event("tombstone") }
            }
            Notice::Purged { bundle: id, reason } => {
                Event { detail: reason.as_str().to_owned(), ..bundle("purged", id) }
            }
            Notice::BundleRefused { node, reason } => {
                tracing::warn!(%reason, "a neighbour's bundle is dropped");
                Event { detail: reason.clone(), ..peer("bundle_refused", node) }
            }
            Notice::LinkRefused { node, reason } => {
                tracing::warn!(%reason, "a neighbour broke a rule; its link is closed");
                Event { detail: reason.clone(), ..peer("link_refused", node) }
            }
            Notice::TokenGiven { node } => peer("token_given", node),
            Notice::TokenTaken { node } => peer("token_taken", node),
            Notice::Fetched { bundle: id } => bundle("fetched", id),
            Notice::StorageProblem { reason } => {
                tracing::error!(%reason, "the store failed");
                Event { detail: reason.clone(), ..event("storage_problem") }
            }
        }
    }
}

fn peer(kind: &str, node: &NodeKey) -> Event {
    Event { peer: node.to_string(), ..event(kind) }
}

fn bundle(kind: &str, id: &BundleId) -> Event {
    Event { bundle_id: id.to_string(), ..event(kind) }
}
