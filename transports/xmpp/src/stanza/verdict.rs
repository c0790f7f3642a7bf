//! A bridge's answer to uploads.

use minidom::Element;

use super::{StanzaError, base64, bytes_of};
use crate::limits::{ACCEPTANCES_BYTES_MAX, VERDICT_BYTES_MAX};
use crate::ns;
use crate::wire::{With, el};

/// A bridge's answer as it came, or goes: not verified.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// To one upload.
    Verdict {
        bytes: Vec<u8>,
        /// What shows that the message has arrived.
        reveal: Option<[u8; 32]>,
    },
    /// To several, which are all accepted.
    Acceptances { bytes: Vec<u8> },
}

/// From the bridge at `from` to the carrier.
pub(crate) fn message(from: &str, to: &str, answer: &Answer) -> Element {
    let message = el("message", ns::COMPONENT).with("from", from).with("to", to);
    let child = |name, bytes: &[u8]| el(name, ns::BRIDGE).with_text(base64(bytes));
    match answer {
        Answer::Verdict { bytes, reveal: None } => message.child(child("verdict", bytes)),
        Answer::Verdict { bytes, reveal: Some(reveal) } => {
            message.child(child("verdict", bytes)).child(child("reveal", reveal))
        }
        Answer::Acceptances { bytes } => message.child(child("acceptances", bytes)),
    }
}

/// The answer in a message, if it has one.
pub(crate) fn parse(message: &Element) -> Option<Result<Answer, StanzaError>> {
    let child = |name| message.get_child(name, ns::BRIDGE);
    if let Some(verdict) = child("verdict") {
        return Some(parse_verdict(verdict, child("reveal")));
    }
    let bytes = bytes_of(child("acceptances")?, "acceptances", ACCEPTANCES_BYTES_MAX);
    Some(bytes.map(|bytes| Answer::Acceptances { bytes }))
}

fn parse_verdict(verdict: &Element, reveal: Option<&Element>) -> Result<Answer, StanzaError> {
    let bytes = bytes_of(verdict, "verdict", VERDICT_BYTES_MAX)?;
    let reveal = reveal.map(|reveal| bytes_of(reveal, "reveal", 32)).transpose()?;
    let reveal = reveal.map(|bytes| bytes.try_into().map_err(|_| StanzaError::Form("reveal"))).transpose()?;
    Ok(Answer::Verdict { bytes, reveal })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::{parse_element, print};

    fn verdict(bytes: &[u8], reveal: Option<[u8; 32]>) -> Answer {
        Answer::Verdict { bytes: bytes.to_vec(), reveal }
    }

    #[test]
    fn verdict_snapshot_and_back() {
        let answer = verdict(&[1, 2, 3], Some([0; 32]));
        let text = print(&message("bridge.h", "a@h/r", &answer), ns::COMPONENT);
        assert_eq!(
            text,
            "<message from='bridge.h' to='a@h/r'><verdict xmlns='urn:carrierpigeon:bridge:1'>AQID</verdict>\
             <reveal xmlns='urn:carrierpigeon:bridge:1'>AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=</reveal></message>"
        );
        assert_eq!(parse(&parse_element(&text)), Some(Ok(answer)));
    }

    #[test]
    fn without_a_reveal() {
        let answer = verdict(&[9], None);
        assert_eq!(parse(&message("b", "c", &answer)), Some(Ok(answer)));
    }

    #[test]
    fn acceptances_snapshot_and_back() {
        let answer = Answer::Acceptances { bytes: vec![1, 2, 3] };
        let text = print(&message("bridge.h", "a@h/r", &answer), ns::COMPONENT);
        assert_eq!(
            text,
            "<message from='bridge.h' to='a@h/r'>\
             <acceptances xmlns='urn:carrierpigeon:bridge:1'>AQID</acceptances></message>"
        );
        assert_eq!(parse(&parse_element(&text)), Some(Ok(answer)));
        let large = Answer::Acceptances { bytes: vec![0; ACCEPTANCES_BYTES_MAX + 1] };
        assert!(matches!(parse(&message("b", "c", &large)), Some(Err(StanzaError::TooLarge { .. }))));
    }

    #[test]
    fn a_reveal_of_another_length_is_refused() {
        let with = |reveal: &[u8]| {
            let message = message("b", "c", &verdict(&[9], None));
            parse(&message.child(el("reveal", ns::BRIDGE).with_text(base64(reveal))))
        };
        assert_eq!(with(&[0; 3]), Some(Err(StanzaError::Form("reveal"))));
        assert!(matches!(with(&[0; 33]), Some(Err(StanzaError::TooLarge { .. }))));
        assert!(parse(&el("message", ns::CLIENT)).is_none());
    }
}
