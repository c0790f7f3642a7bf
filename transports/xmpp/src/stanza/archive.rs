//! XEP-0313: what came while nobody was there, page by page (XEP-0059).

use jid::BareJid;
use minidom::Element;

use super::{StanzaError, bundle, sender, short, time};
use crate::limits::ARCHIVE_PAGE_MAX;
use crate::ns;
use crate::wire::{With, el};

/// A message with a bundle, as the archive has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Archived {
    /// The archive's name for it: where to go on after it.
    pub archive_id: String,
    /// The sender's bare JID.
    pub from: String,
    /// The bundle, not parsed.
    pub bytes: Vec<u8>,
}

/// Nothing of who writes to whom gets into a log by accident.
impl std::fmt::Debug for Archived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archived").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// One page of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivePage {
    /// Its messages that hold bundles, oldest first.
    pub messages: Vec<Archived>,
    /// The last message of the page, bundle or not; `None` for an empty page.
    pub last: Option<String>,
    /// There is nothing after it.
    pub complete: bool,
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveStart {
    /// After this message.
    After(String),
    /// At this time, Unix milliseconds.
    Time(u64),
}

/// The question. `query_id` comes back with each result.
pub(crate) fn query(query_id: &str, start: &ArchiveStart) -> Element {
    let mut form = el("x", ns::DATA).with("type", "submit").child(field("FORM_TYPE", ns::MAM, true));
    let mut set = el("set", ns::RSM).child(el("max", ns::RSM).with_text(ARCHIVE_PAGE_MAX.to_string()));
    match start {
        ArchiveStart::After(id) => set.append_child(el("after", ns::RSM).with_text(id.as_str())),
        ArchiveStart::Time(ms) => match time::stamp(*ms) {
            Some(stamp) => form.append_child(field("start", &stamp, false)),
            None => form.append_child(field("start", "1970-01-01T00:00:00Z", false)),
        },
    };
    el("query", ns::MAM).with("queryid", query_id).child(form).child(set)
}

fn field(var: &'static str, value: &str, hidden: bool) -> Element {
    let field = el("field", ns::DATA).with("var", var);
    let field = if hidden { field.with("type", "hidden") } else { field };
    field.child(el("value", ns::DATA).with_text(value))
}

/// A result of the question `query_id`, if the message is one: only the account's own archive may send results.
/// `Some(None)` for a message without a bundle that can be read.
pub(crate) fn result(message: &Element, account: &BareJid, query_id: &str) -> Option<Option<Archived>> {
    let result = message.get_child("result", ns::MAM)?;
    let own = sender(message).is_none_or(|from| from.is_bare() && from.to_bare() == *account);
    if !own || result.attr("queryid") != Some(query_id) {
        return Some(None);
    }
    let inner =
        result.get_child("forwarded", ns::FORWARD).and_then(|all| all.get_child("message", ns::CLIENT));
    let read = |inner: &Element| {
        let (id, from) = (result.attr("id")?, sender(inner)?);
        let bytes = bundle::parse(inner)?.ok()?;
        Some(Archived { archive_id: short(id.to_owned()), from: from.to_bare().to_string(), bytes })
    };
    Some(inner.filter(|inner| inner.attr("type") != Some("error")).and_then(read))
}

/// The end of a page: its last message, and whether there is nothing after it.
pub(crate) fn parse_fin(payload: Option<&Element>) -> Result<(Option<String>, bool), StanzaError> {
    let fin = payload.filter(|fin| fin.is("fin", ns::MAM)).ok_or(StanzaError::Missing("fin"))?;
    let complete = matches!(fin.attr("complete"), Some("true" | "1"));
    let last = fin.get_child("set", ns::RSM).and_then(|set| set.get_child("last", ns::RSM));
    Ok((last.map(|last| short(last.text())).filter(|last| !last.is_empty()), complete))
}

/// The archive's name for a live message, where the account's own server has given it one (XEP-0359).
pub(crate) fn stanza_id(message: &Element, account: &BareJid) -> Option<String> {
    let by_us = |id: &&Element| {
        id.is("stanza-id", ns::STABLE_ID) && id.attr("by").is_some_and(|by| by == account.as_str())
    };
    message.children().find(by_us)?.attr("id").map(|id| short(id.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::{parse_element, print};

    fn jerry() -> BareJid {
        BareJid::new("jerry@example.org").unwrap()
    }

    #[test]
    fn query_snapshots() {
        assert_eq!(
            print(&query("q", &ArchiveStart::After("a1".to_owned())), ns::CLIENT),
            "<query xmlns='urn:xmpp:mam:2' queryid='q'><x xmlns='jabber:x:data' type='submit'>\
             <field type='hidden' var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field></x>\
             <set xmlns='http://jabber.org/protocol/rsm'><max>20</max><after>a1</after></set></query>"
        );
        let by_time = print(&query("q", &ArchiveStart::Time(0)), ns::CLIENT);
        assert!(by_time.contains("<field var='start'><value>1970-01-01T00:00:00.000Z</value>"), "{by_time}");
    }

    fn result_from(from: &str, query_id: &str) -> Option<Option<Archived>> {
        let message = parse_element(&format!(
            "<message xmlns='jabber:client'{from}><result xmlns='urn:xmpp:mam:2' queryid='{query_id}' id='a7'>\
             <forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='elaine@example.org/x'>\
             <bundle xmlns='urn:carrierpigeon:bundle:1'>AQID</bundle></message></forwarded></result></message>"
        ));
        result(&message, &jerry(), "q")
    }

    #[test]
    fn results_count_only_from_the_own_archive_and_for_the_own_question() {
        let expected = Archived {
            archive_id: "a7".to_owned(),
            from: "elaine@example.org".to_owned(),
            bytes: vec![1, 2, 3],
        };
        for own in ["", " from='jerry@example.org'"] {
            assert_eq!(result_from(own, "q"), Some(Some(expected.clone())), "{own}");
        }
        for forged in ["newman@example.org", "jerry@example.org/x", "example.org"] {
            assert_eq!(result_from(&format!(" from='{forged}'"), "q"), Some(None), "{forged}");
        }
        assert_eq!(result_from("", "other"), Some(None));
        assert_eq!(result(&parse_element("<message/>"), &jerry(), "q"), None);
    }

    #[test]
    fn the_end_of_a_page() {
        let fin = parse_element(
            "<fin xmlns='urn:xmpp:mam:2' complete='true'><set xmlns='http://jabber.org/protocol/rsm'>\
             <last>a9</last></set></fin>",
        );
        assert_eq!(parse_fin(Some(&fin)), Ok((Some("a9".to_owned()), true)));
        let empty = parse_element("<fin xmlns='urn:xmpp:mam:2'/>");
        assert_eq!(parse_fin(Some(&empty)), Ok((None, false)));
        assert_eq!(parse_fin(None), Err(StanzaError::Missing("fin")));
    }

    #[test]
    fn only_the_own_server_names_messages() {
        let id = |by: &str| {
            let message = format!("<message><stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='a1'/></message>");
            stanza_id(&parse_element(&message), &jerry())
        };
        assert_eq!(id("jerry@example.org").as_deref(), Some("a1"));
        assert_eq!(id("newman@example.org"), None);
    }
}
