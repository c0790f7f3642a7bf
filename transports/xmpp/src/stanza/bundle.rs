//! `<bundle/>`: a carrier hands one up, or a recipient finds one in a delivery.

use minidom::Element;

use super::{StanzaError, base64, bytes_of};
use crate::limits::BUNDLE_BYTES_MAX;
use crate::ns;
use crate::wire::{With, el};

/// The element alone.
pub(crate) fn element(bundle: &[u8]) -> Element {
    el("bundle", ns::BUNDLE).with_text(base64(bundle))
}

/// A carrier's upload to `bridge`.
pub(crate) fn upload(bridge: &str, id: &str, bundle: &[u8]) -> Element {
    el("message", ns::CLIENT)
        .with("to", bridge)
        .with("id", id)
        .child(element(bundle))
        .child(el("no-store", ns::HINTS))
        .child(el("no-copy", ns::HINTS))
}

/// What the bridge at `from` hands out for a token of delegated pick-up.
pub(crate) fn hand_out(from: &str, to: &str, id: &str, bundle: &[u8]) -> Element {
    el("message", ns::COMPONENT)
        .with("from", from)
        .with("to", to)
        .with("id", id)
        .child(element(bundle))
        .child(el("no-store", ns::HINTS))
        .child(el("no-copy", ns::HINTS))
}

/// The bundle in a message, if it has one.
pub(crate) fn parse(message: &Element) -> Option<Result<Vec<u8>, StanzaError>> {
    message.get_child("bundle", ns::BUNDLE).map(|bundle| bytes_of(bundle, "bundle", BUNDLE_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::limits::STANZA_BYTES_MAX;
    use crate::wire::{parse_element, print};

    #[test]
    fn upload_snapshot() {
        assert_eq!(
            print(&upload("bridge.example.org", "b1", &[1, 2, 3, 4]), ns::CLIENT),
            "<message id='b1' to='bridge.example.org'>\
             <bundle xmlns='urn:carrierpigeon:bundle:1'>AQIDBA==</bundle>\
             <no-store xmlns='urn:xmpp:hints'/><no-copy xmlns='urn:xmpp:hints'/></message>"
        );
    }

    #[test]
    fn the_largest_bundle_fits_a_stanza_and_comes_back() {
        let bytes: Vec<u8> = (0..BUNDLE_BYTES_MAX).map(|n| (n % 251).try_into().unwrap()).collect();
        let text = print(&upload("bridge.example.org", "b1", &bytes), ns::CLIENT);
        assert!(text.len() <= STANZA_BYTES_MAX);
        assert_eq!(parse(&parse_element(&text)).unwrap().unwrap(), bytes);
    }

    #[test]
    fn a_larger_bundle_is_refused() {
        let message = upload("b", "i", &vec![0; BUNDLE_BYTES_MAX + 1]);
        assert!(matches!(parse(&message), Some(Err(StanzaError::TooLarge { .. }))));
    }

    #[test]
    fn a_bundle_of_another_version_is_none() {
        assert!(
            parse(&parse_element("<message><bundle xmlns='urn:carrierpigeon:bundle:2'/></message>"))
                .is_none()
        );
    }
}
