//! Elements to text.

use minidom::{Element, Node};
use rxml::{Namespace, NcName};

/// An element without children.
pub(crate) fn el(name: &str, ns: &str) -> Element {
    Element::bare(name, ns)
}

/// Building elements in one expression.
pub(crate) trait With {
    /// Adds an attribute without a namespace. `name` must be an XML name: all of ours are literals.
    fn with(self, name: &'static str, value: &str) -> Self;
    /// Adds a child.
    fn child(self, child: Element) -> Self;
    /// Adds text.
    fn with_text(self, text: impl Into<String>) -> Self;
}

impl With for Element {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        match NcName::try_from(name) {
            Ok(name) => {
                self.attrs_mut().insert(Namespace::NONE, name, value.to_owned());
            }
            Err(error) => debug_assert!(false, "{name}: {error}"),
        }
        self
    }

    fn child(mut self, child: Element) -> Self {
        self.append_child(child);
        self
    }

    fn with_text(mut self, text: impl Into<String>) -> Self {
        self.append_text_node(text);
        self
    }
}

/// Writes `element` as it stands inside a stream whose default namespace is `ns`. Attributes with a namespace
/// are left out: none of our stanzas has any.
pub(crate) fn print(element: &Element, ns: &str) -> String {
    let mut out = String::with_capacity(256);
    write(element, ns, &mut out);
    out
}

fn write(element: &Element, inherited: &str, out: &mut String) {
    let ns = element.ns();
    out.push('<');
    out.push_str(element.name());
    if ns != inherited {
        attribute("xmlns", &ns, out);
    }
    for ((namespace, name), value) in element.attrs().iter() {
        if *namespace == Namespace::NONE {
            attribute(name, value, out);
        }
    }
    if element.nodes().next().is_none() {
        out.push_str("/>");
        return;
    }
    out.push('>');
    for node in element.nodes() {
        match node {
            Node::Element(child) => write(child, &ns, out),
            Node::Text(text) => escape(text, out),
        }
    }
    out.push_str("</");
    out.push_str(element.name());
    out.push('>');
}

pub(super) fn attribute(name: &str, value: &str, out: &mut String) {
    out.push(' ');
    out.push_str(name);
    out.push_str("='");
    escape(value, out);
    out.push('\'');
}

/// Escapes for text and attributes alike. What XML 1.0 cannot hold at all (section 2.2) becomes U+FFFD: a message
/// with a stray control character must not end the stream.
fn escape(text: &str, out: &mut String) {
    let mut rest = text;
    // Most of it is base64: what needs no care is copied as a whole.
    while let Some(at) = rest.bytes().position(needs_care) {
        let (plain, others) = rest.split_at(at);
        out.push_str(plain);
        let mut others = others.chars();
        let Some(c) = others.next() else { break };
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xd;"),
            '\n' | '\t' => out.push(c),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
        rest = others.as_str();
    }
    out.push_str(rest);
}

/// Whether a character that begins with this byte may have to be escaped: 0xEF is the first of U+FFFE and U+FFFF.
fn needs_care(byte: u8) -> bool {
    matches!(byte, b'<' | b'>' | b'&' | b'\'' | b'"' | 0..=0x1f | 0xef)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::parse_element;

    #[test]
    fn namespaces_are_written_where_they_change() {
        let message =
            el("message", "a").with("to", "x@y").child(el("body", "a").with_text("hi")).child(el("p", "b"));
        assert_eq!(print(&message, "a"), "<message to='x@y'><body>hi</body><p xmlns='b'/></message>");
        assert_eq!(
            print(&message, "c"),
            "<message xmlns='a' to='x@y'><body>hi</body><p xmlns='b'/></message>"
        );
    }

    #[test]
    fn text_survives_and_what_xml_cannot_hold_is_replaced() {
        let text = "<&>'\" \r\n\t ü 🐦";
        let element = el("b", "n").with("a", text.trim()).with_text(text);
        let back = parse_element(&print(&element, ""));
        assert_eq!(back.text(), text);
        assert_eq!(print(&el("b", "n").with_text("a\u{0}b\u{ffff}"), "n"), "<b>a\u{fffd}b\u{fffd}</b>");
    }

    #[test]
    fn attributes_cannot_break_out() {
        let printed = print(&el("b", "n").with("a", "'/><evil x='"), "n");
        assert_eq!(printed, "<b a='&apos;/&gt;&lt;evil x=&apos;'/>");
    }
}
