//! A bridge's verdict on an upload.

use minidom::Element;

use super::{StanzaError, base64, bytes_of};
use crate::limits::VERDICT_BYTES_MAX;
use crate::ns;
use crate::wire::{With, el};

/// A verdict as it came: not verified.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) bytes: Vec<u8>,
    pub(crate) reveal: Option<[u8; 32]>,
}

/// From the bridge at `from` to the carrier.
pub(crate) fn message(from: &str, to: &str, verdict: &[u8], reveal: Option<&[u8; 32]>) -> Element {
    let message = el("message", ns::COMPONENT)
        .with("from", from)
        .with("to", to)
        .child(el("verdict", ns::BRIDGE).with_text(base64(verdict)));
    match reveal {
        Some(reveal) => message.child(el("reveal", ns::BRIDGE).with_text(base64(reveal))),
        None => message,
    }
}

/// The verdict in a message, if it has one.
pub(crate) fn parse(message: &Element) -> Option<Result<Verdict, StanzaError>> {
    let verdict = message.get_child("verdict", ns::BRIDGE)?;
    let reveal = message.get_child("reveal", ns::BRIDGE);
    let parse = || {
        let bytes = bytes_of(verdict, "verdict", VERDICT_BYTES_MAX)?;
        let reveal = match reveal {
            Some(reveal) => {
                let bytes = bytes_of(reveal, "reveal", 32)?;
                Some(bytes.try_into().map_err(|_| StanzaError::Form("reveal"))?)
            }
            None => None,
        };
        Ok(Verdict { bytes, reveal })
    };
    Some(parse())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::{parse_element, print};

    #[test]
    fn verdict_snapshot_and_back() {
        let text = print(&message("bridge.h", "a@h/r", &[1, 2, 3], Some(&[0; 32])), ns::COMPONENT);
        assert_eq!(
            text,
            "<message from='bridge.h' to='a@h/r'><verdict xmlns='urn:carrierpigeon:bridge:1'>AQID</verdict>\
             <reveal xmlns='urn:carrierpigeon:bridge:1'>AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=</reveal></message>"
        );
        let verdict = parse(&parse_element(&text)).unwrap().unwrap();
        assert_eq!(verdict, Verdict { bytes: vec![1, 2, 3], reveal: Some([0; 32]) });
    }

    #[test]
    fn without_a_reveal() {
        let message = message("b", "c", &[9], None);
        assert_eq!(parse(&message).unwrap().unwrap(), Verdict { bytes: vec![9], reveal: None });
    }

    #[test]
    fn a_reveal_of_another_length_is_refused() {
        let short = message("b", "c", &[9], None).child(el("reveal", ns::BRIDGE).with_text("AAAA"));
        assert_eq!(parse(&short), Some(Err(StanzaError::Form("reveal"))));
        let long = message("b", "c", &[9], None).child(el("reveal", ns::BRIDGE).with_text(base64(&[0; 33])));
        assert!(matches!(parse(&long), Some(Err(StanzaError::TooLarge { .. }))));
        assert!(parse(&el("message", ns::CLIENT)).is_none());
    }
}
