//! The account's people: roster and subscriptions (RFC 6121), cards over PEP (XEP-0163), receipts (XEP-0184) and read
//! markers (XEP-0333).

use jid::BareJid;
use minidom::Element;

use super::{StanzaError, base64, bytes_of, id, jid, sender, short};
use crate::limits::{CARD_BYTES_MAX, ROSTER_MAX};
use crate::ns;
use crate::wire::{With, el};

/// Somebody on the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterItem {
    /// Bare JID.
    pub jid: String,
    /// The name that the user gave; empty for none.
    pub name: String,
    /// `none`, `to`, `from` or `both`.
    pub subscription: String,
    /// A request of ours has no answer yet.
    pub asked: bool,
}

/// What somebody says about subscriptions to presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscription {
    /// Asks to see ours, or we ask to see theirs.
    Ask,
    /// Allows it.
    Allow,
    /// Refuses it, or takes it back.
    Refuse,
    /// Does not want to see it any more.
    End,
}

impl Subscription {
    fn name(self) -> &'static str {
        match self {
            Self::Ask => "subscribe",
            Self::Allow => "subscribed",
            Self::Refuse => "unsubscribed",
            Self::End => "unsubscribe",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Ask, Self::Allow, Self::Refuse, Self::End].into_iter().find(|kind| kind.name() == name)
    }
}

/// A presence that says so.
pub(crate) fn presence(to: &str, kind: Subscription) -> Element {
    el("presence", ns::CLIENT).with("to", to).with("type", kind.name())
}

/// Who says what about subscriptions, if the presence does.
pub(crate) fn parse_presence(presence: &Element) -> Option<(String, Subscription)> {
    let kind = Subscription::from_name(presence.attr("type")?)?;
    Some((sender(presence)?.to_bare().to_string(), kind))
}

/// Asks for the roster.
pub(crate) fn roster() -> Element {
    el("query", ns::ROSTER)
}

/// Puts somebody on the roster.
pub(crate) fn roster_item(jid: &str, name: &str) -> Element {
    let item = el("item", ns::ROSTER).with("jid", jid);
    let item = if name.is_empty() { item } else { item.with("name", name) };
    el("query", ns::ROSTER).child(item)
}

/// The roster in a result.
pub(crate) fn parse_roster(payload: Option<&Element>) -> Result<Vec<RosterItem>, StanzaError> {
    let query = payload.filter(|query| query.is("query", ns::ROSTER)).ok_or(StanzaError::Missing("query"))?;
    let item = |item: &Element| {
        let jid = jid(item.attr("jid")?)?.to_bare().to_string();
        Some(RosterItem {
            jid,
            name: short(item.attr("name").unwrap_or_default().to_owned()),
            subscription: short(item.attr("subscription").unwrap_or("none").to_owned()),
            asked: item.attr("ask") == Some("subscribe"),
        })
    };
    Ok(query
        .children()
        .filter(|child| child.is("item", ns::ROSTER))
        .filter_map(item)
        .take(ROSTER_MAX)
        .collect())
}

/// Publishes a `SignedCard` for those who may see the account's presence.
///
/// Only options that every server knows: ejabberd 23.01 refuses the whole publication for `pubsub#max_items`. One item is
/// kept all the same, since each has the same id.
pub(crate) fn publish_card(signed_card: &[u8]) -> Element {
    let card = el("card", ns::CARD).with_text(base64(signed_card));
    let item = el("item", ns::PUBSUB).with("id", "current").child(card);
    let option = |var: &'static str, value: &str, kind: Option<&str>| {
        let field = el("field", ns::DATA).with("var", var);
        let field = if let Some(kind) = kind { field.with("type", kind) } else { field };
        field.child(el("value", ns::DATA).with_text(value))
    };
    let options = el("x", ns::DATA)
        .with("type", "submit")
        .child(option("FORM_TYPE", ns::PUBLISH_OPTIONS, Some("hidden")))
        .child(option("pubsub#access_model", "presence", None))
        .child(option("pubsub#persist_items", "true", None));
    el("pubsub", ns::PUBSUB)
        .child(el("publish", ns::PUBSUB).with("node", ns::CARD).child(item))
        .child(el("publish-options", ns::PUBSUB).child(options))
}

/// Asks for somebody's published card.
pub(crate) fn ask_card() -> Element {
    let items = el("items", ns::PUBSUB).with("node", ns::CARD).with("max_items", "1");
    el("pubsub", ns::PUBSUB).child(items)
}

