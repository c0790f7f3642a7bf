//! Stanza errors (RFC 6120 section 8.3).

use minidom::Element;

use super::short;
use crate::ns;
use crate::wire::{With, el};

/// What a component answers when it does not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The request is malformed.
    BadRequest,
    /// The sender may not do this.
    Forbidden,
    /// The request is well-formed but cannot be fulfilled as it is.
    NotAcceptable,
    /// No such thing.
    ItemNotFound,
    /// The sender is over a limit; it may try again later.
    ResourceConstraint,
    /// It violates the bridge's policy.
    PolicyViolation,
    /// The bridge failed.
    InternalServerError,
    /// Nothing here does that.
    ServiceUnavailable,
}

impl Condition {
    /// Its element's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Forbidden => "forbidden",
            Self::NotAcceptable => "not-acceptable",
            Self::ItemNotFound => "item-not-found",
            Self::ResourceConstraint => "resource-constraint",
            Self::PolicyViolation => "policy-violation",
            Self::InternalServerError => "internal-server-error",
            Self::ServiceUnavailable => "service-unavailable",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::BadRequest | Self::NotAcceptable | Self::PolicyViolation => "modify",
            Self::Forbidden => "auth",
            Self::ResourceConstraint | Self::InternalServerError => "wait",
            Self::ItemNotFound | Self::ServiceUnavailable => "cancel",
        }
    }
}

/// The `<error/>` child, for a stream of namespace `ns`.
pub(crate) fn element(ns: &str, condition: Condition, text: &str) -> Element {
    let error = el("error", ns).with("type", condition.kind()).child(el(condition.name(), ns::STANZA_ERRORS));
    if text.is_empty() {
        return error;
    }
    error.child(el("text", ns::STANZA_ERRORS).with_text(text))
}

/// Condition and text of a stanza or stream error: the first child that is not `<text/>`, in `conditions`.
pub(crate) fn read(error: &Element, conditions: &str) -> (String, Option<String>) {
    let condition = error
        .children()
        .find(|child| child.ns() == conditions && child.name() != "text")
        .map_or_else(|| "undefined-condition".to_owned(), |child| short(child.name().to_owned()));
    let text =
        error.get_child("text", conditions).map(|text| short(text.text())).filter(|text| !text.is_empty());
    (condition, text)
}

/// Condition and text of an error stanza.
pub(crate) fn of_stanza(stanza: &Element) -> (String, Option<String>) {
    match stanza.children().find(|child| child.name() == "error") {
        Some(error) => read(error, ns::STANZA_ERRORS),
        None => ("undefined-condition".to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{parse_element, print};

    #[test]
    fn error_snapshot_and_back() {
        let error = element(ns::COMPONENT, Condition::Forbidden, "not you");
        let iq = el("iq", ns::COMPONENT).child(error);
        assert_eq!(
            print(&iq, ns::COMPONENT),
            "<iq><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>not you</text></error></iq>"
        );
        assert_eq!(of_stanza(&iq), ("forbidden".to_owned(), Some("not you".to_owned())));
    }

    #[test]
    fn an_error_without_a_condition_is_undefined() {
        assert_eq!(of_stanza(&parse_element("<iq/>")).0, "undefined-condition");
        assert_eq!(
            of_stanza(&parse_element("<iq><error><x xmlns='y'/></error></iq>")).0,
            "undefined-condition"
        );
    }
}
