//! What a received stanza means to a client session. Does no IO.

use jid::{BareJid, Jid};
use minidom::Element;

use crate::ns;
use crate::stanza::archive::{self, Archived};
use crate::stanza::error::Condition;
use crate::stanza::iq::{self, Kind};
use crate::stanza::people::{self, Mark, Subscription};
use crate::stanza::{bundle, carbons, disco, error, id, sender, verdict};

/// The name of our questions to the archive: one is open at a time.
pub(super) const ARCHIVE_QUERY: &str = "catch-up";

/// What to do with a stanza.
#[derive(Debug, PartialEq)]
pub(super) enum Incoming {
    Nothing,
    /// Answer with this.
    Reply(Element),
    /// An answer to a question of ours, if anybody asked.
    Answer(Kind),
    /// The bridge's, to uploads.
    Verdict(verdict::Answer),
    Refusal {
        id: Option<String>,
        condition: String,
        text: Option<String>,
    },
    Bundle {
        from: String,
        bytes: Vec<u8>,
        message_id: Option<String>,
        archive_id: Option<String>,
    },
    /// A result of a question to the archive.
    Archived(Archived),
    Mark {
        from: String,
        message_id: String,
        mark: Mark,
    },
    Subscription {
        from: String,
        kind: Subscription,
    },
}

/// Reads a stanza that came to `account`, which uses `bridge`. What cannot be read is dropped with a line in the
/// log: it stays on no queue, and nobody is waiting for it.
pub(super) fn read(stanza: &Element, account: &BareJid, bridge: &BareJid) -> Incoming {
    match stanza.name() {
        "iq" => read_iq(stanza),
        "message" => match archive::result(stanza, account, ARCHIVE_QUERY) {
            Some(archived) => archived.map_or(Incoming::Nothing, Incoming::Archived),
            None => read_message(stanza, account, bridge),
        },
        "presence" => match people::parse_presence(stanza) {
            Some((from, kind)) => Incoming::Subscription { from, kind },
            None => Incoming::Nothing,
        },
        _ => Incoming::Nothing,
    }
}

fn read_iq(stanza: &Element) -> Incoming {
    let Some((kind, payload)) = iq::split(stanza) else { return Incoming::Nothing };
    if matches!(kind, Kind::Result | Kind::Error) {
        return Incoming::Answer(kind);
    }
    let (Some(id), to) = (id(stanza), stanza.attr("from")) else { return Incoming::Nothing };
    let known = payload.filter(|_| kind == Kind::Get).and_then(|payload| disco::answer(payload, disco::NODE));
    Incoming::Reply(match known {
        Some(answer) => iq::result(ns::CLIENT, id, None, to, answer),
        None => iq::failure(ns::CLIENT, id, None, to, Condition::ServiceUnavailable, ""),
    })
}

