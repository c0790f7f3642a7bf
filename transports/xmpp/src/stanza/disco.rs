//! XEP-0030 and XEP-0199: what we are, and that we are there.

use minidom::Element;

use crate::ns;
use crate::wire::{With, el};

/// What an entity says it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) category: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) features: &'static [&'static str],
}

/// The bridge.
pub(crate) const BRIDGE: Identity =
    Identity { category: "component", kind: "generic", features: &[ns::BUNDLE, ns::BRIDGE] };

/// A node's session.
pub(crate) const NODE: Identity = Identity { category: "client", kind: "bot", features: &[ns::BUNDLE] };

const NAME: &str = "CarrierPigeon";

/// The answer's payload to a request that everyone answers: `Some(None)` is an empty result, `None` means that
/// this is another request.
pub(crate) fn answer(payload: &Element, identity: Identity) -> Option<Option<Element>> {
    if payload.is("ping", ns::PING) {
        return Some(None);
    }
    if !payload.is("query", ns::DISCO_INFO) || payload.attr("node").is_some() {
        return None;
    }
    let mut query = el("query", ns::DISCO_INFO).child(
        el("identity", ns::DISCO_INFO)
            .with("category", identity.category)
            .with("type", identity.kind)
            .with("name", NAME),
    );
    for feature in [ns::DISCO_INFO, ns::PING].iter().chain(identity.features) {
        query.append_child(el("feature", ns::DISCO_INFO).with("var", feature));
    }
    Some(Some(query))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::print;

    #[test]
    fn disco_snapshot() {
        let answer = answer(&el("query", ns::DISCO_INFO), BRIDGE).unwrap().unwrap();
        assert_eq!(
            print(&answer, ns::COMPONENT),
            "<query xmlns='http://jabber.org/protocol/disco#info'>\
             <identity category='component' name='CarrierPigeon' type='generic'/>\
             <feature var='http://jabber.org/protocol/disco#info'/><feature var='urn:xmpp:ping'/>\
             <feature var='urn:carrierpigeon:bundle:1'/><feature var='urn:carrierpigeon:bridge:1'/></query>"
        );
    }

    #[test]
    fn ping_is_answered_and_others_are_not() {
        assert_eq!(answer(&el("ping", ns::PING), NODE), Some(None));
        assert_eq!(answer(&el("query", ns::DISCO_INFO).with("node", "x"), NODE), None);
        assert_eq!(answer(&el("query", "jabber:iq:version"), NODE), None);
    }
}
