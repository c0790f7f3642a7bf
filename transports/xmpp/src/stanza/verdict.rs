//! A bridge's verdict on an upload.

use minidom::Element;

use super::{StanzaError, base64, bytes_of};
use crate::limits::{VERDICT_BYTES_MAX, VERDICTS_MAX};
use crate::ns;
use crate::wire::{With, el};

/// A verdict as it came: not verified.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) bytes: Vec<u8>,
    pub(crate) reveal: Option<[u8; 32]>,
}

/// From the bridge at `from` to the carrier: verdicts, and for one alone what shows that its message has arrived.
pub(crate) fn message(from: &str, to: &str, verdicts: &[Vec<u8>], reveal: Option<&[u8; 32]>) -> Element {
    let message = el("message", ns::COMPONENT).with("from", from).with("to", to);
    let message = verdicts.iter().fold(message, |message, verdict| {
        message.child(el("verdict", ns::BRIDGE).with_text(base64(verdict)))
    });
    match reveal {
        Some(reveal) => message.child(el("reveal", ns::BRIDGE).with_text(base64(reveal))),
        None => message,
    }
}

/// The verdicts in a message, if it has any; the first [`VERDICTS_MAX`] of them. A reveal belongs to the first.
pub(crate) fn parse(message: &Element) -> Option<Vec<Result<Verdict, StanzaError>>> {
    let all = message.children().filter(|child| child.is("verdict", ns::BRIDGE));
    let mut reveal = message.get_child("reveal", ns::BRIDGE);
    let mut parse = |verdict| {
        let reveal = reveal.take();
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
    let verdicts: Vec<_> = all.take(VERDICTS_MAX).map(&mut parse).collect();
    (!verdicts.is_empty()).then_some(verdicts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::{parse_element, print};

    #[test]
    fn verdict_snapshot_and_back() {
        let text = print(&message("bridge.h", "a@h/r", &[vec![1, 2, 3]], Some(&[0; 32])), ns::COMPONENT);
        assert_eq!(
            text,
            "<message from='bridge.h' to='a@h/r'><verdict xmlns='urn:carrierpigeon:bridge:1'>AQID</verdict>\
             <reveal xmlns='urn:carrierpigeon:bridge:1'>AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=</reveal></message>"
        );
        let verdicts = parse(&parse_element(&text)).unwrap();
        assert_eq!(verdicts, [Ok(Verdict { bytes: vec![1, 2, 3], reveal: Some([0; 32]) })]);
    }

    #[test]
    fn without_a_reveal() {
        let message = message("b", "c", &[vec![9]], None);
        assert_eq!(parse(&message).unwrap(), [Ok(Verdict { bytes: vec![9], reveal: None })]);
    }

    #[test]
    fn several_together_and_one_that_cannot_be_read() {
        let all: Vec<_> = (0..=u8::try_from(VERDICTS_MAX).unwrap()).map(|n| vec![n]).collect();
        let parsed = parse(&message("b", "c", &all, None)).unwrap();
        assert_eq!(parsed.len(), VERDICTS_MAX);
        assert_eq!(parsed[1], Ok(Verdict { bytes: vec![1], reveal: None }));
        let bad = message("b", "c", &[vec![1]], None)
            .child(el("verdict", ns::BRIDGE).with_text("?"))
            .child(el("verdict", ns::BRIDGE).with_text("Ag=="));
        let parsed = parse(&bad).unwrap();
        assert!(parsed[0].is_ok() && parsed[1].is_err() && parsed[2].is_ok(), "{parsed:?}");
        // A reveal goes with its verdict.
        let bad = message("b", "c", &[Vec::new(), vec![2]], Some(&[0; 32]));
        let parsed = parse(&bad).unwrap();
        assert_eq!(parsed[1], Ok(Verdict { bytes: vec![2], reveal: None }));
    }

    #[test]
    fn a_reveal_of_another_length_is_refused() {
        let short = message("b", "c", &[vec![9]], None).child(el("reveal", ns::BRIDGE).with_text("AAAA"));
        assert_eq!(parse(&short), Some(vec![Err(StanzaError::Form("reveal"))]));
        let long =
            message("b", "c", &[vec![9]], None).child(el("reveal", ns::BRIDGE).with_text(base64(&[0; 33])));
        assert!(matches!(parse(&long).unwrap()[..], [Err(StanzaError::TooLarge { .. })]));
        assert!(parse(&el("message", ns::CLIENT)).is_none());
    }
}
