//! XEP-0280: copies of what other clients of the same account receive.

use jid::BareJid;
use minidom::Element;

use super::sender;
use crate::ns;
use crate::wire::{With, el};

/// Asks the server for copies.
pub(crate) fn enable(id: &str) -> Element {
    el("iq", ns::CLIENT).with("type", "set").with("id", id).child(el("enable", ns::CARBONS))
}

/// What a received message is about: itself, or the message that it is a copy of. Only the account itself may
/// send copies (XEP-0280 section 11); from anyone else a copy would be a forged sender, so that is `None`.
pub(crate) fn unwrap<'a>(message: &'a Element, account: &BareJid) -> Option<&'a Element> {
    if message.get_child("sent", ns::CARBONS).is_some() {
        return None;
    }
    let Some(received) = message.get_child("received", ns::CARBONS) else { return Some(message) };
    match sender(message) {
        Some(from) if from.is_bare() && from.to_bare() == *account => {}
        _ => return None,
    }
    received.get_child("forwarded", ns::FORWARD)?.get_child("message", ns::CLIENT)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::parse_element;

    fn carbon(from: &str, kind: &str) -> Element {
        parse_element(&format!(
            "<message from='{from}'><{kind} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
             <message xmlns='jabber:client' from='elaine@example.org'/></forwarded></{kind}></message>"
        ))
    }

    #[test]
    fn only_the_account_itself_may_send_copies() {
        let account = BareJid::new("jerry@example.org").unwrap();
        let copy = carbon("jerry@example.org", "received");
        assert_eq!(unwrap(&copy, &account).unwrap().attr("from"), Some("elaine@example.org"));
        for forged in ["newman@example.org", "jerry@example.org/x", "example.org", ""] {
            assert!(unwrap(&carbon(forged, "received"), &account).is_none(), "{forged}");
        }
        assert!(unwrap(&carbon("jerry@example.org", "sent"), &account).is_none());
    }
}
