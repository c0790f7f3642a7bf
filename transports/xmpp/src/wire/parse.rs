//! Bytes to elements, with limits.

use minidom::Element;
use rxml::error::EndOrError;
use rxml::{AttrMap, Namespace, NcName, Parse, RawEvent, RawParser, RawQName};

use super::names::Names;
use crate::limits::{
    ATTRIBUTES_MAX, ELEMENT_BYTES_MAX, ELEMENT_COUNT_MAX, ELEMENT_DEPTH_MAX, NAMESPACES_MAX,
};
use crate::ns;

/// What a stream brings.
#[derive(Debug)]
pub(crate) enum Item {
    /// The peer's stream header with its id.
    Opened {
        /// The stream's id, which the component handshake signs.
        id: Option<String>,
    },
    /// A stanza or another top-level element.
    Element(Element),
    /// A top-level element too deep or too rich to build a tree of. It was read to its end and forgotten.
    Refused(Refused),
    /// The peer closed its stream.
    Closed,
}

/// What is kept of a refused element.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Its local name.
    pub(crate) name: String,
    /// Its namespace.
    pub(crate) ns: String,
}

/// Why a stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum XmlError {
    /// Not well-formed, or XML that XMPP forbids.
    #[error("the peer sent XML that cannot be read: {0}")]
    Malformed(String),
    /// Larger than any server passes on.
    #[error("the peer sent an element of more than {ELEMENT_BYTES_MAX} bytes")]
    TooLarge,
    /// Not an XMPP stream.
    #[error("the peer does not speak XMPP (no stream header)")]
    NotAStream,
}

/// A start tag, or as much of it as has come.
#[derive(Debug)]
struct Head {
    name: RawQName,
    attributes: Vec<(RawQName, String)>,
    overfull: bool,
}

/// Builds top-level elements from bytes. Does no IO.
#[derive(Debug)]
pub(crate) struct StreamParser {
    parser: RawParser,
    names: Names,
    /// The tag that is being read.
    head: Option<Head>,
    /// Open tags, the stream's own included.
    depth: usize,
    /// The path from the top-level element to the innermost open one.
    open: Vec<Element>,
    elements: usize,
    bytes: usize,
    refused: Option<Refused>,
}

impl StreamParser {
    pub(crate) fn new() -> Self {
        Self {
            parser: RawParser::new(),
            names: Names::default(),
            head: None,
            depth: 0,
            open: Vec::new(),
            elements: 0,
            bytes: 0,
            refused: None,
        }
    }

    /// Takes bytes from `input` until an item is complete; `None` when more are needed.
    pub(crate) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Item>, XmlError> {
        loop {
            // Between stanzas, whitespace is a sign of life: let it pass at once instead of collecting it.
            self.parser.set_text_buffering(self.depth > 1);
            let before = input.len();
            let event = self.parser.parse(input, false);
            self.bytes += before - input.len();
            if self.bytes > ELEMENT_BYTES_MAX {
                return Err(XmlError::TooLarge);
            }
            let item = match event {
                Ok(Some(event)) => self.event(event)?,
                Ok(None) => Some(Item::Closed),
                Err(EndOrError::NeedMoreData) => return Ok(None),
                Err(EndOrError::Error(error)) => return Err(XmlError::Malformed(error.to_string())),
            };
            if let Some(item) = item {
                self.bytes = 0;
                return Ok(Some(item));
            }
        }
    }

    fn event(&mut self, event: RawEvent) -> Result<Option<Item>, XmlError> {
        match event {
            RawEvent::XmlDeclaration(..) => Ok(None),
            RawEvent::ElementHeadOpen(_, name) => {
                self.depth += 1;
                self.head = Some(Head { name, attributes: Vec::new(), overfull: false });
                Ok(None)
            }
            RawEvent::Attribute(_, name, value) => {
                self.attribute(name, value);
                Ok(None)
            }
            RawEvent::ElementHeadClose(_) => match self.head.take() {
                Some(head) => self.start(head),
                None => Ok(None),
            },
            RawEvent::Text(_, text) => self.text(text),
            RawEvent::ElementFoot(_) => Ok(self.end()),
        }
    }

