//! The XMPP bridge.
