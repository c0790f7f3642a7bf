//! XML namespaces.

pub(crate) const BUNDLE: &str = "urn:carrierpigeon:bundle:1";
pub(crate) const BRIDGE: &str = "urn:carrierpigeon:bridge:1";

pub(crate) const CLIENT: &str = "jabber:client";
pub(crate) const COMPONENT: &str = "jabber:component:accept";
pub(crate) const STREAM: &str = "http://etherx.jabber.org/streams";
pub(crate) const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
pub(crate) const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
pub(crate) const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
pub(crate) const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
pub(crate) const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";

/// XEP-0198, stream management.
pub(crate) const SM: &str = "urn:xmpp:sm:3";
/// XEP-0199, ping.
pub(crate) const PING: &str = "urn:xmpp:ping";
/// XEP-0030, service discovery.
pub(crate) const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// XEP-0280, carbons.
pub(crate) const CARBONS: &str = "urn:xmpp:carbons:2";
/// XEP-0297, forwarding.
pub(crate) const FORWARD: &str = "urn:xmpp:forward:0";
/// XEP-0334, hints.
pub(crate) const HINTS: &str = "urn:xmpp:hints";
/// XEP-0359, stable ids.
pub(crate) const STABLE_ID: &str = "urn:xmpp:sid:0";
/// XEP-0203, delayed delivery.
pub(crate) const DELAY: &str = "urn:xmpp:delay";
/// XEP-0184, receipts.
pub(crate) const RECEIPTS: &str = "urn:xmpp:receipts";
/// XEP-0356, privileged entities: the version follows this.
pub(crate) const PRIVILEGE_PREFIX: &str = "urn:xmpp:privilege:";

/// XEP-0077, in-band registration.
pub(crate) const REGISTER: &str = "jabber:iq:register";
/// RFC 6121, the roster.
pub(crate) const ROSTER: &str = "jabber:iq:roster";
/// XEP-0313, the archive.
pub(crate) const MAM: &str = "urn:xmpp:mam:2";
/// XEP-0059, pages.
pub(crate) const RSM: &str = "http://jabber.org/protocol/rsm";
/// XEP-0004, forms.
pub(crate) const DATA: &str = "jabber:x:data";
/// XEP-0060, publishing; XEP-0163 is a profile of it.
pub(crate) const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// XEP-0060 section 7.1.5.
pub(crate) const PUBLISH_OPTIONS: &str = "http://jabber.org/protocol/pubsub#publish-options";
/// XEP-0333, read markers.
pub(crate) const MARKERS: &str = "urn:xmpp:chat-markers:0";
/// XEP-0478, limits of a stream.
pub(crate) const LIMITS: &str = "urn:xmpp:stream-limits:0";
/// Our cards: name of the node and of its items.
pub(crate) const CARD: &str = "urn:carrierpigeon:card:1";
