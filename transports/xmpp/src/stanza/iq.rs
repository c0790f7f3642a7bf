//! IQs: the bridge's card, registration, reveals, and the frame around every IQ.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minidom::Element;

use super::error::{self, Condition};
use super::{StanzaError, base64, bytes_of};
use crate::limits::{CARD_BYTES_MAX, PICKUP_BYTES_MAX, REVEALS_MAX};
use crate::ns;
use crate::wire::{With, el};

/// An Ed25519 signature.
const HANDOVER_BYTES: usize = 64;

/// What a carrier or an author asks a bridge.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Card,
    /// A card, and the signature by which the key registered so far passes the account on.
    Register {
        card: Vec<u8>,
        handover: Option<Vec<u8>>,
    },
    Revoke,
    Reveal(Vec<[u8; 32]>),
    PickUp(Vec<u8>),
}

/// What a bridge has handed out for one token; the bundles came before, as messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PickedUp {
    /// How many bundles.
    pub bundles: u32,
    /// Their bytes.
    pub bytes: u64,
    /// How many more wait that this token was too small for.
    pub left: u32,
}

/// An IQ's type (RFC 6120 section 8.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Set,
    Result,
    Error,
}

/// The kind of an IQ, and its payload.
pub(crate) fn split(iq: &Element) -> Option<(Kind, Option<&Element>)> {
    let kind = match iq.attr("type")? {
        "get" => Kind::Get,
        "set" => Kind::Set,
        "result" => Kind::Result,
        "error" => Kind::Error,
        _ => return None,
    };
    Some((kind, iq.children().next()))
}

/// A request; `ns` is the stream's namespace.
pub(crate) fn request(ns: &str, set: bool, id: &str, to: &str, payload: Element) -> Element {
    el("iq", ns).with("type", if set { "set" } else { "get" }).with("id", id).with("to", to).child(payload)
}

/// A request, to the own account where there is no `to`.
pub(crate) fn question(ns: &str, set: bool, id: &str, to: Option<&str>, payload: Element) -> Element {
    let iq = el("iq", ns).with("type", if set { "set" } else { "get" }).with("id", id);
    addressed(iq, None, to).child(payload)
}

/// A ping (XEP-0199).
pub(crate) fn ping(ns: &str, id: &str, to: &str) -> Element {
    request(ns, false, id, to, el("ping", ns::PING))
}

/// A result. `from` only where the stream serves more than one address.
pub(crate) fn result(
    ns: &str,
    id: &str,
    from: Option<&str>,
    to: Option<&str>,
    payload: Option<Element>,
) -> Element {
    let iq = addressed(el("iq", ns).with("type", "result").with("id", id), from, to);
    match payload {
        Some(payload) => iq.child(payload),
        None => iq,
    }
}

/// An error answer.
pub(crate) fn failure(
    ns: &str,
    id: &str,
    from: Option<&str>,
    to: Option<&str>,
    condition: Condition,
    text: &str,
) -> Element {
    let iq = addressed(el("iq", ns).with("type", "error").with("id", id), from, to);
    iq.child(error::element(ns, condition, text))
}

fn addressed(mut iq: Element, from: Option<&str>, to: Option<&str>) -> Element {
    if let Some(from) = from {
        iq = iq.with("from", from);
    }
    if let Some(to) = to {
        iq = iq.with("to", to);
    }
    iq
}

/// Asks for the bridge's card.
pub(crate) fn card() -> Element {
    el("card", ns::BRIDGE)
}

/// The bridge's card.
pub(crate) fn card_answer(signed_card: &[u8]) -> Element {
    el("card", ns::BRIDGE).with_text(base64(signed_card))
}

/// Registers the card's key for the sender's JID.
pub(crate) fn register(signed_card: &[u8]) -> Element {
    el("register", ns::BRIDGE).with_text(base64(signed_card))
}

/// The same, with the signature of the key that is registered so far.
pub(crate) fn register_over(signed_card: &[u8], handover: &[u8; 64]) -> Element {
    register(signed_card).with("handover", &base64(handover))
}

/// The key registered for the sender's JID may not speak for it any more.
pub(crate) fn revoke() -> Element {
    el("revoke", ns::BRIDGE)
}

/// Registered until `until`, Unix seconds.
pub(crate) fn registered(until: u64) -> Element {
    el("registered", ns::BRIDGE).with("until", &until.to_string())
}

/// Reveals, one after the other.
pub(crate) fn reveal(reveals: &[[u8; 32]]) -> Element {
    el("reveal", ns::BRIDGE).with_text(base64(&reveals.concat()))
}