    fn attribute(&mut self, (prefix, name): RawQName, value: String) {
        let Some(head) = self.head.as_mut().filter(|_| self.refused.is_none()) else { return };
        let declares = match &prefix {
            Some(prefix) if prefix == "xmlns" => Some(Some(String::from(name.clone()))),
            None if name == "xmlns" => Some(None),
            _ => None,
        };
        match declares {
            Some(prefix) if self.names.len() < NAMESPACES_MAX => {
                self.names.declare(self.depth, prefix, value);
            }
            None if head.attributes.len() < ATTRIBUTES_MAX => head.attributes.push(((prefix, name), value)),
            _ => head.overfull = true,
        }
    }

    fn start(&mut self, head: Head) -> Result<Option<Item>, XmlError> {
        if self.refused.is_some() {
            return Ok(None);
        }
        let (prefix, name) = head.name;
        let namespace = self
            .names
            .element(prefix.as_ref().map(NcName::as_str))
            .ok_or_else(|| undeclared(prefix.as_ref()))?
            .to_owned();
        if self.depth == 1 {
            if namespace != ns::STREAM || name != "stream" {
                return Err(XmlError::NotAStream);
            }
            let id = head.attributes.into_iter().find(|((prefix, name), _)| prefix.is_none() && name == "id");
            return Ok(Some(Item::Opened { id: id.map(|(_, value)| value) }));
        }
        if self.depth == 2 {
            self.elements = 0;
        }
        self.elements += 1;
        let mut element = Element::bare(String::from(name), namespace);
        let too_rich = self.depth > ELEMENT_DEPTH_MAX + 1 || self.elements > ELEMENT_COUNT_MAX;
        if head.overfull || too_rich {
            let top = self.open.first().unwrap_or(&element);
            self.refused = Some(Refused { name: top.name().to_owned(), ns: top.ns() });
            self.open.clear();
            return Ok(None);
        }
        *element.attrs_mut() = self.attributes(head.attributes)?;
        self.open.push(element);
        Ok(None)
    }

    fn attributes(&self, raw: Vec<(RawQName, String)>) -> Result<AttrMap, XmlError> {
        let mut attributes = AttrMap::new();
        for ((prefix, name), value) in raw {
            let namespace = self
                .names
                .attribute(prefix.as_ref().map(NcName::as_str))
                .ok_or_else(|| undeclared(prefix.as_ref()))?;
            if attributes.insert(Namespace::from(namespace.to_owned()), name, value).is_some() {
                return Err(XmlError::Malformed("an attribute twice".to_owned()));
            }
        }
        Ok(attributes)
    }

    fn text(&mut self, text: String) -> Result<Option<Item>, XmlError> {
        if let Some(innermost) = self.open.last_mut() {
            innermost.append_text(text);
        } else if self.depth <= 1 {
            if !text.bytes().all(|byte| byte.is_ascii_whitespace()) {
                return Err(XmlError::Malformed("text between stanzas".to_owned()));
            }
            self.bytes = 0;
        }
        Ok(None)
    }

    fn end(&mut self) -> Option<Item> {
        self.names.leave(self.depth);
        self.depth = self.depth.saturating_sub(1);
        if self.depth == 0 {
            return Some(Item::Closed);
        }
        if self.depth == 1
            && let Some(refused) = self.refused.take()
        {
            return Some(Item::Refused(refused));
        }
        let element = self.open.pop()?;
        match self.open.last_mut() {
            Some(parent) => {
                parent.append_child(element);
                None
            }
            None => Some(Item::Element(element)),
        }
    }
}

fn undeclared(prefix: Option<&NcName>) -> XmlError {
    XmlError::Malformed(format!("the undeclared prefix {:?}", prefix.map(NcName::as_str)))
}

