//! What a received stanza means to the bridge. Does no IO.

use minidom::Element;

use super::handle::{ComponentEvent, IqToken};
use crate::ns;
use crate::stanza::error::Condition;
use crate::stanza::iq::{self, Kind, Request};
use crate::stanza::privilege::{self, Announcement};
use crate::stanza::{StanzaError, bundle, disco, error, id, sender};

/// What to do with a stanza.
#[derive(Debug)]
pub(super) enum Incoming {
    Nothing,
    Event(ComponentEvent),
    /// Answer with this.
    Reply(Element),
    /// An answer to the ping of this id, if it is from whom was pinged. An error answers as well as a result: the
    /// server has come to it.
    Pong {
        from: String,
        id: String,
    },
    Privilege(Announcement),
    /// Something of ours came back.
    Bounce {
        from: String,
        id: Option<String>,
        condition: String,
    },
}

/// Reads a stanza that came to the component `domain`.
pub(super) fn read(stanza: &Element, domain: &str) -> Incoming {
    match stanza.name() {
        "iq" => read_iq(stanza, domain),
        "message" => read_message(stanza),
        _ => Incoming::Nothing,
    }
}

fn read_message(stanza: &Element) -> Incoming {
    let Some(from) = sender(stanza) else { return Incoming::Nothing };
    let id = id(stanza).map(str::to_owned);
    if stanza.attr("type") == Some("error") {
        let (condition, _text) = error::of_stanza(stanza);
        return Incoming::Bounce { from: from.to_string(), id, condition };
    }
    if let Some(announcement) = privilege::parse(stanza) {
        return Incoming::Privilege(announcement);
    }
    let note = |error: &StanzaError| tracing::info!(%error, "dropped a bundle that cannot be read");
    let bundles: Vec<_> =
        bundle::parse_all(stanza).filter_map(|bundle| bundle.inspect_err(note).ok()).collect();
    if bundles.is_empty() {
        return Incoming::Nothing;
    }
    Incoming::Event(ComponentEvent::Upload { from: from.to_string(), id, bundles })
}

fn read_iq(stanza: &Element, domain: &str) -> Incoming {
    let (Some((kind, payload)), Some(from), Some(id)) = (iq::split(stanza), sender(stanza), id(stanza))
    else {
        return Incoming::Nothing;
    };
    if matches!(kind, Kind::Result | Kind::Error) {
        return Incoming::Pong { from: from.to_string(), id: id.to_owned() };
    }
    let from = from.to_string();
    // Users of the component's domain do not exist, and nobody speaks for them.
    let to = stanza.attr("to").unwrap_or(domain);
    let refuse = |condition, text: &str| {
        Incoming::Reply(iq::failure(ns::COMPONENT, id, Some(to), Some(&from), condition, text))
    };
    let Some(payload) = payload.filter(|_| to == domain) else {
        return refuse(Condition::ServiceUnavailable, "");
    };
    if kind == Kind::Get
        && let Some(answer) = disco::answer(payload, disco::BRIDGE)
    {
        return Incoming::Reply(iq::result(ns::COMPONENT, id, Some(domain), Some(&from), answer));
    }
    let iq = || IqToken { to: from.clone(), id: id.to_owned() };
    match iq::parse_request(kind, payload) {
        Some(Ok(Request::Card)) => Incoming::Event(ComponentEvent::CardRequest { iq: iq(), from }),
        Some(Ok(Request::Register { card, handover })) => {
            Incoming::Event(ComponentEvent::Register { iq: iq(), from, card, handover })
        }
        Some(Ok(Request::Revoke)) => Incoming::Event(ComponentEvent::Revoke { iq: iq(), from }),
        Some(Ok(Request::Reveal(reveals))) => {
            Incoming::Event(ComponentEvent::Reveal { iq: iq(), from, reveals })
        }
        Some(Ok(Request::PickUp(request))) => {
            Incoming::Event(ComponentEvent::PickUp { iq: iq(), from, request })
        }
        Some(Err(error)) => refuse(Condition::BadRequest, &error.to_string()),
        None => refuse(Condition::ServiceUnavailable, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{parse_element, print};

    fn incoming(xml: &str) -> Incoming {
        read(&parse_element(xml), "bridge.example.org")
    }

    fn replied(xml: &str) -> String {
        match incoming(xml) {
            Incoming::Reply(reply) => print(&reply, ns::COMPONENT),
            other => panic!("{xml}: {other:?}"),
        }
    }

    #[test]
    fn unknown_questions_are_refused_with_service_unavailable() {
        for payload in ["<x xmlns='y'/>", "<card xmlns='urn:other'/>", ""] {
            let text = replied(&format!(
                "<iq type='get' id='i' from='a@h/r' to='bridge.example.org'>{payload}</iq>"
            ));
            assert!(
                text.starts_with("<iq from='bridge.example.org' id='i' to='a@h/r' type='error'>"),
                "{text}"
            );
            assert!(text.contains("<service-unavailable "), "{text}");
        }
    }

    #[test]
    fn nobody_lives_at_the_bridge() {
        let text = replied(
            "<iq type='get' id='i' from='a@h/r' to='x@bridge.example.org'><card xmlns='urn:carrierpigeon:bridge:1'/></iq>",
        );
        assert!(
            text.contains("from='x@bridge.example.org'") && text.contains("<service-unavailable "),
            "{text}"
        );
    }

    #[test]
    fn a_request_that_cannot_be_read_is_a_bad_request() {
        let text = replied(
            "<iq type='set' id='i' from='a@h/r' to='bridge.example.org'>\
             <reveal xmlns='urn:carrierpigeon:bridge:1'>AAAA</reveal></iq>",
        );
        assert!(text.contains("<bad-request "), "{text}");
    }

    #[test]
    fn without_a_sender_there_is_nothing() {
        let upload = "<message><bundle xmlns='urn:carrierpigeon:bundle:1'>AQID</bundle></message>";
        assert!(matches!(incoming(upload), Incoming::Nothing));
        let card = "<iq type='get' id='i'><card xmlns='urn:carrierpigeon:bridge:1'/></iq>";
        assert!(matches!(incoming(card), Incoming::Nothing));
    }

    #[test]
    fn an_error_with_a_bundle_in_it_is_no_upload() {
        let returned = "<message type='error' from='a@h/r' id='m'><bundle xmlns='urn:carrierpigeon:bundle:1'>AQID</bundle>\
                        <error><recipient-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>";
        let Incoming::Bounce { from, id, condition } = incoming(returned) else { panic!("no bounce") };
        assert_eq!(
            (from.as_str(), id.as_deref(), condition.as_str()),
            ("a@h/r", Some("m"), "recipient-unavailable")
        );
    }
}
