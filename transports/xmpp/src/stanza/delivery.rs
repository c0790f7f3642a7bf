//! A delivery: the message that the recipient's clients see, as if its author had sent it.

use bytes::Bytes;
use minidom::Element;

use super::{bundle, time};
use crate::ns;
use crate::wire::{With, el};

/// One message to deliver.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Bare JID that the message is from.
    pub author: String,
    /// Bare JID that it is for.
    pub recipient: String,
    /// The author's message id, in hex.
    pub message_id_hex: String,
    /// P, the message digest, in hex (XEP-0359).
    pub origin_id_hex: String,
    /// When the author sent it, Unix milliseconds; 0 when the author had no clock.
    pub sent_ms: u64,
    /// The text for clients that know nothing of bundles; `None` where there is nothing for people to read: such
    /// clients show nothing then, and are asked for no receipt.
    pub body: Option<String>,
    /// The whole bundle.
    pub bundle: Option<Bytes>,
}

/// Nothing of who writes to whom gets into a log by accident.
impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("bundle", &self.bundle.as_ref().map(Bytes::len))
            .finish_non_exhaustive()
    }
}

/// The message, as it leaves the author's server; `ns` is the namespace of the stream that it is written for.
pub(crate) fn message(delivery: &Delivery, ns: &str) -> Element {
    let mut message = el("message", ns)
        .with("from", &delivery.author)
        .with("to", &delivery.recipient)
        .with("id", &delivery.message_id_hex)
        .with("type", "chat");
    if let Some(body) = &delivery.body {
        message = message.child(el("body", ns).with_text(body.clone()));
    }
    if let Some(bytes) = &delivery.bundle {
        message = message.child(bundle::element(bytes));
    }
    message = message.child(el("origin-id", ns::STABLE_ID).with("id", &delivery.origin_id_hex));
    if delivery.sent_ms != 0
        && let Some(stamp) = time::stamp(delivery.sent_ms)
    {
        message = message.child(el("delay", ns::DELAY).with("from", &delivery.author).with("stamp", &stamp));
    }
    if delivery.body.is_some() {
        message = message.child(el("request", ns::RECEIPTS));
    }
    message.child(el("store", ns::HINTS))
}

/// The message in the envelope of XEP-0356 section 6: `component` asks `host` to send it. `privilege` is the
/// namespace that the host announced.
pub(crate) fn privileged(
    message: Element,
    id: &str,
    component: &str,
    host: &str,
    privilege: &str,
) -> Element {
    el("message", ns::COMPONENT)
        .with("from", component)
        .with("to", host)
        .with("id", id)
        .child(el("privilege", privilege).child(el("forwarded", ns::FORWARD).child(message)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::print;

    fn example() -> Delivery {
        Delivery {
            author: "elaine@example.org".to_owned(),
            recipient: "jerry@example.org".to_owned(),
            message_id_hex: "0a0b".to_owned(),
            origin_id_hex: "ffee".to_owned(),
            sent_ms: 1_767_323_045_678,
            body: Some("hello <world>".to_owned()),
            bundle: Some(Bytes::from_static(&[1, 2, 3])),
        }
    }

    #[test]
    fn delivery_snapshot() {
        assert_eq!(
            print(&message(&example(), ns::CLIENT), ns::CLIENT),
            "<message from='elaine@example.org' id='0a0b' to='jerry@example.org' type='chat'>\
             <body>hello &lt;world&gt;</body>\
             <bundle xmlns='urn:carrierpigeon:bundle:1'>AQID</bundle>\
             <origin-id xmlns='urn:xmpp:sid:0' id='ffee'/>\
             <delay xmlns='urn:xmpp:delay' from='elaine@example.org' stamp='2026-01-02T03:04:05.678Z'/>\
             <request xmlns='urn:xmpp:receipts'/><store xmlns='urn:xmpp:hints'/></message>"
        );
    }

    #[test]
    fn without_a_clock_there_is_no_stamp_and_without_a_bundle_none() {
        let plain = Delivery { sent_ms: 0, bundle: None, ..example() };
        let text = print(&message(&plain, ns::CLIENT), ns::CLIENT);
        assert!(!text.contains("<delay") && !text.contains("<bundle"), "{text}");
    }

    #[test]
    fn without_a_text_clients_see_nothing_and_owe_nothing() {
        let silent = Delivery { body: None, sent_ms: 0, ..example() };
        assert_eq!(
            print(&message(&silent, ns::CLIENT), ns::CLIENT),
            "<message from='elaine@example.org' id='0a0b' to='jerry@example.org' type='chat'>\
             <bundle xmlns='urn:carrierpigeon:bundle:1'>AQID</bundle>\
             <origin-id xmlns='urn:xmpp:sid:0' id='ffee'/><store xmlns='urn:xmpp:hints'/></message>"
        );
    }

    #[test]
    fn on_the_components_own_stream_it_needs_no_namespace() {
        let text = print(&message(&example(), ns::COMPONENT), ns::COMPONENT);
        assert!(text.starts_with("<message from='elaine@example.org' ") && text.contains("<body>"), "{text}");
    }

    #[test]
    fn privileged_snapshot() {
        let short =
            el("message", ns::CLIENT).with("from", "a@h").child(el("body", ns::CLIENT).with_text("x"));
        assert_eq!(
            print(&privileged(short, "0a0b", "bridge.h", "h", "urn:xmpp:privilege:2"), ns::COMPONENT),
            "<message from='bridge.h' id='0a0b' to='h'><privilege xmlns='urn:xmpp:privilege:2'>\
             <forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='a@h'><body>x</body>\
             </message></forwarded></privilege></message>"
        );
    }

    #[test]
    fn debug_names_nobody() {
        let text = format!("{:?}", example());
        assert!(!text.contains("elaine") && !text.contains("jerry") && !text.contains("hello"), "{text}");
    }
}
