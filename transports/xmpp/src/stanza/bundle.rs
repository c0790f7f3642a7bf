//! `<bundle/>`: a carrier hands some up, or a recipient finds one in a delivery.

use bytes::Bytes;
use minidom::Element;

use super::{StanzaError, base64, bytes_of};
use crate::limits::{BUNDLE_BYTES_MAX, UPLOAD_BUNDLES_MAX};
use crate::ns;
use crate::wire::{With, el};

/// The element alone.
pub(crate) fn element(bundle: &[u8]) -> Element {
    el("bundle", ns::BUNDLE).with_text(base64(bundle))
}

/// A carrier's upload to `bridge`, of one or several.
pub(crate) fn upload(bridge: &str, id: &str, bundles: &[Bytes]) -> Element {
    let message = el("message", ns::CLIENT).with("to", bridge).with("id", id);
    bundles
        .iter()
        .fold(message, |message, bundle| message.child(element(bundle)))
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
    parse_all(message).next()
}

/// The bundles in a message, at most [`UPLOAD_BUNDLES_MAX`]. One that cannot be read says nothing about the others.
pub(crate) fn parse_all(message: &Element) -> impl Iterator<Item = Result<Vec<u8>, StanzaError>> {
    let bundles = message.children().filter(|child| child.is("bundle", ns::BUNDLE));
    bundles.take(UPLOAD_BUNDLES_MAX).map(|bundle| bytes_of(bundle, "bundle", BUNDLE_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::limits::{STANZA_BYTES_MAX, UPLOAD_BYTES_MAX};
    use crate::wire::{parse_element, print};

    #[test]
    fn upload_snapshot() {
        assert_eq!(
            print(&upload("bridge.example.org", "b1", &[Bytes::from_static(&[1, 2, 3, 4])]), ns::CLIENT),
            "<message id='b1' to='bridge.example.org'>\
             <bundle xmlns='urn:carrierpigeon:bundle:1'>AQIDBA==</bundle>\
             <no-store xmlns='urn:xmpp:hints'/><no-copy xmlns='urn:xmpp:hints'/></message>"
        );
    }

    #[test]
    fn several_go_up_together_and_one_that_cannot_be_read_hurts_no_other() {
        let both = [Bytes::from_static(&[1, 2]), Bytes::from_static(&[3])];
        let text = print(&upload("bridge.example.org", "b1", &both), ns::CLIENT);
        assert_eq!(
            text,
            "<message id='b1' to='bridge.example.org'>\
             <bundle xmlns='urn:carrierpigeon:bundle:1'>AQI=</bundle>\
             <bundle xmlns='urn:carrierpigeon:bundle:1'>Aw==</bundle>\
             <no-store xmlns='urn:xmpp:hints'/><no-copy xmlns='urn:xmpp:hints'/></message>"
        );
        let found = |text: &str| parse_all(&parse_element(text)).collect::<Vec<_>>();
        assert_eq!(found(&text), [Ok(vec![1, 2]), Ok(vec![3])]);
        assert_eq!(found(&text.replace("AQI=", "?")), [Err(StanzaError::Base64("bundle")), Ok(vec![3])]);
        let many = upload("b", "i", &vec![Bytes::from_static(&[7]); UPLOAD_BUNDLES_MAX + 1]);
        assert_eq!(parse_all(&many).count(), UPLOAD_BUNDLES_MAX);
    }

    #[test]
    fn several_stay_below_what_every_server_takes() {
        // The least that a bundle with a way to a bridge has (docs/wire-format.md sections 3 and 4).
        const LEAST: usize = 1_000;
        let address = format!("f@{}", "b".repeat(150));
        let bundles = vec![Bytes::from(vec![0xff; LEAST]); UPLOAD_BYTES_MAX / LEAST];
        let rest = Bytes::from(vec![0xff; UPLOAD_BYTES_MAX % LEAST]);
        let text = print(&upload(&address, &"f".repeat(64), &[bundles, vec![rest]].concat()), ns::CLIENT);
        assert!(text.len() <= 10_000, "{}", text.len());
    }

    #[test]
    fn the_largest_bundle_fits_a_stanza_and_comes_back() {
        let bytes: Vec<u8> = (0..BUNDLE_BYTES_MAX).map(|n| (n % 251).try_into().unwrap()).collect();
        let text = print(&upload("bridge.example.org", "b1", &[Bytes::from(bytes.clone())]), ns::CLIENT);
        assert!(text.len() <= STANZA_BYTES_MAX);
        assert_eq!(parse(&parse_element(&text)).unwrap().unwrap(), bytes);
    }

    #[test]
    fn a_larger_bundle_is_refused() {
        let message = upload("b", "i", &[Bytes::from(vec![0; BUNDLE_BYTES_MAX + 1])]);
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