/// Parses one element, for tests.
#[cfg(test)]
pub(crate) fn parse_element(xml: &str) -> Element {
    let text = format!("<s:stream xmlns:s='{}' xmlns='{}'>{xml}", ns::STREAM, ns::CLIENT);
    let mut parser = StreamParser::new();
    let mut input = text.as_bytes();
    loop {
        match parser.next(&mut input) {
            Ok(Some(Item::Element(element))) => return element,
            Ok(Some(Item::Opened { .. })) => {}
            other => panic!("{xml}: {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const HEAD: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
                        xmlns:stream='http://etherx.jabber.org/streams' id='i1'>";

    /// Everything that `text` brings, fed in pieces of `step` bytes.
    fn items(text: &str, step: usize) -> Result<Vec<Item>, XmlError> {
        let mut parser = StreamParser::new();
        let mut items = Vec::new();
        for piece in text.as_bytes().chunks(step) {
            let mut input = piece;
            while let Some(item) = parser.next(&mut input)? {
                let closed = matches!(item, Item::Closed);
                items.push(item);
                if closed {
                    return Ok(items);
                }
            }
            assert!(input.is_empty());
        }
        Ok(items)
    }

    #[test]
    fn a_stream_in_pieces_of_any_size() {
        let text = format!(
            "{HEAD} \n<message to='a'><body>x &amp; y</body></message><r xmlns='urn:xmpp:sm:3'/></stream:stream>"
        );
        for step in [1, 2, 3, 7, 64, 4096] {
            let items = items(&text, step).unwrap();
            let [Item::Opened { id: Some(id) }, Item::Element(message), Item::Element(r), Item::Closed] =
                &items[..]
            else {
                panic!("step {step}: {items:?}");
            };
            assert_eq!(id, "i1");
            assert_eq!(message.get_child("body", ns::CLIENT).unwrap().text(), "x & y");
            assert!(r.is("r", ns::SM));
        }
    }

    #[test]
    fn the_last_stanza_does_not_wait_for_the_next_byte() {
        let items = items(&format!("{HEAD}<r xmlns='urn:xmpp:sm:3'/>"), 4096).unwrap();
        assert!(matches!(items[..], [Item::Opened { .. }, Item::Element(_)]), "{items:?}");
    }

    #[test]
    fn depth_at_the_limit_passes_and_one_more_is_refused_but_read() {
        let nested = |n: usize| format!("{}{}", "<a>".repeat(n), "</a>".repeat(n));
        let at = items(&format!("{HEAD}{}<b/>", nested(ELEMENT_DEPTH_MAX)), 999).unwrap();
        assert!(matches!(at[1..], [Item::Element(_), Item::Element(_)]), "{at:?}");
        let over =
            items(&format!("{HEAD}<message>{}</message><b/>", nested(ELEMENT_DEPTH_MAX)), 999).unwrap();
        let [_, Item::Refused(refused), Item::Element(next)] = &over[..] else { panic!("{over:?}") };
        assert_eq!((refused.name.as_str(), refused.ns.as_str()), ("message", ns::CLIENT));
        assert_eq!(next.name(), "b");
    }

    #[test]
    fn a_stack_bomb_is_one_refused_stanza() {
        let n = 37_000;
        let text = format!("{HEAD}<message>{}{}</message>", "<a>".repeat(n), "</a>".repeat(n));
        assert!(matches!(items(&text, 8192).unwrap()[1], Item::Refused(_)));
    }

    #[test]
    fn more_elements_than_the_limit_are_refused() {
        let text = format!("{HEAD}<message>{}</message>", "<a/>".repeat(ELEMENT_COUNT_MAX));
        assert!(matches!(items(&text, 8192).unwrap()[1], Item::Refused(_)));
    }

    #[test]
    fn more_attributes_or_namespaces_than_the_limit_are_refused() {
        let attributes = |n: usize| (0..n).map(|i| format!(" a{i}='x'")).collect::<String>();
        let namespaces = |n: usize| (0..n).map(|i| format!(" xmlns:a{i}='x'")).collect::<String>();
        let second = |tag: String| items(&format!("{HEAD}<message{tag}/>"), 999).unwrap().remove(1);
        assert!(matches!(second(attributes(ATTRIBUTES_MAX)), Item::Element(_)));
        // The stream header has declared two.
        assert!(matches!(second(namespaces(NAMESPACES_MAX - 2)), Item::Element(_)));
        for tag in [attributes(ATTRIBUTES_MAX + 1), namespaces(NAMESPACES_MAX - 1)] {
            let Item::Refused(refused) = second(tag) else { panic!("not refused") };
            assert_eq!(refused, Refused { name: "message".to_owned(), ns: ns::CLIENT.to_owned() });
        }
    }

    #[test]
    fn prefixes_and_duplicates_are_checked() {
        let prefixed = format!("{HEAD}<p:a xmlns:p='n' p:b='1' b='2'><c/></p:a>");
        let Item::Element(element) = items(&prefixed, 3).unwrap().remove(1) else { panic!("no element") };
        assert!(element.is("a", "n") && element.has_child("c", ns::CLIENT));
        assert_eq!((element.attr("b"), element.attr_ns("n", "b")), (Some("2"), Some("1")));
        for bad in
            ["<p:a/>", "<a p:b='1'/>", "<a b='1' b='2'/>", "<a xmlns:p='n' xmlns:q='n' p:b='1' q:b='2'/>"]
        {
            assert!(matches!(items(&format!("{HEAD}{bad}"), 99), Err(XmlError::Malformed(_))), "{bad}");
        }
    }

    #[test]
    fn an_endless_element_ends_the_stream() {
        let text = format!("{HEAD}<message><body>{}", "x".repeat(ELEMENT_BYTES_MAX));
        assert!(matches!(items(&text, 8192), Err(XmlError::TooLarge)));
    }

    #[test]
    fn keepalive_whitespace_is_not_collected() {
        let text = format!("{HEAD}{}<a/>", " ".repeat(ELEMENT_BYTES_MAX + 1));
        assert!(matches!(items(&text, 8192).unwrap()[1], Item::Element(_)));
    }

    #[test]
    fn what_is_not_xmpp_is_an_error() {
        assert!(matches!(items("<html>", 9), Err(XmlError::NotAStream)));
        assert!(matches!(items("SSH-2.0-OpenSSH\r\n", 99), Err(XmlError::Malformed(_))));
        assert!(matches!(items(&format!("{HEAD}words"), 99), Err(XmlError::Malformed(_))));
        let entities = format!("<!DOCTYPE x [<!ENTITY a 'aaaa'>]>{HEAD}");
        assert!(matches!(items(&entities, 99), Err(XmlError::Malformed(_))));
    }

    use crate::wire::{With, el, print};
    use proptest::prelude::*;

    /// Any element within the limits, with text that XML can hold.
    fn any_element() -> impl Strategy<Value = Element> {
        let text = "[ -~äß🐦]{1,9}";
        let leaf = ("[a-c]", "[m-o]", prop::option::of(text)).prop_map(|(name, ns, attr)| {
            let element = el(&name, &ns);
            match attr {
                Some(attr) => element.with("attr", &attr),
                None => element,
            }
        });
        leaf.prop_recursive(6, 32, 4, move |inner| {
            ("[a-c]", "[m-o]", prop::collection::vec(inner, 0..4), prop::option::of(text)).prop_map(
                |(name, ns, children, text)| {
                    let element = children.into_iter().fold(el(&name, &ns), With::child);
                    match text {
                        Some(text) => element.with_text(text),
                        None => element,
                    }
                },
            )
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(element in any_element(), inherited in "[m-o]") {
            let head = HEAD.replace(ns::CLIENT, &inherited);
            let read = items(&format!("{head}{}", print(&element, &inherited)), 5).unwrap().remove(1);
            let Item::Element(read) = read else { panic!("refused") };
            prop_assert_eq!(read, element);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![
            Just(b'<'), Just(b'>'), Just(b'/'), Just(b'a'), Just(b' '), Just(b'='), Just(b'\''), Just(b'&'), Just(b':'),
            any::<u8>()
        ], 0..200)) {
            let mut text = HEAD.as_bytes().to_vec();
            text.extend(bytes);
            let mut parser = StreamParser::new();
            let mut input = &text[..];
            while let Ok(Some(item)) = parser.next(&mut input) {
                if matches!(item, Item::Closed) {
                    break;
                }
            }
        }
    }
}
