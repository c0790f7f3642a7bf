//! The uplink's XMPP client session and the bridge's component session.
