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
