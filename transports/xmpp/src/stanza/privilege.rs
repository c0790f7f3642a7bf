//! XEP-0356: what a server lets the component do.

use minidom::Element;

use super::sender;
use crate::ns;

/// A server's announcement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// The host whose users' messages it is about.
    pub(crate) host: String,
    /// The namespace that the server speaks: `urn:xmpp:privilege:1` or `:2`.
    pub(crate) namespace: String,
    /// Whether the component may send messages as the host's users.
    pub(crate) outgoing: bool,
}

/// Reads a message as an announcement. Only a host itself can make one: a user's message that looks the same
/// is `None`.
pub(crate) fn parse(message: &Element) -> Option<Announcement> {
    let from = sender(message)?;
    if from.node().is_some() || from.is_full() || message.attr("type") == Some("error") {
        return None;
    }
    let privilege = message
        .children()
        .find(|child| child.name() == "privilege" && child.ns().starts_with(ns::PRIVILEGE_PREFIX))?;
    let namespace = privilege.ns();
    let outgoing = privilege.children().any(|perm| {
        perm.is("perm", namespace.as_str())
            && perm.attr("access") == Some("message")
            && perm.attr("type") == Some("outgoing")
    });
    Some(Announcement { host: from.domain().to_string(), namespace, outgoing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse_element;

    fn announce(from: &str, version: u8, perms: &str) -> Option<Announcement> {
        parse(&parse_element(&format!(
            "<message from='{from}' to='bridge.example.org'><privilege xmlns='urn:xmpp:privilege:{version}'>{perms}\
             </privilege></message>"
        )))
    }

    const MESSAGE: &str = "<perm access='roster' type='get'/><perm access='message' type='outgoing'/>";

    #[test]
    fn both_versions_and_a_refusal() {
        for version in [1, 2] {
            let expected = Announcement {
                host: "example.org".to_owned(),
                namespace: format!("urn:xmpp:privilege:{version}"),
                outgoing: true,
            };
            assert_eq!(announce("example.org", version, MESSAGE), Some(expected));
        }
        let none = announce("example.org", 2, "<perm access='message' type='none'/>");
        assert_eq!(none.map(|announcement| announcement.outgoing), Some(false));
        assert_eq!(announce("example.org", 2, "").map(|announcement| announcement.outgoing), Some(false));
    }

    #[test]
    fn a_user_cannot_announce() {
        for from in ["newman@example.org", "newman@example.org/x", "example.org/x", ""] {
            assert_eq!(announce(from, 2, MESSAGE), None, "{from}");
        }
    }
}