/// Hands in a token of delegated pick-up.
pub(crate) fn pick_up(request: &[u8]) -> Element {
    el("pick-up", ns::BRIDGE).with_text(base64(request))
}

/// What was handed out for it.
pub(crate) fn picked_up(done: PickedUp) -> Element {
    el("picked-up", ns::BRIDGE)
        .with("bundles", &done.bundles.to_string())
        .with("bytes", &done.bytes.to_string())
        .with("left", &done.left.to_string())
}

/// A request to the bridge; `None` when the payload is none of ours.
pub(crate) fn parse_request(kind: Kind, payload: &Element) -> Option<Result<Request, StanzaError>> {
    if payload.ns() != ns::BRIDGE {
        return None;
    }
    match (kind, payload.name()) {
        (Kind::Get, "card") => Some(Ok(Request::Card)),
        (Kind::Set, "register") => Some(parse_register(payload)),
        (Kind::Set, "revoke") => Some(Ok(Request::Revoke)),
        (Kind::Set, "reveal") => Some(parse_reveals(payload).map(Request::Reveal)),
        (Kind::Set, "pick-up") => Some(bytes_of(payload, "pick-up", PICKUP_BYTES_MAX).map(Request::PickUp)),
        _ => None,
    }
}

fn parse_register(payload: &Element) -> Result<Request, StanzaError> {
    let card = signed_card(payload, "register")?;
    let handover = match payload.attr("handover") {
        Some(text) => {
            let signature = STANDARD.decode(text).map_err(|_| StanzaError::Base64("handover"))?;
            Some(signature).filter(|signature| signature.len() == HANDOVER_BYTES).map(Some)
        }
        None => Some(None),
    };
    Ok(Request::Register { card, handover: handover.ok_or(StanzaError::Form("handover"))? })
}

fn parse_reveals(payload: &Element) -> Result<Vec<[u8; 32]>, StanzaError> {
    let bytes = bytes_of(payload, "reveal", REVEALS_MAX * 32)?;
    let (reveals, rest) = bytes.as_chunks::<32>();
    if reveals.is_empty() || !rest.is_empty() {
        return Err(StanzaError::Form("reveal"));
    }
    Ok(reveals.to_vec())
}

/// The card in a result.
pub(crate) fn parse_card(payload: Option<&Element>) -> Result<Vec<u8>, StanzaError> {
    let card = payload.filter(|card| card.is("card", ns::BRIDGE)).ok_or(StanzaError::Missing("card"))?;
    signed_card(card, "card")
}

fn signed_card(element: &Element, what: &'static str) -> Result<Vec<u8>, StanzaError> {
    let bytes = bytes_of(element, what, CARD_BYTES_MAX)?;
    if bytes.is_empty() { Err(StanzaError::Form(what)) } else { Ok(bytes) }
}

/// The time in the result of a registration, Unix seconds.
pub(crate) fn parse_registered(payload: Option<&Element>) -> Result<u64, StanzaError> {
    payload
        .filter(|registered| registered.is("registered", ns::BRIDGE))
        .ok_or(StanzaError::Missing("registered"))?
        .attr("until")
        .and_then(|until| until.parse().ok())
        .ok_or(StanzaError::Form("registered"))
}

