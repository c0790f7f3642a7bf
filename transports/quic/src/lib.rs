//! Neighbours on a local network: mDNS-SD discovery and QUIC links.