/// The card in a result; `None` where none is published.
pub(crate) fn parse_card(payload: Option<&Element>) -> Result<Option<Vec<u8>>, StanzaError> {
    let items = payload
        .filter(|pubsub| pubsub.is("pubsub", ns::PUBSUB))
        .and_then(|pubsub| pubsub.get_child("items", ns::PUBSUB))
        .ok_or(StanzaError::Missing("items"))?;
    let card = items.children().filter_map(|item| item.get_child("card", ns::CARD)).last();
    card.map(|card| bytes_of(card, "card", CARD_BYTES_MAX)).transpose()
}

/// What an ordinary client of a recipient says about a message of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It has arrived (XEP-0184, or the `received` of XEP-0333).
    Delivered,
    /// It was shown (XEP-0333).
    Read,
}

/// Who says what about which message, if the message does.
pub(crate) fn parse_mark(message: &Element) -> Option<(String, String, Mark)> {
    if message.attr("type") == Some("error") {
        return None;
    }
    let mark = |name: &str, namespace: &str, mark: Mark| {
        message.get_child(name, namespace).and_then(id).map(|id| (id.to_owned(), mark))
    };
    let (id, mark) = mark("displayed", ns::MARKERS, Mark::Read)
        .or_else(|| mark("received", ns::RECEIPTS, Mark::Delivered))
        .or_else(|| mark("received", ns::MARKERS, Mark::Delivered))?;
    Some((sender(message)?.to_bare().to_string(), id, mark))
}

/// Whether `text` is a bare JID, and its normal form.
pub(crate) fn bare(text: &str) -> Option<BareJid> {
    jid(text)?.try_into_full().err()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::{parse_element, print};

    #[test]
    fn subscriptions_have_four_words() {
        for kind in [Subscription::Ask, Subscription::Allow, Subscription::Refuse, Subscription::End] {
            let sent = presence("elaine@example.org", kind).with("from", "jerry@example.org/x");
            assert_eq!(parse_presence(&sent), Some(("jerry@example.org".to_owned(), kind)));
        }
        assert_eq!(parse_presence(&parse_element("<presence from='a@b'/>")), None);
        assert_eq!(parse_presence(&parse_element("<presence type='subscribe'/>")), None);
    }

    #[test]
    fn rosters_are_read_and_bounded() {
        let roster = parse_element(
            "<query xmlns='jabber:iq:roster'><item jid='Elaine@example.org' name='E' subscription='both'/>\
             <item jid='@'/><item jid='newman@example.org' ask='subscribe'/></query>",
        );
        let items = parse_roster(Some(&roster)).unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!((items[0].jid.as_str(), items[0].subscription.as_str()), ("elaine@example.org", "both"));
        assert!(items[1].asked && items[1].subscription == "none");
        assert!(parse_roster(None).is_err());
    }

    #[test]
    fn a_published_card_comes_back() {
        let sent = print(&publish_card(&[1, 2, 3]), ns::CLIENT);
        assert!(sent.contains("<publish node='urn:carrierpigeon:card:1'><item id='current'>"), "{sent}");
        assert!(!sent.contains("pubsub#max_items"), "ejabberd refuses it: {sent}");
        assert!(sent.contains("<card xmlns='urn:carrierpigeon:card:1'>AQID</card>"), "{sent}");
        let answer = parse_element(
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:carrierpigeon:card:1'>\
             <item id='current'><card xmlns='urn:carrierpigeon:card:1'>AQID</card></item></items></pubsub>",
        );
        assert_eq!(parse_card(Some(&answer)), Ok(Some(vec![1, 2, 3])));
        let none = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='x'/></pubsub>";
        assert_eq!(parse_card(Some(&parse_element(none))), Ok(None));
        assert!(parse_card(None).is_err());
    }

    #[test]
    fn receipts_and_markers_are_told_apart() {
        let mark = |inside: &str| {
            parse_mark(&parse_element(&format!("<message from='jerry@example.org/x'>{inside}</message>")))
                .map(|(_, id, mark)| (id, mark))
        };
        assert_eq!(
            mark("<received xmlns='urn:xmpp:receipts' id='m1'/>"),
            Some(("m1".into(), Mark::Delivered))
        );
        let shown = "<displayed xmlns='urn:xmpp:chat-markers:0' id='m2'/>";
        assert_eq!(mark(shown), Some(("m2".into(), Mark::Read)));
        assert_eq!(mark("<received xmlns='urn:other' id='m1'/>"), None);
        assert_eq!(mark("<received xmlns='urn:xmpp:receipts'/>"), None);
    }
}