/// Whether a sender is the bridge, one of its instances below its domain, or one of its shards' addresses.
fn is_of_bridge(from: &Jid, bridge: &BareJid) -> bool {
    let (from, bridge) = (from.domain().as_str(), bridge.domain().as_str());
    from.strip_suffix(bridge).is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

fn read_message(stanza: &Element, account: &BareJid, bridge: &BareJid) -> Incoming {
    let Some(message) = carbons::unwrap(stanza, account) else { return Incoming::Nothing };
    let from_bridge = sender(message).is_some_and(|from| is_of_bridge(&from, bridge));
    if message.attr("type") == Some("error") {
        if !from_bridge {
            return Incoming::Nothing;
        }
        let (condition, text) = error::of_stanza(message);
        return Incoming::Refusal { id: id(message).map(str::to_owned), condition, text };
    }
    if from_bridge && let Some(parsed) = verdict::parse(message) {
        return parsed.map_or_else(|error| dropped("verdict", &error), Incoming::Verdict);
    }
    match (bundle::parse(message), sender(message)) {
        (Some(Ok(bytes)), Some(from)) => {
            let message_id = id(message).map(str::to_owned);
            let archive_id = archive::stanza_id(message, account);
            Incoming::Bundle { from: from.to_bare().to_string(), bytes, message_id, archive_id }
        }
        (Some(Err(error)), _) => dropped("bundle", &error),
        _ => match people::parse_mark(message) {
            Some((from, message_id, mark)) => Incoming::Mark { from, message_id, mark },
            None => Incoming::Nothing,
        },
    }
}

fn dropped(what: &'static str, error: &dyn std::error::Error) -> Incoming {
    tracing::info!(what, %error, "dropped a message that cannot be read");
    Incoming::Nothing
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::{parse_element, print};

    fn incoming(xml: &str) -> Incoming {
        let jid = |jid| BareJid::new(jid).unwrap();
        read(&parse_element(xml), &jid("jerry@example.org"), &jid("bridge.example.org"))
    }

    #[test]
    fn a_verdict_counts_only_from_the_bridge() {
        let from = |from: &str| {
            incoming(&format!(
                "<message from='{from}'><verdict xmlns='urn:carrierpigeon:bridge:1'>AQID</verdict></message>"
            ))
        };
        // Below its domain too, and from any name there: a server lets nobody else speak from a component's domain.
        for own in ["bridge.example.org", "b1.bridge.example.org", "3@bridge.example.org"] {
            assert!(matches!(from(own), Incoming::Verdict(_)), "{own}");
        }
        for forged in ["newman@example.org", "bridge.example.com", "otherbridge.example.org", ""] {
            assert_eq!(from(forged), Incoming::Nothing, "{forged}");
        }
    }

    #[test]
    fn a_bundle_comes_with_its_bare_sender() {
        let bundle = incoming(
            "<message from='Elaine@example.org/x' id='m1' type='chat'><body>text</body>\
             <bundle xmlns='urn:carrierpigeon:bundle:1'>AQID</bundle></message>",
        );
        let expected = Incoming::Bundle {
            from: "elaine@example.org".to_owned(),
            bytes: vec![1, 2, 3],
            message_id: Some("m1".to_owned()),
            archive_id: None,
        };
        assert_eq!(bundle, expected);
        assert_eq!(incoming("<message from='a@b'><body>just chat</body></message>"), Incoming::Nothing);
        let bad = "<message from='a@b'><bundle xmlns='urn:carrierpigeon:bundle:1'>?</bundle></message>";
        assert_eq!(incoming(bad), Incoming::Nothing);
    }

    #[test]
    fn a_returned_upload_is_a_refusal_and_not_a_bundle() {
        let returned = |from: &str| {
            incoming(&format!(
                "<message from='{from}' id='u1' type='error'><bundle xmlns='urn:carrierpigeon:bundle:1'>AQID</bundle>\
                 <error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>\
                 </message>"
            ))
        };
        let expected = Incoming::Refusal {
            id: Some("u1".to_owned()),
            condition: "service-unavailable".to_owned(),
            text: None,
        };
        assert_eq!(returned("bridge.example.org"), expected);
        assert_eq!(returned("newman@example.org"), Incoming::Nothing);
    }

    #[test]
    fn the_bridge_speaks_from_its_domain_its_instances_and_its_shards() {
        let bridge = BareJid::new("bridge.example.org").unwrap();
        let from = |jid: &str| is_of_bridge(&Jid::new(jid).unwrap(), &bridge);
        for good in
            ["bridge.example.org", "BRIDGE.example.org/x", "b1.bridge.example.org", "f@bridge.example.org"]
        {
            assert!(from(good), "{good}");
        }
        for bad in ["bridge.example.org.evil", "evilbridge.example.org", "newman@example.org", "example.org"]
        {
            assert!(!from(bad), "{bad}");
        }
    }

    #[test]
    fn questions_are_answered() {
        let Incoming::Reply(pong) =
            incoming("<iq type='get' id='p' from='example.org'><ping xmlns='urn:xmpp:ping'/></iq>")
        else {
            panic!("no answer")
        };
        assert_eq!(print(&pong, ns::CLIENT), "<iq id='p' to='example.org' type='result'/>");
        for other in ["<iq type='get' id='p'><x xmlns='y'/></iq>", "<iq type='set' id='p'/>"] {
            let Incoming::Reply(error) = incoming(other) else { panic!("no answer") };
            assert_eq!(error.attr("type"), Some("error"));
        }
        assert_eq!(incoming("<iq type='result' id='p'/>"), Incoming::Answer(Kind::Result));
        assert_eq!(incoming("<presence from='a@b'/>"), Incoming::Nothing);
    }
}
