//! What a bridge says to an account: a notice for people and programs, and the question whether it is there at all.

use minidom::Element;

use crate::ns;
use crate::wire::{With, el};

/// Another key asks to speak for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyNotice {
    /// The key that asks.
    pub key: [u8; 32],
    /// From when it may speak unless somebody objects, Unix seconds.
    pub due_s: u64,
}

/// A message to all of an account's clients. It is stored for those that are away.
pub(crate) fn notice(from: &str, to: &str, text: &str, notice: &KeyNotice) -> Element {
    let key: String = notice.key.iter().map(|byte| format!("{byte:02x}")).collect();
    el("message", ns::COMPONENT)
        .with("from", from)
        .with("to", to)
        .with("type", "normal")
        .child(el("body", ns::COMPONENT).with_text(text.to_owned()))
        .child(el("notice", ns::BRIDGE).with("due", &notice.due_s.to_string()).with("key", &key))
        .child(el("store", ns::HINTS))
}

/// How a server can be asked whether an account exists. Each answers only by the error for one that does not, and no
/// server answers to both in the same way: see [`crate::ComponentHandle::account_exists`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Knock {
    /// An empty headline: shown by no client and kept by no server. ejabberd reports those to nobody.
    Headline,
    /// An empty chat message: shown by no client, but some servers keep it for an account that is offline.
    Chat,
}

/// An empty message to `to`.
pub(crate) fn knock(knock: Knock, from: &str, to: &str, id: &str) -> Element {
    let kind = match knock {
        Knock::Headline => "headline",
        Knock::Chat => "chat",
    };
    el("message", ns::COMPONENT)
        .with("from", from)
        .with("to", to)
        .with("id", id)
        .with("type", kind)
        .child(el("no-store", ns::HINTS))
        .child(el("no-copy", ns::HINTS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::print;

    #[test]
    fn notice_snapshot() {
        let message = notice("bridge.h", "a@h", "hello", &KeyNotice { key: [0xab; 32], due_s: 9 });
        assert_eq!(
            print(&message, ns::COMPONENT),
            format!(
                "<message from='bridge.h' to='a@h' type='normal'><body>hello</body>\
                 <notice xmlns='urn:carrierpigeon:bridge:1' due='9' key='{}'/><store xmlns='urn:xmpp:hints'/></message>",
                "ab".repeat(32)
            )
        );
    }

    #[test]
    fn knock_snapshot() {
        assert_eq!(
            print(&knock(Knock::Headline, "bridge.h", "a@h", "k1"), ns::COMPONENT),
            "<message from='bridge.h' id='k1' to='a@h' type='headline'><no-store xmlns='urn:xmpp:hints'/>\
             <no-copy xmlns='urn:xmpp:hints'/></message>"
        );
    }
}