/// The counts in the result of a pick-up.
pub(crate) fn parse_picked_up(payload: Option<&Element>) -> Result<PickedUp, StanzaError> {
    let done = payload.filter(|done| done.is("picked-up", ns::BRIDGE));
    let done = done.ok_or(StanzaError::Missing("picked-up"))?;
    let number = |name| done.attr(name).and_then(|text| text.parse::<u64>().ok());
    let count = |name| number(name).and_then(|n| u32::try_from(n).ok());
    match (count("bundles"), number("bytes"), count("left")) {
        (Some(bundles), Some(bytes), Some(left)) => Ok(PickedUp { bundles, bytes, left }),
        _ => Err(StanzaError::Form("picked-up")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::{parse_element, print};

    /// Prints the request as a client would, checks the text, and reads it as the bridge would.
    fn bridge_sees(set: bool, payload: Element, snapshot: &str) -> Request {
        let text = print(&request(ns::CLIENT, set, "i1", "bridge.h", payload), ns::CLIENT);
        assert_eq!(text, snapshot);
        let iq = parse_element(&text);
        let (kind, payload) = split(&iq).unwrap();
        parse_request(kind, payload.unwrap()).unwrap().unwrap()
    }

    #[test]
    fn card_snapshots() {
        let asked = "<iq id='i1' to='bridge.h' type='get'><card xmlns='urn:carrierpigeon:bridge:1'/></iq>";
        assert_eq!(bridge_sees(false, card(), asked), Request::Card);
        let answer =
            result(ns::COMPONENT, "i1", Some("bridge.h"), Some("a@h/r"), Some(card_answer(&[1, 2, 3])));
        assert_eq!(
            print(&answer, ns::COMPONENT),
            "<iq from='bridge.h' id='i1' to='a@h/r' type='result'><card xmlns='urn:carrierpigeon:bridge:1'>AQID\
             </card></iq>"
        );
        assert_eq!(parse_card(split(&answer).unwrap().1).unwrap(), [1, 2, 3]);
        assert_eq!(parse_card(None), Err(StanzaError::Missing("card")));
        assert_eq!(parse_card(Some(&card_answer(&[]))), Err(StanzaError::Form("card")));
    }

    #[test]
    fn register_snapshots() {
        let asked = "<iq id='i1' to='bridge.h' type='set'><register xmlns='urn:carrierpigeon:bridge:1'>AQID\
                     </register></iq>";
        let plain = Request::Register { card: vec![1, 2, 3], handover: None };
        assert_eq!(bridge_sees(true, register(&[1, 2, 3]), asked), plain);
        let over = register_over(&[1, 2, 3], &[7; 64]);
        let request = parse_request(Kind::Set, &over).unwrap().unwrap();
        assert_eq!(request, Request::Register { card: vec![1, 2, 3], handover: Some(vec![7; 64]) });
        for bad in ["", "AAAA", "-"] {
            let over = register(&[1]).with("handover", bad);
            assert!(parse_request(Kind::Set, &over).unwrap().is_err(), "{bad:?}");
        }
        let answer = registered(1_800_000_000);
        assert_eq!(print(&answer, ""), "<registered xmlns='urn:carrierpigeon:bridge:1' until='1800000000'/>");
        assert_eq!(parse_registered(Some(&answer)).unwrap(), 1_800_000_000);
        let bad = el("registered", ns::BRIDGE).with("until", "-1");
        assert_eq!(parse_registered(Some(&bad)), Err(StanzaError::Form("registered")));
    }

    #[test]
    fn reveal_snapshot_and_limits() {
        let asked = "<iq id='i1' to='bridge.h' type='set'><reveal xmlns='urn:carrierpigeon:bridge:1'>\
                     AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=</reveal></iq>";
        assert_eq!(bridge_sees(true, reveal(&[[0; 32]]), asked), Request::Reveal(vec![[0; 32]]));
        let parse = |bytes: &[u8]| {
            parse_request(Kind::Set, &el("reveal", ns::BRIDGE).with_text(base64(bytes))).unwrap()
        };
        let all: Vec<[u8; 32]> = (0..64).map(|n| [n; 32]).collect();
        assert_eq!(parse(&all.concat()), Ok(Request::Reveal(all)));
        assert!(matches!(parse(&[0; 65 * 32]), Err(StanzaError::TooLarge { .. })));
        for n in [0, 31, 33] {
            assert_eq!(parse(&vec![0; n]), Err(StanzaError::Form("reveal")), "{n}");
        }
    }

    #[test]
    fn pick_up_snapshots() {
        let asked = "<iq id='i1' to='bridge.h' type='set'><pick-up xmlns='urn:carrierpigeon:bridge:1'>AQID\
                     </pick-up></iq>";
        assert_eq!(bridge_sees(true, pick_up(&[1, 2, 3]), asked), Request::PickUp(vec![1, 2, 3]));
        let done = PickedUp { bundles: 2, bytes: 8_192, left: 1 };
        let answer = picked_up(done);
        assert_eq!(
            print(&answer, ""),
            "<picked-up xmlns='urn:carrierpigeon:bridge:1' bundles='2' bytes='8192' left='1'/>"
        );
        assert_eq!(parse_picked_up(Some(&answer)), Ok(done));
        assert_eq!(parse_picked_up(None), Err(StanzaError::Missing("picked-up")));
        let bad = el("picked-up", ns::BRIDGE).with("bundles", "-1");
        assert_eq!(parse_picked_up(Some(&bad)), Err(StanzaError::Form("picked-up")));
    }

    #[test]
    fn other_requests_are_none() {
        assert!(parse_request(Kind::Set, &card()).is_none());
        assert!(parse_request(Kind::Get, &register(&[1])).is_none());
        assert!(parse_request(Kind::Get, &el("card", "urn:other")).is_none());
        assert!(split(&el("iq", ns::CLIENT)).is_none());
    }

    #[test]
    fn failure_snapshot() {
        assert_eq!(
            print(
                &failure(ns::CLIENT, "i1", None, Some("a@h"), Condition::ServiceUnavailable, ""),
                ns::CLIENT
            ),
            "<iq id='i1' to='a@h' type='error'><error type='cancel'>\
             <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        );
    }
}
